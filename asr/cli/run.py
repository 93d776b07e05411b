"""`asr run`: a recipe from recordings to a scored transcript."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from asr.cli.jobs import Multirun, Request, Resolve, ShowConfig, carry_out
from asr.cli.prepare import Overrides, prepare_stage

if TYPE_CHECKING:
    from rich.console import Console

    from asr.config import Config

Recipe = Annotated[
    str, typer.Argument(help="A recipe: digits, mini_english, …; custom: your own manifests.", show_default=False)
]
WORST_SHOWN = 3
EVALUATION_WORKERS = 2


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
    from rich.console import Console

    from asr.cli.inputs import find_inputs
    from asr.cli.train import train_stage
    from asr.recipe import is_prepared

    console = Console()
    if is_prepared(config.recipe):
        prepare_stage(config)
        find_inputs(config)
    model_dir = train_stage(config)
    results = evaluate_stage(config, model_dir, console)
    report(config, results, console)


def evaluate_stage(config: "Config", model_dir: Path, console: "Console") -> dict[str, dict[str, Any]]:
    """Evaluate every test set unless that is done; returns the contents of each score.json."""
    from asr.builders import build_comparison
    from asr.cli.common import load
    from asr.cli.evaluate import TestSet, check_fields, evaluate_set, show_worst, system_name, write_evaluation
    from asr.cli.stages import Stage
    from asr.config import to_json
    from asr.files import sha256
    from asr.model_directory import CHECKSUMS

    recognizer = None
    results = {}
    folder = Path(config.run_dir) / "evaluate"
    test_sets = [TestSet(name, existing(manifest), folder / name) for name, manifest in config.data.test.items()]
    for test_set in test_sets:
        name, directory = test_set.name, test_set.directory
        stage = Stage(directory / "evaluated.json")
        inputs = {
            "model": sha256(model_dir / CHECKSUMS),
            "manifest": sha256(test_set.manifest),
            "decoding": to_json(config.decoding),
            "scoring": to_json(config.scoring),
        }
        if not stage.is_done(inputs) or read_summary(directory).get("left_out"):  # which may be mended by now
            check_fields(config.scoring.fields, test_sets)
            recognizer = recognizer or load(model_dir, config.machine.accelerator)
            settings = build_comparison(config.scoring)
            evaluation = evaluate_set(
                recognizer,
                test_set,
                settings,
                system_name(model_dir),
                EVALUATION_WORKERS,
                max_unusable_share=config.data.max_unusable_share,
            )
            write_evaluation(recognizer, evaluation, test_set.directory)
            show_worst(console, name, evaluation.assessment, WORST_SHOWN)
            stage.finish(inputs, outputs=[directory / "score.json", directory / "hypotheses.jsonl"])
        results[name] = read_summary(directory)
    if recognizer is not None:
        write_card(config, model_dir, results)
    return results


def read_summary(directory: Path) -> dict[str, Any]:
    """The contents of a result's score.json."""
    import json

    summary: dict[str, Any] = json.loads((directory / "score.json").read_text(encoding="utf-8"))
    return summary


def write_card(config: "Config", model_dir: Path, results: dict[str, dict[str, Any]]) -> None:
    """Put the test figures on the model's card, below those of the development set."""
    from asr.model_card import model_card
    from asr.model_directory import replace_card
    from asr.training.dev_figures import figures_by_set
    from asr.training.run_state import read_result

    trained = read_result(Path(config.run_dir))
    figures = figures_by_set(trained.figures) if trained is not None else {}
    replace_card(model_dir, model_card(config, figures | results))


def report(config: "Config", results: dict[str, dict[str, Any]], console: "Console") -> None:
    """The table of results, and where everything lies."""
    from asr.scoring.display import summary_table

    run_dir = Path(config.run_dir)
    console.print()
    if results:
        console.print(summary_table(results))
        console.print()
    places = {
        "model": run_dir / "model",
        "curves": run_dir / "curves.png",
        "reports": run_dir / "evaluate",
        "TensorBoard": f"tensorboard --logdir {run_dir / 'tensorboard'}",
    }
    for name, place in places.items():
        console.print(f"[dim]{name:>11}[/]  {place}", highlight=False)
    sample = typer.style(f"asr transcribe FILE --model {run_dir / 'model'}", bold=True)
    typer.echo(f"   use it:  {sample}")


def existing(manifest: str) -> Path:
    """The path of a manifest that is there."""
    from asr.errors import ManifestError

    if not Path(manifest).is_file():
        raise ManifestError(f"expected a manifest at {manifest}, found none; `asr prepare` makes those of a recipe")
    return Path(manifest)
