"""With a beam wide enough, the search finds the best of all labellings, and its score is the sum over all paths."""

from functools import lru_cache

import numpy as np
import pytest
import torch
from brute_force import Pieces, labelling_log_probs, random_log_probs, random_ngrams, sentence_log_prob

from asr.ctc import ctc_loss
from asr.decoding import labelling_scores
from asr.decoding.compiled_search import CompiledSearch
from asr.decoding.search_options import BeamOptions, Finalist
from asr.decoding.search_space import SearchSpace, Weights
from asr.decoding.tensor_search import TensorSearch

CHARACTERS = Pieces((" ", "a", "b"))
PIECES = Pieces((" a", "b", " ab"))
WORDS = ("a", "b", "ab", "bb")


def compiled(log_probs: np.ndarray, tables, options) -> list[Finalist]:
    search = CompiledSearch(tables, options)
    assert search.advance(log_probs)
    return search.finalists()


def tensors(log_probs: np.ndarray, tables, options) -> list[Finalist]:
    search = TensorSearch(tables, options, torch.device("cpu"))
    return search.search(torch.from_numpy(log_probs)[None], torch.tensor([len(log_probs)]))[0]


def wide(num_frames: int, vocab_size: int) -> BeamOptions:
    """More places than there are labellings: a full beam drops those that cannot lead again."""
    return BeamOptions(beam_width=1 + sum((vocab_size - 1) ** n for n in range(num_frames + 1)))


def assert_all_found(found: list[Finalist], expected: dict[tuple[int, ...], float]) -> None:
    """Every possible labelling with its score, the best first."""
    totals = {finalist.tokens: finalist.total for finalist in found if np.isfinite(finalist.total)}
    assert totals == pytest.approx(expected, abs=1e-5)
    if totals:
        assert found[0].total == pytest.approx(max(expected.values()), abs=1e-5)


@pytest.mark.parametrize("seed", range(10))
def test_without_a_language_model(seed):
    rng = np.random.default_rng(seed)
    for _ in range(100):
        num_frames, vocab_size = int(rng.integers(1, 7)), int(rng.integers(2, 5))
        if vocab_size**num_frames > 1024:
            num_frames = 5
        log_probs = random_log_probs(rng, num_frames, vocab_size)
        space = SearchSpace(Pieces(tuple(" ab"[: vocab_size - 1])))
        options = wide(num_frames, vocab_size)
        found = compiled(log_probs, space.tables(Weights()), options)
        assert_all_found(found, labelling_log_probs(log_probs))
        if options.beam_width < 100:
            assert_same(tensors(log_probs, space.tables(Weights()), options), found)


def assert_same(mine: list[Finalist], theirs: list[Finalist]) -> None:
    assert {f.tokens: f.total for f in mine} == pytest.approx({f.tokens: f.total for f in theirs}, abs=1e-5)


def text_score(model, text: str, weights: Weights) -> float:
    """The definition: eight characters of unknown words are one word; those side by side are one <unk> in p(text)."""
    words = text.split()
    unknown = [word not in model.vocab for word in words]
    once = [word for word, here, before in zip(words, unknown, [False, *unknown]) if not (here and before)]
    count = sum(len(word) for word, here in zip(words, unknown) if here) / 8
    of_unknown = weights.lm_weight * float(model.log_probs[1])  # ln p(<unk>)
    language = weights.lm_weight * sentence_log_prob(model, once)
    language += (count - sum(word not in model.vocab for word in once)) * of_unknown
    num_known = len(words) - sum(unknown)
    return language + weights.word_bonus * (num_known + count) + weights.unknown_penalty * count


def text_score_with_lexicon(model, text: str, weights: Weights) -> float:
    """A word of the lexicon that the model lacks is a word with the probability of <unk>."""
    words = text.split()
    return weights.lm_weight * sentence_log_prob(model, words) + weights.word_bonus * len(words)


@lru_cache
def language_model(seed: int, words: tuple[str, ...], order: int):
    return random_ngrams(np.random.default_rng(seed), words, order)


