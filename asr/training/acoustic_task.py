"""Training an acoustic model: augmented speech, the CTC loss, and the word error rate of a validation set."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import overload

import numpy as np
import torch
from numpy.typing import NDArray
from rich.markup import escape
from torch import Tensor, nn

from asr.augment import NOBODY, SpecAugment, Surroundings, SurroundingsPlanner, draw_speeds
from asr.ctc import LabelSmoothing, blank_share, check_targets, ctc_loss, required_frames
from asr.data.ahead import map_ahead
from asr.data.dataset import Example, SpeechDataset, collate, load_each, load_examples, threads_a_batch
from asr.data.late_drops import LateDrops, SetSize
from asr.data.sampler import (
    EVERYTHING_SHUFFLED,
    Curriculum,
    Draw,
    Partner,
    fill_batches,
    largest_batch,
    plan_epoch,
    plan_in_order,
)
from asr.errors import ConfigError, ManifestError
from asr.features import Filterbank
from asr.models.normalization import SequenceBatchNorm
from asr.processes import ALONE, Processes
from asr.recognizer import Recognizer
from asr.scoring.errors import Score, score
from asr.training.dev_figures import DevSet, error_figures
from asr.training.task import Step, Validation
from asr.types import Batch

NAMED_UTTERANCES = 5  # in messages about a batch
CRITERIA = ("cer", "wer", "loss")


@dataclass(frozen=True, slots=True)
class AcousticOptions:
    """How utterances become batches, and what is shown of them; see `asr/config.py` for the meaning."""

    seed: int
    batch_seconds: float
    speeds: Sequence[float]
    num_samples: int
    num_workers: int
    microbatch_seconds: float = 0.0
    criterion: str = "cer"
    curriculum: Curriculum = EVERYTHING_SHUFFLED
    surroundings: SurroundingsPlanner | None = None


@dataclass(frozen=True, slots=True)
class JudgedBatch:
    """What a batch of the validation set came to."""

    hypotheses: dict[str, str]  # by id
    nats: float  # of the utterances with a target, as `num_labels`
    num_labels: int
    num_blanks: float
    num_frames: int


class AcousticPlan(Sequence[list[Draw]]):
    """An epoch's batches. Draws are made when they are asked for: a large corpus has more than can be made at once."""

    def __init__(
        self,
        batches: Sequence[Sequence[int]],
        speeds: NDArray[np.float64],
        epoch: int,
        surroundings: Surroundings | None = None,
    ) -> None:
        self.batches = batches
        self.speeds = speeds  # (N,), of every utterance
        self.epoch = epoch
        self.surroundings = surroundings  # None: utterances are heard as they are

    def __len__(self) -> int:
        return len(self.batches)

    @overload
    def __getitem__(self, place: int) -> list[Draw]: ...

    @overload
    def __getitem__(self, place: slice) -> AcousticPlan: ...

    def __getitem__(self, place: int | slice) -> list[Draw] | AcousticPlan:
        """One batch, or some of them as a plan."""
        if isinstance(place, slice):
            return AcousticPlan(self.batches[place], self.speeds, self.epoch, self.surroundings)
        return [self._draw(int(index)) for index in self.batches[place]]

    def _draw(self, index: int) -> Draw:
        around, speed = self.surroundings, float(self.speeds[index])
        if around is None:
            return Draw(index, self.epoch, speed)
        partner = None
        if (other := int(around.partner[index])) != NOBODY:
            partner = Partner(other, float(self.speeds[other]), float(around.gap[index]))
        return Draw(
            index,
            self.epoch,
            speed,
            before=float(around.before[index]),
            after=float(around.after[index]),
            partner=partner,
            has_speech=bool(around.has_speech[index]),
        )


