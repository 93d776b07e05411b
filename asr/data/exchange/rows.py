"""Rows of CSV and TSV files as people and programs write them: the separator is found, stray blanks are dropped.

csv: separated by commas, semicolons (where the comma is a decimal mark), tabs or bars; fields in double quotes where
    needed (RFC 4180); Excel's first line `sep=;` counts. A bar, as LJSpeech has it, knows no quotes.
tsv: separated by tabs, no quotes, one line a row.

Blanks around a cell are none of its content: SpeechBrain writes a space behind each comma.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from asr.data.exchange.faults import Faults
from asr.data.exchange.records import read_bytes, read_lines
from asr.errors import CorpusError
from asr.text.encoding import EncodingFaultError, decode

SEPARATORS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "bars"}
UNQUOTED = "|"

Row = tuple[str, list[str]]  # file:line, cells


def find_separator(path: Path, format: str, rate: Callable[[list[str]], int]) -> str:
    """The separator of a table: that for which `rate`, of the first row's cells, is highest; of equals the first.

    Raises `CorpusError` for a file that cannot be read or decoded.
    """
    if format == "tsv":
        return "\t"
    text, said = _text(path)
    if said:
        return said
    first = next((line for line in text.splitlines() if line.strip()), "")
    return max(SEPARATORS, key=lambda separator: rate(_first_cells(first, separator)))


def read_rows(
    path: Path, format: str, separator: str = ",", faults: Faults | None = None, *, first: str = "header"
) -> Iterator[Row]:
    """Yield `file:line` and cells of the first row, called `first` in messages, and of the others, which have as many.

    Raises `CorpusError` for a file that cannot be read. A malformed row is a fault.
    """
    faults = faults or Faults()
    width = None
    rows = _tsv_rows(path) if format == "tsv" else _csv_rows(path, separator, faults)
    for place, row in rows:
        width = width or len(row)
        if len(row) != width:
            faults.report("malformed", place, f"expected {width} cells as in the {first}, got {len(row)}")
        else:
            yield place, [cell.strip() for cell in row]


def _tsv_rows(path: Path) -> Iterator[Row]:
    for place, line in read_lines(path):
        yield place, line.split("\t")


def _csv_rows(path: Path, separator: str, faults: Faults) -> Iterator[Row]:
    reader = _reader(_text(path)[0], separator)
    while True:
        start = reader.line_num + 1
        try:
            row = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            num_lines = reader.line_num - start + 1
            lost = f" (lines {start} to {reader.line_num})" if num_lines > 1 else ""
            reason = str(error).replace("unexpected end of data", "a quotation mark that is never closed")
            message = f"expected {SEPARATORS[separator]} between values: {reason}{lost}"
            faults.report("malformed", f"{path}:{reader.line_num}", message)
            continue
        if any(cell.strip() for cell in row):
            yield f"{path}:{reader.line_num}", row


def _reader(text: str, separator: str) -> Any:  # one of the module csv: rows, and the number of the line
    lines = io.StringIO(text, newline="")
    if separator == UNQUOTED:
        return csv.reader(lines, delimiter=separator, quoting=csv.QUOTE_NONE, skipinitialspace=True)
    return csv.reader(lines, delimiter=separator, skipinitialspace=True, strict=True)


def _first_cells(line: str, separator: str) -> list[str]:
    try:
        return [cell.strip() for cell in next(_reader(line, separator), [])]
    except csv.Error:
        return []


def _text(path: Path) -> tuple[str, str]:
    """The text of a file, and the separator that Excel's first line `sep=;` says, blank then; else the empty string."""
    try:
        text = decode(read_bytes(path))
    except EncodingFaultError as fault:
        raise CorpusError(f"{path}:{fault.number}: {fault}") from fault
    if match := re.match(rf"sep=([{''.join(SEPARATORS)}])(?=[\r\n])", text, re.IGNORECASE):
        return text[match.end() :], match[1]
    return text, ""