@pytest.mark.parametrize("lexicon", [None, ("a", "ab", "ba")])
@pytest.mark.parametrize("tokenizer", [CHARACTERS, PIECES])
@pytest.mark.parametrize("seed", range(8))
def test_with_a_word_model(seed, tokenizer, lexicon):
    rng = np.random.default_rng(seed)
    for _ in range(25):
        model = language_model(int(rng.integers(3)), WORDS, int(rng.integers(1, 5)))
        weights = Weights(float(rng.uniform(0, 2)), float(rng.uniform(-3, 3)), float(rng.uniform(-3, 1)))
        score = text_score if lexicon is None else text_score_with_lexicon
        log_probs = random_log_probs(rng, int(rng.integers(1, 6)), 4)
        expected = {
            tokens: acoustic + score(model, tokenizer.decode(tokens), weights)
            for tokens, acoustic in labelling_log_probs(log_probs).items()
            if lexicon is None or set(tokenizer.decode(tokens).split()) <= set(lexicon)
        }
        tables = SearchSpace(tokenizer, model, lexicon).tables(weights)
        found = compiled(log_probs, tables, wide(len(log_probs), 4))
        assert_all_found(found, expected)
        for finalist in found:
            if np.isfinite(finalist.other):
                parts = labelling_scores.score_parts(tables, np.array(finalist.tokens, np.int64))
                assert sum(parts) == pytest.approx(finalist.other, abs=1e-5)
        if len(log_probs) < 5:
            assert_all_found(tensors(log_probs, tables, wide(len(log_probs), 4)), expected)


@pytest.mark.parametrize("order", [1, 2, 3, 4])
def test_leaving_out_a_space_between_unknown_words_gains_nothing(order):
    """Whatever the weights and the words around them: then the acoustics decide."""
    rng = np.random.default_rng(order)
    model = language_model(order, WORDS, order)
    space = SearchSpace(CHARACTERS, model)
    for _ in range(200):
        weights = Weights(*rng.uniform((0, -9, -20), (3, 9, 9)).tolist())
        words = [str(rng.choice([*WORDS, "ba", "aab", "bbbbbbbbb", "abba"])) for _ in range(rng.integers(2, 6))]
        tables = space.tables(weights)
        split = score_of_text(tables, words)
        for place in range(len(words) - 1):
            if not set(words[place : place + 2]) & set(WORDS):
                glued = [*words[:place], words[place] + words[place + 1], *words[place + 2 :]]
                assert score_of_text(tables, glued) == pytest.approx(split, abs=1e-4)


def score_of_text(tables, words: list[str]) -> float:
    tokens = [1 + " ab".index(character) for character in " ".join(words)]
    return sum(labelling_scores.score_parts(tables, np.array(tokens, np.int64)))


@pytest.mark.parametrize("seed", range(8))
def test_with_a_token_model(seed):
    rng = np.random.default_rng(seed)
    symbols = {1: "<space>", 2: "a", 3: "b"}
    for _ in range(25):
        model = language_model(int(rng.integers(3)), ("<space>", "a", "b"), int(rng.integers(1, 5)))
        weights = Weights(float(rng.uniform(0, 2)), float(rng.uniform(-3, 3)), 0.0)
        log_probs = random_log_probs(rng, int(rng.integers(1, 6)), 4)
        expected = {
            tokens: acoustic
            + weights.lm_weight * sentence_log_prob(model, [symbols[token] for token in tokens])
            + weights.word_bonus * len(CHARACTERS.decode(tokens).split())
            for tokens, acoustic in labelling_log_probs(log_probs).items()
        }
        tables = SearchSpace(CHARACTERS, model).tables(weights)
        assert_all_found(compiled(log_probs, tables, wide(len(log_probs), 4)), expected)
        if len(log_probs) < 5:
            assert_all_found(tensors(log_probs, tables, wide(len(log_probs), 4)), expected)


def occurrences(text: str, phrase: str) -> int:
    """How often a phrase occurs as whole words, overlaps counted."""
    words, wanted = text.split(), phrase.split()
    return sum(words[i : i + len(wanted)] == wanted for i in range(len(words)))


@pytest.mark.parametrize("tokenizer", [CHARACTERS, PIECES])
@pytest.mark.parametrize("phrases", [("ab",), ("a b", "b a b"), ("a", "a a", "b")])
def test_with_hotwords(phrases, tokenizer):
    rng = np.random.default_rng(5)
    for _ in range(10):
        log_probs = random_log_probs(rng, int(rng.integers(2, 7)), 4)[:5]
        weights = Weights(hotword_boost=float(rng.uniform(0, 4)))
        expected = {}
        for tokens, acoustic in labelling_log_probs(log_probs).items():
            text = tokenizer.decode(tokens)
            boosts = sum(len(phrase.split()) * occurrences(text, phrase) for phrase in phrases)
            expected[tokens] = acoustic + weights.hotword_boost * boosts
        tables = SearchSpace(tokenizer, hotwords=phrases).tables(weights)
        assert_all_found(compiled(log_probs, tables, wide(len(log_probs), 4)), expected)
        if len(log_probs) < 5:
            assert_all_found(tensors(log_probs, tables, wide(len(log_probs), 4)), expected)


def labelling_log_prob(probs: np.ndarray, tokens: np.ndarray) -> float:
    return float(labelling_scores.labelling_log_probs(probs, tokens, np.array([len(tokens)]))[0])


