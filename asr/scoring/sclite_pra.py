"""sclite's `.pra` report: every utterance with its reference and hypothesis aligned, wrong words in upper case."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from itertools import count, takewhile
from typing import Any, NamedTuple

from rich.cells import cell_len

from asr.scoring.errors import CORRECT, UtteranceErrors
from asr.scoring.sclite_parts import aligned_columns, by_speaker, folds_case
from asr.scoring.scored_set import Details, ScoredSet

LINE_WIDTH = 1000  # sclite's; longer alignments are broken
# Fields of `Details.fields` where references are time-marked (asr/scoring/time_marked.py), by their name in the report.
_TIME_MARKED_FIELDS = {"File": "file", "Channel": "channel"}
_LABEL_FIELD = "label_{}"  # numbered from 1
_TITLES = ("REF:  ", "HYP:  ", "Eval: ")
_CONTINUED = ">> "


def pra_text(scored: ScoredSet) -> str:
    """The alignments, speaker by speaker; see `asr/scoring/sclite.py` for what differs from sclite."""
    speakers = by_speaker(scored)
    folded = folds_case(scored.score)
    pieces = [f"\n\n\t\tDUMP OF SYSTEM ALIGNMENT STRUCTURE\n\nSystem name:   {scored.system}\n\nSpeakers: \n"]
    pieces += [f"   {number:2d}:  {speaker.name}\n" for number, speaker in enumerate(speakers)]
    pieces.append("\n")
    for number, speaker in enumerate(speakers):
        utterances = speaker.score.utterances
        pieces.append(f"Speaker sentences{number:4d}:  {speaker.name}   #utts: {len(utterances)}\n")
        pieces += [_utterance_text(utterance, scored.details[utterance.id], folded) for utterance in utterances]
    return "".join(pieces) + "\n"


def _utterance_text(utterance: UtteranceErrors, details: Details, folded: bool) -> str:
    words = utterance.words
    lines = [f"id: ({utterance.id})"]
    lines += _time_marked_lines(details.fields)
    lines.append(f"Scores: (#C #S #D #I) {words.hits} {words.substitutions} {words.deletions} {words.insertions}")
    lines += [] if folded else ["Attributes: Case_sensitve "]  # spelt as sclite spells it
    lines += _alignment_lines(_columns(utterance, folded))
    return "\n".join(lines) + "\n\n"


def _time_marked_lines(fields: Mapping[str, Any]) -> list[str]:
    numbered = (_LABEL_FIELD.format(number) for number in count(1))
    labels = [str(fields[name]) for name in takewhile(fields.__contains__, numbered)]
    lines = [f"Labels: <{','.join(labels)}>"] if labels else []
    return lines + [f"{title}: {fields[name]}" for title, name in _TIME_MARKED_FIELDS.items() if name in fields]


# ---- the alignment ---------------------------------------------------------------------------------------------------


class _Column(NamedTuple):
    """One aligned word as printed on the three lines, each cell as wide as the wider word and a space."""

    reference: str
    hypothesis: str
    letter: str


def _columns(utterance: UtteranceErrors, folded: bool) -> list[_Column]:
    return [
        _right(word.reference, folded)
        if word.reference and word.reference == word.hypothesis
        else _column(word.operation, word.reference or "", word.hypothesis or "", folded)
        for word in aligned_columns(utterance)
    ]


@lru_cache(maxsize=1 << 16)  # most columns, and few of them different
def _right(word: str, folded: bool) -> _Column:
    return _column(CORRECT, word, word, folded)


def _column(letter: str, reference: str, hypothesis: str, folded: bool) -> _Column:
    if letter == CORRECT:
        spell, gap, mark = str.lower, " ", " "
    else:
        spell, gap, mark = str.upper, "*", letter
    texts = (spell(reference), spell(hypothesis)) if folded else (reference, hypothesis)
    width = max(map(_width, texts))
    above, below = (_padded(text or gap * width, width) for text in texts)
    return _Column(above, below, mark.ljust(width + 1))


def _alignment_lines(columns: Sequence[_Column]) -> Iterator[str]:
    start = 0
    while start < len(columns):
        end = _break(columns, start)
        if start:
            yield ""
        for title, cells in zip(_TITLES, zip(*columns[start:end])):
            yield (_CONTINUED if start else "") + title + "".join(cells)
        start = end


def _break(columns: Sequence[_Column], start: int) -> int:
    """Where the line that begins at a column ends: a column that reaches `LINE_WIDTH` begins the next one."""
    used = len(_TITLES[0]) + (len(_CONTINUED) if start else 0)
    end = start
    while used < LINE_WIDTH and end < len(columns):
        used += len(columns[end].letter)
        end += 1
    return end if end == len(columns) else max(end - 1, start + 1)


def _padded(text: str, width: int) -> str:
    return text + " " * (width - _width(text) + 1)


def _width(text: str) -> int:
    return len(text) if text.isascii() else cell_len(text)
