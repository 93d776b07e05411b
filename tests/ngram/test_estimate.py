"""Kneser-Ney models: against KenLM's lmplz, by hand, and by what must hold for any text."""

import lzma
from collections import Counter

import numpy as np
import pytest
from helpers import needs_real_speech, real_data
from hypothesis import given
from hypothesis import strategies as st

from asr.errors import ConfigError, LanguageModelError
from asr.ngram.counting import OrderCounts, count_ngrams
from asr.ngram.kneser_ney import FALLBACK_DISCOUNTS, _discounts, estimate, estimate_from_corpus
from asr.ngram.tables import BEGIN, END, UNKNOWN
from asr.ngram.text import encode_sentences

TEXT = ["a b", "a b", "b a"]


def entries(tables):
    """{n-gram of words: (log10 probability, log10 back-off)}"""
    return {
        tuple(tables.vocab[id] for id in words): (log10_prob, log10_backoff)
        for table in tables.orders
        for words, log10_prob, log10_backoff in zip(
            table.words.tolist(), table.log10_probs.tolist(), table.log10_backoffs.tolist(), strict=True
        )
    }


def golden_entries(path):
    found = {}
    with lzma.open(path, "rt", encoding="utf-8") as file:
        for line in file:
            fields = line.rstrip("\n").split("\t")
            if len(fields) > 1:
                found[tuple(fields[1].split(" "))] = (float(fields[0]), float(fields[2]) if len(fields) > 2 else 0.0)
    return found


def prob(ngrams, context, word):
    """p(word | context) of a back-off model, by its definition."""
    if (*context, word) in ngrams:
        return 10 ** ngrams[(*context, word)][0]
    backoff = ngrams[context][1] if context in ngrams else 0.0
    return 10**backoff * prob(ngrams, context[1:], word)


def model_of(sentences, order, **options):
    vocab = {name: options.pop(name) for name in ("vocab_limit", "vocabulary") if name in options}
    return estimate_from_corpus(encode_sentences(sentences, **vocab), order, **options)


@needs_real_speech
@pytest.mark.parametrize(
    ("golden", "order", "options"),
    [
        ("kn4.arpa.xz", 4, {"discount_fallback": True}),
        ("kn3-prune-0-1-2.arpa.xz", 3, {"min_counts": (0, 1, 2)}),
    ],
)
def test_equals_lmplz(golden, order, options):
    folder = real_data() / "golden" / "lm"
    expected = golden_entries(folder / golden)
    found = entries(estimate([folder / "train-100k.txt.xz"], order, **options))
    assert found.keys() == expected.keys()
    # 1e-4 was asked for; both sides round to about seven digits
    assert max(abs(found[key][0] - log10_prob) for key, (log10_prob, _) in expected.items()) < 2e-6
    assert max(abs(found[key][1] - log10_backoff) for key, (_, log10_backoff) in expected.items()) < 2e-6


def test_bigrams_by_hand():
    # Bigrams: <s> a 2, a b 2, b </s> 2, and <s> b, b a, a </s> 1: discounts 1 and 0.5 (no trigram count: fallback).
    # a, b and </s> come after two words each, so that 6 bigrams give (2 - 1)/6 to each of them and leave 3/6 to share
    # by four, <unk> too: 1/6 + 1/8 = 7/24. After a: b 2, </s> 1, so that 1.5/3 is left.
    found = entries(model_of(TEXT, 2, discount_fallback=True))
    expected = {
        (UNKNOWN,): (1 / 8, 1),
        (BEGIN,): (1, 1 / 2),
        (END,): (7 / 24, 1),
        ("a",): (7 / 24, 1 / 2),
        ("b",): (7 / 24, 1 / 2),
        (BEGIN, "a"): (1 / 3 + 7 / 48, 1),
        (BEGIN, "b"): (1 / 6 + 7 / 48, 1),
        ("a", "b"): (1 / 3 + 7 / 48, 1),
        ("a", END): (1 / 6 + 7 / 48, 1),
        ("b", END): (1 / 3 + 7 / 48, 1),
        ("b", "a"): (1 / 6 + 7 / 48, 1),
    }
    assert {key: (10**p, 10**b) for key, (p, b) in found.items()} == {
        key: pytest.approx(values, rel=1e-6) for key, values in expected.items()
    }


