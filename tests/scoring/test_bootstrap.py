"""Intervals against theory."""

import itertools
import math

import numpy as np
import pytest
from scored_pairs import by_speaker, random_pairs, scored

from asr.scoring.errors import ErrorCounts, Score, ScoringError
from asr.scoring.significance import (
    MIN_SPEAKERS,
    bootstrap_rates,
    bootstrap_sums,
    central_interval,
    wer_interval,
)


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
