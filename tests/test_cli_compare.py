"""`asr compare` and `asr report` on runs as `asr score` writes them."""

import json

import pytest
import typer
from helpers import needs_real_speech, real_data
from rich.cells import cell_len
from typer.testing import CliRunner

from asr.cli.compare import compare
from asr.cli.report import report
from asr.errors import ConfigError, ScoringError
from asr.files import write_json, write_json_lines
from asr.scoring.assessment import Comparison, assess
from asr.scoring.display import hypothesis_rows, score_json
from asr.scoring.scored_set import Details

app = typer.Typer()
app.command()(compare)
app.command()(report)

NUM_UTTERANCES = 60
REFERENCES = {f"u{i}": f"so many words number {i % 7}" for i in range(NUM_UTTERANCES)}
PERFECT = dict(REFERENCES)
POOR = {
    id: text.replace("many", "any") if int(id[1:]) % 3 else text.replace("so", "") for id, text in REFERENCES.items()
}
FAIR = {id: POOR[id] if int(id[1:]) % 2 else REFERENCES[id] for id in REFERENCES}
SPEAKERS = {id: f"s{int(id[1:]) % 10}" for id in REFERENCES}


def write_run(
    directory, hypotheses, references=REFERENCES, speakers=SPEAKERS, alignment="levenshtein", system=None, markup=False
):
    details = {id: Details(speakers.get(id), 2.0) for id in references}
    name = system or directory.name
    assessment = assess("test", name, references, hypotheses, details, Comparison(alignment=alignment), markup=markup)
    write_json(directory / "score.json", score_json(assessment))
    write_json_lines(directory / "hypotheses.jsonl", hypothesis_rows(assessment.scored))
    return directory


def invoke(*arguments):
    result = CliRunner(env={"COLUMNS": "80"}).invoke(app, [str(argument) for argument in arguments])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == 0, result.output
    assert all(cell_len(line) <= 80 for line in result.output.splitlines() if "written:" not in line)
    return " ".join(result.output.split())


def test_a_better_system(tmp_path):
    poor, fair = write_run(tmp_path / "poor", POOR), write_run(tmp_path / "fair", FAIR)
    output = invoke("compare", poor, fair, "--json", tmp_path / "out.json")
    # One error in five words each, and half of that: 60 and 30 errors in 300 words.
    assert "fair is better than poor: 10.0 % against 20.0 % word error rate, 50.0 % fewer errors" in output
    assert "significant (p < 0.001 by MAPSSWE)" in output
    assert "Probability that fair improves on poor, by paired bootstrap over speakers: 100.0 %" in output
    assert "60 segments" in output
    assert "Caution" not in output
    value = json.loads((tmp_path / "out.json").read_text())["sets"]["test"]
    assert (value["difference"], value["relative"]) == (-0.1, -0.5)
    assert (value["first"]["name"], value["first"]["wer"], value["second"]["wer"]) == ("poor", 0.2, 0.1)
    assert value["mcnemar"]["num_only_second_correct"] == 30
    assert value["matched_pairs"]["mean"] == 0.5
    # The other way round it is the same finding.
    assert "fair is better than poor: 10.0 % against 20.0 %" in invoke("compare", fair, poor)


def test_no_significant_difference(tmp_path):
    other = {id: REFERENCES[id] if int(id[1:]) % 2 else POOR[id] for id in REFERENCES}
    first, second = write_run(tmp_path / "first", FAIR), write_run(tmp_path / "second", other)
    output = invoke("compare", first, second)
    assert "No significant difference between second and first: 10.0 % against 10.0 % word error rate" in output
    assert "(p = 1.000 by MAPSSWE)" in output


def test_no_difference_at_all(tmp_path):
    first, second = write_run(tmp_path / "first", POOR), write_run(tmp_path / "second", POOR)
    output = invoke("compare", first, second)
    assert "No difference between first and second: both have 20.0 % word error rate" in output
    assert "50.0 %" in output
    both = [write_run(tmp_path / name, PERFECT) for name in ("a", "b")]
    assert "both have 0.0 % word error rate" in invoke("compare", *both)


