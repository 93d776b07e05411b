"""How far a word error rate would move on another test set, and the difference of two: bootstrap intervals.

Bisani and Ney, "Bootstrap estimates for confidence intervals in ASR performance evaluation", ICASSP 2004: draw
as many units as the test set has, with replacement; sum errors and reference words over the draw; divide; repeat.
The middle 95 % of these rates is the interval. Units are speakers where possible, since the utterances of one
speaker share voice, accent and microphone, and treating them as independent makes intervals too narrow.

Two systems are compared on the same draws: what makes a draw hard is then hard for both, and falls out of their
difference. Their intervals may overlap though one is better on nearly every draw.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

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
_MULTINOMIAL_COST = 8  # of drawing how often one distinct row occurs, in drawn indices; as measured
_IDS_SHOWN = 3

Counts = TypeVar("Counts", int, NDArray[np.int64])
Labels = Sequence[str]  # the unit that each utterance belongs to


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
    labels = _speaker_labels(score, speakers)
    counts = _sums_by_label(score, labels)
    if len(counts) < 2:
        return None
    low, high = central_interval(bootstrap_rates(counts, replications, seed), confidence)
    return Interval(low, high, _unit_name(labels), len(counts))


@dataclass(frozen=True, slots=True)
class PairedBootstrap:
    """What resampling says of the difference between two systems on the same references."""

    improvement: float  # probability that the second has the lower word error rate
    difference: Interval  # of the second's word error rate minus the first's
    relative: Interval  # of this difference as a fraction of the first's word error rate


def paired_bootstrap(
    first: Score,
    second: Score,
    speakers: Mapping[str, str | None] | None = None,
    replications: int = REPLICATIONS,
    confidence: float = CONFIDENCE,
    seed: int = 0,
) -> PairedBootstrap | None:
    """Bootstrap the difference between two systems: each replication draws the same units for both.

    The probability of improvement is the share of replications in which the second system has the lower word error
    rate (Bisani & Ney 2004, section 4). One in which both have the same counts half, so that the chances of the first
    and the second add up to 1 and equal systems have 0.5.

    Args:
        first: the system to compare with
        second: the other one, on the same references
        speakers: as for `wer_interval`
        replications: as for `wer_interval`
        confidence: as for `wer_interval`
        seed: as for `wer_interval`

    Returns:
        None for fewer than two units. A relative difference from no errors at all is infinite, or 0 between equals.

    Raises:
        ScoringError: the references differ, or an utterance is missing from `speakers`.
    """
    second = same_references(first, second)
    labels = _speaker_labels(first, speakers)
    pairs = list(zip(_sums_by_label(first, labels), _sums_by_label(second, labels)))
    if len(pairs) < 2:
        return None
    counts = [(old.errors, old.reference_length, new.errors, new.reference_length) for old, new in pairs]
    sums = bootstrap_sums(np.array(counts, dtype=np.int64), replications, seed)
    old, old_words, new, new_words = sums.T
    change = rate_change(old, old_words, new, new_words)
    unit = _unit_name(labels)
    difference = central_interval(_ratio(change, old_words * new_words), confidence)
    relative = central_interval(_ratio(change, old * np.maximum(new_words, 1)), confidence)
    return PairedBootstrap(
        improvement=float(np.mean(change < 0) + np.mean(change == 0) / 2),
        difference=Interval(*difference, unit, len(pairs)),
        relative=Interval(*relative, unit, len(pairs)),
    )


def rate_change(old: Counts, old_words: Counts, new: Counts, new_words: Counts) -> Counts:
    """The change of the error rate times both numbers of reference words; without words its sign is right.

    The numbers differ where each system took another alternative of a reference as said.
    """
    # At least 1, by arithmetic that integers and arrays share.
    change: Counts = new * (old_words + (old_words == 0)) - old * (new_words + (new_words == 0))
    return change


def same_references(first: Score, second: Score) -> Score:
    """The second score with its utterances in the order of the first.

    Raises:
        ScoringError: they are not of the same utterances, or one has another reference in each; names them.
    """
    others = {utterance.id: utterance for utterance in second.utterances}
    ids = {utterance.id for utterance in first.utterances}
    if ids != others.keys():
        raise ScoringError(
            f"expected two systems on the same utterances, got {_some(sorted(ids - others.keys()))} only in the first "
            f"and {_some(sorted(others.keys() - ids))} only in the second: score both on one test set"
        )
    if changed := [u for u in first.utterances if u.given_reference != others[u.id].given_reference]:
        example = changed[0]
        raise ScoringError(
            f"expected the same references for both systems, got others for {_some([u.id for u in changed])}; of "
            f"{example.id} {example.given_reference!r} and {others[example.id].given_reference!r}: score both with the "
            "same references and options"
        )
    return replace(second, utterances=tuple(others[utterance.id] for utterance in first.utterances))


def bootstrap_rates(counts: Sequence[ErrorCounts], replications: int, seed: int) -> NDArray[np.float64]:
    """Error rates of resampled test sets, (replications,) float64.

    A replication without reference words has rate 0 if it has no errors either, else infinity.
    """
    units = np.array([(count.errors, count.reference_length) for count in counts], dtype=np.int64)
    errors, words = bootstrap_sums(units, replications, seed).T
    return _ratio(errors, words)


def bootstrap_sums(units: NDArray[np.int64], replications: int, seed: int) -> NDArray[np.int64]:
    """Column sums over resampled rows: (N, K) int64 -> (replications, K) int64.

    All columns of a replication come from the same draw, as a paired comparison of two systems needs. The weights of
    a draw, how often each row was drawn, come in one of two ways that are equally exact. Where many rows are equal,
    as utterances with few errors are, these are drawn together: how often a distinct row occurs among N draws is
    multinomial with its share of the rows, and the work depends on the number of distinct rows and not on N. Else N
    indices are drawn and counted.
    """
    rows, counts = np.unique(units, axis=0, return_counts=True)
    together = _MULTINOMIAL_COST * len(rows) < len(units)
    if not together:
        rows = np.repeat(rows, counts, axis=0)  # sorted: the order of the utterances must not change the result
    values = rows.astype(np.float64)  # exact below 2**53, and many times as fast to multiply as integers
    generator = np.random.default_rng(seed)
    chunk = max(1, _CHUNK_ELEMENTS // len(rows))
    sums = []
    for start in range(0, replications, chunk):
        size = min(chunk, replications - start)
        if together:
            weights = generator.multinomial(len(units), counts / len(units), size=size)
        else:
            weights = _counted_draws(len(units), size, generator)
        sums.append(weights.astype(np.float64) @ values)
    return np.rint(np.concatenate(sums)).astype(np.int64)


def _counted_draws(num_rows: int, size: int, generator: np.random.Generator) -> NDArray[np.int64]:
    """How often each of `num_rows` rows occurs among as many draws: (size, num_rows)."""
    draws = generator.integers(0, num_rows, size=(size, num_rows))
    draws += num_rows * np.arange(size)[:, None]  # replications beside one another, so that one call counts them all
    return np.bincount(draws.ravel(), minlength=size * num_rows).reshape(size, num_rows)


def _ratio(numerator: NDArray[np.int64], denominator: NDArray[np.int64]) -> NDArray[np.float64]:
    """Their quotients; over 0 they are 0 where the numerator is 0 too, else infinite."""
    quotients = np.where(numerator == 0, 0.0, np.copysign(np.inf, numerator))
    return np.divide(numerator, denominator, out=quotients, where=denominator > 0)


def central_interval(values: NDArray[np.float64], confidence: float) -> tuple[float, float]:
    """Lower and upper bound of the middle `confidence` of `values`; both are values that occur."""
    if not 0.0 < confidence < 1.0:
        raise ValueError(f"expected a confidence between 0 and 1, got {confidence}")
    tail = (1.0 - confidence) / 2.0
    # No interpolation: it would make NaN between two infinite rates.
    low, high = np.quantile(values, [tail, 1.0 - tail], method="inverted_cdf")
    return float(low), float(high)


def _speaker_labels(score: Score, speakers: Mapping[str, str | None] | None) -> Labels | None:
    """The speaker of each utterance; None where speakers cannot be the units."""
    if speakers is None:
        return None
    labels: list[str] = []
    for utterance in score.utterances:
        if utterance.id not in speakers:
            raise ScoringError(f"expected a speaker (or None) for every utterance, got none for {utterance.id}")
        speaker = speakers[utterance.id]
        if speaker is None:
            return None
        labels.append(speaker)
    return labels if len(set(labels)) >= MIN_SPEAKERS else None


def _sums_by_label(score: Score, labels: Labels | None) -> list[ErrorCounts]:
    """The word counts of each unit: of each label in the order in which they come, or of each utterance."""
    if labels is None:
        return [utterance.words for utterance in score.utterances]
    totals: dict[str, ErrorCounts] = {}
    for label, utterance in zip(labels, score.utterances):
        totals[label] = totals.get(label, ErrorCounts()) + utterance.words
    return list(totals.values())


def _unit_name(labels: Labels | None) -> str:
    return "utterance" if labels is None else "speaker"


def _some(ids: Sequence[str]) -> str:
    if not ids:
        return "none"
    return ", ".join(ids[:_IDS_SHOWN]) + (f" and {len(ids) - _IDS_SHOWN} more" if len(ids) > _IDS_SHOWN else "")
