"""A file seen with other bytes in some places: a header that tells the truth, without what is in the way."""

from __future__ import annotations

import io
import os
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import BinaryIO, TypeAlias


@dataclass(frozen=True, slots=True)
class Stretch:
    """The bytes of a file from `start` up to `stop`."""

    start: int
    stop: int

    def __len__(self) -> int:
        return max(0, self.stop - self.start)


Piece: TypeAlias = "bytes | Stretch"


class SplicedFile(io.RawIOBase):
    """Pieces one after another, each either bytes in memory or a stretch of a file that can seek.

    Reading moves the position of the file beneath.
    """

    def __init__(self, file: BinaryIO, pieces: Sequence[Piece]) -> None:
        self._file = file
        self._pieces = [piece for piece in pieces if len(piece)]
        self._starts = [0, *accumulate(map(len, self._pieces))]  # of each piece, and the end of all
        self._position = 0

    def readable(self) -> bool:
        """True: it can only be read."""
        return True

    def seekable(self) -> bool:
        """True, as the file beneath."""
        return True

    def tell(self) -> int:
        """The position, in bytes from the first piece's first."""
        return self._position

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Move to a byte position."""
        origins = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._starts[-1]}
        self._position = max(0, origins[whence] + offset)
        return self._position

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        """Fill `buffer`, across pieces; the number of bytes read, fewer only at the end. libsndfile asks once."""
        num_bytes = 0
        while num_bytes < len(buffer) and (data := self._read_piece(len(buffer) - num_bytes)):
            buffer[num_bytes : num_bytes + len(data)] = data
            num_bytes += len(data)
        return num_bytes

    def _read_piece(self, num_bytes: int) -> bytes:
        """Up to so many of the next bytes, as far as their piece goes; none at the end."""
        if self._position >= self._starts[-1]:
            return b""
        index = bisect_right(self._starts, self._position) - 1
        piece, inside = self._pieces[index], self._position - self._starts[index]
        num_bytes = min(num_bytes, len(piece) - inside)
        if isinstance(piece, bytes):
            data = piece[inside : inside + num_bytes]
        else:
            self._file.seek(piece.start + inside)
            data = self._file.read(num_bytes)
        self._position += len(data)
        return data


def size_bytes(file: BinaryIO) -> int:
    """The size of a file that can seek; its position is moved to the end."""
    file.seek(0, os.SEEK_END)
    return file.tell()  # seek itself returns nothing for a SpooledTemporaryFile of Python 3.10
