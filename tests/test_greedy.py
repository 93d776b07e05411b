import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from asr.ctc import collapse
from asr.decoding.alignment import token_runs
from asr.decoding.greedy import GreedyDecoder
from asr.errors import ConfigError, ModelError
from asr.text.bpe import BpeTokenizer
from asr.text.tokenizer import CharTokenizer

TOKENIZER = CharTokenizer.train(["ab ba"])  # <blank> = 0, space = 1, a = 2, b = 3
BLANK, SPACE, A, B = range(4)


def matrix(path: list[int], probability: float = 0.7) -> torch.Tensor:
    """(1, T, 4) log-probabilities whose best path is `path`."""
    probs = torch.full((1, len(path), 4), (1 - probability) / 3)
    probs[0, torch.arange(len(path)), torch.tensor(path, dtype=torch.int64)] = probability
    return probs.log()


def decode(path: list[int], **options):
    return GreedyDecoder(TOKENIZER, frame_seconds=0.03).decode(
        matrix(path, **options), torch.tensor([len(path)]), ["u"]
    )[0]


def test_a_path_written_by_hand():
    hypothesis = decode([BLANK, A, A, BLANK, A, B, SPACE, SPACE, BLANK, B, BLANK])
    assert hypothesis.text == "aab b"
    assert hypothesis.tokens == (A, A, B, SPACE, B)
    first, second = hypothesis.words
    assert (first.text, second.text) == ("aab", "b")
    assert (first.start, first.end) == pytest.approx((0.03, 0.18))  # frames 1 to 5
    assert (second.start, second.end) == pytest.approx((0.27, 0.30))  # frame 9
    assert first.confidence == pytest.approx(0.7**3)
    assert hypothesis.score == pytest.approx(11 * math.log(0.7), rel=1e-5)


def test_confidence_is_the_product_of_the_tokens_best_frames():
    probs = torch.tensor([[[0.3, 0.1, 0.5, 0.1], [0.1, 0.05, 0.8, 0.05], [0.2, 0.2, 0.2, 0.4]]])
    word = GreedyDecoder(TOKENIZER, 0.03).decode(probs.log(), torch.tensor([3]), ["u"])[0].words[0]
    assert word.text == "ab"
    assert word.confidence == pytest.approx(0.8 * 0.4, rel=1e-5)  # a: the better of its two frames


def test_temperature_changes_confidences_and_nothing_else():
    plain = decode([A, B], probability=0.7)
    decoder = GreedyDecoder(TOKENIZER, 0.03, confidence_temperature=2.0)
    tempered = decoder.decode(matrix([A, B]), torch.tensor([2]), ["u"])[0]
    root, other = math.sqrt(0.7), math.sqrt(0.1)  # softmax(log p / 2) is proportional to sqrt(p)
    assert tempered.words[0].confidence == pytest.approx((root / (root + 3 * other)) ** 2, rel=1e-5)
    assert (tempered.text, tempered.tokens, tempered.parts) == (plain.text, plain.tokens, plain.parts)
    assert decoder.describe() == {"name": "greedy", "confidence_temperature": 2.0}


@pytest.mark.parametrize("temperature", [0.0, -1.0, math.nan, math.inf])
def test_a_temperature_that_makes_no_sense(temperature):
    with pytest.raises(ConfigError, match=r"decoding\.confidence_temperature: expected a number above 0"):
        GreedyDecoder(TOKENIZER, 0.03, confidence_temperature=temperature)


@pytest.mark.parametrize("path", [[], [BLANK], [SPACE], [BLANK, SPACE, BLANK]])
def test_nothing_said(path):
    hypothesis = decode(path)
    assert (hypothesis.text, hypothesis.words) == ("", ())


def test_frames_past_the_length_are_not_read():
    log_probs = torch.cat((matrix([A, BLANK]), torch.full((1, 3, 4), math.nan)), dim=1)
    assert GreedyDecoder(TOKENIZER, 0.03).decode(log_probs, torch.tensor([2]), ["u"])[0].text == "a"


def test_nan_names_the_utterance():
    with pytest.raises(ModelError, match="u-17"):
        GreedyDecoder(TOKENIZER, 0.03).decode(torch.full((1, 3, 4), math.nan), torch.tensor([3]), ["u-17"])


def test_bpe_words_begin_at_their_marks():
    tokenizer = BpeTokenizer.train(["one two one two", "two one"] * 10, vocab_size=14)
    ids = tokenizer.encode("two one")
    path = [token for token in ids for _ in range(2)]
    log_probs = torch.full((1, len(path), tokenizer.vocab_size), -9.0)
    log_probs[0, torch.arange(len(path)), torch.tensor(path)] = -0.1
    words = GreedyDecoder(tokenizer, 0.5).decode(log_probs, torch.tensor([len(path)]), ["u"])[0].words
    assert [word.text for word in words] == ["two", "one"]
    assert words[0].start == 0.0
    assert words[0].end == words[1].start
    assert words[1].end == len(path) * 0.5


paths = st.lists(st.integers(0, 3), max_size=30)


@given(paths)
def test_tokens_are_the_collapsed_path_and_words_are_ordered(path):
    hypothesis = decode(path)
    assert list(hypothesis.tokens) == collapse(path)
    ends = [0.0]
    for word in hypothesis.words:
        assert ends[-1] <= word.start < word.end <= len(path) * 0.03 + 1e-9
        assert 0.0 <= word.confidence <= 1.0
        ends.append(word.end)


@given(paths, st.lists(st.integers(0, 30), max_size=4))
def test_pieces_give_what_the_whole_gives(path, cuts):
    log_probs = matrix(path)[0]
    stream = GreedyDecoder(TOKENIZER, 0.03).stream("u")
    edges = [0, *sorted(min(cut, len(path)) for cut in cuts), len(path)]
    for start, end in itertools.pairwise(edges):
        if end > start:
            stream.accept(log_probs[start:end])
    assert stream.finish() == decode(path)


@pytest.mark.parametrize("frame", [math.inf, -math.inf])
def test_frames_that_are_no_probabilities_name_the_utterance(frame):
    with pytest.raises(ModelError, match="u-17"):
        GreedyDecoder(TOKENIZER, 0.03).decode(torch.full((1, 3, 4), frame), torch.tensor([3]), ["u-17"])


def test_token_runs_of_nothing():
    assert len(token_runs(np.zeros(0, dtype=np.int64), np.zeros(0)).tokens) == 0
