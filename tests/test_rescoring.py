"""N-best lists in a new order."""

import math

import pytest
import torch

from asr.decoding.rescoring import LanguageModelScorer, Rescorer, nbest_list
from asr.errors import LanguageModelError
from asr.models import language
from asr.models.language import RecurrentLanguageModel
from asr.text.language_units import TokenUnits, WordUnits
from asr.text.tokenizer import CharTokenizer
from asr.types import Hypothesis, ScoreParts, Word

LETTERS = CharTokenizer(tuple(" abcdr"))
# ids 2, 3, … of the words below; 0 is </s>, 1 is <unk>
WORDS = WordUnits(("a", "bad", "cab"), num_unlisted=4)
PROBABILITIES = [0.2, 0.2, 0.3, 0.2, 0.1]


def unigram_scorer(units=WORDS, probabilities=PROBABILITIES):
    """A model whose state says nothing: each id has its fixed probability, whatever came before."""
    model = RecurrentLanguageModel(units.vocab_size, 4, 4, 1)
    with torch.no_grad():
        model.output_weight.zero_()
        model.output_bias[:] = torch.tensor(probabilities).log()
    return LanguageModelScorer(model, units, "lower")


def hypothesis(text, acoustic, language_model=0.0, words=()):
    return Hypothesis(text, (), words, ScoreParts(acoustic, language_model, word_bonus=0.5))


def test_scores_by_hand():
    a_bad = math.log(0.3 * 0.2 * 0.2)
    unknown = math.log(0.2 / 4 * 0.2)  # one of four unlisted words, then the end
    scores = unigram_scorer().log_probs(["a bad", "zebra", "A  Bad", ""])
    assert scores.tolist() == pytest.approx([a_bad, unknown, a_bad, math.log(0.2)], abs=1e-6)


def test_the_language_model_turns_the_order_round():
    """Acoustically `a cab` leads by 0.3; the language model holds `a bad` ln 2 likelier."""
    nbest = [hypothesis("a cab", -10.0, -3.0, words=(Word("a", 0.0, 0.1, 1.0),)), hypothesis("a bad", -10.3, -3.0)]
    scorer = unigram_scorer()
    (kept,) = Rescorer(scorer, weight=0.1).rescore([nbest])
    assert kept.text == "a cab"
    assert len(kept.words) == 1
    (turned,) = Rescorer(scorer, weight=0.5).rescore([nbest])
    assert [h.text for h in nbest_list(turned)] == ["a bad", "a cab"]
    log_prob = math.log(0.3 * 0.2 * 0.2)
    assert turned.parts.rescoring == pytest.approx(0.5 * log_prob)
    assert turned.score == pytest.approx(-10.3 - 3.0 + 0.5 + 0.5 * log_prob)
    assert turned.alternatives[0].words == ()


def test_the_ngram_models_part_can_be_replaced():
    nbest = [hypothesis("a bad", -10.0, -3.0), hypothesis("a cab", -10.0, -1.0)]
    (joined,) = Rescorer(unigram_scorer(), weight=1.0).rescore([nbest])
    (replaced,) = Rescorer(unigram_scorer(), weight=1.0, ngram_share=0.0).rescore([nbest])
    (halved,) = Rescorer(unigram_scorer(), weight=1.0, ngram_share=0.5).rescore([nbest])
    assert (joined.text, replaced.text) == ("a cab", "a bad")
    assert (replaced.parts.language_model, halved.parts.language_model) == (0.0, -0.5)


def test_equal_scores_keep_their_order_and_weight_zero_changes_nothing():
    nbest = [hypothesis("bad", -1.0), hypothesis("a", -1.0), hypothesis("cab", -2.0)]
    (result,) = Rescorer(unigram_scorer(), weight=0.0).rescore([nbest])
    assert [(h.text, h.score) for h in nbest_list(result)] == [(h.text, h.score) for h in nbest]


def test_many_lists_are_scored_together_and_equal_texts_once(monkeypatch):
    seen = []
    original = language.score_sentences

    def counting(model, sentences):
        seen.extend(map(tuple, sentences))
        return original(model, sentences)

    monkeypatch.setattr("asr.decoding.rescoring.score_sentences", counting)
    lists = [[hypothesis("a", -1.0), hypothesis("bad", -2.0)], [hypothesis("bad", -1.0)]]
    together = Rescorer(unigram_scorer(), weight=1.0).rescore(lists)
    assert sorted(seen) == [(2,), (3,)]
    apart = [Rescorer(unigram_scorer(), weight=1.0).rescore([one])[0] for one in lists]
    assert together == apart
    assert Rescorer(unigram_scorer(), weight=1.0).rescore([]) == []


def test_an_empty_list_is_our_own_mistake():
    with pytest.raises(ValueError, match="in list 1"):
        Rescorer(unigram_scorer(), weight=1.0).rescore([[hypothesis("a", 0.0)], []])


def test_units_that_do_not_fit_the_acoustic_model():
    letters = unigram_scorer(TokenUnits(CharTokenizer(tuple(" abc"))), [0.2] * 5)
    with pytest.raises(LanguageModelError, match="no tokens for 'd', 'r', which the acoustic model writes"):
        letters.check_tokenizer(LETTERS)
    with pytest.raises(LanguageModelError, match="cannot spell a text"):
        letters.log_probs(["bad"])
    unigram_scorer().check_tokenizer(LETTERS)  # words take everything
    unigram_scorer().check_tokenizer(CharTokenizer(tuple(" ABCDR")))
    letters.check_tokenizer(CharTokenizer(tuple(" ABC")))  # in the language model's case