def test_unigrams_by_hand():
    # a 3, b 2, c 1, </s> 1: Y = 2/4; D1 = 1 - 2Y 1/2, D2 = 2 - 3Y 1/1, D3 = 3 - 0. Of 7 that is 0.5 + 0.5 + 0.5 + 3 to
    # share by five, <unk> too: 0.9 each.
    table = model_of(["a a a b b c"], 1).orders[0]
    np.testing.assert_allclose(10**table.log10_probs, [0.9 / 7, 1, 1.4 / 7, 0.9 / 7, 2.4 / 7, 1.4 / 7], rtol=1e-6)


def test_pruned_mass_goes_to_the_back_off():
    # As above, but a </s> is gone: 1 - (2 - 1)/3 is left after a.
    found = entries(model_of(TEXT, 2, min_counts=(0, 1), discount_fallback=True))
    assert {key for key in found if len(key) == 2} == {(BEGIN, "a"), ("a", "b"), ("b", END)}
    assert 10 ** found["a",][1] == pytest.approx(2 / 3)
    assert 10 ** found["a", "b"][0] == pytest.approx(1 / 3 + 2 / 3 * 7 / 24)


def counts_of(adjusted):
    zeros = np.zeros(len(adjusted), np.int32)
    return OrderCounts(zeros, zeros, zeros, zeros, np.array(adjusted, np.int32))


def test_discounts_by_hand():
    # n1 4, n2 2, n3 1, n4 1: Y = 4/8; D1 = 1 - 2Y 2/4, D2 = 2 - 3Y 1/2, D3 = 3 - 4Y 1/1
    found = _discounts(3, counts_of([1, 1, 1, 1, 2, 2, 3, 4, 9]), discount_fallback=False)
    np.testing.assert_allclose(found, [0, 0.5, 1.25, 1.0])


@pytest.mark.parametrize(
    ("adjusted", "reason"),
    [
        ([1, 1, 3, 4], "no 3-gram has an adjusted count of 2"),
        ([1, 2, 3, *[4] * 9], "1, 1, 1, 9 give one out of range"),  # D3 = 3 - 4/3 * 9
    ],
)
def test_discounts_that_cannot_be_estimated(adjusted, reason):
    with pytest.raises(LanguageModelError, match=rf"order 3.*{reason}.*discount_fallback"):
        _discounts(3, counts_of(adjusted), discount_fallback=False)
    assert tuple(_discounts(3, counts_of(adjusted), discount_fallback=True)) == (0.0, *FALLBACK_DISCOUNTS)


sentences = st.lists(st.lists(st.sampled_from("abcd"), max_size=6).map(" ".join), min_size=1, max_size=8).filter(any)


@given(sentences, st.integers(1, 4), st.lists(st.integers(0, 2), max_size=3), st.sampled_from([None, 1, 2]))
def test_probabilities_of_each_context_sum_to_1(text, order, thresholds, vocab_limit):
    min_counts = (0, *sorted(thresholds))[:order]
    tables = model_of(text, order, min_counts=min_counts, vocab_limit=vocab_limit, discount_fallback=True)
    ngrams = entries(tables)
    words = [word for word in tables.vocab if word != BEGIN]
    contexts = {()} | {key for key in ngrams if len(key) < order and key[-1] != END}
    for context in contexts:
        assert sum(prob(ngrams, context, word) for word in words) == pytest.approx(1, abs=1e-5)
    for table in tables.orders:
        assert table.words.tolist() == sorted(table.words.tolist())
    for ngram in ngrams:  # what the back-off needs is there
        assert len(ngram) == 1 or {ngram[:-1], ngram[1:]} <= ngrams.keys()


