"""Errors counted by jiwer itself, for those who want its figures and not ones that equal them.

`asr score --alignment jiwer` comes here. The default counts the same errors by the same kernel, several times faster.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import jiwer

_LETTER = {"equal": "C", "substitute": "S", "delete": "D", "insert": "I"}  # as asr/scoring/alignment.py has them


def align_words(references: Sequence[Sequence[str]], hypotheses: Sequence[Sequence[str]]) -> list[str]:
    """Align each reference with the hypothesis of the same place; one letter per column.

    Words hold no white space: jiwer gets them with one space between, and parts them there.
    """
    if not references:
        return []
    import jiwer

    found = jiwer.process_words([" ".join(words) for words in references], [" ".join(words) for words in hypotheses])
    return _letters(found.alignments)


def align_characters(references: Sequence[str], hypotheses: Sequence[str]) -> list[str]:
    """The same of characters; texts have single spaces between words and none at the ends."""
    if not references:
        return []
    import jiwer

    return _letters(jiwer.process_characters(list(references), list(hypotheses)).alignments)


def _letters(alignments: Sequence[Sequence[jiwer.AlignmentChunk]]) -> list[str]:
    return ["".join(_LETTER[chunk.type] * _width(chunk) for chunk in chunks) for chunks in alignments]


def _width(chunk: jiwer.AlignmentChunk) -> int:
    """Columns of a chunk: one of its spans is empty, or both are equally long."""
    return max(chunk.ref_end_idx - chunk.ref_start_idx, chunk.hyp_end_idx - chunk.hyp_start_idx)
