"""`asr data shard`: corpora as tar files in the WebDataset layout."""

import sys
from pathlib import Path
from typing import Annotated

import typer

BYTES_PER_MIB = 1 << 20


def shard(
    manifests: Annotated[
        list[Path] | None,
        typer.Argument(exists=True, dir_okay=False, help="Manifests (JSON lines).", show_default=False),
    ] = None,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="The folder to write.", show_default=False)
    ] = None,
    max_mib: Annotated[int, typer.Option(min=1, help="A shard's size at most, in MiB.")] = 1024,
    max_utterances: Annotated[int, typer.Option(min=1, help="Utterances in a shard at most.")] = 100_000,
    index: Annotated[
        Path | None,
        typer.Option(
            exists=True,
            file_okay=False,
            show_default=False,
            help="Instead: write manifest.jsonl for the shards (*.tar) that another program wrote into this folder.",
        ),
    ] = None,
) -> None:
    """Write utterances with their audio as shards: tar files, read from a disk or over a network without unpacking.

    Files that one utterance covers are copied as they are; a stretch of a longer file becomes FLAC. When it was
    stopped, the same command goes on after the last finished shard. [bold]manifest.jsonl[/] in the folder comes last.

    [bold]Examples[/]

        asr data shard train.jsonl more.jsonl -o shards --max-mib 512

        asr data shard --index others/shards
    """
    from asr.data.manifest_index import ManifestIndex
    from asr.data.shard_writer import SHARD_LISTS, ShardLimits, index_shards, write_shards
    from asr.data.shards import MANIFEST
    from asr.files import refuse_same_file

    bar = sys.stderr.isatty()
    if index is not None:
        if manifests or output is not None:
            raise typer.BadParameter("--index reads the shards of its folder: give neither manifests nor -o")
        manifest = index_shards(index, show_progress=bar)
    elif not manifests or output is None:
        raise typer.BadParameter("expected manifests and -o FOLDER, or --index FOLDER")
    else:
        for replaced in [output / MANIFEST, *output.glob(SHARD_LISTS)]:
            refuse_same_file(replaced, manifests)
        utterances = ManifestIndex.open(manifests, show_progress=bar)
        limits = ShardLimits(max_mib * BYTES_PER_MIB, max_utterances)
        manifest = write_shards(output, utterances, limits, show_progress=bar)
    written = ManifestIndex.open(manifest, show_progress=bar)
    tars = len(list(manifest.parent.glob("*.tar")))
    hours = written.durations.sum() / 3600
    typer.echo(f"written: {manifest} ({len(written):,} utterances, {hours:.2f} hours, {tars} shards)")
