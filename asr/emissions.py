"""Log-probabilities of a set in one file: the model runs once, and decoders are tried on what it said.

The file is NumPy's npz without pickles:

ids            (N,) text
lengths        (N,) int64, frames of each utterance
log_probs      (sum of lengths, V) float16, one utterance after another
tokens         (V,) text: the tokenizer's surfaces, with `_` for the blank, which comes first
texts          (N,) text: the references, normalised

and, where known, `frame_seconds` (a float), `durations` (N,), `speakers` (N,) with empty text for unknown ones, and
`source`, the name of the manifest.
"""

from __future__ import annotations

import zipfile
import zlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from asr.errors import ModelError
from asr.files import replacing
from asr.text.tokens import Tokenizer
from asr.types import Seconds, Utterance

BLANK_SPELLING = "_"
# of a frame's probabilities around 1: rounding to float16 moves it by 0.002, logits instead of log-probs by far more
SUM_TOLERANCE = 0.02
FRAMES_AT_ONCE = 65536  # checked together: memory for some hundred MB at most
# name -> kind and number of dimensions
_NEEDED = {"ids": ("U", 1), "lengths": ("i", 1), "log_probs": ("f", 2), "tokens": ("U", 1), "texts": ("U", 1)}
_OPTIONAL = {"frame_seconds": ("f", 0), "durations": ("f", 1), "speakers": ("U", 1), "source": ("U", 0)}
_KINDS = {"U": "text", "i": "integers", "f": "floats"}


@dataclass(frozen=True, slots=True)
class EmissionBatch:
    """Padded log-probabilities of some utterances. Nothing past a length may reach a result."""

    ids: tuple[str, ...]
    log_probs: Tensor  # (B, T, V) float32
    lengths: Tensor  # (B,) int64, frames

    def cpu(self) -> EmissionBatch:
        """The batch in the processor's memory."""
        return EmissionBatch(self.ids, self.log_probs.cpu(), self.lengths.cpu())

    def rows(self) -> dict[str, NDArray[np.float16]]:
        """The (T, V) log-probabilities of each utterance without padding, as a file holds them."""
        numbers = self.log_probs.to("cpu", torch.float16).numpy()
        return {id: numbers[row, :length].copy() for row, (id, length) in enumerate(zip(self.ids, self.lengths))}


@dataclass(frozen=True, slots=True, eq=False)
class EmissionTable:
    """What a model said of a set, with the references. Checked when made; raises `ModelError`, naming the utterance."""

    ids: tuple[str, ...]
    lengths: NDArray[np.int64]  # (N,) frames
    log_probs: NDArray[np.float16]  # (sum of lengths, V)
    tokens: tuple[str, ...]  # of the V columns, the blank spelt `_`
    texts: tuple[str, ...]
    frame_seconds: Seconds | None = None
    durations: NDArray[np.float64] | None = None  # (N,) seconds
    speakers: tuple[str, ...] | None = None  # empty where unknown
    source: str = ""

    def __post_init__(self) -> None:
        _check_sizes(self)
        _check_numbers(self)

    @property
    def references(self) -> dict[str, str]:
        """Utterance id -> text."""
        return dict(zip(self.ids, self.texts))

    def batches(self, max_frames: int) -> Iterator[EmissionBatch]:
        """Batches of like length, longest first, of at most `max_frames` with padding (one utterance at least)."""
        starts = np.cumsum(self.lengths) - self.lengths
        order = np.argsort(-self.lengths, kind="stable").tolist()
        while order:
            longest = int(self.lengths[order[0]])
            number = max(1, max_frames // max(1, longest))
            chosen, order = order[:number], order[number:]
            padded = torch.zeros(len(chosen), longest, len(self.tokens))
            for row, index in enumerate(chosen):
                start, length = int(starts[index]), int(self.lengths[index])
                padded[row, :length] = torch.from_numpy(self.log_probs[start : start + length])
            lengths = torch.from_numpy(self.lengths[chosen])
            yield EmissionBatch(tuple(self.ids[index] for index in chosen), padded, lengths)

    def check_tokens(self, tokenizer: Tokenizer) -> None:
        """Raise `ModelError` unless the columns are the tokens of `tokenizer`."""
        expected = token_spellings(tokenizer)
        if self.tokens != expected:
            differing = next((p for p in enumerate(zip(expected, self.tokens)) if p[1][0] != p[1][1]), None)
            what = f"{len(expected)} tokens, got {len(self.tokens)}"
            if differing is not None:
                column, (ours, theirs) = differing
                what = f"{ours!r} in column {column}, got {theirs!r}"
            raise ModelError(f"the log-probabilities belong to another model: expected {what}; save them from this one")


def token_spellings(tokenizer: Tokenizer) -> tuple[str, ...]:
    """The names of the columns: what each token adds to the text, and `_` for the blank."""
    return (BLANK_SPELLING, *tokenizer.surfaces[1:])


def emission_table(
    rows: Mapping[str, NDArray[np.float16]],
    utterances: Sequence[Utterance],
    tokenizer: Tokenizer,
    frame_seconds: Seconds,
    source: str = "",
) -> EmissionTable:
    """Put `EmissionBatch.rows` of a whole set together, in the order of `utterances`, whose texts are normalised."""
    return EmissionTable(
        ids=tuple(u.id for u in utterances),
        lengths=np.array([len(rows[u.id]) for u in utterances], dtype=np.int64),
        log_probs=np.concatenate([np.zeros((0, tokenizer.vocab_size), np.float16), *(rows[u.id] for u in utterances)]),
        tokens=token_spellings(tokenizer),
        texts=tuple(u.text for u in utterances),
        frame_seconds=frame_seconds,
        durations=np.array([u.duration for u in utterances]),
        speakers=tuple(u.speaker or "" for u in utterances),
        source=source,
    )


def save_emissions(path: str | Path, table: EmissionTable) -> None:
    """Write the table, whole or not at all."""
    values: dict[str, Any] = {name: getattr(table, name) for name in (*_NEEDED, *_OPTIONAL)}
    known = {name: np.asarray(value) for name, value in values.items() if value is not None}
    with replacing(path) as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, allow_pickle=False, **known)


