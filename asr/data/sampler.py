"""Which utterances form which batch: buckets of like length, filled to a budget.

An epoch's plan is a pure function of (durations, seed, epoch), so finding one's place again after a restart costs
nothing: the plan is made anew and the first batches are skipped.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import overload

import numpy as np
from numba import njit
from numpy.typing import NDArray

from asr.types import Seconds

# Lengths are shaken by this share before sorting, so that epochs put different neighbours together.
LENGTH_JITTER = 0.02

MAX_KEY = 2**16 - 1  # of the 16-bit keys that lengths are sorted by

BLOCK = 1 << 16  # utterances looked at together

# Which draw of a plan; the streams of asr.augment have other tuples.
PLAN_STREAM = 0


@dataclass(frozen=True, slots=True)
class Partner:
    """An utterance that is said after another one."""

    index: int
    speed: float
    gap: Seconds  # between the two


@dataclass(frozen=True, slots=True)
class Draw:
    """One utterance's turn in one epoch: everything its loading and augmentation depend on."""

    index: int
    epoch: int
    speed: float = 1.0
    before: Seconds = 0.0  # of pause
    after: Seconds = 0.0
    partner: Partner | None = None
    has_speech: bool = True  # False: other sounds instead


@dataclass(frozen=True, slots=True)
class Curriculum:
    """Short utterances before long ones, while the model knows little; by default none.

    sorted_epochs: so many first epochs go from short to long (SortaGrad, Amodei et al. 2016, where it is one): CTC's
        early gradients are steadier on short utterances.
    growing_epochs: the first epochs use the shortest utterances only, c(t) of them in epoch t = 0, 1, … (the
        competence of Platanios et al. 2019, square-root version); from epoch `growing_epochs` on everything.
    first_share: c(0), above 0 and at most 1.
    """

    sorted_epochs: int = 0
    growing_epochs: int = 0
    first_share: float = 0.1

    def __post_init__(self) -> None:
        if min(self.sorted_epochs, self.growing_epochs) < 0:
            raise ValueError(f"expected numbers of epochs, got {self.sorted_epochs} and {self.growing_epochs}")
        if not 0.0 < self.first_share <= 1.0:
            raise ValueError(f"expected a first share above 0 and at most 1, got {self.first_share}")

    def share(self, epoch: int) -> float:
        """c(t) = min(1, √(t (1 − c(0)²) / growing_epochs + c(0)²)).

        >>> [round(Curriculum(growing_epochs=3, first_share=0.5).share(epoch), 3) for epoch in range(4)]
        [0.5, 0.707, 0.866, 1.0]
        """
        if epoch >= self.growing_epochs:
            return 1.0
        first = self.first_share**2
        return math.sqrt(epoch * (1.0 - first) / self.growing_epochs + first)


EVERYTHING_SHUFFLED = Curriculum()


class Batches(Sequence[list[int]]):
    """Batches of utterance indices, each a stretch of one long array: ten million utterances take 120 MB, no objects.

    A slice of it is a view.
    """

    def __init__(self, order: NDArray[np.int64], starts: NDArray[np.int64], places: NDArray[np.int64]) -> None:
        self._order = order  # (N,) indices, batch after batch
        self._starts = starts  # (B + 1,) where each batch begins, and where the last one ends
        self._places = places  # (≤ B,) which batch comes when

    def __len__(self) -> int:
        return len(self._places)

    @overload
    def __getitem__(self, position: int) -> list[int]: ...

    @overload
    def __getitem__(self, position: slice) -> Batches: ...

    def __getitem__(self, position: int | slice) -> list[int] | Batches:
        """One batch, or some of them."""
        if isinstance(position, slice):
            return Batches(self._order, self._starts, self._places[position])
        place = self._places[position]
        batch: list[int] = self._order[self._starts[place] : self._starts[place + 1]].tolist()
        return batch

    def shuffled(self, rng: np.random.Generator) -> Batches:
        """The same batches in random order."""
        return Batches(self._order, self._starts, self._places[rng.permutation(len(self))])


