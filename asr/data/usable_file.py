"""The file of a run that says what of its corpora can be used.

A run that goes on reads it, so that it knows its utterances at once, however many there are, and so that they are the
same, whatever became of the audio meanwhile.
"""

from __future__ import annotations

import json
import logging
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from asr.data.usable import Usable
from asr.files import replacing

FORMAT = "asr-usable-2"
ARRAYS = ("rows", "durations", "num_labels")

logger = logging.getLogger(__name__)


def write_usable(path: Path, sets: Mapping[str, Usable], key: str) -> None:
    """Write what was found of several corpora; `key` says of which, and what was required of them."""
    tensors = {f"{name}.{part}": getattr(found, part) for name, found in sets.items() for part in ARRAYS}
    counts = {
        name: {
            "label_counts": list(found.label_counts.items()),  # JSON's keys are strings
            "drop_counts": dict(found.drop_counts),
            "first_drops": found.first_drops,
            "no_target_counts": dict(found.no_target_counts),
            "first_without": found.first_without,
            "dropped_files": dict(found.dropped_files),
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
        counts["no_target_counts"],
        tuple((id, message) for id, message in counts["first_without"]),
        {path: None if state is None else (state[0], state[1]) for path, state in counts["dropped_files"].items()},
    )


def _crc32(tensors: Mapping[str, NDArray[Any]]) -> str:
    """Of all values together, in the order of their names."""
    checksum = 0
    for name in sorted(tensors):
        checksum = zlib.crc32(np.ascontiguousarray(tensors[name]).data, checksum)
    return str(checksum)
