"""The file of an `NgramModel`: one safetensors file, read as views of a memory map and not copied.

Metadata: `format`, its `version`, and the `counts` of n-grams of each order. Tensors: the arrays of the model, and the
vocabulary as UTF-8 (`vocab_bytes`) with the place where each word begins, and where the last ends (`vocab_offsets`).
"""

from __future__ import annotations

import json
import mmap
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from asr.errors import LanguageModelError
from asr.files import replacing

FORMAT, VERSION = "asr-ngram", "1"
DTYPES = {
    "words": "I32",
    "log_probs": "F32",
    "suffixes": "I32",
    "backoffs": "F32",
    "first_child": "I32",
    "vocab_bytes": "U8",
    "vocab_offsets": "I64",
}
NUMPY_DTYPES = {"I32": np.int32, "F32": np.float32, "U8": np.uint8, "I64": np.int64}
LENGTH_BYTES = 8  # of the header's length, before the header
MAX_HEADER_BYTES = 1 << 16  # ours has about 1,000


@dataclass(frozen=True, slots=True)
class ModelFile:
    """What a file holds: right in form, not yet in meaning."""

    counts: tuple[int, ...]
    vocab: tuple[str, ...]
    arrays: Mapping[str, NDArray[Any]]  # the five of the model


def is_model_file(path: Path) -> bool:
    """Whether a file begins like safetensors: a length below 2³², which text cannot be, and a JSON object."""
    with path.open("rb") as file:
        start = file.read(LENGTH_BYTES + 1)
    return start[4:] == b"\0\0\0\0{"


def write_model_file(path: str | Path, file: ModelFile) -> None:
    """Write the file, whole or not at all."""
    from safetensors.numpy import save_file

    words = [word.encode("utf-8") for word in file.vocab]
    tensors = {
        **{name: np.ascontiguousarray(array) for name, array in file.arrays.items()},
        "vocab_bytes": np.frombuffer(b"".join(words), dtype=np.uint8),
        "vocab_offsets": np.cumsum([0, *map(len, words)], dtype=np.int64),
    }
    metadata = {"format": FORMAT, "version": VERSION, "counts": json.dumps(file.counts)}
    with replacing(path) as temporary:
        save_file(tensors, temporary, metadata=metadata)


def read_model_file(path: str | Path) -> ModelFile:
    """Map a file into memory; what is read of it are the header and the vocabulary.

    Raises:
        LanguageModelError: the file cannot be read, is no such file, of another version, or its parts do not fit.
    """
    if sys.byteorder != "little":
        raise LanguageModelError("compiled language models need a little-endian machine; read the ARPA file instead")
    try:
        with Path(path).open("rb") as file:
            view = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
    except (OSError, ValueError) as error:  # ValueError: an empty file
        raise LanguageModelError(f"{path}: cannot read the language model: {error}") from error
    try:
        return _parse(view)
    except _ForeignFileError as error:
        raise LanguageModelError(f"{path}: {error}") from error
    except LanguageModelError as error:
        raise LanguageModelError(f"{path}: {error}; compile the model again") from error


class _ForeignFileError(LanguageModelError):
    """A safetensors file of another kind, which compiling again would not change."""


def _parse(view: memoryview) -> ModelFile:
    header_bytes = int.from_bytes(view[:LENGTH_BYTES], "little")
    if len(view) < LENGTH_BYTES or header_bytes > min(MAX_HEADER_BYTES, len(view) - LENGTH_BYTES):
        raise LanguageModelError("expected a compiled language model, got a file without its header")
    start = LENGTH_BYTES + header_bytes
    try:
        header = json.loads(bytes(view[LENGTH_BYTES:start]).decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise LanguageModelError(f"header: expected JSON, got {error}") from error
    counts = _parse_metadata(header)
    arrays = _parse_tensors(header, view[start:], aligned=start % LENGTH_BYTES == 0)
    vocab = _parse_vocab(arrays.pop("vocab_bytes"), arrays.pop("vocab_offsets"))
    return ModelFile(counts, vocab, arrays)


def _parse_metadata(header: object) -> tuple[int, ...]:
    """The counts, after removing the metadata from `header`."""
    metadata = header.pop("__metadata__", None) if isinstance(header, dict) else None
    if not isinstance(metadata, dict) or metadata.get("format") != FORMAT:
        raise _ForeignFileError(
            "expected an n-gram model that `asr lm compile` or `asr lm train` wrote, got another safetensors file, "
            "such as the weights of a network"
        )
    if metadata.get("version") != VERSION:
        raise LanguageModelError(
            f"expected a compiled model of version {VERSION}, got version {metadata.get('version')!r}, which another "
            "version of asr wrote"
        )
    try:
        counts = json.loads(metadata["counts"])
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        raise LanguageModelError("counts: expected a JSON list") from error
    if not isinstance(counts, list) or not counts or not all(type(count) is int and count >= 0 for count in counts):
        raise LanguageModelError(f"counts: expected the number of n-grams of each order, got {counts!r}")
    return tuple(counts)


def _parse_tensors(header: dict[str, Any], data: memoryview, *, aligned: bool) -> dict[str, NDArray[Any]]:
    """Views of `data`. Each is checked to lie inside and to be aligned, as compiled loops ask no questions."""
    if set(header) != set(DTYPES):
        raise LanguageModelError(f"expected the tensors {', '.join(DTYPES)}, got {', '.join(map(repr, header))}")
    arrays = {}
    for name, dtype in DTYPES.items():
        match header[name]:
            case {"dtype": found, "shape": [int(length)], "data_offsets": [int(begin), int(end)]} if found == dtype:
                pass
            case other:
                raise LanguageModelError(f"{name}: expected a vector of {dtype} and its place, got {other!r}")
        item_bytes = np.dtype(NUMPY_DTYPES[dtype]).itemsize
        if not (0 <= begin <= end <= len(data) and end - begin == length * item_bytes):
            raise LanguageModelError(
                f"{name}: expected {length} × {item_bytes} bytes inside the file's {len(data)} bytes of data, "
                f"got bytes {begin} to {end}; the file is cut short or damaged"
            )
        if not aligned or begin % item_bytes:
            raise LanguageModelError(f"{name}: expected a place that is a multiple of {item_bytes}, got {begin}")
        arrays[name] = np.frombuffer(data[begin:end], dtype=NUMPY_DTYPES[dtype])
    return arrays


def _parse_vocab(blob: NDArray[np.uint8], offsets: NDArray[np.int64]) -> tuple[str, ...]:
    if len(offsets) < 2 or offsets[0] != 0 or offsets[-1] != len(blob) or (offsets[1:] <= offsets[:-1]).any():
        raise LanguageModelError("vocab_offsets: expected increasing places from the first to the last of vocab_bytes")
    text, places = blob.tobytes(), offsets.tolist()
    try:
        return tuple([text[start:end].decode("utf-8") for start, end in pairwise(places)])
    except UnicodeDecodeError as error:
        raise LanguageModelError(f"vocab_bytes: expected words in UTF-8, got {error}") from error
