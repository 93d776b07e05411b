"""`asr data split`: one manifest into train, dev and test."""

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from asr.cli.previews import listed, needs_output, tell_preview

if TYPE_CHECKING:
    from asr.data.splitting import Split

FAR_OFF = 0.25  # from the size asked for, as a share of it: worth a word


def split(
    manifest: Annotated[
        Path, typer.Argument(exists=True, dir_okay=False, help="Manifest (JSON lines).", show_default=False)
    ],
    output_dir: Annotated[
        Path | None,
        typer.Option(
            "-o",
            "--output-dir",
            file_okay=False,
            help="Folder for train.jsonl, dev.jsonl and test.jsonl.",
            show_default=False,
        ),
    ] = None,
    by: Annotated[
        Literal["speaker", "text", "both"], typer.Option(help="What no two parts may share.", show_default=True)
    ] = "speaker",
    dev: Annotated[str, typer.Option(metavar="SIZE", help="A share (10%, 0.1) or a duration (30min, 1.5h).")] = "10%",
    test: Annotated[str, typer.Option(metavar="SIZE", help="As --dev; 0 for no test set.")] = "10%",
    seed: Annotated[int, typer.Option(min=0, help="Another seed deals out otherwise.")] = 0,
    preview: Annotated[bool, typer.Option("--preview", help="Show the parts; write nothing.")] = False,
    examples: Annotated[int, typer.Option("-n", "--examples", min=0, help="How many of each part to show.")] = 3,
) -> None:
    """Split MANIFEST into train.jsonl, dev.jsonl and test.jsonl.

    No speaker, or no text, is in two of them. By speaker, the figures on dev and test say how well new people are
    understood. With one speaker, or few, split by text: then they say how
    well new sentences of these people are. Training takes what dev and test
    leave. The same manifest, options and seed give the same parts.

    [bold]Examples[/]

        asr data split all.jsonl -o data --preview

        asr data split all.jsonl -o data --dev 30min --test 1h

        asr data split reader.jsonl -o data --by text --test 0
    """
    from asr.data.manifest import read_manifest, write_manifest
    from asr.data.splitting import Size
    from asr.data.splitting import split as deal
    from asr.files import refuse_same_file

    needs_output(output_dir, preview)
    sizes = {"dev": Size.parse("--dev", dev), "test": Size.parse("--test", test)}
    found = deal(read_manifest(manifest), sizes, by, seed)
    paths = {name: (output_dir or Path()) / f"{name}.jsonl" for name in found.parts}
    if output_dir is not None:
        for path in paths.values():
            refuse_same_file(path, [manifest])
    _show(found, by, examples)
    if preview or output_dir is None:
        tell_preview()
        return
    for name, path in paths.items():
        write_manifest(path, found.parts[name])
    typer.echo(f"written: {', '.join(map(str, paths.values()))}")
    for name in sizes.keys() - paths.keys():
        if (older := output_dir / f"{name}.jsonl").exists():
            typer.echo(f"{older} is not of this split; its speakers or texts may be in the others", err=True)


def _show(found: "Split", by: str, num_examples: int) -> None:
    total = math.fsum(utterance.duration for part in found.parts.values() for utterance in part)
    for name, part in found.parts.items():
        seconds = math.fsum(utterance.duration for utterance in part)
        speakers = len({utterance.speaker for utterance in part if utterance.speaker is not None})
        typer.echo(
            f"{name:<6}{len(part):>8,} utterances {seconds / 60:>8.1f} min {seconds / total:>5.0%}"
            f" {speakers:>6,} speaker{'' if speakers == 1 else 's'}"
        )
        if num_examples:
            typer.echo(f"      {listed([utterance.id for utterance in part], num_examples)}")
        if abs(seconds - found.wanted[name]) > FAR_OFF * found.wanted[name]:
            typer.echo(
                f"      {found.wanted[name] / 60:.1f} min were asked for; {found.num_groups:,} groups by {by} cannot "
                "be divided closer"
            )
