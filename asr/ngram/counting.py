"""Counts of n-grams, order by order: an n-gram is the number of its first n - 1 words, and one word more.

So packed in 64 bits, whatever the order, the n-grams that end at every place of the text are sorted once an order, and
their ranks are the numbers that the next order builds on.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from asr.errors import LanguageModelError
from asr.ngram.tables import BEGIN_ID
from asr.ngram.text import Corpus

MAX_WORDS = np.iinfo(np.int32).max  # <s> and </s> of each sentence included

_NOTHING = -1  # at places of the text where no n-gram ends, as the sentence is shorter so far


@dataclass(frozen=True, slots=True)
class OrderCounts:
    """All n-grams of one order, numbered in the order of their words from the first to the last.

    Adjusted counts are those of Kneser-Ney: how many different words come before the n-gram, or how often it comes
    itself when nothing can come before it (it begins with <s>) and in the highest order.
    """

    contexts: NDArray[np.int32]  # (M,) ascending; the first n - 1 words' number in the order below; 0 for unigrams
    last_words: NDArray[np.int32]  # (M,)
    suffixes: NDArray[np.int32]  # (M,) the last n - 1 words' number in the order below; 0 for unigrams
    occurrences: NDArray[np.int32]  # (M,); 0 for <s> alone, which is never predicted
    adjusted: NDArray[np.int32]  # (M,)

    def __len__(self) -> int:
        return len(self.last_words)


@dataclass(frozen=True, slots=True)
class _PlacedNgrams:
    """The n-grams of one order, and where in the text they are."""

    counts: OrderCounts
    begin_sentence: NDArray[np.bool_]  # (M,) whether the first word is <s>
    ending: NDArray[np.int32]  # (L,) the number of the n-gram that ends at a place, or _NOTHING


def count_ngrams(
    corpus: Corpus, order: int, on_progress: Callable[[float], None] | None = None
) -> tuple[OrderCounts, ...]:
    """Count the n-grams of all orders up to `order`, with one <s> before each sentence; none reaches over its end.

    `on_progress` is told the fraction that is done. The memory is about 75 bytes for each word of text.

    Raises:
        LanguageModelError: the text is too long to be numbered in 32 bits.
    """
    if len(corpus.ids) > MAX_WORDS:
        raise LanguageModelError(
            f"expected a text of at most {MAX_WORDS} words, got {len(corpus.ids)}; use a part of it"
        )
    ngrams = _unigrams(corpus)
    finished = []
    for n in range(2, order + 1):
        longer = _extended(ngrams, corpus.ids, len(corpus.vocab))
        extensions = np.bincount(longer.counts.suffixes, minlength=len(ngrams.counts)).astype(np.int32)
        adjusted = np.where(ngrams.begin_sentence, ngrams.counts.occurrences, extensions)
        finished.append(replace(ngrams.counts, adjusted=adjusted))
        ngrams = longer
        if on_progress is not None:
            on_progress((n - 1) / (order - 1))
    return (*finished, ngrams.counts)


def _unigrams(corpus: Corpus) -> _PlacedNgrams:
    vocab_size = len(corpus.vocab)
    occurrences = np.bincount(corpus.ids, minlength=vocab_size).astype(np.int32)
    occurrences[BEGIN_ID] = 0
    words = np.arange(vocab_size, dtype=np.int32)
    root = np.zeros(vocab_size, np.int32)
    return _PlacedNgrams(OrderCounts(root, words, root, occurrences, occurrences), words == BEGIN_ID, corpus.ids)


def _extended(ngrams: _PlacedNgrams, ids: NDArray[np.int32], vocab_size: int) -> _PlacedNgrams:
    """The n-grams that are one word longer."""
    places = np.flatnonzero((ngrams.ending[:-1] != _NOTHING) & (ids[1:] != BEGIN_ID)) + 1
    keys = ngrams.ending[places - 1].astype(np.int64) * vocab_size + ids[places]
    by_key = np.argsort(keys)
    keys = keys[by_key]
    places = places[by_key]
    is_first = np.concatenate([[True], keys[1:] != keys[:-1]]) if len(keys) else np.zeros(0, np.bool_)
    firsts = np.flatnonzero(is_first)
    contexts, last_words = np.divmod(keys[firsts], vocab_size)
    occurrences = np.diff(firsts, append=len(keys)).astype(np.int32)
    ending = np.full(len(ids), _NOTHING, np.int32)
    ending[places] = np.cumsum(is_first, dtype=np.int32) - 1
    suffixes = ngrams.ending[places[firsts]]
    counts = OrderCounts(contexts.astype(np.int32), last_words.astype(np.int32), suffixes, occurrences, occurrences)
    return _PlacedNgrams(counts, ngrams.begin_sentence[contexts], ending)
