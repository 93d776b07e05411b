"""Transcripts as files: the exact text by hand, round trips under hypothesis, no two inputs in one file."""

import json
import os
import re
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asr.errors import ConfigError, OutputError
from asr.types import Hypothesis, ScoreParts, Transcript, Word
from asr.writers import (
    SEGMENT_PAUSE_SECONDS,
    WRITERS,
    ctm,
    json_line,
    output_paths,
    render,
    safe_names,
    segments,
    text_grid,
)

SPOKEN = Transcript(
    text="one two three",
    words=(Word("one", 0.104, 0.456, 0.98765), Word("two", 0.5, 0.9, 1.0), Word("three", 2.0, 2.5, 0.0)),
    duration=3.14159,
    warnings=("clipped: 12 samples",),
)


@st.composite
def transcripts(draw):
    """Words in order of time, with pauses of any length, and letters of any script."""
    texts = draw(st.lists(st.text(min_size=1, max_size=8).filter(lambda t: t.split() == [t]), max_size=8))
    now, words = 0.0, []
    for text in texts:
        start = now + draw(st.floats(0, 3))
        now = start + draw(st.floats(0, 2))
        words.append(Word(text, start, now, draw(st.floats(0, 1))))
    warnings = draw(st.lists(st.text(max_size=9), max_size=2))
    return Transcript(" ".join(texts), tuple(words), now + draw(st.floats(0, 2)), tuple(warnings))


# ---- formats


def test_txt():
    assert render(SPOKEN, "txt") == "one two three\n"
    assert render(Transcript("", (), 0.0), "txt") == "\n"


def test_json_by_hand():
    assert json.loads(render(SPOKEN, "json")) == {
        "text": "one two three",
        "segments": [
            {
                "id": 0,
                "start": 0.1,
                "end": 0.9,
                "text": "one two",
                "words": [
                    {"word": " one", "start": 0.1, "end": 0.46, "probability": 0.9877},
                    {"word": " two", "start": 0.5, "end": 0.9, "probability": 1.0},
                ],
            },
            {
                "id": 1,
                "start": 2.0,
                "end": 2.5,
                "text": "three",
                "words": [{"word": " three", "start": 2.0, "end": 2.5, "probability": 0.0}],
            },
        ],
        "duration": 3.14,
        "warnings": ["clipped: 12 samples"],
    }


def test_json_of_silence_and_of_text_without_times():
    assert json.loads(render(Transcript("", (), 0.0), "json"))["segments"] == []
    assert json.loads(render(Transcript("hello", (), 1.5), "json"))["segments"] == [
        {"id": 0, "start": 0.0, "end": 1.5, "text": "hello"}
    ]


@settings(deadline=None)
@given(transcripts())
def test_json_gives_the_words_back(transcript):
    value = json.loads(render(transcript, "json"))
    words = [word for segment in value["segments"] for word in segment["words"]]
    assert value["text"] == transcript.text == "".join(word["word"] for word in words)[1:]
    assert value["text"] == " ".join(segment["text"] for segment in value["segments"])
    assert value["warnings"] == list(transcript.warnings)
    for word, original in zip(words, transcript.words, strict=True):
        assert word["word"] == f" {original.text}"
        # Rounding to two (four) decimals moves a value by half a unit of the last one; 1e-9 for the floats.
        assert word["start"] == pytest.approx(original.start, abs=0.005 + 1e-9)
        assert word["end"] == pytest.approx(original.end, abs=0.005 + 1e-9)
        assert word["probability"] == pytest.approx(original.confidence, abs=0.00005 + 1e-9)
    times = [time for word in words for time in (word["start"], word["end"])] + [value["duration"]]
    assert times == sorted(times)


def test_json_of_alternatives_says_what_their_scores_are_made_of():
    other = Hypothesis("two", (1,), (), ScoreParts(-1.0, language_model=-2.0, word_bonus=0.5))
    best = replace(SPOKEN, alternatives=(other,), parts=ScoreParts(-0.75, word_bonus=0.25))
    whole = json.loads(render(best, "json", "a"))
    assert whole["score"] == best.score == -0.5
    assert whole["parts"]["acoustic"] == -0.75
    (written,) = whole["alternatives"]
    assert (written["text"], written["score"]) == ("two", -2.5)
    assert written["parts"] == {
        **{"acoustic": -1.0, "language_model": -2.0, "word_bonus": 0.5},
        **{"hotwords": 0.0, "rescoring": 0.0},
    }


@settings(deadline=None)
@given(transcripts())
def test_segments_end_at_pauses_and_only_there(transcript):
    parts = segments(transcript.words)
    assert [word for part in parts for word in part] == list(transcript.words)
    assert all(parts)
    tolerance = 0.0005  # half a millisecond, the unit pauses are compared in
    for part, following in pairwise(parts):
        assert following[0].start - part[-1].end >= SEGMENT_PAUSE_SECONDS - tolerance
    for part in parts:
        for word, following in pairwise(part):
            assert following.start - word.end <= SEGMENT_PAUSE_SECONDS + tolerance


