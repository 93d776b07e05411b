"""Compiled loops that turn sorted n-grams into a trie: sorting, contexts, suffix links."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from asr.kernels import array_kernel
from asr.ngram.lookup import find_child

MISSING = -1


@array_kernel
def _sort_by_column(keys: NDArray[np.int32], order: NDArray[np.int32], num_keys: int) -> NDArray[np.int32]:
    """Reorder `order` by keys[order], stably (a counting sort)."""
    ends = np.zeros(num_keys + 1, dtype=np.int64)
    for row in range(len(keys)):
        ends[keys[row] + 1] += 1
    ends = np.cumsum(ends)
    ordered = np.empty_like(order)
    for row in order:
        key = keys[row]
        ordered[ends[key]] = row
        ends[key] += 1
    return ordered


def lexicographic_order(words: NDArray[np.int32], vocab_size: int) -> NDArray[np.int32]:
    """The order of rows in which `words`, (M, n) with entries in [0, vocab_size), is sorted; equal rows stay in order.

    Radix sort with a word as digit: n passes, each linear in M.
    """
    order = np.arange(len(words), dtype=np.int32)
    for column in range(words.shape[1] - 1, -1, -1):
        order = _sort_by_column(np.ascontiguousarray(words[:, column]), order, vocab_size)
    return order


@array_kernel
def _compare(prefixes: NDArray[np.int32], row: int, words: NDArray[np.int32], other: int) -> int:
    """Negative, zero or positive as prefixes[row] comes before, begins or comes after words[other]."""
    for column in range(prefixes.shape[1]):
        if prefixes[row, column] != words[other, column]:
            return 1 if prefixes[row, column] > words[other, column] else -1
    return 0


@array_kernel
def find_contexts(shorter: NDArray[np.int32], words: NDArray[np.int32]) -> NDArray[np.int32]:
    """The row of `shorter`, (K, n - 1), that each row of `words`, (M, n), begins with; MISSING where there is none.

    Both are sorted, so that one walk through the two suffices.
    """
    contexts = np.empty(len(words), dtype=np.int32)
    context = 0
    for row in range(len(words)):
        while context < len(shorter) and _compare(shorter, context, words, row) < 0:
            context += 1
        found = context < len(shorter) and _compare(shorter, context, words, row) == 0
        contexts[row] = context if found else MISSING
    return contexts


@array_kernel
def link_suffixes(words: NDArray[np.int32], first_child: NDArray[np.int32]) -> NDArray[np.int32]:
    """For each node the node of its longest proper suffix that is in the trie.

    The suffix of (h w) is (h' w) for the longest suffix h' of h that w was seen after: the failure links of Aho and
    Corasick (1975). Breadth-first order has the links of h ready when those of its children are made.
    """
    suffixes = np.zeros(len(words), dtype=np.int32)
    # The children of the root are single words, whose only suffix is the root.
    for context in range(1, len(first_child) - 1):
        for node in range(first_child[context], first_child[context + 1]):
            shorter = suffixes[context]
            child = find_child(words, first_child, shorter, words[node])
            while child < 0:
                shorter = suffixes[shorter]
                child = find_child(words, first_child, shorter, words[node])
            suffixes[node] = child
    return suffixes
