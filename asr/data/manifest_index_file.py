"""The files of a `ManifestIndex`: the manifest, read at any place, and what is known of its lines, as mapped columns.

The index file has the layout of safetensors, so that other programs can read it too. Its metadata say of which manifest
it is (size, time of change, a hash of head and tail) and hold a checksum for each column. A file that is of another
state of the manifest, or that is damaged, counts as not there.
"""

from __future__ import annotations

import hashlib
import json
import logging
import mmap
import os
import shutil
import sys
import tempfile
import zlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from asr.data.manifest import parse_line, to_utterance
from asr.errors import ManifestError
from asr.types import Utterance

FORMAT, VERSION = "asr-manifest-index", "2"  # 2: has the manifest's checksum
# The wider come first: then all are aligned. Of N lines that are not blank, M have an id in the list.
COLUMNS: Mapping[str, str] = {
    "starts": "U64",  # (N,) where a line begins, bytes
    "durations": "F64",  # (N,) seconds
    "sorted_hashes": "U64",  # (N,) of ids, ascending
    "listed_ends": "U64",  # (M,) of ids in `listed_ids`
    "lengths": "U32",  # (N,) of lines without their line feed, bytes
    "text_lengths": "U32",  # (N,) of texts, characters
    "sorted_rows": "U32",  # (N,) the lines that `sorted_hashes` are of
    "listed_rows": "U32",  # (M,) ascending
    "kinds": "U8",  # (N,) where the id comes from: see manifest_kernel
    "listed_ids": "U8",  # UTF-8, one after another
    "sha256": "U8",  # (32,) of the whole manifest
}
NUMPY_DTYPES: Mapping[str, Any] = {"U64": np.uint64, "F64": np.float64, "U32": np.uint32, "U8": np.uint8}
LENGTH_BYTES = 8  # of the header's length, before the header
MAX_HEADER_BYTES = 1 << 16  # ours has about 1,500
CHUNK_BYTES = 1 << 20
ENDS_BYTES = 1 << 16  # of the manifest's head, and of its tail, that are hashed

logger = logging.getLogger(__name__)


