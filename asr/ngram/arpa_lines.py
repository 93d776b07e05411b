"""The lines of an ARPA file as they come: counts, headers, and n-grams by the block. Each error names its line."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from asr.errors import LanguageModelError
from asr.ngram.arpa_kernels import NEWLINE, Flaw, parse_lines
from asr.ngram.blocks import BlockReader
from asr.ngram.foreign_files import foreign_text

DATA, END = "\\data\\", "\\end\\"
COUNT = re.compile(r"ngram\s+(\d{1,4})\s*=\s*(\d{1,18})")
MAX_CHARACTERS_SHOWN = 60
LINES_LOOKED_AT = 5  # to say what a file is that is no ARPA file


@dataclass(frozen=True, slots=True)
class ParsedLines:
    """N-gram lines of one block."""

    lines: NDArray[np.int64]  # (M,) where each stands in the file, from 1
    text: NDArray[np.uint8]  # (bytes,) the block
    spans: NDArray[np.int32]  # (M, n, 2) where in `text` each word begins and ends
    numbers: NDArray[np.float32]  # (M, 2) log10 probability and log10 back-off, NaN where there is none


def header_of(order: int, counts: list[int]) -> str:
    """The line before the n-grams of an order, and after those of the last."""
    return f"\\{order}-grams:" if order <= len(counts) else END


def read_counts(reader: BlockReader) -> list[int]:
    """Read the number of n-grams of each order and the header of the first; what stands before is a comment."""
    first: list[str] = []
    while (line := _next_filled_line(reader)) != DATA:
        if line is None:
            got = f"{_shown(first[0])} and no such line later; it looks like {foreign_text(first)}" if first else None
            raise reader.error(f"expected {DATA} before the counts of an ARPA file, got {got or 'an empty file'}", 1)
        first = [*first, line] if len(first) < LINES_LOOKED_AT else first
    counts: list[int] = []
    while (line := _next_filled_line(reader)) != header_of(1, [1]):
        expected = f"expected `ngram {len(counts) + 1}=` and a count" + (f" or {header_of(1, [1])}" if counts else "")
        if line is None:
            raise reader.error(f"the file is cut short: {expected}")
        found = COUNT.fullmatch(line)
        if found is None or int(found[1]) != len(counts) + 1:
            raise reader.error(f"{expected}, got {_shown(line)}", reader.line_number - 1)
        counts.append(int(found[2]))
    if not counts or counts[0] == 0:
        raise reader.error(f"expected `ngram 1=` and a count above 0 before {line}", reader.line_number - 1)
    return counts


def read_header(reader: BlockReader, order: int, counts: list[int]) -> None:
    r"""Read the header of an order, or \end\ after the last, and nothing else but blank lines."""
    header = header_of(order, counts)
    line = _next_filled_line(reader)
    after = f"after {counts[order - 2]} {order - 1}-grams, which is their count in {DATA}"
    if line is None:
        raise reader.error(f"the file is cut short: expected {header} {after}, got its end")
    if line != header:
        raise reader.error(f"expected {header} {after}, got {_shown(line)}", reader.line_number - 1)


def read_end(reader: BlockReader) -> None:
    r"""Read to the end of the file, with which compressed ones have their checksum; only blank lines may come."""
    line = _next_filled_line(reader)
    if line is not None:
        raise reader.error(f"expected nothing after {END}, got {_shown(line)}", reader.line_number - 1)


def parse_ngrams(reader: BlockReader, order: int, counts: list[int]) -> Iterator[ParsedLines]:
    """Parse as many n-grams of an order as there should be."""
    left = counts[order - 1]
    while left:
        text = reader.block()
        if len(text) == 0:
            raise reader.error(
                f"the file is cut short: expected {counts[order - 1]} {order}-grams, got {counts[order - 1] - left}"
            )
        room = min(left, int(np.count_nonzero(text == NEWLINE)))
        numbers = np.empty((room, 2), dtype=np.float32)
        spans = np.empty((room, order, 2), dtype=np.int32)
        lines = np.empty(room + 1, dtype=np.int64)
        flaw, num_parsed, num_bytes = parse_lines(text, numbers, spans, lines)
        first_line = reader.line_number
        reader.skip(num_bytes, int(lines[num_parsed]))
        left -= num_parsed
        if flaw != Flaw.NONE:
            raise _flaw_error(reader, Flaw(flaw), order, counts, counts[order - 1] - left)
        yield ParsedLines(first_line + lines[:num_parsed], text, spans[:num_parsed], numbers[:num_parsed])


def _flaw_error(reader: BlockReader, flaw: Flaw, order: int, counts: list[int], num_parsed: int) -> LanguageModelError:
    """The error for the next line, which is not an n-gram as it should be."""
    line_number = reader.line_number
    line = reader.next_line()
    assert line is not None
    highest = order == len(counts)
    expected = {
        Flaw.END_OF_SECTION: f"{counts[order - 1]} {order}-grams, as {DATA} says, got {num_parsed} of them and then",
        Flaw.FIELDS: f"a log10 probability, {order} words and {'nothing else' if highest else 'a log10 back-off'}, got",
        Flaw.PROBABILITY: "a number of at most 0 as log10 probability (-99 or -inf for probability 0), got",
        Flaw.BACKOFF: f"a number after {order} words as log10 back-off, got",
    }
    return reader.error(f"expected {expected[flaw]} {_shown(line)}", line_number)


def _next_filled_line(reader: BlockReader) -> str | None:
    """The next line that is not blank, without white space around it."""
    while (line := reader.next_line()) is not None:
        if line := line.strip():
            return line
    return None


def _shown(line: str) -> str:
    if not line.strip():
        return "a blank line"
    return repr(line if len(line) <= MAX_CHARACTERS_SHOWN else line[:MAX_CHARACTERS_SHOWN] + "…")
