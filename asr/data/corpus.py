"""What a run trains on or validates on: manifests and shard sets, one after another, as one sequence of utterances.

Small manifests are read into memory. Above 8 MiB, and where shards are among them, lines stay in their files and are
read when asked for, by an index (asr/data/manifest_index.py). For training there is no difference.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache, partial
from itertools import accumulate
from pathlib import Path
from typing import Protocol, overload

import numpy as np
from numpy.typing import NDArray

from asr.data.audio_cache import decode_utterance
from asr.data.examination import is_file
from asr.data.manifest import read_manifest
from asr.data.manifest_index import ManifestIndex
from asr.data.shards import ShardSet, manifest_of
from asr.errors import ManifestError
from asr.files import sha256
from asr.text.normalize import Case, normalize
from asr.types import Utterance

INDEXED_BYTES = 8 << 20  # manifests of more together are not read into memory: 40,000 lines take a second
RECENT = 256  # lines that are remembered: audio, text and id of an utterance are asked for one after another


class Source(Protocol):
    """One manifest with its audio: `Files` or `ShardSet`."""

    @property
    def utterances(self) -> Sequence[Utterance]:
        """All of them."""
        ...

    def decode(self, utterance: Utterance) -> NDArray[np.int16]:
        """(N,) the samples of one of them."""
        ...

    def has_audio(self, utterance: Utterance) -> bool:
        """Whether its audio is where it should be, as far as can be said without opening it."""
        ...


class Files:
    """A manifest whose audio lies in files."""

    def __init__(self, utterances: Sequence[Utterance], sample_rate: int) -> None:
        self.utterances = utterances
        self.decode = partial(decode_utterance, sample_rate=sample_rate)

    def has_audio(self, utterance: Utterance) -> bool:
        """Whether there is such a file."""
        return is_file(utterance.audio_filepath)


class Corpus(Sequence[Utterance]):
    """Utterances of one or several sources, in order, with normalised texts. Threads may read at once.

    Attributes:
        addresses, checksums: of the manifests and shard sets; SHA-256 of the manifests.
        durations: (N,) seconds.
    """

    def __init__(
        self,
        sources: Sequence[Source],
        addresses: Sequence[str],
        checksums: Sequence[str],
        case: Case,
        rows: NDArray[np.int32] | None = None,
        durations: NDArray[np.float64] | None = None,
    ) -> None:
        self.addresses = tuple(addresses)
        self.checksums = tuple(checksums)
        self._sources = tuple(sources)
        self._starts = [0, *accumulate(len(source.utterances) for source in sources)]
        self._case = case
        self._rows = rows  # which utterances these are; None: all
        self.durations = _joined_durations(sources) if durations is None else durations
        self._recent = lru_cache(RECENT)(self._read)

    @classmethod
    def open(
        cls, addresses: Sequence[str], sample_rate: int, case: Case = "keep", *, show_progress: bool = False
    ) -> Corpus:
        """Open manifests, folders of shards, and shard sets at addresses such as s3://bucket/shards.

        Raises:
            ManifestError: a manifest is not there, a line is malformed, or an id occurs twice in it; no utterances.
            CorpusError: a shard set cannot be opened.
            OutputError: an index cannot be written.
        """
        manifests = [locate_manifest(address) for address in addresses]
        indexed = any(map(is_shard_set, addresses)) or sum(path.stat().st_size for path in manifests) > INDEXED_BYTES
        sources: list[Source] = []
        for address, manifest in zip(addresses, manifests):
            if is_shard_set(address):
                sources.append(ShardSet.open(address, sample_rate, show_progress=show_progress))
            elif indexed:
                sources.append(Files(ManifestIndex.open(manifest, show_progress=show_progress), sample_rate))
            else:
                sources.append(Files(read_manifest(manifest), sample_rate))
        if not sum(len(source.utterances) for source in sources):
            raise ManifestError(f"expected utterances in {', '.join(addresses)}, found none")
        checksums = [_checksum(source.utterances, path) for source, path in zip(sources, manifests)]
        return cls(sources, addresses, checksums, case)

    def select(self, rows: NDArray[np.int32], durations: NDArray[np.float64]) -> Corpus:
        """Some utterances of a whole corpus, by index, as a corpus; their durations with them."""
        return Corpus(self._sources, self.addresses, self.checksums, self._case, rows, durations)

    def __len__(self) -> int:
        return len(self.durations)

    @overload
    def __getitem__(self, index: int) -> Utterance: ...
    @overload
    def __getitem__(self, index: slice) -> list[Utterance]: ...
    def __getitem__(self, index: int | slice) -> Utterance | list[Utterance]:
        """Read one utterance, or those of a slice."""
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        if not -len(self) <= index < len(self):
            raise IndexError(f"expected an index below {len(self)}, got {index}")
        return self._recent(index % len(self))[1]

    def decode(self, index: int) -> NDArray[np.int16]:
        """(N,) the samples of an utterance. Raises `AudioError` when there is no usable audio."""
        source, utterance = self._recent(index)
        return source.decode(utterance)

    def part_of(self, index: int) -> int:
        """The place among the addresses of the one that an utterance comes from."""
        row = index if self._rows is None else int(self._rows[index])
        return bisect_right(self._starts, row) - 1

    def has_audio(self, index: int) -> bool:
        """Whether its file, or its shard, is there."""
        source, utterance = self._recent(index)
        return source.has_audio(utterance)

    def refuse_repeats(self) -> None:
        """Raise `ManifestError` for an id that occurs in two of the manifests; `open` looks at each by itself."""
        parts = [source.utterances for source in self._sources]
        if len(parts) == 1:
            return
        if all(isinstance(part, ManifestIndex) for part in parts):
            ManifestIndex([of for part in parts for of in part.parts]).refuse_repeats()  # type: ignore[attr-defined]
            return
        counts = Counter(utterance.id for part in parts for utterance in part)
        repeated, times = counts.most_common(1)[0]
        if times > 1:
            raise ManifestError(f"the id {repeated!r} occurs more than once in {', '.join(self.addresses)}")

    def _read(self, index: int) -> tuple[Source, Utterance]:
        row = index if self._rows is None else int(self._rows[index])
        number = self.part_of(index)
        source = self._sources[number]
        utterance = source.utterances[row - self._starts[number]]
        text = normalize(utterance.text, self._case)
        return source, utterance if text == utterance.text else replace(utterance, text=text)


def is_shard_set(address: str) -> bool:
    """Whether an entry of `data.train` is a shard set: a folder, or an address with a protocol."""
    return "://" in address or Path(address).is_dir()


def locate_manifest(address: str) -> Path:
    """The manifest at an address: itself, or that of a shard set, which is copied here from another machine.

    Raises `ManifestError` or `CorpusError` when there is none.
    """
    if is_shard_set(address):
        return manifest_of(address)
    if not is_file(address):
        raise ManifestError(
            f"expected a manifest, or a folder of shards, at {address}, found none; `asr prepare` makes the manifests "
            "of a recipe, `asr data shard` makes shards"
        )
    return Path(address)


def checksum(address: str, *, show_progress: bool = False) -> str:
    """The SHA-256 of the manifest at an address; that of a large one is kept in its index.

    The index is believed as long as the manifest has the size, the time of change and the ends that it had.
    """
    manifest = locate_manifest(address)
    is_large = manifest.stat().st_size > INDEXED_BYTES
    return _checksum(ManifestIndex.open(manifest, show_progress=show_progress) if is_large else (), manifest)


def _checksum(utterances: Sequence[Utterance], manifest: Path) -> str:
    return utterances.checksums[0] if isinstance(utterances, ManifestIndex) else sha256(manifest)


def _joined_durations(sources: Sequence[Source]) -> NDArray[np.float64]:
    durations = [_durations(source.utterances) for source in sources]
    return durations[0] if len(durations) == 1 else np.concatenate(durations)


def _durations(utterances: Sequence[Utterance]) -> NDArray[np.float64]:
    if isinstance(utterances, ManifestIndex):
        return utterances.durations
    return np.array([utterance.duration for utterance in utterances], dtype=np.float64)
