"""`asr data`: manifests made, normalised, split, and written for other toolkits or as shards."""

import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

from asr.cli.import_corpus import import_corpus
from asr.cli.normalize import normalize
from asr.cli.previews import refuse_recordings
from asr.cli.shard import shard
from asr.cli.split import split

# The formats of asr.data.exchange, which loads too much for --help.
Format = Literal["kaldi", "espnet", "lhotse", "nemo", "csv", "tsv"]
FormatArgument = Annotated[Format, typer.Argument(show_default=False, help="The other toolkit's format.")]

app = typer.Typer(
    name="data",
    no_args_is_help=True,
    rich_markup_mode="rich",
    help="Make manifests of folders, tables and corpora of Kaldi, ESPnet, lhotse and NeMo; normalise their texts, "
    "split them into train, dev and test, and write them for other toolkits or as shards.",
)
app.command("import")(import_corpus)
app.command()(normalize)
app.command()(split)
app.command()(shard)


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
    refuse_recordings(output, utterances)
    write_corpus(format, output, utterances, show_progress=sys.stderr.isatty())
    typer.echo(f"written: {output} ({len(utterances):,} utterances)")
