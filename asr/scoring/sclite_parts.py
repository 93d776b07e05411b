"""What sclite's reports have in common: speakers in order, letter case, and its arithmetic."""

from __future__ import annotations

import operator
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import reduce

from asr.scoring.breakdown import UNKNOWN
from asr.scoring.errors import CORRECT, AlignedWord, ErrorCounts, Score, UtteranceErrors
from asr.scoring.scored_set import ScoredSet


@dataclass(frozen=True)
class Speaker:
    """The utterances of one speaker, or of all that have none."""

    name: str
    score: Score


def by_speaker(scored: ScoredSet) -> list[Speaker]:
    """The set's speakers in the order in which they first occur, as sclite lists them."""
    speakers = scored.speakers
    utterances: dict[str, list[UtteranceErrors]] = {}
    for utterance in scored.score.utterances:
        utterances.setdefault(speakers[utterance.id] or UNKNOWN, []).append(utterance)
    return [Speaker(name, replace(scored.score, utterances=tuple(own))) for name, own in utterances.items()]


def aligned_columns(utterance: UtteranceErrors) -> list[AlignedWord]:
    """The columns of sclite's alignment: optional words in parentheses, those left out as correct ones."""
    columns = utterance.aligned_words()
    for optional in reversed(utterance.optional):  # from the last, so that the places of the others stay
        word = f"({optional.word})"
        if optional.is_left_out:
            columns.insert(optional.column, AlignedWord(CORRECT, word, None))
        else:
            columns[optional.column] = columns[optional.column]._replace(reference=word)
    return columns


def folds_case(score: Score) -> bool:
    """Whether letter case is free to tell wrong words from right ones, as sclite uses it.

    sclite takes `May` and `may` for one word unless it is called with `-s`. Here they are two (asr/scoring/errors.py),
    and where a set has such a pair, the reports leave all words as they are, which is the layout of `sclite -s`.
    """
    words: set[str] = set()
    for utterance in score.utterances:
        words.update(utterance.reference.split(), utterance.hypothesis.split())
    return len({word.lower() for word in words}) == len(words)


# ---- numbers ---------------------------------------------------------------------------------------------------------


def percentage(part: int, whole: int) -> float:
    """100 · part / whole, or 0.0 of nothing; divided first as in sclite, since halves are decided by the last bit."""
    return part / whole * 100.0 if whole else 0.0


def rounded(value: float) -> float:
    """To one decimal, halves away from zero; Python's and C's own way is the even neighbour."""
    return int(value * 10.0 + (0.5 if value > 0.0 else -0.5)) / 10.0


def counts(words: ErrorCounts, wrong_sentences: int) -> list[int]:
    """The columns Corr, Sub, Del, Ins, Err and S.Err as counts."""
    return [words.hits, words.substitutions, words.deletions, words.insertions, words.errors, wrong_sentences]


def percentages(words: ErrorCounts, wrong_sentences: int, num_sentences: int) -> list[float]:
    """The columns Corr, Sub, Del, Ins, Err and S.Err as percentages of the reference words and of the sentences."""
    of_words = [percentage(count, words.reference_length) for count in counts(words, wrong_sentences)[:-1]]
    return [*of_words, percentage(wrong_sentences, num_sentences)]


def mean(values: Sequence[float]) -> float:
    """The mean over speakers; 0.0 of none."""
    return _sum(values) / len(values) if values else 0.0


def standard_deviation(values: Sequence[float]) -> float:
    """The standard deviation over speakers with n − 1 in the denominator; 0.0 of fewer than two."""
    if len(values) < 2:
        return 0.0
    center = mean(values)
    return float((_sum((value - center) ** 2 for value in values) / (len(values) - 1)) ** 0.5)


def median(values: Sequence[float]) -> float:
    """The median over speakers, of an even number the mean of the middle two; 0.0 of none."""
    return statistics.median(values) if values else 0.0


def _sum(values: Iterable[float]) -> float:
    # Python's sum() makes up for rounding from 3.12 on, C's loop does not, and halves are decided by the last bit.
    return reduce(operator.add, values, 0.0)
