import contextlib
import json
import math

import numpy as np
import pytest
import torch
from helpers import needs_real_speech, real_data
from hypothesis import given, settings
from hypothesis import strategies as st
from torch._subclasses.fake_tensor import FakeTensorMode

from asr.errors import LanguageModelError
from asr.ngram.arpa_writer import write_arpa
from asr.ngram.lookup import advance
from asr.ngram.model import ARRAYS, LN_10, NgramModel, load_ngram
from asr.ngram.perplexity import TextScore, text_score
from asr.ngram.tables import BEGIN_ID, END_ID, SPECIAL_WORDS, UNKNOWN_ID, NgramTables, OrderTable
from asr.ngram.tensors import NgramTensors


def table(rows, order):
    """Rows (words, log10 probability, log10 back-off) as a table."""
    words, probs, backoffs = zip(*sorted(rows)) if rows else ((), (), ())
    return OrderTable(
        np.array(words, dtype=np.int32).reshape(-1, order), np.float32(np.array(probs)), np.float32(np.array(backoffs))
    )


def random_tables(rng, order, num_words, share):
    """A model over a few words in which each possible n-gram is there with a probability of `share`."""
    vocab = (*SPECIAL_WORDS, *(f"w{number}" for number in range(num_words)))
    contexts, orders = [()], []
    for length in range(1, order + 1):
        ngrams = [(*context, word) for context in contexts for word in range(len(vocab))]
        kept = [ngram for ngram in ngrams if length == 1 or rng.random() < share]
        rows = [(ngram, -rng.random() * 3, rng.normal() if length < order else 0.0) for ngram in kept]
        orders.append(table(rows, length))
        contexts = [ngram for ngram in kept if ngram[-1] != END_ID]
    return NgramTables(vocab, tuple(orders))


class BruteForce:
    """Back-off by its definition, over a dictionary of n-grams."""

    def __init__(self, tables):
        self.ngrams = {
            tuple(words): (float(prob), float(backoff))
            for order in tables.orders
            for words, prob, backoff in zip(order.words.tolist(), order.log10_probs, order.log10_backoffs)
        }
        self.order = tables.order

    def ln_prob(self, history, word):
        history = tuple(history)[max(0, len(history) - self.order + 1) :]
        if (*history, word) in self.ngrams:
            return LN_10 * self.ngrams[(*history, word)][0]
        _, backoff = self.ngrams.get(history, (0.0, 0.0))
        return LN_10 * backoff + self.ln_prob(history[1:], word)


def arrays(model):
    return [getattr(model, name) for name in ARRAYS]


def tensors(model):
    return NgramTensors(*(torch.tensor(array) for array in arrays(model)))


# p(b | <s>) is there, p(a | <s> b) too; after it </s> backs off twice. Numbers are log10.
TABLES = NgramTables(
    (*SPECIAL_WORDS, "a", "b"),
    (
        table(
            [((0,), -2.0, 0.0), ((1,), -99.0, -0.5), ((2,), -1.0, 0.0), ((3,), -0.75, -0.125), ((4,), -0.5, -0.25)], 1
        ),
        table([((1, 4), -0.375, -0.0625), ((4, 3), -0.625, -1.0)], 2),
        table([((1, 4, 3), -0.03125, 0.0)], 3),
    ),
)


def test_a_trie_by_hand():
    model = NgramModel.from_tables(TABLES)
    # root | <unk> <s> </s> a b | <s> b, b a | <s> b a
    assert model.words.tolist() == [-1, 0, 1, 2, 3, 4, 4, 3, 3]
    assert model.first_child.tolist() == [1, 6, 6, 7, 7, 7, 8, 9, 9]
    #                             <s> b -> b (5), b a -> a (4), <s> b a -> b a (7)
    assert model.suffixes.tolist() == [0, 0, 0, 0, 0, 0, 5, 4, 7]
    assert (model.log_probs / LN_10)[[6, 7, 8]].tolist() == pytest.approx([-0.375, -0.625, -0.03125])
    assert (model.backoffs / LN_10).tolist() == pytest.approx([0, 0, -0.5, 0, -0.125, -0.25, -0.0625, -1])
    assert (model.num_ngrams, model.order, model.begin_state) == ((5, 2, 1), 3, 2)
    assert [array.dtype for array in arrays(model)] == [np.int32, np.float32, np.int32, np.float32, np.int32]


