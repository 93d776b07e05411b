"""Is one system better than another? The significance tests of NIST's sc_stats, on two systems' alignments.

- `mapsswe`: matched pairs of sentence segments, word errors; the field's first choice (Gillick & Cox 1989)
- `sign_test`, `wilcoxon`: word error rates of speakers
- `mcnemar`: sentences that only one system has right

All are two-tailed, of the null hypothesis that the systems do not differ. sc_stats works on the alignments of sclite
(`score(…, costs=SCLITE)`); given those, its segments, means, deviations and z are ours. It looks p up in a table at
two decimals of z, so that ours is the more exact. Where its arithmetic breaks down, the difference is told below.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from asr.scoring.errors import CORRECT, INSERTION, ErrorCounts, Score, UtteranceErrors
from asr.scoring.significance import same_references

BUFFER_WORDS = 2  # correct ones between segments; from two on their errors count as independent (NIST's choice)
# Percentage points between the rates of a speaker below which sc_stats calls them equal.
_EQUAL_PERCENT = 0.005


@dataclass(frozen=True, slots=True)
class Segment:
    """A stretch of an utterance where at least one system is wrong, with the errors of both."""

    first: int
    second: int


@dataclass(frozen=True, slots=True)
class MatchedPairs:
    """The outcome of MAPSSWE. Differences are errors of the first system minus the second's, a segment."""

    num_segments: int
    mean: float
    standard_deviation: float  # of a sample; 0 of fewer than two segments
    z: float | None  # None where all differences are the same and not 0: they have no spread to divide by
    p: float


@dataclass(frozen=True, slots=True)
class SignTest:
    """On how many speakers each system has the lower word error rate."""

    num_first_better: int
    num_second_better: int
    num_equal: int
    p: float


@dataclass(frozen=True, slots=True)
class Wilcoxon:
    """Wilcoxon's signed-rank test of speakers' word error rates, by the normal approximation."""

    num_speakers: int
    z: float  # never positive
    p: float


@dataclass(frozen=True, slots=True)
class McNemar:
    """How many sentences only one system has right."""

    num_only_first_correct: int
    num_only_second_correct: int
    p: float


# ---- matched pairs ---------------------------------------------------------------------------------------------------


def mapsswe(first: Score, second: Score, buffer_words: int = BUFFER_WORDS) -> MatchedPairs:
    """The matched-pairs sentence-segment word error test.

    Gillick and Cox, "Some statistical issues in the comparison of speech recognition algorithms", ICASSP 1989: the
    differences Zᵢ of the errors in segments that are independent of one another have the mean μ and the standard
    deviation σ; W = μ / (σ / √n) is normal with variance 1 for many segments if the systems do not differ.

    No segments, or no difference in any: z = 0 and p = 1. All n differences the same and not 0: W is not defined;
    sc_stats calls that no difference, whatever n is. Here p is the chance that n fair coins all fall alike, 2 / 2ⁿ:
    the permutation test of the same hypothesis, which is 1 for a single segment.

    Raises:
        ScoringError: the references differ.
    """
    pairs = zip(first.utterances, same_references(first, second).utterances)
    differences = [
        segment.first - segment.second for one, other in pairs for segment in _segments(one, other, buffer_words)
    ]
    number = len(differences)
    if not any(differences):
        return MatchedPairs(number, 0.0, 0.0, 0.0, 1.0)
    mean = sum(differences) / number
    squares = math.fsum((difference - mean) ** 2 for difference in differences)
    if len(set(differences)) == 1:
        return MatchedPairs(number, mean, 0.0, None, 2.0 ** (1 - number))
    deviation = math.sqrt(squares / (number - 1))
    z = mean / (deviation / math.sqrt(number))
    return MatchedPairs(number, mean, deviation, z, _two_tailed(z))


def _segments(one: UtteranceErrors, other: UtteranceErrors, buffer_words: int) -> list[Segment]:
    """The segments of an utterance; one in all where the systems took different alternatives of the reference.

    Words of two texts cannot be laid beside one another, and the ends of the utterance are boundaries for sure.
    """
    if one.reference == other.reference:
        return segments(one.operations, other.operations, buffer_words)
    whole = Segment(one.words.errors, other.words.errors)
    return [whole] if whole.first or whole.second else []


def segments(first: str, second: str, buffer_words: int = BUFFER_WORDS) -> list[Segment]:
    """Cut the alignments of one utterance into segments with errors, at runs of words that both have right.

    A segment ends where `buffer_words` words in a row are correct in both systems, with nothing inserted before the
    second and later ones by either. The utterance's ends are boundaries too.

    Args:
        first: one system's `UtteranceErrors.operations`
        second: the other's, of the same reference
        buffer_words: how many make a boundary, at least 1
    """
    found = []
    errors_first = errors_second = num_correct = 0
    for one, other in zip(_reference_words(first), _reference_words(second), strict=True):
        errors_first, errors_second = errors_first + one.errors, errors_second + other.errors
        if one.errors or other.errors:
            num_correct = 0
        if one.is_correct and other.is_correct:  # it may follow insertions, and is the first of a run then
            num_correct += 1
        if num_correct >= buffer_words and (errors_first or errors_second):
            found.append(Segment(errors_first, errors_second))
            errors_first = errors_second = 0
    if errors_first or errors_second:
        found.append(Segment(errors_first, errors_second))
    return found


