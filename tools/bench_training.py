"""What training costs beside the model: its throughput over that of the bare model step, on the same batches.

The whole is a run as `asr train` makes it, with its own `Trainer`: audio files -> decoding -> speed, reverberation and
noise as the recipe has them -> batches, by threads that load ahead -> features -> SpecAugment -> model -> CTC ->
clipping -> optimiser. Audio is not cached, every file is decoded each time it is needed; `efficiency_cached` is with
the cache. Bare is forward, CTC, backward and optimiser on the very batches, whose features lie ready on the device.
Both take turns in one process, in blocks of a few steps, and the median of the rounds' ratios counts, so that what
else happens on the machine hits both alike. A block of the whole is timed in the steady state: where threads load
ahead, batches are waiting when it begins, and loading goes on until it ends, when nothing more is loaded and the bare
block follows.

What the ratio should be. On a CPU loading and model share the cores, so that nothing is for free: where a step keeps
the cores busy for C core seconds and loading with features takes L, it is C / (C + L). That supposes that what loading
takes is taken from all of torch's threads alike; they wait for each other at the end of each small matrix product, so
that one thread disturbed delays all: a worker that loads ahead beside four computing threads took 4x320 to 0.79, four
threads that load together between the steps, the default there, to 0.93. A GPU waits only for features and masks, F
seconds there beside a step of S, as long as the threads load faster than it computes: S / max(S + F, L / workers).
`expected` is this, from parts measured by themselves: `*_ms` are milliseconds for a second of audio, `step_ms` by the
clock, of a core where it is loading.
For 4x320 on one core of a busy machine, 240 to 480 s of audio: 1.7-2.5 decoding Opus and MP3, 0.1-0.4 augmentation
(0.8 more with half of the utterances reverberated), 0.1 padding, 0.3-0.5 features and masks; the step took 31 in
float32 and 23 in bfloat16 (AMX). By these, 0.90 to 0.92 can be expected in float32, 0.87 to 0.90 in bfloat16, without
the cache and without reverberation.

It wants a machine of its own. Where there is more to run than cores, torch's threads wait for the last of them to be
scheduled again; and on one thread beside a load of 10 to 14, three runs of three rounds still gave 0.68 to 1.01, and
the ratios of core seconds 0.81 to 1.13. Look at the spread, `efficiency_min` and `efficiency_max`.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console

from asr.audio import write_audio
from asr.cli.compose import compose_recipe
from asr.config import Config
from asr.ctc import ctc_loss
from asr.data.ahead import num_usable_cores
from asr.data.dataset import collate, load_examples
from asr.data.manifest import write_manifest
from asr.data.sampler import Draw, padding_share
from asr.experiment import build_run
from asr.recipe import load_recipe
from asr.training.acoustic_task import AcousticPlan, AcousticTask
from asr.training.loop import Trainer
from asr.training.monitor import Monitor
from asr.training.task import Step, Validation
from asr.training_builders import build_noise
from asr.types import Batch, Utterance

RECIPE = "mini_english"
MODELS = {"4x320": (4, 320), "5x512": (5, 512), "4x1024": (4, 1024)}  # layers, cells of each direction
MIN_ROUNDS = 3
PART_BATCHES = 4  # that the parts are measured on
MADE_UP_UTTERANCES = 128  # 20 minutes
NOISE_GIB = 1.0  # noise recordings are few, and cached in any run
MS = 1e3


@dataclass(frozen=True, slots=True)
class Time:
    """By the clock, and by the work that all cores did for this process."""

    seconds: float
    core_seconds: float

    @classmethod
    def now(cls, device: torch.device) -> Time:
        """When the device has done what it was asked for."""
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        return cls(time.perf_counter(), time.process_time())

    def __sub__(self, began: Time) -> Time:
        return Time(self.seconds - began.seconds, self.core_seconds - began.core_seconds)


@dataclass(frozen=True, slots=True)
class Round:
    """A block of steps of both kinds, on the same batches."""

    whole: Time
    bare: Time
    num_utterances: int
    audio_seconds: float

    @property
    def efficiency(self) -> float:
        """Throughput of the whole over that of the bare step."""
        return self.bare.seconds / self.whole.seconds


@dataclass(frozen=True, slots=True)
class Ready:
    """A batch whose features lie on the device."""

    features: torch.Tensor  # (B, T, F)
    lengths: torch.Tensor  # (B,)
    targets: torch.Tensor  # (B, U)
    target_lengths: torch.Tensor  # (B,)
    num_labels: int


@dataclass
class MeteredTask:
    """Stands between a trainer and its task: the one epoch that the trainer makes is rounds, each of them timed.

    The generator that the loop takes its steps from regains control between two steps: there the clock is read, and
    after each block the bare one is run.
    """

    trainer: Trainer
    num_steps: int  # of a block
    seconds: float  # about how long to go on, for each way of reading audio
    task: AcousticTask = field(init=False)
    rounds: dict[str, list[Round]] = field(default_factory=lambda: {"files": [], "cache": []})

    def __post_init__(self) -> None:
        assert isinstance(self.trainer.task, AcousticTask)
        self.task = self.trainer.task

    def __getattr__(self, name: str) -> Any:
        return getattr(self.task, name)

    def load(self, items: AcousticPlan) -> Iterator[Step]:
        """The steps of all rounds: first with audio from files, then from the cache."""
        places = itertools.cycle(range(len(items)))
        for source, rounds in self.rounds.items():
            if source == "cache":
                self.task.train_data.store.fill(2**62, num_threads=num_usable_cores())
            until = time.perf_counter() + self.seconds
            while len(rounds) < MIN_ROUNDS or time.perf_counter() < until:
                num_items = 2 * self._num_ahead + self.num_steps
                yield from self._round([items[next(places)] for _ in range(num_items)], rounds)

    @property
    def _num_ahead(self) -> int:
        """Batches that are being loaded or wait, at most: so many come before the clock starts, and after it stops."""
        return self.task.options.num_workers + 2

    def _round(self, items: Sequence[list[Draw]], rounds: list[Round]) -> Iterator[Step]:
        device, batches = self.task.device, []
        with contextlib.closing(iter(self.task.load(items))) as steps:
            for _ in range(self._num_ahead):
                yield next(steps)
            began = Time.now(device)
            for _ in range(self.num_steps):
                step = next(steps)
                batches += step.parts
                yield step
            whole = Time.now(device) - began
        ready = [self._ready(batch) for batch in batches]
        began = Time.now(device)
        for batch in ready:
            self._bare_step(batch)
        bare = Time.now(device) - began
        num_samples = sum(int(batch.waveform_lengths.sum()) for batch in batches)
        audio_seconds = num_samples / self.task.recognizer.sample_rate
        rounds.append(Round(whole, bare, sum(len(batch.ids) for batch in batches), audio_seconds))

    def _ready(self, batch: Batch) -> Ready:
        batch = batch.to(self.task.device)
        features, lengths = self.task.features(batch.waveforms, batch.waveform_lengths)
        return Ready(features, lengths, batch.targets, batch.target_lengths, int(batch.target_lengths.sum()))

    def _bare_step(self, batch: Ready) -> None:
        trainer = self.trainer
        log_probs, lengths = trainer.model(batch.features, batch.lengths)
        loss = ctc_loss(log_probs, lengths, batch.targets, batch.target_lengths).sum() / max(1, batch.num_labels)
        trainer.gradients.fabric.backward(loss)
        trainer.optimizer.step()
        trainer.optimizer.zero_grad(set_to_none=True)

    def validate(self) -> Validation:
        """Nothing: the loop wants one after its epoch."""
        return Validation(dict.fromkeys(("loss", "wer", "cer", "blank_share"), 0.0))


def loading_parts(task: AcousticTask, items: Sequence[list[Draw]]) -> dict[str, float]:
    """Milliseconds for a second of audio of what comes before the model, each part by itself."""
    data, batches = task.train_data, []
    decode_seconds = core_seconds(lambda: [data.store.waveform(draw.index) for draws in items for draw in draws])
    examples: list[list[Any]] = []
    load_seconds = core_seconds(lambda: examples.extend(load_examples(data, draws) for draws in items))
    collate_seconds = core_seconds(lambda: batches.extend(map(collate, examples)))
    audio_seconds = sum(len(example.waveform) for part in examples for example in part) / task.recognizer.sample_rate
    seconds = {
        "decode_ms": decode_seconds,
        "augment_ms": load_seconds - decode_seconds,
        "collate_ms": collate_seconds,
        "features_ms": features_seconds(task, batches),
    }
    return {name: MS * part / audio_seconds for name, part in seconds.items()}


def features_seconds(task: AcousticTask, batches: Sequence[Batch]) -> float:
    """Seconds for features and masks: of one core, or on a GPU by the clock."""

    def compute() -> None:
        for batch in on_device:
            features, _ = task.features(batch.waveforms, batch.waveform_lengths)
            if task.spec_augment is not None:
                task.spec_augment(features, task.features.num_frames(batch.waveform_lengths).tolist(), batch.seeds)

    task.features.train()
    on_device = [batch.to(task.device) for batch in batches]
    compute()
    if task.device.type == "cuda":
        began = Time.now(task.device)
        compute()
        return (Time.now(task.device) - began).seconds
    num_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return core_seconds(compute)
    finally:
        torch.set_num_threads(num_threads)


def core_seconds(work: Callable[[], object]) -> float:
    """What `work` takes of a core, other processes notwithstanding: it must not use threads."""
    began = time.thread_time()
    work()
    return time.thread_time() - began


def expected_on_cpu(parts: dict[str, float], step_core_ms: float) -> float:
    """C / (C + L) of the module's docstring; all in milliseconds for a second of audio.

    >>> expected_on_cpu({"decode_ms": 2.0, "augment_ms": 0.5, "collate_ms": 0.1, "features_ms": 0.4}, 27.0)
    0.9
    """
    return step_core_ms / (step_core_ms + sum(parts.values()))


def expected_on_gpu(parts: dict[str, float], step_ms: float, workers: int) -> float:
    """S / max(S + F, L / workers) of the module's docstring."""
    loading = sum(parts[name] for name in ("decode_ms", "augment_ms", "collate_ms"))
    return step_ms / max(step_ms + parts["features_ms"], loading / max(1, workers))


