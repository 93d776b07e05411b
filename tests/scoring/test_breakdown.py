"""Groups by hand; every utterance in one; the lines below sclite's tables as sclite wrote them."""

import json
import math

import pytest
from helpers import needs_real_speech, real_data
from hypothesis import given
from hypothesis import strategies as st

from asr.scoring.breakdown import UNKNOWN, break_down
from asr.scoring.errors import SCLITE, ErrorCounts, score
from asr.scoring.scored_set import Details, ScoredSet


def scored_set(pairs, details):
    ids = [f"u{i}" for i in range(len(pairs))]
    result = score(
        dict(zip(ids, [reference for reference, _ in pairs])), dict(zip(ids, [hypothesis for _, hypothesis in pairs]))
    )
    return ScoredSet("test", "system", result, dict(zip(ids, details)))


def by_field(values):
    """One word for each value, all wrong; the names and sizes of the groups."""
    scored = scored_set([("a", "x")] * len(values), [Details(fields={"field": value}) for value in values])
    return {group.name: group.utterances for group in break_down(scored, "field").groups}


def test_speakers_by_hand():
    scored = scored_set(
        [("a b c d", "a x c"), ("a b", "a b"), ("a b", "a b c d e"), ("", "x")],
        [Details("ann"), Details("bob"), Details("ann"), Details("silent")],
    )
    result = break_down(scored, "speaker")
    ann, bob, silent = result.groups
    assert (ann.name, ann.utterances, ann.sentence_errors) == ("ann", 2, 2)
    assert ann.words == ErrorCounts(hits=4, substitutions=1, deletions=1, insertions=3)
    assert (ann.wer, bob.wer, silent.wer) == (5 / 6, 0.0, math.inf)
    assert bob.interval is None
    # Ann's two utterances: 2 of 4 and 3 of 2.
    assert (ann.interval.low, ann.interval.high) == (2 / 4, 3 / 2)
    summary = result.summary
    assert summary.total.words == scored.score.words
    # Over ann's and bob's rates; the silent one has none. The deviation is of a sample of two: |difference| / sqrt(2).
    assert summary.mean.errors == pytest.approx(5 / 12)
    assert summary.standard_deviation.errors == pytest.approx(5 / 6 / math.sqrt(2))
    assert summary.median.insertions == pytest.approx(3 / 6 / 2)
    assert summary.mean.sentence_errors == 0.5


def test_durations_begin_at_the_lower_end():
    seconds = [0.0, 1.99, 2.0, 4.9, 5.0, 10.0, 19.9, 20.0, 300.0, None, math.nan]
    scored = scored_set([("a", "a")] * len(seconds), [Details(duration=duration) for duration in seconds])
    groups = {group.name: group.utterances for group in break_down(scored, "duration").groups}
    assert groups == {"0–2 s": 2, "2–5 s": 2, "5–10 s": 1, "10–20 s": 2, "≥ 20 s": 2, "unknown": 2}
    assert list(groups)[-1] == UNKNOWN


def test_a_field_of_names():
    assert by_field(["m", "f", None, "m", "", "unknown"]) == {"f": 1, "m": 2, "unknown": 3}
    assert list(by_field([None, "z", "a"])) == ["a", "z", "unknown"]
    assert by_field([True, False, True]) == {"false": 1, "true": 2}
    assert by_field([["a"], {"b": 1}]) == {"['a']": 1, "{'b': 1}": 1}


def test_few_numbers_stay_apart_in_order():
    assert list(by_field([10, 9, 2.5, 9, 10])) == ["2.5", "9", "10"]
    assert by_field([1, "1", 1.0]) == {"1": 2, "1.0": 1}  # not all numbers: names


def test_many_numbers_are_cut_at_their_quartiles():
    # 1 to 12: quartiles 3.75, 6.5 and 9.25.
    assert by_field([*range(1, 13), None]) == {"1–3": 3, "4–6": 3, "7–9": 3, "10–12": 3, "unknown": 1}
    # Equal numbers stay together, however many they are.
    assert by_field([0] * 90 + list(range(1, 11))) == {"0": 90, "1–10": 10}
    assert by_field([10**400, *range(9)])[str(10**400)] == 1  # beyond floats: a name


@given(
    st.lists(
        st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=3), st.lists(st.integers())),
        min_size=1,
        max_size=40,
    )
)
def test_every_utterance_is_in_one_group(values):
    groups = by_field(values)
    assert sum(groups.values()) == len(values)
    missing = sum(
        value is None or value == "" or (isinstance(value, float) and not math.isfinite(value)) for value in values
    )
    assert groups.get(UNKNOWN, 0) >= missing


def test_json_is_strict():
    scored = scored_set([("", "x"), ("", "")], [Details(), Details()])
    value = break_down(scored, "speaker").to_json()
    assert json.loads(json.dumps(value, allow_nan=False)) == value
    assert value["field"] == "speaker"
    assert value["groups"][0]["name"] == UNKNOWN
    assert value["groups"][0]["wer"] is None
    assert value["summary"]["total"]["insertions"] == 1
    assert value["summary"]["mean"] is None
    assert value["summary"]["standard_deviation"] is None


@needs_real_speech
@pytest.mark.parametrize("system", ["greedy", "lm", "lm2"])
def test_speakers_of_real_speech_equal_sclite(system):
    golden = real_data() / "golden" / "sclite"
    texts = []
    for name in ("ref", system):
        lines = [line.rpartition("(") for line in (golden / f"{name}.trn").read_text().splitlines()]
        texts.append({id.rstrip(")"): words for words, _, id in lines})
    result = score(*texts, costs=SCLITE)
    details = {id: Details(id.split("-")[0]) for id in texts[0]}
    breakdown = break_down(ScoredSet("test", system, result, details), "speaker")
    summary = breakdown.summary
    rates = {group.name: group.rates for group in breakdown.groups}
    rates |= {"Sum/Avg": summary.total.rates, "Mean": summary.mean, "Median": summary.median}
    rates["S.D."] = summary.standard_deviation
    rows = [line.split("|") for line in (golden / f"{system}.sys").read_text().splitlines() if line.count("|") == 4]
    table = {row[1].strip(): row[3].split() for row in rows}
    for name, own in rates.items():
        columns = (own.correct, own.substitutions, own.deletions, own.insertions, own.errors, own.sentence_errors)
        assert [f"{100 * rate:.1f}" for rate in columns] == table[name], name
