"""Where tokens and words lie in the audio, and how sure the model is of them.

Forced alignment finds the likeliest path of frame labels that spells given tokens: the Viterbi algorithm on the
graph of Graves et al. 2006, in the compiled loops of asr/decoding/alignment_kernel.py. A decoder's hypothesis and a
transcript are aligned alike, so that times and confidences mean the same whatever found the words.

Nothing here lets torch compute: its threads meet at the end of each operation, and on a busy machine that is a wait of
milliseconds for work of microseconds.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from asr.ctc import BLANK, check_targets
from asr.decoding.alignment_kernel import IN_BLANK, best_path
from asr.errors import ConfigError, ModelError, TargetError
from asr.text.tokens import Tokenizer, TokenSpan
from asr.types import Seconds, Word

# Nats for each frame of a bridge, so that it takes blanks only between frames that are none.
BRIDGE_COST = 0.05


@dataclass(frozen=True, slots=True)
class TokenRuns:
    """The non-blank runs of a path: one entry for each token."""

    tokens: NDArray[np.int64]  # (U,)
    starts: NDArray[np.int64]  # (U,) first frame of each run
    ends: NDArray[np.int64]  # (U,) one past its last frame
    log_confidences: NDArray[np.float32]  # (U,) the highest log-probability inside each run


def token_runs(labels: NDArray[np.integer], log_confidences: NDArray[np.float32], blank_id: int = BLANK) -> TokenRuns:
    """Group a path, (T,) labels with their (T,) log-probabilities, into tokens."""
    if len(labels) == 0:
        nothing = np.zeros(0, dtype=np.int64)
        return TokenRuns(nothing, nothing, nothing, np.zeros(0, dtype=np.float32))
    starts = np.flatnonzero(np.concatenate(([True], labels[1:] != labels[:-1])))
    ends = np.append(starts[1:], len(labels))
    best = np.maximum.reduceat(log_confidences, starts)
    spoken = labels[starts] != blank_id
    return TokenRuns(labels[starts][spoken].astype(np.int64), starts[spoken], ends[spoken], best[spoken])


def check_temperature(temperature: float) -> float:
    """Return a confidence temperature, or raise `ConfigError` unless it is finite and above zero."""
    if not (math.isfinite(temperature) and temperature > 0):
        raise ConfigError(f"decoding.confidence_temperature: expected a number above 0, got {temperature}")
    return temperature


def tempered_log_probs(
    log_probs: NDArray[np.float32], labels: NDArray[np.integer], temperature: float
) -> NDArray[np.float32]:
    """Each frame's label under softmax(log_probs / temperature) (Guo et al. 2017, "On Calibration …").

    log_probs: (T, V); labels: (T,). Returns (T,) float32, zero at most.
    """
    scaled = log_probs / np.float32(temperature)
    scaled -= scaled.max(axis=1, keepdims=True)
    own = scaled[np.arange(len(scaled)), labels]
    # rounding could make a probability of 1 a little more
    tempered: NDArray[np.float32] = np.minimum(own - np.log(np.exp(scaled).sum(axis=1)), np.float32(0.0))
    return tempered


def host_array(log_probs: Tensor | NDArray[np.floating]) -> NDArray[np.float32]:
    """Log-probabilities of any float type, on any device, as a contiguous array of float32 on the host."""
    if isinstance(log_probs, Tensor):
        log_probs = log_probs.detach().cpu()
        log_probs = (log_probs.float() if log_probs.dtype == torch.bfloat16 else log_probs).numpy()  # numpy has none
    return np.ascontiguousarray(log_probs, dtype=np.float32)


def check_log_probs(log_probs: NDArray[np.float32], utterance: str) -> None:
    """Raise `ModelError` for NaN and +inf, with the utterance's id."""
    if np.isnan(log_probs).any() or np.isposinf(log_probs).any():
        raise ModelError(f"the model gave NaN or +inf log-probabilities for {utterance}; is its training sound?")


