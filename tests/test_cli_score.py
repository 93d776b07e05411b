"""`asr score` by the command that a user types."""

import json

import pytest
from helpers import needs_real_speech, real_data
from typer.testing import CliRunner

from asr.cli.main import app
from asr.errors import ConfigError, ScoringError


def run(*arguments):
    return CliRunner().invoke(app, ["score", *map(str, arguments)], env={"COLUMNS": "100"})


@pytest.fixture
def pair(tmp_path):
    (tmp_path / "ref.trn").write_text("the cat sat (ann-1)\non the mat (bob-1)\n (bob-2)\n")
    (tmp_path / "hyp.trn").write_text("on a mat (bob-1)\nthe cat sat (ann-1)\noh no (bob-2)\n")
    return tmp_path / "ref.trn", tmp_path / "hyp.trn"


def test_everything_is_written_and_said(pair, tmp_path):
    result = run(*pair, "-o", tmp_path / "out")
    assert result.exit_code == 0, result.output
    assert "Word error rate" in result.output
    assert "50.00 %" in result.output  # one substitution and two insertions against nothing, of six words
    summary = json.loads((tmp_path / "out" / "score.json").read_text())
    assert (summary["substitutions"], summary["insertions"], summary["reference_words"]) == (1, 2, 6)
    assert summary["system"] == "hyp.trn"
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "espnet.md",
        "hypotheses.jsonl",
        "kaldi_wer.txt",
        "report.html",
        "sclite",
        "score.json",
    ]
    assert sorted(path.suffix for path in (tmp_path / "out" / "sclite").iterdir()) == [".dtl", ".pra", ".raw", ".sys"]
    assert (tmp_path / "out" / "kaldi_wer.txt").read_text().startswith("%WER 50.00 [ 3 / 6, 2 ins, 0 del, 1 sub ]")


def test_its_own_hypotheses_can_be_scored_again(pair, tmp_path):
    assert run(*pair, "-o", tmp_path / "first").exit_code == 0
    rows = tmp_path / "first" / "hypotheses.jsonl"
    result = run(rows, rows, "-o", tmp_path / "second")
    assert result.exit_code == 0, result.output
    first, second = (json.loads((tmp_path / name / "score.json").read_text()) for name in ("first", "second"))
    assert second["wer"] == first["wer"]
    assert second["wer_ci95"] == first["wer_ci95"]


def test_what_is_scored_is_not_replaced_by_the_result(pair, tmp_path):
    assert run(*pair, "-o", tmp_path / "first").exit_code == 0
    before = {path: path.read_bytes() for path in (tmp_path / "first").rglob("*") if path.is_file()}
    result = run(tmp_path / "first" / "hypotheses.jsonl", pair[1], "-o", tmp_path / "first")
    assert "which is read; name another file" in str(result.exception)
    assert {path: path.read_bytes() for path in (tmp_path / "first").rglob("*") if path.is_file()} == before


def test_fields_of_a_manifest_survive_the_way_through_hypotheses(tmp_path):
    row = {"id": "u", "reference": "a", "hypothesis": "a", "errors": 0, "reference_words": 1, "fields": {"gender": "f"}}
    path = tmp_path / "hypotheses.jsonl"
    path.write_text(json.dumps(row) + "\n")
    result = run(path, path, "--by", "gender", "-o", tmp_path / "out")
    assert result.exit_code == 0, result.output
    breakdowns = json.loads((tmp_path / "out" / "score.json").read_text())["breakdowns"]
    assert [group["name"] for group in breakdowns["gender"]["groups"]] == ["f"]
    path.write_text(json.dumps({**row, "fields": ["f"]}) + "\n")
    assert "hypotheses.jsonl:1: expected an object in `fields`" in str(run(path, path).exception)


def test_an_output_that_is_a_file_is_refused_before_anything_is_scored(pair, tmp_path):
    (tmp_path / "out").write_text("mine")
    result = run(*pair, "-o", tmp_path / "out")
    assert isinstance(result.exception, ConfigError)
    assert result.output == ""
    assert (tmp_path / "out").read_text() == "mine"


