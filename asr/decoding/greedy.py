"""Best-path decoding: the likeliest label of each frame, collapsed, with word times and confidences from the frames."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from asr.ctc import BLANK
from asr.errors import ModelError
from asr.text.tokens import Tokenizer
from asr.types import Hypothesis, ScoreParts, Seconds, Word


@dataclass(frozen=True, slots=True)
class TokenRuns:
    """The non-blank runs of a best path: one entry for each token."""

    tokens: np.ndarray  # (U,) int64
    starts: np.ndarray  # (U,) first frame of each run
    ends: np.ndarray  # (U,) one past its last frame
    log_confidences: np.ndarray  # (U,) float, the highest log-probability inside each run


def token_runs(labels: np.ndarray, log_probs: np.ndarray, blank_id: int = BLANK) -> TokenRuns:
    """Group a best path, (T,) labels with their (T,) log-probabilities, into tokens."""
    if len(labels) == 0:
        nothing = np.zeros(0, dtype=np.int64)
        return TokenRuns(nothing, nothing, nothing, np.zeros(0))
    starts = np.flatnonzero(np.concatenate(([True], labels[1:] != labels[:-1])))
    ends = np.append(starts[1:], len(labels))
    best = np.maximum.reduceat(log_probs, starts)
    spoken = labels[starts] != blank_id
    return TokenRuns(labels[starts][spoken], starts[spoken], ends[spoken], best[spoken])


class GreedyDecoder:
    """Turns log-probabilities into hypotheses by the best path.

    A word starts with the first frame of its first token and ends after the last frame of its last one. Its
    confidence is the geometric mean of its tokens' highest probabilities.
    """

    name = "greedy"

    def __init__(self, tokenizer: Tokenizer, frame_seconds: Seconds) -> None:
        self.tokenizer = tokenizer
        self.frame_seconds = frame_seconds

    def describe(self) -> dict[str, object]:
        """Name and settings, for score.json."""
        return {"name": self.name}

    def decode(self, log_probs: Tensor, lengths: Tensor, ids: Sequence[str]) -> list[Hypothesis]:
        """(B, T, V) log-probabilities and (B,) lengths -> one hypothesis for each utterance."""
        best, labels = log_probs.max(dim=-1)
        best, labels = best.float().cpu(), labels.cpu()
        hypotheses = []
        for row, (length, utterance) in enumerate(zip(lengths.tolist(), ids, strict=True)):
            stream = GreedyStream(self, utterance)
            stream.accept_best(labels[row, :length].numpy(), best[row, :length].numpy())
            hypotheses.append(stream.finish())
        return hypotheses

    def stream(self, utterance: str) -> "GreedyStream":
        """Decode one recording piece by piece; whatever the pieces, the result is that of the whole."""
        return GreedyStream(self, utterance)


class GreedyStream:
    """The best path so far of one recording: twelve bytes a frame."""

    def __init__(self, decoder: GreedyDecoder, utterance: str) -> None:
        self._decoder = decoder
        self._utterance = utterance
        self._labels: list[np.ndarray] = []
        self._log_probs: list[np.ndarray] = []

    def accept(self, log_probs: Tensor) -> None:
        """Take the next (T, V) log-probabilities."""
        best, labels = log_probs.max(dim=-1)
        self.accept_best(labels.cpu().numpy(), best.float().cpu().numpy())

    def accept_best(self, labels: np.ndarray, log_probs: np.ndarray) -> None:
        """Take the next frames' (T,) best labels and their (T,) log-probabilities."""
        if np.isnan(log_probs).any() or np.isposinf(log_probs).any():
            raise ModelError(
                f"the model gave NaN or +inf log-probabilities for {self._utterance}; is its training sound?"
            )
        self._labels.append(labels)
        self._log_probs.append(log_probs)

    def finish(self) -> Hypothesis:
        """The hypothesis for everything accepted."""
        if not self._labels:
            return Hypothesis("", (), (), ScoreParts(0.0))
        log_probs = np.concatenate(self._log_probs)
        runs = token_runs(np.concatenate(self._labels), log_probs, self._decoder.tokenizer.blank_id)
        tokens = runs.tokens.tolist()
        words = self._words(runs, tokens)
        text = self._decoder.tokenizer.decode(tokens)
        return Hypothesis(text, tuple(tokens), words, ScoreParts(acoustic=float(log_probs.sum())))

    def _words(self, runs: TokenRuns, tokens: list[int]) -> tuple[Word, ...]:
        frame_seconds = self._decoder.frame_seconds
        return tuple(
            Word(
                text=span.text,
                start=float(runs.starts[span.start]) * frame_seconds,
                end=float(runs.ends[span.end - 1]) * frame_seconds,
                confidence=float(np.exp(runs.log_confidences[span.start : span.end].mean())),
            )
            for span in self._decoder.tokenizer.split_words(tokens)
        )
