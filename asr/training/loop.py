"""The training loop: epochs, steps, validation, and how a run stops and goes on.

What is trained is a `Task`. What a step does depends on (seed, position) alone: the epoch's plan, each example's
augmentation and the random state of dropout are functions of them; what one step leaves to the next besides the
weights is tensors of the task. A checkpoint therefore needs no random state, and resuming is exact.
"""

import math
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from asr.errors import AsrError, Interrupted
from asr.training.checkpoint import (
    average,
    checkpoint_number,
    list_checkpoints,
    load_newest,
    optimizer_tensors,
    remove_all_but,
    restore_optimizer,
    save_checkpoint,
)
from asr.training.monitor import Monitor
from asr.training.optim import Schedule, set_learning_rate
from asr.training.task import Task, Validation
from asr.training.weight_noise import WeightNoise

KEPT_RESUME_CHECKPOINTS = 2
STEP_STREAM = 4  # of random numbers; the others are in asr/augment.py and asr/data


@dataclass(frozen=True, slots=True)
class LoopOptions:
    """The loop's own settings; see `TrainingConfig` for their meaning."""

    seed: int
    epochs: int
    clip_norm: float
    patience: int
    average_best: int
    checkpoint_minutes: float
    log_every_steps: int
    nonfinite_patience: int
    weight_noise: float = 0.0  # standard deviation; 0: none


@dataclass
class Position:
    """Where a run is; with the weights, the optimiser's moments and the task's tensors, all of a checkpoint."""

    epoch: int = 0
    batch: int = 0  # in the epoch
    step: int = 0  # optimiser steps since the beginning
    epoch_loss: float = 0.0  # nats, summed over the epoch so far
    epoch_labels: int = 0
    skipped_steps: int = 0
    error_rates: list[float] = field(default_factory=list)  # of each epoch: the task's criterion, such as the WER
    losses: list[float] = field(default_factory=list)  # validation loss of each epoch


@dataclass(frozen=True, slots=True)
class ChosenMean:
    """Checkpoints whose mean is to be exported, and how it does on the validation set."""

    checkpoints: list[Path]
    values: dict[str, float]

    def describe(self) -> str:
        """Which epochs these are."""
        epochs = sorted(checkpoint_number(path) + 1 for path in self.checkpoints)
        return f"mean of the epochs {', '.join(map(str, epochs))}" if len(epochs) > 1 else f"epoch {epochs[0]}"


