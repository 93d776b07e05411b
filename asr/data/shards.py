"""Speech in tar files, the WebDataset layout, read at any place from a disk or any address that fsspec knows.

    shard-000000.tar     84-0001.flac, 84-0001.json, 84-0002.flac, 84-0002.json, …
    manifest.jsonl       a line for each utterance, with where its audio lies:
        {"id": "84-0001", "audio_filepath": "shard-000000.tar/84-0001.flac", "duration": 4.2, "text": "go on",
         "shard": {"tar": "shard-000000.tar", "start": 512, "bytes": 71203}}

Because the manifest says where everything lies, batches are planned by length over the whole set, in any order, and a
run goes on anywhere at once. Libraries for WebDataset read shards from beginning to end: they shuffle in a buffer,
cannot sort by length, and read on to find their place. Here tarfile lists a shard, once, and a member is read alone by
its range of bytes, beginning with its header, which tarfile checks.

That costs one ranged request an utterance. A disk serves them as fast as it opens files. An object store takes some
tens of milliseconds for each, and a worker asks for one after another: with requests of 50 ms, 20 utterances a second
for each of `machine.num_workers`. Sets that fit `machine.cache_gib` are read once.
"""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from itertools import groupby
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO

import numpy as np
from fsspec import AbstractFileSystem
from fsspec.core import url_to_fs
from numpy.typing import NDArray

from asr.audio import AUDIO_SUFFIXES, probe, read_audio
from asr.data.archives import tar_refusal
from asr.data.audio_cache import decode, to_waveform
from asr.data.manifest import LineError, parse_line, to_utterance
from asr.data.manifest_index import ManifestIndex, cache_folder
from asr.errors import AsrError, AudioError, CorpusError
from asr.files import replacing
from asr.types import Utterance

MANIFEST = "manifest.jsonl"
SHARD = "shard"  # the field of a line that says where its audio lies
STATE_FIELDS = ("size", "ETag", "Content-MD5", "Digest", "Last-Modified")  # what fsspec may say of a remote file
PLACE_FIELDS = ("audio_filepath", "offset", SHARD)  # that a sidecar's fields do not become


@dataclass(frozen=True, slots=True)
class Place:
    """Where an utterance's audio lies in a shard set."""

    tar: str  # a file name
    start: int  # of the audio in the tar, bytes
    num_bytes: int

    @classmethod
    def of(cls, utterance: Utterance) -> Place:
        """The place that a manifest's line states; raises `CorpusError` when it states none."""
        match utterance.extra.get(SHARD):
            case {"tar": str(tar), "start": int(start), "bytes": int(num_bytes)} if (
                PurePosixPath(tar).name == tar and start >= tarfile.BLOCKSIZE and num_bytes >= 0
            ):
                return cls(tar, start, num_bytes)
            case other:
                raise CorpusError(
                    f"utterance {utterance.id}: expected the field {SHARD!r} with tar, start and bytes, got "
                    f"{json.dumps(other)[:80]}; `asr data shard --index` writes such a manifest"
                )

    def to_json(self) -> dict[str, Any]:
        """As it stands in a manifest."""
        return {"tar": self.tar, "start": self.start, "bytes": self.num_bytes}


