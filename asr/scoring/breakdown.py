"""Where the errors are: a scored test set by speaker, by duration, or by any field of its manifest.

Numbers of a group are sums of counts, as everywhere. Across the groups stand the lines below NIST sclite's tables:
Sum/Avg is the whole set, Mean, S.D. (of a sample) and Median are over the groups' rates, each group counting once.
"""

from __future__ import annotations

import math
import statistics
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, astuple, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from asr.progress import track
from asr.scoring.errors import ErrorCounts, Score, UtteranceErrors
from asr.scoring.scored_set import Details, ScoredSet
from asr.scoring.significance import Interval, wer_interval

SPEAKER, DURATION = "speaker", "duration"  # every other name is a field of the manifest
UNKNOWN = "unknown"
DURATION_EDGES_SECONDS = (2.0, 5.0, 10.0, 20.0)
MAX_NUMBERS_APART = 8  # a field with more different numbers is cut at its quartiles
_QUARTILES = (0.25, 0.5, 0.75)

Sorted = tuple[int, float, str]  # the place of a group: unknown last, numbers by size, names by letters


@dataclass(frozen=True, slots=True)
class Rates:
    """The columns of sclite's tables, as fractions: of the reference words, the last one of the utterances."""

    correct: float
    substitutions: float
    deletions: float
    insertions: float
    errors: float  # the word error rate
    sentence_errors: float


@dataclass(frozen=True, slots=True)
class Group:
    """Some utterances of a test set, together."""

    name: str
    utterances: int
    words: ErrorCounts
    sentence_errors: int
    interval: Interval | None  # of the word error rate within the group; None for a single utterance

    @property
    def wer(self) -> float:
        """Word error rate as a fraction; without reference words as `ErrorCounts.rate` says."""
        return self.words.rate

    @property
    def rates(self) -> Rates | None:
        """Every rate; None without reference words."""
        number = self.words.reference_length
        if not number:
            return None
        return Rates(
            correct=self.words.hits / number,
            substitutions=self.words.substitutions / number,
            deletions=self.words.deletions / number,
            insertions=self.words.insertions / number,
            errors=self.words.rate,
            sentence_errors=self.sentence_errors / self.utterances,
        )

    def to_json(self) -> dict[str, Any]:
        """Strict JSON: what has no finite value is None."""
        bounds = (self.interval.low, self.interval.high) if self.interval else (math.nan, math.nan)
        return {
            "name": self.name,
            "utterances": self.utterances,
            "reference_words": self.words.reference_length,
            "substitutions": self.words.substitutions,
            "deletions": self.words.deletions,
            "insertions": self.words.insertions,
            "sentence_errors": self.sentence_errors,
            "wer": _finite(self.wer),
            "wer_ci95": [_finite(bound) for bound in bounds],
        }


@dataclass(frozen=True, slots=True)
class Summary:
    """All groups together, and how their rates are spread. Groups without reference words have no rates."""

    total: Group
    mean: Rates | None  # None where no group has rates
    standard_deviation: Rates | None  # None of fewer than two
    median: Rates | None


@dataclass(frozen=True, slots=True)
class Breakdown:
    """A test set in groups; every utterance is in exactly one."""

    field: str
    groups: tuple[Group, ...]
    summary: Summary

    def to_json(self) -> dict[str, Any]:
        """Strict JSON: what has no finite value is None."""
        summary = self.summary
        spread = (summary.mean, summary.standard_deviation, summary.median)
        names = ("mean", "standard_deviation", "median")
        return {
            "field": self.field,
            "groups": [group.to_json() for group in self.groups],
            "summary": {
                "total": summary.total.to_json(),
                **{name: None if rates is None else asdict(rates) for name, rates in zip(names, spread)},
            },
        }


