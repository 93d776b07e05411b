"""How well a model predicts a text."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from asr.ngram.model import WordScores
from asr.ngram.tables import END_ID, UNKNOWN_ID


@dataclass(frozen=True, slots=True)
class TextScore:
    """Sums over the sentences of a text. Tokens are its words and the end of each sentence, as KenLM counts them."""

    num_sentences: int = 0
    num_tokens: int = 0
    num_oovs: int = 0  # words that the vocabulary lacks
    log_prob: float = 0.0  # of all tokens, natural logarithm
    oov_log_prob: float = 0.0  # of the OOVs among them

    def __add__(self, other: TextScore) -> TextScore:
        return TextScore(
            self.num_sentences + other.num_sentences,
            self.num_tokens + other.num_tokens,
            self.num_oovs + other.num_oovs,
            self.log_prob + other.log_prob,
            self.oov_log_prob + other.oov_log_prob,
        )

    @property
    def num_words(self) -> int:
        """Words without the ends of sentences."""
        return self.num_tokens - self.num_sentences

    @property
    def oov_rate(self) -> float:
        """OOVs in a word, 0-1; 0 if there are no words."""
        return self.num_oovs / self.num_words if self.num_words else 0.0

    @property
    def perplexity(self) -> float:
        """Of all tokens, an OOV having the probability of <unk>; NaN for no text."""
        return _perplexity(self.log_prob, self.num_tokens)

    @property
    def perplexity_without_oovs(self) -> float:
        """Of the tokens that are no OOVs; contexts keep theirs."""
        return _perplexity(self.log_prob - self.oov_log_prob, self.num_tokens - self.num_oovs)


def text_score(ids: NDArray[np.int32], scores: WordScores) -> TextScore:
    """Sum up what `NgramModel.score_ids` says of the stream `ids`."""
    oov = ids == UNKNOWN_ID
    return TextScore(
        num_sentences=int(np.count_nonzero(ids == END_ID)),
        num_tokens=len(ids),
        num_oovs=int(np.count_nonzero(oov)),
        log_prob=float(scores.log_probs.sum(dtype=np.float64)),
        oov_log_prob=float(scores.log_probs[oov].sum(dtype=np.float64)),
    )


def _perplexity(log_prob: float, num_tokens: int) -> float:
    if num_tokens == 0:
        return math.nan
    try:
        return math.exp(-log_prob / num_tokens)
    except OverflowError:
        return math.inf
