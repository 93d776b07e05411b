"""Training an acoustic model: augmented speech, the CTC loss, and the word error rate of a validation set."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import overload

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from asr.augment import SpecAugment, draw_speeds
from asr.ctc import LabelSmoothing, blank_share, check_targets, ctc_loss
from asr.data.dataset import SpeechDataset, load_batches
from asr.data.sampler import EVERYTHING_SHUFFLED, Curriculum, Draw, plan_epoch, plan_in_order
from asr.errors import ConfigError
from asr.features import Filterbank
from asr.recognizer import Recognizer
from asr.scoring.errors import Score, score
from asr.training.task import StepLoss, Validation
from asr.types import Batch

NAMED_UTTERANCES = 5  # in messages about a batch
CRITERIA = ("wer", "loss")
ALL_BLANK = 0.999
ALL_BLANK_HINT = (
    "[yellow]  only blanks so far: usual in the first epochs; if it stays so, lower the learning rate "
    "or look at the data with `asr check`[/]"
)


@dataclass(frozen=True, slots=True)
class AcousticOptions:
    """How utterances become batches, and what is shown of them; see `asr/config.py` for the meaning."""

    seed: int
    batch_seconds: float
    speeds: Sequence[float]
    num_samples: int
    num_workers: int
    criterion: str = "wer"
    curriculum: Curriculum = EVERYTHING_SHUFFLED


class AcousticPlan(Sequence[list[Draw]]):
    """An epoch's batches. Draws are made when they are asked for: a large corpus has more than can be made at once."""

    def __init__(self, batches: Sequence[Sequence[int]], speeds: NDArray[np.float64], epoch: int) -> None:
        self.batches = batches
        self.speeds = speeds  # (N,), of every utterance
        self.epoch = epoch

    def __len__(self) -> int:
        return len(self.batches)

    @overload
    def __getitem__(self, place: int) -> list[Draw]: ...

    @overload
    def __getitem__(self, place: slice) -> AcousticPlan: ...

    def __getitem__(self, place: int | slice) -> list[Draw] | AcousticPlan:
        """One batch, or some of them as a plan."""
        if isinstance(place, slice):
            return AcousticPlan(self.batches[place], self.speeds, self.epoch)
        return [Draw(int(index), self.epoch, float(self.speeds[index])) for index in self.batches[place]]