def test_suffixes_are_the_longest_that_are_there():
    tables = random_tables(np.random.default_rng(2), order=4, num_words=2, share=0.5)
    ngrams = [(), *(tuple(words) for order in tables.orders for words in order.words.tolist())]
    nodes = {ngram: node for node, ngram in enumerate(ngrams)}
    ends = [next((ngram[n:] for n in range(1, len(ngram)) if ngram[n:] in nodes), ()) for ngram in ngrams]
    assert any(0 < len(end) < len(ngram) - 2 for ngram, end in zip(ngrams, ends))  # some skip a length
    assert NgramModel.from_tables(tables).suffixes.tolist() == [nodes[end] for end in ends]


def test_a_sentence_by_hand():
    model = NgramModel.from_tables(TABLES)
    # b: found after <s>; a: after <s> b; </s>: back-offs of "b a" and "a", then alone; "x" is <unk>
    assert (model.score("b a") / LN_10).tolist() == pytest.approx([-0.375, -0.03125, -1.0 - 0.125 - 1.0])
    assert (model.score(["x"]) / LN_10).tolist() == pytest.approx([-0.5 - 2.0, -1.0])
    scores = model.score_ids(np.array([4, 3, END_ID, UNKNOWN_ID, END_ID], dtype=np.int32))
    assert scores.ngram_lengths.tolist() == [2, 3, 1, 1, 1]
    assert [model.word_id(word) for word in ("a", "<unk>", "x")] == [3, UNKNOWN_ID, UNKNOWN_ID]


def test_perplexity_by_hand():
    model = NgramModel.from_tables(TABLES)
    ids = np.array([4, 3, END_ID, UNKNOWN_ID, END_ID], dtype=np.int32)
    score = text_score(ids, model.score_ids(ids))
    assert (score.num_sentences, score.num_words, score.num_tokens, score.num_oovs) == (2, 3, 5, 1)
    assert score.oov_rate == pytest.approx(1 / 3)
    assert score.perplexity == pytest.approx(10 ** ((0.375 + 0.03125 + 2.125 + 2.5 + 1.0) / 5), rel=1e-6)
    assert score.perplexity_without_oovs == pytest.approx(10 ** ((0.375 + 0.03125 + 2.125 + 1.0) / 4), rel=1e-6)
    assert score + TextScore() == score
    assert math.isnan(TextScore().perplexity)
    assert TextScore().oov_rate == 0.0


@settings(max_examples=30)
@given(st.integers(0, 2**32 - 1), st.integers(1, 4), st.integers(1, 4), st.sampled_from([0.0, 0.2, 0.5, 1.0]))
def test_lookups_agree_with_brute_force(seed, order, num_words, share):
    rng = np.random.default_rng(seed)
    tables = random_tables(rng, order, num_words, share)
    model, brute = NgramModel.from_tables(tables), BruteForce(tables)
    text = rng.integers(0, len(tables.vocab), 30)
    text[text == BEGIN_ID] = UNKNOWN_ID
    history, state, states = [BEGIN_ID], model.begin_state, []
    for word in text.tolist():
        states.append(state)
        log_prob, state = advance(*arrays(model), state, word)
        assert log_prob == pytest.approx(brute.ln_prob(history, word), abs=1e-5)
        history.append(word)
    log_probs, following = tensors(model).advance(torch.tensor(states), torch.tensor(text))
    expected = [brute.ln_prob([BEGIN_ID, *text[:t]], text[t]) for t in range(len(text))]
    assert log_probs.tolist() == pytest.approx(expected, abs=1e-5)
    assert following.tolist() == [*states[1:], state]


