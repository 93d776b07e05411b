"""What of a corpus can be trained on: found once, by the doctor's cheap part, and kept in a file of the run.

A run that goes on reads the file, so that it knows its utterances at once, however many there are, and so that they
are the same, whatever became of the audio meanwhile.
"""

from __future__ import annotations

import json
import logging
import math
import zlib
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from asr.data.corpus import Corpus
from asr.data.examination import Examination, Requirements
from asr.data.findings import Finding
from asr.files import replacing
from asr.progress import track
from asr.types import Seconds

FORMAT = "asr-usable-1"
ARRAYS = ("rows", "durations", "num_labels")
NAMED_DROPS = 5  # utterances that messages name

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Limits:
    """The durations that training was told to keep."""

    min_duration: Seconds = 0.0
    max_duration: Seconds = math.inf


@dataclass(frozen=True, slots=True)
class Usable:
    """Which utterances of a corpus can be trained on, and how many cannot, for what reason."""

    rows: NDArray[np.int32]  # (K,) indices of the usable ones, ascending
    durations: NDArray[np.float64]  # (K,) seconds
    num_labels: NDArray[np.int32]  # (K,) tokens of their targets
    label_counts: Mapping[int, int]  # token id -> how often it occurs in all of these targets
    drop_counts: Mapping[str, int]  # a finding's code -> how many were dropped for it
    first_drops: tuple[tuple[str, str], ...]  # id and message of the first that were dropped


def find_usable(
    corpus: Corpus,
    requirements: Requirements,
    limits: Limits,
    on_drop: Callable[[Finding], None],
    *,
    show_progress: bool = False,
) -> Usable:
    """Sort out what cannot be trained on, without opening audio; `on_drop` hears of each such utterance why.

    Durations are the manifest's. Takes a minute for some 700,000 utterances.
    """
    is_kept = np.zeros(len(corpus), dtype=bool)
    num_labels = np.zeros(len(corpus), dtype=np.int32)
    label_counts: Counter[int] = Counter()
    drop_counts: Counter[str] = Counter()
    first_drops: list[tuple[str, str]] = []
    for index in track(range(len(corpus)), "checking utterances", shown=show_progress):
        found = _look(corpus, index, requirements, limits)
        if isinstance(found, Finding):
            drop_counts[found.code] += 1
            if len(first_drops) < NAMED_DROPS:
                first_drops.append((found.utterance_id, found.message))
            on_drop(found)
        else:
            is_kept[index] = True
            num_labels[index] = len(found)
            label_counts.update(found)
    rows = np.flatnonzero(is_kept).astype(np.int32)
    durations, num_labels = corpus.durations[rows], num_labels[rows]
    return Usable(rows, durations, num_labels, label_counts, drop_counts, tuple(first_drops))


def _look(corpus: Corpus, index: int, requirements: Requirements, limits: Limits) -> tuple[int, ...] | Finding:
    """The target of an utterance, or the first thing that is wrong with it."""
    utterance = corpus[index]
    sick = Examination([utterance])
    shortest, longest = limits.min_duration, limits.max_duration
    if not corpus.has_audio(index):
        sick.add("missing-audio", 0, f"no such file: {utterance.audio_filepath}", drop=True)
    elif utterance.duration < shortest:
        sick.add("too-short", 0, f"{utterance.duration:g} s, expected at least {shortest:g} s", drop=True)
    elif utterance.duration > longest:
        sick.add("too-long", 0, f"{utterance.duration:g} s, expected at most {longest:g} s", drop=True)
    elif (target := sick.look_at_target(0, utterance, requirements)) is not None:
        return target
    return sick.findings[0]


def write_usable(path: Path, sets: Mapping[str, Usable], key: str) -> None:
    """Write what was found of several corpora; `key` says of which, and what was required of them."""
    tensors = {f"{name}.{part}": getattr(found, part) for name, found in sets.items() for part in ARRAYS}
    counts = {
        name: {
            "label_counts": list(found.label_counts.items()),  # JSON's keys are strings
            "drop_counts": dict(found.drop_counts),
            "first_drops": found.first_drops,
        }
        for name, found in sets.items()
    }
    metadata = {"format": FORMAT, "key": key, "crc32": _crc32(tensors), "counts": json.dumps(counts)}
    with replacing(path) as temporary:
        save_file(tensors, temporary, metadata)


def read_usable(path: Path, key: str) -> dict[str, Usable] | None:
    """What `write_usable` wrote; None where there is none, it is of something else, or it is damaged.

    Arrays are views of the file, so that of a large corpus only those parts come into memory that are looked at.
    """
    if not path.is_file():
        return None
    try:
        metadata, tensors = _mapped(path)
        if (metadata["format"], metadata["key"]) != (FORMAT, key):
            logger.warning("%s is of other data or requirements; it is made anew", path)
            return None
        if metadata["crc32"] != _crc32(tensors):
            raise ValueError("its checksum is wrong")
        _, tensors = _mapped(path)  # anew: all of the first view was looked at
        return {name: _usable(name, tensors, counts) for name, counts in json.loads(metadata["counts"]).items()}
    except (OSError, SafetensorError, ValueError, KeyError, TypeError) as error:
        logger.warning("%s is damaged (%s); it is made anew", path, error)
        return None


def _mapped(path: Path) -> tuple[dict[str, str], dict[str, NDArray[Any]]]:
    """Metadata and arrays; torch maps a file, where safetensors' numpy reader copies it."""
    with safe_open(path, framework="pt") as file:
        tensors = {name: file.get_tensor(name).numpy() for name in file.keys()}  # noqa: SIM118 - it is no mapping
        return file.metadata() or {}, tensors


def _usable(name: str, tensors: Mapping[str, NDArray[Any]], counts: Mapping[str, Any]) -> Usable:
    return Usable(
        tensors[f"{name}.rows"],
        tensors[f"{name}.durations"],
        tensors[f"{name}.num_labels"],
        dict(counts["label_counts"]),
        counts["drop_counts"],
        tuple((id, message) for id, message in counts["first_drops"]),
    )


def _crc32(tensors: Mapping[str, NDArray[Any]]) -> str:
    """Of all values together, in the order of their names."""
    checksum = 0
    for name in sorted(tensors):
        checksum = zlib.crc32(np.ascontiguousarray(tensors[name]).data, checksum)
    return str(checksum)
