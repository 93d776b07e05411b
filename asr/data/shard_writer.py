"""Writing shard sets (asr/data/shards.py): shard after shard, whole or not at all, going on where it was stopped.

A shard is finished when its own manifest, `shard-000000.jsonl`, is there; the set, when `manifest.jsonl` is. What is
written is a function of the utterances and the limits, to the byte.
"""

from __future__ import annotations

import io
import json
import shutil
import tarfile
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np

from asr.audio import AUDIO_SUFFIXES, SLACK_SECONDS, probe, read_audio, write_audio
from asr.data.ahead import map_ahead, num_usable_cores
from asr.data.manifest import read_manifest
from asr.data.shards import MANIFEST, SHARD, list_shard
from asr.errors import AudioError, CorpusError
from asr.files import replacing, write_json_lines
from asr.progress import track
from asr.types import Utterance

SHARD_LISTS = "shard-*.jsonl"  # the manifests of finished shards


@dataclass(frozen=True, slots=True)
class ShardLimits:
    """When a shard is full: what comes first."""

    max_bytes: int
    max_utterances: int


def write_shards(
    directory: str | Path, utterances: Sequence[Utterance], limits: ShardLimits, *, show_progress: bool = False
) -> Path:
    """Write utterances with their audio as a shard set; returns its manifest.

    A file that one utterance covers is copied as it is. A stretch of a file is cut out and written as FLAC: mono, 16
    bits, at the file's own rate. Finished shards of the same utterances are kept.

    Raises:
        CorpusError: `directory` holds shards of other utterances.
        AudioError: audio cannot be read; what is finished stays.
        OutputError: a shard cannot be written.
    """
    directory = Path(directory)
    shards = _finished(directory, utterances)
    num_done = sum(shards.values())
    if num_done < len(utterances) or not shards:
        waiting = map_ahead(_example, utterances[num_done:], num_usable_cores())
        bar = track(waiting, "writing shards", total=len(utterances) - num_done, shown=show_progress)
        for path, examples in zip(_paths(directory, len(shards)), _full_shards(iter(bar), limits)):
            shards[path] = _write_shard(path, examples)
    return _join(directory / MANIFEST, [path.with_suffix(".jsonl") for path in shards])


def index_shards(directory: str | Path, *, show_progress: bool = False) -> Path:
    """Write the manifest of shards that another program wrote, all `*.tar` in a folder; returns it.

    Raises `CorpusError` as `list_shard`, and where there are none; `OutputError` when it cannot be written. Whether
    ids are unique is seen when the set is opened.
    """
    directory = Path(directory)
    tars = sorted(directory.glob("*.tar"))
    if not tars:
        raise CorpusError(f"expected tar files in {directory}, found none")
    rows = (row for tar in track(tars, "indexing shards", shown=show_progress) for row in _rows(tar))
    write_json_lines(directory / MANIFEST, rows)
    return directory / MANIFEST


def _paths(directory: Path, first: int) -> Iterator[Path]:
    return (directory / f"shard-{number:06d}.tar" for number in count(first))


def _rows(tar: Path) -> list[dict[str, Any]]:
    with tar.open("rb") as file:
        return list(list_shard(file, tar.name))


def _finished(directory: Path, utterances: Sequence[Utterance]) -> dict[Path, int]:
    """The finished shards and how many utterances each holds; they must be the first of `utterances`."""
    shards: dict[Path, int] = {}
    first = 0
    for tar in _paths(directory, 0):
        rows = tar.with_suffix(".jsonl")
        if not (tar.is_file() and rows.is_file()):
            return shards
        held = read_manifest(rows)
        for position, utterance in enumerate(held, start=first):
            if position >= len(utterances) or _fields(utterance) != _fields(utterances[position]):
                raise CorpusError(
                    f"{directory} holds shards of other utterances: expected "
                    f"{utterances[position].id if position < len(utterances) else 'none more'}, got {utterance.id} in "
                    f"{tar.name}; choose another folder, or remove this one"
                )
        shards[tar] = len(held)
        first += len(held)
    raise AssertionError("paths have no end")


