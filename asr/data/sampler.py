"""Which utterances form which batch: buckets of like length, filled to a budget.

An epoch's plan is a pure function of (durations, seed, epoch), so finding one's place again after a restart costs
nothing: the plan is made anew and the first batches are skipped.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

# Lengths are shaken by this share before sorting, so that epochs put different neighbours together.
LENGTH_JITTER = 0.02

# Which draw of a plan; the streams of asr.augment have other tuples.
PLAN_STREAM = 0


@dataclass(frozen=True, slots=True)
class Draw:
    """One utterance's turn in one epoch: everything its loading and augmentation depend on."""

    index: int
    epoch: int
    speed: float = 1.0


def fill_batches(
    lengths: Sequence[float] | NDArray[np.float64], order: Sequence[int], budget: float
) -> list[list[int]]:
    """Cut `order` into runs whose padded size, longest × number, stays within `budget`; each has at least one.

    >>> fill_batches([2.0, 2.0, 3.0, 9.0], order=[0, 1, 2, 3], budget=9.0)
    [[0, 1, 2], [3]]
    """
    batches: list[list[int]] = []
    longest = 0.0
    for index in order:
        longest = max(longest, lengths[index])
        if not batches or longest * (len(batches[-1]) + 1) > budget:
            batches.append([])
            longest = lengths[index]
        batches[-1].append(index)
    return batches


def plan_epoch(lengths: NDArray[np.float64], budget: float, seed: int, epoch: int) -> list[list[int]]:
    """Shuffled batches of utterance indices for training: neighbours in length together, batches in random order."""
    rng = np.random.default_rng((seed, epoch, PLAN_STREAM))
    shaken = lengths * rng.uniform(1.0 - LENGTH_JITTER, 1.0 + LENGTH_JITTER, size=len(lengths))
    batches = fill_batches(lengths, np.argsort(shaken, kind="stable").tolist(), budget)
    return [batches[i] for i in rng.permutation(len(batches))]


def plan_in_order(lengths: NDArray[np.float64], budget: float) -> list[list[int]]:
    """Batches for evaluation, longest first: memory runs out at once or not at all."""
    return fill_batches(lengths, np.argsort(-lengths, kind="stable").tolist(), budget)


def padding_share(lengths: NDArray[np.float64], batches: Sequence[Sequence[int]]) -> float:
    """The share of all padded batches that is padding, 0-1."""
    padded = sum(float(lengths[batch].max()) * len(batch) for batch in map(list, batches))
    return 1.0 - float(lengths.sum()) / padded if padded else 0.0
