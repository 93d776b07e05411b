"""How far a word error rate would move on another test set: bootstrap intervals.

Bisani and Ney, "Bootstrap estimates for confidence intervals in ASR performance evaluation", ICASSP 2004: draw
as many units as the test set has, with replacement; sum errors and reference words over the draw; divide; repeat.
The middle 95 % of these rates is the interval. Units are speakers where possible, since the utterances of one
speaker share voice, accent and microphone, and treating them as independent makes intervals too narrow.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from asr.errors import ScoringError
from asr.scoring.errors import ErrorCounts, Score

REPLICATIONS = 10_000
CONFIDENCE = 0.95

# Of k speakers, all k draws hit the worst one with probability k**-k. Up to k = 3 that is more than the 2.5 % of a
# tail (1/27 = 3.7 %), so the "interval" would only be the range from the best to the worst speaker.
MIN_SPEAKERS = 4

_CHUNK_ELEMENTS = 1 << 20  # of the weight matrix, 8 MB: stays near the cache


@dataclass(frozen=True, slots=True)
class Interval:
    """A central interval of a rate (fractions) and what was resampled to find it."""

    low: float
    high: float
    unit: str  # "speaker" or "utterance"
    num_units: int


def wer_interval(
    score: Score,
    speakers: Mapping[str, str | None] | None = None,
    replications: int = REPLICATIONS,
    confidence: float = CONFIDENCE,
    seed: int = 0,
) -> Interval | None:
    """Bootstrap the word error rate over speakers, or over utterances when there are fewer than `MIN_SPEAKERS`.

    Args:
        score: the scored test set
        speakers: utterance id -> speaker. None, or one utterance without a speaker, means over utterances
        replications: test sets drawn
        confidence: share of them inside the interval, in (0, 1)
        seed: the same seed gives the same interval, whatever the order of the utterances

    Returns:
        None for fewer than two utterances: one measurement says nothing about its own spread.

    Raises:
        ScoringError: an utterance is missing from `speakers`.
    """
    counts = _counts_by_speaker(score, speakers) if speakers is not None else None
    unit = "speaker" if counts else "utterance"
    counts = counts or [utterance.words for utterance in score.utterances]
    if len(counts) < 2:
        return None
    low, high = central_interval(bootstrap_rates(counts, replications, seed), confidence)
    return Interval(low, high, unit, len(counts))


def bootstrap_rates(counts: Sequence[ErrorCounts], replications: int, seed: int) -> NDArray[np.float64]:
    """Error rates of resampled test sets, (replications,) float64.

    A replication without reference words has rate 0 if it has no errors either, else infinity.
    """
    units = np.array([(count.errors, count.reference_length) for count in counts], dtype=np.int64)
    sums = bootstrap_sums(units, replications, seed)
    errors, words = sums[:, 0], sums[:, 1]
    rates = np.where(errors > 0, np.inf, 0.0)
    np.divide(errors, words, out=rates, where=words > 0)
    return rates


def bootstrap_sums(units: NDArray[np.int64], replications: int, seed: int) -> NDArray[np.int64]:
    """Column sums over resampled rows: (N, K) int64 -> (replications, K) int64.

    All columns of a replication come from the same draw, as a paired comparison of two systems needs. Equal rows
    are drawn together: how often each distinct row occurs among N draws is multinomial with its share of the rows,
    which is exact, and makes the work depend on the number of distinct rows (hundreds) and not on N.
    """
    rows, counts = np.unique(units, axis=0, return_counts=True)
    generator = np.random.default_rng(seed)
    chunk = max(1, _CHUNK_ELEMENTS // len(rows))
    return np.concatenate(
        [
            generator.multinomial(len(units), counts / len(units), size=min(chunk, replications - start)) @ rows
            for start in range(0, replications, chunk)
        ]
    )


def central_interval(values: NDArray[np.float64], confidence: float) -> tuple[float, float]:
    """Lower and upper bound of the middle `confidence` of `values`; both are values that occur."""
    if not 0.0 < confidence < 1.0:
        raise ValueError(f"expected a confidence between 0 and 1, got {confidence}")
    tail = (1.0 - confidence) / 2.0
    # No interpolation: it would make NaN between two infinite rates.
    low, high = np.quantile(values, [tail, 1.0 - tail], method="inverted_cdf")
    return float(low), float(high)


def _counts_by_speaker(score: Score, speakers: Mapping[str, str | None]) -> list[ErrorCounts] | None:
    """Sum the word counts of each speaker; None where speakers cannot be the units."""
    totals: dict[str, ErrorCounts] = {}
    for utterance in score.utterances:
        if utterance.id not in speakers:
            raise ScoringError(f"expected a speaker (or None) for every utterance, got none for {utterance.id}")
        speaker = speakers[utterance.id]
        if speaker is None:
            return None
        totals[speaker] = totals.get(speaker, ErrorCounts()) + utterance.words
    return list(totals.values()) if len(totals) >= MIN_SPEAKERS else None
