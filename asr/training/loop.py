"""The training loop: epochs, steps, validation, and how a run stops and goes on.

What is trained is a `Task`. What a step does depends on (seed, position) alone: the epoch's plan, each example's
augmentation and the random state of dropout are functions of them; what one step leaves to the next besides the
weights is tensors of the task. A checkpoint therefore needs no random state, and resuming is exact.

Processes that train together run this loop side by side. All decide alike, from sums that all have; the leader alone
writes. What only one of them can know, that a signal came or time has passed, is told to all now and then.
"""

from __future__ import annotations

import math
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from lightning_fabric import Fabric

from asr.errors import AsrError, Interrupted
from asr.processes import ALONE, Processes
from asr.training.checkpoint import remove_all_but, save_checkpoint
from asr.training.clipping import Clipping
from asr.training.course import Course
from asr.training.ema import WeightAverage
from asr.training.gradients import Gradients
from asr.training.guard import StepGuard, StepInfo, StepOutcome
from asr.training.monitor import Monitor, shows_samples
from asr.training.optim import Schedule, set_learning_rate
from asr.training.position import Position, restore_position, save_position
from asr.training.replay import save_batch
from asr.training.run_state import Result
from asr.training.selection import ChosenMean, best_epochs, choose_mean, judged, ranked
from asr.training.task import Step, Task, Validation

# Slurm's --signal sends such a signal before the time limit; Windows has none.
WARNINGS = tuple(getattr(signal, name) for name in ("SIGUSR1", "SIGUSR2") if hasattr(signal, name))


@dataclass(frozen=True, slots=True)
class LoopOptions:
    """The loop's own settings; see `TrainingConfig` for their meaning."""

    seed: int
    course: Course
    clipping: Clipping
    patience: int
    average_best: int
    checkpoint_minutes: float
    log_every_steps: int
    nonfinite_patience: int
    weight_noise: float = 0.0  # standard deviation; 0: none
    checkpoint_steps: int = 0  # 0: by minutes only
    ema_decay: float = 0.0  # 0: no average of the weights


