"""Settings and results of a beam search, whatever carries it out."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from asr.decoding.alignment import check_temperature
from asr.errors import ConfigError


@dataclass(frozen=True, slots=True)
class BeamOptions:
    """The search's own settings. What prunes is off by default: then nothing but the beam's width limits the search."""

    beam_width: int = 100
    nbest: int = 1
    max_tokens_per_frame: int = 0  # only so many of a frame's likeliest tokens are appended; 0: all
    token_floor: float = 0.0  # tokens of a lower ln p in a frame are not appended to labellings; 0: all are
    blank_skip: float = 1.0  # frames with a likelier blank are read as blank and nothing else, in no time; 1: none
    confidence_temperature: float = 1.0

    def __post_init__(self) -> None:
        if self.beam_width < 1:
            raise ConfigError(f"beam_width: expected 1 or more, got {self.beam_width}")
        if not 1 <= self.nbest <= self.beam_width:
            raise ConfigError(f"nbest: expected 1 to beam_width ({self.beam_width}), got {self.nbest}")
        if self.max_tokens_per_frame < 0:
            raise ConfigError(f"max_tokens_per_frame: expected 0 or more, got {self.max_tokens_per_frame}")
        if not self.token_floor <= 0:
            raise ConfigError(f"token_floor: expected a natural logarithm, 0 (off) or less, got {self.token_floor}")
        if not 0 < self.blank_skip <= 1:
            raise ConfigError(f"blank_skip: expected a probability above 0, up to 1 (off), got {self.blank_skip}")
        check_temperature(self.confidence_temperature)

    @property
    def min_token_log_prob(self) -> float:
        """`token_floor` as the search compares it."""
        return self.token_floor if self.token_floor < 0 else -np.inf

    @property
    def max_blank_log_prob(self) -> float:
        """`blank_skip` as the search compares it."""
        return float(np.log(self.blank_skip)) if self.blank_skip < 1 else np.inf


@dataclass(frozen=True, slots=True)
class Finalist:
    """A labelling that is left at the end, with its score."""

    tokens: tuple[int, ...]
    acoustic: float  # ln p(labelling | audio)
    other: float  # language model, words and hotwords, weighted; -inf: it ends inside a word where none may

    @property
    def total(self) -> float:
        """By which they are ranked."""
        return self.acoustic + self.other


def rank(finalists: Iterable[Finalist]) -> list[Finalist]:
    """Best first; of equals the smaller tokens, so that every backend has the same order."""
    return sorted(finalists, key=lambda finalist: (-finalist.total, finalist.tokens))