def fill_batches(
    lengths: Sequence[float] | NDArray[np.float64], order: Sequence[int] | NDArray[np.int64], budget: float
) -> Batches:
    """Cut `order` into runs whose padded size, longest × number, stays within `budget`; each has at least one.

    >>> list(fill_batches([2.0, 2.0, 3.0, 9.0], order=[0, 1, 2, 3], budget=9.0))
    [[0, 1, 2], [3]]
    """
    indices = np.asarray(order, dtype=np.int64)
    starts = _cut(np.asarray(lengths, dtype=np.float64)[indices], budget)
    return Batches(indices, starts, np.arange(len(starts) - 1))


@njit("int64[:](float64[:], float64)", cache=True)
def _cut(lengths: NDArray[np.float64], budget: float) -> NDArray[np.int64]:
    """Where batches begin when utterances of these lengths are taken in this order, and where the last one ends."""
    starts = np.empty(len(lengths) + 1, np.int64)
    num_batches, first, longest = 0, 0, 0.0
    for index in range(len(lengths)):
        longest = max(longest, lengths[index])
        if index == 0 or longest * (index - first + 1) > budget:
            starts[num_batches] = first = index
            num_batches += 1
            longest = lengths[index]
    starts[num_batches] = len(lengths)
    used: NDArray[np.int64] = starts[: num_batches + 1].copy()
    return used


def plan_epoch(
    lengths: NDArray[np.float64],
    budget: float,
    seed: int,
    epoch: int,
    curriculum: Curriculum = EVERYTHING_SHUFFLED,
) -> Batches:
    """Batches of utterance indices for training: neighbours in length together, batches in random order.

    A curriculum may leave out long utterances in early epochs, or put batches in the order of length.
    """
    rng = np.random.default_rng((seed, epoch, PLAN_STREAM))
    shaken = rng.uniform(1.0 - LENGTH_JITTER, 1.0 + LENGTH_JITTER, size=len(lengths))
    shaken *= lengths  # in place: of ten million utterances every array takes 80 MB
    num_used = math.ceil(curriculum.share(epoch) * len(lengths))
    keys = _length_keys(shaken)
    del shaken
    batches = fill_batches(lengths, np.argsort(keys, kind="stable")[:num_used], budget)
    return batches if epoch < curriculum.sorted_epochs else batches.shuffled(rng)


def _length_keys(lengths: NDArray[np.float64]) -> NDArray[np.uint16]:
    """The lengths in 65,536 steps, for sorting: numpy sorts 16-bit keys in linear time. Scales `lengths` in place."""
    longest = lengths.max(initial=0.0)
    lengths *= MAX_KEY / longest if longest > 0 else 0.0
    return lengths.astype(np.uint16)


def largest_batch(lengths: NDArray[np.float64], budget: float, max_length: float) -> list[int]:
    """Indices of the batch of the largest padded size that `fill_batches` can make of these lengths, shortest first.

    max_length: leave out what is longer. Empty when everything is.

    >>> largest_batch(np.array([1.0, 9.0, 2.0, 3.0]), budget=6.0, max_length=5.0)
    [2, 3]
    """
    order = np.argsort(lengths, kind="stable")
    order = order[: np.searchsorted(lengths, max_length, side="right", sorter=order)]
    best_size, best = 0.0, slice(0, 0)
    for start in range(0, len(order), BLOCK):
        ends = np.arange(start + 1, min(start + BLOCK, len(order)) + 1)
        longest = lengths[order[ends - 1]]
        # as many of the next shorter ones beside each utterance as the budget and the corpus have
        with np.errstate(divide="ignore"):
            numbers = np.clip(budget // longest, 1, ends).astype(np.int64)
        place = len(ends) - 1 - int(np.argmax((numbers * longest)[::-1]))
        if (size := float(numbers[place] * longest[place])) >= best_size:
            best_size, best = size, slice(int(ends[place] - numbers[place]), int(ends[place]))
    indices: list[int] = order[best].tolist()
    return indices


def plan_in_order(lengths: NDArray[np.float64], budget: float) -> Batches:
    """Batches for evaluation, longest first: memory runs out at once or not at all."""
    return fill_batches(lengths, np.argsort(-lengths, kind="stable"), budget)


def padding_share(lengths: NDArray[np.float64], batches: Sequence[Sequence[int]]) -> float:
    """The share of all padded batches that is padding, 0-1."""
    padded = sum(float(lengths[batch].max()) * len(batch) for batch in map(list, batches))
    return 1.0 - sum(float(lengths[batch].sum()) for batch in map(list, batches)) / padded if padded else 0.0