def test_a_pause_of_exactly_one_second_ends_a_segment():
    assert 2.3 - 1.3 < 1.0  # in floats
    assert len(segments((Word("a", 1.0, 1.3, 1.0), Word("b", 2.3, 2.5, 1.0)))) == 2
    assert len(segments((Word("a", 1.0, 1.3, 1.0), Word("b", 2.299, 2.5, 1.0)))) == 1


def test_json_is_utf8_whatever_a_warning_names():
    name = os.fsdecode(b"caf\xe9.wav")  # Latin-1 bytes: Python holds a lone surrogate
    text = render(Transcript("天气", (), 1.0, (name,)), "json")
    assert "天气" in text
    assert json.loads(text.encode("utf-8"))["warnings"] == [name]


def test_json_refuses_what_json_cannot_hold():
    with pytest.raises(ValueError, match="JSON compliant"):
        render(Transcript("a", (Word("a", 0.0, float("nan"), 1.0),), 1.0), "json")


def test_an_unknown_format_is_an_error_that_lists_the_known():
    with pytest.raises(ConfigError, match="among txt, json, got 'docx'"):
        render(SPOKEN, "docx")


def test_the_name_of_the_recording_reaches_the_format(monkeypatch):
    monkeypatch.setitem(WRITERS, "named", lambda transcript, file: f"{file} {transcript.text}")
    assert render(SPOKEN, "named", "call-7") == "call-7 one two three"
    assert render(SPOKEN, "named") == "None one two three"


def test_json_names_the_file_and_fits_into_a_line():
    line = json_line(SPOKEN, "über/call 7.wav")
    assert line.count("\n") == 1
    assert json.loads(line) == json.loads(render(SPOKEN, "json", "über/call 7.wav"))
    assert next(iter(json.loads(line))) == "file"
    assert json.loads(line)["file"] == "über/call 7.wav"
    assert json.loads(json_line(SPOKEN, "\udcff.wav"))["file"] == "\udcff.wav"


# ---- names of output files


@pytest.mark.parametrize(
    ("inputs", "expected"),
    [
        (["a.wav", "b.wav"], ["a.txt", "b.txt"]),
        (["x/a.wav", "y/b.wav"], ["a.txt", "b.txt"]),
        (["a.wav", "a.mp3", "b.wav"], ["a.wav.txt", "a.mp3.txt", "b.txt"]),
        (["x/a.wav", "y/a.mp3"], ["a.wav.txt", "a.mp3.txt"]),
        (["x/a.wav", "y/a.wav"], ["x/a.wav.txt", "y/a.wav.txt"]),
        (["p/x/a.wav", "q/x/a.wav"], ["p/x/a.wav.txt", "q/x/a.wav.txt"]),
        (["x/a.wav", "y/a.wav", "y/a.mp3"], ["x/a.wav.txt", "y/a.wav.txt", "a.mp3.txt"]),
        (["a.wav", "./a.wav", "x/../a.wav"], ["a.txt"] * 3),  # one file
        (["-", "b.wav"], ["stdin.txt", "b.txt"]),
        (["-", "stdin.wav"], ["stdin.txt", "stdin.wav.txt"]),
        (["take 1.v2.wav", "-dash.wav", ".wav", "ünï.wav"], ["take 1.v2.txt", "-dash.txt", ".wav.txt", "ünï.txt"]),
        ([], []),
    ],
)
def test_output_paths(inputs, expected):
    assert output_paths(inputs, Path("out"), ".txt") == [Path("out") / name for name in expected]


def test_a_longer_name_does_not_fall_on_another_short_one():
    # a.wav and a.mp3 would become a.wav.txt and a.mp3.txt, but a.wav.flac already is a.wav.txt.
    names = output_paths(["d/a.wav", "d/a.mp3", "d/a.wav.flac"], Path("out"), ".txt")
    assert names == [Path("out/d/a.wav.txt"), Path("out/a.mp3.txt"), Path("out/a.wav.flac.txt")]


NAMES = st.sampled_from(["a", "b", "a.wav", "a.mp3", "a.wav.flac", "b.wav"])
INPUTS = st.lists(st.lists(NAMES, min_size=1, max_size=3).map("/".join), max_size=8)


@settings(deadline=None)
@given(INPUTS, st.randoms(use_true_random=False))
def test_different_inputs_never_share_an_output(inputs, rng):
    paths = output_paths(inputs, Path("out"), ".txt")
    assert len(set(paths)) == len(set(inputs))
    assert all(path.is_relative_to("out") and ".." not in path.parts for path in paths)
    shuffled = rng.sample(inputs, len(inputs))
    assert dict(zip(shuffled, output_paths(shuffled, Path("out"), ".txt"))) == dict(zip(inputs, paths))


def test_links_to_one_recording_keep_their_own_names(tmp_path):
    (tmp_path / "real.wav").touch()
    (tmp_path / "link.wav").symlink_to(tmp_path / "real.wav")
    inputs = [str(tmp_path / "real.wav"), str(tmp_path / "link.wav")]
    assert output_paths(inputs, Path("out"), ".txt") == [Path("out/real.txt"), Path("out/link.txt")]


