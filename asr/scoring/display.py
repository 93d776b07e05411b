"""What people and programs read of a score: `score.json`, `hypotheses.jsonl`, aligned differences, a table.

Everything here returns values (JSON objects, rich renderables); writing them is for asr/files.py, printing for the
command line. Rich text prints in colour on a terminal and plain elsewhere; `.plain` gives the characters alone.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rich import box
from rich.cells import cell_len
from rich.table import Table
from rich.text import Text

from asr.errors import ScoringError
from asr.scoring.assessment import Assessment
from asr.scoring.errors import (
    CORRECT,
    DELETION,
    INSERTION,
    SUBSTITUTION,
    AlignedWord,
    Score,
    UtteranceErrors,
)
from asr.scoring.scored_set import ScoredSet
from asr.scoring.significance import wer_interval
from asr.types import Seconds

SCORE_KEYS = (
    "wer",
    "cer",
    "ser",
    "substitutions",
    "deletions",
    "insertions",
    "reference_words",
    "utterances",
    "audio_seconds",
    "decode_seconds",
    "rtfx",
    "wer_ci95",
    "decoder",
    "set",
    "system",
    "alignment",
    "unit",
    "folding",
    "normalized",
    "breakdowns",
)

# The letters carry the meaning, colour only helps the eye.
_STYLE = {CORRECT: "", SUBSTITUTION: "yellow", DELETION: "red", INSERTION: "cyan"}
_GAP = "*"
_NOTHING = "–"  # in the table, for what has no finite value
_REFERENCE, _HYPOTHESIS, _EVAL = "REF:  ", "HYP:  ", "Eval: "


def score_json(
    assessment: Assessment,
    audio_seconds: Seconds | None = None,
    decode_seconds: Seconds | None = None,
    decoder: str | Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Make the object of `score.json`: rates as fractions, exact counts, and the time it took.

    Args:
        assessment: the scored test set
        audio_seconds: length of its audio, where known
        decode_seconds: time from audio to text, where known; `rtfx` is audio_seconds / decode_seconds
        decoder: name, or name and settings, of what made the hypotheses, where known

    Returns:
        Strict JSON: what has no finite value (a rate without reference words, the interval of a single utterance,
        the speed of nothing) or is unknown is None. `normalized` has the same rates and counts under each
        normaliser.
    """
    scored, comparison = assessment.scored, assessment.comparison
    return {
        **_rates(scored.score),
        "audio_seconds": audio_seconds,
        "decode_seconds": decode_seconds,
        "rtfx": audio_seconds / decode_seconds if audio_seconds is not None and decode_seconds else None,
        "wer_ci95": _interval(scored.score, scored.speakers),
        "decoder": dict(decoder) if isinstance(decoder, Mapping) else decoder,
        "set": scored.name,
        "system": scored.system,
        "alignment": comparison.alignment,
        "unit": comparison.unit,
        "folding": comparison.folding or None,
        "normalized": {
            name: {**_rates(score), "wer_ci95": _interval(score, scored.speakers)}
            for name, score in scored.normalized.items()
        },
        "breakdowns": {breakdown.field: breakdown.to_json() for breakdown in assessment.breakdowns},
    }


def _rates(score: Score) -> dict[str, Any]:
    return {
        "wer": _finite(score.wer),
        "cer": _finite(score.cer),
        "ser": score.ser,
        "substitutions": score.words.substitutions,
        "deletions": score.words.deletions,
        "insertions": score.words.insertions,
        "reference_words": score.words.reference_length,
        "utterances": len(score.utterances),
    }


def _interval(score: Score, speakers: Mapping[str, str | None]) -> list[float | None]:
    interval = wer_interval(score, speakers)
    return [_finite(interval.low), _finite(interval.high)] if interval else [None, None]


