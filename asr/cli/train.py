"""`asr train`: manifests -> model directory."""

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from asr.cli.jobs import Multirun, Request, Resolve, ShowConfig, carry_out

if TYPE_CHECKING:
    from rich.console import Console

    from asr.config import Config

Overrides = typer.Argument(None, metavar="[+recipe=NAME] [KEY=VALUE]…", help="Config overrides.", show_default=False)


Replay = typer.Option(
    None,
    help="Compute a batch again that stopped a run (RUN/checkpoints/replay-….safetensors), and say what is not finite.",
    show_default=False,
)


FIRST_RATE, LAST_RATE, NUM_RATES = 1e-6, 1.0, 100
FindRate = typer.Option(
    False,
    "--find-lr",
    help="Train nothing, but try learning rates on a model that is thrown away, and say which to train with.",
)
FirstRate = typer.Option(FIRST_RATE, "--lr-from", help="The first rate that --find-lr tries.")
LastRate = typer.Option(LAST_RATE, "--lr-to", help="The last one.")
NumRates = typer.Option(NUM_RATES, "--lr-steps", help="How many it tries, each for a step.")


def train(
    overrides: list[str] | None = Overrides,
    replay: Path | None = Replay,
    find_lr: bool = FindRate,
    lr_from: float = FirstRate,
    lr_to: float = LastRate,
    lr_steps: int = NumRates,
    multirun: Multirun = False,
    cfg: ShowConfig = None,
    resolve: Resolve = False,
) -> None:
    """Train a model. What is not overridden comes from the recipe and from asr/config.py.

    The same command in the same run directory goes on where an interrupted run stopped.

    [bold]Examples[/]

        asr train +recipe=digits

        asr train data.train=train.jsonl data.dev=dev.jsonl run_dir=runs/mine model=blstm_5x512

        asr train +recipe=digits model.cell=lstm,gru run_dir=runs/cells -m

        asr train +recipe=mini_english --cfg job

        torchrun --nproc-per-node 4 -m asr train +recipe=mini_english

        asr train +recipe=digits --find-lr

        asr train --replay runs/mine/checkpoints/replay-00001234-77ab01fe77ab01fe.safetensors
    """
    if replay is not None:
        others = {"--find-lr": find_lr, "-m": multirun, "--cfg": cfg is not None, "--resolve": resolve}
        replay_stage(replay, [*(overrides or []), *(name for name, is_given in others.items() if is_given)])
        return
    rates = rates_to_try(lr_from, lr_to, lr_steps, wanted=find_lr)
    request = Request(overrides or [], multirun=multirun, show_config=cfg, resolve=resolve)
    carry_out(request, train_one if rates is None else partial(search_stage, rates=rates), check=find_train_inputs)


def find_train_inputs(config: "Config") -> None:
    """See that what a training reads is there; of a recipe's own test sets only those that were prepared need be."""
    from asr.cli.inputs import find_inputs, refuse_impossible

    refuse_impossible(config)
    find_inputs(config, with_tests=False)
    find_inputs(config, unmade=Path(config.data.dir))


def train_one(config: "Config") -> None:
    """Train with one config of the command line, evaluate its test sets, and say what came of it."""
    from asr.cli.closing import finish_run
    from asr.launcher import detect_launch

    was_done = train_unless_done(config)
    if detect_launch().is_leader:
        finish_run(config, was_done=was_done)


def replay_stage(path: Path, overrides: list[str]) -> None:
    """Look into a saved batch; its run says how, so that nothing can be overridden."""
    from rich.console import Console

    from asr.batch_replay import replay
    from asr.errors import ConfigError

    if overrides:
        raise ConfigError(f"expected nothing beside --replay, got {' '.join(overrides)}: the run's own config is used")
    replay(path, Console())


def rates_to_try(first: float, last: float, num_steps: int, wanted: bool) -> list[float] | None:
    """The rates of --find-lr; None where it is not given, and then nothing may be said of them."""
    from asr.errors import ConfigError

    if not wanted:
        if (first, last, num_steps) != (FIRST_RATE, LAST_RATE, NUM_RATES):
            raise ConfigError("expected --lr-from, --lr-to and --lr-steps beside --find-lr; for training, optim.lr=…")
        return None
    from asr.training.lr_finder import geometric_rates

    try:
        return geometric_rates(first, last, num_steps)
    except ValueError as error:
        raise ConfigError(f"--lr-from, --lr-to, --lr-steps: {error}") from error


def search_stage(config: "Config", rates: list[float]) -> None:
    """Try learning rates; the run directory stays free for a run with any of them."""
    from rich.console import Console

    from asr.cli.inputs import read_manifests
    from asr.launcher import detect_launch
    from asr.lr_search import find_learning_rate

    console = Console(quiet=not detect_launch().is_leader)
    if config.fit:
        fit(config, read_manifests(config), console)
    find_learning_rate(config, Path(config.run_dir), rates, console)


def fit(config: "Config", seconds: float, console: "Console") -> None:
    """Set what follows from the length of the training set, and say so; a run that has begun keeps what it has."""
    from asr.fitting import SECONDS_PER_HOUR, fit_to_data
    from asr.training.claim import begun_config

    tell(console, fit_to_data(config, seconds / SECONDS_PER_HOUR, begun_config(Path(config.run_dir))))


def tell(console: "Console", line: str | None) -> None:
    """Print a line as it is, unless there is none."""
    if line is not None:
        console.print(line, highlight=False, markup=False, soft_wrap=True)


def train_stage(config: "Config") -> Path:
    """Train a config in its run directory unless that is done; returns the model directory."""
    train_unless_done(config)
    return Path(config.run_dir) / "model"


def train_unless_done(config: "Config") -> bool:
    """Train a config in its run directory; returns whether that had been done before.

    Raises `ConfigError` when another process trains there, or when the run there is another one.
    """
    from contextlib import nullcontext

    from rich.console import Console

    from asr.cli.common import importing
    from asr.launcher import detect_launch

    with importing():
        from asr.cli.inputs import find_inputs, read_manifests, refuse_impossible
        from asr.cli.stages import Stage
        from asr.config import Config, to_json
        from asr.data.corpus import checksum
        from asr.model_directory import TOKENIZER, WEIGHTS
        from asr.training.claim import claim, export_inputs
        from asr.training.run_lock import locked
        from asr.training.run_state import recording_state

    run_dir, launch = Path(config.run_dir), detect_launch()
    console = Console(quiet=not launch.is_leader)
    refuse_impossible(config)
    find_inputs(config, with_tests=False)
    if launch.is_leader or config.fit:
        fit(config, read_manifests(config), console)
    manifests = [*config.data.train, *config.data.dev, *config.augment.noise, *config.augment.rooms]
    checksums = {path: checksum(path) for path in manifests} if launch.is_leader else {}
    with locked(run_dir) if launch.is_leader else nullcontext():
        if launch.is_leader:
            claimed = claim(run_dir, {**to_json(config), "manifests": checksums}, to_json(Config()))
            config.training.epochs = claimed.epochs
            for note in claimed.notes:
                tell(console, note)
        stage, inputs = Stage(run_dir / "trained.json"), export_inputs(to_json(config))
        was_done = stage.is_done(inputs)
        if not was_done:
            with importing():
                from asr.experiment import train as run_training

            with recording_state(run_dir) if launch.is_leader else nullcontext():
                model_dir = run_training(config, run_dir, console)
                if launch.is_leader:
                    stage.finish(inputs, outputs=[model_dir / WEIGHTS, model_dir / TOKENIZER])
    return was_done