class Trainer:
    """Trains a task's model, choosing among epochs by the task's criterion.

    `load_initial_weights`, where given, puts weights to start from into the model; it is called at the start of a run
    and not when one goes on. `probe`, where given, is called before the first step of either, with the step that comes
    next: it tries whether the memory will do, and changes nothing. Each of `watches` is called with the step and the
    epoch, and what it gives is put around the step's passes: it may look, and changes nothing.
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
        probe: Callable[[Gradients, int], None] | None = None,
        watches: Sequence[Callable[[int, int], AbstractContextManager[None]]] = (),
        processes: Processes = ALONE,
    ) -> None:
        self.task = task
        self.schedule = schedule
        self.monitor = monitor
        self.checkpoints = checkpoints
        self.options = options
        self.position = Position()
        self.load_initial_weights = load_initial_weights
        self.probe = probe
        self.watches = watches
        self.processes = processes
        self.model, self.optimizer = fabric.setup(task.model, optimizer)
        self.guard = StepGuard(optimizer, options.nonfinite_patience, fabric.device)
        self.gradients = Gradients(fabric, task, self.model, options.seed, options.weight_noise, processes)
        self.average = WeightAverage(task.model, options.ema_decay) if options.ema_decay else None
        self._stop_requested = False
        self._saved_at = self._counted_at = time.monotonic()

    # ---- the run ----------------------------------------------------------------------------------------------

    def fit(self) -> None:
        """Train to the end, from the newest whole checkpoint if there is one. Raises `Interrupted` when stopped."""
        self._resume()
        if self.probe is not None and not self._is_done():
            self.probe(self.gradients, self.position.step)
        while not self._is_done():
            self._train_epoch()
            self._end_epoch()

    @contextmanager
    def stopping_on_signals(self) -> Iterator[None]:
        """Inside the block, Ctrl-C, SIGTERM and warnings of a time limit let the step in hand finish and be saved.

        Then `Interrupted` is raised. A second Ctrl-C stops at once. A warning that somebody else listens to, as
        submitit does, which then asks Slurm to start the job again, is handed on to him when all is saved.
        """
        warning: int | None = None

        def request_stop(number: int, _frame: FrameType | None) -> None:
            nonlocal warning
            self._stop_requested = True
            warning = number if number in WARNINGS else warning
            signal.signal(number, previous[number])

        signals = (signal.SIGINT, signal.SIGTERM, *WARNINGS)
        previous = {number: signal.signal(number, request_stop) for number in signals}
        try:
            yield
        finally:
            for number, handler in previous.items():
                signal.signal(number, handler)
            if warning is not None and callable(previous[warning]):
                signal.raise_signal(warning)

    def best_checkpoints(self) -> list[Path]:
        """Weights of the best epochs by the criterion, best first; of two equals the one of lower loss."""
        return best_epochs(self.checkpoints, self.position, self.options.average_best)

    def choose_mean(self) -> ChosenMean:
        """Load the mean of the best epochs: of as many as do best together."""
        best = self.best_checkpoints() if self.processes.is_leader else []
        return choose_mean(self.task, best, self.monitor.note, self.processes)

    def result(self, chosen: ChosenMean) -> Result:
        """What the run has come to, with what is exported of it."""
        return Result(
            epochs=self.position.epoch,
            planned_epochs=self.options.course.epochs,
            seconds=self.position.seconds,
            criterion=self.task.criterion,
            exported=chosen.describe(self.task.criterion),
            figures=chosen.values,
        )

    # ---- an epoch ---------------------------------------------------------------------------------------------

    def _train_epoch(self) -> None:
        self._epoch_started_at = time.monotonic()
        position, plan = self.position, self.task.plan(self.position.epoch)
        self.monitor.start_epoch(position.epoch, len(plan), position.batch)
        self.model.train()
        for work in self.task.load(plan[position.batch :]):
            self._step(work, position.epoch + position.batch / len(plan))
            position.batch += 1
            self.monitor.advance()
            self._save_or_stop()
        self._read_back()

    def _step(self, work: Step, epochs_done: float) -> None:
        """One step of the run, read back every `log_every_steps` steps."""
        position = self.position
        lr = self.schedule(self.options.course.place(position.step, epochs_done), self._judged())
        position.epoch_lr = max(position.epoch_lr, lr)
        watches = [watch(position.step, position.epoch) for watch in self.watches]
        self.update(work, StepInfo(position.step, position.batch, work.num_labels, lr), watches)
        if position.step % self.options.log_every_steps == 0:
            self._read_back()
        position.step += 1

    def update(self, work: Step, info: StepInfo, watches: Sequence[AbstractContextManager[None]] = ()) -> None:
        """Forward, backward, clip, update. The device is not waited for: `guard.read` says what it came to."""
        set_learning_rate(self.optimizer, info.lr)
        nats = self.gradients(work, info.step, watches)
        norm = self.options.clipping(self.model.parameters())
        applied = self.guard.judge(info, nats, norm)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        if self.average is not None:
            self.average.update(applied)

    def _read_back(self) -> None:
        """Hear from the device what the steps since the last time came to."""
        for outcome in self.guard.read():
            if not outcome.was_applied:
                self._count_skipped(outcome)
                continue
            self.position.nonfinite_in_a_row = 0
            self.position.epoch_loss += outcome.nats
            self.position.epoch_labels += outcome.info.num_labels
            if outcome.info.step % self.options.log_every_steps == 0:
                self.monitor.step(outcome.info.step, self.position.epoch, outcome.values)

    def _count_skipped(self, outcome: StepOutcome) -> None:
        """Name a step that was left out; give up, with its batch saved, when that does not pass."""
        position, info = self.position, outcome.info
        position.skipped_steps += 1
        position.nonfinite_in_a_row += 1
        item = self.task.plan(position.epoch)[info.batch]
        what, named = "gradient" if math.isfinite(outcome.nats) else "loss", self.task.describe(item)
        self.monitor.note(f"[yellow]step {info.step} skipped: its {what} is not finite[/] ({named})")
        if position.nonfinite_in_a_row >= self.options.nonfinite_patience:
            raise AsrError(
                f"{position.nonfinite_in_a_row} steps in a row had a loss or gradient that is not finite, the last one "
                f"on {named}: lower optim.lr, or look at this data.{self._save_for_replay(info, item)}"
            )

    def _save_for_replay(self, info: StepInfo, item: Any) -> str:
        """Save a batch that stopped the run. The guard has let nothing through since: the weights are the step's."""
        with self.processes.leader_first():  # or the others' end would end it
            if not self.processes.is_leader:
                return ""
            batch = self.task.load_whole(item)
            path = save_batch(self.checkpoints, info.step, batch, info.num_labels, self.task.model)
        return f" Where it begins: `asr train --replay {path}` (acoustic models)"

    def _end_epoch(self) -> None:
        with self.average.in_place() if self.average is not None else nullcontext():
            self._validate()
        position = self.position
        position.epoch, position.batch = position.epoch + 1, 0
        position.epoch_loss, position.epoch_labels, position.epoch_lr = 0.0, 0, 0.0
        self._save()

    def _validate(self) -> None:
        """Judge the epoch's weights, and keep them if they are among the best."""
        position, validation = self.position, self.task.validate()
        figure = ranked(validation.values, self.task.criterion)
        self._report(validation, is_best=figure < min(position.error_rates, default=math.inf))
        position.error_rates.append(figure)
        position.losses.append(validation.values["loss"])
        if self.processes.is_leader:
            state = {self.task.criterion: validation.values[self.task.criterion]}
            save_checkpoint(self.checkpoints, "epoch", position.epoch, self.task.model.state_dict(), state)
            remove_all_but(self.checkpoints, "epoch", self.best_checkpoints())

    def _report(self, validation: Validation, is_best: bool) -> None:
        position = self.position
        values = {
            **validation.values,
            "train_loss": position.epoch_loss / max(1, position.epoch_labels),
            "skipped_steps": position.skipped_steps,
            "lr": position.epoch_lr,
            "seconds": time.monotonic() - self._epoch_started_at,
        }
        self.monitor.epoch(position.step, position.epoch, values, is_best)
        self.monitor.advise(self.options.course.epochs, self.schedule.lr)
        for note in validation.notes:
            self.monitor.note(note)
        if shows_samples(position.epoch + 1, self.options.course.epochs):
            self.monitor.samples(validation.samples)

    # ---- stopping and going on --------------------------------------------------------------------------------

    def _is_done(self) -> bool:
        return self.position.epoch >= self.options.course.epochs or self._out_of_patience()

    def _out_of_patience(self) -> bool:
        rates, patience = self._judged(), self.options.patience
        if not patience or not rates:
            return False
        return len(rates) - 1 - rates.index(min(rates)) >= patience

    def _judged(self) -> list[float]:
        """The epochs' figures that patience and the schedule go by."""
        return judged(self.position.error_rates, self.position.losses, self.task.criterion)

    def _save_or_stop(self) -> None:
        step, steps = self.position.step, self.options.checkpoint_steps
        is_due = steps > 0 and step % steps == 0
        stops = False
        if self.processes.is_alone or step % self.options.log_every_steps == 0:  # the others have to be asked
            is_overdue = time.monotonic() - self._saved_at > 60 * self.options.checkpoint_minutes
            is_due |= self.processes.any(is_overdue)
            stops = self.processes.any(self._stop_requested)
        if is_due or stops:
            self._save()
        if stops:
            raise Interrupted(f"stopped after step {step}; the same command goes on from there")

    def _save(self) -> None:
        self._read_back()  # its sums and counts are part of the position
        now = time.monotonic()
        self.position.seconds += now - self._counted_at
        self._counted_at = now
        carried = self.task.carried()
        with self.processes.leader_first():  # the others may be about to stop, which would end the leader too
            if self.processes.is_leader:
                save_position(self.checkpoints, self.position, self.task, carried, self.optimizer, self.average)
        self._saved_at = time.monotonic()

    def _resume(self) -> None:
        position = restore_position(
            self.checkpoints, self.task, self.optimizer, self.monitor.note, self.average, self.processes
        )
        if position is not None:
            self.position = position
            self.guard.restore(position.nonfinite_in_a_row)
            self.monitor.note(f"resuming in epoch {position.epoch + 1} after step {position.step}")
        else:
            self.start()
        self.monitor.resume(self.position.step, self.position.epoch)

    def start(self) -> None:
        """Begin with the same weights everywhere: another processor may have drawn others in the last bit."""
        if self.load_initial_weights is not None:
            self.load_initial_weights()
        self.processes.copy_from_leader(list(self.task.model.state_dict().values()))
        if self.average is not None:
            self.average.start()
