"""Tables: CSV and TSV, with a header or with columns named on the command line. How rows are read: `rows`.

Columns are known by the names that toolkits use, SpeechBrain's, DeepSpeech's, HuggingFace's and Common Voice's among
them, or named in `Columns`; a column that has a field's own name and was passed over for another one is left out, and
so are columns without a name (pandas' index) and SpeechBrain's `…_format` and `…_opts`. An empty cell means absent.
Other columns become further fields of the manifest, as text. Writing gives the manifest's own names; what is no text
in a further field is written as JSON.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from asr.data.exchange.faults import Faults
from asr.data.exchange.records import Record, to_utterances
from asr.data.exchange.rows import SEPARATORS, Row, find_separator, read_rows
from asr.errors import CorpusError
from asr.files import write_text
from asr.types import Utterance

# A manifest's field -> the columns it is looked for in, without regard to case.
KNOWN_COLUMNS = {
    "id": ("id", "utt_id", "utterance_id", "utt", "key"),
    "audio_filepath": (
        *("audio_filepath", "path", "audio", "wav", "filename", "file", "wav_filename", "audio_path"),
        *("file_name", "filepath", "file_path", "wav_path", "audio_file"),
    ),
    "text": ("text", "sentence", "transcript", "transcription", "wrd", "words"),
    "duration": ("duration",),
    "offset": ("offset",),
    "speaker": ("speaker", "client_id", "spk_id", "speaker_id", "spk"),
    "lang": ("lang", "locale", "language"),
}
# Where a field is looked for when none of these is there: SpeechBrain's characters.
LAST_RESORT = {"text": ("char",)}
REQUIRED = {"audio_filepath": "--audio-column", "text": "--text-column"}
NUMBERS = ("duration", "offset")
# SpeechBrain's columns beside another one.
COMPANIONS = ("_format", "_opts")
SKIPPED = "-"  # the name of a column of `Columns.names` that is left out


@dataclass(frozen=True, slots=True)
class Columns:
    """The names of columns that are not known by themselves; None: look for the usual ones."""

    id: str | None = None
    audio_filepath: str | None = None
    text: str | None = None
    duration: str | None = None
    speaker: str | None = None
    names: tuple[str, ...] = ()  # of all columns, where the table has no header; "-" leaves one out

    def chosen(self) -> dict[str, str]:
        """Field -> column, of those that were named."""
        named = {field.name: getattr(self, field.name) for field in fields(self) if field.name != "names"}
        return {name: column for name, column in named.items() if column is not None}


def read_table(
    path: Path,
    format: str,
    columns: Columns,
    *,
    audio_root: Path | None = None,
    faults: Faults | None = None,
    show_progress: bool = False,
) -> list[Utterance]:
    """Read a table, format "csv" or "tsv"; see above, and `asr.data.exchange.read_corpus`."""
    faults = faults or Faults()
    records = table_records(path, format, columns, faults)
    return to_utterances(records, audio_root or path.parent, path, faults=faults, show_progress=show_progress)


def write_table(path: Path, format: str, utterances: Sequence[Utterance]) -> None:
    """Write a table with absolute paths; see above. Raises `CorpusError` for a tab or a line break in a TSV."""
    rows = [_row(utterance) for utterance in utterances]
    header = list(dict.fromkeys(name for row in rows for name in row))
    cells = [header, *([row.get(name, "") for name in header] for row in rows)]
    if format == "csv":
        buffer = io.StringIO()
        csv.writer(buffer, lineterminator="\n").writerows(cells)
        write_text(path, buffer.getvalue())
    else:
        write_text(path, "".join(_tsv_line(line) for line in cells))


def table_records(path: Path, format: str, columns: Columns, faults: Faults) -> Iterator[Record]:
    """The rows of a table by the fields of a manifest, unchecked. A malformed row is a fault."""
    table = _open(path, format, columns, faults)
    for place, row in table.rows:
        cells = {name: cell for name, cell in zip(table.names, row, strict=True) if name and (cell or name == "text")}
        try:
            yield Record(place, {name: _value(place, name, cell, table.separator) for name, cell in cells.items()})
        except CorpusError as error:
            faults.take("malformed", place, error, id=cells.get("id", ""))


def fields_of_columns(path: Path, format: str, columns: Columns) -> dict[str, str]:
    """The field of a manifest that each column of a table becomes; "" where it is left out. Raises as `read_table`."""
    table = _open(path, format, columns, Faults())
    return dict(zip(table.header, table.names, strict=True))


@dataclass(frozen=True, slots=True)
class _Table:
    """A table that was opened: its columns, what they become, and the rows below."""

    header: Sequence[str]
    names: Sequence[str]  # fields of a manifest; "" for a column that is left out
    rows: Iterator[Row]
    separator: str


def _open(path: Path, format: str, columns: Columns, faults: Faults) -> _Table:
    separator = find_separator(path, format, lambda cells: _familiarity(cells, columns))
    rows = read_rows(path, format, separator, faults, first="first row" if columns.names else "header")
    if columns.names:
        names = _fields_of("--columns", columns.names, Columns())
        return _Table(columns.names, names, _without_header(rows, columns.names, separator), separator)
    place, header = next(rows, ("", []))
    if not header:
        raise CorpusError(f"{path}: expected a header and rows, got an empty file")
    if format == "tsv" and len(header) == 1:
        raise CorpusError(f"{place}: expected a header with tabs between its names, got {header[0]!r}; is it csv?")
    return _Table(header, _fields_of(place, header, columns), rows, separator)


def _familiarity(cells: Sequence[str], columns: Columns) -> int:
    """How sure one can be that these are the cells of the first row: the number of columns that are known."""
    if columns.names:
        return int(len(cells) == len(columns.names))
    usual = {*columns.chosen().values(), *(name for names in KNOWN_COLUMNS.values() for name in names)}
    return sum(cell in usual or cell.lower() in usual for cell in cells)


def _without_header(rows: Iterator[Row], names: Sequence[str], separator: str) -> Iterator[Row]:
    """Hold the first row to the names given. Raises `CorpusError` when it is another number, or is itself a header."""
    place, first = next(rows, ("", list[str]()))
    if first and len(first) != len(names):
        raise CorpusError(
            f"{place}: --columns names {len(names)} columns ({', '.join(names)}), the first row has {len(first)}, "
            f"read with {SEPARATORS[separator]} between them: {', '.join(map(repr, first))}"
        )
    usual = {name for field in ("audio_filepath", "text") for name in KNOWN_COLUMNS[field]}
    if sum(cell.lower() in usual for cell in first) > 1:
        raise CorpusError(
            f"{place}: --columns is for tables without a header, and this looks like one: {', '.join(first)}; "
            "leave --columns out, and name single columns with --text-column and its like"
        )
    if first:
        yield place, first
    yield from rows


def _fields_of(place: str, header: Sequence[str], columns: Columns) -> list[str]:
    """The manifest's field for each column; "" for one that is left out."""
    named = [column for column in header if column not in ("", SKIPPED)]
    if len(set(named)) < len(named):
        raise CorpusError(f"{place}: expected a name of its own for each column, got {', '.join(header)}")
    chosen = columns.chosen()
    if absent := [column for column in chosen.values() if column not in header]:
        raise CorpusError(f"{place}: no column {absent[0]!r}; there are {', '.join(header)}")
    field_of: dict[str, str] = {}
    for name, usual in KNOWN_COLUMNS.items():
        found = [chosen[name]] if name in chosen else _find(named, name, set(chosen.values()))
        if len(found) > 1:
            raise CorpusError(f"{place}: {' and '.join(found)} could all be {name}; say which one, or rename them")
        if not found and name in REQUIRED:
            raise CorpusError(
                f"{place}: expected a column for {name} ({', '.join(usual)}), got {', '.join(header)}; "
                f"name it with {REQUIRED[name]}, or all of a table without a header with --columns"
            )
        field_of |= dict.fromkeys(found, name)
    # A column `text` that was passed over for another one cannot keep its name.
    idle = {"", SKIPPED, *KNOWN_COLUMNS, *(column + end for column in named for end in COMPANIONS)}
    return [field_of.get(column, "" if column in idle else column) for column in header]