class Trainer:
    """Trains a task's model, choosing among epochs by the task's criterion.

    `load_initial_weights`, where given, puts weights to start from into the model; it is called at the start of a run
    and not when one goes on.
    """

    def __init__(
        self,
        fabric: Fabric,
        task: Task,
        optimizer: torch.optim.Optimizer,
        schedule: Schedule,
        monitor: Monitor,
        checkpoints: Path,
        options: LoopOptions,
        load_initial_weights: Callable[[], None] | None = None,
    ) -> None:
        self.fabric = fabric
        self.task = task
        self.schedule = schedule
        self.monitor = monitor
        self.checkpoints = checkpoints
        self.options = options
        self.position = Position()
        self.load_initial_weights = load_initial_weights
        self.model, self.optimizer = fabric.setup(task.model, optimizer)
        noise = options.weight_noise
        self.weight_noise = WeightNoise(task.model, noise, options.seed) if noise else None
        self._stop_requested = False
        self._nonfinite_in_a_row = 0
        self._saved_at = time.monotonic()

    # ---- the run ----------------------------------------------------------------------------------------------

    def fit(self) -> None:
        """Train to the end, from the newest whole checkpoint if there is one. Raises `Interrupted` when stopped."""
        self._resume()
        while self.position.epoch < self.options.epochs and not self._out_of_patience():
            self._train_epoch()
            self._end_epoch()

    @contextmanager
    def stopping_on_signals(self) -> Iterator[None]:
        """Inside the block, Ctrl-C and SIGTERM let the step in hand finish, save, and raise `Interrupted`.

        A second Ctrl-C stops at once.
        """

        def request_stop(number: int, _frame: FrameType | None) -> None:
            self._stop_requested = True
            signal.signal(number, previous[signal.Signals(number)])

        previous = {number: signal.signal(number, request_stop) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in previous.items():
                signal.signal(number, handler)

    def best_checkpoints(self) -> list[Path]:
        """Weights of the best epochs by the criterion, best first; of two equals the one of lower loss."""
        by_epoch = {checkpoint_number(path): path for path in list_checkpoints(self.checkpoints, "epoch")}
        ranked = sorted(by_epoch, key=lambda epoch: (self.position.error_rates[epoch], self.position.losses[epoch]))
        return [by_epoch[epoch] for epoch in ranked[: self.options.average_best]]

    def choose_mean(self) -> ChosenMean:
        """Load the mean of the best epochs: of as many as give the lowest validation loss.

        The mean of neighbours in a flat valley beats each of them (Izmailov et al. 2018). Where a short run is still
        on its way down, the mean lies behind the best epoch instead. The loss decides, because the error rates of
        such candidates differ by a few words, which is chance.
        """
        best = self.best_checkpoints()
        candidates = []
        for number in range(1, len(best) + 1):
            self.task.model.load_state_dict(average(best[:number]))
            candidates.append(ChosenMean(best[:number], self.task.validate().values))
        chosen = min(candidates, key=lambda candidate: candidate.values["loss"])
        self.task.model.load_state_dict(average(chosen.checkpoints))
        return chosen

    # ---- an epoch ---------------------------------------------------------------------------------------------

    def _train_epoch(self) -> None:
        self._epoch_started_at = time.monotonic()
        position, plan = self.position, self.task.plan(self.position.epoch)
        self.monitor.start_epoch(position.epoch, len(plan), position.batch)
        self.model.train()
        for batch in self.task.load(plan[position.batch :]):
            progress = (position.epoch + position.batch / len(plan)) / self.options.epochs
            self._step(batch, progress)
            position.batch += 1
            self.monitor.advance()
            self._save_or_stop()

    def _step(self, batch: Any, progress: float) -> None:
        """Forward, backward, clip, update."""
        position = self.position
        torch.manual_seed(
            int(np.random.SeedSequence((self.options.seed, position.step, STEP_STREAM)).generate_state(1)[0])
        )
        lr = self.schedule(position.step, progress, position.error_rates)
        set_learning_rate(self.optimizer, lr)
        with self.weight_noise.added(position.step) if self.weight_noise else nullcontext():
            loss = self.task.loss(self.model, batch)
            self.fabric.backward(loss.nats / max(1, loss.num_labels))
        loss_nats = float(loss.nats.detach())
        norm = float(nn.utils.clip_grad_norm_(self.model.parameters(), self.options.clip_norm))
        if math.isfinite(norm):
            self.optimizer.step()
            self._nonfinite_in_a_row = 0
            position.epoch_loss += loss_nats
            position.epoch_labels += loss.num_labels
            if position.step % self.options.log_every_steps == 0:
                values = {"loss": loss_nats / max(1, loss.num_labels), "lr": lr, "grad_norm": norm}
                self.monitor.step(position.step, position.epoch, values)
        else:
            self._skip(batch)
        self.optimizer.zero_grad(set_to_none=True)
        position.step += 1

    def _skip(self, batch: Any) -> None:
        """Leave out a step whose gradient is not finite; give up when that does not pass."""
        self.position.skipped_steps += 1
        self._nonfinite_in_a_row += 1
        named = self.task.describe(batch)
        self.monitor.note(f"[yellow]step {self.position.step} skipped: its gradient is not finite[/] ({named})")
        if self._nonfinite_in_a_row >= self.options.nonfinite_patience:
            raise AsrError(
                f"{self._nonfinite_in_a_row} steps in a row had a non-finite gradient, the last one on {named}; "
                "lower optim.lr, or look at this data"
            )

    def _end_epoch(self) -> None:
        position, validation = self.position, self.task.validate()
        criterion = validation.values[self.task.criterion]
        self._report(validation, is_best=criterion < min(position.error_rates, default=math.inf))
        position.error_rates.append(criterion)
        position.losses.append(validation.values["loss"])
        state = {self.task.criterion: criterion}
        save_checkpoint(self.checkpoints, "epoch", position.epoch, self.task.model.state_dict(), state)
        remove_all_but(self.checkpoints, "epoch", self.best_checkpoints())
        position.epoch, position.batch = position.epoch + 1, 0
        position.epoch_loss, position.epoch_labels = 0.0, 0
        self._save()

    def _report(self, validation: Validation, is_best: bool) -> None:
        position = self.position
        values = {
            **validation.values,
            "train_loss": position.epoch_loss / max(1, position.epoch_labels),
            "seconds": time.monotonic() - self._epoch_started_at,
        }
        self.monitor.epoch(position.step, position.epoch, values, is_best)
        for note in validation.notes:
            self.monitor.note(note)
        self.monitor.samples(validation.samples)

    # ---- stopping and going on --------------------------------------------------------------------------------

    def _out_of_patience(self) -> bool:
        rates, patience = self.position.error_rates, self.options.patience
        if not patience or not rates:
            return False
        return len(rates) - 1 - rates.index(min(rates)) >= patience

    def _save_or_stop(self) -> None:
        overdue = time.monotonic() - self._saved_at > 60 * self.options.checkpoint_minutes
        if overdue or self._stop_requested:
            self._save()
        if self._stop_requested:
            raise Interrupted(f"stopped after step {self.position.step}; the same command goes on from there")

    def _save(self) -> None:
        tensors = with_prefix("model.", self.task.model.state_dict())
        tensors |= optimizer_tensors(self.optimizer)
        tensors |= with_prefix("carried.", self.task.carried())
        save_checkpoint(self.checkpoints, "resume", self.position.step, tensors, asdict(self.position))
        newest = list_checkpoints(self.checkpoints, "resume")[-KEPT_RESUME_CHECKPOINTS:]
        remove_all_but(self.checkpoints, "resume", newest)
        self._saved_at = time.monotonic()

    def _resume(self) -> None:
        checkpoint = load_newest(self.checkpoints, "resume", on_damage=self.monitor.note)
        if checkpoint is not None:
            self.task.model.load_state_dict(without_prefix("model.", checkpoint.tensors))
            restore_optimizer(self.optimizer, checkpoint.tensors)
            self.task.restore(without_prefix("carried.", checkpoint.tensors))
            self.position = Position(**checkpoint.state)
            self.monitor.note(f"resuming in epoch {self.position.epoch + 1} after step {self.position.step}")
        elif self.load_initial_weights is not None:
            self.load_initial_weights()
        self.monitor.resume(self.position.step, self.position.epoch)


def with_prefix(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Named tensors as one part of a checkpoint."""
    return {f"{prefix}{name}": tensor for name, tensor in tensors.items()}


def without_prefix(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """One part of a checkpoint, under its own names."""
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
