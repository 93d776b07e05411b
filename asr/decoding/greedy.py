"""Best-path decoding: the likeliest label of each frame, collapsed, with word times and confidences from the frames."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from asr.decoding.alignment import (
    check_temperature,
    host_array,
    tempered_log_probs,
    token_runs,
    words_from_runs,
)
from asr.errors import ModelError
from asr.text.tokens import Tokenizer
from asr.types import Hypothesis, ScoreParts, Seconds


class GreedyDecoder:
    """Turns log-probabilities into hypotheses by the best path, with the words of `asr.decoding.alignment`.

    The best path is the best of all paths, and so of those that spell its tokens: it is their forced alignment.

    Args:
        tokenizer: spells the labels; names the blank.
        frame_seconds: from one frame of log-probabilities to the next.
        confidence_temperature: above 1 makes confidences smaller; `asr calibrate` fits it. Words do not depend on it.
    """

    name = "greedy"

    def __init__(self, tokenizer: Tokenizer, frame_seconds: Seconds, *, confidence_temperature: float = 1.0) -> None:
        self.tokenizer = tokenizer
        self.frame_seconds = frame_seconds
        self.confidence_temperature = check_temperature(confidence_temperature)

    def describe(self) -> dict[str, object]:
        """Name and settings, for score.json."""
        return {"name": self.name, "confidence_temperature": self.confidence_temperature}

    def decode(self, log_probs: Tensor, lengths: Tensor, ids: Sequence[str]) -> list[Hypothesis]:
        """(B, T, V) log-probabilities and (B,) lengths -> one hypothesis for each utterance."""
        streams = [self.stream(utterance) for utterance in ids]
        if log_probs.is_cpu:
            for stream, row, length in zip(streams, log_probs, lengths.tolist(), strict=True):
                stream.accept(row[:length])
        else:
            found = _best_on_device(log_probs, self.confidence_temperature)
            for row, (stream, length) in enumerate(zip(streams, lengths.tolist(), strict=True)):
                stream.accept_best(*(values[row, :length] for values in found))
        return [stream.finish() for stream in streams]

    def stream(self, utterance: str) -> GreedyStream:
        """Decode one recording piece by piece; whatever the pieces, the result is that of the whole."""
        return GreedyStream(self, utterance)


class GreedyStream:
    """The best path so far of one recording: twelve bytes a frame."""

    def __init__(self, decoder: GreedyDecoder, utterance: str) -> None:
        self._decoder = decoder
        self._utterance = utterance
        self._labels: list[NDArray[np.int32]] = []
        self._log_probs: list[NDArray[np.float32]] = []
        self._log_confidences: list[NDArray[np.float32]] = []

    def accept(self, log_probs: Tensor) -> None:
        """Take the next (T, V) log-probabilities."""
        frames = host_array(log_probs)
        if len(frames) == 0:
            return
        labels = frames.argmax(axis=1)
        best = frames[np.arange(len(frames)), labels]
        confidences = np.zeros_like(best)  # those of blanks are not looked at
        spoken = labels != self._decoder.tokenizer.blank_id
        confidences[spoken] = tempered_log_probs(frames[spoken], labels[spoken], self._decoder.confidence_temperature)
        self.accept_best(labels, best, confidences)

    def accept_best(
        self, labels: NDArray[np.integer], log_probs: NDArray[np.float32], log_confidences: NDArray[np.float32]
    ) -> None:
        """Take the next frames' (T,) best labels, their log-probabilities, and these under the temperature."""
        if not np.isfinite(log_probs).all():  # -inf: a frame without any probability
            raise ModelError(
                f"the model gave NaN or infinite log-probabilities for {self._utterance}; is its training sound?"
            )
        self._labels.append(labels.astype(np.int32))
        self._log_probs.append(log_probs)
        self._log_confidences.append(log_confidences)

    def finish(self) -> Hypothesis:
        """The hypothesis for everything accepted."""
        if not self._labels:
            return Hypothesis("", (), (), ScoreParts(0.0))
        decoder = self._decoder
        runs = token_runs(
            np.concatenate(self._labels), np.concatenate(self._log_confidences), decoder.tokenizer.blank_id
        )
        tokens = tuple(runs.tokens.tolist())
        words = words_from_runs(runs, decoder.tokenizer, decoder.frame_seconds)
        acoustic = float(np.concatenate(self._log_probs).sum(dtype=np.float64))
        return Hypothesis(decoder.tokenizer.decode(tokens), tokens, words, ScoreParts(acoustic=acoustic))


def _best_on_device(log_probs: Tensor, temperature: float) -> list[NDArray[Any]]:
    """What `accept_best` takes, of (B, T, V) log-probabilities, found where they are."""
    best, labels = log_probs.float().max(dim=-1)  # (B, T, V) -> (B, T)
    confidences = (best / temperature - (log_probs.float() / temperature).logsumexp(dim=-1)).clamp(max=0.0)
    return [tensor.cpu().numpy() for tensor in (labels, best, confidences)]
