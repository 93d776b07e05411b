"""A scored test set with all that reports say of it: the errors, and what is known of each utterance besides."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from asr.scoring.errors import Score
from asr.types import Seconds


@dataclass(frozen=True, slots=True)
class Details:
    """What is known of an utterance besides its words."""

    speaker: str | None = None
    duration: Seconds | None = None
    fields: Mapping[str, Any] = field(default_factory=dict)  # further fields of a manifest, such as gender or age


@dataclass(frozen=True)
class ScoredSet:
    """A test set and what one system made of it."""

    name: str  # of the test set, such as "test-clean"
    system: str  # what made the hypotheses: the name of a model or of a file
    score: Score
    details: Mapping[str, Details]  # by utterance id, one for each of `score.utterances`
    normalized: Mapping[str, Score] = field(default_factory=dict)  # the same texts under a normaliser, by its name

    @property
    def speakers(self) -> dict[str, str | None]:
        """Utterance id -> speaker."""
        return {id: details.speaker for id, details in self.details.items()}
