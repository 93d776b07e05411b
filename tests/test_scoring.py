"""Error rates against hand counts, jiwer and sclite; intervals against theory; what people see of both."""

import io
import itertools
import json
import math
import os
import random
import re
from pathlib import Path

import jiwer
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.console import Console

from asr.scoring.display import (
    SCORE_KEYS,
    aligned_differences,
    hypothesis_rows,
    score_json,
    summary_table,
    worst,
    worst_report,
)
from asr.scoring.errors import AlignedWord, ErrorCounts, Score, ScoringError, align, score
from asr.scoring.significance import (
    MIN_SPEAKERS,
    bootstrap_rates,
    bootstrap_sums,
    central_interval,
    wer_interval,
)

TEXTS = st.lists(st.text("ab é天", max_size=3), max_size=6).map(" ".join)


def one(reference, hypothesis):
    return score({"u": reference}, {"u": hypothesis}).utterances[0]


def scored(pairs):
    """Score (reference, hypothesis) pairs with ids u0, u1, …"""
    return score(
        {f"u{i}": reference for i, (reference, _) in enumerate(pairs)},
        {f"u{i}": hypothesis for i, (_, hypothesis) in enumerate(pairs)},
    )


# ---- counts


@pytest.mark.parametrize(
    ("reference", "hypothesis", "operations"),
    [
        ("", "", ""),
        ("a b c", "a b c", "CCC"),
        ("a b c", "a x c", "CSC"),
        ("a b c", "a c", "CDC"),
        ("a c", "a b c", "CIC"),
        ("a b", "", "DD"),
        ("", "a b", "II"),
        ("the cat sat", "the cat sat down now", "CCCII"),
        ("A b", "a b", "SC"),  # case counts: normalise first
    ],
)
def test_word_alignment(reference, hypothesis, operations):
    utterance = one(reference, hypothesis)
    assert utterance.operations == operations
    assert utterance.words == ErrorCounts(*(operations.count(letter) for letter in "CSDI"))


def test_rates_of_a_set_come_from_summed_counts():
    result = scored([("a b c d", "a x c"), ("e f", "e f"), ("", "g h")])
    # 1 substitution and 1 deletion, none, 2 insertions; 4 + 2 + 0 reference words. A mean of rates would differ.
    assert result.words == ErrorCounts(hits=4, substitutions=1, deletions=1, insertions=2)
    assert result.wer == 4 / 6
    assert result.ser == 2 / 3
    # Characters: "a b c d" -> "a x c" is b:x and " d" deleted; "gh" with its space is inserted. 7 + 3 references.
    assert result.characters == ErrorCounts(hits=7, substitutions=1, deletions=2, insertions=3)
    assert result.cer == 6 / 10


def test_empty_reference_adds_errors_but_no_words():
    with_empty = scored([("a b", "a b"), ("", "x y")])
    assert with_empty.words.errors == 2
    assert with_empty.words.reference_length == 2
    assert with_empty.wer == 1.0


def test_no_reference_words_at_all():
    assert scored([("", ""), ("  ", "")]).wer == 0.0
    assert scored([("", "x")]).wer == math.inf
    assert scored([("", "x")]).cer == math.inf


def test_any_white_space_separates_words_and_is_one_space_to_the_cer():
    assert one(" a\tb\u00a0\u2003c\n", "a b c").characters == ErrorCounts(hits=5)
    assert one("ab", "a b").characters == ErrorCounts(hits=2, insertions=1)
    assert one("a  b", "a b").reference == "a b"


def test_counts_add_up():
    total = sum([ErrorCounts(1, 2, 3, 4), ErrorCounts(10, 20, 30, 40)], ErrorCounts())
    assert total == ErrorCounts(11, 22, 33, 44)
    assert (total.errors, total.reference_length, total.rate) == (99, 66, 1.5)


def random_pairs(count, seed):
    rng = random.Random(seed)
    vocabulary = ["a", "b", "the", "cat", "caté", "天气", "o'clock"]
    texts = [" ".join(rng.choices(vocabulary, k=rng.randrange(9))) for _ in range(2 * count)]
    return list(zip(texts[:count], texts[count:]))