def test_what_is_not_known_has_no_line_and_no_line_is_broken(pair, tmp_path):
    output = run(*pair, "-o", tmp_path / "out").output
    assert "Audio" not in output
    assert "real" not in output
    assert f"written: {tmp_path}/out/score.json, hypotheses.jsonl, report.html, sclite/" in output


@pytest.mark.parametrize(
    ("said", "recognised", "note"),
    [
        ("u-1 café\nu-2 über alles", "u-1 cafe\u0301\nu-2 u\u0308ber alles", "2 words differ in Unicode form only and"),
        (
            "u-1 don't\nu-2 a",
            "u-1 don’t\nu-2 a",
            '1 word differs in Unicode form only and counts as an error: "don\'t"',
        ),
        ("u-1 soft\nu-2 a", "u-1 so\u00adft\nu-2 a", "1 word differs in Unicode form only"),
        ("u-1 cafe\nu-2 a", "u-1 café\nu-2 a", ""),  # another letter
        ("u-1 café café\nu-2 a", "u-1 cafe\u0301 café\nu-2 a", "1 word differs"),
        ("u-1 café\nu-2 a", "u-1 café\nu-2 b", ""),
    ],
)
def test_words_that_differ_in_unicode_form_only_are_named(tmp_path, said, recognised, note):
    (tmp_path / "ref.txt").write_text(said, encoding="utf-8")
    (tmp_path / "hyp.txt").write_text(recognised, encoding="utf-8")
    result = run(tmp_path / "ref.txt", tmp_path / "hyp.txt")
    assert result.exit_code == 0, result.output
    assert ("differ" in result.stderr) == bool(note)
    assert note in result.stderr


def test_an_output_over_the_hypotheses_is_refused(tmp_path):
    path = tmp_path / "hypotheses.jsonl"
    path.write_text(json.dumps({"id": "u", "reference": "a", "hypothesis": "b"}) + "\n")
    before = path.read_bytes()
    assert "which is read" in str(run(path, path, "-o", tmp_path).exception)
    assert [path.read_bytes(), *tmp_path.iterdir()] == [before, path]


def test_without_an_output_nothing_is_written(pair, tmp_path):
    before = sorted(tmp_path.iterdir())
    assert run(*pair).exit_code == 0
    assert sorted(tmp_path.iterdir()) == before


def test_ids_that_do_not_match_are_an_error_and_nothing_is_written(pair, tmp_path):
    pair[1].write_text("on a mat (bob-1)\nthe cat sat (ann-7)\noh (bob-2)\n")
    result = run(*pair, "-o", tmp_path / "out")
    assert isinstance(result.exception, ScoringError)
    assert "ann-1" in str(result.exception)
    assert "ann-7" in str(result.exception)
    assert not (tmp_path / "out").exists()


@needs_real_speech
@pytest.mark.parametrize("system", ["greedy", "lm", "lm2"])
def test_reports_equal_those_of_sclite(system, tmp_path):
    golden = real_data() / "golden" / "sclite"
    result = run(golden / "ref.trn", golden / f"{system}.trn", "-o", tmp_path / "out", "--worst", 0)
    assert result.exit_code == 0, result.output
    for suffix in ("sys", "raw", "pra", "dtl"):
        written = tmp_path / "out" / "sclite" / f"{system}.trn.{suffix}"
        assert written.read_bytes() == (golden / f"{system}.{suffix}").read_bytes(), suffix


@needs_real_speech
def test_time_marked_reports_equal_those_of_sclite(tmp_path):
    golden = real_data() / "golden" / "sclite"
    result = run(golden / "ref.stm", golden / "greedy.ctm", "-o", tmp_path / "out", "--alignment", "sclite")
    assert result.exit_code == 0, result.output
    assert json.loads((tmp_path / "out" / "score.json").read_text())["reference_words"] == 2165
    for suffix in ("sys", "raw", "pra", "dtl"):
        written = tmp_path / "out" / "sclite" / f"greedy.ctm.{suffix}"
        assert written.read_bytes() == (golden / f"ctm.{suffix}").read_bytes(), suffix