class AcousticTask:
    """Teaches `recognizer`'s model the utterances of `train`; `dev` chooses among epochs.

    Raises `ConfigError` for a criterion that is neither "wer" nor "loss".
    """

    def __init__(
        self,
        recognizer: Recognizer,
        spec_augment: SpecAugment | None,
        train: SpeechDataset,
        dev: SpeechDataset,
        device: torch.device,
        options: AcousticOptions,
        label_smoothing: LabelSmoothing | None = None,
    ) -> None:
        self.recognizer = recognizer
        self.spec_augment = spec_augment
        self.train_data = train
        self.dev_data = dev
        self.device = device
        self.options = options
        self.label_smoothing = label_smoothing.to(device) if label_smoothing is not None else None
        self.criterion = _checked_criterion(options.criterion)
        self.features: Filterbank = recognizer.features.to(device)
        self._durations = np.array([u.duration for u in train.store.utterances])

    @property
    def model(self) -> nn.Module:
        """The acoustic model."""
        return self.recognizer.model

    def plan(self, epoch: int) -> AcousticPlan:
        """All batches of an epoch: neighbours in length at this epoch's speeds, in random order."""
        options = self.options
        speeds = draw_speeds(options.speeds, len(self._durations), options.seed, epoch)
        lengths = self._durations / speeds
        batches = plan_epoch(lengths, options.batch_seconds, options.seed, epoch, options.curriculum)
        return AcousticPlan(batches, speeds, epoch)

    def longest_batch(self, max_seconds: float) -> list[Draw]:
        """The batch of the largest padded size that any epoch can hold, shortest first: at the slowest speed.

        max_seconds: leave out utterances that are longer. Empty when all are.
        """
        slowest = min(self.options.speeds)
        lengths = self._durations / slowest
        order = np.argsort(lengths)
        order = order[: np.searchsorted(lengths[order], max_seconds, side="right")]
        if not len(order):
            return []
        # as many of the next shorter ones beside each utterance as the budget and the corpus have
        numbers = np.clip(self.options.batch_seconds // lengths[order], 1, np.arange(1, len(order) + 1)).astype(int)
        last = len(order) - 1 - int(np.argmax((numbers * lengths[order])[::-1]))
        return [Draw(int(index), 0, slowest) for index in order[last + 1 - numbers[last] : last + 1]]

    def longest_seconds(self, draws: Sequence[Draw]) -> float:
        """The length of the longest draw as its speed makes it."""
        return max(float(self._durations[draw.index]) / draw.speed for draw in draws)

    def load(self, items: Sequence[Sequence[Draw]]) -> Iterator[Batch]:
        """Load, augment and pad, ahead of the loop."""
        return load_batches(self.train_data, items, self.options.num_workers)

    def loss(self, model: nn.Module, batch: Batch) -> StepLoss:
        """The CTC loss of a batch, summed over its utterances."""
        return StepLoss(self.utterance_losses(model, batch).sum(), int(batch.target_lengths.sum()))

    def utterance_losses(self, model: nn.Module, batch: Batch) -> Tensor:
        """(B,) the CTC loss of each utterance in nats, augmented as in training."""
        self.features.train()
        num_frames = self.features.num_frames(batch.waveform_lengths)
        num_outputs = self.recognizer.model.frontend.num_output_frames(num_frames)
        targets = [row[:length].tolist() for row, length in zip(batch.targets, batch.target_lengths.tolist())]
        check_targets(targets, num_outputs.tolist(), self.recognizer.model.vocab_size, batch.ids)
        on_device = self._to_device(batch)
        with torch.no_grad():
            features, lengths = self.features(on_device.waveforms, on_device.waveform_lengths)
            if self.spec_augment is not None:
                features = self.spec_augment(features, num_frames.tolist(), batch.seeds)
        log_probs, lengths = model(features, lengths)
        losses = ctc_loss(log_probs, lengths, on_device.targets, on_device.target_lengths)
        return losses if self.label_smoothing is None else self.label_smoothing(losses, log_probs, lengths)

    def nonfinite_utterances(self, model: nn.Module, batch: Batch) -> list[str]:
        """A line for each utterance whose samples or loss are not finite."""
        lines = []
        with torch.no_grad():
            losses = self.utterance_losses(model, batch).tolist()
        for utterance, samples, loss in zip(batch.ids, torch.isfinite(batch.waveforms).all(dim=1).tolist(), losses):
            if not samples:
                lines.append(f"utterance {utterance}: its samples are not finite")
            elif not math.isfinite(loss):
                lines.append(f"utterance {utterance}: its loss is {loss}")
        return lines

    def _to_device(self, batch: Batch) -> Batch:
        if self.device.type == "cuda":
            batch = batch.pin_memory()  # a copy from there does not stop the queue
        return batch.to(self.device)

    def describe(self, batch: Batch) -> str:
        """The first utterances of a batch."""
        more = " …" if len(batch.ids) > NAMED_UTTERANCES else ""
        return f"utterances {', '.join(batch.ids[:NAMED_UTTERANCES])}{more}"

    def validate(self) -> Validation:
        """Loss, error rates and blank share on the validation set, in float32 and without augmentation."""
        self.features.eval()
        self.recognizer.model.eval()
        durations = np.array([utterance.duration for utterance in self.dev_data.store.utterances])
        plan = [[Draw(i, epoch=0) for i in batch] for batch in plan_in_order(durations, self.options.batch_seconds)]
        references = {utterance.id: utterance.text for utterance in self.dev_data.store.utterances}
        hypotheses: dict[str, str] = {}
        loss, num_labels, blanks, frames = 0.0, 0, 0.0, 0
        for batch in load_batches(self.dev_data, plan, self.options.num_workers):
            batch = batch.to(self.device)
            log_probs, lengths = self.recognizer.emissions(batch.waveforms, batch.waveform_lengths)
            loss += float(ctc_loss(log_probs, lengths, batch.targets, batch.target_lengths).sum())
            num_labels += int(batch.target_lengths.sum())
            blanks += float(blank_share(log_probs, lengths)) * int(lengths.sum())
            frames += int(lengths.sum())
            decoded = self.recognizer.decoder.decode(log_probs, lengths, batch.ids)
            hypotheses.update(zip(batch.ids, (hypothesis.text for hypothesis in decoded)))
        result = score(references, hypotheses)
        values = {
            "loss": loss / max(1, num_labels),
            "wer": result.wer,
            "cer": result.cer,
            "blank_share": blanks / max(1, frames),
        }
        return Validation(values, self._samples(result), [ALL_BLANK_HINT] if values["blank_share"] > ALL_BLANK else [])

    def _samples(self, result: Score) -> list[tuple[str, str]]:
        """A few references with their hypotheses, from all over the set."""
        wanted = self.options.num_samples
        shown = result.utterances[:: max(1, len(result.utterances) // max(1, wanted))]
        return [(u.reference, u.hypothesis) for u in shown[:wanted]]

    def carried(self) -> dict[str, Tensor]:
        """Nothing: utterances are independent."""
        return {}

    def restore(self, carried: Mapping[str, Tensor]) -> None:
        """Nothing was carried."""


def _checked_criterion(name: str) -> str:
    if name not in CRITERIA:
        raise ConfigError(f"training.criterion: expected {' or '.join(CRITERIA)}, got {name!r}")
    return name