def jiwer_operations(output):
    letters = {"equal": "C", "substitute": "S", "delete": "D", "insert": "I"}
    return [
        "".join(
            letters[chunk.type] * max(chunk.ref_end_idx - chunk.ref_start_idx, chunk.hyp_end_idx - chunk.hyp_start_idx)
            for chunk in chunks
        )
        for chunks in output.alignments
    ]


def test_equal_to_jiwer_on_ten_thousand_random_pairs():
    pairs = random_pairs(10_000, seed=1)
    references, hypotheses = [list(side) for side in zip(*pairs)]
    words = jiwer.process_words(references, hypotheses)
    characters = jiwer.process_characters(references, hypotheses)
    result = scored(pairs)

    assert (result.wer, result.cer) == (words.wer, characters.cer)
    for ours, theirs in ((result.words, words), (result.characters, characters)):
        assert ours == ErrorCounts(theirs.hits, theirs.substitutions, theirs.deletions, theirs.insertions)
    assert [u.operations for u in result.utterances] == jiwer_operations(words)
    assert [align(u.reference, u.hypothesis) for u in result.utterances] == jiwer_operations(characters)


def edit_distance(reference, hypothesis):
    """Wagner and Fischer's table, row by row: independent of rapidfuzz."""
    row = list(range(len(hypothesis) + 1))
    for i, token in enumerate(reference, start=1):
        diagonal, row[0] = row[0], i
        for j, other in enumerate(hypothesis, start=1):
            diagonal, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, diagonal + (token != other))
    return row[-1]


@settings(deadline=None)
@given(TEXTS, TEXTS)
def test_alignment_spells_both_texts_with_the_fewest_errors(reference, hypothesis):
    utterance = one(reference, hypothesis)
    columns = utterance.aligned_words()
    assert [c.reference for c in columns if c.reference is not None] == reference.split()
    assert [c.hypothesis for c in columns if c.hypothesis is not None] == hypothesis.split()
    assert all((c.reference == c.hypothesis) == (c.operation == "C") for c in columns)
    assert utterance.words.errors == edit_distance(reference.split(), hypothesis.split())
    assert utterance.characters.errors == edit_distance(utterance.reference, utterance.hypothesis)


def test_aligned_words_by_hand():
    assert one("a b c", "x b d").aligned_words() == [
        AlignedWord("S", "a", "x"),
        AlignedWord("C", "b", "b"),
        AlignedWord("S", "c", "d"),
    ]
    assert one("a", "").aligned_words() == [AlignedWord("D", "a", None)]
    assert one("", "a").aligned_words() == [AlignedWord("I", None, "a")]


def test_a_part_of_a_score_is_a_score():
    whole = scored([("a b", "a x"), ("c", "c")])
    assert Score(whole.utterances[:1]).wer == 0.5
    assert Score(()).ser == 0.0


def test_ids_must_match():
    with pytest.raises(ScoringError, match="b, c without a hypothesis, none without a reference"):
        score({"a": "", "b": "", "c": ""}, {"a": ""})
    with pytest.raises(ScoringError, match=r"none without a hypothesis, 0, 1, 2 and 4 more without a reference"):
        score({"a": ""}, {"a": "", **{str(i): "" for i in range(7)}})
    with pytest.raises(ScoringError, match="at least one utterance"):
        score({}, {})


def test_hypotheses_in_another_order():
    assert score({"a": "x", "b": "y"}, {"b": "y", "a": "x"}).wer == 0.0


def read_trn(path):
    lines = path.read_text(encoding="utf-8").splitlines()
    return {m[2]: m[1] for line in lines if (m := re.fullmatch(r"(.*?) *\(([^()]*)\)", line))}


@pytest.mark.parametrize(("system", "sclite_wer"), [("greedy", 0.789), ("lm", None)])
def test_never_more_errors_than_sclite_on_real_speech(system, sclite_wer):
    if "ASR_DATA" not in os.environ:
        pytest.skip("ASR_DATA is not set: sclite's golden alignments are not here")
    folder = Path(os.environ["ASR_DATA"]) / "golden" / "sclite"
    pattern = r"Scores: \(#C #S #D #I\) (\d+) (\d+) (\d+) (\d+)"
    lines = re.findall(pattern, (folder / f"{system}.pra").read_text(encoding="utf-8"))
    theirs = sum((ErrorCounts(*map(int, line)) for line in lines), ErrorCounts())
    ours = score(read_trn(folder / "ref.trn"), read_trn(folder / f"{system}.trn")).words
    assert ours.reference_length == theirs.reference_length
    # sclite's substitution costs more than a deletion or an insertion, so its paths may have an error more.
    assert theirs.errors * 0.99 <= ours.errors <= theirs.errors
    if sclite_wer is not None:
        assert ours.rate == pytest.approx(sclite_wer, abs=0.0005)  # printed with one decimal of a percent