class _ReferenceWord(NamedTuple):
    is_correct: bool
    errors: int  # its own, and words inserted before it


def _reference_words(operations: str) -> Iterator[_ReferenceWord]:
    """The reference words of an alignment; what is inserted after the last one comes as one more, not correct."""
    inserted = 0
    for operation in operations:
        if operation == INSERTION:
            inserted += 1
        else:
            yield _ReferenceWord(operation == CORRECT, inserted + (operation != CORRECT))
            inserted = 0
    yield _ReferenceWord(False, inserted)


# ---- speakers --------------------------------------------------------------------------------------------------------


def speaker_rates(score: Score, speakers: Mapping[str, str | None]) -> dict[str, float]:
    """Speaker -> word error rate, in the order of the utterances.

    Empty unless every utterance has a speaker. Speakers without reference words have no rate and are left out.
    """
    totals: dict[str, ErrorCounts] = {}
    for utterance in score.utterances:
        speaker = speakers[utterance.id]
        if speaker is None:
            return {}
        totals[speaker] = totals.get(speaker, ErrorCounts()) + utterance.words
    return {speaker: counts.rate for speaker, counts in totals.items() if counts.reference_length}


def sign_test(first: Sequence[float], second: Sequence[float]) -> SignTest:
    """The sign test of speakers' word error rates (fractions), in the same order for both systems; at least one.

    How many fair coins of n fall on the rarer side, or fewer, doubled. Half of the speakers without a difference
    count for each side; an odd one counts against the system with the lower mean rate.
    """
    differences = _percent_differences(first, second)
    second_better = int((differences > 0).sum())
    first_better = int((differences < 0).sum())
    equal = len(differences) - first_better - second_better
    with_odd, other = (first_better, second_better) if sum(first) > sum(second) else (second_better, first_better)
    p = _coins(with_odd + (equal + 1) // 2, other + equal // 2)
    return SignTest(first_better, second_better, equal, p)


def wilcoxon(first: Sequence[float], second: Sequence[float]) -> Wilcoxon:
    """Wilcoxon's signed-rank test of speakers' word error rates, in the same order for both systems; at least one.

    z = (W - n(n + 1) / 4) / √(n(n + 1)(2n + 1) / 24), where W is the smaller sum of the ranks of absolute differences
    that have one sign. Equal differences share their mean rank. As in sc_stats, differences of zero keep their ranks,
    which go to both sides in turn, first to that of the lower mean rate, and the variance is not corrected for ties.
    The normal approximation is poor below 8 speakers. No difference on any speaker: z = 0 and p = 1.
    """
    differences = _percent_differences(first, second)
    number = len(differences)
    if not differences.any():
        return Wilcoxon(number, 0.0, 1.0)
    ranks = _mean_ranks(np.round(abs(np.subtract(first, second)), 12))  # equal but for rounding is equal
    signs = np.sign(differences) * (1 if sum(first) > sum(second) else -1)  # 1: the better system is better here too
    zeros = np.flatnonzero(differences == 0)
    signs[zeros] = np.where(np.arange(len(zeros)) % 2 == 0, 1, -1)
    smaller = min(ranks[signs > 0].sum(), ranks[signs < 0].sum())
    deviation = math.sqrt(number * (number + 1) * (2 * number + 1) / 24)
    z = float(smaller - number * (number + 1) / 4) / deviation
    return Wilcoxon(number, z, _two_tailed(z))


def _percent_differences(first: Sequence[float], second: Sequence[float]) -> NDArray[np.float64]:
    """In percentage points, positive where the second is better; what sc_stats calls equal is 0."""
    differences = 100.0 * np.subtract(first, second)
    return np.where(abs(differences) <= _EQUAL_PERCENT, 0.0, differences)


def _mean_ranks(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """The rank of each from 1 on, least first; equal ones share the mean of theirs."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    ranks: NDArray[np.float64] = (np.cumsum(counts) - (counts - 1) / 2)[inverse]
    return ranks


# ---- sentences -------------------------------------------------------------------------------------------------------


def mcnemar(first: Score, second: Score) -> McNemar:
    """McNemar's exact test: among sentences that one system alone has right, is either favoured over a fair coin?

    Raises:
        ScoringError: the references differ.
    """
    pairs = zip(first.utterances, same_references(first, second).utterances)
    correct = [(not one.words.errors, not other.words.errors) for one, other in pairs]
    only_first, only_second = correct.count((True, False)), correct.count((False, True))
    return McNemar(only_first, only_second, _coins(only_first, only_second))


def _coins(heads: int, tails: int) -> float:
    """The chance that fair coins fall at least as unevenly."""
    from scipy.special import bdtr

    if heads == tails:
        return 1.0
    return min(1.0, float(2.0 * bdtr(min(heads, tails), heads + tails, 0.5)))


def _two_tailed(z: float) -> float:
    return math.erfc(abs(z) / math.sqrt(2.0))