@given(sentences, st.integers(1, 4))
def test_counts_by_brute_force(text, order):
    corpus = encode_sentences(text)
    padded = [(BEGIN, *sentence.split(), END) for sentence in text]
    ngrams = [
        Counter(words[i : i + n] for words in padded for i in range(len(words) - n + 1)) for n in range(1, order + 1)
    ]
    names = [()]
    for n, counts in enumerate(count_ngrams(corpus, order), start=1):
        lower, names = names, [(*names[c], corpus.vocab[w]) for c, w in zip(counts.contexts, counts.last_words)]
        assert [lower[suffix] for suffix in counts.suffixes] == [name[1:] for name in names]
        for name, occurrences, adjusted in zip(names, counts.occurrences, counts.adjusted, strict=True):
            expected = 0 if name == (BEGIN,) else ngrams[n - 1][name]
            assert occurrences == expected
            if n < order and name[0] != BEGIN:
                expected = sum(longer[1:] == name for longer in ngrams[n])
            assert adjusted == expected


def test_only_the_most_frequent_words_are_kept():
    tables = model_of(["x b b", "b c c a", "c c d d"], 2, vocab_limit=2, discount_fallback=True)
    assert tables.vocab == (UNKNOWN, BEGIN, END, "b", "c")
    found = entries(tables)
    # x and a are <unk>; d d too: it comes after <s>, c and <unk>, and after itself c and b were seen
    assert {key for key in found if UNKNOWN in key} == {
        (UNKNOWN,),
        (BEGIN, UNKNOWN),
        (UNKNOWN, "b"),
        ("c", UNKNOWN),
        (UNKNOWN, UNKNOWN),
        (UNKNOWN, END),
    }


def test_words_that_the_text_lacks_are_as_likely_as_the_unknown():
    tables = model_of(TEXT, 2, vocabulary=["b", "zebra"], discount_fallback=True)
    assert tables.vocab == (UNKNOWN, BEGIN, END, "b", "zebra")
    table = tables.orders[0]
    # </s> after b and <unk>, b after <s> and <unk>, <unk> after <s> and b: (2 - 1)/6 each, the rest by four
    np.testing.assert_allclose(10**table.log10_probs, [7 / 24, 1, 7 / 24, 7 / 24, 1 / 8], rtol=1e-6)
    assert table.log10_backoffs[4] == 0


def test_progress_ends_at_1_and_never_falls(tmp_path):
    (tmp_path / "text").write_text("\n".join(TEXT))
    reports = []
    estimate(
        [tmp_path / "text"],
        3,
        discount_fallback=True,
        on_progress=lambda step, fraction: reports.append((fraction, step)),
    )
    fractions = [fraction for fraction, _ in reports]
    assert fractions == sorted(fractions)
    assert reports[-1] == (pytest.approx(1.0), "smoothing")
    assert list(dict.fromkeys(step for _, step in reports)) == ["reading", "counting", "smoothing"]


@pytest.mark.parametrize(
    ("order", "min_counts", "message"),
    [
        (0, (0,), "order: expected a number of words from 1 to 10, got 0"),
        (2, (), "expected 1 to 2 numbers"),
        (2, (0, 1, 1), "expected 1 to 2 numbers, one an order, got 3"),
        (2, (1,), "expected 0 for single words, got 1"),
        (3, (0, 2, 1), r"never fall from order to order, got \[0, 2, 1\]"),
    ],
)
def test_options_that_make_no_sense(order, min_counts, message):
    with pytest.raises(ConfigError, match=message):
        estimate(["no such file"], order, min_counts=min_counts)


def test_the_last_threshold_holds_for_the_orders_above():
    short = entries(model_of(TEXT, 4, min_counts=(0, 1), discount_fallback=True))
    assert short == entries(model_of(TEXT, 4, min_counts=(0, 1, 1, 1), discount_fallback=True))
