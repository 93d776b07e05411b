"""Who speaks how long in a manifest, which characters its texts have, and how durations and rates are spread."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from asr.types import Seconds, Utterance

MAX_BINS = 12
SMALLEST_SCALE = 1e-6  # no histogram looks closer: durations are in seconds
# A tail of one in a hundred, beyond one and a half times the rest, does not decide how wide the bins are.
BULK_SHARE = 0.99
FAR_OUT = 1.5


@dataclass(frozen=True, slots=True)
class Share:
    """One speaker's part."""

    num_utterances: int
    seconds: Seconds


@dataclass(frozen=True, slots=True)
class Distribution:
    """A histogram, `counts[i]` values in [edges[i], edges[i + 1]), and the values' quantiles."""

    edges: tuple[float, ...]
    counts: tuple[int, ...]
    minimum: float
    median: float
    maximum: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Distribution | None:
        """About MAX_BINS equal bins, as wide as a 1-2-5 series has it; None for no values.

        When a few values lie so far out that the bins would be too wide for the rest, the last bin takes them.
        """
        if not values:
            return None
        reach = float(np.quantile(values, BULK_SHARE, method="higher"))
        reach = max(values) if max(values) <= FAR_OUT * reach else reach
        step, exponent = _bin_width(reach)
        width = _scale(step, exponent)
        bins = np.floor(np.array(values) / width + 1e-9)  # 0.3 / 0.1 is a little less than 3
        bins = np.minimum(bins, math.floor(reach / width + 1e-9) + 1).astype(int)
        first, last = int(bins.min()), int(bins.max())  # no empty bins in front
        edges = [_scale(i * step, exponent) for i in range(first, last + 2)]
        edges[-1] = max(edges[-1], max(values))
        counts = tuple(np.bincount(bins - first).tolist())
        return cls(tuple(edges), counts, min(values), float(np.median(values)), max(values))

    @property
    def is_open_ended(self) -> bool:
        """Whether the last bin takes the values that lie far out."""
        return self.edges[-1] == self.maximum

    def to_json(self) -> dict[str, Any]:
        """The distribution as JSON types."""
        return {
            "min": self.minimum,
            "median": self.median,
            "max": self.maximum,
            "edges": list(self.edges),
            "counts": list(self.counts),
        }


@dataclass(frozen=True, slots=True)
class Census:
    """What a list of utterances consists of."""

    num_utterances: int
    seconds: Seconds
    speakers: Mapping[str, Share]  # most audio first; utterances without a speaker are not in it
    alphabet: Mapping[str, int]  # character -> how often, most frequent first
    durations: Distribution | None
    rates: Distribution | None  # characters a second, of utterances with a text

    def to_json(self) -> dict[str, Any]:
        """The census as JSON types."""
        return {
            "utterances": self.num_utterances,
            "hours": self.seconds / 3600,
            "speakers": {
                name: {"utterances": share.num_utterances, "hours": share.seconds / 3600}
                for name, share in self.speakers.items()
            },
            "alphabet": dict(self.alphabet),
            "durations": self.durations and self.durations.to_json(),
            "characters_per_second": self.rates and self.rates.to_json(),
        }


def take_census(utterances: Sequence[Utterance]) -> Census:
    """Count everything, by the manifest alone."""
    by_speaker: defaultdict[str, list[Seconds]] = defaultdict(list)
    alphabet: Counter[str] = Counter()
    for utterance in utterances:
        alphabet.update(utterance.text)
        if utterance.speaker is not None:
            by_speaker[utterance.speaker].append(utterance.duration)
    shares = {name: Share(len(seconds), math.fsum(seconds)) for name, seconds in by_speaker.items()}
    return Census(
        num_utterances=len(utterances),
        seconds=math.fsum(u.duration for u in utterances),
        speakers=dict(sorted(shares.items(), key=lambda item: (-item[1].seconds, item[0]))),
        alphabet=dict(sorted(alphabet.items(), key=lambda item: (-item[1], item[0]))),
        durations=Distribution.of([u.duration for u in utterances]),
        rates=Distribution.of([len(u.text) / u.duration for u in utterances if u.text and u.duration > 0]),
    )


def _bin_width(largest: float) -> tuple[int, int]:
    """(1, 2 or 5, power of ten) of the narrowest bins of which MAX_BINS reach to `largest`; 1 for zero."""
    if largest <= 0:
        return 1, 0
    largest = max(largest, SMALLEST_SCALE)  # a tenth of the smallest float is zero, which has no logarithm
    exponent = math.floor(math.log10(largest / MAX_BINS))
    candidates = ((1, exponent), (2, exponent), (5, exponent), (1, exponent + 1))
    return next(c for c in candidates if _scale(*c) * MAX_BINS >= largest * (1 - 1e-9))


def _scale(number: int, exponent: int) -> float:
    """number × 10^exponent, correctly rounded: 0.3, not 0.30000000000000004."""
    return float(number * 10**exponent) if exponent >= 0 else number / 10**-exponent
