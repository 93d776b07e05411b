"""Word, character and sentence errors from minimum edit distance.

The alignment is rapidfuzz's Levenshtein, the kernel inside jiwer, and every count equals jiwer's
`process_words` and `process_characters`. It is called without jiwer's Python around it because that takes most
of the time: a million words with their six million characters take 2 s here and 9 s in jiwer, on one core.

White space: a text is the list of its words, split at any Unicode white space (`str.split`). The characters of
the CER are the Unicode code points of these words joined by single spaces, so spaces count and stray ones do
not. Case, punctuation and composed forms are compared as they come: normalise both sides first (asr/text).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import cast

from rapidfuzz.distance import Levenshtein

from asr.errors import ScoringError

# One letter for each aligned column, as NIST sclite writes them.
CORRECT, SUBSTITUTION, DELETION, INSERTION = "C", "S", "D", "I"
_LETTER = {"equal": CORRECT, "replace": SUBSTITUTION, "delete": DELETION, "insert": INSERTION}
_Block = tuple[str, int, int, int, int]  # rapidfuzz's: tag, reference start and end, hypothesis start and end
_IDS_SHOWN = 3


@dataclass(frozen=True, slots=True)
class ErrorCounts:
    """Correct tokens and edits of one or many utterances; adds up with `+`, so totals are exact."""

    hits: int = 0
    substitutions: int = 0
    deletions: int = 0
    insertions: int = 0

    @property
    def errors(self) -> int:
        """Edits that turn the reference into the hypothesis."""
        return self.substitutions + self.deletions + self.insertions

    @property
    def reference_length(self) -> int:
        """Tokens in the reference."""
        return self.hits + self.substitutions + self.deletions

    @property
    def rate(self) -> float:
        """Errors over reference tokens; without reference tokens 0.0 if nothing was inserted, else infinity."""
        if self.reference_length:
            return self.errors / self.reference_length
        return math.inf if self.errors else 0.0

    def __add__(self, other: ErrorCounts) -> ErrorCounts:
        return ErrorCounts(
            self.hits + other.hits,
            self.substitutions + other.substitutions,
            self.deletions + other.deletions,
            self.insertions + other.insertions,
        )


@dataclass(frozen=True, slots=True)
class AlignedWord:
    """One column of an alignment: `reference` is None for an insertion, `hypothesis` for a deletion."""

    operation: str  # CORRECT, SUBSTITUTION, DELETION or INSERTION
    reference: str | None
    hypothesis: str | None


@dataclass(frozen=True, slots=True)
class UtteranceErrors:
    """One utterance compared: the texts as scored (single spaces), their counts and the word alignment."""

    id: str
    reference: str
    hypothesis: str
    words: ErrorCounts
    characters: ErrorCounts
    operations: str  # one letter for each aligned column: "CCSCD" has 5 reference and 4 hypothesis words

    def aligned_words(self) -> list[AlignedWord]:
        """Spell `operations` out as word pairs, in order."""
        reference, hypothesis = iter(self.reference.split()), iter(self.hypothesis.split())
        return [
            AlignedWord(
                operation,
                None if operation == INSERTION else next(reference),
                None if operation == DELETION else next(hypothesis),
            )
            for operation in self.operations
        ]


@dataclass(frozen=True)
class Score:
    """A scored test set. A part of it, such as one speaker, is `Score` of a part of its utterances."""

    utterances: tuple[UtteranceErrors, ...]

    @cached_property
    def words(self) -> ErrorCounts:
        """Word counts of all utterances together."""
        return sum((utterance.words for utterance in self.utterances), ErrorCounts())

    @cached_property
    def characters(self) -> ErrorCounts:
        """Character counts of all utterances together, spaces included."""
        return sum((utterance.characters for utterance in self.utterances), ErrorCounts())

    @cached_property
    def sentence_errors(self) -> int:
        """Utterances with at least one word error."""
        return sum(utterance.words.errors > 0 for utterance in self.utterances)

    @property
    def wer(self) -> float:
        """Word error rate as a fraction; can exceed 1, and is infinite as `ErrorCounts.rate` says."""
        return self.words.rate

    @property
    def cer(self) -> float:
        """Character error rate as a fraction, over characters with spaces."""
        return self.characters.rate

    @property
    def ser(self) -> float:
        """Share of utterances with at least one word error; 0.0 of none."""
        return self.sentence_errors / len(self.utterances) if self.utterances else 0.0


def score(references: Mapping[str, str], hypotheses: Mapping[str, str]) -> Score:
    """Compare every reference with the hypothesis of the same id.

    An empty reference adds its insertions to the errors and nothing to the reference words.

    Args:
        references: utterance id -> what was said; their order is the order of the result
        hypotheses: utterance id -> what was recognised; in any order

    Raises:
        ScoringError: no utterances, or the two sets of ids differ; a partial score is never given.
    """
    if not references:
        raise ScoringError("expected at least one utterance to score, got none: is the manifest empty?")
    _check_same_ids(references, hypotheses)
    return Score(tuple(_compare(id, reference, hypotheses[id]) for id, reference in references.items()))


def align(reference: Sequence[str], hypothesis: Sequence[str]) -> str:
    """Align two token sequences at minimum edit distance; one letter a column, see `UtteranceErrors.operations`.

    A string is a sequence of its code points. Substitution, deletion and insertion cost 1 each (jiwer's costs;
    sclite's are 4, 3 and 3).
    """
    # rapidfuzz gives plain tuples here, against its annotation, which makes this twice as fast as its objects.
    blocks = cast("list[_Block]", Levenshtein.opcodes(reference, hypothesis).as_list())
    # One of the two spans of an insertion or deletion is empty; otherwise both are equally long.
    return "".join([_LETTER[tag] * ((end - start) or (to_end - to)) for tag, start, end, to, to_end in blocks])


def _compare(id: str, reference: str, hypothesis: str) -> UtteranceErrors:
    reference_words, hypothesis_words = reference.split(), hypothesis.split()
    reference, hypothesis = " ".join(reference_words), " ".join(hypothesis_words)
    operations = align(reference_words, hypothesis_words)
    return UtteranceErrors(
        id=id,
        reference=reference,
        hypothesis=hypothesis,
        words=_count(operations),
        characters=_count(align(reference, hypothesis)),
        operations=operations,
    )


def _count(operations: str) -> ErrorCounts:
    count = operations.count
    return ErrorCounts(count(CORRECT), count(SUBSTITUTION), count(DELETION), count(INSERTION))


def _check_same_ids(references: Mapping[str, str], hypotheses: Mapping[str, str]) -> None:
    missing = [id for id in references if id not in hypotheses]
    unknown = [id for id in hypotheses if id not in references]
    if missing or unknown:
        raise ScoringError(
            f"expected one hypothesis for each of {len(references)} references, got {len(hypotheses)}:"
            f" {_list_ids(missing)} without a hypothesis, {_list_ids(unknown)} without a reference."
            " Score the hypotheses against the test set they were made from"
        )


def _list_ids(ids: Sequence[str]) -> str:
    if not ids:
        return "none"
    rest = f" and {len(ids) - _IDS_SHOWN} more" if len(ids) > _IDS_SHOWN else ""
    return ", ".join(ids[:_IDS_SHOWN]) + rest
