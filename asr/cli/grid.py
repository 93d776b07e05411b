"""Tables of `asr report`, for a terminal and for a document."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.table import Table

NOTHING = "–"


@dataclass(frozen=True)
class Grid:
    """A table as text: headings, rows of cells, and what must be said below it."""

    headings: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    notes: tuple[str, ...]

    def table(self) -> "Table":
        """For a terminal."""
        from asr.scoring.comparison_display import plain_table

        return plain_table(self.headings, self.rows)

    def markdown(self) -> str:
        """For a document."""
        rule = ["---", *["---:"] * (len(self.headings) - 1)]
        lines = [_markdown_row(self.headings), _markdown_row(rule), *map(_markdown_row, self.rows)]
        return "\n".join([*lines, *(f"\n{note}" for note in self.notes)]) + "\n"


def percent(rate: float | None) -> str:
    """A rate in per cent."""
    return NOTHING if rate is None else f"{100 * rate:.2f} %"


def _markdown_row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|").replace("\n", "<br>") for cell in cells) + " |"
