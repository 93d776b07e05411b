"""Whether arrays are those of a trie, so that lookups, which check nothing, stay inside them and come to an end.

Every index that a lookup computes is then in range: a word is a child of the root; the children of a context lie
between two entries of `first_child`, which only increase up to the number of nodes; a suffix belongs to a shorter
n-gram than its node, so that it is a context, and following suffixes ends at the root in fewer steps than the model's
order. That each suffix ends in its node's word, that siblings are sorted and that all logarithms are finite makes
answers sensible. It takes one pass over each array, 0.1 s for 10 million n-grams.
"""

# ruff: noqa: D102  (what the arrays are is documented once, by the model)

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from asr.errors import LanguageModelError
from asr.ngram.tables import SPECIAL_WORDS

MAX_NODES = 2**31 - 1  # node numbers are int32


class Trie(Protocol):
    """What is checked: the arrays of `asr.ngram.model.NgramModel`, see there."""

    @property
    def vocab(self) -> tuple[str, ...]: ...
    @property
    def num_ngrams(self) -> tuple[int, ...]: ...
    @property
    def words(self) -> NDArray[np.int32]: ...
    @property
    def log_probs(self) -> NDArray[np.float32]: ...
    @property
    def suffixes(self) -> NDArray[np.int32]: ...
    @property
    def backoffs(self) -> NDArray[np.float32]: ...
    @property
    def first_child(self) -> NDArray[np.int32]: ...


def order_starts(counts: Sequence[int]) -> NDArray[np.int64]:
    """(N + 1,) the first node of each order, and the number of nodes."""
    return np.cumsum([1, *counts], dtype=np.int64)


def check_trie(model: Trie) -> None:
    """Raise LanguageModelError unless the arrays of `model` fit together."""
    _check_vocab(model)
    _check_sizes(model)
    _check_children(model)
    _check_words(model)
    _check_suffixes(model)
    _check_logarithms(model)


def _check_vocab(model: Trie) -> None:
    vocab = model.vocab
    if vocab[:3] != SPECIAL_WORDS:
        raise LanguageModelError(f"vocab: expected {', '.join(SPECIAL_WORDS)} first, got {', '.join(vocab[:3])}")
    if len(set(vocab)) < len(vocab):
        raise LanguageModelError("vocab: expected each word once")
    if not model.num_ngrams or model.num_ngrams[0] != len(vocab) or sum(model.num_ngrams) >= MAX_NODES:
        raise LanguageModelError(
            f"num_ngrams: expected {len(vocab)} 1-grams, one for each word, and at most {MAX_NODES - 1} n-grams in "
            f"all, got {model.num_ngrams}"
        )


def _check_sizes(model: Trie) -> None:
    starts = order_starts(model.num_ngrams)
    num_nodes, num_contexts = int(starts[-1]), int(starts[-2])
    expected = {
        "words": (np.int32, num_nodes),
        "log_probs": (np.float32, num_nodes),
        "suffixes": (np.int32, num_nodes),
        "backoffs": (np.float32, num_contexts),
        "first_child": (np.int32, num_contexts + 1),
    }
    for name, (dtype, size) in expected.items():
        array = getattr(model, name)
        if array.dtype != dtype or array.shape != (size,):
            raise LanguageModelError(
                f"{name}: expected ({size},) {np.dtype(dtype)} for {model.num_ngrams} n-grams, "
                f"got {array.shape} {array.dtype}"
            )


def _check_children(model: Trie) -> None:
    starts, first_child = order_starts(model.num_ngrams), model.first_child
    _refuse("first_child", "places that never decrease", first_child[1:] < first_child[:-1])
    # The first context of each order has the first node of the next order as its first child.
    boundaries = first_child[np.concatenate([[0], starts[:-1]])]
    _refuse("first_child", "the children of each order to be the next order", boundaries != starts)


def _check_words(model: Trie) -> None:
    words, vocab_size = model.words, len(model.vocab)
    unigrams = np.arange(-1, vocab_size)  # and the root
    _refuse("words", "the vocabulary in order after the root", words[: vocab_size + 1] != unigrams)
    _refuse("words", f"word numbers from 0 to {vocab_size - 1}", (words[1:] < 0) | (words[1:] >= vocab_size))
    unsorted = words[1:] <= words[:-1]
    begins = model.first_child[:-1]  # where a child begins a new family, no order is expected
    unsorted[begins[begins < len(words)] - 1] = False
    _refuse("words", "the children of a context to be sorted", unsorted)


def _check_suffixes(model: Trie) -> None:
    starts, suffixes = order_starts(model.num_ngrams), model.suffixes
    _refuse("suffixes", "the root as suffix of the root and of single words", suffixes[: starts[1]] != 0)
    for start, end in pairwise(starts[1:].tolist()):
        of_order = suffixes[start:end]
        _refuse("suffixes", "the node of a shorter n-gram", (of_order < 1) | (of_order >= start))
        _refuse("suffixes", "a node of the same word", model.words[of_order] != model.words[start:end])


def _check_logarithms(model: Trie) -> None:
    log_probs, backoffs = model.log_probs, model.backoffs
    _refuse("log_probs", "finite numbers of at most 0", ~(np.isfinite(log_probs) & (log_probs <= 0.0)))
    _refuse("backoffs", "finite numbers", ~np.isfinite(backoffs))
    _refuse("backoffs", "0 for the root, from which nothing backs off", backoffs[:1] != 0.0)


def _refuse(name: str, expected: str, wrong: NDArray[np.bool_]) -> None:
    if wrong.any():
        raise LanguageModelError(f"{name}: expected {expected}; entry {int(np.argmax(wrong))} of those is not right")
