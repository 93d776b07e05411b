"""The n-grams of a model as plain tables: what estimation makes, what ARPA files hold, what a model is built from."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

UNKNOWN, BEGIN, END = "<unk>", "<s>", "</s>"
SPECIAL_WORDS = (UNKNOWN, BEGIN, END)
UNKNOWN_ID, BEGIN_ID, END_ID = range(3)


@dataclass(frozen=True, slots=True)
class OrderTable:
    """All n-grams of one order, sorted by their words, the first one first; base-10 logarithms as in ARPA."""

    words: NDArray[np.int32]  # (M, n) ids into `NgramTables.vocab`
    log10_probs: NDArray[np.float32]  # (M,)
    log10_backoffs: NDArray[np.float32]  # (M,); 0 where an n-gram is no context; all 0 in the highest order


@dataclass(frozen=True, slots=True)
class NgramTables:
    """A back-off model: log10 p(w | h) is that of the longest n-gram h w that is there, plus back-offs on the way."""

    vocab: tuple[str, ...]  # begins with <unk>, <s>, </s>
    orders: tuple[OrderTable, ...]  # orders[n - 1] holds the n-grams; orders[0] has one row for each word of `vocab`

    @property
    def order(self) -> int:
        """The longest n-gram's length."""
        return len(self.orders)
