"""The beam decoder as its users see it: hypotheses, streams, N-best lists, options, errors."""

from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import numpy as np
import pytest
import torch
from brute_force import random_log_probs, random_ngrams
from helpers import needs_real_speech, real_data
from torch.utils._python_dispatch import TorchDispatchMode

from asr.decoding import compiled_search
from asr.decoding.beam import BeamDecoder
from asr.decoding.greedy import GreedyDecoder
from asr.decoding.search_options import BeamOptions
from asr.decoding.search_space import SearchSpace, Weights
from asr.decoding.tensor_search import TensorSearch
from asr.errors import AsrError, ConfigError, LanguageModelError, ModelError
from asr.ngram.model import NgramModel
from asr.ngram.tables import NgramTables, OrderTable
from asr.text.lexicon import Lexicon
from asr.text.tokenizer import CharTokenizer, PhoneTokenizer

ALPHABET = CharTokenizer((" ", "a", "b", "c"))
PHONES = PhoneTokenizer.from_lexicon(Lexicon({"HAT": (("HH", "AE", "T"),), "TEA": (("T", "IY"),)}))
FRAME_SECONDS = 0.03


def frames(path: str, likely: float = 0.9, tokenizer: CharTokenizer = ALPHABET) -> torch.Tensor:
    """(1, T, V) log-probabilities of a path, a label a character, `_` the blank; the rest shares what is left."""
    labels = [0 if character == "_" else tokenizer.encode(character)[0] for character in path]
    probabilities = torch.full((len(path), tokenizer.vocab_size), (1 - likely) / (tokenizer.vocab_size - 1))
    probabilities[torch.arange(len(path)), torch.tensor(labels)] = likely
    return probabilities.log()[None]


def decode(decoder: BeamDecoder, log_probs: torch.Tensor):
    return decoder.decode(log_probs, torch.tensor([log_probs.shape[1]]), ["u"])[0]


def unigrams(**probabilities: float) -> NgramModel:
    words = ("<unk>", "<s>", "</s>", *probabilities)
    log10_probs = np.log10([0.001, 1e-9, 0.1, *probabilities.values()]).astype(np.float32)
    table = OrderTable(np.arange(len(words), dtype=np.int32)[:, None], log10_probs, np.zeros_like(log10_probs))
    return NgramModel.from_tables(NgramTables(words, (table,)))


def test_times_and_confidences_are_those_of_the_path():
    hypothesis = decode(BeamDecoder.build(ALPHABET, FRAME_SECONDS), frames("_aab__ c_"))
    assert hypothesis.text == "ab c"
    first, second = hypothesis.words
    assert (first.text, first.start, first.end) == ("ab", pytest.approx(0.03), pytest.approx(0.12))
    assert (second.text, second.start, second.end) == ("c", pytest.approx(0.21), pytest.approx(0.24))
    assert hypothesis.words == decode(GreedyDecoder(ALPHABET, FRAME_SECONDS), frames("_aab__ c_")).words


def test_the_language_model_decides_between_close_words():
    log_probs = torch.logaddexp(frames("_a_b_") + np.log(0.55), frames("_a_c_") + np.log(0.45))
    model = unigrams(ab=0.001, ac=0.4)
    without = BeamDecoder.build(ALPHABET, FRAME_SECONDS, language_model=model, lm_weight=0.0)
    assert decode(without, log_probs).text == "ab"
    assert decode(without.with_weights(lm_weight=1.0, word_bonus=0.0), log_probs).text == "ac"


def test_parts_add_up_and_say_what_each_contributes():
    decoder = BeamDecoder.build(
        ALPHABET,
        FRAME_SECONDS,
        language_model=unigrams(ab=0.2, c=0.3),
        lm_weight=0.5,
        word_bonus=0.7,
        unknown_penalty=-4.0,
        hotwords=["ab"],
        hotword_boost=2.0,
    )
    parts = decode(decoder, frames("ab cc a", likely=0.999)).parts
    # "a" is unknown: an eighth of an unknown word, as eight characters are one
    assert parts.language_model == pytest.approx(0.5 * np.log(0.2 * 0.3 * 0.001 ** (1 / 8) * 0.1), rel=1e-5)
    assert parts.word_bonus == pytest.approx(2 * 0.7 + (0.7 - 4.0) / 8)
    assert parts.hotwords == pytest.approx(2.0)
    assert parts.acoustic == pytest.approx(7 * np.log(0.999), abs=1e-2)


