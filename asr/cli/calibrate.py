"""`asr calibrate`: makes a model's confidences mean what they say."""

from __future__ import annotations

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
    only_input,
    refuse_replacing,
    tell_left_out,
    unusable_share,
)

if TYPE_CHECKING:
    from rich.table import Table

    from asr.recognizer import Recognizer
    from asr.scoring.calibration import Calibration, WordEvidence
    from asr.types import Utterance

Output = Annotated[
    Path | None,
    typer.Option(
        "-o",
        "--output-dir",
        help="Where calibration.json and reliability.png go. Without it: calibrate/<name of the manifest> beside the "
        "model directory.",
        show_default=False,
    ),
]
WRITTEN = ("calibration.json", "reliability.png")


def calibrate(
    model: ModelArgument = None,
    manifest: Annotated[
        Path | None,
        typer.Argument(metavar="MANIFEST", help="Utterances with references, not trained on.", show_default=False),
    ] = None,
    model_option: ModelOption = None,
    output_dir: Output = None,
    max_unusable_share: MaxUnusableShare = None,
    device: Device = "auto",
    workers: Annotated[int, typer.Option(help="Threads that read audio ahead.")] = 2,
) -> None:
    """Fit the temperature of word confidences, and store it in the model directory.

    Transcribes the manifest once with the model's own decoder. Of the words that get a confidence of 0.8, eight in
    ten should be right: the temperature with the smallest cross entropy comes closest. Prints normalised cross entropy
    (1 is perfect, 0 is no better than the word error rate alone) and expected calibration error before and after;
    "before" is temperature 1, whatever the model had. The words found do not change.

    [bold]Examples[/]

        asr calibrate runs/mini_english/model data/mini_english/dev.jsonl
    """
    import sys

    from rich.console import Console

    from asr.data.manifest import read_manifest
    from asr.evaluation import heard
    from asr.files import write_json
    from asr.model_directory import update_config
    from asr.scoring.calibration import Calibration, draw_reliability

    model, inputs = given_model(model_option, model, manifest)
    manifest = only_input(inputs, "a manifest")
    directory = output_dir or model.resolve().parent / "calibrate" / manifest.stem
    refuse_replacing(directory, WRITTEN, inputs)
    recognizer = load(model, device)
    utterances, left_out = read_manifest(manifest), dict[str, str]()
    evidence = collect_evidence(recognizer, utterances, workers, sys.stderr.isatty(), left_out)
    tell_left_out(manifest.stem, left_out, len(utterances))
    heard(manifest.stem, utterances, left_out, unusable_share(max_unusable_share))
    calibration = Calibration.fit(evidence)
    table, picture = WRITTEN
    decoder = recognizer.decoder.describe()
    write_json(directory / table, {**calibration.to_json(), "decoder": decoder})
    draw_reliability(calibration, directory / picture, f"{manifest.stem}: {calibration.num_words} words")
    update_config(model, {"decoding.confidence_temperature": calibration.after.temperature})
    console = Console()
    console.print(summary(calibration))
    if calibration.after.nce <= 0:
        console.print(
            "[yellow]These confidences say less than the share of right words alone[/]: they come from the acoustics, "
            "and this decoder's words also from a language model. Words of `--decoder greedy` calibrate better."
        )
    console.print(f"written: {directory}/{table}, {picture}", highlight=False)
    console.print(f"stored: temperature {calibration.after.temperature:.3f} in {model}/config.json", highlight=False)


def collect_evidence(
    recognizer: Recognizer,
    utterances: list[Utterance],
    workers: int,
    show_progress: bool,
    left_out: dict[str, str],
) -> WordEvidence:
    """Transcribe every utterance; keep what the confidences of its words depend on, and whether they are right.

    left_out: takes the ids of utterances whose audio cannot be used, each with the reason.
    """
    from asr.decoding.alignment import align
    from asr.evaluation import all_emissions, normalized
    from asr.scoring.calibration import join, word_evidence
    from asr.scoring.errors import score

    utterances = normalized(utterances, recognizer)
    references = {utterance.id: utterance.text for utterance in utterances}
    parts = []
    for batch in all_emissions(recognizer, utterances, workers, show_progress, left_out):
        hypotheses = recognizer.decoder.decode(batch.log_probs, batch.lengths, batch.ids)
        for row, (id, hypothesis) in enumerate(zip(batch.ids, hypotheses)):
            log_probs = batch.log_probs[row, : int(batch.lengths[row])]
            runs = align(log_probs, hypothesis.tokens, id)
            spans = recognizer.tokenizer.split_words(hypothesis.tokens)
            errors = score({id: references[id]}, {id: hypothesis.text}).utterances[0]
            parts.append(word_evidence(log_probs.numpy(), runs, spans, errors))
    return join(parts)


def summary(calibration: Calibration) -> Table:
    """Before and after, side by side."""
    from rich import box
    from rich.table import Table

    before, after = calibration.before, calibration.after
    share = 100 * calibration.num_correct / calibration.num_words
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    table.add_column(f"{calibration.num_words:,} words, {share:.1f} % right")
    table.add_column("before", justify="right")
    table.add_column("after", justify="right")
    table.add_row("Temperature", f"{before.temperature:.3f}", f"{after.temperature:.3f}")
    table.add_row("Normalised cross entropy", f"{before.nce:.3f}", f"{after.nce:.3f}", style="bold")
    table.add_row("Expected calibration error", f"{before.ece:.3f}", f"{after.ece:.3f}")
    return table