def test_every_state_and_word_is_alike_in_tensors():
    tables = random_tables(np.random.default_rng(0), order=4, num_words=3, share=0.4)
    model = NgramModel.from_tables(tables)
    states = torch.arange(len(model.backoffs))[:, None]
    words = torch.arange(len(model.vocab))
    log_probs, following = tensors(model).advance(states, words)  # broadcast
    expected = [[advance(*arrays(model), s, w) for w in words.tolist()] for s in states[:, 0].tolist()]
    np.testing.assert_allclose(log_probs, [[prob for prob, _ in row] for row in expected], atol=1e-6)
    assert following.tolist() == [[state for _, state in row] for row in expected]
    assert (log_probs.dtype, following.dtype) == (torch.float32, torch.int64)


def test_tensor_lookups_never_wait_for_the_device():
    """Under fake tensors, which have no values, whatever would need one raises."""
    lookup = tensors(NgramModel.from_tables(TABLES))
    with FakeTensorMode(allow_non_fake_inputs=True):
        log_probs, following = lookup.advance(torch.zeros(2, 1, dtype=torch.int64), torch.zeros(3, dtype=torch.int64))
    assert log_probs.shape == following.shape == (2, 3)


def test_score_ids_equals_sentence_by_sentence():
    tables = random_tables(np.random.default_rng(1), order=3, num_words=4, share=0.5)
    model = NgramModel.from_tables(tables)
    sentences = [["w0", "w3"], [], ["w1", "other", "w1"]]
    stream = [number for sentence in sentences for number in (*map(model.word_id, sentence), END_ID)]
    one_by_one = np.concatenate([model.score(sentence) for sentence in sentences])
    np.testing.assert_array_equal(model.score_ids(stream).log_probs, one_by_one)
    assert len(model.score_ids([]).log_probs) == 0
    with pytest.raises(LanguageModelError, match=r"from 0 to 6, got 2 to 7"):
        model.score_ids([2, 7])


@settings(max_examples=10)
@given(st.integers(0, 2**32 - 1), st.integers(1, 4))
def test_files_hold_the_model(tmp_path_factory, seed, order):
    folder = tmp_path_factory.mktemp("lm")
    tables = random_tables(np.random.default_rng(seed), order, num_words=3, share=0.5)
    model = NgramModel.from_tables(tables)
    model.save(folder / "lm.lm")
    write_arpa(folder / "lm.arpa.gz", tables)
    loaded, read = load_ngram(folder / "lm.lm"), load_ngram(folder / "lm.arpa.gz")
    assert loaded.vocab == read.vocab == model.vocab
    assert loaded.num_ngrams == read.num_ngrams == model.num_ngrams
    for name in ARRAYS:
        np.testing.assert_array_equal(getattr(loaded, name), getattr(model, name))
        np.testing.assert_allclose(getattr(read, name), getattr(model, name), rtol=1e-6, atol=1e-6)


def test_a_model_is_mapped_and_cannot_be_changed(tmp_path):
    NgramModel.from_tables(TABLES).save(tmp_path / "lm.lm")
    model = load_ngram(tmp_path / "lm.lm")
    for array in arrays(model):
        assert not array.flags.owndata
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 0


def test_tables_without_a_context_or_order_are_refused():
    bigrams = [((4, 3), -1.0, 0.0), ((1, 4), -1.0, 0.0)]
    unsorted = OrderTable(np.array([row[0] for row in bigrams], dtype=np.int32), *np.zeros((2, 2), dtype=np.float32))
    with pytest.raises(LanguageModelError, match=r"sorted tables .*'<s> b' without one"):
        NgramModel.from_tables(NgramTables(TABLES.vocab, (TABLES.orders[0], unsorted)))
    orphan = table([((3, 3, 3), -1.0, 0.0)], 3)
    with pytest.raises(LanguageModelError, match="'a a a' without one"):
        NgramModel.from_tables(NgramTables(TABLES.vocab, (*TABLES.orders[:2], orphan)))
    twice = table([((4, 3), -1.0, 0.0)] * 2, 2)
    with pytest.raises(LanguageModelError, match="children of a context to be sorted"):
        NgramModel.from_tables(NgramTables(TABLES.vocab, (TABLES.orders[0], twice)))


