"""Word, character and sentence errors of a test set, from alignments at minimum cost.

With the default costs every count equals jiwer's `process_words` and `process_characters`; with `JIWER` it is theirs;
with `SCLITE` counts and alignments equal those of NIST sclite (asr/scoring/alignment.py). Characters are always
compared as jiwer does.

White space: a text is the list of its words, split at any Unicode white space (`str.split`). The characters of
the CER are the Unicode code points of these words joined by single spaces, so spaces count and stray ones do
not. Case, punctuation and composed forms are compared as they come: normalise both sides first (asr/text).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

from asr.errors import ScoringError
from asr.progress import track
from asr.scoring.alignment import (
    CORRECT,
    DELETION,
    INSERTION,
    JIWER,
    LEVENSHTEIN,
    SCLITE,
    SUBSTITUTION,
    Costs,
    align,
    align_all,
    count_errors,
)
from asr.scoring.jiwer_counts import align_characters
from asr.scoring.networks import ChosenPath, OptionalWord, check_plain, choose, has_marks, parse

__all__ = [
    "CORRECT",
    "DELETION",
    "INSERTION",
    "JIWER",
    "LEVENSHTEIN",
    "SCLITE",
    "SUBSTITUTION",
    "AlignedWord",
    "Costs",
    "ErrorCounts",
    "OptionalWord",
    "Score",
    "UtteranceErrors",
    "align",
    "realign",
    "score",
]

_IDS_SHOWN = 3
_BATCH = 256  # utterances: one call of compiled code for all of them, and no million words in lists at once


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
    def hypothesis_length(self) -> int:
        """Tokens in the hypothesis."""
        return self.hits + self.substitutions + self.insertions

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


class AlignedWord(NamedTuple):  # a million in half a second, and hashed in no time
    """One column of an alignment: `reference` is None for an insertion, `hypothesis` for a deletion."""

    operation: str  # CORRECT, SUBSTITUTION, DELETION or INSERTION
    reference: str | None
    hypothesis: str | None


@dataclass(frozen=True, slots=True)
class UtteranceErrors:
    """One utterance compared: the texts as scored (single spaces), their counts and the word alignment.

    Where the reference leaves a choice (asr/scoring/networks.py), `reference` is the chosen path without the optional
    words that the hypothesis lacks. These are hits of `words`, as sclite counts them, and stand in `optional` alone.
    """

    id: str
    reference: str
    hypothesis: str
    words: ErrorCounts
    characters: ErrorCounts
    operations: str  # one letter for each aligned column: "CCSCD" has 5 reference and 4 hypothesis words
    optional: tuple[OptionalWord, ...] = ()
    marked_reference: str = ""  # the reference with its alternations and optional words; empty where it has none

    @property
    def given_reference(self) -> str:
        """The reference as it was given, the same for every system: with its choices where it has some."""
        return self.marked_reference or self.reference

    def aligned_words(self) -> list[AlignedWord]:
        """Spell `operations` out as word pairs, in order."""
        reference: list[str | None] = [*self.reference.split()]
        hypothesis: list[str | None] = [*self.hypothesis.split()]
        for column, operation in enumerate(self.operations):
            if operation == INSERTION:
                reference.insert(column, None)
            elif operation == DELETION:
                hypothesis.insert(column, None)
        return list(map(AlignedWord, self.operations, reference, hypothesis))


@dataclass(frozen=True)
class Score:
    """A scored test set. A part of it, such as one speaker, is `Score` of a part of its utterances."""

    utterances: tuple[UtteranceErrors, ...]
    costs: Costs = LEVENSHTEIN  # that words were aligned with

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


def score(
    references: Mapping[str, str],
    hypotheses: Mapping[str, str],
    costs: Costs = LEVENSHTEIN,
    *,
    markup: bool = False,
    show_progress: bool = False,
) -> Score:
    """Compare every reference with the hypothesis of the same id.

    An empty reference adds its insertions to the errors and nothing to the reference words.

    Args:
        references: utterance id -> what was said; their order is the order of the result
        hypotheses: utterance id -> what was recognised; in any order
        costs: which alignment of words is taken; counts are of errors, whatever they cost
        markup: references may leave a choice, `{ a / b c / @ } (uh)`, and that which costs least is taken as said
            (asr/scoring/networks.py); otherwise braces and parentheses are characters like any other
        show_progress: a bar on standard error

    Raises:
        ScoringError: no utterances, malformed markup, or the two sets of ids differ; a partial score is never given.
    """
    if not references:
        raise ScoringError("expected at least one utterance to score, got none: is the manifest empty?")
    _check_same_ids(references, hypotheses)
    ids = list(references)
    utterances: list[UtteranceErrors] = []
    for start in track(range(0, len(ids), _BATCH), "aligning", shown=show_progress):
        batch = ids[start : start + _BATCH]
        utterances += _score_batch(
            {id: references[id] for id in batch}, {id: hypotheses[id].split() for id in batch}, costs, markup
        )
    return Score(tuple(utterances), costs)


def realign(result: Score, costs: Costs) -> Score:
    """The same references and hypotheses, with the words aligned at other costs."""
    if costs == result.costs:
        return result
    return score(
        {utterance.id: utterance.given_reference for utterance in result.utterances},
        {utterance.id: utterance.hypothesis for utterance in result.utterances},
        costs,
        markup=any(utterance.marked_reference for utterance in result.utterances),
    )


def _score_batch(
    references: Mapping[str, str], recognised: Mapping[str, Sequence[str]], costs: Costs, markup: bool
) -> list[UtteranceErrors]:
    paths = _choose_paths(references, recognised, costs) if markup else {}
    plain = {id: text.split() for id, text in references.items() if id not in paths}
    aligned = align_all(list(plain.values()), [recognised[id] for id in plain], costs)
    for (id, words), operations in zip(plain.items(), aligned):
        paths[id] = ChosenPath(tuple(words), operations)
    characters = _count_all_characters(
        [" ".join(paths[id].words) for id in references], [" ".join(recognised[id]) for id in references], costs
    )
    return [
        _compare(id, paths[id], recognised[id], "" if id in plain else " ".join(text.split()), counts)
        for (id, text), counts in zip(references.items(), characters)
    ]


def _choose_paths(
    references: Mapping[str, str], recognised: Mapping[str, Sequence[str]], costs: Costs
) -> dict[str, ChosenPath]:
    """The chosen paths of those references that leave a choice."""
    check_plain(recognised)
    marked = {id: text for id, text in references.items() if has_marks(text)}
    if marked and costs.by_jiwer:
        raise ScoringError(
            f"expected plain references for jiwer, which knows no alternatives, got {next(iter(marked.values()))!r} of "
            f"{next(iter(marked))}: score with another alignment, levenshtein or sclite"
        )
    return {id: choose(parse(text, id), recognised[id], costs) for id, text in marked.items()}


def _compare(
    id: str, path: ChosenPath, hypothesis_words: Sequence[str], marked_reference: str, characters: ErrorCounts
) -> UtteranceErrors:
    reference, hypothesis = " ".join(path.words), " ".join(hypothesis_words)
    return UtteranceErrors(
        id=id,
        reference=reference,
        hypothesis=hypothesis,
        words=_count_words(path),
        characters=characters,
        operations=path.operations,
        optional=path.optional,
        marked_reference=marked_reference,
    )


def _count_words(path: ChosenPath) -> ErrorCounts:
    count = path.operations.count
    num_left_out = sum(word.is_left_out for word in path.optional)
    return ErrorCounts(count(CORRECT) + num_left_out, count(SUBSTITUTION), count(DELETION), count(INSERTION))


def _count_all_characters(references: Sequence[str], hypotheses: Sequence[str], costs: Costs) -> list[ErrorCounts]:
    if costs.by_jiwer:
        found = align_characters(references, hypotheses)
        return [ErrorCounts(*map(letters.count, (CORRECT, SUBSTITUTION, DELETION, INSERTION))) for letters in found]
    return [_count_characters(*pair) for pair in zip(references, hypotheses)]


def _count_characters(reference: str, hypothesis: str) -> ErrorCounts:
    if reference == hypothesis:
        return ErrorCounts(len(reference))
    substitutions, deletions, insertions = count_errors(reference, hypothesis)
    return ErrorCounts(len(reference) - substitutions - deletions, substitutions, deletions, insertions)


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
