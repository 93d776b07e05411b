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
from asr.text.tokens import SPACE, Tokenizer, TokenSpan
from asr.types import Seconds, Word


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
) -> TokenRuns:
    """Find the likeliest path that spells `tokens`: one run of frames for each of them.

    Args:
        log_probs: (T, V) log-probabilities of any float type, on any device.
        tokens: U labels without blanks; none are aligned with nothing.
        utterance: its id, for messages.
        confidence_temperature: see `tempered_log_probs`; it changes no times.
        blank_id: of the CTC blank.

    Raises:
        TargetError: the tokens do not fit: too few frames, a label that there is not, the blank among them, or a
            probability of zero.
        ModelError: NaN or +inf among the log-probabilities.
    """
    num_frames, vocab_size = log_probs.shape
    check_targets([tokens], [num_frames], vocab_size, [utterance], blank_id)
    check_temperature(confidence_temperature)
    frames = host_array(log_probs)
    check_log_probs(frames, utterance)
    labels = np.array(tokens, dtype=np.uint32)
    if len(labels) == 0:
        return token_runs(np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.float32))
    positions = best_path(frames, labels, np.zeros(num_frames, dtype=np.float32), blank_id)
    if len(positions) == 0:
        raise TargetError(
            f"no path of utterance {utterance} spells its {len(tokens)} labels with a probability above 0"
        )
    spoken = np.flatnonzero(positions != IN_BLANK)
    path = positions[spoken]
    starts = np.flatnonzero(np.diff(path, prepend=-1))  # in `path`, of each token's run
    confidences = tempered_log_probs(frames[spoken], labels[path], confidence_temperature)
    return TokenRuns(
        tokens=labels.astype(np.int64),
        starts=spoken[starts],
        ends=spoken[np.append(starts[1:], len(path)) - 1] + 1,
        log_confidences=np.maximum.reduceat(confidences, starts),
    )


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


def spans_of_text(text: str, tokens: Sequence[int], tokenizer: Tokenizer) -> list[TokenSpan]:
    """The tokens of each word of a normalised text, where `tokens` is what `tokenizer` made of it.

    Differs from `split_words` for phones, whose every token is a word of its own there.
    """
    surfaces = tokenizer.surfaces
    spans, start = [], 0
    for word in text.split():
        while surfaces[tokens[start]] == SPACE:
            start += 1
        end = start + len(tokenizer.encode(word))
        spans.append(TokenSpan(word, start, end))
        start = end
    return spans
