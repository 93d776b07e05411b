"""Error rates against hand counts, jiwer and NIST sclite."""

import math
import re

import jiwer
import pytest
from helpers import needs_real_speech, real_data
from hypothesis import given, settings
from hypothesis import strategies as st
from scored_pairs import TEXTS, one, random_pairs, scored

from asr.errors import ScoringError
from asr.scoring.errors import JIWER, LEVENSHTEIN, SCLITE, AlignedWord, Costs, ErrorCounts, Score, align, score

# ---- counts


@pytest.mark.parametrize(
    ("reference", "hypothesis", "operations"),
    [
        ("", "", ""),
        ("a b c", "a b c", "CCC"),
        ("a b c", "a x c", "CSC"),
        ("a b c", "a c", "CDC"),
        ("a c", "a b c", "CIC"),
        ("a b", "", "DD"),
        ("", "a b", "II"),
        ("the cat sat", "the cat sat down now", "CCCII"),
        ("A b", "a b", "SC"),  # case counts: normalise first
    ],
)
def test_word_alignment(reference, hypothesis, operations):
    utterance = one(reference, hypothesis)
    assert utterance.operations == operations
    assert utterance.words == ErrorCounts(*(operations.count(letter) for letter in "CSDI"))


def test_rates_of_a_set_come_from_summed_counts():
    result = scored([("a b c d", "a x c"), ("e f", "e f"), ("", "g h")])
    # 1 substitution and 1 deletion, none, 2 insertions; 4 + 2 + 0 reference words. A mean of rates would differ.
    assert result.words == ErrorCounts(hits=4, substitutions=1, deletions=1, insertions=2)
    assert result.wer == 4 / 6
    assert result.ser == 2 / 3
    # Characters: "a b c d" -> "a x c" is b:x and " d" deleted; "gh" with its space is inserted. 7 + 3 references.
    assert result.characters == ErrorCounts(hits=7, substitutions=1, deletions=2, insertions=3)
    assert result.cer == 6 / 10


def test_empty_reference_adds_errors_but_no_words():
    with_empty = scored([("a b", "a b"), ("", "x y")])
    assert with_empty.words.errors == 2
    assert with_empty.words.reference_length == 2
    assert with_empty.wer == 1.0


def test_no_reference_words_at_all():
    assert scored([("", ""), ("  ", "")]).wer == 0.0
    assert scored([("", "x")]).wer == math.inf
    assert scored([("", "x")]).cer == math.inf


def test_any_white_space_separates_words_and_is_one_space_to_the_cer():
    assert one(" a\tb\u00a0\u2003c\n", "a b c").characters == ErrorCounts(hits=5)
    assert one("ab", "a b").characters == ErrorCounts(hits=2, insertions=1)
    assert one("a  b", "a b").reference == "a b"


def test_counts_add_up():
    total = sum([ErrorCounts(1, 2, 3, 4), ErrorCounts(10, 20, 30, 40)], ErrorCounts())
    assert total == ErrorCounts(11, 22, 33, 44)
    assert (total.errors, total.reference_length, total.rate) == (99, 66, 1.5)


def jiwer_operations(output):
    letters = {"equal": "C", "substitute": "S", "delete": "D", "insert": "I"}
    return [
        "".join(
            letters[chunk.type] * max(chunk.ref_end_idx - chunk.ref_start_idx, chunk.hyp_end_idx - chunk.hyp_start_idx)
            for chunk in chunks
        )
        for chunks in output.alignments
    ]


def test_equal_to_jiwer_on_ten_thousand_random_pairs():
    pairs = random_pairs(10_000, seed=1)
    references, hypotheses = [list(side) for side in zip(*pairs)]
    words = jiwer.process_words(references, hypotheses)
    characters = jiwer.process_characters(references, hypotheses)
    result = scored(pairs)

    assert (result.wer, result.cer) == (words.wer, characters.cer)
    for ours, theirs in ((result.words, words), (result.characters, characters)):
        assert ours == ErrorCounts(theirs.hits, theirs.substitutions, theirs.deletions, theirs.insertions)
    assert [u.operations for u in result.utterances] == jiwer_operations(words)
    assert [align(u.reference, u.hypothesis) for u in result.utterances] == jiwer_operations(characters)


