"""What an error costs, and the alignment of token sequences at minimum cost.

Three have a name, for the programs that everybody's numbers come from:

- `LEVENSHTEIN` counts errors, each costs 1: rapidfuzz's alignment, the kernel inside jiwer, and equal to jiwer's
  letter by letter.
- `SCLITE`, NIST's: 4 for a substitution, 3 for a deletion or an insertion. A word that is right stays right: "a b"
  against "b c" is a deletion, a correct word and an insertion (6) and not two substitutions (8), so that there may be
  an error more than LEVENSHTEIN counts.
- `JIWER` costs what LEVENSHTEIN does, and jiwer itself aligns and counts.

The cheapest alignment is rarely the only one. sclite (2.10) fills a table with a row for each reference word and a
column for each hypothesis word, and notes for each cell one way to reach it: the diagonal (correct or substituted)
unless a deletion or an insertion is cheaper; of these two the deletion if it is cheaper, else the insertion. Then it
reads the alignment from the last cell backwards. So gaps lie as early as they can, and deletions before insertions.
All costs but LEVENSHTEIN and JIWER are aligned by that rule.

Tokens are compared as they come. sclite folds the case of letters first unless it is called with `-s`; here texts are
normalised before they are scored. A fragment (`wor-`) is a word like any other, as in sclite without `-F`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass
from itertools import chain
from typing import TYPE_CHECKING, cast

from rapidfuzz.distance import Levenshtein

from asr.errors import ScoringError
from asr.scoring import jiwer_counts

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from asr.scoring.alignment_kernel import Texts

# One letter for each aligned column, as NIST sclite writes them.
CORRECT, SUBSTITUTION, DELETION, INSERTION = "C", "S", "D", "I"
_LETTER = {"equal": CORRECT, "replace": SUBSTITUTION, "delete": DELETION, "insert": INSERTION}
_Block = tuple[str, int, int, int, int]  # rapidfuzz's: tag, reference start and end, hypothesis start and end


@dataclass(frozen=True, slots=True)
class Costs:
    """What each error costs in an alignment. Counts are of errors, whatever they cost."""

    substitution: float
    deletion: float
    insertion: float
    omission: float = 0.0  # of an optional word of the reference (asr/scoring/networks.py); no error
    by_jiwer: bool = False  # jiwer aligns; its costs are 1

    def __post_init__(self) -> None:
        if not all(math.isfinite(cost) and cost >= 0 for cost in astuple(self)):
            raise ScoringError(f"expected costs that are finite and not negative, got {self}")
        if self.by_jiwer and (self.substitution, self.deletion, self.insertion) != (1, 1, 1):
            raise ScoringError(f"expected the costs 1, 1 and 1, which jiwer has, got {self}")

    def array(self) -> NDArray[np.float32]:
        """(3,) of a substitution, a deletion and an insertion, for the kernels."""
        import numpy as np

        return np.array([self.substitution, self.deletion, self.insertion], np.float32)


LEVENSHTEIN = Costs(1, 1, 1)
SCLITE = Costs(4, 3, 3, omission=2)
JIWER = Costs(1, 1, 1, by_jiwer=True)


def align(reference: Sequence[str], hypothesis: Sequence[str], costs: Costs = LEVENSHTEIN) -> str:
    """Align two token sequences at minimum cost; one letter a column, see `UtteranceErrors.operations`.

    A string is a sequence of its code points. Many pairs go faster through `align_all`.
    """
    return align_all([reference], [hypothesis], costs)[0]


def align_all(
    references: Sequence[Sequence[str]], hypotheses: Sequence[Sequence[str]], costs: Costs = LEVENSHTEIN
) -> list[str]:
    """Align each reference with the hypothesis of the same place."""
    if costs == LEVENSHTEIN:
        return [_align_by_rapidfuzz(*pair) for pair in zip(references, hypotheses)]
    if costs.by_jiwer:
        return jiwer_counts.align_words(references, hypotheses)
    from asr.scoring.alignment_kernel import align_texts  # compiled code takes half a second to load

    tokens = dict.fromkeys(chain(chain.from_iterable(references), chain.from_iterable(hypotheses)))
    ids = dict(zip(tokens, range(len(tokens))))
    found = align_texts(_texts(references, ids), _texts(hypotheses, ids), costs.array())
    letters = found.letters.tobytes().decode("ascii")
    return [letters[start:end] for start, end in zip(found.starts.tolist(), found.ends.tolist())]


def count_errors(reference: Sequence[str], hypothesis: Sequence[str]) -> tuple[int, int, int]:
    """Substitutions, deletions and insertions of `align` with LEVENSHTEIN, in a third less time."""
    substitutions = deletions = 0
    for tag, start, end, _, _ in _blocks(reference, hypothesis):
        if tag == "replace":
            substitutions += end - start
        elif tag == "delete":
            deletions += end - start
    return substitutions, deletions, len(hypothesis) - len(reference) + deletions


def _align_by_rapidfuzz(reference: Sequence[str], hypothesis: Sequence[str]) -> str:
    # One of the two spans of an insertion or deletion is empty; otherwise both are equally long.
    blocks = _blocks(reference, hypothesis)
    return "".join([_LETTER[tag] * ((end - start) or (to_end - to)) for tag, start, end, to, to_end in blocks])


def _blocks(reference: Sequence[str], hypothesis: Sequence[str]) -> list[_Block]:
    # rapidfuzz gives plain tuples here, against its annotation, which makes this twice as fast as its objects.
    return cast("list[_Block]", Levenshtein.opcodes(reference, hypothesis).as_list())


def _texts(sequences: Sequence[Sequence[str]], ids: Mapping[str, int]) -> Texts:
    import numpy as np

    from asr.scoring.alignment_kernel import Texts

    starts = np.cumsum([0, *map(len, sequences)], dtype=np.int64)
    tokens = map(ids.__getitem__, chain.from_iterable(sequences))
    return Texts(np.fromiter(tokens, np.int32, count=int(starts[-1])), starts)
