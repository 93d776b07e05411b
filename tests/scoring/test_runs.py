"""What was written is read back; what was damaged, mixed up or never ours is refused with its place."""

import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from asr.errors import ScoringError
from asr.files import write_json, write_json_lines
from asr.scoring.assessment import Comparison, assess
from asr.scoring.display import hypothesis_rows, score_json
from asr.scoring.runs import distinct_names, find_sets, read_run, read_runs, read_summary
from asr.scoring.scored_set import Details

REFERENCES = {"u1": "a b c", "u2": "", "u3": "wörter\u2028hier"}
HYPOTHESES = {"u1": "a x", "u2": "oh", "u3": "wörter hier"}
DETAILS = {
    "u1": Details("ann", 1.5, {"age": 30}),
    "u2": Details(None, None, {}),
    "u3": Details("bob", 2.0, {"gender": None}),
}


def write_run(directory, system="greedy", alignment="levenshtein"):
    """A run as `asr evaluate` and `asr score` write it."""
    assessment = assess("test", system, REFERENCES, HYPOTHESES, DETAILS, Comparison(alignment=alignment))
    write_json(directory / "score.json", score_json(assessment))
    write_json_lines(directory / "hypotheses.jsonl", hypothesis_rows(assessment.scored))
    return assessment


def rows(directory):
    return [json.loads(line) for line in (directory / "hypotheses.jsonl").read_text(encoding="utf-8").split("\n")[:-1]]


@pytest.mark.parametrize("alignment", ["levenshtein", "sclite"])
def test_round_trip(tmp_path, alignment):
    assessment = write_run(tmp_path, alignment=alignment)
    run = read_run(tmp_path)
    assert (run.name, run.scored.name, run.scored.system) == ("test", "test", "greedy")
    assert run.summary == score_json(assessment)
    assert run.scored.score == assessment.scored.score
    assert run.scored.details == DETAILS


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    texts=st.dictionaries(
        st.text(min_size=1), st.tuples(st.text("ab \n"), st.text("ab \u2028é")), min_size=1, max_size=5
    )
)
def test_round_trip_of_any_texts(tmp_path, texts):
    references = {id: reference for id, (reference, _) in texts.items()}
    hypotheses = {id: hypothesis for id, (_, hypothesis) in texts.items()}
    assessment = assess("test", "greedy", references, hypotheses, {id: Details() for id in texts})
    write_json(tmp_path / "score.json", score_json(assessment))
    write_json_lines(tmp_path / "hypotheses.jsonl", hypothesis_rows(assessment.scored))
    assert read_run(tmp_path).scored.score == assessment.scored.score


def test_files_from_before_there_was_more(tmp_path):
    write_run(tmp_path / "old")
    values = json.loads((tmp_path / "old/score.json").read_text())
    for key in ("set", "system", "alignment", "unit", "folding", "normalized", "breakdowns"):
        values.pop(key, None)
    write_json(tmp_path / "old/score.json", values)
    keys = ("id", "reference", "hypothesis", "errors")
    write_json_lines(
        tmp_path / "old/hypotheses.jsonl", [{key: row[key] for key in keys} for row in rows(tmp_path / "old")]
    )
    run = read_run(tmp_path / "old")
    assert (run.name, run.scored.system) == ("old", "old")
    assert run.scored.details == {id: Details() for id in REFERENCES}


def test_optional_words_left_out_are_correct(tmp_path):
    """`a (uh) b` against `a b`: three reference words, all correct, two of them in the texts."""
    values = {"wer": 0.0, "wer_ci95": [None, None], "substitutions": 0, "deletions": 0, "insertions": 0}
    write_json(tmp_path / "score.json", {**values, "reference_words": 3, "utterances": 1})
    row = {"id": "u", "reference": "a b", "marked_reference": "a (uh) b", "hypothesis": "a b", "errors": 0}
    write_json_lines(tmp_path / "hypotheses.jsonl", [row])
    assert read_run(tmp_path).scored.score.words.reference_length == 3


def test_several_sets(tmp_path):
    for name in ("dev", "librispeech/test-clean"):
        write_run(tmp_path / name)
    assert find_sets(tmp_path) == {
        "dev": tmp_path / "dev",
        "librispeech/test-clean": tmp_path / "librispeech/test-clean",
    }
    assert list(read_runs(tmp_path)) == ["dev", "librispeech/test-clean"]
    assert list(read_runs(tmp_path / "dev")) == [""]