def test_nbest_texts_differ_and_are_in_order():
    decoder = BeamDecoder.build(ALPHABET, FRAME_SECONDS, beam_width=16, nbest=5)
    hypothesis = decode(decoder, frames("_ab_ _c_", likely=0.5))
    ranked = [hypothesis, *hypothesis.alternatives]
    assert len({h.text for h in ranked}) == len(ranked) == 5
    assert [h.score for h in ranked] == sorted((h.score for h in ranked), reverse=True)


@pytest.mark.parametrize("beam_width", [1, 4, 20])
def test_pieces_give_what_the_whole_gives(beam_width, monkeypatch):
    monkeypatch.setattr("asr.decoding.beam.ALIGNED_FRAMES", 200)
    rng = np.random.default_rng(0)
    log_probs = torch.from_numpy(random_log_probs(rng, 1500, 5))
    decoder = BeamDecoder.build(
        ALPHABET, FRAME_SECONDS, beam_width=beam_width, language_model=random_ngrams(rng, ("a", "bc", "cab")),
        lm_weight=0.5, word_bonus=1.0, unknown_penalty=-1.0,
    )  # fmt: skip
    whole = decode(decoder, log_probs[None])
    for size in (1, 7, 512, 1499):
        stream = decoder.stream("u")
        stable = ""
        for start in range(0, 1500, size):
            stream.accept(log_probs[start : start + size])
            assert stream.stable_text.startswith(stable.rstrip())
            stable = stream.stable_text
        assert stream.finish() == whole
        assert whole.text.startswith(stable.strip())


def test_memory_of_the_arena_is_given_back(monkeypatch):
    monkeypatch.setattr(compiled_search, "BLOCK_FRAMES", 5)
    rng = np.random.default_rng(1)
    log_probs = random_log_probs(rng, 400, 5)
    space, options = SearchSpace(ALPHABET), BeamOptions(beam_width=8)
    search = compiled_search.CompiledSearch(space.tables(Weights()), options)
    assert search.advance(log_probs)
    small = search.finalists()
    monkeypatch.setattr(compiled_search, "BLOCK_FRAMES", 10_000)
    search = compiled_search.CompiledSearch(space.tables(Weights()), options)
    search.advance(log_probs)
    assert search.finalists() == small


def test_batches_and_padding_change_nothing():
    rng = np.random.default_rng(2)
    log_probs = torch.stack([torch.from_numpy(random_log_probs(rng, 40, 5)) for _ in range(6)])
    lengths = torch.tensor([40, 33, 20, 5, 1, 0])
    decoder = BeamDecoder.build(ALPHABET, FRAME_SECONDS, beam_width=7, nbest=3)
    together = decoder.decode(log_probs, lengths, list("uvwxyz"))
    for row, length, hypothesis in zip(log_probs, lengths.tolist(), together):
        assert decode(decoder, row[None, :length]) == hypothesis
    assert together[-1].text == ""
    assert together[-1].words == ()


class Operations(TorchDispatchMode):
    """Notes what torch is asked to do."""

    def __init__(self) -> None:
        super().__init__()
        self.names: set[str] = set()

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        self.names.add(function.name())
        return function(*args, **(kwargs or {}))