class AcousticTask:
    """Teaches `recognizer`'s model the utterances of `train`; `dev` chooses among epochs.

    Raises `ConfigError` for a criterion that is none of "cer", "wer" and "loss", and for batches that are to be
    computed in parts when the model has batch norm, whose statistics are those of a whole batch.
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
        processes: Processes = ALONE,
        dev_sets: Sequence[DevSet] = (),
        drops: LateDrops | None = None,
    ) -> None:
        self.recognizer = recognizer
        self.spec_augment = spec_augment
        self.train_data = train
        self.dev_data = dev
        self.device = device
        self.options = options
        self.label_smoothing = label_smoothing.to(device) if label_smoothing is not None else None
        has_words = any(utterance.text.split() for utterance in dev.store.utterances)
        self.criterion = _checked_criterion(options.criterion) if has_words else "loss"
        self.processes = processes
        self.dev_sets = dev_sets
        self.drops = drops or LateDrops({"train": SetSize(len(train)), "dev": SetSize(len(dev))})
        without = np.flatnonzero(dev.num_labels < 0).tolist()
        self._without_target = frozenset(dev.store.utterances[place].id for place in without)
        self.features: Filterbank = recognizer.features.to(device)
        self.can_divide = not any(isinstance(module, SequenceBatchNorm) for module in recognizer.model.modules())
        if options.microbatch_seconds and not self.can_divide:
            raise ConfigError(
                "machine.microbatch_seconds: expected 0 for a model with batch norm, whose statistics are those of a "
                f"whole batch, got {options.microbatch_seconds:g}"
            )

    @property
    def model(self) -> nn.Module:
        """The acoustic model."""
        return self.recognizer.model

    def plan(self, epoch: int) -> AcousticPlan:
        """All batches of an epoch: neighbours in length at this epoch's speeds, in random order."""
        options = self.options
        durations = self.train_data.durations
        speeds = draw_speeds(options.speeds, len(durations), options.seed, epoch)
        seconds, around = durations / speeds, None
        if options.surroundings is not None:
            around = options.surroundings.draw(seconds, options.seed, epoch)
            seconds = around.lengths(seconds)
        batches = plan_epoch(seconds, options.batch_seconds, options.seed, epoch, options.curriculum)
        plan = AcousticPlan(batches, speeds, epoch, around)
        if not self.can_divide and not self.processes.is_alone:
            self._refuse_small(plan)
        return plan

    def _refuse_small(self, plan: AcousticPlan) -> None:
        """Batch norm in a process without utterances would leave the others waiting for its sums."""
        smallest = min(len(batch) for batch in plan.batches)
        if smallest < self.processes.world_size:
            raise ConfigError(
                f"batch norm needs an utterance in each of {self.processes.world_size} processes, but a batch of epoch "
                f"{plan.epoch + 1} has {smallest}: raise data.batch_seconds, lower data.max_duration_seconds, or use "
                "model.layer_norm=true instead"
            )

    def largest_part(self, max_seconds: float) -> list[Draw]:
        """This process's draws of the batch of the largest padded size that any epoch can hold.

        All at the slowest speed, and with the longest surroundings as a pause.
        Where batches are computed in parts, those of the largest part. Shortest first.
        max_seconds: leave out utterances that are longer. Empty when all are.
        """
        slowest = min(self.options.speeds)
        seconds = self.train_data.durations / slowest
        grown = seconds if self.options.surroundings is None else self.options.surroundings.longest(seconds)
        largest = largest_batch(grown, self.options.batch_seconds, max_seconds)
        parts = self._parts([Draw(i, 0, slowest, before=float(grown[i] - seconds[i])) for i in map(int, largest)])
        return max(parts, key=lambda part: len(part) * self.longest_seconds(part), default=[])

    def longest_seconds(self, draws: Sequence[Draw]) -> float:
        """The length of the longest draw with its speed and all around it."""
        return max(map(self._seconds, draws))

    def _seconds(self, draw: Draw) -> float:
        durations = self.train_data.durations
        own = float(durations[draw.index]) / draw.speed + draw.before + draw.after
        if draw.partner is None:
            return own
        return own + draw.partner.gap + float(durations[draw.partner.index]) / draw.partner.speed

    def load(self, items: Sequence[Sequence[Draw]]) -> Iterator[Step]:
        """Load, augment and pad, ahead of the loop."""
        workers = self.options.num_workers
        yield from map_ahead(self._load_step, items, workers) if workers > 0 else map(self._load_step, items)

    def _load_step(self, draws: Sequence[Draw]) -> Step:
        """This process's share of a batch. Utterances that cannot be read are not in it.

        Their labels still count among those that the loss is divided by, which the other processes could not know.
        """
        num_labels = sum(map(self.train_data.num_target_labels, draws))
        loaded = [self.load_whole(part) for part in self._parts(draws)]
        parts = [batch for batch in loaded if batch is not None]
        if not parts and not self.can_divide and not self.processes.is_alone:
            raise ManifestError(
                f"nothing of this process's share of a batch can be read ({self.describe(draws)}), and batch norm "
                "needs an utterance in each process: `asr check` lists what is wrong with a manifest; mend or remove "
                "it, or use model.layer_norm=true instead"
            )
        return Step(parts, num_labels)

    def _parts(self, draws: Sequence[Draw]) -> list[list[Draw]]:
        """This process's share of a batch, cut into what is computed at once."""
        share, limit = self.processes.share(draws), self.options.microbatch_seconds
        if not limit or not share:
            return [share] if share else []
        parts = fill_batches([self._seconds(draw) for draw in share], range(len(share)), limit)
        return [[share[place] for place in part] for part in parts]

    def load_whole(self, item: Sequence[Draw]) -> Batch | None:
        """Load, augment and pad draws as one batch, without those that cannot be read; None when none can."""
        num_threads = threads_a_batch(self.options.num_workers)
        unreadable = self.drops.found["train"]
        examples = load_examples(self.train_data, item, unreadable, num_threads)
        examples = [example for example in examples if self._can_align(example)]
        if len(examples) < len(item):
            self.drops.check("train")
        if not examples:
            return None
        batch = collate(examples)
        return batch.pin_memory() if self.device.type == "cuda" else batch  # a copy from there does not stop the queue

    def _can_align(self, example: Example) -> bool:
        """Whether there are frames enough for the target. By the manifest there were, but audio may be shorter."""
        num_frames = self.features.num_frames(len(example.waveform))
        num_outputs = self.recognizer.model.frontend.num_output_frames(num_frames)
        needed = required_frames(example.target)
        if num_outputs < needed:
            self.drops.found["train"][example.id] = f"its audio makes {num_outputs} frames, its text needs {needed}"
        return num_outputs >= needed

    def loss(self, model: nn.Module, batch: Batch) -> Tensor:
        """The CTC loss of a batch in nats, summed over its utterances."""
        return self.utterance_losses(model, batch).sum()

    def utterance_losses(self, model: nn.Module, batch: Batch) -> Tensor:
        """(B,) the CTC loss of each utterance in nats, augmented as in training."""
        self.features.train()
        num_frames = self.features.num_frames(batch.waveform_lengths)
        num_outputs = self.recognizer.model.frontend.num_output_frames(num_frames)
        targets = [row[:length].tolist() for row, length in zip(batch.targets, batch.target_lengths.tolist())]
        check_targets(targets, num_outputs.tolist(), self.recognizer.model.vocab_size, batch.ids)
        on_device = batch.to(self.device)
        with torch.no_grad():
            features, lengths = self.features(on_device.waveforms, on_device.waveform_lengths)
            if self.spec_augment is not None:
                features = self.spec_augment(features, num_frames.tolist(), batch.seeds)
        log_probs, lengths = model(features, lengths)
        # lengths of the host: those on the device would be fetched back
        losses = ctc_loss(log_probs, num_outputs, on_device.targets, batch.target_lengths)
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

    def describe(self, item: Sequence[Draw]) -> str:
        """The first utterances of a batch."""
        ids = [self.train_data.store.utterances[draw.index].id for draw in item[:NAMED_UTTERANCES]]
        return f"utterances {', '.join(ids)}{' …' if len(item) > NAMED_UTTERANCES else ''}"

    def validate(self) -> Validation:
        """Loss, error rates and blank share on the validation set, in float32 and without augmentation.

        The processes share the batches; what each batch came to is then added up in one order by all of them.
        """
        self.features.eval()
        self.recognizer.model.eval()
        plan = [
            [Draw(i, 0) for i in batch] for batch in plan_in_order(self.dev_data.durations, self.options.batch_seconds)
        ]
        mine = load_each(self.dev_data, self.processes.share(plan), self.options.num_workers, self.drops.found["dev"])
        gathered = self.processes.gather([None if batch is None else self._judge(batch) for batch in mine])
        notes = [_note(*drop) for drop in self.drops.exchange(self.processes)]
        judged = [batch for batch in gathered if batch is not None]
        texts = {id: text for batch in judged for id, text in batch.hypotheses.items()}
        heard = [utterance for utterance in self.dev_data.store.utterances if utterance.id in texts]
        result = score({utterance.id: utterance.text for utterance in heard}, texts)
        sets = self.dev_sets or [DevSet("dev", frozenset(texts), len(self.dev_data))]
        values = {
            "loss": sum(batch.nats for batch in judged) / max(1, sum(batch.num_labels for batch in judged)),
            **error_figures(result, sets),
            "blank_share": sum(b.num_blanks for b in judged) / max(1, sum(b.num_frames for b in judged)),
        }
        if length := result.characters.reference_length:
            values["said_share"] = result.characters.hypothesis_length / length
        return Validation(values, self._samples(result), notes)

    def _judge(self, batch: Batch) -> JudgedBatch:
        batch = batch.to(self.device)
        log_probs, lengths = self.recognizer.emissions(batch.waveforms, batch.waveform_lengths)
        counted = torch.tensor([id not in self._without_target for id in batch.ids])
        losses = ctc_loss(log_probs, lengths, batch.targets, batch.target_lengths).cpu()[counted]
        decoded = self.recognizer.decoder.decode(log_probs, lengths, batch.ids)
        num_frames = int(lengths.sum())
        return JudgedBatch(
            hypotheses=dict(zip(batch.ids, (hypothesis.text for hypothesis in decoded))),
            nats=float(losses.sum()),
            num_labels=int(batch.target_lengths.cpu()[counted].sum()),
            num_blanks=float(blank_share(log_probs, lengths)) * num_frames,
            num_frames=num_frames,
        )

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


def _note(name: str, id: str, reason: str) -> str:
    return f"[yellow]left out from here on[/]: {name} {escape(id)}: {escape(reason)}"


def _checked_criterion(name: str) -> str:
    if name not in CRITERIA:
        raise ConfigError(f"training.criterion: expected {', '.join(CRITERIA[:-1])} or {CRITERIA[-1]}, got {name!r}")
    return name
