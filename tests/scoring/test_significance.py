"""Two systems on the same draws, held to every draw counted by hand; both ways of drawing, held to the binomial."""

import itertools
import math

import numpy as np
import pytest

from asr.errors import ScoringError
from asr.scoring.errors import score
from asr.scoring.significance import bootstrap_sums, paired_bootstrap, same_references


def scored(references, hypotheses):
    return score(
        {f"u{i}": text for i, text in enumerate(references)}, {f"u{i}": text for i, text in enumerate(hypotheses)}
    )


REFERENCES = ["a b", "a b", "a b c d"]
FIRST = scored(REFERENCES, ["a x", "a b", "x y c d"])  # 1, 0 and 2 errors
SECOND = scored(REFERENCES, ["a b", "a x", "a b c x"])  # 0, 1 and 1 errors


def test_paired_bootstrap_follows_every_draw():
    draws = list(itertools.product([(1, 0, 2), (0, 1, 2), (2, 1, 4)], repeat=3))
    changes = [sum(new - old for old, new, _ in draw) for draw in draws]
    improvement = (sum(c < 0 for c in changes) + sum(c == 0 for c in changes) / 2) / len(draws)
    result = paired_bootstrap(FIRST, SECOND, replications=100_000)
    # A mean of draws that are 0, 1/2 or 1 has a standard deviation of 0.5 / sqrt(100,000) = 0.0016 at most; four times.
    assert result.improvement == pytest.approx(improvement, abs=0.0064)
    # All three draws on the same utterance have chance 1/27 = 3.7 %, more than a tail: the ends are -3/6 and +3/6.
    assert (result.difference.low, result.difference.high) == (-0.5, 0.5)
    assert (result.difference.unit, result.difference.num_units) == ("utterance", 3)
    # The same as a fraction of the first's errors: 3 errors less of 3, and 3 more than none.
    assert (result.relative.low, result.relative.high) == (-1.0, math.inf)


def test_chances_of_both_systems_add_up_to_one():
    there, back = paired_bootstrap(FIRST, SECOND), paired_bootstrap(SECOND, FIRST)
    # Other draws: two deviations of 0.005 at most, four times the root of the sum of their squares.
    assert there.improvement + back.improvement == pytest.approx(1.0, abs=0.028)
    assert (there.difference.low, there.difference.high) == (-back.difference.high, -back.difference.low)


def test_equal_systems():
    result = paired_bootstrap(FIRST, FIRST)
    assert result.improvement == 0.5
    assert (result.difference.low, result.difference.high) == (0.0, 0.0)
    assert (result.relative.low, result.relative.high) == (0.0, 0.0)


def test_each_system_counts_the_words_of_the_alternative_that_it_took():
    references = {"u": "{ a / b c d } e", "v": "f"}
    first = score(references, {"u": "a e", "v": "x"}, markup=True)  # 1 of 3 words
    second = score(references, {"u": "b c d e", "v": "x"}, markup=True)  # 1 of 5
    result = paired_bootstrap(first, second)
    # Draws: u twice 0 and 0; u and v 1/3 and 1/5; v twice 1 and 1.
    assert (result.difference.low, result.difference.high) == (pytest.approx(1 / 5 - 1 / 3), 0.0)
    assert (result.relative.low, result.relative.high) == (pytest.approx(-0.4), 0.0)
    assert result.improvement == pytest.approx(0.5 + 0.5 * 0.5, abs=0.02)


def test_no_reference_words_make_no_nan():
    first, second = scored(["", ""], ["x", ""]), scored(["", ""], ["", ""])
    result = paired_bootstrap(first, second)
    assert (result.difference.low, result.difference.high) == (-math.inf, 0.0)
    assert (result.relative.low, result.relative.high) == (-1.0, 0.0)


def test_pairing_makes_the_interval_narrow():
    """The second system makes exactly one error less everywhere: both rates move, their difference does not."""
    references = ["a b c d e f g h"] * 40
    errors = [1 + i % 7 for i in range(40)]
    first = scored(references, [" ".join("x" * e + "abcdefgh"[e:]) for e in errors])
    second = scored(references, [" ".join("x" * (e - 1) + "abcdefgh"[e - 1 :]) for e in errors])
    result = paired_bootstrap(first, second)
    assert (result.difference.low, result.difference.high, result.improvement) == (-0.125, -0.125, 1.0)


def test_speakers_are_the_units():
    references = ["a"] * 8
    first, second = scored(references, ["x"] * 8), scored(references, ["a", "x"] * 4)
    speakers = {f"u{i}": f"s{i // 2}" for i in range(8)}
    result = paired_bootstrap(first, second, speakers)
    # Every speaker has one error less in two words.
    assert (result.difference.unit, result.difference.num_units) == ("speaker", 4)
    assert (result.difference.low, result.difference.high) == (-0.5, -0.5)


def test_one_utterance_says_nothing_of_its_spread():
    assert paired_bootstrap(scored(["a"], ["x"]), scored(["a"], ["a"])) is None


def test_other_utterances_or_references_are_refused():
    with pytest.raises(ScoringError, match="u2 only in the first and none only in the second"):
        same_references(FIRST, scored(["a b", "a b"], ["", ""]))
    changed = scored(["a b", "a c", "a b c d"], ["", "", ""])
    with pytest.raises(ScoringError, match="got others for u1; of u1 'a b' and 'a c'"):
        same_references(FIRST, changed)


def test_the_order_of_utterances_is_no_matter():
    reversed_second = score(
        {u.id: u.reference for u in SECOND.utterances[::-1]}, {u.id: u.hypothesis for u in SECOND.utterances}
    )
    assert paired_bootstrap(FIRST, reversed_second) == paired_bootstrap(FIRST, SECOND)


@pytest.mark.parametrize("num_units", [10, 40])  # drawn as indices; drawn together, as 40 > 8 * 2 distinct rows
def test_both_ways_of_drawing_follow_the_binomial(num_units):
    units = np.array([[0, 1], [1, 1]] * (num_units // 2))
    sums = bootstrap_sums(units, replications=50_000, seed=4)
    assert (sums[:, 1] == num_units).all()
    for ones in range(num_units + 1):
        chance = math.comb(num_units, ones) / 2**num_units
        tolerance = 5 * math.sqrt(chance * (1 - chance) / 50_000) + 1e-9  # five standard deviations
        assert np.mean(sums[:, 0] == ones) == pytest.approx(chance, abs=tolerance)


def test_sums_are_exact_integers_beyond_single_precision():
    units = np.array([[2**40 + i] for i in range(20)])
    sums = bootstrap_sums(units, replications=100, seed=0)
    assert (sums - 20 * 2**40 >= 0).all()
    assert (sums - 20 * 2**40 <= 20 * 19).all()
