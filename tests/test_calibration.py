"""Calibration: measures by hand, a temperature that is known beforehand, and the picture."""

import json
import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from asr.decoding.alignment import align, words_from_runs
from asr.errors import ScoringError
from asr.scoring.calibration import (
    Calibration,
    WordEvidence,
    cross_entropy,
    draw_reliability,
    expected_calibration_error,
    fit_temperature,
    join,
    normalized_cross_entropy,
    reliability_bins,
    word_evidence,
)
from asr.scoring.errors import score
from asr.text.tokenizer import CharTokenizer

TOKENIZER = CharTokenizer.train(["ab ba"])  # <blank> = 0, space = 1, a = 2, b = 3
RIGHT = np.array([True, True, True, False])


def test_cross_entropy_by_hand():
    # bits: -log2 of 1/2, 1/2, 1/4, and of 1 - 3/4
    assert cross_entropy(np.array([0.5, 0.5, 0.25, 0.75]), RIGHT) == pytest.approx((1 + 1 + 2 + 2) / 4)


def test_normalized_cross_entropy_by_hand():
    share = np.full(4, 0.75)
    assert normalized_cross_entropy(share, RIGHT) == pytest.approx(0.0)
    assert normalized_cross_entropy(RIGHT.astype(float), RIGHT) == pytest.approx(1.0)
    base = -(3 * math.log2(0.75) + math.log2(0.25))  # H_max of NIST's definition
    given = -(3 * math.log2(0.9) + math.log2(1 - 0.2))
    assert normalized_cross_entropy(np.array([0.9, 0.9, 0.9, 0.2]), RIGHT) == pytest.approx((base - given) / base)


def test_a_sure_and_wrong_word_costs_much_but_not_infinitely():
    nce = normalized_cross_entropy(np.array([1.0, 1.0, 1.0, 1.0]), RIGHT)
    assert nce == pytest.approx(1 - math.log2(1e6) / (4 * cross_entropy(np.full(4, 0.75), RIGHT)))


@pytest.mark.parametrize(("outcome", "what"), [(True, "right"), (False, "wrong")])
def test_nothing_to_tell_is_an_error(outcome, what):
    with pytest.raises(ScoringError, match=f"all 3 recognised words are {what}"):
        normalized_cross_entropy(np.full(3, 0.5), np.full(3, outcome))


def test_no_words_are_an_error():
    with pytest.raises(ScoringError, match="got none"):
        cross_entropy(np.zeros(0), np.zeros(0, dtype=bool))
    with pytest.raises(ScoringError, match="recognises nothing"):
        join([])


def test_bins_and_expected_calibration_error_by_hand():
    confidences = np.array([0.1, 0.2, 0.6, 1.0, 1.0])
    is_correct = np.array([False, True, True, True, False])
    low, high = reliability_bins(confidences, is_correct, num_bins=2)
    assert (low.num_words, low.mean_confidence, low.share_correct) == (2, pytest.approx(0.15), 0.5)
    assert (high.num_words, high.mean_confidence) == (3, pytest.approx(2.6 / 3))
    expected = 2 / 5 * abs(0.15 - 0.5) + 3 / 5 * abs(2.6 / 3 - 2 / 3)
    assert expected_calibration_error([low, high]) == pytest.approx(expected)


def test_an_edge_belongs_to_the_bin_above_and_empty_bins_have_no_means():
    bins = reliability_bins(np.array([0.5, 1.0]), np.array([True, True]), num_bins=4)
    assert [b.num_words for b in bins] == [0, 0, 1, 1]
    assert bins[0].mean_confidence is None
    assert expected_calibration_error([]) == 0.0


@given(st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=1, max_size=40), st.integers(1, 20))
def test_bins_hold_every_word_once(words, num_bins):
    confidences, is_correct = map(np.array, zip(*words))
    bins = reliability_bins(confidences, is_correct, num_bins)
    assert sum(b.num_words for b in bins) == len(words)
    assert 0.0 <= expected_calibration_error(bins) <= 1.0


# ---- evidence and the temperature