def test_jiwer_itself_counts_if_asked(monkeypatch):
    pairs = [*random_pairs(600, seed=2), ("", ""), ("", "a b"), ("a\u00a0b", "")]
    references, hypotheses = ({f"u{i}": pair[side] for i, pair in enumerate(pairs)} for side in (0, 1))
    ours, theirs = score(references, hypotheses), score(references, hypotheses, JIWER)
    assert theirs.costs == JIWER != ours.costs
    assert theirs.utterances == ours.utterances
    monkeypatch.setattr(jiwer, "process_words", lambda *_: pytest.fail("asked for words"))
    score(references, hypotheses)
    with pytest.raises(pytest.fail.Exception, match="asked for words"):
        score(references, hypotheses, JIWER)
    monkeypatch.undo()
    monkeypatch.setattr(jiwer, "process_characters", lambda *_: pytest.fail("asked for characters"))
    with pytest.raises(pytest.fail.Exception, match="asked for characters"):
        score(references, hypotheses, JIWER)


def test_jiwer_knows_no_alternatives_and_no_other_costs():
    assert score({"u": "a b"}, {"u": "a"}, JIWER, markup=True).words == ErrorCounts(1, 0, 1, 0)
    with pytest.raises(
        ScoringError, match=r"plain references for jiwer.*got '\{ a / b \}' of u: .*levenshtein or sclite"
    ):
        score({"u": "{ a / b }"}, {"u": "a"}, JIWER, markup=True)
    with pytest.raises(ScoringError, match="the costs 1, 1 and 1, which jiwer has"):
        Costs(4, 3, 3, by_jiwer=True)


def edit_distance(reference, hypothesis):
    """Wagner and Fischer's table, row by row: independent of rapidfuzz."""
    row = list(range(len(hypothesis) + 1))
    for i, token in enumerate(reference, start=1):
        diagonal, row[0] = row[0], i
        for j, other in enumerate(hypothesis, start=1):
            diagonal, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, diagonal + (token != other))
    return row[-1]


@settings(deadline=None)
@given(TEXTS, TEXTS)
def test_alignment_spells_both_texts_with_the_fewest_errors(reference, hypothesis):
    utterance = one(reference, hypothesis)
    columns = utterance.aligned_words()
    assert [c.reference for c in columns if c.reference is not None] == reference.split()
    assert [c.hypothesis for c in columns if c.hypothesis is not None] == hypothesis.split()
    assert all((c.reference == c.hypothesis) == (c.operation == "C") for c in columns)
    assert utterance.words.errors == edit_distance(reference.split(), hypothesis.split())
    assert utterance.characters.errors == edit_distance(utterance.reference, utterance.hypothesis)


def test_aligned_words_by_hand():
    assert one("a b c", "x b d").aligned_words() == [
        AlignedWord("S", "a", "x"),
        AlignedWord("C", "b", "b"),
        AlignedWord("S", "c", "d"),
    ]
    assert one("a", "").aligned_words() == [AlignedWord("D", "a", None)]
    assert one("", "a").aligned_words() == [AlignedWord("I", None, "a")]


def test_a_part_of_a_score_is_a_score():
    whole = scored([("a b", "a x"), ("c", "c")])
    assert Score(whole.utterances[:1]).wer == 0.5
    assert Score(()).ser == 0.0


def test_ids_must_match():
    with pytest.raises(ScoringError, match="b, c without a hypothesis, none without a reference"):
        score({"a": "", "b": "", "c": ""}, {"a": ""})
    with pytest.raises(ScoringError, match=r"none without a hypothesis, 0, 1, 2 and 4 more without a reference"):
        score({"a": ""}, {"a": "", **{str(i): "" for i in range(7)}})
    with pytest.raises(ScoringError, match="at least one utterance"):
        score({}, {})


def test_hypotheses_in_another_order():
    assert score({"a": "x", "b": "y"}, {"b": "y", "a": "x"}).wer == 0.0


# ---- sclite's costs


@pytest.mark.parametrize(
    ("reference", "hypothesis", "operations"),
    [  # NIST sclite 2.10 gave these, and in each there is a choice between alignments of the same cost
        ("b", "a c", "IS"),
        ("b c", "a", "DS"),
        ("a b c", "b a d", "DCIS"),
        ("a b", "b a", "DCI"),
        ("b a b a a", "a a b", "DCDCS"),
    ],
)
def test_ties_fall_as_in_sclite(reference, hypothesis, operations):
    assert align(reference.split(), hypothesis.split(), SCLITE) == operations


def test_a_word_that_is_right_stays_right():
    assert align("ab", "bc", SCLITE) == "DCI"  # 3 + 0 + 3
    assert align("ab", "bc", LEVENSHTEIN) == "SS"
    assert align("a", "b", SCLITE) == "S"  # 4, not 3 + 3


