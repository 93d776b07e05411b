"""`asr train --find-lr`: a learning-rate range test of a run, on a model that is then thrown away."""

from __future__ import annotations

import math
import shutil
import sys
from collections.abc import Iterator, Sequence
from itertools import count
from pathlib import Path

from matplotlib.figure import Figure
from matplotlib.ticker import LogFormatter
from rich.console import Console

from asr.config import Config
from asr.errors import AsrError, OutputError
from asr.experiment import build_run
from asr.files import replacing, write_json
from asr.launcher import detect_launch
from asr.progress import track
from asr.training.guard import StepInfo
from asr.training.loop import Trainer
from asr.training.lr_finder import RangeTest, Suggestion, range_test, suggest
from asr.training.monitor import Monitor
from asr.training.task import Step, Task

FOLDER = "lr_finder"  # in the run directory
PICTURE, FIGURES = "lr_finder.png", "lr_finder.json"
BUILD = "build"  # what a run writes when it begins; gone when the search is over
STEEPEST, BELOW_MINIMUM, OWN = "#3d7fe0", "#d9822b", "#8a8f98"


def find_learning_rate(config: Config, run_dir: Path, rates: Sequence[float], console: Console) -> None:
    """Try rates, one a step, on the run that the config describes; say which to use, and write run_dir/lr_finder.

    Nothing else in the run directory is touched: a run that begins or goes on there is the same with and without.

    Raises `AsrError` when the loss falls at none of them.
    """
    folder, is_leader = run_dir / FOLDER, detect_launch().is_leader
    build = folder / BUILD
    if is_leader:  # the others find there what the leader wrote, for which they wait
        make_empty(build)
    try:
        trainer = build_run(config, build, Monitor(build, 1, console, is_leader=is_leader)).trainer
        found = try_rates(trainer, rates, first_epoch(config), show_progress=is_leader and sys.stderr.isatty())
    finally:
        if is_leader:
            shutil.rmtree(build, ignore_errors=True)
    if is_leader:
        report(found, config.optim.lr, folder, console)


def make_empty(folder: Path) -> None:
    """Make a folder anew, without what a search that was killed left there. Raises `OutputError` if that cannot be."""
    try:
        if folder.is_dir():
            shutil.rmtree(folder)
        folder.mkdir(parents=True)
    except OSError as error:
        raise OutputError(
            f"{folder} cannot be written: {error.strerror or error}; choose another directory (run_dir=…)"
        ) from error


def first_epoch(config: Config) -> int:
    """The first epoch with all utterances in random order: before, the loss changes with the length, too."""
    return max(config.data.sorted_epochs, config.data.growing_epochs)


def try_rates(trainer: Trainer, rates: Sequence[float], epoch: int, *, show_progress: bool) -> RangeTest:
    """Take the run's first steps, but with these rates instead of its schedule. Leaves the model useless."""
    trainer.start()
    if trainer.probe is not None:
        trainer.probe(trainer.gradients, 0)
    trainer.model.train()
    work = enumerate(steps(trainer.task, epoch, len(rates)))

    def step(rate: float) -> float:
        return take_step(trainer, *next(work), rate)

    return range_test(step, track(rates, "learning rates", shown=show_progress))


def steps(task: Task, epoch: int, num_steps: int) -> Iterator[Step]:
    """The work of so many steps, from the beginning of an epoch on and through as many epochs as that takes."""
    for number in count(epoch):
        plan = task.plan(number)[:num_steps]
        yield from task.load(plan)
        num_steps -= len(plan)
        if num_steps == 0:
            return


def take_step(trainer: Trainer, number: int, work: Step, rate: float) -> float:
    """One step at a rate; the loss in nats a label, infinite when loss or gradient were not finite."""
    trainer.update(work, StepInfo(number, number, work.num_labels, rate))
    (outcome,) = trainer.guard.read()
    return outcome.values["loss"] if outcome.was_applied else math.inf


# ---- what is said of it ----------------------------------------------------------------------------------------------


def report(found: RangeTest, own_rate: float, folder: Path, console: Console) -> None:
    """Write picture and figures, also of a test that suggests nothing, and say what to do with them.

    own_rate: the config's. Raises `AsrError` when the loss fell at no rate.
    """
    try:
        suggestion = suggest(found)
    except ValueError as error:
        write(found, None, own_rate, folder)
        raise AsrError(
            f"no learning rate can be suggested: {error}; see {folder / PICTURE}. Let other rates be tried (--lr-from, "
            "--lr-to), with more steps (--lr-steps), or look at the data with `asr check`"
        ) from error
    write(found, suggestion, own_rate, folder)
    console.print(
        f"the loss falls fastest at            optim.lr={suggestion.steepest:.2g}\n"
        f"a tenth of the rate of its minimum   optim.lr={suggestion.below_minimum:.2g}\n"
        f"the config has                       optim.lr={own_rate:g}\n"
        "Train with one of the first two: the same command with that instead of --find-lr. Both are on the safe side: "
        f"where the rate warms up, higher ones up to {suggestion.minimum:.2g} often learn faster. The curve: "
        f"{folder / PICTURE}",
        highlight=False,
        soft_wrap=True,
    )
    if suggestion.minimum == found.rates[-1]:
        console.print(f"[yellow]the loss still fell at {found.rates[-1]:g}: raise --lr-to[/]")


def write(found: RangeTest, suggestion: Suggestion | None, own_rate: float, folder: Path) -> None:
    """Write lr_finder.json and lr_finder.png."""
    write_json(
        folder / FIGURES,
        {
            "steepest_lr": suggestion and suggestion.steepest,
            "below_minimum_lr": suggestion and suggestion.below_minimum,
            "minimum_lr": suggestion and suggestion.minimum,
            "exploded_at_lr": found.exploded_at,
            "config_lr": own_rate,
            "lr": list(found.rates),
            "loss": list(found.losses),
            "smoothed_loss": found.smoothed.tolist(),
        },
    )
    draw(found, suggestion, own_rate, folder / PICTURE)


def draw(found: RangeTest, suggestion: Suggestion | None, own_rate: float, path: Path) -> None:
    """Draw the loss against the rate, with the rates that are suggested and the one that the config has."""
    figure = Figure(figsize=(9, 5.5), layout="constrained")
    axes = figure.subplots()
    axes.plot(found.rates, found.losses, color="black", alpha=0.25, linewidth=0.8, label="loss of a step")
    axes.plot(found.rates, found.smoothed, color="black", label="smoothed")
    marks = {"the config's": own_rate}
    if suggestion is not None:
        marks |= {"falls fastest": suggestion.steepest, "a tenth of the minimum's": suggestion.below_minimum}
    for (name, rate), color in zip(marks.items(), (OWN, STEEPEST, BELOW_MINIMUM)):
        axes.axvline(rate, color=color, linestyle="--", label=f"{name}: {rate:.2g}")
    axes.set(title="learning-rate range test", xlabel="learning rate", ylabel="loss (nats a label)")
    axes.set(xscale="log", yscale="log")
    for place in (axes.yaxis.set_major_formatter, axes.yaxis.set_minor_formatter):
        place(LogFormatter())  # 20 instead of 2 × 10¹
    axes.grid(alpha=0.3)
    axes.legend()
    with replacing(path) as temporary:
        figure.savefig(temporary, format="png", dpi=110)
