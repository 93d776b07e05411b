"""The search for weights: on functions whose minimum is known."""

import pytest
import torch

from asr.decoding import tuning
from asr.decoding.greedy import GreedyDecoder
from asr.decoding.tuning import Range, Trial, best, decode_table, is_test_set, score_table, search_weights, surface
from asr.emissions import emission_table
from asr.errors import ConfigError
from asr.scoring.errors import score
from asr.text.tokenizer import CharTokenizer
from asr.types import Utterance

NUM_WORDS = 1000


def scored(rate: float):
    """A score with this word error rate."""
    wrong = round(rate * NUM_WORDS)
    return score({"u": "a " * NUM_WORDS}, {"u": "b " * wrong + "a " * (NUM_WORDS - wrong)})


def bowl(lm_weight: float, word_bonus: float):
    """Lowest, 10 %, at (0.8, 1.5)."""
    return scored(min(1.0, 0.1 + 0.2 * (lm_weight - 0.8) ** 2 + 0.05 * (word_bonus - 1.5) ** 2))


def search(seed=1, num_trials=60, metric="wer", evaluate=bowl):
    ranges = {"lm_weights": Range(0.0, 3.0), "word_bonuses": Range(-2.0, 3.0)}
    return list(search_weights(evaluate, **ranges, num_trials=num_trials, metric=metric, seed=seed))


def test_finds_the_bottom_of_a_bowl():
    found = best(search(), "wer")
    assert found.wer < 0.11
    assert (found.lm_weight, found.word_bonus) == (pytest.approx(0.8, abs=0.25), pytest.approx(1.5, abs=0.5))


def test_a_seed_is_a_search():
    assert search(seed=3, num_trials=15) == search(seed=3, num_trials=15) != search(seed=4, num_trials=15)


def test_the_middle_comes_first_and_weights_are_as_printed():
    trials = search(num_trials=20)
    assert (trials[0].lm_weight, trials[0].word_bonus) == (1.5, 0.5)
    assert all(0.001 <= t.lm_weight <= 3.0 and -2.0 <= t.word_bonus <= 3.0 for t in trials)
    assert all(round(t.lm_weight, 3) == t.lm_weight and round(t.word_bonus, 3) == t.word_bonus for t in trials)


def test_the_metric_is_what_is_lowered():
    def evaluate(lm_weight, word_bonus):
        """Words like large weights, characters small ones."""
        right = "a" * 20
        wrong_word = "b" + "a" * 19
        words = round(100 * lm_weight / 3)
        references = {"w": f"{right} " * 100, "c": right}
        return score(references, {"w": f"{wrong_word} " * (100 - words) + f"{right} " * words, "c": "b" * 20 * words})

    assert best(search(num_trials=25, evaluate=evaluate), "wer").lm_weight > 2.5
    assert best(search(num_trials=25, evaluate=evaluate, metric="cer"), "cer").lm_weight < 0.5


def test_of_equals_the_smaller_weight():
    trials = [Trial(2.0, 0.0, 0.1, 0.05), Trial(1.0, 3.0, 0.1, 0.05), Trial(1.0, -1.0, 0.1, 0.05)]
    assert best(trials, "wer") == trials[2]
    assert best([*trials, Trial(3.0, 0.0, 0.1, 0.04)], "wer").cer == 0.04


def test_surface_by_hand():
    """Six cells: 0-0.5, 0.5-1, … by -2 to -1.17, …; the lowest rate of each."""
    trials = [Trial(0.2, -1.9, 0.5, 0), Trial(0.4, -1.5, 0.3, 0), Trial(3.0, 3.0, 0.9, 0), Trial(0.5, 0.5, 0.7, 0)]
    cells = surface(trials, Range(0.0, 3.0), Range(-2.0, 3.0), "wer")
    assert {(r, c): rate for r, row in enumerate(cells) for c, rate in enumerate(row) if rate is not None} == {
        (0, 0): 0.3,
        (1, 3): 0.7,
        (5, 5): 0.9,
    }
    assert Range(0.0, 3.0).centers() == pytest.approx([0.25, 0.75, 1.25, 1.75, 2.25, 2.75])


@pytest.mark.parametrize(("low", "high"), [(1.0, 1.0), (2.0, 1.0), (float("nan"), 1.0), (0.0, float("inf"))])
def test_ranges_go_from_small_to_large(low, high):
    with pytest.raises(ConfigError, match="smaller to a larger"):
        Range(low, high)


def test_nothing_to_tune_on():
    with pytest.raises(ConfigError, match="references with words"):
        search(evaluate=lambda *_: score({"u": ""}, {"u": ""}))
    with pytest.raises(ConfigError, match="wer or cer"):
        search(metric="ser")


def test_without_optuna_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "optuna", None)
    with pytest.raises(ConfigError, match=r"asr\[tune\]"):
        search()


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("test.jsonl", True),
        ("data/librispeech-test.jsonl", True),
        ("test-strings.jsonl", True),
        ("mini_english.TEST_clean.npz", True),
        ("tests2.jsonl", True),
        ("dev.jsonl", False),
        ("contest.jsonl", False),
        ("latest.jsonl", False),
        ("test/dev.jsonl", False),
        ("", False),
    ],
)
def test_what_is_a_test_set(name, expected):
    assert is_test_set(name) is expected


def test_a_table_is_decoded_in_its_own_order(monkeypatch):
    monkeypatch.setattr(tuning, "BATCH_FRAMES", 4)  # several batches, longest first
    tokenizer = CharTokenizer((" ", "a", "b"))
    texts = {"u0": "a", "u1": "ab", "u2": "b a"}
    utterances = [Utterance(id, "x.wav", 1.0, text) for id, text in texts.items()]
    spelt = {id: torch.tensor(tokenizer.encode(text)) for id, text in texts.items()}
    rows = {id: torch.log_softmax(20 * torch.eye(4)[ids], dim=-1).half().numpy() for id, ids in spelt.items()}
    table = emission_table(rows, utterances, tokenizer, 0.03)
    decoder = GreedyDecoder(tokenizer, 0.03)
    assert {id: found.text for id, found in decode_table(decoder, table).items()} == texts
    assert list(decode_table(decoder, table)) == ["u0", "u1", "u2"]
    assert score_table(decoder, table).wer == 0.0