def load_emissions(path: str | Path) -> EmissionTable:
    """Read a table; nothing in the file is executed. Raises `ModelError`, naming the file and what is wrong in it."""
    arrays = _read_arrays(path)
    for name, (kind, dimensions) in {**_NEEDED, **_OPTIONAL}.items():
        if name not in arrays:
            if name in _NEEDED:
                raise ModelError(
                    f"{path}: expected an array {name!r}, found only {', '.join(sorted(arrays)) or 'none'}"
                )
            continue
        array = arrays[name]
        if array.dtype.kind != kind or array.ndim != dimensions:
            raise ModelError(
                f"{path}: {name}: expected {_KINDS[kind]} in {dimensions} dimensions, got {array.dtype} in {array.ndim}"
            )
    try:
        return _table(arrays)
    except ModelError as error:
        raise ModelError(f"{path}: {error}") from error


def _read_arrays(path: str | Path) -> dict[str, NDArray[Any]]:
    try:
        with Path(path).open("rb") as file:
            archive = np.load(file, allow_pickle=False)
            if not isinstance(archive, np.lib.npyio.NpzFile):
                raise ModelError(f"{path}: expected an npz of log-probabilities, got a single array")
            return {name: archive[name] for name in archive.files}
    except FileNotFoundError as error:
        raise ModelError(
            f"expected log-probabilities at {path}, found no file; `asr evaluate --save-log-probs` writes them"
        ) from error
    except (OSError, ValueError, EOFError, MemoryError, zipfile.BadZipFile, zlib.error) as error:
        raise ModelError(f"{path}: expected an npz of log-probabilities, whole and without pickles: {error}") from error


def _table(arrays: Mapping[str, NDArray[Any]]) -> EmissionTable:
    def texts(name: str) -> tuple[str, ...]:
        return tuple(arrays[name].tolist())

    return EmissionTable(
        ids=texts("ids"),
        lengths=arrays["lengths"].astype(np.int64),
        log_probs=arrays["log_probs"].astype(np.float16, copy=False),
        tokens=texts("tokens"),
        texts=texts("texts"),
        frame_seconds=float(arrays["frame_seconds"]) if "frame_seconds" in arrays else None,
        durations=arrays["durations"].astype(np.float64) if "durations" in arrays else None,
        speakers=texts("speakers") if "speakers" in arrays else None,
        source=str(arrays["source"]) if "source" in arrays else "",
    )


def _check_sizes(table: EmissionTable) -> None:
    number = len(table.ids)
    if number == 0:
        raise ModelError("expected log-probabilities of at least one utterance, got none")
    repeated = [id for id, count in Counter(table.ids).items() if count > 1]
    if repeated:
        raise ModelError(f"ids: expected different ones, got {repeated[0]!r} more than once")
    for name in ("lengths", "texts", "durations", "speakers"):
        column = getattr(table, name)
        if column is not None and len(column) != number:
            raise ModelError(f"{name}: expected {number}, one for each id, got {len(column)}")
    if table.lengths.min() < 0 or table.lengths.sum() != len(table.log_probs):
        raise ModelError(
            f"lengths: expected them to add up to the {len(table.log_probs)} rows of log_probs, "
            f"got {table.lengths.sum()}, the shortest {table.lengths.min()}"
        )
    if table.log_probs.shape[1:] != (len(table.tokens),) or len(set(table.tokens)) < len(table.tokens):
        raise ModelError(
            f"log_probs: expected a column for each of {len(set(table.tokens))} different tokens, "
            f"got {table.log_probs.shape[1]}"
        )
    if table.tokens[:1] != (BLANK_SPELLING,):
        raise ModelError(f"tokens: expected the blank, {BLANK_SPELLING!r}, first, got {table.tokens[:1]}")
    if table.frame_seconds is not None and not 0.0 < table.frame_seconds < 1.0:
        raise ModelError(f"frame_seconds: expected between 0 and 1, got {table.frame_seconds}")


def _check_numbers(table: EmissionTable) -> None:
    for start in range(0, len(table.log_probs), FRAMES_AT_ONCE):
        numbers = table.log_probs[start : start + FRAMES_AT_ONCE].astype(np.float32)
        with np.errstate(over="ignore", invalid="ignore"):
            sums = np.exp(numbers).sum(axis=1)
        wrong = ~(np.abs(sums - 1.0) <= SUM_TOLERANCE)  # NaN is wrong too
        if wrong.any():
            frame = start + int(wrong.argmax())
            index = int(np.searchsorted(np.cumsum(table.lengths), frame, side="right"))
            raise ModelError(
                f"{table.ids[index]}, frame {frame - int(table.lengths[:index].sum())}: expected log-probabilities, "
                f"whose exponentials sum to 1, got {_describe(table.log_probs[frame])}"
            )


def _describe(frame: NDArray[np.float16]) -> str:
    if np.isnan(frame).any():
        return "NaN; is the model's training sound?"
    if np.isposinf(frame).any():
        return "+inf; is the model's training sound?"
    return f"a sum of {np.exp(frame.astype(np.float64)).sum():.4g}; are these logits?"