@dataclass(frozen=True, slots=True)
class _Example:
    """What goes into a shard for one utterance: two members."""

    key: str
    suffix: str  # ".flac"
    audio: bytes
    fields: bytes  # JSON

    @property
    def num_bytes(self) -> int:
        """What it takes in a tar."""
        padded = sum(-len(data) % tarfile.BLOCKSIZE + len(data) for data in (self.audio, self.fields))
        return padded + 2 * tarfile.BLOCKSIZE


def _full_shards(examples: Iterator[_Example], limits: ShardLimits) -> Iterator[Iterator[_Example]]:
    """Cut a sequence into shards. Each must be used up before the next is asked for; there is at least one."""
    waiting: list[_Example | None] = [next(examples, None)]

    def shard() -> Iterator[_Example]:
        num_bytes, num_utterances = 0, 0
        while (example := waiting[0]) is not None:
            num_bytes, num_utterances = num_bytes + example.num_bytes, num_utterances + 1
            if num_utterances > 1 and (num_bytes > limits.max_bytes or num_utterances > limits.max_utterances):
                return
            waiting[0] = next(examples, None)
            yield example

    yield shard()
    while waiting[0] is not None:
        yield shard()


def _write_shard(path: Path, examples: Iterator[_Example]) -> int:
    """Write a shard and then its manifest; returns how many utterances it holds."""
    with replacing(path) as temporary, tarfile.open(temporary, "w", format=tarfile.PAX_FORMAT) as archive:
        for example in examples:
            for suffix, data in ((example.suffix, example.audio), (".json", example.fields)):
                member = tarfile.TarInfo(example.key + suffix)  # of no owner and no time: the same bytes again
                member.size = len(data)
                archive.addfile(member, io.BytesIO(data))
    rows = _rows(path)  # reading what was written finds where members lie, and that it can be read
    write_json_lines(path.with_suffix(".jsonl"), rows)
    return len(rows)


def _join(manifest: Path, parts: Sequence[Path]) -> Path:
    with replacing(manifest) as temporary, temporary.open("wb") as file:
        for part in parts:
            with part.open("rb") as rows:
                shutil.copyfileobj(rows, file)
    return manifest


def _example(utterance: Utterance) -> _Example:
    # WebDataset ends a key at its first point, and a slash makes a folder.
    key = quote(utterance.id, safe="").replace(".", "%2E")
    fields = json.dumps(_fields(utterance), ensure_ascii=False).encode("utf-8")
    path = Path(utterance.audio_filepath)
    info = probe(path)
    duration = (
        read_audio(path, info.sample_rate).duration if info.num_samples is None else info.num_samples / info.sample_rate
    )
    if utterance.offset == 0 and abs(duration - utterance.duration) <= SLACK_SECONDS:
        suffix = path.suffix.lower() if path.suffix.lower() in AUDIO_SUFFIXES else f".{info.container.lower()}"
        return _Example(key, suffix, _read(path), fields)
    return _Example(key, ".flac", _cut(utterance, info.sample_rate), fields)


def _fields(utterance: Utterance) -> dict[str, Any]:
    """What is said of an utterance in its shard: all but where its audio lies."""
    fields: dict[str, Any] = {"id": utterance.id, "duration": utterance.duration, "text": utterance.text}
    fields |= {name: value for name in ("speaker", "lang") if (value := getattr(utterance, name)) is not None}
    return fields | {name: value for name, value in utterance.extra.items() if name != SHARD}


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise AudioError(f"{path}: cannot be read: {error.strerror}") from error


def _cut(utterance: Utterance, sample_rate: int) -> bytes:
    """A stretch of a recording as FLAC."""
    audio = read_audio(utterance.audio_filepath, sample_rate, offset=utterance.offset, duration=utterance.duration)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "cut.flac"
        write_audio(path, np.clip(audio.waveform, -1.0, 1.0), sample_rate)  # lossy codecs overshoot
        return path.read_bytes()
