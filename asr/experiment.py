"""A training run put together: data checked, objects built, trained, and exported as a model directory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from lightning_fabric import Fabric
from rich.console import Console

from asr.builders import build_recognizer, check_case, model_files
from asr.config import Config
from asr.initial_model import load_initial_model
from asr.inspection.monitors import Watch, training_watches
from asr.launcher import detect_launch
from asr.model_card import model_card
from asr.model_directory import write_model
from asr.options import check
from asr.recognizer import Recognizer
from asr.training.acoustic_task import AcousticTask
from asr.training.course import read_course
from asr.training.dev_figures import describe_rates, figures_by_set
from asr.training.fabric import build_fabric, processes_of
from asr.training.loop import Trainer
from asr.training.monitor import Monitor
from asr.training.probe import probe_memory
from asr.training.run_directory import write_environment
from asr.training_builders import (
    build_optimizer,
    build_schedule,
    build_spec_augment,
    loop_options,
    norm_limit,
    task_options,
)
from asr.training_data import TrainingData, build_data, learn_tokenizer, open_corpus, smoothing


def train(config: Config, run_dir: Path, console: Console) -> Path:
    """Train to the end, going on from a checkpoint if there is one; returns the model directory."""
    is_leader = detect_launch().is_leader
    with Monitor(run_dir, config.training.epochs, console, is_leader=is_leader) as monitor:
        run = build_run(config, run_dir, monitor)
        with run.trainer.stopping_on_signals():
            run.trainer.fit()
        return export(config, run_dir, run, console)


@dataclass(frozen=True, slots=True)
class Run:
    """A trainer, and the recognizer whose model it trains."""

    trainer: Trainer
    recognizer: Recognizer


def export(config: Config, run_dir: Path, run: Run, console: Console) -> Path:
    """Write the best mean of checkpoints as a model directory, with its validation figures on the card."""
    trainer = run.trainer
    chosen = trainer.choose_mean()
    exported = chosen.describe(trainer.task.criterion)
    console.print(
        f"exporting {exported}: on the development set {describe_rates(chosen.values)}",
        highlight=False,
        soft_wrap=True,
    )
    model_dir = run_dir / "model"
    if trainer.processes.is_leader:
        write_model(model_dir, model_files(config, run.recognizer), model_card(config, figures_by_set(chosen.values)))
        trainer.result(chosen).write(run_dir)
    return model_dir


def build_run(config: Config, run_dir: Path, monitor: Monitor) -> Run:
    """Everything a run needs, from its config. Raises `ConfigError` for one that is out of range."""
    check(config)
    console = monitor.console
    torch.manual_seed(config.seed)
    if config.machine.num_threads:
        torch.set_num_threads(config.machine.num_threads)
    fabric = build_fabric(config.machine.accelerator, config.machine.precision)
    processes = processes_of(fabric)
    if processes.is_leader:
        write_environment(run_dir, fabric.device, fabric._precision.precision, processes.world_size)
    train_texts = open_corpus(config.data.train, config, processes)
    dev_texts = open_corpus(config.data.dev, config, processes)
    recognizer = build_recognizer(
        config.features,
        config.model,
        config.decoding,
        sample_rate=config.data.sample_rate,
        case=check_case(config.text.case),
        tokenizer=learn_tokenizer(config, run_dir, train_texts, processes),
    )
    data = build_data(config, recognizer, train_texts, dev_texts, run_dir, console, processes)
    describe(recognizer, data, fabric, console)
    task = AcousticTask(
        recognizer,
        build_spec_augment(config.augment),
        data.train,
        data.dev,
        fabric.device,
        task_options(config, fabric.device),
        smoothing(config, recognizer, data.train),
        processes,
        data.dev_sets,
        data.drops,
    )
    course = processes.from_leader(read_course(run_dir, config.training.epochs))
    optimizer, schedule = build_optimizer(config.optim, recognizer.model), build_schedule(config.optim)
    trainer = Trainer(
        fabric,
        task,
        optimizer,
        schedule,
        monitor,
        run_dir / "checkpoints",
        loop_options(config, course),
        partial(load_initial_model, config, recognizer, console) if config.training.initial_model else None,
        partial(probe_memory, task),
        build_watches(config, recognizer, monitor),
        processes,
    )
    return Run(trainer, recognizer)


def describe(recognizer: Recognizer, data: TrainingData, fabric: Fabric, console: Console) -> None:
    """One look at what is about to be trained."""
    num_weights = sum(parameter.numel() for parameter in recognizer.model.parameters())
    train_hours, dev_hours = (part.durations.sum() / 3600 for part in (data.train, data.dev))
    together = f" in each of {fabric.world_size} processes" if fabric.world_size > 1 else ""
    console.print(
        f"{num_weights / 1e6:.2f} million weights, {recognizer.tokenizer.vocab_size} tokens, "
        f"{recognizer.features.num_features} features; {train_hours:.2f} h in {len(data.train)} utterances "
        f"to train on, {dev_hours:.2f} h in {len(data.dev)} to validate on; "
        f"{fabric.device}, {fabric._precision.precision}{together}",
        highlight=False,
        soft_wrap=True,
    )


def build_watches(config: Config, recognizer: Recognizer, monitor: Monitor) -> Sequence[Watch]:
    """What looks into the model while it is trained, every `training.inspect_every_steps` steps."""
    every_steps = config.training.inspect_every_steps
    if every_steps == 0:
        return ()
    return training_watches(recognizer.model, norm_limit(config.optim), every_steps, monitor.inspection)