def test_no_run_there(tmp_path):
    with pytest.raises(ScoringError, match=r"expected score\.json, or directories with one.*got none"):
        find_sets(tmp_path)
    with pytest.raises(ScoringError, match="got no directory"):
        find_sets(tmp_path / "nowhere")
    with pytest.raises(ScoringError, match=r"score\.json cannot be read: No such file"):
        read_summary(tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"wer": "low"}, "expected a rate or null as wer, got 'low'"),
        ({"wer": -1}, "expected a rate or null as wer, got -1"),
        ({"wer": 10**400}, "expected a rate or null as wer"),
        ({"wer_ci95": [0.1]}, r"expected two bounds as wer_ci95, got \[0.1\]"),
        ({"wer_ci95": [0.1, True]}, "expected a rate or null as wer_ci95, got True"),
        ({"utterances": None}, "expected a count as utterances, got None"),
        ({"insertions": 1.5}, "expected a count as insertions, got 1.5"),
        ({"alignment": "dtw"}, "alignment: expected one of levenshtein, sclite, jiwer, got 'dtw'"),
        ({"system": 3}, "expected a name as system, got 3"),
        (
            {"deletions": 7},
            "expected 9 errors in 5 words of 3 utterances, as score.json beside it says, got 3 in 5 of 3",
        ),
    ],
)
def test_damaged_summaries(tmp_path, change, message):
    write_run(tmp_path)
    write_json(tmp_path / "score.json", {**json.loads((tmp_path / "score.json").read_text()), **change})
    with pytest.raises(ScoringError, match=message):
        read_run(tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"id": "u1"}, "jsonl:2: expected every id once, got u1 again"),
        ({"id": ""}, "jsonl:2: expected text as id, got ''"),
        ({"hypothesis": None}, "jsonl:2: expected text as hypothesis, got None"),
        ({"errors": -1}, "jsonl:2: expected a count as errors, got -1"),
        ({"errors": 0}, "expected 0 errors in u2, as its line says, got 1 from its texts"),
        ({"speaker": 7}, "jsonl:2: expected a name or null as speaker, got 7"),
        ({"duration": "long"}, "jsonl:2: expected seconds or null as duration, got 'long'"),
        ({"fields": [1]}, r"jsonl:2: expected an object or null as fields, got \[1\]"),
    ],
)
def test_damaged_rows(tmp_path, change, message):
    write_run(tmp_path)
    changed = rows(tmp_path)
    changed[1].update(change)
    write_json_lines(tmp_path / "hypotheses.jsonl", changed)
    with pytest.raises(ScoringError, match=message):
        read_run(tmp_path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "expected at least one utterance, got none"),
        (b"[1]\n", r"jsonl:1: expected a JSON object, got \[1\]"),
        (b'\n{"id": \n', "jsonl:2: expected a JSON object"),
        (b"[" * 100_000, "jsonl:1: expected a JSON object"),
        (b'{"id": "\xff"}', "expected UTF-8, got byte 0xff at 8"),
    ],
)
def test_foreign_files(tmp_path, content, message):
    write_run(tmp_path)
    (tmp_path / "hypotheses.jsonl").write_bytes(content)
    with pytest.raises(ScoringError, match=message):
        read_run(tmp_path)


@pytest.fixture(scope="module")
def whole_run(tmp_path_factory):
    directory = tmp_path_factory.mktemp("whole")
    write_run(directory)
    return {path.name: path.read_bytes() for path in directory.iterdir()}


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(place=st.integers(0, 500), byte=st.integers(0, 255), file=st.sampled_from(["score.json", "hypotheses.jsonl"]))
def test_a_changed_byte_is_an_error_or_harmless(tmp_path, whole_run, place, byte, file):
    for name, content in whole_run.items():
        changed = bytearray(content)
        if name == file:
            changed[place % len(changed)] = byte
        (tmp_path / name).write_bytes(changed)
    try:
        run = read_run(tmp_path)
    except ScoringError:
        return
    assert (run.scored.score.words.errors, len(run.scored.score.utterances)) == (3, 3)


def test_names_that_tell_runs_apart(tmp_path):
    assert distinct_names([tmp_path / "a/small/test", tmp_path / "a/large/test"]) == ["small", "large"]
    assert distinct_names([tmp_path / "x", tmp_path / "y/z"]) == ["x", "y/z"]
    assert distinct_names([tmp_path / "x", tmp_path / "x/y"]) == ["x", "y"]
    assert distinct_names([tmp_path / "x"]) == ["x"]
    with pytest.raises(ScoringError, match="expected different runs"):
        distinct_names([tmp_path / "x", tmp_path / "y", tmp_path / "x"])
