"""`asr run`: a recipe from recordings to a scored transcript."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from asr.cli.jobs import Multirun, Request, Resolve, ShowConfig, carry_out
from asr.cli.prepare import Overrides, prepare_stage

if TYPE_CHECKING:
    from asr.config import Config

Recipe = Annotated[
    str, typer.Argument(help="A recipe: digits, mini_english, …; custom: your own manifests.", show_default=False)
]


def run(
    recipe: Recipe,
    overrides: Overrides = None,
    multirun: Multirun = False,
    cfg: ShowConfig = None,
    resolve: Resolve = False,
) -> None:
    """Run a recipe: prepare, train, evaluate. What is done and unchanged is skipped; what was interrupted goes on.

    Everything lies in runs/RECIPE (or run_dir=…): config and environment, checkpoints, model, TensorBoard logs,
    curves.png, and the results of each test set. With more epochs or other test sets the same directory goes on. The
    recipe [bold]custom[/] is for manifests of your own.

    [bold]Examples[/]

        asr run digits

        asr run digits data=fsdd run_dir=runs/digits-fsdd

        asr run custom data.train=train.jsonl data.dev=dev.jsonl data.test.mine=test.jsonl run_dir=runs/mine

        asr run mini_english model=blstm_5x512 optim.lr=5e-4,1e-3 run_dir=runs/bigger -m

        asr run mini_english --cfg job
    """
    from asr.cli.compose import with_recipe
    from asr.errors import ConfigError
    from asr.launcher import detect_launch

    if (launch := detect_launch()).launcher != "none":
        raise ConfigError(
            f"asr run is one process, {launch.launcher} started {launch.world_size}: call asr prepare once, then train "
            f"with several (-m asr train +recipe={recipe}), then evaluate (-m asr evaluate)"
        )
    request = Request(with_recipe(recipe, overrides or []), multirun=multirun, show_config=cfg, resolve=resolve)
    carry_out(request, run_one, check=find_run_inputs, may_launch=False)


def find_run_inputs(config: "Config") -> None:
    """See that what a run reads is there, but for what it makes itself."""
    from asr.cli.inputs import find_inputs, refuse_impossible
    from asr.errors import ConfigError
    from asr.recipe import is_prepared

    refuse_impossible(config)
    has_own_code = is_prepared(config.recipe)
    if config.data.options and not has_own_code:
        raise ConfigError(
            f"data.options: expected none for {config.recipe}, which prepares nothing, got {config.data.options}"
        )
    find_inputs(config, unmade=Path(config.data.dir) if has_own_code else None)


def run_one(config: "Config") -> None:
    """Prepare, train, evaluate and report one config."""
    from asr.cli.closing import finish_run
    from asr.cli.inputs import find_inputs
    from asr.cli.train import train_stage
    from asr.recipe import is_prepared

    if is_prepared(config.recipe):
        prepare_stage(config)
        find_inputs(config)
    train_stage(config)
    finish_run(config, was_done=False)
