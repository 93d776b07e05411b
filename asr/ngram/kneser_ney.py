"""Interpolated modified Kneser-Ney smoothing (Chen and Goodman 1998), with the conventions of KenLM's lmplz.

Heafield, Pouzyrevsky, Clark and Koehn 2013, "Scalable Modified Kneser-Ney Language Model Estimation", whose equations
the comments name by what they are. An n-gram h w of adjusted count a gets

    p(w | h) = (a(h w) - D(a)) / sum_v a(h v)  +  gamma(h) p(w | h'),    h' = h without its first word

where D, the discount, depends on the order and on a being 0, 1, 2 or more, and gamma(h), the back-off, is the mass that
discounts and pruned n-grams leave in the context h.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from asr.errors import ConfigError, LanguageModelError
from asr.ngram.counting import OrderCounts, count_ngrams
from asr.ngram.tables import BEGIN_ID, NgramTables, OrderTable
from asr.ngram.text import Corpus, read_corpus

MAX_ORDER = 10  # far beyond what a text can fill; catches a mistyped number before hours of counting
FALLBACK_DISCOUNTS = (0.5, 1.0, 1.5)  # lmplz's --discount_fallback, for adjusted counts of 1, 2 and more
LOG10_ZERO = -99.0  # what ARPA files write for the logarithm of 0

Progress = Callable[[str, float], None]  # the step's name and the fraction of all the work that is done

_READING_SHARE = 0.35  # of the time that estimation takes
_COUNTING_SHARE = 0.6


def estimate(
    paths: Iterable[str | Path],
    order: int,
    *,
    min_counts: Sequence[int] = (0,),
    vocab_limit: int | None = None,
    vocabulary: Iterable[str] | None = None,
    discount_fallback: bool = False,
    on_progress: Progress | None = None,
) -> NgramTables:
    """Estimate a model from text files, one sentence a line; see `read_corpus` and `estimate_from_corpus`."""
    report = on_progress or (lambda _step, _fraction: None)
    _thresholds(order, min_counts)  # what makes no sense is said before the text is read
    corpus = read_corpus(
        paths,
        vocab_limit=vocab_limit,
        vocabulary=vocabulary,
        on_progress=lambda fraction: report("reading", _READING_SHARE * fraction),
    )
    return estimate_from_corpus(
        corpus,
        order,
        min_counts=min_counts,
        discount_fallback=discount_fallback,
        on_progress=lambda step, fraction: report(step, _READING_SHARE + (1 - _READING_SHARE) * fraction),
    )


def estimate_from_corpus(
    corpus: Corpus,
    order: int,
    *,
    min_counts: Sequence[int] = (0,),
    discount_fallback: bool = False,
    on_progress: Progress | None = None,
) -> NgramTables:
    """Estimate a model of `order` words.

    `min_counts` is lmplz's `--prune`: of order n, the n-grams that occur `min_counts[n - 1]` times or less are left
    out; the last entry holds for all orders from there, none may be below the one before it, and the first is 0, as
    words are left out by the vocabulary. `discount_fallback` puts `FALLBACK_DISCOUNTS` where the text is too small or
    too regular to estimate discounts from.

    Raises:
        ConfigError: `order` or `min_counts` makes no sense.
        LanguageModelError: the discounts of an order cannot be estimated, and `discount_fallback` is not set.
    """
    thresholds = _thresholds(order, min_counts)
    report = on_progress or (lambda _step, _fraction: None)
    counting_share = _COUNTING_SHARE / (1 - _READING_SHARE)
    counts = count_ngrams(corpus, order, lambda fraction: report("counting", counting_share * fraction))
    discounts = [_discounts(n, order_counts, discount_fallback) for n, order_counts in enumerate(counts, start=1)]
    smoothed = [_smooth_unigrams(counts[0], discounts[0])]
    for n in range(2, order + 1):
        kept = counts[n - 1].occurrences > thresholds[n - 1]
        smoothed.append(_smooth(counts[n - 1], discounts[n - 1], kept, smoothed[-1].probs))
        report("smoothing", counting_share + (1 - counting_share) * (n - 1) / order)
    tables = NgramTables(corpus.vocab, _order_tables(counts, smoothed))
    report("smoothing", 1.0)
    return tables


def _thresholds(order: int, min_counts: Sequence[int]) -> list[int]:
    if not 1 <= order <= MAX_ORDER:
        raise ConfigError(f"order: expected a number of words from 1 to {MAX_ORDER}, got {order}")
    given = list(min_counts)
    if not 1 <= len(given) <= order:
        raise ConfigError(f"min_counts (--prune): expected 1 to {order} numbers, one an order, got {len(given)}")
    if given[0] != 0:
        raise ConfigError(
            f"min_counts (--prune): expected 0 for single words, got {given[0]}; limit the vocabulary instead"
        )
    if given != sorted(given):
        raise ConfigError(f"min_counts (--prune): expected numbers that never fall from order to order, got {given}")
    return given + [given[-1]] * (order - len(given))


def _discounts(n: int, counts: OrderCounts, discount_fallback: bool) -> NDArray[np.float64]:
    """(4,) what is taken off adjusted counts of 0, 1, 2, and 3 or more (Chen and Goodman 1998, equation 26).

    As in lmplz, all n-grams count here, also those that are pruned later.
    """
    num = np.bincount(np.minimum(counts.adjusted, 5), minlength=6).astype(np.float64)
    problem = None
    if not num[1:4].all():
        missing = 1 + int(np.argmin(num[1:4]))
        problem = f"no {n}-gram has an adjusted count of {missing}"
    else:
        y = num[1] / (num[1] + 2 * num[2])
        discounts = np.array([0.0, *(j - (j + 1) * y * num[j + 1] / num[j] for j in (1, 2, 3))])
        if ((discounts >= 0) & (discounts <= np.arange(4))).all():
            return discounts
        problem = "the counts of counts {:.0f}, {:.0f}, {:.0f}, {:.0f} give one out of range".format(*num[1:5])
    if discount_fallback:
        return np.array([0.0, *FALLBACK_DISCOUNTS])
    raise LanguageModelError(
        f"cannot estimate the Kneser-Ney discounts of order {n}: {problem}. The text is very small, artificial or full "
        "of repetitions (is it one sentence a line?); use more text, or set discount_fallback (--discount-fallback) to "
        "smooth this order with the fixed discounts {} {} {}".format(*FALLBACK_DISCOUNTS)
    )


@dataclass(frozen=True, slots=True)
class _Smoothed:
    """The probabilities of one order and what its contexts, the n-grams of the order below, leave to back off with."""

    kept: NDArray[np.bool_]  # (M,) which n-grams are in the model
    probs: NDArray[np.float64]  # (M,); 0 where not kept
    context_backoffs: NDArray[np.float64]  # (M of the order below,); 1 for n-grams that are no context


def _smooth_unigrams(counts: OrderCounts, discounts: NDArray[np.float64]) -> _Smoothed:
    """Single words, interpolated with the uniform distribution over all but <s>: <unk> is a word never seen."""
    num_predicted = len(counts) - 1
    everything = np.ones(len(counts), np.bool_)
    smoothed = _smooth(counts, discounts, everything, np.array([1 / num_predicted]))
    smoothed.probs[BEGIN_ID] = 1.0  # never used, and written as such by lmplz: a sentence may be scored with its <s>
    return smoothed


def _smooth(
    counts: OrderCounts, discounts: NDArray[np.float64], kept: NDArray[np.bool_], lower_probs: NDArray[np.float64]
) -> _Smoothed:
    totals = np.bincount(counts.contexts, weights=counts.adjusted, minlength=len(lower_probs))
    totals = np.where(totals > 0, totals, 1.0)  # an n-gram that is no context leaves nothing, see below
    rows = np.flatnonzero(kept)
    contexts, adjusted = counts.contexts[rows], counts.adjusted[rows]
    discounted = adjusted - discounts[np.minimum(adjusted, 3)]
    # 1 - sum of discounted / total is the mass of discounts and pruned n-grams together; rounding may take it below 0
    backoffs = np.maximum(1 - np.bincount(contexts, weights=discounted, minlength=len(lower_probs)) / totals, 0)
    probs = np.zeros(len(counts))
    probs[rows] = discounted / totals[contexts] + backoffs[contexts] * lower_probs[counts.suffixes[rows]]
    return _Smoothed(kept, probs, backoffs)


def _order_tables(counts: Sequence[OrderCounts], smoothed: Sequence[_Smoothed]) -> tuple[OrderTable, ...]:
    """The n-grams that are kept, each with its probability and the back-off that it has as a context."""
    tables: list[OrderTable] = []
    for n, order in enumerate(smoothed):
        rows = np.flatnonzero(order.kept)
        words = counts[n].last_words[rows, np.newaxis]
        if n > 0:
            new_numbers = np.cumsum(smoothed[n - 1].kept) - 1  # a kept n-gram's context is kept, as it is as frequent
            words = np.concatenate([tables[-1].words[new_numbers[counts[n].contexts[rows]]], words], axis=1)
        is_highest = n + 1 == len(smoothed)
        backoffs = np.ones(len(rows)) if is_highest else smoothed[n + 1].context_backoffs[rows]
        tables.append(OrderTable(words, _log10(order.probs[rows]), _log10(backoffs)))
    return tuple(tables)


def _log10(values: NDArray[np.float64]) -> NDArray[np.float32]:
    with np.errstate(divide="ignore"):
        return np.maximum(np.log10(values), LOG10_ZERO).astype(np.float32)