def test_the_forward_pass_sums_all_paths():
    rng = np.random.default_rng(8)
    for _ in range(30):
        log_probs = random_log_probs(rng, int(rng.integers(1, 7)), 3)
        expected = labelling_log_probs(log_probs)
        probs = np.exp(log_probs.astype(np.float64))
        for tokens, log_prob in expected.items():
            assert labelling_log_prob(probs, np.array(tokens, np.int64)) == pytest.approx(log_prob, abs=1e-6)
        assert labelling_log_prob(probs, np.array([1, 1, 2, 2, 1], np.int64)) == -np.inf  # needs seven frames


def test_the_forward_pass_equals_pytorch_on_long_utterances():
    rng = np.random.default_rng(9)
    log_probs = np.concatenate([random_log_probs(rng, 100, 6) for _ in range(9)])
    for num_tokens in (0, 1, 60, 400, 700):
        tokens = rng.integers(1, 6, num_tokens)
        targets = torch.from_numpy(tokens)[None]
        lengths = torch.tensor([len(log_probs)]), torch.tensor([num_tokens])
        expected = -float(ctc_loss(torch.from_numpy(log_probs)[None], lengths[0], targets, lengths[1]))
        found = labelling_log_prob(np.exp(log_probs.astype(np.float64)), tokens)
        assert found == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("beam_width", [1, 2, 5])
def test_narrow_beams_of_both_backends_hold_the_same(beam_width):
    rng = np.random.default_rng(7)
    model = language_model(1, WORDS, 3)
    space = SearchSpace(CHARACTERS, model, hotwords=["ab a"])
    for weights in (Weights(), Weights(0.7, 0.5, -2.0, 1.5), Weights(0.7, 3.0, 1.0, 1.5)):
        tables = space.tables(weights)
        for options in (
            BeamOptions(beam_width),
            BeamOptions(beam_width, max_tokens_per_frame=2),
            BeamOptions(beam_width, token_floor=-1.5),
            BeamOptions(beam_width, blank_skip=0.5),
        ):
            log_probs = np.stack([random_log_probs(rng, 30, 4) for _ in range(5)])
            lengths = torch.tensor([30, 29, 12, 1, 0])
            batch = TensorSearch(tables, options, torch.device("cpu")).search(torch.from_numpy(log_probs), lengths)
            for row, length, found in zip(log_probs, lengths.tolist(), batch):
                assert_same(found, compiled(row[:length], tables, options))


NEVER_ALIKE = 10**6  # labellings of the same future: none is dropped for that


def test_places_of_labellings_that_cannot_lead_again_are_worth_having():
    """Without them a narrow beam finds better labellings, by the score's definition, and the best of all oftener."""
    rng = np.random.default_rng(13)
    tables = SearchSpace(CHARACTERS, language_model(1, WORDS, 2)).tables(Weights(0.7, 0.5, -2.0))
    sums, num_best = {1: 0.0, NEVER_ALIKE: 0.0}, {1: 0, NEVER_ALIKE: 0}
    for _ in range(100):
        log_probs = random_log_probs(rng, 12, 4)
        best = exact_score(log_probs, tables, BeamOptions(2000), NEVER_ALIKE)
        for alike in sums:
            score = exact_score(log_probs, tables, BeamOptions(beam_width=6), alike)
            sums[alike] += score
            num_best[alike] += score > best - 1e-6
    assert sums[1] > sums[NEVER_ALIKE]
    assert num_best[1] > num_best[NEVER_ALIKE]


def exact_score(log_probs: np.ndarray, tables, options: BeamOptions, max_alike: int) -> float:
    """Of the best that is found."""
    tokens = np.array(searched(log_probs, tables, options, max_alike)[0].tokens, np.int64)
    return labelling_log_prob(np.exp(log_probs.astype(np.float64)), tokens) + sum(
        labelling_scores.score_parts(tables, tokens)
    )


def searched(log_probs: np.ndarray, tables, options: BeamOptions, max_alike: int) -> list[Finalist]:
    search = CompiledSearch(tables, options, max_alike)
    assert search.advance(log_probs)
    return search.finalists()


def test_a_full_beam_holds_as_many_alike_as_hypotheses_are_asked_for():
    """Without a language model labellings that end in the same token have the same future."""
    log_probs = random_log_probs(np.random.default_rng(14), 20, 4)
    tables = SearchSpace(CHARACTERS).tables(Weights())
    sizes = []
    for nbest in (1, 2, 5):
        found = compiled(log_probs, tables, BeamOptions(beam_width=30, nbest=nbest))
        sizes.append(len(found))
        (same,) = TensorSearch(tables, BeamOptions(30, nbest), torch.device("cpu")).search(
            torch.from_numpy(log_probs)[None], torch.tensor([20])
        )
        assert_same(same, found)
    assert 3 <= sizes[0] < sizes[1] < sizes[2] < 30
