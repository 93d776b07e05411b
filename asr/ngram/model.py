"""A back-off n-gram model as a trie of flat arrays, small and quick to load, and how it scores sentences.

The trie is in breadth-first order and contexts are read forward: node 0 is the empty context, the root; node 1 + w is
the word w; then come all bigrams sorted by their first word and their second, then trigrams, and so on. A state of the
model is a node that can be a context. What lookups do with it is in `asr.ngram.lookup`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from asr.errors import LanguageModelError
from asr.ngram.arpa_reader import read_arpa
from asr.ngram.blocks import Progress
from asr.ngram.lookup import ROOT, score_stream
from asr.ngram.model_file import ModelFile, is_model_file, read_model_file, write_model_file
from asr.ngram.tables import BEGIN_ID, END_ID, UNKNOWN_ID, NgramTables
from asr.ngram.trie import MISSING, find_contexts, link_suffixes
from asr.ngram.trie_check import MAX_NODES, check_trie, order_starts

LN_10 = math.log(10.0)
ARRAYS = ("words", "log_probs", "suffixes", "backoffs", "first_child")


@dataclass(frozen=True, slots=True)
class WordScores:
    """What a model says of each word of a text, </s> included."""

    log_probs: NDArray[np.float32]  # (L,) natural logarithms
    ngram_lengths: NDArray[np.int32]  # (L,) words of the n-gram that was found, the word itself among them


@dataclass(frozen=True, eq=False)
class NgramModel:
    """A back-off model for lookups. Its arrays are read-only; all logarithms are natural.

    Raises:
        LanguageModelError: the arrays are not those of a trie. Lookups check nothing, so they rely on this.
    """

    vocab: tuple[str, ...]  # begins with <unk>, <s>, </s>
    num_ngrams: tuple[int, ...]  # of each order
    words: NDArray[np.int32]  # (num_nodes,) the last word of each node's n-gram; -1 for the root
    log_probs: NDArray[np.float32]  # (num_nodes,) ln p(word | words before); 0 for the root
    suffixes: NDArray[np.int32]  # (num_nodes,) node of the longest proper suffix that is in the model
    backoffs: NDArray[np.float32]  # (num_contexts,) ln back-off; contexts are the nodes of all orders but the highest
    first_child: NDArray[np.int32]  # (num_contexts + 1,) the children of c are first_child[c] : first_child[c + 1]

    def __post_init__(self) -> None:
        for name in ARRAYS:
            getattr(self, name).flags.writeable = False  # also: one type for compiled code, mapped or not
        check_trie(self)

    @classmethod
    def from_tables(cls, tables: NgramTables) -> NgramModel:
        """Build the trie.

        Raises:
            LanguageModelError: a row is out of order, or an n-gram's context is not in the tables.
        """
        starts = order_starts([len(table.words) for table in tables.orders])
        first_child = _number_children(tables, starts)
        words = np.concatenate([[-1], *(table.words[:, -1] for table in tables.orders)]).astype(np.int32)
        backoffs = [LN_10 * table.log10_backoffs.astype(np.float64) for table in tables.orders[:-1]]
        log_probs = [LN_10 * table.log10_probs.astype(np.float64) for table in tables.orders]
        return cls(
            vocab=tables.vocab,
            num_ngrams=tuple(len(table.words) for table in tables.orders),
            words=words,
            log_probs=np.concatenate([[0.0], *log_probs]).astype(np.float32),
            suffixes=link_suffixes(words, first_child),
            backoffs=np.concatenate([[0.0], *backoffs]).astype(np.float32),
            first_child=first_child,
        )

    def save(self, path: str | Path) -> None:
        """Write the model as one file, usually named *.lm, which `load_ngram` maps into memory."""
        arrays: dict[str, NDArray[Any]] = {name: getattr(self, name) for name in ARRAYS}
        write_model_file(path, ModelFile(self.num_ngrams, self.vocab, arrays))

    @property
    def order(self) -> int:
        """The longest n-gram's length."""
        return len(self.num_ngrams)

    @property
    def begin_state(self) -> int:
        """The state at the beginning of a sentence: after <s>, if words can be contexts at all."""
        return 1 + BEGIN_ID if self.order > 1 else ROOT

    def word_id(self, word: str) -> int:
        """The number of a word, that of <unk> for one that the model does not know."""
        return self._ids.get(word, UNKNOWN_ID)

    def score(self, sentence: str | Sequence[str]) -> NDArray[np.float32]:
        """The natural logarithm of each word's probability and of that of </s> after them: (number of words + 1,)."""
        words = sentence.split() if isinstance(sentence, str) else sentence
        return self.score_ids([*map(self.word_id, words), END_ID]).log_probs

    def score_ids(self, stream: Iterable[int] | NDArray[np.int32]) -> WordScores:
        """Score sentences given as one stream of word numbers, END_ID after each and no BEGIN_ID; millions a second.

        Raises:
            LanguageModelError: a number is not that of a word.
        """
        ids = np.ascontiguousarray(stream if isinstance(stream, np.ndarray) else list(stream), dtype=np.int32)
        if len(ids) and (ids.min() < 0 or ids.max() >= len(self.vocab)):
            raise LanguageModelError(
                f"expected word numbers from 0 to {len(self.vocab) - 1}, got {ids.min()} to {ids.max()}"
            )
        log_probs, nodes = np.empty(len(ids), dtype=np.float32), np.empty(len(ids), dtype=np.int32)
        score_stream(
            self.words,
            self.log_probs,
            self.suffixes,
            self.backoffs,
            self.first_child,
            self.begin_state,
            ids,
            log_probs,
            nodes,
        )
        lengths = np.searchsorted(order_starts(self.num_ngrams), nodes, side="right").astype(np.int32)
        return WordScores(log_probs, lengths)

    @cached_property
    def _ids(self) -> dict[str, int]:
        return {word: word_id for word_id, word in enumerate(self.vocab)}