@pytest.mark.parametrize(
    ("num_speakers", "caution"), [(0, "speakers are not known"), (2, "over utterances"), (5, "5 speakers only")]
)
def test_cautions(tmp_path, num_speakers, caution):
    speakers = {id: f"s{int(id[1:]) % num_speakers}" for id in REFERENCES} if num_speakers else {}
    runs = [write_run(tmp_path / name, texts, speakers=speakers) for name, texts in (("a", POOR), ("b", FAIR))]
    output = invoke("compare", *runs)
    assert caution in output
    assert ("no speakers" in output) == (num_speakers == 0)


def test_one_utterance(tmp_path):
    runs = [write_run(tmp_path / name, {"u": text}, {"u": "a b"}, {}) for name, text in (("a", "a x"), ("b", "a b"))]
    output = invoke("compare", *runs, "--json", tmp_path / "out.json")
    assert "No significant difference between b and a: 0.0 % against 50.0 %" in output
    assert "One utterance: nothing to resample" in output
    assert "1 segment only" in output
    assert json.loads((tmp_path / "out.json").read_text())["sets"]["test"]["bootstrap"] is None


def test_several_sets(tmp_path):
    for run, texts in (("a", POOR), ("b", FAIR)):
        for name in ("dev", "test"):
            write_run(tmp_path / run / name, texts)
    output = invoke("compare", tmp_path / "a", tmp_path / "b", "--json", tmp_path / "out.json")
    assert output.count("b is better than a") == 2
    assert list(json.loads((tmp_path / "out.json").read_text())["sets"]) == ["dev", "test"]
    write_run(tmp_path / "b" / "extra", POOR)
    with pytest.raises(ScoringError, match="expected the same test sets in both runs, got extra only in"):
        invoke("compare", tmp_path / "a", tmp_path / "b")


def test_what_cannot_be_compared(tmp_path):
    first = write_run(tmp_path / "first", POOR)
    with pytest.raises(ConfigError, match="--alignment: expected one of levenshtein, sclite, jiwer, got 'dtw'"):
        invoke("compare", first, tmp_path, "--alignment", "dtw")
    part = write_run(tmp_path / "part", {"u0": "so"}, {"u0": REFERENCES["u0"]})
    with pytest.raises(ScoringError, match="got u1, u10, u11 and 56 more only in the first"):
        invoke("compare", first, part)
    changed = write_run(tmp_path / "changed", POOR, {**REFERENCES, "u5": "other words"})
    with pytest.raises(ScoringError, match="got others for u5; of u5 'so many words number 5' and 'other words'"):
        invoke("compare", first, changed)
    aligned = write_run(tmp_path / "aligned", POOR, alignment="sclite")
    with pytest.raises(ScoringError, match="got the alignment levenshtein for first and sclite for aligned"):
        invoke("compare", first, aligned)
    with pytest.raises(ScoringError, match="expected different runs"):
        invoke("compare", first, first)


def test_references_with_alternatives(tmp_path):
    """Each system may take another alternative; speaker s0 says nothing in one of them."""
    references = {id: "{ so many / @ }" if SPEAKERS[id] == "s0" else f"(uh) {text}" for id, text in REFERENCES.items()}
    right = {id: "" if SPEAKERS[id] == "s0" else text for id, text in REFERENCES.items()}
    wrong = {id: text.replace("number", "numbers") for id, text in right.items()} | {"u0": "so many"}
    first = write_run(tmp_path / "first", wrong, references, markup=True)
    second = write_run(tmp_path / "second", right, references, markup=True)
    for alignment in ("sclite", "levenshtein"):
        output = invoke("compare", first, second, "--alignment", alignment)
        # 54 errors in 54 x 6 words, and two more words in the first, that of the alternative.
        assert "second is better than first: 0.0 % against 16.6 % word error rate, 100.0 % fewer errors" in output
        assert "second better on 9, worse on 0, equal 0" in output


