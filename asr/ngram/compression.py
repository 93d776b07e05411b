"""Large text files in blocks, plain or packed with gzip, bzip2, xz or Zstandard, in both directions."""

from __future__ import annotations

import bz2
import contextlib
import gzip
import itertools
import lzma
import sys
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import IO, Any, BinaryIO, Protocol, cast

import zstandard

from asr.errors import TextError

STDIN = "-"


class Bzip2Error(Exception):
    """Damage in a file packed with bzip2, of which Python makes an OSError, as of a disk that fails."""


DAMAGE = (zlib.error, lzma.LZMAError, zstandard.ZstdError, Bzip2Error, EOFError)

_CHUNK_BYTES = 1 << 16  # small, so that a packed file that unfolds a thousandfold cannot fill the memory
_GZIP_WINDOW_BITS = 31  # zlib's number for "with gzip's header and checksum"
_GZIP_LEVEL = 6
_BZIP2_LEVEL = 9
_XZ_PRESET = 0  # of an ARPA file the usual 6 saves a tenth more, at six times the time
_ZSTD_LEVEL = 3


class _Decompressor(Protocol):
    @property
    def eof(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes, /) -> bytes: ...


class _Bzip2Decompressor:
    def __init__(self) -> None:
        self._stream = bz2.BZ2Decompressor()

    @property
    def eof(self) -> bool:
        return self._stream.eof

    @property
    def unused_data(self) -> bytes:
        return self._stream.unused_data

    def decompress(self, data: bytes, /) -> bytes:
        try:
            return self._stream.decompress(data)
        except OSError as error:
            raise Bzip2Error(str(error)) from error


# What a file is packed with is read from its first bytes; next to no UTF-8 text begins with them.
_DECOMPRESSORS: dict[bytes, Callable[[], _Decompressor]] = {
    b"\x1f\x8b": lambda: zlib.decompressobj(_GZIP_WINDOW_BITS),
    **dict.fromkeys((b"BZh%d1AY&SY" % level for level in range(1, 10)), _Bzip2Decompressor),
    **dict.fromkeys((b"BZh%d\x17rE8P\x90" % level for level in range(1, 10)), _Bzip2Decompressor),  # of nothing
    b"\xfd7zXZ\0": lambda: lzma.LZMADecompressor(lzma.FORMAT_XZ),
    b"\x28\xb5\x2f\xfd": lambda: cast(_Decompressor, zstandard.ZstdDecompressor().decompressobj()),
}


def read_blocks(path: str | Path, on_bytes: Callable[[int], None] | None = None) -> Iterator[bytes]:
    """Yield the unpacked bytes of a file in blocks of any size; `-` is standard input.

    `on_bytes` is told the size of each piece taken from the file, which is what a progress bar can count.

    Raises `TextError` naming the file when it cannot be read, is damaged or was cut short.
    """
    name = source_name(path)
    try:
        with _open(path) as file:
            yield from _unpacked(_chunks(file, on_bytes or (lambda _: None)))
    except DAMAGE as error:
        reason = "the file was cut short" if isinstance(error, EOFError) else str(error)
        raise TextError(
            f"{name}: expected a whole compressed file, got a damaged one: {reason}; copy it again"
        ) from error
    except OSError as error:
        raise TextError(f"cannot read {name}: {error.strerror or error}") from error


def byte_counter(paths: Sequence[str | Path], on_progress: Callable[[float], None] | None) -> Callable[[int], None]:
    """What turns bytes read of some files into calls of `on_progress` with the share that is done."""
    if on_progress is None or any(str(path) == STDIN for path in paths):  # who knows how long standard input is
        return lambda _: None
    total = sum(Path(path).stat().st_size for path in paths if Path(path).is_file())
    done = 0

    def count(num_bytes: int) -> None:
        nonlocal done
        done += num_bytes
        on_progress(done / max(total, done))

    return count


def source_name(path: str | Path) -> str:
    """What messages call a file."""
    return "standard input" if str(path) == STDIN else str(path)


def _open(path: str | Path) -> AbstractContextManager[BinaryIO]:
    if str(path) == STDIN:
        return contextlib.nullcontext(sys.stdin.buffer)
    return Path(path).open("rb")


def _chunks(file: BinaryIO, on_bytes: Callable[[int], None]) -> Iterator[bytes]:
    for chunk in iter(lambda: file.read(_CHUNK_BYTES), b""):
        on_bytes(len(chunk))
        yield chunk


def _unpacked(chunks: Iterator[bytes]) -> Iterator[bytes]:
    first = next(chunks, b"")
    chunks = itertools.chain([first], chunks)
    for magic, new_decompressor in _DECOMPRESSORS.items():
        if first.startswith(magic):
            return _decompressed(chunks, new_decompressor)
    return chunks


def _decompressed(chunks: Iterator[bytes], new: Callable[[], _Decompressor]) -> Iterator[bytes]:
    """Decompress one or more streams, as `cat a.gz b.gz` leaves them, with or without zeros between them."""
    stream: _Decompressor | None = None
    for data in chunks:
        while data:
            if stream is None:
                data = data.lstrip(b"\0")
                if not data:
                    break
                stream = new()
            yield stream.decompress(data)
            data = stream.unused_data if stream.eof else b""
            stream = None if stream.eof else stream
    if stream is not None:
        raise EOFError


def create_packed(path: Path, suffix: str) -> IO[bytes]:
    """Open `path` for writing, packed as `suffix` says: ".gz", ".bz2", ".xz" or ".zst"; with any other, as it is."""
    match suffix:
        case ".gz":
            return cast(IO[bytes], gzip.open(path, "wb", compresslevel=_GZIP_LEVEL))
        case ".bz2":
            return cast(IO[bytes], bz2.open(path, "wb", compresslevel=_BZIP2_LEVEL))
        case ".xz":
            return cast(IO[bytes], lzma.open(path, "wb", preset=_XZ_PRESET))
        case ".zst":
            return cast(IO[bytes], _zstandard_writer(path))
        case _:
            return path.open("wb")


def _zstandard_writer(path: Path) -> Any:
    return zstandard.open(path, "wb", cctx=zstandard.ZstdCompressor(level=_ZSTD_LEVEL, write_checksum=True))
