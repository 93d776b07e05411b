"""Word times and confidences of a hypothesis that grows while its audio comes in."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from asr.decoding.alignment import TokenRuns, align, host_array, words_from_spans
from asr.text.tokens import Tokenizer
from asr.types import Seconds, Word

ALIGNED_FRAMES = 1024  # at a time: half a minute, so that a long recording needs no more memory than that
MARGIN_FRAMES = 64  # before the end of these, an alignment may still move


class WordAligner:
    """Forced alignment, settled piece by piece: words are fixed once no later frame is likely to move them.

    Pieces end at fixed frames of the recording, so the result does not depend on how it came in.
    """

    def __init__(self, tokenizer: Tokenizer, frame_seconds: Seconds, temperature: float, utterance: str) -> None:
        self._tokenizer = tokenizer
        self._frame_seconds = frame_seconds
        self._temperature = temperature
        self._utterance = utterance
        self._held: list[NDArray[np.float32]] = []  # log-probabilities of the frames that are not settled yet
        self._first_frame = 0  # of these
        self._num_tokens = 0  # settled
        self._words: list[Word] = []

    def accept(self, log_probs: Tensor | NDArray[np.float32]) -> None:
        """Take the next (T, V) frames."""
        self._held.append(host_array(log_probs))

    def all_frames(self) -> NDArray[np.float32] | None:
        """(T, V) everything accepted, when that is less than what is aligned at a time; None of longer recordings."""
        if self._first_frame or sum(map(len, self._held)) >= ALIGNED_FRAMES:
            return None
        return np.concatenate(self._held) if self._held else None

    def num_old_tokens(self, tokens: Sequence[int]) -> int:
        """How many of a hypothesis's tokens end at least `ALIGNED_FRAMES` before the last frame."""
        runs = self._align(tokens[self._num_tokens :])
        num_frames = sum(map(len, self._held))
        return self._num_tokens + int((runs.ends <= num_frames - ALIGNED_FRAMES).sum())

    def settle(self, tokens: Sequence[int], num_stable: int) -> None:
        """Fix the words that are whole among the first `num_stable` of a hypothesis's tokens, and forget their frames.

        Without such words the silence before the first token is forgotten.
        """
        remaining = tokens[self._num_tokens :]
        runs = self._align(remaining)
        num_frames = sum(map(len, self._held))
        spans = [
            span
            for span in self._tokenizer.split_words(remaining)
            if self._num_tokens + span.end < num_stable and runs.ends[span.end - 1] <= num_frames - MARGIN_FRAMES
        ]
        if spans:
            self._words += words_from_spans(self._shifted(runs), spans, self._frame_seconds)
            self._num_tokens += spans[-1].end
            self._forget(int(runs.ends[spans[-1].end - 1]))
        else:
            first = int(runs.starts[0]) if len(runs.starts) else num_frames
            self._forget(max(0, min(first, num_frames) - MARGIN_FRAMES))

    def finish(self, tokens: Sequence[int]) -> tuple[Word, ...]:
        """The words of the final hypothesis."""
        remaining = tokens[self._num_tokens :]
        if remaining:
            spans = self._tokenizer.split_words(remaining)
            self._words += words_from_spans(self._shifted(self._align(remaining)), spans, self._frame_seconds)
        return tuple(self._words)

    def _align(self, tokens: Sequence[int]) -> TokenRuns:
        self._held = [np.concatenate(self._held)]
        return align(self._held[0], tokens, self._utterance, confidence_temperature=self._temperature)

    def _shifted(self, runs: TokenRuns) -> TokenRuns:
        """Frames counted from the beginning of the recording."""
        shift = self._first_frame
        return TokenRuns(runs.tokens, runs.starts + shift, runs.ends + shift, runs.log_confidences)

    def _forget(self, num_frames: int) -> None:
        self._held = [self._held[0][num_frames:].copy()]
        self._first_frame += num_frames
