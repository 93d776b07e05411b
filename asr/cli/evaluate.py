"""`asr evaluate`: a model's word error rate on manifests."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from asr.cli.common import Device, ModelDirectory, load
from asr.cli.decoding_options import DecodingOptions, takes_decoding_options

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from rich.console import Console

    from asr.evaluation import Evaluation
    from asr.recognizer import Recognizer

Manifests = Annotated[list[Path], typer.Argument(help="Manifests with references.", show_default=False)]
Output = Annotated[
    Path | None,
    typer.Option(
        "-o",
        "--output-dir",
        help="Where score.json, hypotheses.jsonl and, with --nbest, nbest.jsonl go: DIR for one manifest, "
        "DIR/<name of the manifest> for several. "
        "Without it: evaluate/<name> beside the model directory.",
        show_default=False,
    ),
]


@takes_decoding_options
def evaluate(
    model: ModelDirectory,
    manifests: Manifests,
    output_dir: Output = None,
    worst: Annotated[int, typer.Option(help="How many of the worst utterances to show.")] = 5,
    save_log_probs: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE.npz",
            help="Write the model's log-probabilities too (of one manifest), for `asr tune --emissions`.",
            show_default=False,
        ),
    ] = None,
    device: Device = "auto",
    workers: Annotated[int, typer.Option(help="Threads that read audio ahead.")] = 2,
    *,
    decoding: DecodingOptions,
) -> None:
    """Transcribe the audio of manifests and score it against their texts.

    Prints word error rate with its 95 % interval, character and sentence error rates, and the worst utterances with
    their differences aligned. Decodes as the model directory says (see `asr tune`) where the options say nothing else.

    [bold]Examples[/]

        asr evaluate runs/digits/model data/digits-synthetic/test-strings.jsonl

        asr evaluate runs/mini_english/model librispeech-test.jsonl speechocean762-test.jsonl -o results

        asr evaluate runs/mini_english/model librispeech-test.jsonl --lm 4gram.lm --lm-weight 0.8 --nbest 10
    """
    from rich.console import Console

    from asr.scoring.display import summary_table

    check_log_probs_path(save_log_probs, manifests)
    recognizer = load(model, device, decoding)
    console = Console()
    directories = output_directories(model, manifests, output_dir)
    results = {}
    for manifest, (name, directory) in zip(manifests, directories.items()):
        evaluation = evaluate_manifest(recognizer, manifest, directory, workers, save_log_probs)
        results[name] = evaluation.summary
        show_worst(console, name, evaluation, worst)
    console.print(summary_table(results))
    for directory in directories.values():
        nbest = ", nbest.jsonl" if (directory / "nbest.jsonl").is_file() else ""
        console.print(f"written: {directory}/score.json, hypotheses.jsonl{nbest}", highlight=False)
    if save_log_probs is not None:
        console.print(f"written: {save_log_probs}", highlight=False)


def check_log_probs_path(path: Path | None, manifests: list[Path]) -> None:
    """Refuse what would end in a file that cannot be found again, or overwritten by the next manifest."""
    from asr.errors import ConfigError

    if path is not None and path.suffix != ".npz":
        raise ConfigError(f"--save-log-probs: expected a name that ends in .npz, got {path}")
    if path is not None and len(manifests) > 1:
        raise ConfigError(f"--save-log-probs: expected one manifest, got {len(manifests)}: evaluate them one by one")


def evaluate_manifest(
    recognizer: "Recognizer", manifest: Path, directory: Path, workers: int, save_log_probs: Path | None = None
) -> "Evaluation":
    """Evaluate one manifest and write its results, the log-probabilities last."""
    import sys

    from asr.data.manifest import read_manifest
    from asr.emissions import emission_table, save_emissions
    from asr.evaluation import evaluate

    rows: dict[str, NDArray[np.float16]] = {}
    evaluation = evaluate(
        recognizer,
        read_manifest(manifest),
        num_workers=workers,
        show_progress=sys.stderr.isatty(),
        on_emissions=None if save_log_probs is None else lambda batch: rows.update(batch.rows()),
    )
    evaluation.write(directory)
    if save_log_probs is not None:
        frame_seconds = recognizer.samples_per_frame / recognizer.sample_rate
        table = emission_table(rows, evaluation.utterances, recognizer.tokenizer, frame_seconds, manifest.name)
        save_emissions(save_log_probs, table)
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
