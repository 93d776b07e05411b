"""STM and CTM: by hand, against NIST sclite, any bytes at all, and round trips of the writers of STM, CTM and TRN."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lines_of_files import PLACE, lines, refusal, texts

from asr.errors import OutputError, ScoringError
from asr.scoring.scored_set import Details
from asr.scoring.time_marked import (
    IGNORED,
    Recording,
    Segment,
    TimedWord,
    assigned_entries,
    matched_entries,
    parse_ctm,
    parse_stm,
    recording_entries,
    segment_entries,
)
from asr.scoring.transcripts import parse_trn, read_lines
from asr.types import Word
from asr.writers import ctm, stm, trn

# ---- lines


def test_stm():
    segments = parse_stm(
        lines(
            ';; LABEL "o" "Overall" "Overall"\n'
            "f A s1 1.0 2 <o,f0,male> one  { two / @ } (uh)\n\n"
            "f A s2 2.0 3.5e0 ignore_time_segment_in_scoring\n"
            "f\tA s1 4 4 <>\n"
        )
    )
    assert segments[0] == Segment(
        Recording("f", "A"), "s1", 1.0, 2.0, "one  { two / @ } (uh)", ("o", "f0", "male"), "f.txt:2"
    )
    assert [segment.is_ignored for segment in segments] == [False, True, False]
    assert (segments[2].labels, segments[2].text) == (("",), "")
    assert texts(segment_entries(segments)) == {"s1-000": "one  { two / @ } (uh)", "s1-001": ""}
    assert segment_entries(segments)[0].details == Details(
        "s1", 1.0, {"file": "f", "channel": "A", "label_1": "o", "label_2": "f0", "label_3": "male"}
    )


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("f A s 1", "expected STM, .* got 'f A s 1'"),
        ("f A s one 2 text", "expected STM"),
        ("f A s 1 nan text", "expected STM"),
        ("f A s -1 2 text", "expected STM"),
        ("f A s 1 1e999 text", "expected STM"),
        ("f A s 1_0 20 text", "expected STM"),
        ("f A 1.0 0.5 word", "expected STM"),  # a CTM
        ("f A s 2 1 text", "expected a segment that ends after it begins, got 2 to 1 s"),
        ("f A s 1 2 <o, male> text", "expected labels such as <o,f0,male>, got '<o,'"),
    ],
)
def test_malformed_stm(line, message):
    with pytest.raises(ScoringError, match=rf"f\.txt:2: {message}"):
        parse_stm(lines(f"f A s 0 1 fine\n{line}"))


def test_ctm():
    words = parse_ctm(
        lines(";; system\nf A 0.5 0.20 two 0.9\nf A .1 0.2 one\n\n g  B 0 1 <unk> -6.763 \nf A 0.5 0 three")
    )
    assert words == {
        Recording("f", "A"): [
            TimedWord(0.1, 0.2, "one", "f.txt:3"),
            TimedWord(0.5, 0.2, "two", "f.txt:2"),
            TimedWord(0.5, 0.0, "three", "f.txt:6"),  # begins with the one before it and stays behind it
        ],
        Recording("g", "B"): [TimedWord(0.0, 1.0, "<unk>", "f.txt:5")],
    }


@pytest.mark.parametrize("confidence", ["NA", "na", "N/A", "nan", "-", "?", ""])
def test_a_confidence_that_is_not_known_plays_no_part(confidence):
    words = parse_ctm(lines(f"f A 0.1 0.2 one {confidence}\nf A 0.4 0.2 NA 0.9"))
    assert [word.text for word in words[Recording("f", "A")]] == ["one", "NA"]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("f A 0.1 0.2", "expected CTM, .* got 'f A 0.1 0.2'"),
        ("f A 0.1 0.2 new york", "expected CTM"),
        ("f A 0.1 0.2 new york 0.9", "expected CTM"),
        ("f A 0.1 -0.2 word", "expected CTM"),
        ("f A 1e999 0.2 word", "expected CTM"),
        ("f A s 0.1 0.2 word", "expected CTM"),  # an STM
        ("f A * * <ALT_BEGIN>", "expected one hypothesis, got alternatives"),
        ("f A 0.1 0.2 <alt>", "expected one hypothesis, got alternatives"),
    ],
)
def test_malformed_ctm(line, message):
    with pytest.raises(ScoringError, match=rf"f\.txt:2: {message}"):
        parse_ctm(lines(f"f A 0 1 fine\n{line}"))


def test_a_long_number_takes_no_time():
    with pytest.raises(ScoringError, match="expected CTM"):
        parse_ctm(lines(f"f A {'1' * 100_000}x 0.2 word"))


# ---- words to segments


STM = """\
f A s1 1.0 2.0 <o,f0,male> one
f A S2 2.0 3.0 ignore_time_segment_in_scoring
f A s1 4.0 5.0 three
f A s1 5.0 6.0
f A s2 6.0 7.0 IGNORE_TIME_SEGMENT_IN_SCORING
g B s1 0.3 0.5 x
g B s1 0.5 0.9 y
h B s3 0.5 0.9 nobody
"""
CTM = """\
f A 0.1 0.2 before
f A 0.9 0.4 one
f A 1.8 0.4 border
f A 2.4 0.2 ignored
f A 3.4 0.2 gap
f A 4.4 0.2 three
f A 4.9 0.2 border2
f A 8.0 0.2 after
g B 0.1 0.1 a
g B 0.4 0.2 half
g B 0.45 0.1 half2
g B 2.0 0.2 late
"""
# NIST sclite 2.10 gave these texts for these ids (sclite -r ref.stm stm -h hyp.ctm ctm -o pra).
SCLITE = {
    "s1-000": "before one",
    "s1-001": "gap three",
    "s1-002": "border2",
    "s1-003": "a",
    "s1-004": "half half2 late",
    "s3-000": "",
}


def test_words_across_borders_and_in_gaps():
    assert texts(assigned_entries(parse_stm(lines(STM)), parse_ctm(lines(CTM)))) == SCLITE


def test_the_order_of_lines_does_not_matter():
    backwards = "\n".join(reversed(CTM.splitlines()))
    assert texts(assigned_entries(parse_stm(lines(STM)), parse_ctm(lines(backwards)))) == SCLITE


@pytest.mark.parametrize(
    ("end", "begin", "second"),
    [("0.37", "0.17", False), ("0.44", "0.24", True), ("0.93", "0.73", False), ("8.49", "8.29", True)],
)
def test_midpoints_on_a_border(end, begin, second):
    # As written, each midpoint is the border itself. NIST sclite 2.10 put the words on these sides of it.
    segments = parse_stm(lines(f"f A s 0 {end} x\nf A s {end} 20 y"))
    spoken = texts(assigned_entries(segments, parse_ctm(lines(f"f A {begin} 0.40 w"))))
    assert spoken == {"s-000": "" if second else "w", "s-001": "w" if second else ""}


def test_recordings_without_references():
    with pytest.raises(
        ScoringError, match=r"f\.txt:2: expected a file and channel .* such as 'f A', 'g B', 'h B', got 'f 1'"
    ):
        assigned_entries(parse_stm(lines(STM)), parse_ctm(lines("f A 1 1 one\nf 1 1 1 one")))


def test_files_as_utterances():
    assert texts(recording_entries(parse_ctm(lines("b 1 2 1 on\na 1 0 1 stop\nb 1 1 1 go")))) == {
        "b": "go on",
        "a": "stop",
    }
    with pytest.raises(ScoringError, match=r"f\.txt:2: expected one channel of a, .*got B besides that of f\.txt:1"):
        recording_entries(parse_ctm(lines("a A 0 1 stop\na B 0 1 stop")))


def test_segments_of_both_sides():
    references = parse_stm(lines(f"f A s 0 1.5 one\nf A s 1.5 2 {IGNORED}\nf A t 2 3 three"))
    hypotheses = parse_stm(lines("f A t 2.000 3.000 drei\nf A s 0.0001 1.50 eins\nf A s 1.5 2 zwei"))
    assert texts(matched_entries(references, hypotheses)) == {"t-000": "drei", "s-000": "eins"}
    with pytest.raises(
        ScoringError, match=r"f\.txt:1: expected a segment that the references have too, got f A s 0.100"
    ):
        matched_entries(references, parse_stm(lines("f A s 0.1 1.5 one")))


# ---- any bytes at all

FIELDS = st.sampled_from(
    [b"f", b"A", b"1", b"0.5", b" ", b" ", b" ", b"\n", b"<o>", b"<", b";;", b"\xc3", b"\xa4", b"e9", b"-"]
)
ANY_BYTES = st.one_of(st.binary(max_size=80), st.lists(FIELDS, max_size=30).map(b"".join))


@given(ANY_BYTES)
def test_bytes_read_or_name_the_line(tmp_path_factory, data):
    path = tmp_path_factory.getbasetemp() / "f.txt"
    path.write_bytes(data)
    for parse in (parse_stm, parse_ctm):
        message = refusal(lambda parse=parse: parse(read_lines(path)))
        assert message is None or PLACE.search(message)


# ---- writers

MILLISECONDS = st.integers(0, 10**7).map(lambda number: number / 1000)
VISIBLE = st.characters(exclude_categories=("Z", "C"), exclude_characters="(),")  # no white space, no half surrogates
NAMES = st.text(VISIBLE, min_size=1, max_size=6).filter(lambda name: not name.startswith(";;"))
WORDS = NAMES.filter(lambda word: not word.startswith("<"))
TEXTS = st.lists(WORDS, max_size=4).map(" ".join)


@st.composite
def segments(draw):
    times = sorted([draw(MILLISECONDS), draw(MILLISECONDS)])
    labels = tuple(draw(st.lists(NAMES, max_size=3)))
    return Segment(Recording(draw(NAMES), draw(NAMES)), draw(NAMES), *times, draw(TEXTS), labels)


@settings(max_examples=40)
@given(st.lists(segments(), max_size=5))
def test_stm_is_read_as_it_was_written(written):
    read = parse_stm(lines(stm(written)))
    assert [replace(segment, place="") for segment in read] == written


@settings(max_examples=40)
@given(st.dictionaries(NAMES, TEXTS, max_size=5))
def test_trn_is_read_as_it_was_written(written):
    assert texts(parse_trn(lines(trn(written)))) == written


@settings(max_examples=40)
@given(st.dictionaries(NAMES, st.lists(st.tuples(MILLISECONDS, WORDS), max_size=5), max_size=4))
def test_ctm_is_read_as_it_was_written(written):
    recordings = {
        name: [Word(text, begin, begin + 0.2, 0.5) for begin, text in sorted(spoken, key=lambda pair: pair[0])]
        for name, spoken in written.items()
    }
    read = parse_ctm(lines(ctm(recordings)))
    assert {recording.file: [(word.begin, word.text) for word in words] for recording, words in read.items()} == {
        name: [(word.start, word.text) for word in words] for name, words in recordings.items() if words
    }


def test_writers_by_hand():
    assert trn({"s-1": " go  on ", "s-2": ""}) == "go on (s-1)\n(s-2)\n"
    segment = Segment(Recording("f", "A"), "s", 1.0, 2.25, "go\non", ("o", "male"))
    assert stm([segment]) == "f A s 1.000 2.250 <o,male> go on\n"


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (lambda: trn({"a b": "x"}), r"expected an id without white space and \(\), got 'a b'"),
        (lambda: trn({"a(2)": "x"}), r"without white space and \(\), got 'a\(2\)'"),
        (lambda: trn({"a-1": ";; x"}), "expected a line that does not begin with ;;"),
        (
            lambda: stm([Segment(Recording("f g", "A"), "s", 0, 1, "x")]),
            "expected a file without white space, got 'f g'",
        ),
        (lambda: stm([Segment(Recording("f", ""), "s", 0, 1, "x")]), "expected a channel without white space, got ''"),
        (lambda: stm([Segment(Recording("f", "A"), "s", 2, 1, "x")]), "expected a segment that ends after it begins"),
        (lambda: stm([Segment(Recording("f", "A"), "s", 0, 1, "<unk> x")]), "got '<unk>', where labels stand"),
        (
            lambda: stm([Segment(Recording("f", "A"), "s", 0, 1, "x", ("a,b",))]),
            "expected a label without white space and ,",
        ),
    ],
)
def test_what_cannot_be_written(write, message):
    with pytest.raises(OutputError, match=message):
        write()