def frame_padding(task: AcousticTask, plan: AcousticPlan) -> float:
    """The share of an epoch's frames that is padding, 0-1."""
    seconds = task.train_data.durations / plan.speeds
    if plan.surroundings is not None:
        seconds = plan.surroundings.lengths(seconds)
    samples = np.rint(seconds * task.recognizer.sample_rate).astype(np.int64)
    return padding_share(np.asarray(task.features.num_frames(samples), dtype=np.float64), plan.batches)


def make_config(folder: Path, manifest: Path | None, overrides: Sequence[str]) -> Config:
    """The recipe's config on its own data from ASR_DATA, or on a manifest, which brings no noise recordings.

    Without either, on noise in the lengths of utterances: what a step takes does not depend on what is said.
    """
    if manifest is None and "ASR_DATA" not in os.environ:
        manifest = made_up_speech(folder)
    if manifest is None:
        load_recipe(RECIPE).prepare(RECIPE, {}, folder / "data", Path(os.environ["ASR_DATA"]))
        data = [f"data.dir={quoted(folder / 'data')}"]
    else:
        sets = [f"data.{part}=[{quoted(manifest)}]" for part in ("train", "dev")]
        data = [*sets, "augment.noise=[]", "augment.noise_probability=0"]
    own = [f"run_dir={quoted(folder)}", "machine.cache_gib=0", "training.checkpoint_minutes=1e9"]
    return compose_recipe(RECIPE, [*data, *own, *overrides])