def _find(header: Sequence[str], name: str, taken: set[str]) -> list[str]:
    """The columns that could be a field; one that has its very name is."""
    if name in header and name not in taken:
        return [name]
    for usual in (KNOWN_COLUMNS[name], LAST_RESORT.get(name, ())):
        if found := [column for column in header if column.lower() in usual and column not in taken]:
            return found
    return []


def _value(place: str, name: str, cell: str, separator: str) -> Any:
    if name not in NUMBERS:
        return cell
    try:
        return float(cell.replace(",", ".") if separator == ";" else cell)
    except ValueError:
        raise CorpusError(f"{place}: expected a number of seconds in {name}, got {cell!r}") from None


def _row(utterance: Utterance) -> dict[str, str]:
    row: dict[str, Any] = {"id": utterance.id, "audio_filepath": utterance.audio_filepath}
    row |= {"duration": utterance.duration, "text": utterance.text}
    row |= {"offset": utterance.offset} if utterance.offset else {}
    row |= {name: value for name in ("speaker", "lang") if (value := getattr(utterance, name)) is not None}
    row |= utterance.extra
    return {
        name: value if isinstance(value, str) else json.dumps(value, ensure_ascii=False) for name, value in row.items()
    }


def _tsv_line(cells: Sequence[str]) -> str:
    for cell in cells:
        if any(mark in cell for mark in "\t\n\r"):
            raise CorpusError(f"expected no tab and no line break for TSV, got {cell!r}; export to csv instead")
    return "\t".join(cells) + "\n"