@pytest.mark.parametrize(
    "decoder", [GreedyDecoder(ALPHABET, FRAME_SECONDS), BeamDecoder.build(ALPHABET, FRAME_SECONDS)]
)
def test_torch_computes_nothing_for_single_utterances(decoder):
    """Its threads meet at the end of each operation, which takes milliseconds on a busy machine."""
    stream, log_probs = decoder.stream("u"), frames("_aab__ c_" * 300)[0]
    with Operations() as operations:
        stream.accept(log_probs)
        hypothesis = stream.finish()
    assert hypothesis.text.startswith("ab c")
    assert operations.names <= {"aten::detach", "aten::view", "aten::alias"}


def test_without_a_language_model_a_wide_beam_is_never_worse_than_the_best_path():
    rng = np.random.default_rng(3)
    greedy = GreedyDecoder(ALPHABET, FRAME_SECONDS)
    decoder = BeamDecoder.build(ALPHABET, FRAME_SECONDS, beam_width=20)
    for _ in range(20):
        log_probs = torch.from_numpy(random_log_probs(rng, 30, 5))[None]
        assert decode(decoder, log_probs).score >= decode(greedy, log_probs).score


# ---- hotwords and lexicon -------------------------------------------------------------------------------------------


def test_a_hotword_appears_when_the_acoustics_are_close():
    log_probs = torch.logaddexp(frames("_a_b_ c") + np.log(0.6), frames("_a_c_ c") + np.log(0.4))
    plain = BeamDecoder.build(ALPHABET, FRAME_SECONDS)
    boosted = BeamDecoder.build(ALPHABET, FRAME_SECONDS, hotwords=["ac c"], hotword_boost=1.0)
    assert decode(plain, log_probs).text == "ab c"
    assert decode(boosted, log_probs).text == "ac c"


def test_hotwords_leave_unrelated_speech_alone():
    rng = np.random.default_rng(4)
    speech = frames("ab_b_a ba_ab_a ab" * 3, likely=0.99)
    log_probs = (torch.from_numpy(random_log_probs(rng, speech.shape[1], 5)) + 3 * speech).log_softmax(-1)
    plain = BeamDecoder.build(ALPHABET, FRAME_SECONDS, beam_width=20)
    boosted = BeamDecoder.build(ALPHABET, FRAME_SECONDS, beam_width=20, hotwords=["cc", "c abc"], hotword_boost=3.0)
    assert decode(boosted, log_probs) == decode(plain, log_probs)


def test_a_hotword_is_no_part_of_a_word():
    decoder = BeamDecoder.build(ALPHABET, FRAME_SECONDS, hotwords=["ab"], hotword_boost=5.0)
    assert decode(decoder, frames("abc", likely=0.999)).parts.hotwords == pytest.approx(0.0)
    assert decode(decoder, frames("ab c", likely=0.9999)).parts.hotwords == pytest.approx(5.0)


def test_a_hotword_that_the_language_model_does_not_know_costs_no_penalty():
    decoder = BeamDecoder.build(
        ALPHABET, FRAME_SECONDS, language_model=unigrams(bb=0.5), lm_weight=1.0, unknown_penalty=-50.0, hotwords=["cab"]
    )
    assert decode(decoder, frames("cab", likely=0.99)).parts.word_bonus == 0.0


def test_only_words_of_the_lexicon_are_written():
    rng = np.random.default_rng(6)
    lexicon = ["ab", "ca", "bcb"]
    decoder = BeamDecoder.build(ALPHABET, FRAME_SECONDS, beam_width=20, nbest=4, lexicon=lexicon)
    for _ in range(20):
        hypothesis = decode(decoder, torch.from_numpy(random_log_probs(rng, 25, 5))[None])
        for text in (hypothesis.text, *(other.text for other in hypothesis.alternatives)):
            assert set(text.split()) <= set(lexicon)


def test_an_unfinished_word_is_dropped_when_nothing_else_is_left():
    decoder = BeamDecoder.build(ALPHABET, FRAME_SECONDS, beam_width=1, lexicon=["ab", "ca"])
    assert decode(decoder, frames("ab c", likely=0.99)).text == "ab"


# ---- unknown words --------------------------------------------------------------------------------------------------