def break_down(scored: ScoredSet, field: str, *, show_progress: bool = False) -> Breakdown:
    """Group a test set by "speaker", "duration" (0-2-5-10-20-∞ s, lower ends inclusive) or a field of its manifest.

    A field with more than `MAX_NUMBERS_APART` different numbers is cut at its quartiles; any other value is a group
    of its own. What is missing (absent, null, an empty string, not a number) is the group "unknown". Resampling takes
    some hundredths of a second a group; show_progress: a bar on standard error.
    """
    values = {utterance.id: _value(scored.details[utterance.id], field) for utterance in scored.score.utterances}
    place = _duration_bin if field == DURATION else _placing(list(values.values()))
    members: dict[Sorted, list[UtteranceErrors]] = {}
    for utterance in scored.score.utterances:
        members.setdefault(place(values[utterance.id]), []).append(utterance)
    speakers = scored.speakers
    places = track(sorted(members), f"resampling by {field}", shown=show_progress)
    groups = tuple(_group(place[-1], members[place], speakers) for place in places)
    return Breakdown(field, groups, _summarize(groups, _group("Sum/Avg", scored.score.utterances, speakers)))


def _value(details: Details, field: str) -> Any:
    match field:
        case "speaker":
            value: Any = details.speaker
        case "duration":
            value = details.duration
        case other:
            value = details.fields.get(other)
    is_missing = value == "" or (isinstance(value, float) and not math.isfinite(value))
    return None if is_missing else value


def _group(name: str, utterances: Sequence[UtteranceErrors], speakers: Mapping[str, str | None]) -> Group:
    score = Score(tuple(utterances))
    return Group(name, len(score.utterances), score.words, score.sentence_errors, wer_interval(score, speakers))


# ---- which group -----------------------------------------------------------------------------------------------------


def _placing(values: Sequence[Any]) -> Callable[[Any], Sorted]:
    """How values of a field become places: by quartile when they are many numbers, else each for itself."""
    known = [value for value in values if value is not None]
    if not all(_is_number(value) for value in known):
        return _by_name
    return _quartile_bins(known) if len(set(known)) > MAX_NUMBERS_APART else _by_size


def _by_name(value: Any) -> Sorted:
    name = UNKNOWN if value is None else str(value).lower() if isinstance(value, bool) else str(value)
    return (int(name == UNKNOWN), 0.0, name)


def _by_size(value: float | None) -> Sorted:
    return _by_name(None) if value is None else (0, float(value), _number(value))


def _duration_bin(seconds: float | None) -> Sorted:
    if seconds is None:
        return _by_name(None)
    edges = (0.0, *DURATION_EDGES_SECONDS)
    index = int(np.searchsorted(DURATION_EDGES_SECONDS, seconds, side="right"))
    low = edges[index]
    return (0, low, f"{low:g}–{edges[index + 1]:g} s" if index + 1 < len(edges) else f"≥ {low:g} s")


def _quartile_bins(known: Sequence[float]) -> Callable[[Any], Sorted]:
    """Bins with a quarter of the utterances each, as far as equal numbers allow; named by their own least and most."""
    edges = np.unique(np.quantile(known, _QUARTILES))
    numbers = np.unique(known)
    bins = np.searchsorted(edges, numbers, side="left")
    names = {index: _span(numbers[bins == index]) for index in set(bins.tolist())}

    def place(value: float | None) -> Sorted:
        if value is None:
            return _by_name(None)
        index = int(np.searchsorted(edges, value, side="left"))
        return (0, float(index), names[index])

    return place


def _span(numbers: NDArray[Any]) -> str:
    low, high = numbers.min(), numbers.max()
    return _number(low) if low == high else f"{_number(low)}–{_number(high)}"


def _is_number(value: Any) -> bool:
    # An integer beyond the range of floats is a name that happens to have digits.
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= sys.float_info.max


def _number(value: float) -> str:
    return str(int(value)) if value == int(value) else f"{value:g}"


# ---- across groups ---------------------------------------------------------------------------------------------------


def _summarize(groups: Sequence[Group], total: Group) -> Summary:
    rates = [rates for group in groups if (rates := group.rates) is not None]
    return Summary(
        total=total,
        mean=_across(rates, statistics.fmean) if rates else None,
        standard_deviation=_across(rates, statistics.stdev) if len(rates) > 1 else None,
        median=_across(rates, statistics.median) if rates else None,
    )


def _across(rates: Sequence[Rates], measure: Callable[[list[float]], float]) -> Rates:
    return Rates(*(measure(list(column)) for column in zip(*map(astuple, rates))))


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
