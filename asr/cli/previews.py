"""What the commands share that make manifests: `--preview`, and texts shown as they are."""

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from asr.types import Utterance


def needs_output(output: Path | None, preview: bool, option: str = "-o") -> None:
    """Refuse a call that says neither where to write nor that nothing is to be written."""
    if output is None and not preview:
        raise typer.BadParameter(f"say where to write with {option}, or look first with --preview")


def refuse_recordings(output: Path, utterances: "Iterable[Utterance]") -> None:
    """Raise `OutputError` when writing `output` would replace a recording."""
    from asr.files import refuse_same_file

    if output.is_file():
        refuse_same_file(output, dict.fromkeys(utterance.audio_filepath for utterance in utterances))


def tell_preview() -> None:
    """Say that nothing was written."""
    typer.echo("nothing was written: this is a preview")


def shown(text: str) -> str:
    """A text for the terminal: control characters, which could move the cursor, by their escapes.

    >>> shown("naïve\\x1b[2J")
    'naïve\\\\x1b[2J'
    """
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def listed(names: list[str], limit: int = 3) -> str:
    """A few names, and how many more there are.

    >>> listed(["a", "b", "c", "d", "e"])
    'a, b, c and 2 more'
    """
    more = f" and {len(names) - limit:,} more" if len(names) > limit else ""
    return ", ".join(map(shown, names[:limit])) + more
