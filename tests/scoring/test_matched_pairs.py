"""Significance tests by hand, against scipy, and against what NIST's sc_stats wrote."""

import math

import numpy as np
import pytest
from helpers import needs_real_speech, real_data
from hypothesis import given
from hypothesis import strategies as st

from asr.scoring.errors import SCLITE, score
from asr.scoring.matched_pairs import (
    MatchedPairs,
    Segment,
    mapsswe,
    mcnemar,
    segments,
    sign_test,
    speaker_rates,
    wilcoxon,
)


def scored(references, hypotheses):
    ids = [f"u{i}" for i in range(len(references))]
    return score(dict(zip(ids, references)), dict(zip(ids, hypotheses)), costs=SCLITE)


# ---- segments


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        ("CCC", "CCC", []),
        ("", "", []),
        # Two correct words in both part the error at word 2 from those at words 6 and 7.
        ("CCSCCCCDCC", "CCCCCCSCCC", [Segment(1, 0), Segment(1, 1)]),
        ("SCS", "CCC", [Segment(2, 0)]),  # one correct word is no boundary
        ("SCCS", "CCCC", [Segment(1, 0), Segment(1, 0)]),
        ("SCCS", "CSCC", [Segment(2, 1)]),  # correct in one system alone is no boundary
        ("SCICC", "CCCC", [Segment(2, 0)]),  # an insertion between breaks the run of correct words
        ("SICCS", "CCCC", [Segment(2, 0), Segment(1, 0)]),  # before its first word it does not
        ("CCI", "CC", [Segment(1, 0)]),
        ("CC", "CCI", [Segment(0, 1)]),
        ("ICC", "CCI", [Segment(1, 0), Segment(0, 1)]),
        ("II", "", [Segment(2, 0)]),  # an empty reference
    ],
)
def test_segments(first, second, expected):
    assert segments(first, second) == expected
    assert segments(second, first) == [Segment(segment.second, segment.first) for segment in expected]


def test_buffer_of_one_word():
    assert segments("SCS", "CCC", buffer_words=1) == [Segment(1, 0), Segment(1, 0)]


@given(st.lists(st.tuples(st.sampled_from("CSD"), st.sampled_from("CSD"), st.integers(0, 2), st.integers(0, 2))))
def test_every_error_is_in_one_segment(columns):
    first = "".join("I" * inserted + own for own, _, inserted, _ in columns)
    second = "".join("I" * inserted + own for _, own, _, inserted in columns)
    found = segments(first, second)
    assert sum(segment.first for segment in found) == len(first) - first.count("C")
    assert sum(segment.second for segment in found) == len(second) - second.count("C")
    assert all(segment.first or segment.second for segment in found)


# ---- mapsswe


def test_mapsswe_by_hand():
    references = ["a b", "a b c", "a b"]
    first, second = ["x b", "x y z", "a x"], ["a x", "a b x", "a b"]
    # Differences 1 - 1, 3 - 1 and 1 - 0: mean 1, squares 1 + 1 + 0 over 2; z = 1 / (1 / sqrt(3)).
    result = mapsswe(scored(references, first), scored(references, second))
    assert (result.num_segments, result.mean, result.standard_deviation) == (3, 1.0, 1.0)
    assert result.z == pytest.approx(math.sqrt(3))
    assert result.p == pytest.approx(0.0832645)  # 2 * (1 - Phi(1.7320508))


def test_mapsswe_of_a_few_words_as_nist():
    reference = ["a b c d e f"] * 3
    first = scored(reference, ["a b c d e f", "a b x d e f", "a b c d e f"])
    second = scored(reference, ["a b c d e f g", "a b c d e f g h", "a b c d y f g h i"])
    result = mapsswe(first, second)
    # NIST sc_stats gave: # segs 4, mean -1.500, std dev 2.082, Z -1.441
    assert (result.num_segments, round(result.standard_deviation, 3), round(result.z, 3)) == (4, 2.082, -1.441)
    assert result.mean == -1.5


def test_an_utterance_with_two_alternatives_taken_is_one_segment():
    references = {"u0": "p q { a / b c d } s t", "u1": "k l m"}
    first = score(references, {"u0": "p x a s y", "u1": "k l z"}, SCLITE, markup=True)  # 2 errors, 1 error
    second = score(references, {"u0": "z q b c d s t", "u1": "k l m"}, SCLITE, markup=True)  # 1 error, none
    assert mapsswe(first, second).num_segments == 2
    assert mapsswe(first, second) == MatchedPairs(2, 1.0, 0.0, None, 0.5)
    right = score(references, {"u0": "p q b c d s t", "u1": "k l m"}, SCLITE, markup=True)
    also_right = score(references, {"u0": "p q a s t", "u1": "k l m"}, SCLITE, markup=True)
    assert mapsswe(right, also_right).num_segments == 0


def test_no_difference_at_all():
    perfect = scored(["a b"], ["a b"])
    assert mapsswe(perfect, perfect) == MatchedPairs(0, 0.0, 0.0, 0.0, 1.0)
    wrong = scored(["a b", "a b"], ["a x", "x y"])
    assert mapsswe(wrong, wrong) == MatchedPairs(2, 0.0, 0.0, 0.0, 1.0)


@pytest.mark.parametrize(("number", "p"), [(1, 1.0), (2, 0.5), (5, 0.0625)])
def test_the_same_difference_everywhere(number, p):
    """No spread to divide by; p is that of `number` coins that all fall alike."""
    perfect, wrong = scored(["a"] * number, ["a"] * number), scored(["a"] * number, ["x"] * number)
    assert mapsswe(perfect, wrong) == MatchedPairs(number, -1.0, 0.0, None, p)
    assert mapsswe(wrong, perfect) == MatchedPairs(number, 1.0, 0.0, None, p)