# ---- alignments


def test_ctm_by_hand():
    late = (Word("one", 0.03, 0.12, 0.5), Word("two", 0.12, 0.30000000000000004, 0.98765))
    assert ctm({"b": late, "a-1": (Word("x", 1.0, 1.00002, 1.0),), "B": (), "Z": (Word("y", 2.0, 2.5, 0.0),)}) == (
        "Z 1 2.000 0.500 y 0.0000\n"  # capitals come first in ASCII
        "a-1 1 1.000 0.001 x 1.0000\n"  # never of no length
        "b 1 0.030 0.090 one 0.5000\n"
        "b 1 0.120 0.180 two 0.9877\n"
    )
    assert ctm({}) == ""


def test_text_grid_by_hand():
    words = (Word('say "hi"', 3 * 0.03, 0.3, 0.5), Word("b", 0.3, 0.5, 1.0))
    assert (
        text_grid({"words": words, "none": ()}, 0.75)
        == """File type = "ooTextFile"
Object class = "TextGrid"

xmin = 0
xmax = 0.75
tiers? <exists>
size = 2
item []:
    item [1]:
        class = "IntervalTier"
        name = "words"
        xmin = 0
        xmax = 0.75
        intervals: size = 4
        intervals [1]:
            xmin = 0
            xmax = 0.09
            text = ""
        intervals [2]:
            xmin = 0.09
            xmax = 0.3
            text = "say ""hi""\"
        intervals [3]:
            xmin = 0.3
            xmax = 0.5
            text = "b"
        intervals [4]:
            xmin = 0.5
            xmax = 0.75
            text = ""
    item [2]:
        class = "IntervalTier"
        name = "none"
        xmin = 0
        xmax = 0.75
        intervals: size = 1
        intervals [1]:
            xmin = 0
            xmax = 0.75
            text = ""
"""
    )


@st.composite
def aligned(draw):
    """Words on frames of 30 ms, as an aligner gives them, and the length of their audio."""
    texts = draw(st.lists(st.text(min_size=1, max_size=6).filter(lambda t: t.split() == [t]), max_size=6))
    now, words = 0, []
    for text in texts:
        start = now + draw(st.integers(0, 40))
        now = start + draw(st.integers(1, 40))
        words.append(Word(text, start * 0.03, now * 0.03, draw(st.floats(0, 1))))
    return tuple(words), now * 0.03 + draw(st.sampled_from([0.0, 0.01, 3.7]))


def read_intervals(grid: str) -> list[tuple[float, float, str]]:
    """A small parser of one tier: Praat's strings end at a quotation mark that is not doubled."""
    pattern = re.compile(r'intervals \[\d+\]:\s+xmin = (\S+)\s+xmax = (\S+)\s+text = "((?:[^"]|"")*)"')
    return [(float(start), float(end), text.replace('""', '"')) for start, end, text in pattern.findall(grid)]


@given(aligned())
def test_text_grid_covers_the_audio_and_gives_the_words_back(case):
    words, duration = case
    intervals = read_intervals(text_grid({"words": words}, duration))
    assert [text for _, _, text in intervals if text] == [word.text for word in words]
    for (_, end, _), (start, _, _) in pairwise(intervals):
        assert end == start
    assert all(start < end for start, end, _ in intervals)
    if intervals:  # none of audio without length
        assert intervals[0][0] == 0.0
        assert intervals[-1][1] == pytest.approx(duration, abs=1e-6)
    for (start, end, _), word in zip([i for i in intervals if i[2]], words):
        assert (start, end) == pytest.approx((word.start, word.end), abs=1e-6)


@given(aligned(), aligned())
def test_ctm_gives_the_words_back_without_overlap(first, second):
    recordings = {"b": first[0], "a": second[0]}
    rows = [line.split(" ") for line in ctm(recordings).splitlines(keepends=False) if line]
    assert rows == sorted(rows, key=lambda row: (row[0], row[1], float(row[2])))
    for name, words in recordings.items():
        own = [row for row in rows if row[0] == name]
        assert [row[4] for row in own] == [word.text for word in words]
        for row, following in pairwise(own):
            assert float(row[2]) + float(row[3]) <= float(following[2]) + 1e-9
        for row, word in zip(own, words):
            assert float(row[3]) > 0
            assert (float(row[2]), float(row[5])) == pytest.approx((word.start, word.confidence), abs=0.00051)


def test_safe_names():
    names = safe_names(["plain-1.v2", "a b", "dir/x", 'q"?*', ".hidden", ";;c", "ünï", "tab\there", "C:\\x"])
    assert list(names.values()) == ["plain-1.v2", "a_b", "dir_x", "q___", "_hidden", "_;c", "ünï", "tab_here", "C__x"]


@pytest.mark.parametrize(("first", "second"), [("a b", "a_b"), ("x/y", "x y"), ("Anna", "anna")])
def test_ids_that_would_share_a_name_are_refused(first, second):
    with pytest.raises(OutputError) as error:
        safe_names([first, "other", second])
    assert repr(first) in str(error.value)
    assert repr(second) in str(error.value)
