"""Words as a tree of characters: which word a string is, whether it can become one, and how likely at best."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from asr.kernels import array_kernel

ROOT, OUTSIDE = 0, 1  # between words; a string that begins no word
CHARACTERS_PER_WORD = 8  # so many count as one word where they are none that is listed; in LibriSpeech such have 7.6
NOT_A_WORD = -1


@dataclass(frozen=True, slots=True)
class PrefixTree:
    """Node 0 is the empty string, node 1 every string that begins no word; the others are beginnings of words."""

    alphabet: tuple[str, ...]  # the character of each column of `children`
    children: NDArray[np.int32]  # (nodes, characters)
    word_ids: NDArray[np.int32]  # (nodes,) of the word that ends there, or NOT_A_WORD
    best_log_probs: NDArray[np.float64]  # (nodes,) the highest of the words below; -inf at OUTSIDE and without words
    depths: NDArray[np.int32]  # (nodes,) characters spelt; 0 at OUTSIDE

    @classmethod
    def build(
        cls, alphabet: Sequence[str], words: Sequence[str], word_ids: NDArray[np.int32], log_probs: NDArray[np.float64]
    ) -> PrefixTree:
        """Build the tree of `words` (all of them spelt with `alphabet`), each with its id and log-probability.

        Of a word that occurs twice the last id counts.
        """
        spelling, ends = spell(alphabet, words)
        children, ids, best, depths = _insert(
            spelling,
            ends,
            np.ascontiguousarray(word_ids, np.int32),
            log_probs.astype(np.float64),
            max(1, len(alphabet)),
        )
        return cls(tuple(alphabet), children, ids, best, depths)


def spell(alphabet: Sequence[str], words: Sequence[str]) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """The characters of all words in a row, as indices into `alphabet` (-1: not in it), and where each word ends."""
    ends = np.cumsum(np.fromiter(map(len, words), np.int64, len(words)))
    # surrogatepass: a lone surrogate of a damaged file becomes a character outside of every alphabet
    codes = np.frombuffer("".join(words).encode("utf-32-le", "surrogatepass"), np.uint32)
    order = np.argsort(np.array([ord(character) for character in alphabet], np.uint32))
    known = np.array([ord(alphabet[i]) for i in order], np.uint32)
    if not len(known):
        return np.full(len(codes), -1, np.int32), ends
    place = np.minimum(np.searchsorted(known, codes), len(known) - 1)
    return np.where(known[place] == codes, order[place], -1).astype(np.int32), ends


@array_kernel
def _insert(spelling, ends, word_ids, log_probs, num_characters):  # type: ignore[no-untyped-def]
    children = np.full((1024, num_characters), OUTSIDE, np.int32)
    ids = np.full(1024, NOT_A_WORD, np.int32)
    best = np.full(1024, -np.inf)
    depths = np.zeros(1024, np.int32)
    num_nodes = 2
    position = 0
    for word in range(len(ends)):
        node = ROOT
        while position < ends[word]:
            best[node] = max(best[node], log_probs[word])
            child = children[node, spelling[position]]
            if child == OUTSIDE:
                if num_nodes == len(ids):
                    children = np.concatenate((children, np.full_like(children, OUTSIDE)))
                    ids = np.concatenate((ids, np.full_like(ids, NOT_A_WORD)))
                    best = np.concatenate((best, np.full_like(best, -np.inf)))
                    depths = np.concatenate((depths, np.zeros_like(depths)))
                child = num_nodes
                num_nodes += 1
                children[node, spelling[position]] = child
                depths[child] = depths[node] + 1
            node = child
            position += 1
        ids[node] = word_ids[word]
        best[node] = max(best[node], log_probs[word])
    return children[:num_nodes].copy(), ids[:num_nodes].copy(), best[:num_nodes].copy(), depths[:num_nodes].copy()
