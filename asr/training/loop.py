"""The training loop: epochs, steps, validation, and how a run stops and goes on.

What a step does depends on (seed, position) alone: the epoch's plan, each utterance's augmentation and the random
state of dropout are functions of them. A checkpoint therefore needs no random state, and resuming is exact.
"""

import math
import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import FrameType

import numpy as np
import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from asr.augment import SpecAugment, draw_speeds
from asr.ctc import blank_share, check_targets, ctc_loss
from asr.data.dataset import SpeechDataset, load_batches
from asr.data.sampler import Draw, plan_epoch, plan_in_order
from asr.errors import AsrError, Interrupted
from asr.features import Filterbank
from asr.recognizer import Recognizer
from asr.scoring.errors import Score, score
from asr.training.checkpoint import (
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
from asr.types import Batch

KEPT_RESUME_CHECKPOINTS = 2
STEP_STREAM = 4  # of random numbers; the others are in asr/augment.py


@dataclass(frozen=True, slots=True)
class LoopOptions:
    """The loop's own settings; see `TrainingConfig` for their meaning."""

    seed: int
    epochs: int
    batch_seconds: float
    speeds: Sequence[float]
    clip_norm: float
    patience: int
    average_best: int
    checkpoint_minutes: float
    log_every_steps: int
    num_samples: int
    nonfinite_patience: int
    num_workers: int


@dataclass
class Position:
    """Where a run is; with the weights and the optimiser's moments, all that a checkpoint holds."""

    epoch: int = 0
    batch: int = 0  # in the epoch
    step: int = 0  # optimiser steps since the beginning
    epoch_loss: float = 0.0  # nats, summed over the epoch so far
    epoch_labels: int = 0
    skipped_steps: int = 0
    error_rates: list[float] = field(default_factory=list)  # validation WER of each epoch
    losses: list[float] = field(default_factory=list)  # validation loss of each epoch


class Trainer:
    """Trains `recognizer`'s model on `train`, choosing by word error rate on `dev`."""

    def __init__(
        self,
        fabric: Fabric,
        recognizer: Recognizer,
        spec_augment: SpecAugment | None,
        optimizer: torch.optim.Optimizer,
        schedule: Schedule,
        train: SpeechDataset,
        dev: SpeechDataset,
        monitor: Monitor,
        checkpoints: Path,
        options: LoopOptions,
    ) -> None:
        self.fabric = fabric
        self.recognizer = recognizer
        self.spec_augment = spec_augment
        self.schedule = schedule
        self.train_data = train
        self.dev_data = dev
        self.monitor = monitor
        self.checkpoints = checkpoints
        self.options = options
        self.position = Position()
        self.features: Filterbank = recognizer.features.to(fabric.device)
        self.model, self.optimizer = fabric.setup(recognizer.model, optimizer)
        self._stop_requested = False
        self._nonfinite_in_a_row = 0
        self._saved_at = time.monotonic()
        self._durations = np.array([u.duration for u in train.store.utterances])

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
        """Weights of the best epochs by validation WER, best first; of two equals the one of lower loss."""
        by_epoch = {checkpoint_number(path): path for path in list_checkpoints(self.checkpoints, "epoch")}
        ranked = sorted(by_epoch, key=lambda epoch: (self.position.error_rates[epoch], self.position.losses[epoch]))
        return [by_epoch[epoch] for epoch in ranked[: self.options.average_best]]

    # ---- an epoch ---------------------------------------------------------------------------------------------

    def plan(self, epoch: int) -> list[list[Draw]]:
        """All batches of an epoch."""
        speeds = draw_speeds(self.options.speeds, len(self._durations), self.options.seed, epoch)
        batches = plan_epoch(self._durations / speeds, self.options.batch_seconds, self.options.seed, epoch)
        return [[Draw(index, epoch, float(speeds[index])) for index in batch] for batch in batches]

    def _train_epoch(self) -> None:
        self._epoch_started_at = time.monotonic()
        position, plan = self.position, self.plan(self.position.epoch)
        self.monitor.start_epoch(position.epoch, len(plan), position.batch)
        self.features.train()
        self.model.train()
        for batch in load_batches(self.train_data, plan[position.batch :], self.options.num_workers):
            progress = (position.epoch + position.batch / len(plan)) / self.options.epochs
            self._step(batch, progress)
            position.batch += 1
            self.monitor.advance()
            self._save_or_stop()

    def _step(self, batch: Batch, progress: float) -> None:
        """Forward, backward, clip, update."""
        position = self.position
        torch.manual_seed(
            int(np.random.SeedSequence((self.options.seed, position.step, STEP_STREAM)).generate_state(1)[0])
        )
        lr = self.schedule(position.step, progress, position.error_rates)
        set_learning_rate(self.optimizer, lr)
        loss = self._loss_sum(batch)
        num_labels = int(batch.target_lengths.sum())
        self.fabric.backward(loss / max(1, num_labels))
        loss_nats = float(loss.detach())
        norm = float(nn.utils.clip_grad_norm_(self.model.parameters(), self.options.clip_norm))
        if math.isfinite(norm):
            self.optimizer.step()
            self._nonfinite_in_a_row = 0
            position.epoch_loss += loss_nats
            position.epoch_labels += num_labels
            if position.step % self.options.log_every_steps == 0:
                values = {"loss": loss_nats / max(1, num_labels), "lr": lr, "grad_norm": norm}
                self.monitor.step(position.step, position.epoch, values)
        else:
            self._skip(batch)
        self.optimizer.zero_grad(set_to_none=True)
        position.step += 1

    def _loss_sum(self, batch: Batch) -> Tensor:
        """The CTC loss of a batch in nats, summed over its utterances."""
        num_frames = self.features.num_frames(batch.waveform_lengths)
        num_outputs = self.recognizer.model.frontend.num_output_frames(num_frames)
        targets = [row[:length].tolist() for row, length in zip(batch.targets, batch.target_lengths.tolist())]
        check_targets(targets, num_outputs.tolist(), self.recognizer.model.vocab_size, batch.ids)
        on_device = self._to_device(batch)
        with torch.no_grad():
            features, lengths = self.features(on_device.waveforms, on_device.waveform_lengths)
            if self.spec_augment is not None:
                features = self.spec_augment(features, num_frames.tolist(), batch.seeds)
        log_probs, lengths = self.model(features, lengths)
        return ctc_loss(log_probs, lengths, on_device.targets, on_device.target_lengths).sum()

    def _to_device(self, batch: Batch) -> Batch:
        if self.fabric.device.type == "cuda":
            batch = batch.pin_memory()  # a copy from there does not stop the queue
        return batch.to(self.fabric.device)

    def _skip(self, batch: Batch) -> None:
        """Leave out a step whose gradient is not finite; give up when that does not pass."""
        self.position.skipped_steps += 1
        self._nonfinite_in_a_row += 1
        named = ", ".join(batch.ids[:5]) + (" …" if len(batch.ids) > 5 else "")
        self.monitor.note(
            f"[yellow]step {self.position.step} skipped: its gradient is not finite[/] (utterances {named})"
        )
        if self._nonfinite_in_a_row >= self.options.nonfinite_patience:
            raise AsrError(
                f"{self._nonfinite_in_a_row} steps in a row had a non-finite gradient, the last one on {named}; "
                "lower optim.lr, or look at these utterances with `asr check`"
            )

    # ---- validation -------------------------------------------------------------------------------------------

    def _end_epoch(self) -> None:
        position = self.position
        values, result = self.validate()
        values["train_loss"] = position.epoch_loss / max(1, position.epoch_labels)
        values["seconds"] = time.monotonic() - self._epoch_started_at
        is_best = result.wer < min(position.error_rates, default=math.inf)
        self.monitor.epoch(position.step, position.epoch, values, is_best)
        shown = result.utterances[:: max(1, len(result.utterances) // max(1, self.options.num_samples))]
        self.monitor.samples([(u.reference, u.hypothesis) for u in shown[: self.options.num_samples]])
        position.error_rates.append(result.wer)
        position.losses.append(values["loss"])
        save_checkpoint(
            self.checkpoints, "epoch", position.epoch, self.recognizer.model.state_dict(), {"wer": result.wer}
        )
        remove_all_but(self.checkpoints, "epoch", self.best_checkpoints())
        position.epoch, position.batch = position.epoch + 1, 0
        position.epoch_loss, position.epoch_labels = 0.0, 0
        self._save()

    def validate(self) -> tuple[dict[str, float], Score]:
        """Loss, error rates and blank share on the validation set, in float32 and without augmentation."""
        self.features.eval()
        self.recognizer.model.eval()
        lengths = np.array([utterance.duration for utterance in self.dev_data.store.utterances])
        plan = [[Draw(i, epoch=0) for i in batch] for batch in plan_in_order(lengths, self.options.batch_seconds)]
        references = {utterance.id: utterance.text for utterance in self.dev_data.store.utterances}
        hypotheses: dict[str, str] = {}
        loss, num_labels, blanks, frames = 0.0, 0, 0.0, 0
        for batch in load_batches(self.dev_data, plan, self.options.num_workers):
            batch = batch.to(self.fabric.device)
            log_probs, lengths_out = self.recognizer.emissions(batch.waveforms, batch.waveform_lengths)
            loss += float(ctc_loss(log_probs, lengths_out, batch.targets, batch.target_lengths).sum())
            num_labels += int(batch.target_lengths.sum())
            blanks += float(blank_share(log_probs, lengths_out)) * int(lengths_out.sum())
            frames += int(lengths_out.sum())
            decoded = self.recognizer.decoder.decode(log_probs, lengths_out, batch.ids)
            hypotheses.update(zip(batch.ids, (hypothesis.text for hypothesis in decoded)))
        result = score(references, hypotheses)
        values = {
            "loss": loss / max(1, num_labels),
            "wer": result.wer,
            "cer": result.cer,
            "blank_share": blanks / max(1, frames),
        }
        return values, result

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
        tensors = {f"model.{name}": tensor for name, tensor in self.recognizer.model.state_dict().items()}
        tensors |= optimizer_tensors(self.optimizer)
        save_checkpoint(self.checkpoints, "resume", self.position.step, tensors, asdict(self.position))
        newest = list_checkpoints(self.checkpoints, "resume")[-KEPT_RESUME_CHECKPOINTS:]
        remove_all_but(self.checkpoints, "resume", newest)
        self._saved_at = time.monotonic()

    def _resume(self) -> None:
        checkpoint = load_newest(self.checkpoints, "resume", on_damage=self.monitor.note)
        if checkpoint is not None:
            prefix = "model."
            weights = {k.removeprefix(prefix): v for k, v in checkpoint.tensors.items() if k.startswith(prefix)}
            self.recognizer.model.load_state_dict(weights)
            restore_optimizer(self.optimizer, checkpoint.tensors)
            self.position = Position(**checkpoint.state)
            self.monitor.note(f"resuming in epoch {self.position.epoch + 1} after step {self.position.step}")
        self.monitor.resume(self.position.step, self.position.epoch)
