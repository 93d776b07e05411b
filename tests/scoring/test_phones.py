"""Folding phones: TIMIT's 61 and 48 to 39, and maps from files."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asr.errors import ScoringError
from asr.scoring.phones import TIMIT39, FoldingMap, fold, folding_map

# The phones of TIMIT's own transcripts (its documentation, phoncode.doc), and Lee and Hon's 48, which they train.
SETS = """
aa ae ah ao aw ax ax-h axr ay b bcl ch d dcl dh dx eh el em en eng epi er ey f g gcl h# hh hv ih ix iy jh k kcl l m n \
ng nx ow oy p pau pcl q r s sh t tcl th uh uw ux v w y z zh
aa ae ah ao aw ax ay b ch cl d dh dx eh el en epi er ey f g hh ih ix iy jh k l m n ng ow oy p r s sh sil t th uh uw v \
vcl w y z zh
"""
TIMIT61, TIMIT48 = (line.split() for line in SETS.strip().splitlines())


def test_timit_has_39_phones():
    assert (len(TIMIT61), len(TIMIT48)) == (61, 48)
    assert set(TIMIT39.phones) == {*TIMIT61, *TIMIT48}
    targets = {target for target in TIMIT39.phones.values() if target is not None}
    assert len(targets) == 39
    assert all(TIMIT39.phones[target] == target for target in targets)  # folded texts stay as they are


def test_timit_by_hand():
    # "she had" of the sentence that all speakers read
    text = "h# sh ix hv eh dcl q ax-h el zh ux epi"
    assert fold(text, folding_map("timit39")) == "sil sh ih hh eh sil ah l sh uw sil"
    assert fold("sil cl t vcl en ax ao", TIMIT39) == "sil sil t sil n ah aa"


def test_equal_to_lhotse():
    phones = pytest.importorskip("lhotse.recipes.timit").get_phonemes(39)
    assert {phone: TIMIT39.phones[phone] or "" for phone in phones} == phones
    trained = pytest.importorskip("lhotse.recipes.timit").get_phonemes(48)
    assert all(trained[phone] == "" or TIMIT39.phones[trained[phone]] == (TIMIT39.phones[phone]) for phone in trained)


def test_unknown_phones_are_named():
    with pytest.raises(ScoringError, match="phones of timit39, got 'xx'; add it"):
        fold("aa xx yy", TIMIT39)


def written(tmp_path, text):
    path = tmp_path / "mine.map"
    path.write_text(text, encoding="utf-8")
    return path


def test_a_file_in_two_columns(tmp_path):
    path = written(tmp_path, "\ufeff# phone, and what it counts as\n;; q goes\na\tx\nb x # too\n\n y  y\nq # gone\n")
    folding = folding_map(path)
    assert folding == FoldingMap("mine.map", {"a": "x", "b": "x", "x": "x", "y": "y", "q": None})
    assert folding_map(str(path)) == folding
    assert fold("a q b y x", folding) == "x x y x"


def test_a_file_in_kaldis_three_columns(tmp_path):
    folding = folding_map(written(tmp_path, "ao\tao\taa\naa aa aa\nax-h ax ah\nh#\tsil\tsil\nbcl vcl sil\nq\n"))
    assert fold("h# bcl vcl ax-h ax ah q ao sil", folding) == "sil sil sil ah ah ah aa sil"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("a b\na b c d\n", r"mine.map:2: .* got 4 columns: a b c d"),
        ("a b\na\n", "mine.map:2: a counts as nothing here and as b above"),
        ("a b\nc d\na d\n", "mine.map:3: a counts as d here and as b above"),
        ("a b\nb c\n", "mine.map: phones count as b, which itself counts as c"),
        ("a b\nb\n", "mine.map: phones count as b, which itself counts as nothing"),
    ],
)
def test_files_that_contradict_themselves(tmp_path, text, problem):
    with pytest.raises(ScoringError, match=problem):
        folding_map(written(tmp_path, text))


def test_files_that_cannot_be_read(tmp_path):
    with pytest.raises(ScoringError, match=r"timit39 or a file that folds phones, got timit40"):
        folding_map("timit40")
    with pytest.raises(ScoringError, match="cannot be read"):
        folding_map(tmp_path)
    (tmp_path / "latin").write_bytes(b"\xe9 e\n")
    with pytest.raises(ScoringError, match="latin cannot be read as a UTF-8 text"):
        folding_map(tmp_path / "latin")


@given(st.lists(st.sampled_from(TIMIT61 + TIMIT48)))
def test_folding_twice_is_folding_once(phones):
    once = fold(" ".join(phones), TIMIT39)
    assert fold(once, TIMIT39) == once
    assert len(once.split()) == len(phones) - phones.count("q")


@given(st.text("ab#; \n\t", max_size=30))
def test_any_text_is_a_map_or_an_error(tmp_path_factory, text):
    path = written(tmp_path_factory.mktemp("maps"), text)
    try:
        folding = folding_map(path)
    except ScoringError as error:
        assert str(path) in str(error)  # noqa: PT017 - an error is one of two right results
    else:
        assert all(target is None or folding.phones[target] == target for target in folding.phones.values())
