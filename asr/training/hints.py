"""What a run's figures so far tell about why it does not learn, and what to do about it.

Each rule looks at what was seen: the rate that was reached, the number of steps, losses, gradient norms, and for how
long the model has said next to nothing. `tests/histories` has the histories of real runs that the limits stem from.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

SAYS_NOTHING = 0.05  # of the characters that are spoken
HAS_ARRIVED = 0.9  # of the peak rate
HAS_EXPLODED = 2.0  # times the loss that it began with
HARDLY_FALLS = 0.97  # of the first epoch's loss
FALLS = 0.98  # of the loss of a fifth of the epochs before
OVERFITS = 1.3  # times the lowest validation loss
MANY_SKIPPED = 0.1  # of an epoch's steps
FEW_STEPS = 1000  # in which CTC models often say nothing yet
FEWEST_EPOCHS = 3

Record = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Hint:
    """An advice. kind: what was seen; a kind that stays need not be said after each epoch."""

    kind: str
    text: str


@dataclass(frozen=True, slots=True)
class Seen:
    """A run so far, from its history."""

    epochs: Sequence[Record]  # at least one
    steps: Sequence[Record]
    num_epochs: int  # that it is to have
    peak_lr: float  # that its config asks for

    @property
    def is_over(self) -> bool:
        """Whether this was the last epoch."""
        return int(self.epochs[-1]["epoch"]) + 1 >= self.num_epochs

    @property
    def num_steps(self) -> int:
        """Steps so far."""
        return int(self.epochs[-1]["step"])

    @property
    def planned_steps(self) -> float:
        """Steps that the whole run is to take, if its epochs stay as long as they were."""
        return self.num_steps / (int(self.epochs[-1]["epoch"]) + 1) * self.num_epochs

    @property
    def reached_lr(self) -> float:
        """The highest rate so far."""
        return max(float(epoch["lr"]) for epoch in self.epochs)

    @property
    def arrived(self) -> bool:
        """Whether the rate has come up to what the config asks for."""
        return self.reached_lr >= HAS_ARRIVED * self.peak_lr

    @property
    def silent_epochs(self) -> int:
        """For how many epochs the model has said next to nothing."""
        said = [epoch.get("said_share", 1.0) >= SAYS_NOTHING for epoch in self.epochs]
        return said[::-1].index(True) if any(said) else len(said)

    def norm(self) -> float:
        """The usual gradient norm of the last epoch, before clipping; NaN where no step was recorded."""
        norms = [step["grad_norm"] for step in self.steps if step["epoch"] == self.epochs[-1]["epoch"]]
        return median(norms) if norms else math.nan


def advise(seen: Seen) -> Hint | None:
    """The first rule that holds; None while all is as it should be, or too early to say."""
    if len(seen.epochs) < FEWEST_EPOCHS and not seen.is_over:
        return None
    for rule in (_skipped, _exploded, _hardly_falls, _says_nothing, _overfits):
        hint = rule(seen)
        if hint is not None:
            return hint
    return None


def _skipped(seen: Seen) -> Hint | None:
    """Steps whose loss or gradient is not finite."""
    before = seen.epochs[-2] if len(seen.epochs) > 1 else {"step": 0, "skipped_steps": 0}
    steps = seen.epochs[-1]["step"] - before["step"]
    skipped = seen.epochs[-1].get("skipped_steps", 0) - before.get("skipped_steps", 0)
    if skipped <= MANY_SKIPPED * steps:
        return None
    return Hint(
        "skipped",
        f"{skipped} of the epoch's {steps} steps were not finite: lower optim.lr ({seen.peak_lr:g}), or look at the "
        "utterances that were named",
    )


def _exploded(seen: Seen) -> Hint | None:
    """A loss above that of the untrained model."""
    first = [step["loss"] for step in seen.steps[:3]]
    losses = [epoch["train_loss"] for epoch in seen.epochs]
    if not first or max(losses) < HAS_EXPLODED * median(first) or losses[-1] < 0.5 * median(first):
        return None
    return Hint(
        "exploded",
        f"the training loss rose from {median(first):.2f} to {max(losses):.2f} (now {losses[-1]:.2f}, gradient norm "
        f"{seen.norm():.1f}) at rates up to {seen.reached_lr:.2g}: lower optim.lr, to a tenth for a start",
    )


def _hardly_falls(seen: Seen) -> Hint | None:
    """A loss that stays where it began."""
    first, last = seen.epochs[0]["train_loss"], seen.epochs[-1]["train_loss"]
    if len(seen.epochs) < FEWEST_EPOCHS or last < HARDLY_FALLS * first:
        return None
    seen_so_far = f"the training loss has hardly fallen in {seen.num_steps} steps ({first:.2f} -> {last:.2f})"
    if not seen.arrived:
        return None if not seen.is_over else _too_slow_a_warm_up(seen, seen_so_far)
    return Hint(
        "hardly falls",
        f"{seen_so_far}, and the rate has been up to {seen.reached_lr:.2g}: raise optim.lr, tenfold for a start",
    )


def _says_nothing(seen: Seen) -> Hint | None:
    """Blanks and hardly anything else."""
    if seen.silent_epochs < 2:
        return None
    so_far = f"next to nothing but blanks for {seen.silent_epochs} epochs, {seen.num_steps} steps since the beginning"
    losses = [epoch["loss"] for epoch in seen.epochs]
    before = losses[-1 - max(2, len(losses) // 5)] if len(losses) > 2 else losses[0]
    trend = f"the validation loss went from {before:.2f} to {losses[-1]:.2f}"
    falls = losses[-1] < FALLS * before
    if not seen.arrived:
        halfway = seen.epochs[-1]["epoch"] + 1 >= 0.5 * seen.num_epochs
        return _too_slow_a_warm_up(seen, so_far) if halfway else None
    has_time = seen.num_steps < FEW_STEPS <= seen.planned_steps
    if (falls or has_time) and not seen.is_over:
        return Hint("silent and learning", f"{so_far}, which is usual at first: {trend}, so let it go on")
    if falls or seen.num_steps < FEW_STEPS:
        return Hint(
            "too few steps",
            f"{so_far}, and {trend}: it needs more steps, many models {FEW_STEPS} and more until they say anything. "
            "Give it more epochs (training.epochs) or smaller batches (data.batch_seconds)",
        )
    return Hint(
        "silent and stuck",
        f"{so_far}, and {trend} at rates up to {seen.reached_lr:.2g}: see whether the texts belong to their recordings "
        "(asr check), then try other rates (asr train --find-lr)",
    )


def _too_slow_a_warm_up(seen: Seen, so_far: str) -> Hint:
    return Hint(
        "warm-up",
        f"{so_far}: the rate has only come to {seen.reached_lr:.2g} of optim.lr={seen.peak_lr:g}, so do not lower it. "
        "Shorten the warm-up (optim.warmup_share, optim.warmup_steps) or give the run more epochs (training.epochs)",
    )


def _overfits(seen: Seen) -> Hint | None:
    """A validation loss that rises while the training loss falls."""
    losses = [epoch["loss"] for epoch in seen.epochs]
    best = min(range(len(losses)), key=losses.__getitem__)
    if losses[-1] < OVERFITS * losses[best] or seen.epochs[-1]["train_loss"] >= seen.epochs[best]["train_loss"]:
        return None
    return Hint(
        "overfits",
        f"since epoch {best + 1} the validation loss has risen from {losses[best]:.2f} to {losses[-1]:.2f} while the "
        "training loss fell: the model learns its training data by heart. More data, augmentation, more model.dropout "
        "or a smaller model help; the best epochs are exported in any case",
    )
