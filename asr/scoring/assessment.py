"""References and hypotheses -> everything that is said of them: scores, their normalised twins, breakdowns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from asr.errors import ScoringError
from asr.progress import track
from asr.scoring.breakdown import Breakdown, break_down
from asr.scoring.errors import JIWER, LEVENSHTEIN, SCLITE, Costs, Score, realign, score
from asr.scoring.normalizers import normalizer
from asr.scoring.phones import FoldingMap, fold, folding_map
from asr.scoring.scored_set import Details, ScoredSet

ALIGNMENTS: Mapping[str, Costs] = {"levenshtein": LEVENSHTEIN, "sclite": SCLITE, "jiwer": JIWER}
UNITS = ("word", "character")
ALWAYS_BROKEN_DOWN = ("speaker", "duration")


@dataclass(frozen=True, slots=True)
class Comparison:
    """How texts are compared.

    Raises:
        ScoringError: something in it has no such name.
    """

    # the fewest errors, as jiwer and Kaldi count; or "sclite": NIST's costs 4, 3, 3; or "jiwer": jiwer's own counts
    alignment: str = "levenshtein"
    unit: str = "word"  # or "character": for scripts that do not part words
    folding: str = ""  # "timit39", or a file: phones that count as the same
    normalizers: tuple[str, ...] = ()  # each gives a second score beside the raw one
    fields: tuple[str, ...] = ()  # of the manifest, to break the result down by; speaker and duration always are

    def __post_init__(self) -> None:
        if self.alignment not in ALIGNMENTS:
            raise ScoringError(f"alignment: expected one of {', '.join(ALIGNMENTS)}, got {self.alignment!r}")
        if self.unit not in UNITS:
            raise ScoringError(f"unit: expected {' or '.join(UNITS)}, got {self.unit!r}")
        for name in self.normalizers:
            normalizer(name)
        if self.folding and (self.normalizers or self.unit != "word"):
            raise ScoringError("folding is for phones: leave normalisers and the unit out")


AS_WRITTEN = Comparison()


@dataclass(frozen=True)
class Assessment:
    """A scored test set from every side."""

    comparison: Comparison
    scored: ScoredSet
    breakdowns: tuple[Breakdown, ...]

    @cached_property
    def sclite(self) -> ScoredSet:
        """The same texts under sclite's costs, for reports in its layout."""
        return replace(self.scored, score=realign(self.scored.score, SCLITE), normalized={})


def assess(
    name: str,
    system: str,
    references: Mapping[str, str],
    hypotheses: Mapping[str, str],
    details: Mapping[str, Details],
    comparison: Comparison = AS_WRITTEN,
    *,
    markup: bool = False,
    show_progress: bool = False,
) -> Assessment:
    """Score hypotheses in every way that `comparison` asks for.

    Args:
        name: of the test set
        system: what made the hypotheses
        references: utterance id -> what was said
        hypotheses: utterance id -> what was recognised
        details: what else is known of each utterance
        comparison: how
        markup: whether references may hold alternations and optional words, see asr/scoring/networks.py
        show_progress: a bar on standard error

    Raises:
        ScoringError: as `score` and `fold`; or a field that no utterance has.
    """
    _check_fields(comparison.fields, details)
    if markup and (comparison.folding or comparison.unit != "word"):
        raise ScoringError("references with alternations are compared in words: leave folding and the unit out")
    best = _score(references, hypotheses, comparison, markup=markup, show_progress=show_progress)
    if markup:  # the chosen alternatives are what a normaliser gets
        references = {utterance.id: utterance.reference for utterance in best.utterances}
    normalized = {}
    for label in comparison.normalizers:
        changed = [_normalize(texts, label, show_progress) for texts in (references, hypotheses)]
        normalized[label] = _score(changed[0], changed[1], comparison, show_progress=show_progress)
    scored = ScoredSet(name, system, best, details, normalized)
    fields = [field for field in ALWAYS_BROKEN_DOWN if _is_known(field, details)] + list(comparison.fields)
    return Assessment(
        comparison,
        scored,
        tuple(break_down(scored, field, show_progress=show_progress) for field in dict.fromkeys(fields)),
    )


def _normalize(texts: Mapping[str, str], label: str, show_progress: bool) -> dict[str, str]:
    change = normalizer(label)
    items = track(texts.items(), f"normalising, {label}", total=len(texts), shown=show_progress)
    return {id: change(text) for id, text in items}


def _score(
    references: Mapping[str, str],
    hypotheses: Mapping[str, str],
    comparison: Comparison,
    *,
    markup: bool = False,
    show_progress: bool = False,
) -> Score:
    mapping = folding_map(comparison.folding) if comparison.folding else None
    result = score(
        _in_unit(references, comparison.unit, mapping, "reference"),
        _in_unit(hypotheses, comparison.unit, mapping, "hypothesis"),
        ALIGNMENTS[comparison.alignment],
        markup=markup,
        show_progress=show_progress,
    )
    if comparison.unit == "character":  # the spaces now between them are no characters of the texts
        return Score(tuple(replace(errors, characters=errors.words) for errors in result.utterances), result.costs)
    return result


def _in_unit(texts: Mapping[str, str], unit: str, mapping: FoldingMap | None, side: str) -> Mapping[str, str]:
    if mapping is not None:
        return {id: _fold(text, mapping, f"{side} {id}") for id, text in texts.items()}
    if unit == "character":
        return {id: " ".join("".join(text.split())) for id, text in texts.items()}
    return texts


def _fold(text: str, mapping: FoldingMap, where: str) -> str:
    try:
        return fold(text, mapping)
    except ScoringError as error:
        raise ScoringError(f"{where}: {error}") from error


def _check_fields(fields: Sequence[str], details: Mapping[str, Details]) -> None:
    for field in fields:
        if not _is_known(field, details):
            known = sorted({name for detail in details.values() for name in detail.fields})
            raise ScoringError(
                f"no utterance has the field {field!r} to break the result down by; there are "
                f"{', '.join([*known, *(f for f in ALWAYS_BROKEN_DOWN if _is_known(f, details))]) or 'none'}"
            )


def _is_known(field: str, details: Mapping[str, Details]) -> bool:
    match field:
        case "speaker":
            return any(detail.speaker is not None for detail in details.values())
        case "duration":
            return any(detail.duration is not None for detail in details.values())
        case other:
            return any(detail.fields.get(other) is not None for detail in details.values())