@pytest.mark.parametrize(
    ("name", "place", "value", "message"),
    [
        ("words", 0, 0, "words: expected the vocabulary in order"),
        ("words", 3, 7, "words: expected the vocabulary in order"),
        ("words", 7, 5, "words: expected word numbers from 0 to 4"),
        ("words", 7, -1, "words: expected word numbers from 0 to 4"),
        ("first_child", 0, 0, "first_child: expected"),
        ("first_child", 3, 99, "first_child: expected places that never decrease"),
        ("first_child", 8, 10, "first_child: expected the children of each order"),
        ("first_child", 1, 7, "first_child: expected"),
        ("suffixes", 4, 1, "suffixes: expected the root"),
        ("suffixes", 6, 6, "suffixes: expected the node of a shorter n-gram"),
        ("suffixes", 6, 0, "suffixes: expected the node of a shorter n-gram"),
        ("suffixes", 8, -7, "suffixes: expected the node of a shorter n-gram"),
        ("suffixes", 6, 4, "suffixes: expected a node of the same word"),
        ("log_probs", 6, np.nan, "log_probs: expected finite numbers of at most 0"),
        ("log_probs", 6, 0.5, "log_probs: expected finite numbers of at most 0"),
        ("log_probs", 6, -np.inf, "log_probs: expected finite numbers of at most 0"),
        ("backoffs", 2, np.inf, "backoffs: expected finite numbers"),
        ("backoffs", 0, 0.5, "backoffs: expected 0 for the root"),
    ],
)
def test_arrays_that_are_no_trie(name, place, value, message):
    model = NgramModel.from_tables(TABLES)
    changed = {field: getattr(model, field).copy() for field in ARRAYS}
    changed[name][place] = value
    with pytest.raises(LanguageModelError, match=message):
        NgramModel(model.vocab, model.num_ngrams, **changed)


def test_sizes_and_vocabulary_must_fit():
    model = NgramModel.from_tables(TABLES)
    parts = {name: getattr(model, name) for name in ARRAYS}
    with pytest.raises(LanguageModelError, match="num_ngrams: expected 5 1-grams"):
        NgramModel(model.vocab, (4, 3, 1), **parts)
    with pytest.raises(LanguageModelError, match=r"words: expected \(10,\) int32"):
        NgramModel(model.vocab, (5, 3, 1), **parts)
    with pytest.raises(LanguageModelError, match=r"suffixes: .* got .*int64"):
        NgramModel(model.vocab, (5, 2, 1), **{**parts, "suffixes": model.suffixes.astype(np.int64)})
    with pytest.raises(LanguageModelError, match="vocab: expected <unk>, <s>, </s> first"):
        NgramModel(model.vocab[::-1], (5, 2, 1), **parts)
    with pytest.raises(LanguageModelError, match="vocab: expected each word once"):
        NgramModel((*model.vocab[:4], "a"), (5, 2, 1), **parts)


