"""`asr data`: manifests from and to what other toolkits read, and corpora as shards."""

import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

from asr.cli.shard import shard

# The formats of asr.data.exchange, which loads too much for --help.
Format = Literal["kaldi", "espnet", "lhotse", "nemo", "csv", "tsv"]
FormatArgument = Annotated[Format, typer.Argument(show_default=False, help="The other toolkit's format.")]

app = typer.Typer(
    name="data",
    no_args_is_help=True,
    rich_markup_mode="rich",
    help="Turn corpora of Kaldi, ESPnet, lhotse, NeMo and tables into manifests, and manifests into these or shards.",
)
app.command()(shard)


@app.command("import")
def import_corpus(
    format: FormatArgument,
    source: Annotated[
        Path, typer.Argument(exists=True, help="A directory (kaldi, espnet) or a file.", show_default=False)
    ],
    output: Annotated[Path, typer.Option("-o", "--output", help="The manifest to write.", show_default=False)],
    audio_root: Annotated[
        Path | None,
        typer.Option(
            exists=True,
            file_okay=False,
            show_default="kaldi, espnet: the working directory; others: the source's folder",
            help="What relative audio paths are relative to.",
        ),
    ] = None,
    id_column: Annotated[str | None, typer.Option(help="csv, tsv: the column of the ids.")] = None,
    audio_column: Annotated[str | None, typer.Option(help="csv, tsv: the column of the audio files.")] = None,
    text_column: Annotated[str | None, typer.Option(help="csv, tsv: the column of the texts.")] = None,
    duration_column: Annotated[str | None, typer.Option(help="csv, tsv: the column of the seconds.")] = None,
    speaker_column: Annotated[str | None, typer.Option(help="csv, tsv: the column of the speakers.")] = None,
) -> None:
    """Make a manifest of a corpus in another toolkit's format. Audio stays where it is.

    Durations that the source does not state are measured. Commands in a wav.scp are never run. The columns of tables
    are known by their usual names (audio, wav, path; text, sentence, transcript; speaker, client_id; …).

    [bold]Examples[/]

        asr data import kaldi egs/mini/data/train -o train.jsonl --audio-root egs/mini

        asr data import tsv cv-corpus/de/validated.tsv -o validated.jsonl --audio-root cv-corpus/de/clips

        asr data import csv calls.csv -o calls.jsonl --text-column transcription_final
    """
    from asr.data.exchange import Columns, read_corpus
    from asr.data.manifest import write_manifest
    from asr.files import refuse_same_file

    refuse_same_file(output, source.iterdir() if source.is_dir() else [source])
    columns = Columns(id_column, audio_column, text_column, duration_column, speaker_column)
    bar = sys.stderr.isatty()
    utterances = read_corpus(format, source, audio_root=audio_root, columns=columns, show_progress=bar)
    refuse_same_file(output, (utterance.audio_filepath for utterance in utterances) if output.exists() else ())
    write_manifest(output, utterances)
    hours = sum(utterance.duration for utterance in utterances) / 3600
    typer.echo(f"written: {output} ({len(utterances):,} utterances, {hours:.2f} hours)")


@app.command("export")
def export_corpus(
    format: FormatArgument,
    manifest: Annotated[
        Path, typer.Argument(exists=True, dir_okay=False, help="Manifest (JSON lines).", show_default=False)
    ],
    output: Annotated[
        Path, typer.Option("-o", "--output", help="A directory (kaldi, espnet) or a file.", show_default=False)
    ],
) -> None:
    """Write a manifest in another toolkit's format, whole or not at all. Audio stays where it is.

    What a format cannot hold (ids with white space in Kaldi, line breaks in TSV) is an error that names the utterance.

    [bold]Examples[/]

        asr data export kaldi train.jsonl -o data/train

        asr data export lhotse train.jsonl -o train.jsonl.gz
    """
    from asr.data.exchange import write_corpus
    from asr.data.manifest import read_manifest
    from asr.files import refuse_same_file

    for replaced in output.iterdir() if output.is_dir() else [output]:
        refuse_same_file(replaced, [manifest])
    utterances = read_manifest(manifest)
    write_corpus(format, output, utterances, show_progress=sys.stderr.isatty())
    typer.echo(f"written: {output} ({len(utterances):,} utterances)")
