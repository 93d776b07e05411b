"""N-best lists scored anew by a recurrent language model, which is too slow to take part in the search.

    new score = acoustic + ngram_share · language_model + word_bonus + hotwords + weight · ln p_rnn(text, </s>)

The recurrent model joins the n-gram model, as their log-linear mixture (`ngram_share` 1 or less), or takes its place
(0). All parts are natural logarithms, already weighted.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from asr.errors import LanguageModelError, TextError
from asr.models.language import RecurrentLanguageModel, score_sentences
from asr.text.language_units import LanguageUnits
from asr.text.normalize import Case, normalize
from asr.text.tokens import Tokenizer
from asr.types import Hypothesis

NAMED_SYMBOLS = 5


class LanguageModelScorer:
    """A recurrent language model with its units: ln p of texts."""

    def __init__(self, model: RecurrentLanguageModel, units: LanguageUnits, case: Case) -> None:
        self.model = model.eval()
        self.units = units
        self.case = case

    def log_probs(self, texts: Sequence[str]) -> NDArray[np.float64]:
        """ln p(text, </s>) of each, (N,); equal texts are computed once, and no text changes another's score.

        Texts are brought to the model's case first. An unknown word has its share of the probability of <unk>.

        Raises:
            LanguageModelError: a text has characters that the model has no tokens for.
        """
        unique = list(dict.fromkeys(normalize(text, self.case) for text in texts))
        try:
            sentences = [self.units.encode(text) for text in unique]
        except TextError as error:
            raise LanguageModelError(f"the language model cannot spell a text: {error}") from error
        scores = score_sentences(self.model, sentences)
        by_text = {text: score - self.units.unlisted_nats(text) for text, score in zip(unique, scores, strict=True)}
        return np.array([by_text[normalize(text, self.case)] for text in texts], dtype=np.float64)

    def check_tokenizer(self, tokenizer: Tokenizer) -> None:
        """Raise `LanguageModelError` where an acoustic model's tokens spell what this model has no tokens for."""
        spelt = normalize(" ".join(tokenizer.surfaces), self.case)
        if unknown := self.units.unknown_symbols(spelt):
            named = ", ".join(map(repr, unknown[:NAMED_SYMBOLS])) + (" …" if len(unknown) > NAMED_SYMBOLS else "")
            raise LanguageModelError(
                f"the language model has no tokens for {named}, which the acoustic model writes; "
                "train it with the acoustic model's tokenizer, or on words"
            )


@dataclass(frozen=True, slots=True)
class Rescorer:
    """Sorts N-best lists anew.

    Args:
        scorer: the recurrent language model.
        weight: of its natural logarithm.
        ngram_share: what remains of the n-gram model's part: 1 leaves it as it is, 0 takes it out.
    """

    scorer: LanguageModelScorer
    weight: float
    ngram_share: float = 1.0

    def describe(self) -> dict[str, object]:
        """The settings, for score.json."""
        return {"weight": self.weight, "ngram_share": self.ngram_share}

    def rescore(self, nbest: Sequence[Sequence[Hypothesis]]) -> list[Hypothesis]:
        """The best hypothesis of each list by its new score, with the others as its alternatives, best first.

        Of equal scores the one that stood first stays first. Alternatives lose their words, as they are aligned with
        nothing; a decoder that aligns the best hypothesis with the audio does so after this.

        nbest: one list for each utterance, none of them empty; alternatives inside the hypotheses are not looked at.
        """
        if not all(nbest):
            raise ValueError(
                f"expected at least one hypothesis in each list, got none in list {list(map(bool, nbest)).index(False)}"
            )
        log_probs = iter(self.scorer.log_probs([h.text for hypotheses in nbest for h in hypotheses]).tolist())
        return [_sorted_anew([self._rescored(h, next(log_probs)) for h in hypotheses]) for hypotheses in nbest]

    def _rescored(self, hypothesis: Hypothesis, log_prob: float) -> Hypothesis:
        parts = hypothesis.parts
        ngram = self.ngram_share * parts.language_model
        return replace(hypothesis, parts=replace(parts, language_model=ngram, rescoring=self.weight * log_prob))


def nbest_list(hypothesis: Hypothesis) -> list[Hypothesis]:
    """A decoder's hypothesis and its alternatives as the list that `rescore` takes."""
    return [hypothesis, *hypothesis.alternatives]


def _sorted_anew(hypotheses: Sequence[Hypothesis]) -> Hypothesis:
    best, *others = sorted(hypotheses, key=lambda hypothesis: -hypothesis.score)
    return replace(best, alternatives=tuple(replace(other, words=(), alternatives=()) for other in others))