def compiled(folder, change=lambda header: None):
    """A compiled model whose header was changed."""
    path = folder / "lm.lm"
    NgramModel.from_tables(TABLES).save(path)
    content = path.read_bytes()
    start = 8 + int.from_bytes(content[:8], "little")
    header = json.loads(content[8:start])
    change(header)
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(len(text).to_bytes(8, "little") + text + content[start:])
    return path


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda h: h["__metadata__"].update(format="other"), "got another safetensors file, such as the weights"),
        (lambda h: h.pop("__metadata__"), "got another safetensors file, such as the weights"),
        (
            lambda h: h["__metadata__"].update(version="2"),
            "expected a compiled model of version 1, got version '2', which another version of asr wrote; compile",
        ),
        (lambda h: h["__metadata__"].update(counts="[5, -2, 1]"), "counts: expected"),
        (lambda h: h["__metadata__"].update(counts="[5, 2.0, 1]"), "counts: expected"),
        (lambda h: h["__metadata__"].update(counts="[5,"), "counts: expected a JSON list"),
        (lambda h: h["__metadata__"].update(counts="[5, 2, 99999999999999999999999]"), "num_ngrams: expected"),
        (lambda h: h["__metadata__"].pop("counts"), "counts: expected a JSON list"),
        (lambda h: h.pop("words"), "expected the tensors"),
        (lambda h: h.update(more=h["words"]), "expected the tensors"),
        (lambda h: h["words"].update(dtype="F32"), "words: expected a vector of I32"),
        (lambda h: h["words"].update(shape=[3, 3]), "words: expected a vector of I32"),
        (lambda h: h["words"].update(data_offsets=["a", 1]), "words: expected a vector of I32"),
        (lambda h: h["words"].update(data_offsets=[-36, 0]), "words: expected 9 × 4 bytes inside"),
        (lambda h: h["words"].update(data_offsets=[0, 40]), "words: expected 9 × 4 bytes inside"),
        (lambda h: h["words"].update(shape=[10**12], data_offsets=[0, 4 * 10**12]), "words: expected .* inside"),
        (lambda h: h["words"].update(data_offsets=[2, 38]), "words: expected a place that is a multiple of 4"),
        (lambda h: h.update(words=None), "words: expected a vector"),
    ],
)
def test_hostile_headers(tmp_path, change, message):
    with pytest.raises(LanguageModelError, match=rf"lm\.lm: .*{message}"):
        load_ngram(compiled(tmp_path, change))


@pytest.mark.parametrize(("place", "value"), [(0, 1), (1, 0), (2, 99), (-1, 13), (2, -1)])
def test_vocabulary_places_must_increase(tmp_path, place, value):
    path = tmp_path / "lm.lm"
    model = NgramModel.from_tables(TABLES)
    model.save(path)
    offsets = np.cumsum([0, *map(len, model.vocab)], dtype=np.int64)
    changed = offsets.copy()
    changed[place] = value
    assert offsets.tobytes() in path.read_bytes()
    path.write_bytes(path.read_bytes().replace(offsets.tobytes(), changed.tobytes()))
    with pytest.raises(LanguageModelError, match="vocab_offsets: expected increasing places"):
        load_ngram(path)


def test_what_is_no_compiled_model(tmp_path):
    path = tmp_path / "lm.lm"
    path.write_bytes(b"\xff\xff\0\0\0\0\0\0{}")
    with pytest.raises(LanguageModelError, match=r"lm\.lm: .*without its header; compile the model again"):
        load_ngram(path)
    path.write_bytes(b"\x02\0\0\0\0\0\0\0{]")
    with pytest.raises(LanguageModelError, match=r"lm\.lm: header: expected JSON"):
        load_ngram(path)
    with pytest.raises(LanguageModelError, match="cannot read the language model: No such file"):
        load_ngram(tmp_path / "none.lm")


@settings(max_examples=60)
@given(st.data())
def test_a_damaged_file_never_crashes(tmp_path_factory, data):
    """Whatever bytes change, the file is refused, or answers."""
    path = compiled(tmp_path_factory.mktemp("lm"))
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 3))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(content[: data.draw(st.integers(len(content) // 2, len(content)))])
    with contextlib.suppress(LanguageModelError):
        model = load_ngram(path)
        assert np.isfinite(model.score("a b x b a a")).all()


@needs_real_speech
@pytest.mark.parametrize("name", ["kn4", "kn3-prune-0-1-2"])
def test_kenlms_scores(name, tmp_path):
    """KenLM's log10 scores and perplexities of 2,000 sentences, from ARPA and compiled."""
    folder = real_data() / "golden" / "lm"
    model = load_ngram(folder / f"{name}.arpa.xz")
    model.save(tmp_path / "lm.lm")
    mapped = load_ngram(tmp_path / "lm.lm")
    for line in (folder / f"{name}.scores.tsv").read_text().splitlines():
        log10_prob, perplexity, sentence = line.split("\t")
        scores = mapped.score(sentence)
        total = scores.sum(dtype=np.float64) / LN_10
        assert total == pytest.approx(float(log10_prob), abs=1e-4)
        assert 10 ** (-total / len(scores)) == pytest.approx(float(perplexity), rel=1e-4)