class ShardSet:
    """The utterances of a shard set and their audio, by index: stands where an `AudioStore` does.

    Attributes:
        utterances: all of them; plan epochs over its `durations`.
        sample_rate: Hz of the waveforms.
    """

    def __init__(self, file_system: AbstractFileSystem, path: str, utterances: ManifestIndex, sample_rate: int) -> None:
        self.utterances = utterances
        self.sample_rate = sample_rate
        self._file_system, self._path = file_system, path
        self._has_tar = cache(self._look_for)

    @classmethod
    def open(cls, address: str | Path, sample_rate: int, *, show_progress: bool = False) -> ShardSet:
        """Open the folder at `address`, such as `data/shards` or `s3://bucket/shards`.

        The manifest of a folder that is not on this machine is copied into the user's cache folder.

        Raises:
            CorpusError: the address cannot be read, its protocol needs a package, or there is no manifest.
            ManifestError: the manifest is malformed.
        """
        utterances = ManifestIndex.open(manifest_of(address), show_progress=show_progress)
        return cls(*_connected(address), utterances, sample_rate)

    def __len__(self) -> int:
        return len(self.utterances)

    def waveform(self, index: int) -> NDArray[np.float32]:
        """(N,) float32 samples in [-1, 1], to the bit what an `AudioStore` gives for the file that was copied.

        Raises `AudioError` when the shard cannot be read, is not the manifest's, or holds no usable audio.
        """
        return to_waveform(self.decode(self.utterances[index]))

    def decode(self, utterance: Utterance) -> NDArray[np.int16]:
        """(N,) the samples of an utterance of the set; threads may do so at once. Raises as `waveform`."""
        return decode(self.source(utterance), self.sample_rate, 0.0, utterance.duration)

    def has_audio(self, utterance: Utterance) -> bool:
        """Whether the shard is there that the manifest names; raises `CorpusError` where it names none."""
        return self._has_tar(Place.of(utterance).tar)

    def _look_for(self, tar: str) -> bool:
        with _explaining(f"{self._path}/{tar}"):
            return bool(self._file_system.exists(f"{self._path}/{tar}"))

    def source(self, utterance: Utterance) -> BinaryIO:
        """The audio file of an utterance, in memory, for `read_audio`; raises as `waveform`."""
        place = Place.of(utterance)
        name = f"{self._path}/{place.tar}"
        try:
            data = self._file_system.cat_file(name, place.start - tarfile.BLOCKSIZE, place.start + place.num_bytes)
        except Exception as error:  # of whichever library speaks the protocol; aiohttp's are no OSErrors
            reason = (error.strerror if isinstance(error, OSError) else None) or error
            raise AudioError(f"{name}: cannot be read: {reason}") from error
        if len(data) > tarfile.BLOCKSIZE + place.num_bytes:
            raise AudioError(f"{name}: got all of it: expected a server that sends the bytes {place.start}… alone")
        _check_header(data, place, utterance)
        source = io.BytesIO(data[tarfile.BLOCKSIZE :])
        source.name = utterance.audio_filepath
        return source


def _check_header(data: bytes, place: Place, utterance: Utterance) -> None:
    """Raise `AudioError` unless `data` begins with the header of a regular file of this size and name, and is whole."""
    try:
        header = tarfile.TarInfo.frombuf(data[: tarfile.BLOCKSIZE], "utf-8", "surrogateescape")
        # Long names stand in a record before; here is their beginning.
        right = header.isreg() and header.size == place.num_bytes and len(data) == tarfile.BLOCKSIZE + header.size
        right = right and PurePosixPath(utterance.audio_filepath).name.startswith(PurePosixPath(header.name).name)
    except tarfile.HeaderError:
        right = False
    if not right:
        raise AudioError(
            f"{utterance.audio_filepath}: the shard is damaged or not the manifest's: expected a file of "
            f"{place.num_bytes} bytes at byte {place.start}; copy the set again, or index it anew"
        )


# ---------------------------------------------------------------------------------------------------- listing


def list_shard(file: BinaryIO, tar: str) -> Iterator[dict[str, Any]]:
    """A manifest line for each utterance in the open shard `tar`, its name. Members of one utterance stand together.

    Raises `CorpusError`: not a plain tar, one that is cut short, a member that is a link, a device, outside the folder
    or sparse; an utterance without audio, with two recordings, or without a `.json` or `.txt` that holds its text.
    """
    try:
        with tarfile.open(fileobj=file, mode="r:") as archive:
            entries = (entry for entry in _checked(archive, tar) if entry.isfile())
            for key, members in groupby(entries, lambda entry: _key(entry.name)):
                yield _to_row(archive, tar, key, list(members))
    except tarfile.TarError as error:
        raise CorpusError(f"{tar}: expected a whole, uncompressed tar, got: {error}") from error


def _checked(archive: tarfile.TarFile, tar: str) -> Iterator[tarfile.TarInfo]:
    for entry in archive:
        reason = "a sparse file" if entry.issparse() else tar_refusal(entry)
        if reason is not None:
            raise CorpusError(f"{tar}: refused: member {entry.name!r} is {reason}")
        yield entry


def _key(name: str) -> str:
    """What WebDataset groups members by: the name up to the first point behind the last slash."""
    folder, slash, base = name.rpartition("/")
    return folder + slash + base.partition(".")[0]


