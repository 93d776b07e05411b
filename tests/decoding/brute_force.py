"""The sum over all paths, and scores of labellings from their definition: what a beam search must equal."""

import itertools
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from asr.ctc import collapse
from asr.ngram.model import NgramModel
from asr.ngram.tables import END_ID, NgramTables, OrderTable
from asr.text.tokens import Tokenizer


@dataclass(frozen=True)
class Pieces(Tokenizer):
    """A tokenizer of any surfaces, for tests: the first is the blank's."""

    pieces: tuple[str, ...]

    @property
    def vocab(self) -> tuple[str, ...]:
        return ("<blank>", *self.pieces)

    @property
    def surfaces(self) -> tuple[str, ...]:
        return ("", *self.pieces)

    def encode(self, text: str) -> list[int]:
        raise NotImplementedError

    def unknown_symbols(self, text: str) -> tuple[str, ...]:
        known = set("".join(self.pieces)) | {" "}
        return tuple(sorted(set(text) - known))

    def to_json(self) -> dict[str, Any]:
        raise NotImplementedError


def random_log_probs(rng: np.random.Generator, num_frames: int, vocab_size: int) -> np.ndarray:
    logits = rng.normal(size=(num_frames, vocab_size)) * rng.choice([0.5, 2.0, 5.0])
    return (logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))).astype(np.float32)


def labelling_log_probs(log_probs: np.ndarray) -> dict[tuple[int, ...], float]:
    """ln p of every labelling of (T, V) log-probabilities, summed over its paths."""
    num_frames, vocab_size = log_probs.shape
    paths = np.array(list(itertools.product(range(vocab_size), repeat=num_frames)))
    probabilities = np.exp(log_probs.astype(np.float64)[np.arange(num_frames), paths].sum(axis=1))
    sums: dict[tuple[int, ...], float] = defaultdict(float)
    for path, probability in zip(paths.tolist(), probabilities.tolist()):
        sums[tuple(collapse(path))] += probability
    return {tokens: float(np.log(p)) for tokens, p in sums.items() if p > 0}


def random_ngrams(rng: np.random.Generator, words: Sequence[str], order: int = 3) -> NgramModel:
    """A back-off model with random probabilities of random n-grams; they do not add up to 1, which no search minds."""
    vocab = ("<unk>", "<s>", "</s>", *words)
    orders, contexts = [], [()]
    for n in range(1, order + 1):
        rows = [(*context, w) for context in contexts for w in range(len(vocab))]
        if n > 1:
            rows = [row for row in rows if row[-1] != 1 and rng.random() < 0.4] or rows[:1]
        table = np.array(sorted(rows), np.int32)
        backoffs = -rng.uniform(0.0, 1.0, len(rows)).astype(np.float32) * (n < order)
        orders.append(OrderTable(table, -rng.uniform(0.1, 2.0, len(rows)).astype(np.float32), backoffs))
        contexts = [row for row in sorted(rows) if row[-1] != END_ID]
    return NgramModel.from_tables(NgramTables(vocab, tuple(orders)))


def sentence_log_prob(model: NgramModel, words: Sequence[str]) -> float:
    """ln p of a sentence with its end, by the definition of back-off: longest n-gram, and back-offs on the way."""
    ids = [*map(model.word_id, words), END_ID]
    history, total = [1], 0.0
    for word in ids:
        total += _word_log_prob(model, history, word)
        history.append(word)
    return total


def _word_log_prob(model: NgramModel, history: list[int], word: int) -> float:
    table = _ngrams(model)
    for start in range(max(0, len(history) - model.order + 1), len(history) + 1):
        context = tuple(history[start:])
        if (*context, word) in table:
            shorter = sum(table[tuple(history[s:])][1] for s in _backed_off(model, history, start, table))
            return table[(*context, word)][0] + shorter
    raise AssertionError("every word is a unigram")


def _backed_off(model: NgramModel, history: list[int], start: int, table: dict) -> list[int]:
    first = max(0, len(history) - model.order + 1)
    return [s for s in range(first, start) if tuple(history[s:]) in table]


def _ngrams(model: NgramModel) -> dict[tuple[int, ...], tuple[float, float]]:
    """(ln p, ln back-off) of every n-gram, walked from the root of the trie."""
    table = {}
    queue = [(0, ())]
    while queue:
        node, words = queue.pop()
        if words:
            backoff = float(model.backoffs[node]) if node < len(model.backoffs) else 0.0
            table[words] = (float(model.log_probs[node]), backoff)
        if node < len(model.backoffs):
            children = range(int(model.first_child[node]), int(model.first_child[node + 1]))
            queue += [(child, (*words, int(model.words[child]))) for child in children]
    return table
