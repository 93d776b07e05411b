import pickle

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asr.errors import TextError
from asr.text.lexicon import Lexicon


def write(folder, content):
    path = folder / "lexicon.txt"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def test_reads_both_ways_of_writing_alternatives(tmp_path):
    path = write(
        tmp_path,
        "\ufeff;;; CMU style\n"
        "READ  R EH1 D\n"
        "READ(2)\tR IY1 D\r\n"
        "\n"
        "TOMATO T AH M EY T OW\n"
        "TOMATO T AH M AA T OW # British\n"
        "DON’T D OW N T\n"
        "READ R EH1 D\n",  # again: adds nothing
    )
    lexicon = Lexicon.read(path, case="lower")
    assert dict(lexicon.pronunciations) == {
        "read": (("R", "EH1", "D"), ("R", "IY1", "D")),
        "tomato": (("T", "AH", "M", "EY", "T", "OW"), ("T", "AH", "M", "AA", "T", "OW")),
        "don't": (("D", "OW", "N", "T"),),
    }
    assert list(lexicon) == ["read", "tomato", "don't"]
    assert len(lexicon) == 3
    assert "READ" not in lexicon
    assert lexicon.phones == ("AA", "AH", "D", "EH1", "EY", "IY1", "M", "N", "OW", "R", "T")


def test_case_is_kept_unless_asked(tmp_path):
    assert list(Lexicon.read(write(tmp_path, "Polish P\npolish Q\n"))) == ["Polish", "polish"]


def test_phones_may_be_digits(tmp_path):
    """SAMPA writes the vowel of French `peur` as 9."""
    assert Lexicon.read(write(tmp_path, "peur p 9 R\nun 9\n")).pronunciations["un"] == (("9",),)


def test_probabilities_are_refused_unless_asked(tmp_path):
    path = write(tmp_path, "the 0.3 DH IY\nthe 1.0 DH AH\nthe 3e-1 DH AX\n")
    with pytest.raises(TextError, match=r"lexicon\.txt:1: .*got the number 0\.3; .*probabilities=True"):
        Lexicon.read(path)
    lexicon = Lexicon.read(path, probabilities=True)
    # Most probable first; equals in the order of the file.
    assert lexicon.pronunciations["the"] == (("DH", "AH"), ("DH", "IY"), ("DH", "AX"))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("a A\n\nb\n", r"lexicon\.txt:3: .*no phone for 'b'"),
        ("a A\nb # comment\n", r"lexicon\.txt:2: .*no phone for 'b'"),
        ("a A\n\x00 B\n", r"lexicon\.txt:2: expected a word .*got '\\x00'"),
        (b"a A\ncaf\xe9 K\n", r"lexicon\.txt:2: expected UTF-8, got the byte 0xE9"),
        ("a A\nb 1.0 B\n", r"lexicon\.txt:2: .*got the number 1\.0"),
        (";;; nothing\n", r"lexicon\.txt: .*no entry"),
        ("", r"lexicon\.txt: .*no entry"),
    ],
)
def test_malformed_files(tmp_path, content, message):
    with pytest.raises(TextError, match=message):
        Lexicon.read(write(tmp_path, content))


@pytest.mark.parametrize("column", ["DH", "0.0", "1.5", "nan", "-1", ""])
def test_malformed_probabilities(tmp_path, column):
    with pytest.raises(TextError, match=r"lexicon\.txt:1: expected a probability in \(0, 1\] after 'the'"):
        Lexicon.read(write(tmp_path, f"the {column}\n"), probabilities=True)


def test_missing_file(tmp_path):
    with pytest.raises(TextError, match=r"nowhere\.txt: cannot read the lexicon: No such file"):
        Lexicon.read(tmp_path / "nowhere.txt")


@pytest.mark.parametrize(
    ("pronunciations", "message"),
    [
        ({}, "at least one word"),
        ({"a": ()}, "one phone or more .* of 'a'"),
        ({"a": ((),)}, "one phone or more .* of 'a'"),
        ({"a b": (("A",),)}, "without white space, got 'a b'"),
        ({"a": (("A B",),)}, "without white space, got 'A B'"),
        ({"": (("A",),)}, "without white space, got ''"),
    ],
)
def test_malformed_contents(pronunciations, message):
    with pytest.raises(TextError, match=message):
        Lexicon(pronunciations)


def test_is_an_immutable_value():
    source = {"a": (("A",),)}
    lexicon = Lexicon(source)
    source["b"] = (("B",),)
    assert list(lexicon) == ["a"]
    with pytest.raises(TypeError):
        lexicon.pronunciations["b"] = (("B",),)
    copy = pickle.loads(pickle.dumps(lexicon))
    assert copy == lexicon
    assert hash(copy) == hash(lexicon)
    assert lexicon != Lexicon({"a": (("B",),)})


SYMBOLS = st.text(st.characters(codec="ascii", categories=["Lu", "Ll"]), min_size=1, max_size=4)
WAYS = st.lists(st.lists(SYMBOLS, min_size=1, max_size=3).map(tuple), min_size=1, max_size=3, unique=True).map(tuple)


@settings(deadline=None)
@given(entries=st.dictionaries(SYMBOLS, WAYS, min_size=1, max_size=5), numbered=st.booleans())
def test_reads_back_what_was_written(tmp_path_factory, entries, numbered):
    lines = [
        (f"{word}({number})" if numbered and number > 1 else word, *way)
        for word, ways in entries.items()
        for number, way in enumerate(ways, start=1)
    ]
    path = write(tmp_path_factory.getbasetemp(), "\n".join(" ".join(line) for line in lines))
    assert Lexicon.read(path) == Lexicon(entries)


@settings(deadline=None)
@given(content=st.binary(max_size=60))
def test_any_bytes_are_a_lexicon_or_a_named_error(tmp_path_factory, content):
    path = write(tmp_path_factory.getbasetemp(), content)
    try:
        lexicon = Lexicon.read(path)
    except TextError as error:
        assert "lexicon.txt" in str(error)  # noqa: PT017  (either outcome is right)
    else:
        assert all(way and all(way) for ways in lexicon.pronunciations.values() for way in ways)