# ---- intervals


def counts(errors, words):
    return [ErrorCounts(hits=n - e, substitutions=e) for e, n in zip(errors, words)]


def test_bootstrap_follows_the_exact_distribution():
    # Three utterances: all 27 draws with replacement, counted by hand (itertools), give the exact chances.
    units = [(0, 2), (1, 2), (3, 4)]
    draws = [
        sum(units[i][0] for i in draw) / sum(units[i][1] for i in draw)
        for draw in itertools.product(range(3), repeat=3)
    ]
    rates = bootstrap_rates(counts(*zip(*units)), replications=100_000, seed=3)
    assert set(rates) == set(draws)
    for value in set(draws):
        chance = draws.count(value) / 27
        tolerance = 5 * math.sqrt(chance * (1 - chance) / 100_000)  # five standard deviations
        assert np.mean(rates == value) == pytest.approx(chance, abs=tolerance)


def test_interval_of_two_utterances_by_hand():
    # Draws: both wrong 1/4, one of each 1/2, both right 1/4. The 2.5 % tails lie inside the outer quarters.
    interval = wer_interval(scored([("a", "x"), ("a", "a")]))
    assert (interval.low, interval.high, interval.unit, interval.num_units) == (0.0, 1.0, "utterance", 2)


def test_interval_agrees_with_the_normal_approximation():
    rng = np.random.default_rng(5)
    words = rng.integers(5, 30, 2000)
    errors = rng.binomial(words, 0.1)
    rate = errors.sum() / words.sum()
    # Standard error of a ratio by the delta method: residuals e - rate * n, over the total of n.
    deviation = math.sqrt(((errors - rate * words) ** 2).sum()) / words.sum()
    low, high = central_interval(bootstrap_rates(counts(errors, words), 10_000, seed=0), 0.95)
    # The quantiles of 10,000 replications scatter by 2.7 % of a standard deviation each; four times that.
    assert low == pytest.approx(rate - 1.96 * deviation, abs=0.11 * deviation)
    assert high == pytest.approx(rate + 1.96 * deviation, abs=0.11 * deviation)


def test_equal_utterances_have_no_spread():
    interval = wer_interval(scored([("a b c d", "a b c x")] * 10))
    assert (interval.low, interval.high) == (0.25, 0.25)


def test_interval_depends_on_the_seed_alone():
    result = scored(random_pairs(50, seed=2))
    assert wer_interval(result, seed=1) == wer_interval(result, seed=1)
    assert wer_interval(result, seed=1) == wer_interval(Score(result.utterances[::-1]), seed=1)
    assert wer_interval(result, seed=1) != wer_interval(result, seed=2)


def test_a_wider_confidence_gives_a_wider_interval():
    result = scored(random_pairs(50, seed=2))
    narrow, wide = (wer_interval(result, confidence=share) for share in (0.5, 0.99))
    assert wide.low < narrow.low < result.wer < narrow.high < wide.high
    with pytest.raises(ValueError, match="between 0 and 1, got 95"):
        wer_interval(result, confidence=95)


