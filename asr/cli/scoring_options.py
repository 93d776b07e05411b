"""The options that say how texts are compared: one definition for every command that scores."""

from typing import TYPE_CHECKING, Annotated, Literal

import typer

if TYPE_CHECKING:
    from asr.scoring.assessment import Comparison

_PANEL = "Scoring"

Normalize = Annotated[
    str,
    typer.Option(
        metavar="NAMES",
        help="Score normalised texts too, beside the raw ones: basic, english (whisper's rules), with commas between.",
        rich_help_panel=_PANEL,
        show_default=False,
    ),
]
Fold = Annotated[
    str,
    typer.Option(
        metavar="timit39|FILE",
        help="Phones that count as the same, for phone error rates.",
        rich_help_panel=_PANEL,
        show_default=False,
    ),
]
Unit = Annotated[
    Literal["word", "character"],
    typer.Option(help="What is counted; character for scripts that do not part words.", rich_help_panel=_PANEL),
]
By = Annotated[
    str,
    typer.Option(
        metavar="FIELDS",
        help="Fields of the manifest to break the result down by, such as gender,age; speaker and duration always are.",
        rich_help_panel=_PANEL,
        show_default=False,
    ),
]
Alignment = Annotated[
    Literal["levenshtein", "sclite", "jiwer"],
    typer.Option(
        help="levenshtein: the fewest errors, as jiwer and Kaldi count; sclite: NIST's costs, some errors more; "
        "jiwer: counted by jiwer itself, more slowly.",
        rich_help_panel=_PANEL,
    ),
]


def comparison(normalize: str, fold: str, unit: str, by: str, alignment: str) -> "Comparison":
    """What the options ask for; raises `ScoringError` for unknown names."""
    from asr.scoring.assessment import Comparison

    return Comparison(alignment, unit, fold, names(normalize), names(by))


def names(listed: str) -> tuple[str, ...]:
    """Names with commas between, each once."""
    return tuple(dict.fromkeys(name.strip() for name in listed.split(",") if name.strip()))