# ---- speakers and sentences


def test_rates_of_speakers():
    result = scored(["a b", "a b", "", "a"], ["a x", "x y", "x", "a"])
    speakers = {"u0": "s", "u1": "t", "u2": "silent", "u3": "s"}
    assert speaker_rates(result, speakers) == {"s": 1 / 3, "t": 1.0}  # nothing said, no rate
    assert speaker_rates(result, {**speakers, "u1": None}) == {}


def test_sign_test_by_hand():
    five = sign_test([0.5] * 5, [0.4] * 5)
    assert (five.num_first_better, five.num_second_better, five.num_equal) == (0, 5, 0)
    assert five.p == pytest.approx(2 / 2**5)
    # The one without a difference counts against the better system: at most 1 of 5 coins, (1 + 5) / 32, doubled.
    four = sign_test([0.4] * 5, [0.5] * 4 + [0.4])
    assert (four.num_first_better, four.num_second_better, four.num_equal) == (4, 0, 1)
    assert four.p == pytest.approx(0.375)
    assert sign_test([0.5, 0.5], [0.5, 0.5]).p == 1.0
    # Less than 0.005 percentage points apart is equal.
    assert sign_test([0.5], [0.50004]).num_equal == 1


def test_wilcoxon_by_hand():
    # n = 5, all in favour of one: W = 0, mean 7.5, variance 5 * 6 * 11 / 24 = 13.75.
    first, second = [0.1, 0.2, 0.3, 0.4, 0.5], [0.0, 0.05, 0.1, 0.15, 0.2]
    result = wilcoxon(first, second)
    assert result.z == pytest.approx(-7.5 / math.sqrt(13.75))
    assert result.p == pytest.approx(0.04311445)
    assert wilcoxon(second, first) == result
    # Ranks of 0.1, 0.1 (against) and 0.3: 1.5, 1.5, 3. W = 1.5, mean 3, variance 3 * 4 * 7 / 24 = 3.5.
    tied = wilcoxon([0.1, 0.2, 0.3], [0.0, 0.3, 0.0])
    assert tied.z == pytest.approx(-1.5 / math.sqrt(3.5))
    # A zero has rank 1, and goes to the better system: W = 0, mean 1.5, variance 2 * 3 * 5 / 24 = 1.25.
    assert wilcoxon([0.1, 0.2], [0.1, 0.1]).z == pytest.approx(-1.5 / math.sqrt(1.25))
    same = wilcoxon([0.1, 0.2], [0.1, 0.2])
    assert (same.z, same.p) == (0.0, 1.0)


def test_wilcoxon_equals_scipy_without_ties():
    from scipy import stats

    rng = np.random.default_rng(3)
    for _ in range(20):
        first, second = rng.random(12), rng.random(12)
        expected = stats.wilcoxon(first, second, correction=False, method="asymptotic")
        assert wilcoxon(first.tolist(), second.tolist()).p == pytest.approx(expected.pvalue)


def test_mcnemar_by_hand():
    references = ["a"] * 8
    first = scored(references, ["a", "x", "x", "x", "x", "x", "a", "x"])
    second = scored(references, ["x", "a", "a", "a", "a", "a", "a", "x"])
    result = mcnemar(first, second)
    assert (result.num_only_first_correct, result.num_only_second_correct) == (1, 5)
    assert result.p == pytest.approx(2 * (1 + 6) / 2**6)
    assert mcnemar(first, first).p == 1.0


# ---- golden


def read_trn(path):
    lines = [line.rpartition("(") for line in path.read_text(encoding="utf-8").splitlines()]
    return {id.rstrip(")"): words for words, _, id in lines}


@needs_real_speech
@pytest.mark.parametrize(
    ("systems", "nist"),
    [
        # NIST sc_stats 1.3 gave, with -t mapsswe -v: segments, mean, std dev, Z
        (("greedy", "lm"), (338, "1.607", "2.003", "14.742")),
        (("lm", "greedy"), (338, "-1.607", "2.003", "-14.742")),
        (("lm", "lm2"), (453, "-0.026", "0.198", "-2.851")),
    ],
)
def test_mapsswe_of_real_speech_equals_nist(systems, nist):
    golden = real_data() / "golden" / "sclite"
    references = read_trn(golden / "ref.trn")
    first, second = (score(references, read_trn(golden / f"{name}.trn"), costs=SCLITE) for name in systems)
    result = mapsswe(first, second)
    figures = (f"{figure:.3f}" for figure in (result.mean, result.standard_deviation, result.z))
    assert (result.num_segments, *figures) == nist


@needs_real_speech
@pytest.mark.parametrize("systems", [("greedy", "lm"), ("lm", "lm2")])
def test_all_tests_of_real_speech_equal_nist(systems):
    golden = real_data() / "golden" / "sclite"
    references = read_trn(golden / "ref.trn")
    first, second = (score(references, read_trn(golden / f"{name}.trn"), costs=SCLITE) for name in systems)
    speakers = {id: id.split("-")[0] for id in references}
    rates = [list(speaker_rates(result, speakers).values()) for result in (first, second)]
    found = {
        "MP": mapsswe(first, second).p,
        "SI": sign_test(*rates).p,
        "WI": wilcoxon(*rates).p,
        "MN": mcnemar(first, second).p,
    }
    table = (golden / f"{systems[0]}-vs-{systems[1]}.stats.unified").read_text()
    for name, p in found.items():
        row = next(line for line in table.splitlines() if line.split()[1:2] == [name])
        assert ("<0.001" if p < 0.001 else f"{p:.3f}") in row.split()