def load_ngram(path: str | Path, on_progress: Progress | None = None) -> NgramModel:
    """Load a model from an ARPA file, plain or compressed, or from what `NgramModel.save` wrote.

    Raises:
        LanguageModelError: the file cannot be read or is malformed; names it, and of an ARPA file the line.
    """
    if Path(path).is_dir():
        raise LanguageModelError(
            f"{path}: expected an ARPA file or what `asr lm compile` wrote, got a directory; a recurrent language "
            "model, which is one, goes to --rescoring-model"
        )
    try:
        compiled = is_model_file(Path(path))
    except OSError as error:
        raise LanguageModelError(f"{path}: cannot read the language model: {error.strerror or error}") from error
    if not compiled:
        return NgramModel.from_tables(read_arpa(path, on_progress))
    file = read_model_file(path)
    try:
        return NgramModel(file.vocab, file.counts, **file.arrays)
    except LanguageModelError as error:
        raise LanguageModelError(f"{path}: {error}; compile the model again") from error


def _number_children(tables: NgramTables, starts: NDArray[np.int64]) -> NDArray[np.int32]:
    """The array `first_child`."""
    if starts[-1] > MAX_NODES:
        raise LanguageModelError(f"expected at most {MAX_NODES} n-grams, got {starts[-1] - 1}; prune the model")
    num_contexts = int(starts[-2])
    num_children = np.zeros(num_contexts, dtype=np.int64)
    num_children[ROOT] = len(tables.vocab)
    for shorter, table, start in zip(tables.orders, tables.orders[1:], starts):
        contexts = find_contexts(shorter.words, table.words)
        if (contexts == MISSING).any():
            row = int(np.argmax(contexts == MISSING))
            ngram = " ".join(tables.vocab[word] for word in table.words[row])
            raise LanguageModelError(f"expected sorted tables with each n-gram's context, got {ngram!r} without one")
        num_children[start : start + len(shorter.words)] = np.bincount(contexts, minlength=len(shorter.words))
    return np.cumsum([1, *num_children]).astype(np.int32)
