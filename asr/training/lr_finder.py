"""The learning-rate range test: which rates a model learns from, found in some hundred steps.

The rate rises geometrically from step to step, and the loss says what becomes of it: nothing happens, it falls, it
explodes (Smith 2017, "Cyclical learning rates for training neural networks"; the end, the steepest slope and a tenth of
the minimum's rate as in fastai, Howard & Gugger 2020).

What is smoothed is the logarithm of the loss, and forwards as well as backwards. A CTC loss falls tenfold within a few
steps, when the model finds the blank: fastai's running mean of the loss itself, with β = 0.98, then still remembers the
beginning at the last rate, and has its minimum there.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

SMOOTHING = 0.8  # share of the running mean that stays from step to step
EXPLODED = 4.0  # times the lowest running mean
SKIPPED_SHARE = 0.1  # of the steps, at the beginning, where the mean is of few losses
BELOW_MINIMUM = 0.1  # of the minimum's rate
LEAST_FALL = 1.75  # standard deviations of single losses: a flat curve has not so much in one of a thousand tests
SMOOTHED_DEVIATION = 0.24  # of smoothed losses over that of single ones: their weights are (1 - β) / (1 + β) · β^|k|
STANDARD_ERRORS = 2.0  # above its lowest, where the smoothed loss counts as low
NORMAL_DEVIATION = 1.4826  # standard deviation over median absolute deviation
SMALLEST_LOSS = 1e-6  # nats a label: the logarithm needs an end
ROUNDING = 1e-6
FEWEST_STEPS = 20

Floats = NDArray[np.floating[Any]]


def geometric_rates(first: float, last: float, num_steps: int) -> list[float]:
    """Rates that grow by the same factor with every step: first · (last / first)^(i / (N - 1)).

    Raises `ValueError` unless 0 < first < last, both finite, and there are at least 20 steps.

    >>> [f"{rate:g}" for rate in geometric_rates(1e-6, 1e13, 20)][:4]
    ['1e-06', '1e-05', '0.0001', '0.001']
    """
    if not 0 < first < last < math.inf:
        raise ValueError(f"expected rates above 0, the last above the first, got {first:g} and {last:g}")
    if num_steps < FEWEST_STEPS:
        raise ValueError(f"expected at least {FEWEST_STEPS} steps, got {num_steps}")
    return [first * (last / first) ** (step / (num_steps - 1)) for step in range(num_steps)]


@dataclass(frozen=True, slots=True)
class RangeTest:
    """What a range test saw: N rates, and the loss before the step that each was used in."""

    rates: Sequence[float]
    losses: Sequence[float]  # nats a label, all of them finite
    exploded_at: float | None  # the rate that ended the test; None: not even the last one did

    @property
    def smoothed(self) -> Floats:
        """(N,) the losses without what is a single batch's."""
        return np.exp(smooth(_logarithms(self.losses)))


@dataclass(frozen=True, slots=True)
class Suggestion:
    """Rates to train with."""

    steepest: float  # where the smoothed loss falls by the largest share from rate to rate
    minimum: float  # where the smoothed loss has come down to its lowest

    @property
    def below_minimum(self) -> float:
        """A tenth of the minimum's rate."""
        return BELOW_MINIMUM * self.minimum


def range_test(step: Callable[[float], float], rates: Iterable[float]) -> RangeTest:
    """Make a step with each rate until the loss explodes: is not finite, or on running mean 4 times the lowest so far.

    step: makes one and returns the loss before it.
    """
    seen: list[float] = []
    losses: list[float] = []
    for rate in rates:
        loss = step(rate)
        if not math.isfinite(loss):
            return RangeTest(seen, losses, exploded_at=rate)
        seen.append(rate)
        losses.append(loss)
        means = running_mean(_logarithms(losses))
        if means[-1] > means.min() + math.log(EXPLODED):
            return RangeTest(seen, losses, exploded_at=rate)
    return RangeTest(seen, losses, exploded_at=None)


def running_mean(values: ArrayLike, smoothing: float = SMOOTHING) -> Floats:
    """(N,) -> (N,): m ← β m + (1 - β) value from m = 0; after i values the mean is m / (1 - βⁱ) (Kingma & Ba 2015).

    >>> running_mean([1.0, 4.0], smoothing=0.5).tolist()
    [1.0, 3.0]
    """
    mean, means = 0.0, []
    for number, value in enumerate(np.asarray(values).tolist(), start=1):
        mean = smoothing * mean + (1 - smoothing) * value
        means.append(mean / (1 - smoothing**number))
    return np.array(means)


def smooth(values: ArrayLike, smoothing: float = SMOOTHING) -> Floats:
    """(N,) -> (N,): running means forwards, and of these backwards, so that nothing comes late.

    >>> smooth([1.0, 4.0], smoothing=0.5).round(3).tolist()
    [1.667, 3.0]
    """
    return running_mean(running_mean(values, smoothing)[::-1], smoothing)[::-1]


def deviation(values: Floats) -> float:
    """The standard deviation of values around a slow trend: from the median of the differences of neighbours."""
    return NORMAL_DEVIATION * float(np.median(np.abs(np.diff(values)))) / math.sqrt(2)


def suggest(found: RangeTest) -> Suggestion:
    """Read the rates off a range test.

    Where the loss stays low over decades, as when a CTC model puts out blanks only, chance has the lowest anywhere.
    The minimum is therefore the first rate within two standard errors of the lowest (Breiman et al. 1984 take one).

    Raises `ValueError`, which says what was seen, when the loss never falls by more than chance.
    """
    if len(found.rates) < FEWEST_STEPS:
        raise ValueError(f"expected a loss that falls, got one that explodes after {len(found.rates)} steps")
    first = round(SKIPPED_SHARE * len(found.rates))
    logarithms = _logarithms(found.losses)
    chance = deviation(logarithms)
    smoothed = smooth(logarithms)
    rates, smoothed = np.array(found.rates[first:]), smoothed[first:]
    lowest = int(np.argmin(smoothed))
    if smoothed[0] - smoothed[lowest] <= LEAST_FALL * chance + ROUNDING:
        raise ValueError(
            f"expected a loss that falls, got one of {math.exp(smoothed[0]):.3f} nats a label at rate {rates[0]:.2g} "
            f"and {math.exp(smoothed[lowest]):.3f} at its lowest, where batches differ by {math.expm1(chance):.0%}"
        )
    minimum = int(np.argmax(smoothed <= smoothed[lowest] + STANDARD_ERRORS * SMOOTHED_DEVIATION * chance))
    slopes = np.gradient(smoothed, np.log(rates))[: minimum + 1]
    return Suggestion(float(rates[np.argmin(slopes)]), float(rates[minimum]))


def _logarithms(losses: Sequence[float]) -> Floats:
    return np.log(np.maximum(losses, SMALLEST_LOSS))
