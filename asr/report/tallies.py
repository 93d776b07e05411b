"""Which words are taken for which, invented and lost, and how often."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from asr.scoring.errors import CORRECT, DELETION, INSERTION, SUBSTITUTION, AlignedWord, Score


@dataclass(frozen=True, slots=True)
class Tally:
    """How often one kind of error was made with which words; most often first, then by the alphabet."""

    title: str
    rows: tuple[tuple[AlignedWord, int], ...]
    distinct: int  # words or pairs in all, of which `rows` are the most frequent
    total: int  # errors in all


def tallies(score: Score, most: int) -> list[Tally]:
    """Count confusion pairs, insertions and deletions, and keep the `most` frequent of each."""
    counts = Counter(
        word for utterance in score.utterances for word in utterance.aligned_words() if word.operation != CORRECT
    )
    titles = {SUBSTITUTION: "Confusion pairs", INSERTION: "Insertions", DELETION: "Deletions"}
    return [
        _tally(title, {w: n for w, n in counts.items() if w.operation == kind}, most) for kind, title in titles.items()
    ]


def _tally(title: str, counts: dict[AlignedWord, int], most: int) -> Tally:
    rows = sorted(counts.items(), key=lambda item: (-item[1], item[0].reference or "", item[0].hypothesis or ""))
    return Tally(title, tuple(rows[:most]), distinct=len(rows), total=sum(counts.values()))