def align(
    log_probs: Tensor | NDArray[np.floating],
    tokens: Sequence[int],
    utterance: str,
    *,
    confidence_temperature: float = 1.0,
    blank_id: int = BLANK,
    bridge_id: int | None = None,
) -> TokenRuns:
    """Find the likeliest path that spells `tokens`: one run of frames for each of them.

    A bridge stands for something that has no tokens. It takes what its neighbours leave: from the first to the last
    frame between them in which the model emits anything, or one in the middle if it emits nothing. Bridges side by
    side share alike.

    Args:
        log_probs: (T, V) log-probabilities of any float type, on any device.
        tokens: U labels without blanks; none are aligned with nothing.
        utterance: its id, for messages.
        confidence_temperature: see `tempered_log_probs`; it changes no times.
        blank_id: of the CTC blank.
        bridge_id: the label of bridges among the tokens, none of the model's; their confidence is 0.

    Raises:
        TargetError: the tokens do not fit: too few frames, a label that there is not, the blank among them, or a
            probability of zero.
        ModelError: NaN or +inf among the log-probabilities.
    """
    num_frames, vocab_size = log_probs.shape
    is_bridge = np.array([token == bridge_id for token in tokens], dtype=bool)
    spelt = [token for token in tokens if token != bridge_id]
    check_targets([spelt], [num_frames], vocab_size, [utterance], blank_id)
    check_temperature(confidence_temperature)
    frames = host_array(log_probs)
    check_log_probs(frames, utterance)
    if len(tokens) == 0:
        return token_runs(np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.float32))
    labels = np.where(is_bridge, vocab_size, tokens).astype(np.uint32)
    positions = best_path(frames, labels, frames.max(axis=1) - np.float32(BRIDGE_COST), blank_id)
    if len(positions) == 0:
        raise TargetError(
            f"no path of utterance {utterance} spells its {len(tokens)} labels with a probability above 0"
        )
    spoken = np.flatnonzero(positions != IN_BLANK)
    path = positions[spoken]
    first = np.flatnonzero(np.diff(path, prepend=-1))  # in `path`, of each token's run
    starts, ends = spoken[first], spoken[np.append(first[1:], len(path)) - 1] + 1
    confidences = np.full(len(path), -np.inf, dtype=np.float32)
    known = ~is_bridge[path]
    confidences[known] = tempered_log_probs(frames[spoken[known]], labels[path[known]], confidence_temperature)
    if is_bridge.any():
        _settle_bridges(is_bridge, starts, ends, emits=frames.argmax(axis=1) != blank_id)
    return TokenRuns(np.array(tokens, dtype=np.int64), starts, ends, np.maximum.reduceat(confidences, first))


def _settle_bridges(
    is_bridge: NDArray[np.bool_], starts: NDArray[np.int64], ends: NDArray[np.int64], emits: NDArray[np.bool_]
) -> None:
    """Place bridges where the path had a choice, in `starts` and `ends`. emits: (T,) frames that are no blanks."""
    edges = np.flatnonzero(np.diff(is_bridge, prepend=False, append=False))
    for first, last in edges.reshape(-1, 2).tolist():  # bridges side by side
        start, end = starts[first], ends[last - 1]
        if not emits[start:end].any():
            before = ends[first - 1] if first > 0 else 0
            behind = starts[last] if last < len(starts) else len(emits)
            start = before + (behind - before - (last - first)) // 2
            end = start + last - first
        places = np.linspace(start, end, last - first + 1).round().astype(np.int64)
        starts[first:last], ends[first:last] = places[:-1], places[1:]


def words_from_runs(
    runs: TokenRuns, tokenizer: Tokenizer, frame_seconds: Seconds, audio_seconds: Seconds = math.inf
) -> tuple[Word, ...]:
    """Aligned tokens as words: see `words_from_spans`."""
    return words_from_spans(runs, tokenizer.split_words(runs.tokens.tolist()), frame_seconds, audio_seconds)


def words_from_spans(
    runs: TokenRuns, spans: Sequence[TokenSpan], frame_seconds: Seconds, audio_seconds: Seconds = math.inf
) -> tuple[Word, ...]:
    """Give each span of tokens its place in the audio and a confidence.

    A word starts with the first frame of its first token and ends after the last frame of its last one, or with the
    audio: the last frame is filled up with zeros and may reach past it. Its confidence is the product of its tokens'
    confidences, each the highest probability that the token has in its run: the probability that all are right, were
    they independent. (Their geometric mean does not see that a long word has more places to be wrong; on LibriSpeech
    its normalised cross entropy was half as good at the best temperature.)
    """
    return tuple(
        Word(
            text=span.text,
            start=float(runs.starts[span.start]) * frame_seconds,
            end=min(float(runs.ends[span.end - 1]) * frame_seconds, audio_seconds),
            confidence=float(np.exp(runs.log_confidences[span.start : span.end].sum(dtype=np.float64))),
        )
        for span in spans
    )