LETTERS = CharTokenizer(tuple(" abcdefghijklmnopqrstuvwxyz"))
WEIGHTS = ("lm_weight", "word_bonus", "unknown_penalty")
DIGITS = ("one", "two", "three", "six", "seven", "eight", "nine", "zero")  # four and five are unknown


@pytest.mark.parametrize("backend", ["compiled", "tensors"])
@pytest.mark.parametrize("weights", [(0.5, 1.0, -10.0), (0.1, 0.0, -10.0), (0.5, 1.0, 0.0), (2.0, -3.0, -5.0)])
@pytest.mark.parametrize(
    "text", ["one four five nine three", "four five", "four four five five five", "two four six fifteen forty one"]
)
def test_unknown_words_side_by_side_are_not_written_as_one(text, weights, backend):
    log_probs = frames("_".join(text), tokenizer=LETTERS)
    model = unigrams(**dict.fromkeys(DIGITS, 0.1))
    decoder = BeamDecoder.build(LETTERS, FRAME_SECONDS, language_model=model, **dict(zip(WEIGHTS, weights)))
    if backend == "compiled":
        assert decode(decoder, log_probs).text == text
    else:
        search = TensorSearch(decoder.tables, decoder.options, torch.device("cpu"))
        (finalists,) = search.search(log_probs, torch.tensor([log_probs.shape[1]]))
        assert LETTERS.decode(finalists[0].tokens) == text


# ---- phones: each token is a word --------------------------------------------------------------------------------


def path_of_tokens(tokens: list[int], vocab_size: int, likely: float = 0.9) -> torch.Tensor:
    """(1, T, V) log-probabilities of labels, each in one frame with a blank after it."""
    probabilities = torch.full((2 * len(tokens), vocab_size), (1 - likely) / (vocab_size - 1))
    probabilities[torch.arange(0, 2 * len(tokens), 2), torch.tensor(tokens)] = likely
    probabilities[1::2, 0] = likely
    return probabilities.log()[None]


@pytest.mark.parametrize("word", ["HAT", "TEA"])
def test_words_with_a_phone_model_are_an_error_and_not_nonsense(word):
    """HAT has only letters that phones have too, and is no phone."""
    with pytest.raises(LanguageModelError, match=f"over words.*{word}"):
        BeamDecoder.build(PHONES, FRAME_SECONDS, language_model=unigrams(HAT=0.4, TEA=0.4))
    with pytest.raises(ConfigError, match=f"can be spelt by the model; it lacks '{word}'"):
        BeamDecoder.build(PHONES, FRAME_SECONDS, lexicon=[word])


def test_phones_take_a_model_over_phones():
    model = unigrams(HH=0.2, AE=0.2, IY=0.1, T=0.2)
    decoder = BeamDecoder.build(PHONES, FRAME_SECONDS, language_model=model, lm_weight=0.5)
    assert decode(decoder, path_of_tokens(PHONES.encode("HAT TEA"), PHONES.vocab_size)).text == "HH AE T T IY"


def test_a_hotword_of_a_phone_model_is_its_pronunciation():
    decoder = BeamDecoder.build(PHONES, FRAME_SECONDS, hotwords=["HAT"], hotword_boost=5.0)
    hypothesis = decode(decoder, path_of_tokens(PHONES.encode("TEA HAT"), PHONES.vocab_size, likely=0.999))
    assert hypothesis.text == "T IY HH AE T"
    assert hypothesis.parts.hotwords == pytest.approx(5.0)


def test_the_hint_of_a_hotword_can_be_written():
    with pytest.raises(ConfigError, match="did you mean 'ab'"):
        BeamDecoder.build(ALPHABET, FRAME_SECONDS, hotwords=["AB"])
    with pytest.raises(ConfigError, match=r"cannot write$"):
        BeamDecoder.build(ALPHABET, FRAME_SECONDS, hotwords=["o'neil"])


def test_words_of_the_lexicon_that_cannot_be_written_are_known():
    assert SearchSpace(ALPHABET, lexicon=["ab", "né", "ab", "né"]).left_out == ("né",)


