"""Tables with a header: CSV (RFC 4180, fields in quotes where needed) and TSV (no quotes, one line a row).

Columns are known by the names that toolkits use, SpeechBrain's, DeepSpeech's and Common Voice's among them, or named
in `Columns`; a column that has a field's own name and was passed over for another one is left out. An empty cell
means absent. Other columns become further fields of the manifest, as text. Writing gives the manifest's own names;
what is no text in a further field is written as JSON.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from asr.data.exchange.records import Record, read_lines, to_utterances
from asr.errors import CorpusError
from asr.files import write_text
from asr.types import Utterance

# A manifest's field -> the columns it is looked for in, without regard to case.
KNOWN_COLUMNS = {
    "id": ("id", "utt_id", "utterance_id", "utt", "key"),
    "audio_filepath": ("audio_filepath", "path", "audio", "wav", "filename", "file", "wav_filename", "audio_path"),
    "text": ("text", "sentence", "transcript", "transcription", "wrd"),
    "duration": ("duration",),
    "offset": ("offset",),
    "speaker": ("speaker", "client_id", "spk_id", "speaker_id"),
    "lang": ("lang", "locale", "language"),
}
REQUIRED = {"audio_filepath": "--audio-column", "text": "--text-column"}
NUMBERS = ("duration", "offset")


@dataclass(frozen=True, slots=True)
class Columns:
    """The names of columns that are not known by themselves; None: look for the usual ones."""

    id: str | None = None
    audio_filepath: str | None = None
    text: str | None = None
    duration: str | None = None
    speaker: str | None = None


def read_table(
    path: Path, format: str, columns: Columns, *, audio_root: Path | None = None, show_progress: bool = False
) -> list[Utterance]:
    """Read a table, format "csv" or "tsv"; see above, and `asr.data.exchange.read_corpus`."""
    return to_utterances(_records(path, format, columns), audio_root or path.parent, path, show_progress=show_progress)


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


def _records(path: Path, format: str, columns: Columns) -> Iterator[Record]:
    rows = read_rows(path, format)
    place, header = next(rows, ("", []))
    if not header:
        raise CorpusError(f"{path}: expected a header and rows, got an empty file")
    names = _fields_of(place, header, columns)
    for place, row in rows:
        cells = {name: cell for name, cell in zip(names, row, strict=True) if name and (cell or name == "text")}
        yield Record(place, {name: _value(place, name, cell) for name, cell in cells.items()})


def read_rows(path: Path, format: str) -> Iterator[tuple[str, list[str]]]:
    """Yield `file:line` and cells of the header and of each row, which all have as many.

    Raises `CorpusError` for a file that cannot be read and a row that is malformed.
    """
    width = None
    for place, row in _csv_rows(path) if format == "csv" else _tsv_rows(path):
        width = width or len(row)
        if len(row) != width:
            raise CorpusError(f"{place}: expected {width} cells as in the header, got {len(row)}")
        yield place, row


def _tsv_rows(path: Path) -> Iterator[tuple[str, list[str]]]:
    for place, line in read_lines(path):
        yield place, line.split("\t")


def _csv_rows(path: Path) -> Iterator[tuple[str, list[str]]]:
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise CorpusError(f"cannot read {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        number = error.object.count(b"\n", 0, error.start) + 1
        raise CorpusError(f"{path}:{number}: expected UTF-8, got {error.reason}; convert the file to UTF-8") from error
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        for row in reader:
            if row:
                yield f"{path}:{reader.line_num}", row
    except csv.Error as error:
        raise CorpusError(f"{path}:{reader.line_num}: expected comma-separated values: {error}") from error


def _fields_of(place: str, header: Sequence[str], columns: Columns) -> list[str]:
    """The manifest's field for each column; "" for one that is left out."""
    if "" in header or len(set(header)) < len(header):
        raise CorpusError(f"{place}: expected a name of its own for each column, got {', '.join(header)}")
    chosen = {name: column for name, column in asdict(columns).items() if column is not None}
    if absent := [column for column in chosen.values() if column not in header]:
        raise CorpusError(f"{place}: no column {absent[0]!r}; there are {', '.join(header)}")
    field_of: dict[str, str] = {}
    for name, usual in KNOWN_COLUMNS.items():
        found = [chosen[name]] if name in chosen else _find(header, name, set(chosen.values()))
        if len(found) > 1:
            raise CorpusError(f"{place}: {' and '.join(found)} could all be {name}; say which one, or rename them")
        if not found and name in REQUIRED:
            raise CorpusError(
                f"{place}: expected a column for {name} ({', '.join(usual)}), got {', '.join(header)}; "
                f"name it with {REQUIRED[name]}"
            )
        field_of |= dict.fromkeys(found, name)
    # A column `text` that was passed over for another one cannot keep its name.
    return [field_of.get(column, "" if column in KNOWN_COLUMNS else column) for column in header]


def _find(header: Sequence[str], name: str, taken: set[str]) -> list[str]:
    """The columns that could be a field; one that has its very name is."""
    if name in header and name not in taken:
        return [name]
    return [column for column in header if column.lower() in KNOWN_COLUMNS[name] and column not in taken]


def _value(place: str, name: str, cell: str) -> Any:
    if name not in NUMBERS:
        return cell
    try:
        return float(cell)
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
