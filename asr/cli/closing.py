"""How a run ends on the screen: its test sets evaluated, its figures, where everything lies, and what to do next."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from rich.console import Console

    from asr.config import Config
    from asr.training.run_state import Result

WORST_SHOWN = 3
EVALUATION_WORKERS = 2
Scores = Mapping[str, Mapping[str, Any]]  # name of a test set -> its score.json


def finish_run(config: "Config", *, was_done: bool) -> None:
    """Evaluate the test sets that are there, and close: in one line when nothing had to be done any more.

    Of several processes that trained together the first one calls this, and leaves evaluating to a command of its own.

    was_done: whether the model had been trained before.
    """
    from rich.console import Console

    from asr.launcher import detect_launch

    console, run_dir = Console(), Path(config.run_dir)
    present = {name: path for name, path in config.data.test.items() if Path(path).is_file()}
    for name in config.data.test.keys() - present.keys():
        console.print(f"{name}: not evaluated, as {config.data.test[name]} is not there", highlight=False, markup=False)
    if detect_launch().launcher != "none":
        present = {}
    results, is_new = evaluate_stage(config, run_dir / "model", console, present)
    if was_done and not is_new:
        console.print(already_trained(config, results), highlight=False, markup=False, soft_wrap=True)
    else:
        close(config, results, console)


def evaluate_stage(
    config: "Config", model_dir: Path, console: "Console", manifests: Mapping[str, str]
) -> tuple[dict[str, dict[str, Any]], bool]:
    """Evaluate test sets unless that is done; the contents of each score.json, and whether there was anything to do."""
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
    test_sets = [TestSet(name, existing(manifest), folder / name) for name, manifest in manifests.items()]
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
    return results, recognizer is not None


def read_summary(directory: Path) -> dict[str, Any]:
    """The contents of a result's score.json."""
    import json

    summary: dict[str, Any] = json.loads((directory / "score.json").read_text(encoding="utf-8"))
    return summary


def write_card(config: "Config", model_dir: Path, results: Scores) -> None:
    """Put the test figures on the model's card, beside those of the development set."""
    from asr.model_card import model_card
    from asr.model_directory import replace_card
    from asr.training.dev_figures import figures_by_set
    from asr.training.run_state import read_result

    result = read_result(Path(config.run_dir))
    dev = figures_by_set(result.figures) if result is not None else {}
    replace_card(model_dir, model_card(config, {**dev, **results}))


def close(config: "Config", results: Scores, console: "Console") -> None:
    """The closing block: figures, places, and the next commands."""
    from asr.scoring.display import summary_table
    from asr.training.dev_figures import describe_rates
    from asr.training.run_state import read_result
    from asr.training.time_left import clock_time

    run_dir, result = Path(config.run_dir), read_result(Path(config.run_dir))
    console.print()
    if results:
        console.print(summary_table(results))
        console.print()
    lines = {"model": f"{run_dir / 'model'}"}
    if result is not None:
        lines["model"] += f": {result.exported}"
        lines["dev"] = f"{describe_rates(result.figures)}; it chose the epochs, so it flatters"
        lines["duration"] = f"{clock_time(result.seconds)} for {epochs_of(result)}"
    lines["curves"] = str(run_dir / "curves.png")
    if results:
        lines["reports"] = str(run_dir / "evaluate")
    lines["TensorBoard"] = f"tensorboard --logdir {run_dir / 'tensorboard'}"
    for name, line in lines.items():
        console.print(f"[dim]{name:>11}[/]  {line}", highlight=False, soft_wrap=True)
    commands = {
        "use it": f"asr transcribe FILE --model {run_dir / 'model'}",
        "test it": f"asr evaluate {run_dir / 'model'} MANIFEST",
        "go on": f"the same command with training.epochs={2 * config.training.epochs}",
    }
    for name, command in commands.items():
        typer.echo(f"{name:>11}  {typer.style(command, bold=name == 'use it')}")


def already_trained(config: "Config", results: Scores) -> str:
    """The line for a command that finds everything done."""
    from asr.training.dev_figures import describe_rates
    from asr.training.run_state import read_result

    result = read_result(Path(config.run_dir))
    sets = ([("dev", result.figures)] if result is not None else []) + list(results.items())
    figures = "; ".join(f"{name} {describe_rates(values)}" for name, values in sets)
    after = f" after {epochs_of(result)}" if result is not None else ""
    more = f"training.epochs={2 * config.training.epochs} would go on"
    return f"already trained: {Path(config.run_dir) / 'model'}{after}; {figures}; {more}"


def epochs_of(result: "Result") -> str:
    """How many epochs were trained."""
    if result.epochs < result.planned_epochs:
        return f"{result.epochs} of {result.planned_epochs} epochs (training.patience ended it)"
    return f"{result.epochs} epoch{'s' if result.epochs != 1 else ''}"


def existing(manifest: str) -> Path:
    """The path of a manifest that is there."""
    from asr.errors import ManifestError

    if not Path(manifest).is_file():
        raise ManifestError(f"expected a manifest at {manifest}, found none; `asr prepare` makes those of a recipe")
    return Path(manifest)