def _to_row(archive: tarfile.TarFile, tar: str, key: str, members: list[tarfile.TarInfo]) -> dict[str, Any]:
    where = f"{tar}: {key}"
    audio = [member for member in members if PurePosixPath(member.name).suffix.lower() in AUDIO_SUFFIXES]
    if len(audio) != 1:
        found = ", ".join(member.name for member in members)
        raise CorpusError(f"{where}: expected one audio file ({', '.join(sorted(AUDIO_SUFFIXES))}), got {found}")
    fields = _read_sidecar(archive, where, members)
    place = Place(tar, audio[0].offset_data, audio[0].size)
    if "duration" not in fields:
        fields["duration"] = _measure(archive, where, audio[0])
    row = {"id": fields.pop("id", key), "audio_filepath": f"{tar}/{audio[0].name}"}
    row |= {name: value for name, value in fields.items() if name not in PLACE_FIELDS}
    try:
        to_utterance(row, Path())  # what another program wrote can be read as a manifest's line
    except LineError as error:
        raise CorpusError(f"{where}: {error}") from error
    return row | {SHARD: place.to_json()}


def _read_sidecar(archive: tarfile.TarFile, where: str, members: list[tarfile.TarInfo]) -> dict[str, Any]:
    """What a `.json`, and a `.txt` besides, say of an utterance."""
    content = {
        PurePosixPath(member.name).suffix.lower(): _read(archive, member)
        for member in members[::-1]
        if PurePosixPath(member.name).suffix.lower() in (".json", ".txt")
    }
    try:
        fields = parse_line(content[".json"]) if ".json" in content else {}
        if ".txt" in content:
            fields.setdefault("text", content[".txt"].decode("utf-8").rstrip("\r\n"))
    except (LineError, UnicodeDecodeError) as error:
        raise CorpusError(f"{where}: {error}") from error
    if "text" not in fields:
        raise CorpusError(f"{where}: expected its text in a .json (as 'text') or a .txt beside the audio, found none")
    return fields


def _read(archive: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    file = archive.extractfile(member)
    assert file is not None, "links and folders were sorted out"
    return file.read()


def _measure(archive: tarfile.TarFile, where: str, member: tarfile.TarInfo) -> float:
    source = io.BytesIO(_read(archive, member))
    source.name = where
    info = probe(source)
    if info.num_samples is None:
        return read_audio(source, info.sample_rate).duration
    return info.num_samples / info.sample_rate


# ---------------------------------------------------------------------------------------------------- addresses


def manifest_of(address: str | Path) -> Path:
    """The manifest of the shard set at `address`; that of another machine's is copied here first.

    Raises `CorpusError` as `ShardSet.open`.
    """
    file_system, path = _connected(address)
    with _explaining(address):
        manifest = Path(path) / MANIFEST if _is_local(file_system) else _fetched(file_system, f"{path}/{MANIFEST}")
        if not manifest.is_file():
            raise CorpusError(
                f"expected {MANIFEST} in {address}, found none: `asr data shard` writes it last; run that to its "
                "end, or `asr data shard --index` over shards that another program wrote"
            )
        return manifest


def _connected(address: str | Path) -> tuple[AbstractFileSystem, str]:
    """The file system of an address, and the path there."""
    with _explaining(address):
        return url_to_fs(str(address))  # type: ignore[no-any-return]


def _is_local(file_system: AbstractFileSystem) -> bool:
    return "file" in ([file_system.protocol] if isinstance(file_system.protocol, str) else file_system.protocol)


def _fetched(file_system: AbstractFileSystem, path: str) -> Path:
    """A copy of a manifest in the cache folder, one for each state of it."""
    said = file_system.info(path)  # over HTTP, ukey knows nothing of a change
    state = f"{path} {[said.get(name) for name in STATE_FIELDS]} {file_system.ukey(path)}"
    local = cache_folder() / hashlib.sha256(state.encode()).hexdigest() / MANIFEST
    if not local.is_file():
        with replacing(local) as temporary:
            file_system.get_file(path, str(temporary))
    return local


@contextmanager
def _explaining(address: str | Path) -> Iterator[None]:
    """Turn what fsspec raises for an address into `CorpusError`."""
    try:
        yield
    except AsrError:
        raise
    except (OSError, ImportError, ValueError) as error:  # a package that is missing, an unknown protocol
        raise CorpusError(f"{address}: cannot be read as a shard set: {error}") from error
