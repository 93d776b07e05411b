"""What people and programs read of a score."""

import io
import json
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.console import Console
from scored_pairs import TEXTS, by_speaker, one, scored

from asr.scoring.assessment import assess
from asr.scoring.display import (
    SCORE_KEYS,
    aligned_differences,
    score_json,
    summary_table,
    worst,
    worst_report,
)
from asr.scoring.errors import ScoringError
from asr.scoring.scored_set import Details

# ---- score.json and hypotheses.jsonl


def assessed(pairs, speakers=None):
    """Assess (reference, hypothesis) pairs with ids u0, u1, …"""
    references = {f"u{i}": reference for i, (reference, _) in enumerate(pairs)}
    hypotheses = {f"u{i}": hypothesis for i, (_, hypothesis) in enumerate(pairs)}
    details = {id: Details(speaker=speakers[id] if speakers else None) for id in references}
    return assess("a set", "a system", references, hypotheses, details)


def test_score_json_by_hand():
    result = assessed([("a b c d", "a x c"), ("e f", "e f g")])
    value = score_json(result, audio_seconds=12.0, decode_seconds=0.5, decoder="greedy")
    assert tuple(value) == SCORE_KEYS
    low, high = value.pop("wer_ci95")
    assert (low, high) == (0.5, 0.5)  # two utterances with an error rate of one half each
    assert value == {
        "wer": 0.5,
        "cer": 5 / 10,  # b:x, " d" deleted, " g" inserted; 7 + 3 characters
        "ser": 1.0,
        "substitutions": 1,
        "deletions": 1,
        "insertions": 1,
        "reference_words": 6,
        "utterances": 2,
        "audio_seconds": 12.0,
        "decode_seconds": 0.5,
        "rtfx": 24.0,
        "decoder": "greedy",
        "set": "a set",
        "system": "a system",
        "alignment": "levenshtein",
        "unit": "word",
        "folding": None,
        "normalized": {},
        "breakdowns": {},
    }


@pytest.mark.parametrize(("reference", "hypothesis"), [("", "x"), ("", ""), ("a", "a")])
def test_score_json_is_strict_json(reference, hypothesis):
    result = assessed([(reference, hypothesis)])
    text = json.dumps(score_json(result, 0.0, 0.0, {"name": "greedy"}), allow_nan=False)
    value = json.loads(text)
    assert value["wer"] == (None if hypothesis == "x" else 0.0)
    assert value["wer_ci95"] == [None, None]
    assert value["rtfx"] is None
    assert value["decoder"] == {"name": "greedy"}


def test_score_json_interval_over_speakers():
    score, speakers = by_speaker(6)
    result = assessed([(u.reference, u.hypothesis) for u in score.utterances], speakers)
    assert score_json(result, 1.0, 1.0, "greedy")["wer_ci95"] == [1 / 6, 5 / 6]


# ---- what people see


def test_aligned_differences():
    utterance = one("hugh's written a delightful part is done", "he written a part is done now")
    assert aligned_differences(utterance, width=80).plain == (
        "REF:  hugh's written a delightful part is done ***\n"
        "HYP:  he     written a ********** part is done now\n"
        "Eval: S                D                       I"
    )


def test_wide_and_combining_characters_stay_aligned():
    # Chinese characters are two columns wide; e followed by U+0301 is one column in two code points.
    utterance = one("天气 e\u0301te\u0301 好 好", "天 été 好 嗎 好")
    assert aligned_differences(utterance, width=80).plain == (
        "REF:  天气 e\u0301te\u0301 好 ** 好\nHYP:  天   été 好 嗎 好\nEval: S    S      I"
    )


def test_long_alignments_break_between_words():
    text = aligned_differences(one("aaaa bbbb cccccccccccccc dd", "aaaa bbbx cccccccccccccc dd"), width=15).plain
    assert text == (
        "REF:  aaaa bbbb\nHYP:  aaaa bbbx\nEval:      S\n\n"
        "REF:  cccccccccccccc\nHYP:  cccccccccccccc\n\n"  # longer than the line, never cut; no errors, no Eval
        "REF:  dd\nHYP:  dd"
    )


@settings(deadline=None)
@given(TEXTS, TEXTS, st.integers(8, 40))
def test_every_line_fits_and_every_letter_stands_below_its_word(reference, hypothesis, width):
    utterance = one(reference, hypothesis)
    letters = []
    for block in aligned_differences(utterance, width).plain.split("\n\n"):
        lines = [line[6:] for line in block.split("\n")]
        assert all(cell_len(line) <= width - 6 or " " not in line for line in lines)
        if len(lines) == 3:
            letters += lines[2].split()
            starts = [[cell_len(line[: match.start()]) for match in re.finditer(r"\S+", line)] for line in lines[:2]]
            assert starts[0] == starts[1]
            assert {match.start() for match in re.finditer(r"\S", lines[2])} <= set(starts[0])
    assert "".join(letters) == utterance.operations.replace("C", "")


def test_colours_need_a_terminal():
    text = aligned_differences(one("a", "b"), width=40)
    plain, colourful = io.StringIO(), io.StringIO()
    Console(file=plain, width=40).print(text)
    Console(file=colourful, width=40, force_terminal=True, color_system="standard", no_color=False).print(text)
    assert "\x1b[" not in plain.getvalue()
    assert "\x1b[33m" in colourful.getvalue()  # yellow: substitution


def test_worst_utterances_cost_the_most():
    result = scored([("a b c", "a b c"), ("a b c d", "x y c d"), ("a b", "x y"), ("a", "x")])
    assert [u.id for u in worst(result, 10)] == ["u2", "u1", "u3"]  # two errors: the shorter first; never correct
    assert [u.id for u in worst(result, 1)] == ["u2"]
    assert worst_report(result, 1, width=40).plain == (
        "u2  2 errors in 2 words  S 2  D 0  I 0\nREF:  a b\nHYP:  x y\nEval: S S"
    )
    assert worst_report(scored([("a", "a")]), 3, width=40).plain == ""


def printed(table):
    file = io.StringIO()
    Console(file=file, width=100).print(table)
    return file.getvalue()


def test_summary_table_side_by_side():
    first = score_json(assessed([("a b c d", "a x c"), ("e f", "e f g")]), 3725.0, 7.45, "greedy")
    second = score_json(assessed([("", "x")]), 0.0, 0.0, "greedy")
    rows = [
        re.split(r"\s{2,}", line.strip())
        for line in printed(summary_table({"strings": first, "x": second})).splitlines()
    ]
    assert rows[0] == ["strings", "x"]
    assert [row for row in rows[2:] if row != [""]] == [
        ["Word error rate", "50.00 %", "–"],
        ["95 % interval", "50.00 – 50.00 %", "–"],
        ["Character error rate", "50.00 %", "–"],
        ["Sentences with errors", "100.00 %", "100.00 %"],
        ["Substitutions", "1", "0"],
        ["Deletions", "1", "0"],
        ["Insertions", "1", "1"],
        ["Reference words", "6", "0"],
        ["Utterances", "2", "1"],
        ["Audio", "1:02:05", "0:00:00"],
        ["Real-time factor", "0.002", "–"],
        ["Times real time", "500×", "–"],
    ]


def test_summary_table_names_what_is_missing():
    value = score_json(assessed([("a", "a")]), 1.0, 1.0, "greedy")
    del value["cer"], value["rtfx"]
    with pytest.raises(ScoringError, match=r"score\.json for digits, got none of cer, rtfx"):
        summary_table({"digits": value})
