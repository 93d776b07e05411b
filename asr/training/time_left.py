"""How long a run will still take: by what its batches and validations have taken so far."""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic


class TimeLeft:
    """The time left of a run, all its epochs and validations included. An epoch is taken to be as long as this one.

    clock: gives seconds.
    """

    def __init__(self, num_epochs: int, clock: Callable[[], float] = monotonic) -> None:
        self.num_epochs = num_epochs
        self.clock = clock
        self._training_seconds = 0.0  # of the batches counted below
        self._batches = 0
        self._validation_seconds = 0.0  # of the last one; none yet: nothing
        self._epoch = self._num_batches = self._done = 0
        self._since = 0.0

    def start_epoch(self, epoch: int, num_batches: int, done: int) -> None:
        """An epoch begins, of which `done` batches were trained before."""
        self._epoch, self._num_batches, self._done = epoch, num_batches, done
        self._since = self.clock()

    def advance(self) -> None:
        """A batch more was trained."""
        now = self.clock()
        self._training_seconds += now - self._since
        self._since = now
        self._batches += 1
        self._done += 1

    def end_epoch(self) -> None:
        """The epoch has been validated."""
        self._validation_seconds = self.clock() - self._since

    def seconds(self) -> float | None:
        """What is left, in seconds; None before the first batch."""
        if self._batches == 0:
            return None
        later_epochs = self.num_epochs - self._epoch - 1
        batches = self._num_batches - self._done + later_epochs * self._num_batches
        return batches * self._training_seconds / self._batches + (later_epochs + 1) * self._validation_seconds


def clock_time(seconds: float | None) -> str:
    """Hours, minutes and seconds, as far as they matter.

    >>> [clock_time(seconds) for seconds in (7.4, 75, 3700, None)]
    ['7 s', '1:15 min', '1:01 h', '–']
    """
    if seconds is None:
        return "–"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60}:{whole % 60:02d} min"
    return f"{whole // 3600}:{whole % 3600 // 60:02d} h"