def utterance_evidence(text: str, reference: str, seed: int) -> WordEvidence:
    """The evidence of random log-probabilities that are read as `text`."""
    log_probs = (2 * torch.randn(30, 4, generator=torch.Generator().manual_seed(seed))).log_softmax(-1)
    runs = align(log_probs, TOKENIZER.encode(text), "u")
    errors = score({"u": reference}, {"u": text}).utterances[0]
    return word_evidence(log_probs.numpy(), runs, TOKENIZER.split_words(runs.tokens.tolist()), errors)


@pytest.mark.parametrize("temperature", [0.3, 1.0, 4.0])
def test_evidence_gives_the_confidences_of_the_aligner(temperature):
    texts = ["ab ba", "b", "aab ab b"]
    evidence = join([utterance_evidence(text, "ab", seed) for seed, text in enumerate(texts)])
    expected = []
    for seed, text in enumerate(texts):
        log_probs = (2 * torch.randn(30, 4, generator=torch.Generator().manual_seed(seed))).log_softmax(-1)
        runs = align(log_probs, TOKENIZER.encode(text), "u", confidence_temperature=temperature)
        expected += [word.confidence for word in words_from_runs(runs, TOKENIZER, 0.03)]
    assert evidence.confidences(temperature) == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize(
    ("hypothesis", "reference", "is_correct"),
    [
        ("ab ba b", "ab b", [True, False, True]),  # an insertion
        ("ab a b", "ab ba b a", [True, False, True]),  # a substitution, and a deletion, which is no word
    ],
)
def test_what_is_right_and_what_is_wrong(hypothesis, reference, is_correct):
    evidence = utterance_evidence(hypothesis, reference, seed=0)
    assert evidence.is_correct.tolist() == is_correct
    assert len(evidence.confidences(1.0)) == 3


def test_utterances_without_words_add_nothing():
    empty = utterance_evidence("", "ab", seed=0)
    assert len(empty.confidences(1.0)) == 0
    assert join([empty, utterance_evidence("ab", "ab", seed=1), empty]).is_correct.tolist() == [True]
    with pytest.raises(ScoringError, match="recognises nothing"):
        join([empty])


def test_words_other_than_the_scored_are_an_error():
    log_probs = torch.zeros(5, 4).log_softmax(-1)
    runs = align(log_probs, [2], "u")
    errors = score({"u": "a"}, {"u": "a b"}).utterances[0]
    with pytest.raises(ScoringError, match="the 2 words that were scored, got 1 in the tokens of u"):
        word_evidence(log_probs.numpy(), runs, TOKENIZER.split_words([2]), errors)


def known_temperature(temperature: float, num_words: int = 20_000) -> WordEvidence:
    """Words of one frame of two labels; they are right as often as softmax(log_probs / temperature) says."""
    rng = np.random.default_rng(0)
    logits = np.stack([rng.normal(0, 4, num_words), np.zeros(num_words)], axis=1)
    truth = 1 / (1 + np.exp(-(logits[:, 0] - logits[:, 1]) / temperature))
    log_probs = (logits - np.log(np.exp(logits).sum(1, keepdims=True))).astype(np.float32)
    places = np.arange(num_words)
    return WordEvidence(log_probs, np.zeros_like(places), places, places, rng.random(num_words) < truth)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.5])
def test_the_temperature_is_found(temperature):
    evidence = known_temperature(temperature)
    fitted = fit_temperature(evidence.confidences, evidence.is_correct)
    assert fitted == pytest.approx(temperature, rel=0.05)  # 20,000 coin throws: a standard error of 1-2 %
    best = cross_entropy(evidence.confidences(fitted), evidence.is_correct)
    for other in np.geomspace(0.05, 50, 200):
        assert best <= cross_entropy(evidence.confidences(other), evidence.is_correct) + 1e-6


def test_a_calibration_improves_and_can_be_written(tmp_path):
    calibration = Calibration.fit(known_temperature(2.5))
    assert calibration.before.temperature == 1.0
    assert calibration.after.nce > calibration.before.nce + 0.05
    assert calibration.after.ece < 0.02 < calibration.before.ece
    written = json.loads(json.dumps(calibration.to_json(), allow_nan=False))
    assert written["confidence_temperature"] == pytest.approx(2.5, rel=0.05)
    assert sum(b["num_words"] for b in written["after"]["bins"]) == written["num_words"] == 20_000
    draw_reliability(calibration, tmp_path / "reliability.png", "a set")
    assert (tmp_path / "reliability.png").read_bytes().startswith(b"\x89PNG")
