"""`asr data normalize`: texts as people write them -> texts as they are spoken."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from asr.cli.previews import listed, needs_output, refuse_recordings, shown, tell_preview

if TYPE_CHECKING:
    from asr.data.rewriting import Change

WORDS_SHOWN = 8


def normalize(
    manifest: Annotated[
        Path, typer.Argument(exists=True, dir_okay=False, help="Manifest (JSON lines).", show_default=False)
    ],
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", dir_okay=False, help="The manifest to write.", show_default=False),
    ] = None,
    lang: Annotated[
        str | None,
        typer.Option(
            help="Language of the digits of utterances without a `lang` of their own: en, de, fr, pt-BR …",
            show_default=False,
        ),
    ] = None,
    case: Annotated[Literal["lower", "upper", "keep"], typer.Option(help="Case of the letters.")] = "lower",
    punctuation: Annotated[
        Literal["remove", "keep"], typer.Option(help="keep: with plain quotes and dashes for typographic ones.")
    ] = "remove",
    digits: Annotated[
        Literal["spell", "keep"], typer.Option(help="spell: numbers in words, where there is one way to say them.")
    ] = "spell",
    preview: Annotated[bool, typer.Option("--preview", help="Show what would change; write nothing.")] = False,
    examples: Annotated[int, typer.Option("-n", "--examples", min=0, help="How many changes to show.")] = 10,
) -> None:
    """Write a manifest whose texts are as they are spoken.

    One case, no punctuation, numbers in words.

    Always: Unicode in composed form (NFC), one kind of apostrophe, one space
    between words. Apostrophes inside words stay, hyphens become spaces. What
    has more than one reading stays and is listed: times (10:30), dates,
    amounts ($5), percentages, notes (\\[laughter]). Mend these by hand, or
    leave such utterances out.

    [bold]Examples[/]

        asr data normalize train.jsonl --lang en --preview

        asr data normalize train.jsonl -o clean.jsonl --lang de

        asr data normalize train.jsonl -o clean.jsonl --case keep --punctuation keep --digits keep
    """
    from asr.data.manifest import read_manifest_lines, write_manifest
    from asr.data.rewriting import rewrite_texts
    from asr.files import refuse_same_file
    from asr.text.written import Rules

    needs_output(output, preview)
    if output is not None:
        refuse_same_file(output, [manifest])
    changes = rewrite_texts(read_manifest_lines(manifest), Rules(case, punctuation, digits), lang)
    _show(changes, examples)
    if preview or output is None:
        tell_preview()
        return
    refuse_recordings(output, (change.utterance for change in changes))
    write_manifest(output, [change.utterance for change in changes])
    typer.echo(f"written: {output} ({len(changes):,} utterances)")


def _show(changes: "list[Change]", num_examples: int) -> None:
    changed = [change for change in changes if change.is_changed]
    for change in changed[:num_examples]:
        utterance = change.line.utterance
        typer.echo(f"{shown(utterance.id)}\n  - {shown(utterance.text)}\n  + {shown(change.rewritten.text)}")
    typer.echo(f"{len(changed):,} of {len(changes):,} texts change")
    if emptied := [change.line.utterance.id for change in changes if change.is_emptied]:
        typer.echo(f"empty then ({len(emptied):,}): {listed(emptied)}")
    if left := [change for change in changes if change.rewritten.left]:
        words = list(dict.fromkeys(word for change in left for word in change.rewritten.left))
        ids = [change.line.utterance.id for change in left]
        typer.echo(f"kept, as they have more than one reading or are no words: {listed(words, WORDS_SHOWN)}")
        typer.echo(f"  to be mended by hand, or left out ({len(left):,}): {listed(ids, WORDS_SHOWN)}")