def made_up_speech(folder: Path, num_utterances: int = MADE_UP_UTTERANCES) -> Path:
    """Write FLAC files of noise, 4-16 s long, with 14 random letters and spaces per second; their manifest."""
    rng = np.random.default_rng(0)
    utterances = []
    for number in range(num_utterances):
        seconds = float(rng.uniform(4, 16))
        path = folder / "audio" / f"{number}.flac"
        path.parent.mkdir(exist_ok=True)
        write_audio(path, (0.05 * rng.standard_normal(round(16_000 * seconds))).astype(np.float32), 16_000)
        text = " ".join("".join(rng.choice(list("abcdefghij"), 4)) for _ in range(round(14 * seconds / 5)))
        utterances.append(Utterance(str(number), str(path), round(16_000 * seconds) / 16_000, text))
    write_manifest(folder / "made-up.jsonl", utterances)
    return folder / "made-up.jsonl"


def quoted(path: Path) -> str:
    return json.dumps(str(path.absolute()))


def run(
    model: str = "4x320",
    device: str = "auto",
    manifest: Path | None = None,
    batches: int = 8,
    seconds: float = 60.0,
    overrides: Sequence[str] = (),
) -> dict[str, float | str]:
    """Figures by name; `batches` in a block, about `seconds` for each of files and cache."""
    layers, cells = MODELS[model]
    size = [f"model.num_layers={layers}", f"model.hidden_size={cells}", f"machine.accelerator={device}"]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        config = make_config(folder, manifest, [*size, *overrides])
        with Monitor(folder, num_epochs=1, console=Console(quiet=True, force_terminal=False)) as monitor:
            config.training.epochs = 1
            trainer = build_run(config, folder, monitor).trainer
            metered = MeteredTask(trainer, batches, seconds)
            task = metered.task
            task.train_data.noise = build_noise(config.augment, config.data.sample_rate, NOISE_GIB)
            plan = task.plan(epoch=0)
            parts = loading_parts(task, plan[:PART_BATCHES])
            trainer.task = metered
            trainer.fit()
    figures = summary(metered.rounds, parts, task)
    return {"padding": frame_padding(task, plan), **figures, "model": model, **conditions(config, trainer, task)}