def table_alignment(reference, hypothesis, substitution, deletion, insertion):
    """The table of asr/scoring/alignment.py, cell by cell, with whole alignments in the cells."""
    table = {(0, 0): (0, "")}
    for i in range(len(reference) + 1):
        for j in range(len(hypothesis) + 1):
            ways = []
            if i and j:
                is_same = reference[i - 1] == hypothesis[j - 1]
                cost, letters = table[i - 1, j - 1]
                ways.append((cost + (0 if is_same else substitution), letters + ("C" if is_same else "S")))
            if j:
                ways.append((table[i, j - 1][0] + insertion, table[i, j - 1][1] + "I"))
            if i:
                ways.append((table[i - 1, j][0] + deletion, table[i - 1, j][1] + "D"))
            if ways:
                table[i, j] = min(ways, key=lambda way: way[0])  # the first of equals
    return table[len(reference), len(hypothesis)][1]


WORDS = st.lists(st.sampled_from("abc"), max_size=9)


@given(st.lists(st.tuples(WORDS, WORDS), min_size=1, max_size=4), st.tuples(*[st.integers(0, 5)] * 3))
def test_any_costs_against_the_table_that_defines_them(pairs, costs):
    result = scored([(" ".join(reference), " ".join(hypothesis)) for reference, hypothesis in pairs])
    aligned = score(
        {u.id: u.reference for u in result.utterances}, {u.id: u.hypothesis for u in result.utterances}, Costs(*costs)
    )
    if costs != (1, 1, 1):
        assert [u.operations for u in aligned.utterances] == [table_alignment(*pair, *costs) for pair in pairs]
    assert [u.characters for u in aligned.utterances] == [u.characters for u in result.utterances]


def test_costs_are_kept_and_checked():
    assert scored([("a", "a")]).costs == LEVENSHTEIN
    assert score({"a": "x"}, {"a": "x"}, SCLITE).costs == SCLITE
    for costs in ((4, 3, -1), (math.nan, 1, 1), (1, math.inf, 1)):
        with pytest.raises(ScoringError, match="finite and not negative"):
            Costs(*costs)


def test_more_utterances_than_one_call_takes():
    pairs = random_pairs(1000, seed=4)
    utterances = scored(pairs, SCLITE).utterances
    assert [u.operations for u in utterances] == [align(r.split(), h.split(), SCLITE) for r, h in pairs]


def read_alignments(path):
    """Reference, hypothesis, letters and counts (C S D I) of each utterance of a .pra file, by id."""
    alignments = {}
    for block in path.read_text(encoding="utf-8").split("id: (")[1:]:
        lines = dict(re.findall(r"^(\w+): *(.*)$", block, re.MULTILINE))
        reference, hypothesis = lines["REF"].lower().split(), lines["HYP"].lower().split()
        columns = [(r.strip("*"), h.strip("*")) for r, h in zip(reference, hypothesis)]
        alignments[block[: block.index(")")]] = (
            " ".join(r for r, _ in columns if r),
            " ".join(h for _, h in columns if h),
            "".join("I" if not r else "D" if not h else "C" if r == h else "S" for r, h in columns),
            ErrorCounts(*map(int, lines["Scores"].split(")")[1].split())),
        )
    return alignments


def read_trn(path):
    lines = path.read_text(encoding="utf-8").splitlines()
    return {m[2]: m[1] for line in lines if (m := re.fullmatch(r"(.*?) *\(([^()]*)\)", line))}


@needs_real_speech
@pytest.mark.parametrize(("system", "num_utterances"), [("greedy", 198), ("lm", 198), ("lm2", 198), ("ctm", 95)])
def test_equal_to_sclite_on_real_speech(system, num_utterances):
    folder = real_data() / "golden" / "sclite"
    golden = read_alignments(folder / f"{system}.pra")
    references = {id: alignment[0] for id, alignment in golden.items()}
    hypotheses = {id: alignment[1] for id, alignment in golden.items()}
    if system != "ctm":  # what stands in the report is what was scored
        assert references == read_trn(folder / "ref.trn")
        assert hypotheses == read_trn(folder / f"{system}.trn")
    result = score(references, hypotheses, SCLITE)
    assert len(golden) == num_utterances
    assert {u.id: (u.reference, u.hypothesis, u.operations, u.words) for u in result.utterances} == golden
    # sclite's paths may have an error more than the fewest.
    assert result.words.errors * 0.99 <= score(references, hypotheses).words.errors <= result.words.errors