def hypothesis_rows(scored: ScoredSet) -> Iterator[dict[str, Any]]:
    """Rows of `hypotheses.jsonl`: the texts as scored, the number of word errors, and what is known besides.

    `marked_reference` is there where alternations or optional words left a choice, of which `reference` was taken.
    """
    for utterance in scored.score.utterances:
        details = scored.details[utterance.id]
        choices = {"marked_reference": utterance.marked_reference} if utterance.marked_reference else {}
        yield {
            "id": utterance.id,
            "reference": utterance.reference,
            **choices,
            "hypothesis": utterance.hypothesis,
            "errors": utterance.words.errors,
            "reference_words": utterance.words.reference_length,
            "speaker": details.speaker,
            "duration": details.duration,
            "fields": dict(details.fields),
        }


def worst(score: Score, n: int) -> list[UtteranceErrors]:
    """The `n` utterances that cost the most word errors; of equal cost the shorter first. Never a correct one."""
    wrong = [utterance for utterance in score.utterances if utterance.words.errors]
    return sorted(wrong, key=lambda u: (-u.words.errors, u.words.reference_length, u.id))[:n]


def worst_report(score: Score, n: int, width: int) -> Text:
    """The `n` worst utterances, each with a headline and its aligned differences, `width` columns wide."""
    blocks = [
        Text.assemble(_headline(utterance), "\n", aligned_differences(utterance, width))
        for utterance in worst(score, n)
    ]
    return Text("\n\n").join(blocks)


def aligned_differences(utterance: UtteranceErrors, width: int) -> Text:
    """REF, HYP and Eval lines with the words of each column below one another, broken at `width` columns.

    Words are padded by the width a terminal gives them, so that Chinese or combining characters stay aligned. A gap
    is as many `*` as the word it faces is wide; the Eval line says S, D or I below each error.
    """
    columns = [_column(word) for word in utterance.aligned_words()]
    return Text("\n\n").join(_lines(block) for block in _break(columns, width - cell_len(_REFERENCE)))


@dataclass(frozen=True, slots=True)
class _Column:
    operation: str
    reference: str
    hypothesis: str
    width: int


def _column(word: AlignedWord) -> _Column:
    width = max(1, *(cell_len(text) for text in (word.reference, word.hypothesis) if text is not None))
    gap = _GAP * width
    return _Column(
        operation=word.operation,
        reference=gap if word.reference is None else word.reference,
        hypothesis=gap if word.hypothesis is None else word.hypothesis,
        width=width,
    )


def _break(columns: list[_Column], width: int) -> Iterator[list[_Column]]:
    """Cut into blocks at most `width` wide, except that a single longer word is never cut."""
    block: list[_Column] = []
    used = 0
    for column in columns:
        if block and used + column.width > width:
            yield block
            block, used = [], 0
        block.append(column)
        used += column.width + 1
    yield block


def _lines(block: list[_Column]) -> Text:
    lines = [
        _line(_REFERENCE, [(c.reference, c) for c in block]),
        _line(_HYPOTHESIS, [(c.hypothesis, c) for c in block]),
    ]
    if any(column.operation != CORRECT for column in block):
        lines.append(_line(_EVAL, [(c.operation if c.operation != CORRECT else "", c) for c in block]))
    return Text("\n").join(lines)


def _line(label: str, cells: list[tuple[str, _Column]]) -> Text:
    line = Text.assemble((label, "dim"))
    for text, column in cells:
        line.append(text, _STYLE[column.operation])
        line.append(" " * (column.width - cell_len(text) + 1))
    line.rstrip()
    return line


def _headline(utterance: UtteranceErrors) -> Text:
    counts = utterance.words
    letters = f"S {counts.substitutions}  D {counts.deletions}  I {counts.insertions}"
    return Text.assemble(
        (utterance.id, "bold"),
        f"  {counts.errors} errors in {counts.reference_length} words",
        (f"  {letters}", "dim"),
    )


