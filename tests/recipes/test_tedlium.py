"""TED-LIUM 3 in miniature: talks in sphere files, transcripts in STM with all that stands there besides words."""

import doctest
import sys

import pytest
from corpus_imitation import run_recipe, speak
from hypothesis import given
from hypothesis import strategies as st

from asr.audio import probe
from asr.data.manifest import read_manifest
from asr.errors import ConfigError, CorpusError
from asr.recipe import load_recipe

prepare = load_recipe("tedlium").prepare
clean_text = sys.modules[prepare.__module__].clean_text

IGNORED = "ignore_time_segment_in_scoring"
TALKS = {
    "train": {
        "911Mothers_2010W": [
            (0.0, 1.0, "<o,f0,female>", "a bad cab {BREATH}"),
            (1.0, 1.9, "<o,f0,female>", "dad 's <unk> cab <unk>"),
        ],
        "AaronHuey_2010X": [(0.0, 0.9, "<NA>", "add(2) a <sil> cab (AaronHuey_2010X-0.00-0.90-F0_M-S1)")],
    },
    "dev": {"AlGore_2009": [(0.2, 0.8, "<F0_M>", "{NOISE} bad")]},
    "test": {
        "AimeeMullins_2009P": [
            (0.0, 0.3, "<o,,unknown>", IGNORED),
            (0.3, 1.5, "<o,f0,female>", "' cause a cab"),
        ]
    },
}


@pytest.fixture
def corpus(tmp_path):
    """The folder TEDLIUM_release-3: the audio of legacy/train consists of symbolic links to data/."""
    root = tmp_path / "disk" / "TEDLIUM_release-3"
    for split, talks in TALKS.items():
        sph, stm = root / "legacy" / split / "sph", root / "legacy" / split / "stm"
        sph.mkdir(parents=True)
        stm.mkdir()
        for talk, segments in talks.items():
            where = root / "data" / "sph" if split == "train" else sph
            seconds = speak(where / f"{talk}.sph", "a bad cab dads cab cab")
            assert seconds > segments[-1][1]
            if split == "train":
                (sph / f"{talk}.sph").symlink_to(f"../../../data/sph/{talk}.sph")
            lines = [f"{talk} 1 {talk} {start} {end} {label} {text} \n" for start, end, label, text in segments]
            (stm / f"{talk}.stm").write_text("".join(lines))
    return root


def test_from_disk_to_a_score(corpus, tmp_path):
    scores = run_recipe("tedlium", [f"+data.options.corpus_dir={corpus}"], tmp_path)
    assert {name: (score["utterances"], score["reference_words"]) for name, score in scores.items()} == {
        "dev": (1, 1),
        "test": (1, 3),
    }
    first, second, third = read_manifest(tmp_path / "prepared" / "train.jsonl")
    assert (first.id, first.text, first.offset, first.duration) == ("911Mothers_2010W-0", "a bad cab", 0.0, 1.0)
    assert (second.text, second.offset, second.duration) == ("dad's cab", 1.0, 0.9)
    assert (dict(first.extra), dict(second.extra)) == ({}, {"unknown_words": 2})
    assert (third.text, third.speaker, third.lang) == ("add a cab", "AaronHuey_2010X", "en")
    assert probe(first.audio_filepath).sample_rate == 16000
    (test,) = read_manifest(tmp_path / "prepared" / "test.jsonl")
    assert (test.id, test.text, test.offset) == ("AimeeMullins_2009P-1", "'cause a cab", 0.3)


def test_who_does_not_have_it_is_told_how_to_get_it(corpus, tmp_path):
    with pytest.raises(CorpusError, match=r"openslr\.org/51 .*sha256 ad1e454d.*corpus_dir"):
        prepare("tedlium", {}, tmp_path / "out", tmp_path)
    with pytest.raises(
        CorpusError, match=r"corpus_dir: expected .*legacy/train/sph.* got .*legacy without legacy/train"
    ):
        prepare("tedlium", {"corpus_dir": str(corpus / "legacy")}, tmp_path / "out", None)
    prepare("tedlium", {}, tmp_path / "out", corpus.parent)  # as ASR_DATA
    with pytest.raises(ConfigError, match="tedlium2"):
        prepare("tedlium2", {}, tmp_path / "out", None)


def test_a_talk_without_its_transcript(corpus, tmp_path):
    (corpus / "legacy/dev/stm/AlGore_2009.stm").unlink()
    with pytest.raises(CorpusError, match="prepare_tedlium cannot read this corpus: AssertionError: Mismatch"):
        prepare("tedlium", {"corpus_dir": str(corpus)}, tmp_path / "out", None)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("i 'm sure they 'd 've", "i'm sure they'd've"),  # overlapping: each suffix joins
        ("in the ' 60s", "in the '60s"),
        ("{SMACK} so {COUGH}", "so"),
        ("a(2) the(3)", "a the"),
        ("<sil>", ""),
        ("it 's <unk> 's <unk> cab", "it's cab"),  # what belongs to an unknown word goes with it
        ("END (Talk_2001-1.00-2.00-F0_F-S2)", "end"),
    ],
)
def test_what_is_no_word_goes(line, words):
    assert clean_text(line) == words


def test_the_example_in_the_docstring():
    assert doctest.testmod(sys.modules[prepare.__module__]) == (0, 1)


@given(st.text(alphabet="ab' {}<>()[]2"))
def test_cleaning_leaves_no_mark_of_a_pair_and_no_double_space(line):
    cleaned = clean_text(line)
    assert "  " not in cleaned
    assert cleaned == cleaned.strip()
    assert not {"<unk>", "{a}", "[a]", "(2)"} & set(cleaned.split())
