"""What a beam search looks up: the model's tokens, words and their tree, the language model and the hotwords.

Everything besides the acoustics is a function of the labelling alone, and telescopes: while a word is being spelt the
score holds the best that the word can still become (its potential), and the word's own score replaces it at its end.
Potentials steer the search; final scores do not depend on them.

**Unknown words**, those that a word model lacks, are counted by their characters: eight are one word. One of N has

    N/8 · (lm_weight · ln p(<unk>) + word_bonus + unknown_penalty)

and to the language model those side by side are one <unk>, of which what the words before say counts besides:
lm_weight · (ln p(<unk> | words before) - ln p(<unk>)). So leaving out a space between two of them changes nothing,
whatever the weights. (A cost for each of them would be saved by leaving it out; a bonus would be gained by putting in
more.) No score in which one of a single character costs as much as a longer one has that property.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from asr.decoding.fit import NO_MODEL, TOKEN_MODEL, WORD_MODEL, model_kind, usable_words
from asr.decoding.hotwords import as_written, hotword_table
from asr.decoding.prefix_tree import CHARACTERS_PER_WORD, OUTSIDE, ROOT, PrefixTree, spell
from asr.errors import ConfigError
from asr.ngram.tables import UNKNOWN_ID
from asr.text.lm_symbols import lm_symbols
from asr.text.tokens import SPACE, Tokenizer

if TYPE_CHECKING:
    from asr.ngram.model import NgramModel


@dataclass(frozen=True, slots=True)
class Weights:
    """How the parts of a score are put together; natural logarithms."""

    lm_weight: float = 0.0
    word_bonus: float = 0.0  # for each word
    unknown_penalty: float = 0.0  # for each token, or eight characters of words, that the language model does not know
    hotword_boost: float = 0.0  # for each word of each hotword phrase

    def __post_init__(self) -> None:
        for name in ("lm_weight", "hotword_boost"):
            if getattr(self, name) < 0:
                raise ConfigError(f"{name}: expected zero or more, got {getattr(self, name)}")
        if not np.isfinite([self.lm_weight, self.word_bonus, self.unknown_penalty, self.hotword_boost]).all():
            raise ConfigError(f"expected finite weights, got {self}")


class SearchTables(NamedTuple):
    """The arrays of a search: V tokens, N nodes of the prefix tree, A characters, S states of the hotwords."""

    begins_word: NDArray[np.bool_]  # (V,) the token ends the word before it
    characters: NDArray[np.int32]  # (V, L) what the token spells, padded with -1
    num_characters: NDArray[np.int32]  # (V,) of these
    children: NDArray[np.int32]  # (N, A)
    word_ids: NDArray[np.int32]  # (N,) in the language model; NOT_A_WORD where none ends
    depths: NDArray[np.int32]  # (N,) characters spelt; 0 at OUTSIDE, where each is counted as it comes
    potentials: NDArray[np.float64]  # (N,) weighted; 0 at the root, -inf where no word may go
    constrained: bool  # only words of the tree
    model_kind: int  # NO_MODEL, WORD_MODEL or TOKEN_MODEL
    token_words: NDArray[np.int32]  # (V,) the tokens' ids in a TOKEN_MODEL
    ngram_words: NDArray[np.int32]  # these five and the state: see asr/ngram/model.py
    ngram_log_probs: NDArray[np.float32]
    ngram_suffixes: NDArray[np.int32]
    ngram_backoffs: NDArray[np.float32]
    ngram_first_child: NDArray[np.int32]
    begin_state: int
    hot_next: NDArray[np.int32]  # (S, V)
    hot_gains: NDArray[np.float64]  # (S, V) weighted
    hot_final: NDArray[np.float64]  # (S,) weighted
    max_gain: float  # no token that stays inside a word adds more than this to the weighted score
    lm_weight: float
    word_bonus: float
    unknown_penalty: float  # of a token
    unknown_character: float  # what each character of an unknown word adds; 0 but for a word model without a lexicon
    unknown_log_prob: float  # ln p(<unk>) of a word model
    unknown_excess: float  # weighted; no words before make ln p(<unk>) larger by more than this


class SearchSpace:
    """Tokens, words and models that belong together; `tables` adds the weights, which is cheap.

    Raises:
        LanguageModelError: the language model's words or tokens are not spelt like the tokenizer's; names the symbols.
        ConfigError: a hotword or all of the lexicon cannot be spelt.
    """

    def __init__(
        self,
        tokenizer: Tokenizer,
        model: NgramModel | None = None,
        lexicon: Sequence[str] | None = None,
        hotwords: Sequence[str] = (),
    ) -> None:
        self.tokenizer = tokenizer
        self.model = model
        self.kind = NO_MODEL if model is None else model_kind(model, tokenizer)
        self.constrained = lexicon is not None
        self.num_hotwords = len(hotwords)
        self._hot = hotword_table(hotwords, tokenizer)
        self.left_out: tuple[str, ...] = ()  # words of the lexicon that the tokens cannot write
        self._alphabet = tuple(sorted(set("".join(tokenizer.surfaces)) - {SPACE}))
        hot_words = [word for phrase in hotwords for word in as_written(phrase, tokenizer).split()]
        self._tree = self._build_tree(lexicon, hot_words)
        self._unknown_log_prob = self._unknown_ceiling = 0.0
        self._token_words = np.zeros(tokenizer.vocab_size, np.int32)
        if model is not None and self.kind == WORD_MODEL:
            self._unknown_log_prob = float(model.log_probs[1 + UNKNOWN_ID])
            self._unknown_ceiling = _unknown_ceiling(model)
        if model is not None and self.kind == TOKEN_MODEL:
            self._token_words[1:] = [model.word_id(symbol) for symbol in lm_symbols(tokenizer)[1:]]

    def _build_tree(self, lexicon: Sequence[str] | None, hotwords: Sequence[str]) -> PrefixTree:
        """The words there are: of the lexicon, else of the word model; and those of hotwords."""
        model = self.model if self.kind == WORD_MODEL else None
        if lexicon is not None:
            words = usable_words(lexicon, self.tokenizer, "the lexicon")
            usable = set(words)
            self.left_out = tuple(dict.fromkeys(word for word in lexicon if word not in usable))
        else:
            words = [] if model is None else usable_words(model.vocab[3:], self.tokenizer, "the language model")
        words = list(dict.fromkeys([*words, *hotwords]))
        if model is None:
            ids, log_probs = np.full(len(words), UNKNOWN_ID), np.zeros(len(words))
        else:
            ids = np.array([model.word_id(word) for word in words], np.int64)
            log_probs = model.log_probs[1 + ids].astype(np.float64)
        # Without a vocabulary every string may be a word: hotwords alone must not make one.
        if lexicon is None and model is None:
            words, ids, log_probs = [], ids[:0], log_probs[:0]
        return PrefixTree.build(self._alphabet, words, ids.astype(np.int32), log_probs)

    def tables(self, weights: Weights) -> SearchTables:
        """The arrays of a search with these weights."""
        hot_gains = self._hot.gains * weights.hotword_boost
        character = self._unknown_character(weights)
        potentials = self._potentials(weights, character)
        num_characters, characters = _token_characters(self.tokenizer, self._alphabet)
        return SearchTables(
            begins_word=np.array([surface.startswith(SPACE) for surface in self.tokenizer.surfaces]),
            characters=characters,
            num_characters=num_characters,
            children=self._tree.children,
            word_ids=self._tree.word_ids,
            depths=self._tree.depths,
            potentials=potentials,
            constrained=self.constrained,
            model_kind=self.kind,
            token_words=self._token_words,
            **_ngram_arrays(self.model),
            hot_next=self._hot.next_states,
            hot_gains=hot_gains,
            hot_final=self._hot.final_gains * weights.hotword_boost,
            max_gain=max(0.0, float(hot_gains.max()))
            + max(0.0, float(potentials.max()))
            + max(0.0, character * float(num_characters.max())),
            lm_weight=weights.lm_weight,
            word_bonus=weights.word_bonus,
            unknown_penalty=weights.unknown_penalty,
            unknown_character=character,
            unknown_log_prob=self._unknown_log_prob,
            unknown_excess=weights.lm_weight * (self._unknown_ceiling - self._unknown_log_prob),
        )

    def _unknown_character(self, weights: Weights) -> float:
        if self.kind != WORD_MODEL or self.constrained:
            return 0.0
        word = weights.lm_weight * self._unknown_log_prob + weights.word_bonus + weights.unknown_penalty
        return word / CHARACTERS_PER_WORD

    def _potentials(self, weights: Weights, character: float) -> NDArray[np.float64]:
        """The best that a word beginning so can still add to the score; the same for all without a word model."""
        best = self._tree.best_log_probs
        potentials = np.full(len(best), weights.word_bonus)
        if self.kind == WORD_MODEL:
            potentials += weights.lm_weight * np.where(np.isfinite(best), best, 0.0)
        if self.constrained:
            potentials[OUTSIDE] = -np.inf
        elif self.kind == WORD_MODEL:
            potentials = np.maximum(potentials, character * self._tree.depths)  # it may also end as an unknown word
            potentials[OUTSIDE] = 0.0
        potentials[ROOT] = 0.0
        return potentials


def _unknown_ceiling(model: NgramModel) -> float:
    """A bound of ln p(<unk> | words before): the highest of its n-grams, with all back-offs that are no cost."""
    nodes = np.flatnonzero(model.words == UNKNOWN_ID)
    gains = np.maximum(model.backoffs, 0.0)
    starts = np.cumsum([1, *model.num_ngrams[:-1]])
    of_orders = [gains[start:end].max(initial=0.0) for start, end in pairwise(starts.tolist())]
    return float(model.log_probs[nodes].max()) + float(sum(of_orders))


def _token_characters(tokenizer: Tokenizer, alphabet: Sequence[str]) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """How many characters each token spells, (V,), and which, (V, L)."""
    spelt = [surface.removeprefix(SPACE) for surface in tokenizer.surfaces]
    characters = np.full((len(spelt), max(1, *map(len, spelt))), -1, np.int32)
    for row, text in zip(characters, spelt):
        row[: len(text)] = spell(alphabet, [text])[0]
    return np.array([len(text) for text in spelt], np.int32), characters


def _ngram_arrays(model: NgramModel | None) -> dict[str, Any]:
    if model is None:
        integers, floats = np.zeros(1, np.int32), np.zeros(1, np.float32)
        for array in (integers, floats):
            array.flags.writeable = False  # as a model's are, so that one compiled search takes both
        return {
            "ngram_words": integers,
            "ngram_log_probs": floats,
            "ngram_suffixes": integers,
            "ngram_backoffs": floats,
            "ngram_first_child": integers,
            "begin_state": 0,
        }
    return {
        "ngram_words": model.words,
        "ngram_log_probs": model.log_probs,
        "ngram_suffixes": model.suffixes,
        "ngram_backoffs": model.backoffs,
        "ngram_first_child": model.first_child,
        "begin_state": model.begin_state,
    }