def summary_table(results: Mapping[str, Mapping[str, Any]]) -> Table:
    """A table of `score.json` objects, one column for each test set.

    Args:
        results: name of the test set -> its `score.json` object, fresh from `score_json` or read from the file

    Raises:
        ScoringError: an object lacks a key; names the set and the key.
    """
    for name, result in results.items():
        if missing := [key for key in SCORE_KEYS if key not in result]:
            raise ScoringError(f"expected the keys of score.json for {name}, got none of {', '.join(missing)}")
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    table.add_column()
    for name in results:
        table.add_column(name, justify="right", overflow="fold")
    for row in _rows([name for result in results.values() for name in result["normalized"]]):
        cells = [row.cell(result) for result in results.values()]
        if row.is_dispensable and set(cells) == {_NOTHING}:
            continue
        table.add_row(row.label, *cells, style=row.style, end_section=row.ends_section)
    return table


def markdown_table(results: Mapping[str, Mapping[str, Any]]) -> str:
    """The table of `summary_table` in Markdown, one row for each test set; same arguments."""
    columns = _rows([name for result in results.values() for name in result["normalized"]])
    lines = [
        "| set | " + " | ".join(column.label for column in columns) + " |",
        "|---|" + "---:|" * len(columns),
        *(
            f"| {name} | " + " | ".join(column.cell(result) for column in columns) + " |"
            for name, result in results.items()
        ),
    ]
    return "\n".join(lines) + "\n"


@dataclass(frozen=True, slots=True)
class _Row:
    label: str
    cell: Callable[[Mapping[str, Any]], str]
    style: str = ""
    ends_section: bool = False
    is_dispensable: bool = False  # where no test set has it


def _rows(normalizers: Sequence[str]) -> list[_Row]:
    """The rows of the table: the raw rates, those under each normaliser, counts, speed."""
    twins = [row for name in dict.fromkeys(normalizers) for row in _twin_rows(name)]
    return [*_RATES[:2], *twins, *_RATES[2:], *_COUNTS]


def _twin_rows(name: str) -> tuple[_Row, _Row]:
    """The rate under a normaliser; of sets that were scored without it, nothing."""
    nothing = {"wer": None, "wer_ci95": (None, None)}
    return (
        _Row(f"… {name} texts", lambda result: _percent(result["normalized"].get(name, nothing)["wer"]), style="bold"),
        _Row("95 % interval", lambda result: _range(*result["normalized"].get(name, nothing)["wer_ci95"])),
    )


_RATES = (
    _Row("Word error rate", lambda result: _percent(result["wer"]), style="bold"),
    _Row("95 % interval", lambda result: _range(*result["wer_ci95"])),
    _Row("Character error rate", lambda result: _percent(result["cer"])),
    _Row("Sentences with errors", lambda result: _percent(result["ser"]), ends_section=True),
)
_COUNTS = (
    _Row("Substitutions", lambda result: f"{result['substitutions']:,}"),
    _Row("Deletions", lambda result: f"{result['deletions']:,}"),
    _Row("Insertions", lambda result: f"{result['insertions']:,}", ends_section=True),
    _Row("Reference words", lambda result: f"{result['reference_words']:,}"),
    _Row("Utterances", lambda result: _number_scored(result)),
    _Row("Audio", lambda result: _clock(result["audio_seconds"]), ends_section=True, is_dispensable=True),
    _Row("Real-time factor", lambda result: _real_time_factor(result["rtfx"]), is_dispensable=True),
    _Row("Times real time", lambda result: _times(result["rtfx"]), is_dispensable=True),
)


def _number_scored(result: Mapping[str, Any]) -> str:
    scored, left_out = result["utterances"], result.get("left_out", 0)
    return f"{scored:,} of {scored + left_out:,}" if left_out else f"{scored:,}"


def _percent(rate: float | None) -> str:
    return _NOTHING if rate is None else f"{100 * rate:.2f} %"


def _range(low: float | None, high: float | None) -> str:
    return _NOTHING if low is None or high is None else f"{100 * low:.2f} – {100 * high:.2f} %"


def _clock(seconds: float | None) -> str:
    if seconds is None:
        return _NOTHING
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{seconds:02d}"


def _real_time_factor(rtfx: float | None) -> str:
    return f"{1 / rtfx:.2g}" if rtfx else _NOTHING


def _times(rtfx: float | None) -> str:
    return f"{rtfx:,.0f}×" if rtfx else _NOTHING


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
