"""Making the index of a manifest: compiled loops over its blocks in threads, then its ids.

Memory does not grow with the manifest but for the ids' hashes and their order, 16 bytes a line (40 where lines have no
ids). Lines that the loops leave, and files whose stem is not theirs alone, go through asr/data/manifest.py one by one:
some 15,000 a second.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from asr.data.ahead import map_ahead, num_usable_cores
from asr.data.json_kernel import MAX_DEPTH, MAX_KEYS, hash_bytes
from asr.data.manifest import Line, LineError, parse_line, to_utterance, with_derived_ids
from asr.data.manifest_index_file import COLUMNS, NUMPY_DTYPES, Column, ManifestFile
from asr.data.manifest_kernel import (
    LEFT,
    LISTED,
    NAMED,
    ROW,
    STEM,
    derive_ids,
    parse_block,
)
from asr.errors import ManifestError
from asr.files import sha256
from asr.progress import track

BLOCK_BYTES = 1 << 22
TAIL_BYTES = 1 << 16  # read behind a block for the end of its last line
MAX_LINE_BYTES = 1 << 30
MAX_NAMESAKES = 1_000_000  # files of one name; their ids are found in memory
BYTE_ORDER_MARK = b"\xef\xbb\xbf"
SCANNED = {"starts": "start", "durations": "duration", "lengths": "length", "text_lengths": "text_length"}


def build_columns(manifest: ManifestFile, directory: Path, *, show_progress: bool = False) -> dict[str, Column]:
    """All columns of a manifest's index; `directory` is where their temporary files go.

    Raises `ManifestError`, with file and line, for the first malformed line. Repeated ids are not looked for.
    """
    columns = {name: Column(NUMPY_DTYPES[dtype], directory) for name, dtype in COLUMNS.items()}
    spare = {name: Column(ROW[name], directory) for name in ("kind", "id_hash", "path_hash", "offset")}
    num_anonymous = 0
    with ThreadPoolExecutor(1) as beside:  # hashing lets go of the interpreter's lock
        checksum = beside.submit(sha256, manifest.path)
        for rows in _scan(manifest, show_progress):
            for name, field in SCANNED.items():
                columns[name].append(rows[field])
            for field, column in spare.items():
                column.append(rows[field])
            num_anonymous += int(np.count_nonzero(rows["kind"] == STEM))
        columns["sha256"].append(np.frombuffer(bytes.fromhex(checksum.result()), np.uint8))
    kinds, hashes = spare["kind"].load(), spare["id_hash"].load()
    order = _sorted(hashes)
    if num_anonymous:
        num_listed = derive_ids(order, kinds, hashes, spare["path_hash"].load(), spare["offset"].load())
        if num_listed:
            _list_ids(manifest, columns, order[kinds[order] == LISTED], hashes, show_progress)
        del order
        order = _sorted(hashes)
    columns["kinds"].append(kinds)
    columns["sorted_rows"].append(order)
    for start in range(0, len(order), BLOCK_BYTES):
        columns["sorted_hashes"].append(hashes[order[start : start + BLOCK_BYTES]])
    return columns


def _sorted(hashes: NDArray[np.uint64]) -> NDArray[np.uint32]:
    if len(hashes) > np.iinfo(np.uint32).max:
        raise ManifestError(f"expected at most {np.iinfo(np.uint32).max} lines in a manifest, got {len(hashes)}")
    return np.argsort(hashes).astype(np.uint32)


# ------------------------------------------------------------------------------------------------------ lines


@dataclass(frozen=True, slots=True)
class _Block:
    """The lines that begin in one block of the file."""

    rows: NDArray[Any]  # (lines,) of ROW
    num_lines: int
    error: tuple[int, str] | None = None  # the first malformed line's number in the block, from 0, and what is wrong


def _scan(manifest: ManifestFile, show_progress: bool) -> Iterator[NDArray[Any]]:
    """The rows of block after block."""
    size = int(manifest.stamp().size_bytes)
    first = len(BYTE_ORDER_MARK) if manifest.read(0, 3) == BYTE_ORDER_MARK else 0
    folder = manifest.directory.as_posix().rstrip("/") + "/"
    scanner = _Scanner(manifest, size, first, hash_bytes(folder.encode("utf-8", "surrogateescape")))
    starts = range(0, size, BLOCK_BYTES)
    blocks = map_ahead(scanner.block, starts, num_usable_cores())
    num_lines = 0
    for block in track(blocks, "indexing the manifest", total=len(starts), shown=show_progress):
        if block.error is not None:
            line, message = block.error
            raise ManifestError(f"{manifest.path}:{num_lines + line + 1}: {message}")
        num_lines += block.num_lines
        yield block.rows


@dataclass(frozen=True, slots=True)
class _Scanner:
    manifest: ManifestFile
    size_bytes: int
    first: int  # where the first line begins: behind a byte-order mark
    directory_hash: int

    def block(self, start: int) -> _Block:
        """Parse the lines that begin in the block at `start`."""
        base = max(self.first, start - 1)  # a line begins at `start` when a line feed is before it
        stop = min(start + BLOCK_BYTES, self.size_bytes) - base
        text = self._text(base, stop)
        begin = 0
        if start > self.first:
            begin = text.find(b"\n", 0, stop) + 1
            if begin == 0:
                return _Block(np.empty(0, ROW), 0)
        rows = np.empty(text.count(b"\n", begin, stop) + 1, ROW)
        keys, firsts = np.empty(MAX_KEYS, np.uint64), np.empty(MAX_DEPTH, np.int64)
        seed = np.uint64(self.directory_hash)
        num_rows, num_lines = parse_block(np.frombuffer(text, np.uint8), begin, stop, base, seed, rows, keys, firsts)
        rows = rows[:num_rows]
        return _Block(rows, num_lines, self._parse_left(rows, text, base))

    def _text(self, base: int, num_bytes: int) -> bytes:
        """The block, and behind it what its last line needs to be whole."""
        tail = TAIL_BYTES
        while True:
            text = self.manifest.read(base, num_bytes + tail)
            if text.find(b"\n", max(0, num_bytes - 1)) >= 0:
                return text
            if len(text) < num_bytes + tail:
                return text + b"\n"  # the last line lacks its end
            tail *= 8
            if tail > MAX_LINE_BYTES:
                place = self.manifest.place(base + text.rfind(b"\n", 0, num_bytes) + 1)
                raise ManifestError(f"{place}: expected a line of less than {MAX_LINE_BYTES} bytes, got a longer one")

    def _parse_left(self, rows: NDArray[Any], text: bytes, base: int) -> tuple[int, str] | None:
        """Fill in the rows that the kernel left; what is wrong with the first malformed one."""
        for row in np.flatnonzero(rows["kind"] == LEFT).tolist():
            start = int(rows["start"][row]) - base
            raw = text[start : start + int(rows["length"][row])]
            try:
                utterance = to_utterance(parse_line(raw), self.manifest.directory)
            except LineError as error:
                return int(rows["line"][row]), str(error)
            rows["duration"][row], rows["offset"][row] = utterance.duration, utterance.offset
            rows["text_length"][row] = len(utterance.text)
            rows["kind"][row] = NAMED if utterance.id else STEM
            path = PurePath(utterance.audio_filepath)
            rows["id_hash"][row] = hash_bytes((utterance.id or path.stem).encode("utf-8", "surrogateescape"))
            rows["path_hash"][row] = hash_bytes(path.as_posix().encode("utf-8", "surrogateescape"))
        return None


# ------------------------------------------------------------------------------------------------------ ids


def _list_ids(
    manifest: ManifestFile,
    columns: dict[str, Column],
    rows: NDArray[np.uint32],
    hashes: NDArray[np.uint64],
    show_progress: bool,
) -> None:
    """Derive the ids of lines that share a stem with other files, stem by stem, into the columns of listed ids.

    rows: the lines, those of a stem together.
    """
    starts, lengths = columns["starts"].mapped(), columns["lengths"].mapped()
    bounds = np.concatenate([[0], 1 + np.flatnonzero(np.diff(hashes[rows])), [len(rows)]])
    ids: list[bytes] = []
    for group in track(range(len(bounds) - 1), "telling files apart", shown=show_progress):
        members = rows[bounds[group] : bounds[group + 1]].tolist()
        ids += _derive(manifest, [(int(starts[row]), int(lengths[row])) for row in members])
    hashes[rows] = [hash_bytes(id) for id in ids]
    order = np.argsort(rows)
    columns["listed_rows"].append(rows[order])
    columns["listed_ends"].append(np.cumsum([len(ids[place]) for place in order], dtype=np.uint64))
    columns["listed_ids"].append(np.frombuffer(b"".join(ids[place] for place in order), np.uint8))


def _derive(manifest: ManifestFile, places: Sequence[tuple[int, int]]) -> list[bytes]:
    """The ids of all lines of one stem, in UTF-8."""
    if len(places) > MAX_NAMESAKES:
        raise ManifestError(
            f"{manifest.path}: expected at most {MAX_NAMESAKES} lines without an id that share a file name, got "
            f"{len(places)}, the first {manifest.utterance(*places[0]).audio_filepath}; give each line an 'id'"
        )
    lines = [Line("", manifest.utterance(start, length)) for start, length in places]
    return [line.utterance.id.encode("utf-8", "surrogateescape") for line in with_derived_ids(lines)]