# ---- options --------------------------------------------------------------------------------------------------------


def test_pruning_is_off_unless_asked_for():
    options = BeamOptions()
    assert (options.max_tokens_per_frame, options.token_floor, options.blank_skip) == (0, 0.0, 1.0)


def test_skipped_blank_frames_end_repeats_and_keep_their_blank():
    log_probs = frames("a_a", likely=0.9)
    hypothesis = decode(BeamDecoder.build(ALPHABET, FRAME_SECONDS, blank_skip=0.8), log_probs)
    assert hypothesis.text == "aa"
    assert decode(BeamDecoder.build(ALPHABET, FRAME_SECONDS, token_floor=-1.0), log_probs).text == "aa"


@pytest.mark.parametrize(
    "wrong",
    [
        {"beam_width": 0},
        {"nbest": 0},
        {"beam_width": 4, "nbest": 5},
        {"max_tokens_per_frame": -1},
        {"token_floor": 0.5},
        {"token_floor": float("nan")},
        {"blank_skip": 0.0},
        {"blank_skip": 1.5},
        {"confidence_temperature": 0.0},
        {"lm_weight": -1.0},
        {"word_bonus": float("inf")},
        {"hotwords": ["a", " "]},
        {"hotwords": ["xyz"]},
        {"lexicon": []},
        {"lexicon": ["XYZ"]},
    ],
)
def test_settings_that_make_no_sense_are_refused(wrong):
    with pytest.raises(ConfigError):
        BeamDecoder.build(ALPHABET, FRAME_SECONDS, **wrong)


# ---- what does not fit ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_log_probs_that_are_no_numbers_name_the_utterance(value):
    log_probs = frames("ab")
    log_probs[0, 1, 2] = value
    with pytest.raises(ModelError, match=r"NaN or \+inf log-probabilities for u"):
        decode(BeamDecoder.build(ALPHABET, FRAME_SECONDS), log_probs)


def test_log_probs_of_another_vocabulary_are_refused():
    with pytest.raises(ModelError, match=r"expected \(T, 5\) log-probabilities for utterance u, got \(3, 7\)"):
        decode(BeamDecoder.build(ALPHABET, FRAME_SECONDS), torch.zeros(1, 3, 7))


def test_an_empty_beam_names_the_utterance():
    log_probs = frames("ab")
    log_probs[0, 1] = -torch.inf
    with pytest.raises(ModelError, match="no hypothesis is left for u"):
        decode(BeamDecoder.build(ALPHABET, FRAME_SECONDS), log_probs)


def test_a_language_model_in_another_case_is_an_error_that_names_the_symbols():
    with pytest.raises(LanguageModelError, match=r"'A' \(U\+0041.*upper case"):
        BeamDecoder.build(ALPHABET, FRAME_SECONDS, language_model=unigrams(ABBA=0.5, CAB=0.3))


def test_a_token_model_of_another_alphabet_is_an_error_that_names_the_symbols():
    with pytest.raises(LanguageModelError, match="'x'"):
        BeamDecoder.build(ALPHABET, FRAME_SECONDS, language_model=unigrams(a=0.5, x=0.2))


def test_a_token_model_that_lacks_tokens_is_an_error_that_names_them():
    with pytest.raises(LanguageModelError, match="lacks 3 of the model's 4 tokens: '<space>', 'b'"):
        BeamDecoder.build(ALPHABET, FRAME_SECONDS, language_model=unigrams(a=0.5))


def test_a_token_model_without_spaces_is_refused_as_they_would_be_left_out():
    model = unigrams(**dict.fromkeys("abcdefghijklmnopqrstuvwxyz", 0.03))
    with pytest.raises(LanguageModelError, match="lacks <space>: each space would cost as much as an unknown token"):
        BeamDecoder.build(LETTERS, FRAME_SECONDS, language_model=model, lm_weight=0.5)


def test_a_language_model_with_the_blank_is_refused():
    with pytest.raises(LanguageModelError, match="blank"):
        BeamDecoder.build(ALPHABET, FRAME_SECONDS, language_model=unigrams(**{"a": 0.5, "<blank>": 0.2}))