class ManifestFile:
    """An open manifest. What is read of it stays out of memory, unlike with a map.

    Raises `ManifestError` when it cannot be read.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.directory = self.path.absolute().parent
        try:
            self._file = self.path.open("rb", buffering=0)
        except OSError as error:
            raise ManifestError(f"cannot read manifest {path}: {error.strerror}") from error

    def read(self, start: int, num_bytes: int) -> bytes:
        """What stands there: fewer bytes only at the end of the file. Threads may read at once."""
        try:
            return os.pread(self._file.fileno(), num_bytes, start)
        except OSError as error:
            raise ManifestError(f"cannot read manifest {self.path}: {error.strerror}") from error

    def utterance(self, start: int, num_bytes: int) -> Utterance:
        """The utterance of a line, with an empty id where the line has none; raises `LineError`."""
        return to_utterance(parse_line(self.read(start, num_bytes)), self.directory)

    def place(self, start: int) -> str:
        """`manifest:line` of the line that begins at `start`; counts line feeds, a second for a gigabyte."""
        blocks = range(0, start, CHUNK_BYTES)
        number = 1 + sum(self.read(at, min(CHUNK_BYTES, start - at)).count(b"\n") for at in blocks)
        return f"{self.path}:{number}"

    def stamp(self) -> Stamp:
        """What tells this state of the manifest from others."""
        status = os.fstat(self._file.fileno())
        digest = hashlib.sha256(self.read(0, ENDS_BYTES))
        digest.update(self.read(max(0, status.st_size - ENDS_BYTES), ENDS_BYTES))
        return Stamp(str(status.st_size), str(status.st_mtime_ns), digest.hexdigest())


@dataclass(frozen=True, slots=True)
class Stamp:
    """A state of a manifest, as text."""

    size_bytes: str
    mtime_ns: str
    ends_sha256: str


class Column:
    """One column while it grows: in a nameless file of its own, so that memory does not grow with it."""

    def __init__(self, dtype: Any, directory: Path) -> None:
        self.dtype: np.dtype[Any] = np.dtype(dtype)
        self.file = tempfile.TemporaryFile(dir=directory)  # noqa: SIM115 - closed when nobody holds the column
        self.crc32 = 0
        self.num_bytes = 0

    def append(self, values: NDArray[Any]) -> None:
        """Add values at the end."""
        data = np.ascontiguousarray(values, self.dtype).data.cast("B")
        self.file.write(data)
        self.crc32 = zlib.crc32(data, self.crc32)
        self.num_bytes += len(data)

    def load(self) -> NDArray[Any]:
        """A copy in memory."""
        self.file.seek(0)
        return np.fromfile(self.file, self.dtype)

    def mapped(self) -> NDArray[Any]:
        """The values, read where they are looked at."""
        self.file.flush()
        return np.memmap(self.file, self.dtype, mode="r") if self.num_bytes else np.empty(0, self.dtype)


def write_index_file(path: Path, columns: Mapping[str, Column], stamp: Stamp, directory: str) -> None:
    """Write the columns at `path`; the caller puts the file in place.

    directory: the folder that ids depend on, absolute; empty where none does.
    """
    header: dict[str, Any] = {}
    begin = 0
    for name, dtype in COLUMNS.items():
        end = begin + columns[name].num_bytes
        shape = [columns[name].num_bytes // columns[name].dtype.itemsize]
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}
        begin = end
    checksums = json.dumps({name: columns[name].crc32 for name in COLUMNS})
    header["__metadata__"] = _identity(stamp) | {"directory": directory, "crc32": checksums}
    encoded = json.dumps(header).encode()
    encoded += b" " * (-len(encoded) % LENGTH_BYTES)
    with path.open("wb") as file:
        file.write(len(encoded).to_bytes(LENGTH_BYTES, "little") + encoded)
        for name in COLUMNS:
            columns[name].file.seek(0)
            shutil.copyfileobj(columns[name].file, file, CHUNK_BYTES)


def read_index_file(path: Path, stamp: Stamp, directory: str) -> dict[str, NDArray[Any]] | None:
    """The columns of an index, mapped; None where there is none, it is of another manifest, or it is damaged.

    Every byte is compared with the checksums: 0.2 s for ten million lines.
    """
    if sys.byteorder != "little":
        raise ManifestError("a manifest's index needs a little-endian machine")
    try:
        with path.open("rb") as file:
            header_bytes = int.from_bytes(file.read(LENGTH_BYTES), "little")
            header = json.loads(file.read(min(header_bytes, MAX_HEADER_BYTES)))
            metadata = header.pop("__metadata__")
            if any(metadata.get(name) != value for name, value in _identity(stamp).items()):
                return None
            if metadata["directory"] not in ("", directory):
                return None
            checksums = json.loads(metadata["crc32"])
            for name in COLUMNS:
                _check_sum(file, header[name]["data_offsets"], checksums[name])
            view = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
        data = view[LENGTH_BYTES + header_bytes :]
        return {name: _view(data, header[name], dtype) for name, dtype in COLUMNS.items()}
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        logger.warning("%s is damaged (%s); it is made anew", path, error)
        return None


def _identity(stamp: Stamp) -> dict[str, str]:
    return {"format": FORMAT, "version": VERSION, **asdict(stamp)}


def _check_sum(file: Any, offsets: list[int], expected: int) -> None:
    """Read on over a column, which lie in the order in which they are checked."""
    begin, end = offsets
    left, checksum = end - begin, 0
    while left > 0 and (chunk := file.read(min(left, CHUNK_BYTES))):
        checksum = zlib.crc32(chunk, checksum)
        left -= len(chunk)
    if left or checksum != expected:
        raise ValueError("a checksum is wrong")


def _view(data: memoryview, entry: Mapping[str, Any], dtype: str) -> NDArray[Any]:
    begin, end = entry["data_offsets"]
    if entry["dtype"] != dtype or not 0 <= begin <= end <= len(data):
        raise ValueError("a column is of another type or lies outside")
    return np.frombuffer(data[begin:end], NUMPY_DTYPES[dtype])
