"""The three values that carry everything: `Utterance` in, `Batch` between, `Hypothesis` (and `Transcript`) out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch
    from torch import Tensor

Seconds = float


@dataclass(frozen=True, slots=True)
class Utterance:
    """One line of a manifest: a stretch of audio and what is said in it."""

    id: str
    audio_filepath: str  # absolute, or relative to the working directory; never relative to the manifest
    duration: Seconds
    text: str
    offset: Seconds = 0.0
    speaker: str | None = None
    lang: str | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)  # further manifest fields, such as gender or age


@dataclass(frozen=True, slots=True)
class Batch:
    """Padded utterances with their lengths. Nothing past a length may reach a result."""

    ids: tuple[str, ...]
    waveforms: Tensor  # (B, N) float32 in [-1, 1], zero-padded
    waveform_lengths: Tensor  # (B,) int64, samples
    targets: Tensor  # (B, U) int64, zero-padded
    target_lengths: Tensor  # (B,) int64
    seeds: tuple[int, ...]  # one for each utterance, for augmentation that runs on the device

    def to(self, device: torch.device | str) -> Batch:
        """Copy the tensors to `device`, without waiting when they lie in pinned memory."""
        return Batch(
            ids=self.ids,
            waveforms=self.waveforms.to(device, non_blocking=True),
            waveform_lengths=self.waveform_lengths.to(device, non_blocking=True),
            targets=self.targets.to(device, non_blocking=True),
            target_lengths=self.target_lengths.to(device, non_blocking=True),
            seeds=self.seeds,
        )

    def pin_memory(self) -> Batch:
        """Move the tensors to page-locked memory, for copies to a GPU that overlap with computing."""
        return Batch(
            ids=self.ids,
            waveforms=self.waveforms.pin_memory(),
            waveform_lengths=self.waveform_lengths.pin_memory(),
            targets=self.targets.pin_memory(),
            target_lengths=self.target_lengths.pin_memory(),
            seeds=self.seeds,
        )


@dataclass(frozen=True, slots=True)
class Word:
    """A recognised word, its place in the audio and how sure the model is of it (0-1)."""

    text: str
    start: Seconds
    end: Seconds
    confidence: float


@dataclass(frozen=True, slots=True)
class ScoreParts:
    """What a hypothesis's score is the sum of: natural logarithms, already multiplied by their weights."""

    acoustic: float
    language_model: float = 0.0
    word_bonus: float = 0.0  # and, for words that the language model does not know, the penalty
    hotwords: float = 0.0
    rescoring: float = 0.0

    @property
    def total(self) -> float:
        """The sum, by which hypotheses are ranked."""
        return self.acoustic + self.language_model + self.word_bonus + self.hotwords + self.rescoring


@dataclass(frozen=True, slots=True)
class Hypothesis:
    """What a decoder found for one utterance, and what it found besides."""

    text: str
    tokens: tuple[int, ...]
    words: tuple[Word, ...]  # of alternatives: empty, as only the best is aligned with the audio
    parts: ScoreParts
    alternatives: tuple[Hypothesis, ...] = ()  # the rest of the N-best list, best first

    @property
    def score(self) -> float:
        """The natural logarithm of the decoder's own objective."""
        return self.parts.total


@dataclass(frozen=True, slots=True)
class Transcript:
    """The text of one recording, with what the user should know about its audio."""

    text: str
    words: tuple[Word, ...]
    duration: Seconds
    warnings: tuple[str, ...] = ()
    alternatives: tuple[Hypothesis, ...] = ()  # when the decoder was asked for an N-best list: all but the best
    parts: ScoreParts | None = None  # of the best hypothesis, whose text this is; None where nothing was decoded

    @property
    def score(self) -> float | None:
        """The natural logarithm of the decoder's own objective, comparable with that of `alternatives`."""
        return None if self.parts is None else self.parts.total
