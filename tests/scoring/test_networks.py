"""References that leave a choice, against NIST sclite 2.10 with -D and against brute force over what they allow."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asr.errors import ScoringError
from asr.scoring.errors import LEVENSHTEIN, SCLITE, ErrorCounts, OptionalWord, score
from asr.scoring.networks import NOTHING_COST, choose, parse


def one(reference, hypothesis, costs=SCLITE):
    return score({"u": reference}, {"u": hypothesis}, costs, markup=True).utterances[0]


@pytest.mark.parametrize(
    ("reference", "hypothesis", "chosen", "operations", "left_out"),
    [
        # NIST sclite 2.10 gave these with -D.
        ("{ a / b c / @ } d", "d", "d", "C", ()),
        ("{ a / b c / @ } d", "b d", "b c d", "CDC", ()),  # a deletion (3) is cheaper than @ and an insertion (3.001)
        ("{ a / b c / @ } d", "uh d", "d", "IC", ()),  # ... than a substitution (4)
        ("{a/b} d", "uh d", "a d", "SC", ()),  # the first of equals
        ("{ a / { b / c } } d", "b d", "b d", "CC", ()),
        ("x (uh) d", "d", "x d", "DC", ("uh",)),
        ("x (uh) d", "b d", "x d", "SC", ("uh",)),
        ("x (uh) d", "uh d", "x uh d", "DCC", ()),
        ("@ d", "b d", "d", "IC", ()),
        ("{ (uh) / @ } d", "d", "d", "C", ()),
        # By hand.
        ("(uh)", "", "", "", ("uh",)),
        ("(uh)", "um", "uh", "S", ()),  # 4, not 2 + 3
        ("@", "", "", "", ()),
        ("wor- d", "word d", "wor- d", "SC", ()),  # a fragment is a word like any other
        ("1/2 of it", "1/2 of it", "1/2 of it", "CCC", ()),  # a slash separates inside braces only
    ],
)
def test_paths_and_alignments(reference, hypothesis, chosen, operations, left_out):
    utterance = one(reference, hypothesis)
    assert (utterance.reference, utterance.operations) == (chosen, operations)
    assert tuple(word.word for word in utterance.optional if word.is_left_out) == left_out
    assert utterance.given_reference == reference


def test_optional_words_know_their_columns():
    utterance = one("x (a) (b) y (c)", "z x a y d")
    assert utterance.operations == "ICCCS"  # z, x, a, y, c against d
    assert utterance.optional == (OptionalWord("a", 2, False), OptionalWord("b", 3, True), OptionalWord("c", 4, False))


def test_an_optional_word_left_out_counts_as_correct():
    utterance = one("x (uh) d (um)", "d", LEVENSHTEIN)
    assert utterance.words == ErrorCounts(hits=3, deletions=1)  # sclite: (#C #S #D #I) 3 0 1 0
    assert utterance.characters == ErrorCounts(hits=1, deletions=2)  # of "x d", what was said
    assert [word.reference for word in utterance.aligned_words()] == ["x", "d"]


def test_markup_is_text_where_it_was_not_asked_for():
    plain = score({"u": "{ a / b } (uh)"}, {"u": "a"})
    assert plain.words == ErrorCounts(hits=1, deletions=5)


def test_plain_references_are_aligned_as_without_markup():
    references, hypotheses = {"u": "a b c", "v": "{ a / b }"}, {"u": "b c d", "v": "b"}
    result = score(references, hypotheses, markup=True)
    assert [u.id for u in result.utterances] == ["u", "v"]
    assert result.utterances[0] == score({"u": "a b c"}, {"u": "b c d"}).utterances[0]
    assert result.utterances[1].words == ErrorCounts(hits=1)


@pytest.mark.parametrize(
    ("reference", "problem"),
    [
        ("{ a / b", "a { without a }"),
        ("a / b }", "a } without a {"),
        ("{ a / }", "an alternative without a word; write @"),
        ("{ / a }", "an alternative without a word"),
        ("{ }", "an alternative without a word"),
        ("{ a / { } }", "an alternative without a word"),
        ("(a b)", r"\(a; put each optional word into parentheses of its own"),
        ("a b)", r"b\); put each"),
        ("()", r"\(\); put each"),
        ("((a))", r"\(\(a\)\); put each"),
        ("(@)", r"\(@\); put each"),
        ("({ a / b })", r"\(; put each"),
    ],
)
def test_malformed_references_are_named(reference, problem):
    with pytest.raises(ScoringError, match=rf"reference of u7, got {problem}"):
        score({"u7": reference}, {"u7": "a"}, markup=True)


@pytest.mark.parametrize("word", ["{", "(uh)", "@"])
def test_hypotheses_leave_no_choice(word):
    with pytest.raises(ScoringError, match="plain words in the hypothesis of u7, got"):
        score({"u7": "a"}, {"u7": f"a {word}"}, markup=True)


def test_braces_may_be_nested_deeply():
    depth = 5000  # beyond Python's own limit
    assert one("{ a / " * depth + "b" + " }" * depth, "b").words == ErrorCounts(hits=1)


# ---- against all that a reference allows

WORD = st.sampled_from("ab")
PIECE = st.recursive(
    st.one_of(WORD, WORD.map("({})".format), st.just("@")),
    lambda inner: st.lists(st.lists(inner, min_size=1, max_size=2), min_size=1, max_size=3),
    max_leaves=6,
)
REFERENCE = st.lists(PIECE, min_size=1, max_size=3)


def spelt(pieces):
    """The text of nested lists: pieces one after another, a list among them is an alternation."""
    return " ".join(piece if isinstance(piece, str) else f"{{ {' / '.join(map(spelt, piece))} }}" for piece in pieces)


def expansions(pieces, omission):
    """Every (words, what its choices cost) that nested lists allow."""
    for parts in itertools.product(*[choices(piece, omission) for piece in pieces]):
        yield sum((words for words, _ in parts), ()), sum(cost for _, cost in parts)


def choices(piece, omission):
    if isinstance(piece, list):
        return [expansion for alternative in piece for expansion in expansions(alternative, omission)]
    if piece == "@":
        return [((), NOTHING_COST)]
    return [((piece.strip("()"),), 0.0), *([((), omission)] if piece.startswith("(") else [])]


def cheapest(reference, hypothesis, costs):
    """The cost of the cheapest alignment, row by row."""
    row = [j * costs.insertion for j in range(len(hypothesis) + 1)]
    for token in reference:
        diagonal, row[0] = row[0], row[0] + costs.deletion
        for j, other in enumerate(hypothesis, start=1):
            here = diagonal + costs.substitution * (token != other)
            diagonal, row[j] = row[j], min(row[j] + costs.deletion, row[j - 1] + costs.insertion, here)
    return row[-1]


@given(REFERENCE, st.lists(WORD, max_size=4), st.sampled_from([LEVENSHTEIN, SCLITE]))
def test_the_cheapest_path_is_the_best_of_all_expansions(pieces, hypothesis, costs):
    path = choose(parse(spelt(pieces), "u"), hypothesis, costs)
    letters = path.operations
    cost = sum(word.is_left_out for word in path.optional) * costs.omission + sum(
        letters.count(letter) * each
        for letter, each in (("S", costs.substitution), ("D", costs.deletion), ("I", costs.insertion))
    )
    best = min(extra + cheapest(words, hypothesis, costs) for words, extra in expansions(pieces, costs.omission))
    assert cost == pytest.approx(best, abs=0.1)  # what @ costs is in `best` alone
    assert len(path.words) == len(letters) - letters.count("I")
    assert len(hypothesis) == len(letters) - letters.count("D")
