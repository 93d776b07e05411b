"""Files that are a sequence of chunks, each with a name and a size: WAV, AIFF, CAF, W64."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO, Literal

MAX_CHUNK_BYTES = 1 << 62  # more is a mark of "unknown", or nonsense
MAX_CHUNKS = 10_000  # a RIFF or AIFF file has a dozen; keeps a malformed one from being walked for minutes
W64_TAIL = bytes.fromhex("f3acd3118cd100c04f8edb8a")  # behind the four letters of every chunk but the first
FILES = (b"RIFF", b"RIFX", b"RF64", b"BW64", b"FORM")  # look like chunks and begin a file of their own


@dataclass(frozen=True, slots=True)
class Chunk:
    """One chunk of a file that is a sequence of them."""

    name: bytes  # four letters
    header: int  # byte position of its header
    start: int  # of its contents
    size: int  # bytes of its contents, as declared; -1 in CAF where the data ends with the file


@dataclass(frozen=True, slots=True)
class Chunks:
    """How a format lays its chunks out."""

    order: Literal["big", "little"] = "little"
    tail: bytes = b""  # behind the four letters of a name
    size_bytes: int = 4
    size_has_header: bool = False
    alignment: int = 2

    @property
    def header_bytes(self) -> int:
        """Of a chunk's header."""
        return 4 + len(self.tail) + self.size_bytes

    def read(self, file: BinaryIO, position: int) -> Chunk | None:
        """The chunk whose header is here; None where there is none."""
        file.seek(position)
        header = file.read(self.header_bytes)
        name, number = header[:4], header[4 + len(self.tail) :]
        has_tail = header[4 : 4 + len(self.tail)] == self.tail
        if len(header) < self.header_bytes or not has_tail or not all(0x20 <= byte < 0x7F for byte in name):
            return None
        size = int.from_bytes(number, self.order, signed=self.size_bytes == 8)
        return Chunk(name, position, position + self.header_bytes, size - self.header_bytes * self.size_has_header)

    def walk(self, file: BinaryIO, position: int) -> Iterator[Chunk]:
        """All chunks from a position on. Odd ones are padded, but by some programs are not."""
        for _ in range(MAX_CHUNKS):
            chunk = self.read(file, position)
            if chunk is None:
                return
            yield chunk
            if not 0 <= chunk.size < MAX_CHUNK_BYTES:
                return
            end = chunk.start + chunk.size
            position = end + -(end - chunk.header) % self.alignment
            if position != end and self.read(file, position) is None and self.read(file, end) is not None:
                position = end

    def follow(self, file: BinaryIO, position: int, stop: int) -> bool:
        """Whether a chunk stands at a position that fits into what is left of the file."""
        chunk = self.read(file, position)
        return chunk is not None and chunk.name not in FILES and 0 <= chunk.size <= stop - chunk.start


WAV, RIFX = Chunks(), Chunks("big")
AIFF = Chunks("big")
CAF = Chunks("big", size_bytes=8, alignment=1)
W64 = Chunks(tail=W64_TAIL, size_bytes=8, size_has_header=True, alignment=8)