def summary(rounds: dict[str, list[Round]], parts: dict[str, float], task: AcousticTask) -> dict[str, float]:
    """What the rounds came to; throughputs are of the whole with audio from files."""
    files = rounds["files"]
    ratios = [each.efficiency for each in files]
    step_ms = MS * statistics.median(each.bare.seconds / each.audio_seconds for each in files)
    step_core_ms = MS * statistics.median(each.bare.core_seconds / each.audio_seconds for each in files)
    on_cpu = task.device.type == "cpu"
    return {
        "efficiency": statistics.median(ratios),
        "efficiency_min": min(ratios),
        "efficiency_max": max(ratios),
        "efficiency_cached": statistics.median(each.efficiency for each in rounds["cache"]),
        "expected": expected_on_cpu(parts, step_core_ms)
        if on_cpu
        else expected_on_gpu(parts, step_ms, task.options.num_workers),
        "rounds": len(files),
        "utterances_per_second": statistics.median(each.num_utterances / each.whole.seconds for each in files),
        "audio_seconds_per_second": statistics.median(each.audio_seconds / each.whole.seconds for each in files),
        "step_ms": step_ms,
        **parts,
    }


def conditions(config: Config, trainer: Trainer, task: AcousticTask) -> dict[str, float | str]:
    """What the figures hold for."""
    fabric = trainer.gradients.fabric
    name = torch.cuda.get_device_name(fabric.device) if fabric.device.type == "cuda" else fabric.device.type
    return {
        "device": name,
        "precision": fabric._precision.precision,
        "threads": torch.get_num_threads(),
        "workers": task.options.num_workers,
        "batch_seconds": config.data.batch_seconds,
        "speeds": len(config.augment.speeds),
        "noise_probability": config.augment.noise_probability,
        "reverberation_probability": config.augment.reverberation_probability,
    }