def test_names_are_not_markup(tmp_path):
    first, second = write_run(tmp_path / "[bold]a[", POOR), write_run(tmp_path / "[link]b|", FAIR)
    assert "[link]b| is better than [bold]a[" in invoke("compare", first, second)
    output = invoke("report", first, second, "-o", tmp_path / "out.md")
    assert "[bold]a[" in output
    assert "\\|" in (tmp_path / "out.md").read_text()


# ---- report


def test_one_set_has_a_row_for_each_run(tmp_path):
    runs = [write_run(tmp_path / name, texts) for name, texts in (("poor", POOR), ("fair", FAIR))]
    invoke("report", *runs, "-o", tmp_path / "out.md", "--json", tmp_path / "out.json")
    lines = (tmp_path / "out.md").read_text(encoding="utf-8").splitlines()
    assert lines[0] == "| test | WER | 95 % interval | relative | CER | SER |"
    assert lines[2].startswith("| poor | 20.00 % | 20.00 … 20.00 | – |")
    # Five of ten speakers have no errors, five 20 %: 2.5 % of binomial draws (10, 1/2) lie below 2 and above 8 of ten.
    assert lines[3].startswith("| fair | 10.00 % | 4.00 … 16.00 | −50.0 % |")
    value = json.loads((tmp_path / "out.json").read_text())
    assert (value["fair"]["test"]["wer"], value["fair"]["test"]["relative"]) == (0.1, -0.5)


def test_several_sets_have_a_row_each(tmp_path):
    for run, texts in (("a", POOR), ("b", FAIR)):
        for name in ("dev", "test"):
            write_run(tmp_path / run / name, texts)
    write_run(tmp_path / "b" / "extra", PERFECT)
    invoke("report", tmp_path / "a", tmp_path / "b", "-o", tmp_path / "out.md")
    lines = (tmp_path / "out.md").read_text(encoding="utf-8").splitlines()
    assert lines[0] == "| test set | a | b |"
    assert [line.split("|")[1].strip() for line in lines[2:5]] == ["dev", "test", "extra"]
    assert "20.00 %" in lines[2]
    assert "−50.0 %" in lines[2]
    assert lines[4].startswith("| extra | – | 0.00 %")


def test_other_texts_under_the_same_name_are_told(tmp_path):
    first = write_run(tmp_path / "first", POOR)
    part = write_run(tmp_path / "part", {"u0": "so"}, {"u0": REFERENCES["u0"]})
    output = invoke("report", first, part)
    assert "cannot be compared, as the utterances are not the same: 60 (first), 1 (part)" in output


def test_no_words_have_no_rates(tmp_path):
    runs = [write_run(tmp_path / name, {"u": text}, {"u": ""}) for name, text in (("a", ""), ("b", "x"))]
    invoke("report", *runs, "--json", tmp_path / "out.json")
    assert json.loads((tmp_path / "out.json").read_text())["b"]["test"]["relative"] is None
    assert "b" in invoke("compare", *runs, "--json", tmp_path / "compare.json")


# ---- real speech


@needs_real_speech
def test_real_speech_as_nist(tmp_path):
    golden = real_data() / "golden" / "sclite"
    texts = {}
    for name in ("ref", "greedy", "lm"):
        lines = [line.rpartition("(") for line in (golden / f"{name}.trn").read_text().splitlines()]
        texts[name] = {id.rstrip(")"): words for words, _, id in lines}
    speakers = {id: id.split("-")[0] for id in texts["ref"]}
    runs = [write_run(tmp_path / name, texts[name], texts["ref"], speakers) for name in ("greedy", "lm")]
    output = invoke("compare", *runs)
    # NIST sc_stats gave: 338 segments, mean 1.607, std dev 2.003, Z 14.742; sign 0.062, Wilcoxon 0.043, McNemar 1.000
    for figure in ("338 segments, mean 1.607 ± 2.003, Z 14.742", "0.062", "0.043 *", "1.000", "p < 0.001 by MAPSSWE"):
        assert figure in output
