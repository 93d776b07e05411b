"""Large blocks of whole lines with their numbers: what ARPA files are parsed from."""

from __future__ import annotations

import codecs
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from asr.errors import LanguageModelError, TextError
from asr.ngram.compression import byte_counter, read_blocks
from asr.ngram.foreign_files import HEAD_BYTES, binary_file, foreign_file

Progress = Callable[[float], None]  # is told the share of the file that is read, 0-1

BLOCK_BYTES = 1 << 24  # about this long; also the longest line that is accepted
UTF16_BOMS = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


class BlockReader:
    """Reads a UTF-8 file, plain or compressed, line by line or by the block.

    Raises:
        LanguageModelError: the file cannot be read, is damaged, not UTF-8, or has an endless line; names the line.
    """

    def __init__(self, path: str | Path, on_progress: Progress | None = None) -> None:
        self.path = path
        self.line_number = 1  # of the next line
        self._pieces = read_blocks(path, byte_counter([path], on_progress))
        self._block = b""
        self._position = 0
        self._carry = b""  # the beginning of a line whose end is in the next block

    def next_line(self) -> str | None:
        """The next line without its end, or None at the end of the file."""
        if not self._fill():
            return None
        end = self._block.index(b"\n", self._position)
        line = self._block[self._position : end].decode("utf-8")
        self._position = end + 1
        self.line_number += 1
        return line.removesuffix("\r")

    def block(self) -> NDArray[np.uint8]:
        """What is left of the block: (bytes,), whole lines with their ends. Empty at the end of the file."""
        self._fill()
        return np.frombuffer(self._block, dtype=np.uint8)[self._position :]

    def skip(self, num_bytes: int, num_lines: int) -> None:
        """Go on after so much of `block()`."""
        self._position += num_bytes
        self.line_number += num_lines

    def error(self, message: str, line_number: int | None = None) -> LanguageModelError:
        """An error at a line; without a number, at the next one."""
        return LanguageModelError(f"{self.path}:{line_number or self.line_number}: {message}")

    def _fill(self) -> bool:
        """Take the next block when this one is used up; False at the end of the file."""
        if self._position < len(self._block):
            return True
        data = self._carry + b"".join(self._take(BLOCK_BYTES))
        if self.line_number == 1:
            self._check_kind(data[:HEAD_BYTES])
        end = data.rfind(b"\n") + 1
        if end == 0 and data:
            if len(data) >= BLOCK_BYTES:
                raise self.error(f"expected lines of a few words, got one of more than {BLOCK_BYTES} bytes")
            data, end = data + b"\n", len(data) + 1  # a last line without its end
        self._block, self._carry, self._position = data[:end], data[end:], 0
        self._check_encoding()
        return bool(self._block)

    def _take(self, num_bytes: int) -> Iterator[bytes]:
        """Pieces of the file until they have so many bytes."""
        try:
            while num_bytes > 0 and (piece := next(self._pieces, None)) is not None:
                num_bytes -= len(piece)
                yield piece
        except TextError as error:
            if isinstance(error.__cause__, OSError):  # nothing that a line could be named for
                raise LanguageModelError(str(error)) from error
            raise self.error(f"the file breaks some lines later: {error}") from error

    def _check_kind(self, head: bytes) -> None:
        if head.startswith(UTF16_BOMS):
            raise self.error("expected UTF-8, got UTF-16; convert the file")
        if kind := foreign_file(head) or binary_file(head):
            raise LanguageModelError(f"{self.path}: expected an ARPA file or what `asr lm compile` wrote, got {kind}")

    def _check_encoding(self) -> None:
        if self.line_number == 1:
            self._block = self._block.removeprefix(codecs.BOM_UTF8)
        try:
            self._block.decode("utf-8")
        except UnicodeDecodeError as error:
            line_number = self.line_number + self._block.count(b"\n", 0, error.start)
            byte = self._block[error.start]
            raise self.error(f"expected UTF-8, got the byte 0x{byte:02X}; convert the file", line_number) from error
