"""Manifests of millions of lines, opened at once: `ManifestIndex` knows where each line lies and reads it when asked.

    index = ManifestIndex.open(["train-1.jsonl", "train-2.jsonl"])
    len(index), index.durations.sum() / 3600
    index[1234]  # the same Utterance that read_manifest gives

What is known of all lines lies in a file beside the manifest, `train.jsonl.index`, which is made when a manifest is
opened for the first time and again when it was changed; where its folder cannot be written, in the user's cache folder.
"""

from __future__ import annotations

import hashlib
import os
from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import accumulate
from pathlib import Path, PurePath
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray

from asr.data.json_kernel import hash_bytes
from asr.data.manifest import Line, LineError, with_derived_ids
from asr.data.manifest_index_build import build_columns
from asr.data.manifest_index_file import ManifestFile, read_index_file, write_index_file
from asr.data.manifest_kernel import LISTED, NAMED, TIMED, find_repeats
from asr.errors import ManifestError
from asr.files import replacing
from asr.types import Utterance

SUFFIX = ".index"


class ManifestIndex(Sequence[Utterance]):
    """The utterances of one or several manifests, in order.

    A line is read from the manifest each time it is asked for (some 20,000 a second), so that memory holds none.
    Threads may read at once; a copy that is sent to another process opens the files anew.
    """

    def __init__(self, parts: Sequence[IndexedManifest]) -> None:
        self.parts = tuple(parts)
        self._ends = list(accumulate(len(part) for part in self.parts))

    @classmethod
    def open(cls, paths: str | Path | Sequence[str | Path], *, show_progress: bool = False) -> ManifestIndex:
        """Open manifests; their indexes are made where they are missing, of another state, or damaged.

        Raises:
            ManifestError: as `read_manifest`, for the first malformed line, else the first repeated id, also of
                another of the manifests; a manifest that changes meanwhile; more than a million files of one name
                without ids.
            OutputError: an index cannot be written.
        """
        listed = [paths] if isinstance(paths, str | Path) else list(paths)
        index = cls([IndexedManifest.open(path, show_progress) for path in listed])
        if len(listed) > 1:  # each by itself was looked at when its index was made
            index.refuse_repeats()
        return index

    def __reduce__(self) -> tuple[Callable[..., ManifestIndex], tuple[list[Path]]]:
        return ManifestIndex.open, ([part.manifest.path for part in self.parts],)

    def __len__(self) -> int:
        return self._ends[-1] if self._ends else 0

    @overload
    def __getitem__(self, index: int) -> Utterance: ...
    @overload
    def __getitem__(self, index: slice) -> list[Utterance]: ...
    def __getitem__(self, index: int | slice) -> Utterance | list[Utterance]:
        """Read one line, or those of a slice."""
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        part, row = self._locate(index)
        return part.utterance(row)

    @cached_property
    def durations(self) -> NDArray[np.float64]:
        """(N,) seconds; mapped, where there is but one manifest."""
        return self._column("durations")

    @cached_property
    def text_lengths(self) -> NDArray[np.uint32]:
        """(N,) characters of the texts as they are written."""
        return self._column("text_lengths")

    @property
    def checksums(self) -> list[str]:
        """The SHA-256 of each manifest, hexadecimal, as it was when its index was made."""
        return [part.columns["sha256"].tobytes().hex() for part in self.parts]

    def id(self, index: int) -> str:
        """The id of an utterance."""
        part, row = self._locate(index)
        return part.id(row)

    def place(self, index: int) -> str:
        """`manifest:line`, for messages: the file is read up to there to count its lines."""
        part, row = self._locate(index)
        return part.place(row)

    def find(self, id: str) -> int | None:
        """Which utterance has this id; None where none has."""
        first = 0
        for part in self.parts:
            if (row := part.find(id)) is not None:
                return first + row
            first += len(part)
        return None

    def _locate(self, index: int) -> tuple[IndexedManifest, int]:
        position = index + len(self) if index < 0 else index
        if not 0 <= position < len(self):
            raise IndexError(f"expected an index below {len(self)}, got {index}")
        number = bisect_right(self._ends, position)
        return self.parts[number], position - (self._ends[number - 1] if number else 0)

    def _column(self, name: str) -> NDArray[Any]:
        columns = [part.columns[name] for part in self.parts]
        return columns[0] if len(columns) == 1 else np.concatenate(columns)

    def refuse_repeats(self) -> None:
        """Raise `ManifestError` for the first utterance with an id that was there before."""
        hashes, rows = self._column("sorted_hashes"), self._column("sorted_rows")
        if len(self.parts) > 1:
            rows = rows + np.repeat([0, *self._ends[:-1]], [len(part) for part in self.parts])
            order = np.argsort(hashes)
            hashes, rows = hashes[order], rows[order]
        seen: dict[str, int] = {}
        for index in np.sort(rows[find_repeats(hashes)]).tolist():  # equal hashes need not be of equal ids
            if (first := seen.setdefault(id := self.id(index), index)) != index:
                raise ManifestError(
                    f"{self.place(index)}: expected unique ids, got {id!r}, the id of {self.place(first)} "
                    f"({self[first].audio_filepath}); give each line an 'id' of its own"
                )