def test_a_few_foreign_words_in_the_language_model_do_no_harm():
    model = unigrams(ab=0.5, **{"café": 0.001})
    assert decode(BeamDecoder.build(ALPHABET, FRAME_SECONDS, language_model=model), frames("ab")).text == "ab"


def test_errors_are_ours():
    assert issubclass(LanguageModelError, AsrError)


# ---- real log-probabilities -----------------------------------------------------------------------------------------


@needs_real_speech
def test_on_real_emissions_a_wider_beam_finds_better_scores_and_pieces_change_nothing():
    data = np.load(real_data() / "emissions" / "librispeech-test.npz")
    tokenizer = CharTokenizer(tuple(data["tokens"][1:].tolist()))
    length = int(data["lengths"][0])
    log_probs = torch.from_numpy(data["log_probs"][:length].astype(np.float32))
    scores = []
    for beam_width in (2, 8, 32):
        decoder = BeamDecoder.build(tokenizer, FRAME_SECONDS, beam_width=beam_width)
        whole = decode(decoder, log_probs[None])
        stream = decoder.stream("u")
        for start in range(0, length, 100):
            stream.accept(log_probs[start : start + 100])
        assert stream.finish() == whole
        scores.append(whole.score)
        assert all(word.start < word.end <= length * FRAME_SECONDS for word in whole.words)
    assert scores == sorted(scores)


def test_a_long_recording_is_decided_bit_by_bit(monkeypatch):
    """Old ambiguities must not fill the beam: noise for 3,000 frames, and memory and alignment stay small."""
    monkeypatch.setattr("asr.decoding.beam.ALIGNED_FRAMES", 100)
    monkeypatch.setattr("asr.decoding.word_aligner.ALIGNED_FRAMES", 100)
    log_probs = torch.from_numpy(random_log_probs(np.random.default_rng(11), 3000, 5))
    stream = BeamDecoder.build(ALPHABET, FRAME_SECONDS, beam_width=20).stream("u")
    for start in range(0, 3000, 77):
        stream.accept(log_probs[start : start + 77])
        assert sum(map(len, stream.aligner._held)) < 500
    words = stream.finish().words
    assert words == decode(BeamDecoder.build(ALPHABET, FRAME_SECONDS, beam_width=20), log_probs[None]).words
    assert all(a.start < a.end <= b.start for a, b in pairwise(words))


def test_the_way_through_a_device_gives_what_the_compiled_search_gives(monkeypatch):
    monkeypatch.setattr("asr.decoding.beam.ALIGNED_FRAMES", 20)  # so that one of them is a long recording
    monkeypatch.setattr("asr.decoding.word_aligner.ALIGNED_FRAMES", 20)
    rng = np.random.default_rng(12)
    log_probs = torch.stack([torch.from_numpy(random_log_probs(rng, 45, 5)) for _ in range(4)])
    lengths = torch.tensor([45, 15, 7, 0])
    decoder = BeamDecoder.build(ALPHABET, FRAME_SECONDS, beam_width=9, nbest=2)
    rows = [row[:length].numpy() for row, length in zip(log_probs, lengths.tolist())]
    with ThreadPoolExecutor(2) as pool:
        searches = decoder._search_on_device(log_probs, rows, list("uvwx"), pool)
    best = decoder.choose([decoder.nbest(*search) for search in searches])
    for mine, theirs in zip(best, decoder.decode(log_probs, lengths, list("uvwx"))):
        assert mine.text == theirs.text
        assert mine.score == pytest.approx(theirs.score, abs=1e-6)
    impossible = log_probs.clone()
    impossible[1, 3] = -torch.inf
    with ThreadPoolExecutor(2) as pool, pytest.raises(ModelError, match="no hypothesis is left for v"):
        decoder._search_on_device(
            impossible, [impossible[0, :30].numpy(), impossible[1, :15].numpy()], list("uv"), pool
        )
