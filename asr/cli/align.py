"""`asr align`: when each word and character of known texts is said."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from asr.cli.common import Device, ModelArgument, ModelOption, given_model, load, only_input, refuse_replacing
from asr.cli.decoding_options import DecodingOptions

WRITTEN = ("words.ctm", "tokens.ctm", "alignment.jsonl", "unaligned.jsonl", "textgrid/")


def align(
    model: ModelArgument = None,
    manifest: Annotated[
        Path | None, typer.Argument(metavar="MANIFEST", help="Utterances with their texts.", show_default=False)
    ] = None,
    model_option: ModelOption = None,
    output_dir: Annotated[
        Path | None,
        typer.Option(
            "-o",
            "--output-dir",
            help="Without it: align/<name of the manifest> beside the model directory.",
            show_default=False,
        ),
    ] = None,
    formats: Annotated[
        str, typer.Option("--format", "-f", help="Any of ctm, textgrid and json, with commas between.")
    ] = "ctm,textgrid,json",
    lowest: Annotated[int, typer.Option(min=0, help="How many of the lowest-scored words to show.")] = 10,
    device: Device = "auto",
    workers: Annotated[int, typer.Option(help="Threads that read audio ahead.")] = 2,
) -> None:
    """Find when each word and token of the manifest's texts is said, by forced alignment.

    Writes words.ctm and tokens.ctm, textgrid/<id>.TextGrid for Praat, alignment.jsonl, and unaligned.jsonl: the
    utterances that do not fit, each with the reason (too few frames for the text, no word that the model can spell,
    audio that cannot be read). They do not change the exit code.

    Texts may be as people write them. Case and punctuation that the model does not know are passed over; a word that
    it cannot spell, such as 1984, is bridged: it gets the time between its neighbours, and no confidence.

    Times are seconds from the start of the utterance: for one with an `offset` in the manifest, add it to get the
    time in the file. The confidence of a word, 0-1, is that all of its tokens are right; its score is the mean
    log-probability of its tokens, which does not depend on its length. A low score hints at a wrong text.

    [bold]Examples[/]

        asr align runs/mini_english/model librispeech-dev.jsonl -o aligned

        asr align data/digits-synthetic/dev.jsonl -m runs/digits -o aligned --format textgrid
    """
    import sys

    from rich.console import Console

    from asr.alignment import Aligner, parse_formats, write_alignment
    from asr.builders import read_decoding
    from asr.cli.align_display import report
    from asr.data.manifest import read_manifest
    from asr.writers import safe_names

    wanted = parse_formats(formats)
    model, inputs = given_model(model_option, model, manifest)
    manifest = only_input(inputs, "a manifest")
    directory = output_dir or model.resolve().parent / "align" / manifest.stem
    refuse_replacing(directory, WRITTEN, inputs)
    utterances = read_manifest(manifest)
    names = safe_names([utterance.id for utterance in utterances])
    temperature = read_decoding(model).confidence_temperature
    recognizer = load(model, device, DecodingOptions(decoder="greedy"))  # nothing is decoded: no language model
    aligner = Aligner(recognizer, temperature)
    alignment = aligner.align_all(utterances, workers, show_progress=sys.stderr.isatty())
    written = write_alignment(alignment, directory, names, wanted)
    console = Console()
    report(console, alignment, lowest)
    console.print(f"written: {directory}/{', '.join(written)}", highlight=False, soft_wrap=True)
