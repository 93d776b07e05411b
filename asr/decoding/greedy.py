"""Best-path decoding: the likeliest label of each frame, collapsed, with word times and confidences from the frames."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from asr.decoding.alignment import (
    check_log_probs,
    check_temperature,
    tempered_log_probs,
    token_runs,
    words_from_runs,
)
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
        best, labels = log_probs.max(dim=-1)  # (B, T, V) -> (B, T), on the model's device
        confidences = tempered_log_probs(log_probs, labels, self.confidence_temperature)
        frames = [tensor.cpu().numpy() for tensor in (labels, best.float(), confidences)]
        hypotheses = []
        for row, (length, utterance) in enumerate(zip(lengths.tolist(), ids, strict=True)):
            stream = self.stream(utterance)
            stream.accept_best(*(values[row, :length] for values in frames))
            hypotheses.append(stream.finish())
        return hypotheses

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
        best, labels = log_probs.max(dim=-1)
        confidences = tempered_log_probs(log_probs, labels, self._decoder.confidence_temperature)
        self.accept_best(labels.cpu().numpy(), best.float().cpu().numpy(), confidences.cpu().numpy())

    def accept_best(
        self, labels: NDArray[np.integer], log_probs: NDArray[np.float32], log_confidences: NDArray[np.float32]
    ) -> None:
        """Take the next frames' (T,) best labels, their log-probabilities, and these under the temperature."""
        check_log_probs(log_probs, self._utterance)
        check_log_probs(log_confidences, self._utterance)  # NaN: a frame without any probability
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