def by_speaker(num_speakers, speaker_of=lambda speaker: f"s{speaker}"):
    """Twenty utterances a speaker: all wrong for odd speakers, all right for even ones."""
    pairs = [("a", "x" if speaker % 2 else "a") for speaker in range(num_speakers) for _ in range(20)]
    result = scored(pairs)
    return result, {u.id: speaker_of(i // 20) for i, u in enumerate(result.utterances)}


def test_speakers_are_the_units_and_widen_the_interval():
    result, speakers = by_speaker(6)
    over_speakers, over_utterances = wer_interval(result, speakers), wer_interval(result)
    assert (over_speakers.unit, over_speakers.num_units) == ("speaker", 6)
    assert (over_utterances.unit, over_utterances.num_units) == ("utterance", 120)
    # A share of binomial draws with chance 1/2: of 6, one at most one end (7/64 > 2.5 % > 1/64); of 120, +- 1.96 sd.
    assert (over_speakers.low, over_speakers.high) == (1 / 6, 5 / 6)
    assert over_utterances.high == pytest.approx(0.5 + 1.96 * 0.5 / math.sqrt(120), abs=0.02)


def test_too_few_or_unknown_speakers_fall_to_utterances():
    assert 3**-3 > 0.025 > MIN_SPEAKERS**-MIN_SPEAKERS  # why four
    assert wer_interval(*by_speaker(MIN_SPEAKERS)).unit == "speaker"
    assert wer_interval(*by_speaker(MIN_SPEAKERS - 1)).unit == "utterance"
    assert wer_interval(*by_speaker(6, lambda speaker: f"s{speaker}" if speaker else None)).unit == "utterance"


def test_a_missing_speaker_entry_is_an_error():
    result, speakers = by_speaker(6)
    del speakers["u7"]
    with pytest.raises(ScoringError, match="got none for u7"):
        wer_interval(result, speakers)


def test_one_utterance_has_no_interval():
    assert wer_interval(scored([("a b", "a x")])) is None


def test_empty_references_make_no_nan():
    rates = bootstrap_rates([ErrorCounts(insertions=1), ErrorCounts(hits=1), ErrorCounts()], 1000, seed=0)
    assert set(rates) == {0.0, 0.5, 1.0, 2.0, math.inf}  # (0 to 3 insertions) / (0 to 3 words) in three draws
    assert central_interval(rates, 0.95) == (0.0, math.inf)


def test_sums_of_a_replication_come_from_one_draw():
    # Column 1 is ten times column 0 plus 1, so each sum over 500 rows must be ten times the other plus 500.
    units = np.array([(i, 10 * i + 1) for i in range(500)])
    sums = bootstrap_sums(units, replications=5_000, seed=0)  # 500 distinct rows: more than one chunk
    assert sums.shape == (5_000, 2)
    assert (sums[:, 1] == 10 * sums[:, 0] + 500).all()
    # A chunk has 2**20 / 500 = 2097 replications, so with chunks that repeat one another there were no more values.
    assert len(np.unique(sums[:, 0])) > 2500


# ---- score.json and hypotheses.jsonl


def test_score_json_by_hand():
    result = scored([("a b c d", "a x c"), ("e f", "e f g")])
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
    }


@pytest.mark.parametrize(("reference", "hypothesis"), [("", "x"), ("", ""), ("a", "a")])
def test_score_json_is_strict_json(reference, hypothesis):
    result = scored([(reference, hypothesis)])
    text = json.dumps(score_json(result, 0.0, 0.0, {"name": "greedy"}), allow_nan=False)
    value = json.loads(text)
    assert value["wer"] == (None if hypothesis == "x" else 0.0)
    assert value["wer_ci95"] == [None, None]
    assert value["rtfx"] is None
    assert value["decoder"] == {"name": "greedy"}


def test_score_json_interval_over_speakers():
    result, speakers = by_speaker(6)
    assert score_json(result, 1.0, 1.0, "greedy", speakers)["wer_ci95"] == [1 / 6, 5 / 6]


def test_hypothesis_rows():
    rows = list(hypothesis_rows(scored([("a  b", "a x y"), ("", "")])))
    assert rows == [
        {"id": "u0", "reference": "a b", "hypothesis": "a x y", "errors": 2},
        {"id": "u1", "reference": "", "hypothesis": "", "errors": 0},
    ]


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
    first = score_json(scored([("a b c d", "a x c"), ("e f", "e f g")]), 3725.0, 7.45, "greedy")
    second = score_json(scored([("", "x")]), 0.0, 0.0, "greedy")
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
    value = score_json(scored([("a", "a")]), 1.0, 1.0, "greedy")
    del value["cer"], value["rtfx"]
    with pytest.raises(ScoringError, match=r"score\.json for digits, got none of cer, rtfx"):
        summary_table({"digits": value})
