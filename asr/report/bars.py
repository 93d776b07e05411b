"""Error rates of groups as bars with intervals, in shares of a common scale."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from asr.scoring.breakdown import DURATION, SPEAKER, Breakdown, Group, Summary

ALWAYS_SHOWN = 12  # groups; with more, the worst of them
TITLES = {SPEAKER: "Speaker", DURATION: "Duration"}
_STEPS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)


@dataclass(frozen=True, slots=True)
class Bar:
    """One group. Positions are shares of the scale, 0 to 1; what has no finite value is None."""

    name: str
    utterances: int
    words: int
    wer: float | None
    low: float | None  # of the interval
    high: float | None
    length: float | None
    low_at: float | None
    high_at: float | None


@dataclass(frozen=True, slots=True)
class Chart:
    """The groups of one field, drawn to one scale."""

    title: str
    bars: tuple[Bar, ...]  # shown at once
    more: tuple[Bar, ...]  # shown on demand
    overall_at: float | None  # the whole set's rate on the scale
    scale: float  # the rate at its right end
    rates: Summary  # of all groups together


def chart(breakdown: Breakdown) -> Chart:
    """Lay a breakdown out.

    A handful of groups stay in their order, as that of durations means something; many come worst first.
    """
    groups, overall = list(breakdown.groups), breakdown.summary.total.wer
    if len(groups) > ALWAYS_SHOWN:
        groups.sort(key=lambda group: (-group.wer, group.name))
    scale = _scale(groups, overall)
    bars = tuple(_bar(group, scale) for group in groups)
    return Chart(
        title=TITLES.get(breakdown.field, breakdown.field),
        bars=bars[:ALWAYS_SHOWN],
        more=bars[ALWAYS_SHOWN:],
        overall_at=_share(overall, scale),
        scale=scale,
        rates=breakdown.summary,
    )


def _scale(groups: Sequence[Group], overall: float) -> float:
    """The first round rate that no bar and no interval exceeds."""
    ends = [overall, *(group.wer for group in groups), *(group.interval.high for group in groups if group.interval)]
    largest = max((end for end in ends if math.isfinite(end)), default=1.0)
    step = next((step for step in _STEPS if largest <= 5 * step), _STEPS[-1])
    return max(1, math.ceil(largest / step)) * step


def _bar(group: Group, scale: float) -> Bar:
    low, high = (group.interval.low, group.interval.high) if group.interval else (math.nan, math.nan)
    return Bar(
        name=group.name,
        utterances=group.utterances,
        words=group.words.reference_length,
        wer=_finite(group.wer),
        low=_finite(low),
        high=_finite(high),
        length=_share(group.wer, scale),
        low_at=_share(low, scale),
        high_at=_share(high, scale),
    )


def _share(rate: float, scale: float) -> float | None:
    return rate / scale if math.isfinite(rate) else None


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