@dataclass(frozen=True, slots=True)
class IndexedManifest:
    """One manifest with its index."""

    manifest: ManifestFile
    columns: Mapping[str, NDArray[Any]]  # see manifest_index_file

    @classmethod
    def open(cls, path: str | Path, show_progress: bool) -> IndexedManifest:
        """Open a manifest with the index that is there, or a new one."""
        manifest = ManifestFile(path)
        stamp, directory = manifest.stamp(), str(manifest.directory)
        beside = manifest.path.with_name(manifest.path.name + SUFFIX)
        cached = cache_folder() / f"{hashlib.sha256(str(manifest.path.absolute()).encode()).hexdigest()}{SUFFIX}"
        for place in (beside, cached):
            columns = read_index_file(place, stamp, directory)
            if columns is not None:
                return cls(manifest, columns)
        target = beside if os.access(beside.parent, os.W_OK) else cached
        with replacing(target) as temporary:
            built = build_columns(manifest, target.parent, show_progress=show_progress)
            if manifest.stamp() != stamp:
                raise ManifestError(f"{path} was changed while it was being read; open it when it is finished")
            write_index_file(temporary, built, stamp, directory if built["listed_rows"].num_bytes else "")
            del built
            columns = read_index_file(temporary, stamp, directory)
            assert columns is not None, "what was just written can be read"
            indexed = cls(manifest, columns)
            ManifestIndex([indexed]).refuse_repeats()
        return indexed

    def __len__(self) -> int:
        return len(self.columns["starts"])

    def utterance(self, row: int) -> Utterance:
        """Read a line."""
        start, length = int(self.columns["starts"][row]), int(self.columns["lengths"][row])
        try:
            utterance = self.manifest.utterance(start, length)
        except LineError as error:
            raise ManifestError(
                f"{self.place(row)}: the manifest was changed after it was opened ({error}); open it again"
            ) from error
        kind = self.columns["kinds"][row]
        if kind == NAMED:
            return utterance
        if kind == LISTED:
            return replace(utterance, id=self._listed_id(row))
        if kind == TIMED:  # read_manifest's rule for a file that several lines share
            return with_derived_ids([Line("", utterance)] * 2)[0].utterance
        return replace(utterance, id=PurePath(utterance.audio_filepath).stem)

    def id(self, row: int) -> str:
        """The id of a line."""
        return self._listed_id(row) if self.columns["kinds"][row] == LISTED else self.utterance(row).id

    def _listed_id(self, row: int) -> str:
        number = int(np.searchsorted(self.columns["listed_rows"], row))
        ends = self.columns["listed_ends"]
        start = int(ends[number - 1]) if number else 0
        return self.columns["listed_ids"][start : int(ends[number])].tobytes().decode("utf-8", "surrogateescape")

    def place(self, row: int) -> str:
        """`manifest:line`."""
        return self.manifest.place(int(self.columns["starts"][row]))

    def find(self, id: str) -> int | None:
        """The line that has this id."""
        hashes = self.columns["sorted_hashes"]
        code = np.uint64(hash_bytes(id.encode("utf-8", "surrogateescape")))
        for place in range(int(np.searchsorted(hashes, code)), len(hashes)):
            if hashes[place] != code:
                break
            if self.id(row := int(self.columns["sorted_rows"][place])) == id:
                return row
        return None


def cache_folder() -> Path:
    """Where indexes go whose manifests' folders cannot be written: by the XDG base directory specification."""
    home = os.environ.get("XDG_CACHE_HOME")
    return (Path(home) if home else Path.home() / ".cache") / "asr" / "manifests"
