"""`asr evaluate`: a model's word error rate on manifests."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from asr.cli.common import Device, ModelDirectory, load

if TYPE_CHECKING:
    from rich.console import Console

    from asr.evaluation import Evaluation
    from asr.recognizer import Recognizer

Manifests = Annotated[list[Path], typer.Argument(help="Manifests with references.", show_default=False)]
Output = Annotated[
    Path | None,
    typer.Option(
        "-o",
        "--output-dir",
        help="Where score.json and hypotheses.jsonl go: DIR for one manifest, DIR/<name of the manifest> for several. "
        "Without it: evaluate/<name> beside the model directory.",
        show_default=False,
    ),
]


def evaluate(
    model: ModelDirectory,
    manifests: Manifests,
    output_dir: Output = None,
    worst: Annotated[int, typer.Option(help="How many of the worst utterances to show.")] = 5,
    device: Device = "auto",
    workers: Annotated[int, typer.Option(help="Threads that read audio ahead.")] = 2,
) -> None:
    """Transcribe the audio of manifests and score it against their texts.

    Prints word error rate with its 95 % interval, character and sentence error rates, and the worst utterances with
    their differences aligned.

    [bold]Examples[/]

        asr evaluate runs/digits/model data/digits-synthetic/test-strings.jsonl

        asr evaluate runs/mini_english/model librispeech-test.jsonl speechocean762-test.jsonl -o results
    """
    from rich.console import Console

    from asr.scoring.display import summary_table

    recognizer = load(model, device)
    console = Console()
    directories = output_directories(model, manifests, output_dir)
    results = {}
    for manifest, (name, directory) in zip(manifests, directories.items()):
        evaluation = evaluate_manifest(recognizer, manifest, directory, workers)
        results[name] = evaluation.summary
        show_worst(console, name, evaluation, worst)
    console.print(summary_table(results))
    for directory in directories.values():
        console.print(f"written: {directory}/score.json, hypotheses.jsonl", highlight=False)


def evaluate_manifest(recognizer: "Recognizer", manifest: Path, directory: Path, workers: int) -> "Evaluation":
    """Evaluate one manifest and write its results."""
    import sys

    from asr.data.manifest import read_manifest
    from asr.evaluation import evaluate

    show_progress = sys.stderr.isatty()
    evaluation = evaluate(recognizer, read_manifest(manifest), num_workers=workers, show_progress=show_progress)
    evaluation.write(directory)
    return evaluation


def output_directories(model: Path, manifests: list[Path], output_dir: Path | None) -> dict[str, Path]:
    """Name of each set -> where its results go, in the order of the manifests."""
    from asr.errors import ConfigError

    names = [manifest.stem for manifest in manifests]
    if repeated := [name for name in names if names.count(name) > 1]:
        raise ConfigError(f"two manifests are called {repeated[0]}: their results would overwrite one another")
    if output_dir is not None and len(manifests) == 1:
        return {names[0]: output_dir}
    parent = output_dir or model.resolve().parent / "evaluate"
    return {name: parent / name for name in names}


def show_worst(console: "Console", name: str, evaluation: "Evaluation", number: int) -> None:
    """Print the utterances that cost the most errors."""
    from asr.scoring.display import worst_report

    report = worst_report(evaluation.score, number, console.width)
    if report.plain:
        console.rule(f"{name}: the worst utterances", align="left")
        console.print(report)
        console.print()
