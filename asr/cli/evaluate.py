"""`asr evaluate`: a model's word error rate on manifests."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from asr.cli.common import (
    Device,
    MaxUnusableShare,
    ModelArgument,
    ModelOption,
    given_model,
    load,
    refuse_replacing,
    tell_left_out,
    unusable_share,
)
from asr.cli.decoding_options import DecodingOptions, takes_decoding_options
from asr.cli.scoring_options import Alignment, By, Fold, Normalize, Unit, comparison, names

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from rich.console import Console

    from asr.evaluation import Evaluation
    from asr.processes import Processes
    from asr.recognizer import Recognizer
    from asr.scoring.assessment import Assessment, Comparison

Manifests = Annotated[
    list[Path] | None, typer.Argument(metavar="MANIFEST", help="Manifests with references.", show_default=False)
]
Output = Annotated[
    Path | None,
    typer.Option(
        "-o",
        "--output-dir",
        help="Where the results go: DIR for one test set, DIR/<its name> for several. "
        "Without it: evaluate/<name> beside the model directory.",
        show_default=False,
    ),
]
Benchmarks = Annotated[
    str,
    typer.Option(
        "--benchmark",
        metavar="NAMES",
        help="Prepared test sets by name, such as librispeech/test-clean,commonvoice/de/test.",
        show_default=False,
    ),
]
TABLE = "results.md"


@dataclass(frozen=True, slots=True)
class TestSet:
    """A manifest to evaluate on, its name, and where the results go."""

    name: str
    manifest: Path
    directory: Path


@takes_decoding_options
def evaluate(
    model: ModelArgument = None,
    manifests: Manifests = None,
    model_option: ModelOption = None,
    benchmark: Benchmarks = "",
    output_dir: Output = None,
    normalize: Normalize = "",
    fold: Fold = "",
    unit: Unit = "word",
    by: By = "",
    alignment: Alignment = "levenshtein",
    worst: Annotated[int, typer.Option(help="How many of the worst utterances to show.", min=0)] = 5,
    save_log_probs: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE.npz",
            help="Write the model's log-probabilities too (of one manifest), for `asr tune --emissions`.",
            show_default=False,
        ),
    ] = None,
    max_unusable_share: MaxUnusableShare = None,
    device: Device = "auto",
    workers: Annotated[int, typer.Option(help="Threads that read audio ahead.")] = 2,
    *,
    decoding: DecodingOptions,
) -> None:
    """Transcribe the audio of manifests and score it against their texts.

    Prints word error rate with its 95 % interval, character and sentence error rates, and the worst utterances with
    their differences aligned. Writes score.json, hypotheses.jsonl, report.html for a browser, reports in the formats
    of sclite, Kaldi, ESPnet and the Open ASR leaderboard, and with --nbest nbest.jsonl. Decodes as the model directory
    says (see `asr tune`) where the options say nothing else.

    [bold]Examples[/]

        asr evaluate runs/digits/model data/digits-synthetic/test-strings.jsonl

        asr evaluate librispeech-test.jsonl speechocean762-test.jsonl -m runs/mini_english/model -o results

        asr evaluate runs/librispeech/model --benchmark librispeech/test-clean,librispeech/test-other

        asr evaluate runs/mini_english/model test.jsonl --normalize basic,english --by gender

        asr evaluate runs/mini_english/model librispeech-test.jsonl --lm 4gram.lm --lm-weight 0.8 --nbest 10
    """
    from rich.console import Console

    from asr.files import write_text
    from asr.launcher import detect_launch
    from asr.results import ALSO_WRITTEN, WRITTEN
    from asr.scoring.display import markdown_table, summary_table

    launch = detect_launch()
    settings = comparison(normalize, fold, unit, by, alignment)
    model, inputs = given_model(model_option, model, *(manifests or []))
    parent = output_dir or model.resolve().parent / "evaluate"
    test_sets = find_test_sets(inputs, names(benchmark), parent, parts=output_dir is None)
    check_log_probs_path(save_log_probs, len(test_sets), launch.world_size)
    check_fields(settings.fields, test_sets)
    read = [test_set.manifest for test_set in test_sets]
    for test_set in test_sets:
        refuse_replacing(test_set.directory, (*WRITTEN, *ALSO_WRITTEN), read)
    if save_log_probs is not None:
        refuse_replacing(save_log_probs.parent, [save_log_probs.name], read)
    processes = meet_others(device)
    recognizer = load(model, device, decoding)
    console = Console(quiet=not launch.is_leader)
    results = {}
    for test_set in test_sets:
        evaluation = evaluate_set(
            recognizer,
            test_set,
            settings,
            system_name(model),
            workers,
            save_log_probs,
            processes,
            max_unusable_share,
        )
        if not launch.is_leader:
            continue
        written = write_evaluation(recognizer, evaluation, test_set.directory)
        results[test_set.name] = evaluation.summary
        show_worst(console, test_set.name, evaluation.assessment, worst)
        console.print(f"written: {test_set.directory}/{', '.join(written)}", highlight=False)
    if not launch.is_leader:
        return
    console.print()
    console.print(summary_table(results))
    if len(results) > 1:
        write_text(parent / TABLE, markdown_table(results))
        console.print(f"written: {parent / TABLE}", highlight=False)
    if save_log_probs is not None:
        console.print(f"written: {save_log_probs}", highlight=False)


def find_test_sets(manifests: list[Path], benchmarks: Sequence[str], parent: Path, *, parts: bool) -> list[TestSet]:
    """The manifests by their stems, then the benchmarks by their names.

    parts: whether the results of a single test set, too, go to a part of `parent` that has its name
    """
    from asr.errors import ConfigError

    stems = [manifest.stem for manifest in manifests]
    if repeated := [name for name in stems if stems.count(name) > 1]:
        raise ConfigError(f"two manifests are called {repeated[0]}: their results would overwrite one another")
    found = dict(zip(stems, manifests)) | (prepared_benchmarks(benchmarks) if benchmarks else {})
    if not found:
        raise ConfigError("expected at least one manifest, or --benchmark with the name of a prepared test set")
    parts = parts or len(found) > 1
    return [TestSet(name, manifest, parent / name if parts else parent) for name, manifest in found.items()]


def prepared_benchmarks(benchmarks: Sequence[str]) -> dict[str, Path]:
    """Name of each benchmark -> its manifest."""
    from asr.benchmarks import resolve_benchmarks
    from asr.cli.compose import compose_recipe, corpus_names, recipe_names

    resolved = resolve_benchmarks(benchmarks, recipe_names(), corpus_names(), compose_recipe)
    return {benchmark.name: benchmark.manifest for benchmark in resolved}


def system_name(model: Path) -> str:
    """What reports call a model: the name of its run, where it lies in one."""
    path = model.resolve()
    return path.parent.name if path.name == "model" else path.name


def meet_others(device: str) -> "Processes":
    """The processes that torchrun or srun started, which share the utterances; alone where nobody did."""
    from asr.launcher import detect_launch
    from asr.processes import ALONE

    if detect_launch().launcher == "none":
        return ALONE
    from asr.training.fabric import meet

    return meet(device)


def check_log_probs_path(path: Path | None, num_sets: int, num_processes: int = 1) -> None:
    """Refuse what would end in a file that cannot be found again, or overwritten by the next manifest."""
    from asr.errors import ConfigError

    if path is not None and path.suffix != ".npz":
        raise ConfigError(f"--save-log-probs: expected a name that ends in .npz, got {path}")
    if path is not None and num_sets > 1:
        raise ConfigError(f"--save-log-probs: expected one manifest, got {num_sets}: evaluate them one by one")
    if path is not None and num_processes > 1:
        raise ConfigError(f"--save-log-probs: expected one process, which hears it all, got {num_processes}")


def check_fields(fields: Sequence[str], test_sets: Sequence[TestSet]) -> None:
    """Read all manifests before hours go into the first; a field has to be in one of them."""
    from asr.data.manifest import read_manifest
    from asr.errors import ScoringError
    from asr.evaluation import known_fields

    known = {field for test_set in test_sets for field in known_fields(read_manifest(test_set.manifest))}
    if missing := [field for field in fields if field not in known]:
        there = ", ".join(sorted(known))
        raise ScoringError(f"no utterance has the field {missing[0]!r} to break the result down by; there are {there}")


def evaluate_set(
    recognizer: "Recognizer",
    test_set: TestSet,
    settings: "Comparison",
    system: str,
    workers: int,
    save_log_probs: Path | None = None,
    processes: "Processes | None" = None,
    max_unusable_share: float | None = None,
) -> "Evaluation":
    """Evaluate a test set, name what is left out of it, and write the log-probabilities if they are asked for."""
    import sys
    from dataclasses import replace

    from asr.data.manifest import read_manifest
    from asr.emissions import emission_table, save_emissions
    from asr.evaluation import evaluate, known_fields
    from asr.processes import ALONE

    processes = processes or ALONE
    utterances = read_manifest(test_set.manifest)
    known = known_fields(utterances)
    if unknown := [field for field in settings.fields if field not in known]:
        typer.echo(f"{test_set.name}: no utterance has {', '.join(unknown)}: not broken down by that", err=True)
    rows: dict[str, NDArray[np.float16]] = {}
    evaluation = evaluate(
        recognizer,
        utterances,
        name=test_set.name,
        system=system,
        comparison=replace(settings, fields=tuple(field for field in settings.fields if field in known)),
        num_workers=workers,
        show_progress=sys.stderr.isatty() and processes.is_leader,
        on_emissions=None if save_log_probs is None else lambda batch: rows.update(batch.rows()),
        processes=processes,
        max_unusable_share=unusable_share(max_unusable_share),
    )
    if processes.is_leader:
        tell_left_out(test_set.name, evaluation.recognition.left_out, len(utterances))
    if save_log_probs is not None:
        frame_seconds = recognizer.samples_per_frame / recognizer.sample_rate
        source = test_set.manifest.name
        table = emission_table(rows, evaluation.utterances, recognizer.tokenizer, frame_seconds, source)
        save_emissions(save_log_probs, table)
    return evaluation


def write_evaluation(recognizer: "Recognizer", evaluation: "Evaluation", directory: Path) -> list[str]:
    """Write all that an evaluation leaves, the report with sound and pictures; says what was written."""
    import sys

    from asr.report.illustrations import illustrate, worst_ids
    from asr.results import write_results

    shown = sys.stderr.isatty()
    worst = worst_ids(evaluation.assessment.scored.score)
    return write_results(
        directory,
        evaluation.assessment,
        evaluation.summary,
        illustrations=illustrate(recognizer, evaluation.utterances, worst, shown),
        audio={utterance.id: utterance for utterance in evaluation.utterances},
        seconds=evaluation.recognition.seconds,
        nbest=evaluation.nbest_rows(),
        left_out=evaluation.recognition.left_out,
        show_progress=shown,
    )


def show_worst(console: "Console", name: str, assessment: "Assessment", number: int) -> None:
    """Print the utterances that cost the most errors."""
    from asr.scoring.display import worst_report

    report = worst_report(assessment.scored.score, number, console.width)
    if report.plain:
        console.rule(f"{name}: the worst utterances", align="left")
        console.print(report)
        console.print()
