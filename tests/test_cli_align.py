"""`asr align` and `asr calibrate` on sung letters, with a model that was never trained but says much."""

import json
from dataclasses import replace

import pytest
import torch
import typer
from helpers import SAMPLE_RATE, sung_corpus
from typer.testing import CliRunner

from asr.alignment import parse_formats
from asr.audio import read_audio, write_audio
from asr.builders import build_recognizer, load_model, read_decoding
from asr.cli.align import align
from asr.cli.calibrate import calibrate
from asr.config import DecodingConfig, FeaturesConfig, ModelConfig, to_json
from asr.data.manifest import read_manifest, write_manifest
from asr.errors import ConfigError, OutputError, ScoringError
from asr.evaluation import recognize_all
from asr.model_directory import ModelFiles, write_model
from asr.text.tokenizer import CharTokenizer

app = typer.Typer()
app.command()(align)
app.command()(calibrate)

TEXTS = ["ab", "bad cab", "a bad dab", "dab", "", "cab ab"]
FRAME_SECONDS = 0.03


@pytest.fixture
def corpus(tmp_path):
    return sung_corpus(tmp_path, "songs", TEXTS)


@pytest.fixture
def model(tmp_path):
    torch.manual_seed(3)
    parts = {"features": FeaturesConfig(num_mels=23), "model": ModelConfig(hidden_size=12, num_layers=1)}
    parts["decoding"] = DecodingConfig()
    tokenizer = CharTokenizer.train(["abcd"])
    recognizer = build_recognizer(*parts.values(), sample_rate=SAMPLE_RATE, case="lower", tokenizer=tokenizer)
    with torch.no_grad():
        recognizer.model.output.weight.mul_(30)
    config = {"sample_rate": SAMPLE_RATE, "case": "lower", **{name: to_json(part) for name, part in parts.items()}}
    state = {f"model.{name}": tensor for name, tensor in recognizer.model.state_dict().items()}
    write_model(tmp_path / "run" / "model", ModelFiles(config, state, tokenizer.to_json()), card="# a card\n")
    return tmp_path / "run" / "model"


def invoke(*arguments):
    result = CliRunner().invoke(app, [*map(str, arguments), "--workers", "1", "--device", "cpu"])
    if result.exception is not None:
        raise result.exception
    return result


def rows(path):
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


# ---- align


def test_align_writes_everything(model, corpus, tmp_path):
    output = invoke("align", model, corpus, "-o", tmp_path / "out").output
    found = {row["id"]: row for row in rows(tmp_path / "out" / "alignment.jsonl")}
    assert [row["text"] for row in found.values()] == TEXTS
    for utterance in read_manifest(corpus):
        row = found[utterance.id]
        assert [word["word"] for word in row["words"]] == utterance.text.split()
        assert "".join(token["token"] for token in row["tokens"]) == utterance.text.replace(" ", "")
        for items in (row["words"], row["tokens"]):
            times = [time for item in items for time in (item["start"], item["end"])]
            assert times == sorted(times)
            assert all(item["start"] < item["end"] <= row["duration"] for item in items)
            assert all(0 <= item["confidence"] <= 1 for item in items)
        assert row["duration"] == pytest.approx(utterance.duration)
        assert (tmp_path / "out" / "textgrid" / f"{utterance.id}.TextGrid").read_text().count("IntervalTier") == 2
    for name, kind in (("words.ctm", "words"), ("tokens.ctm", "tokens")):
        lines = [line.split() for line in (tmp_path / "out" / name).read_text().splitlines()]
        assert len(lines) == sum(len(row[kind]) for row in found.values())
        assert lines == sorted(lines, key=lambda line: (line[0], float(line[2])))
    assert rows(tmp_path / "out" / "unaligned.jsonl") == []
    assert "Utterances aligned" in output
    assert "lowest-scored words" in output


def test_what_does_not_fit_is_listed_and_the_rest_is_aligned(model, corpus, tmp_path):
    utterances = read_manifest(corpus)
    utterances[0] = replace(utterances[0], text="aé")
    utterances[1] = replace(utterances[1], text="ab" * 200)
    utterances[2] = replace(utterances[2], audio_filepath=str(tmp_path / "no.wav"))
    write_manifest(tmp_path / "bad.jsonl", utterances)
    result = invoke("align", model, tmp_path / "bad.jsonl", "-o", tmp_path / "out")
    assert result.exit_code == 0
    reasons = {row["id"]: row["reason"] for row in rows(tmp_path / "out" / "unaligned.jsonl")}
    assert list(reasons) == [utterance.id for utterance in utterances[:3]]
    assert "é" in reasons["songs-0"]
    assert "its 400 labels need 400" in reasons["songs-1"]
    assert "no.wav" in reasons["songs-2"]
    assert [row["id"] for row in rows(tmp_path / "out" / "alignment.jsonl")] == ["songs-3", "songs-4", "songs-5"]
    assert "3 utterances do not fit" in result.output


def test_what_cannot_be_spelt_is_bridged_and_named(model, corpus, tmp_path):
    utterances = read_manifest(corpus)
    assert [u.text for u in utterances[1:3]] == ["bad cab", "a bad dab"]
    utterances[1] = replace(utterances[1], text="Bad, -- CAB!")
    utterances[2] = replace(utterances[2], text="a 8ad dab.")
    write_manifest(tmp_path / "written.jsonl", utterances)
    output = invoke("align", model, tmp_path / "written.jsonl", "-o", tmp_path / "out").output
    found = {row["id"]: row for row in rows(tmp_path / "out" / "alignment.jsonl")}
    assert rows(tmp_path / "out" / "unaligned.jsonl") == []
    punctuated, bridged = found["songs-1"], found["songs-2"]
    assert (punctuated["text"], punctuated["unspelt"]) == ("Bad, -- CAB!", ["--"])
    assert [(w["word"], w["written"], w["spelt"]) for w in punctuated["words"]] == [
        ("bad", "Bad,", True),
        ("cab", "CAB!", True),
    ]
    assert [(w["word"], w["written"], w["spelt"]) for w in bridged["words"]] == [
        ("a", "a", True),
        ("8ad", "8ad", False),
        ("dab", "dab.", True),
    ]
    assert bridged["unspelt"] == ["8ad"]
    word = bridged["words"][1]
    assert (word["confidence"], word["score"]) == (None, None)
    assert bridged["words"][0]["end"] <= word["start"] < word["end"] <= bridged["words"][2]["start"]
    assert "".join(token["token"] for token in bridged["tokens"]) == "adab"  # the tokens of the words that are spelt
    assert "8ad" in (tmp_path / "out" / "words.ctm").read_text()
    assert "Words bridged" in output
    assert "Bridged, as the model has no tokens for them: 8ad" in output
    assert "`asr data normalize` writes numbers out" in output
    assert "Left out, as nothing is said: --" in output


def test_nothing_fits(model, corpus, tmp_path):
    write_manifest(tmp_path / "bad.jsonl", [replace(u, text="xyz") for u in read_manifest(corpus)])
    result = invoke("align", model, tmp_path / "bad.jsonl", "-o", tmp_path / "out")
    assert "6 utterances do not fit" in result.output
    assert "and 1 more" in result.output
    assert (tmp_path / "out" / "words.ctm").read_text() == ""


def test_times_count_from_the_start_of_the_utterance(model, tmp_path):
    whole = read_manifest(sung_corpus(tmp_path, "one", ["bad cab"]))[0]
    part = replace(whole, id="part", offset=0.3, duration=whole.duration - 0.3, text="d cab")
    cut = tmp_path / "cut.wav"
    write_audio(cut, read_audio(whole.audio_filepath, SAMPLE_RATE, offset=0.3).waveform, SAMPLE_RATE)
    alone = replace(part, id="alone", audio_filepath=str(cut), offset=0.0)
    write_manifest(tmp_path / "two.jsonl", [part, alone])
    invoke("align", model, tmp_path / "two.jsonl", "-o", tmp_path / "out", "-f", "json")
    first, second = rows(tmp_path / "out" / "alignment.jsonl")
    assert (first["words"], first["offset"]) == (second["words"], 0.3)


def test_formats(model, corpus, tmp_path):
    invoke("align", model, corpus, "--format", "ctm")
    written = model.parent / "align" / "songs"
    assert sorted(path.name for path in written.iterdir()) == ["tokens.ctm", "unaligned.jsonl", "words.ctm"]
    assert parse_formats("json, ctm") == ["json", "ctm"]
    with pytest.raises(ConfigError, match="any of ctm, textgrid, json with commas between, got 'srt'"):
        invoke("align", model, corpus, "-f", "ctm,srt", "-o", tmp_path / "none")
    assert not (tmp_path / "none").exists()


def test_ids_that_share_a_file_are_refused(model, corpus, tmp_path):
    first, second, *_ = read_manifest(corpus)
    write_manifest(tmp_path / "same.jsonl", [replace(first, id="a b"), replace(second, id="a_b")])
    with pytest.raises(OutputError, match="'a b' and 'a_b'"):
        invoke("align", model, tmp_path / "same.jsonl", "-o", tmp_path / "out")


# ---- calibrate


def with_references(model, corpus, tmp_path, change):
    """The corpus with what the model hears as its texts, `change`d."""
    utterances = read_manifest(corpus)
    heard = recognize_all(load_model(model), utterances, 0, False).hypotheses
    assert sum(len(hypothesis.words) for hypothesis in heard.values()) >= 4
    path = tmp_path / "heard.jsonl"
    write_manifest(path, [replace(u, text=change(heard[u.id].text)) for u in utterances])
    return path


def last_word_wrong(text):
    return " ".join([*text.split()[:-1], "zz"]) if " " in text else text


def test_calibrate_stores_a_temperature(model, corpus, tmp_path):
    manifest = with_references(model, corpus, tmp_path, last_word_wrong)
    output = invoke("calibrate", model, manifest, "-o", tmp_path / "out").output
    written = json.loads((tmp_path / "out" / "calibration.json").read_text())
    assert 0 < written["num_correct"] < written["num_words"]
    assert written["after"]["nce"] >= written["before"]["nce"]
    assert written["before"]["temperature"] == 1.0
    assert (tmp_path / "out" / "reliability.png").stat().st_size > 1000
    assert read_decoding(model).confidence_temperature == pytest.approx(written["confidence_temperature"])
    assert load_model(model).decoder.describe()["confidence_temperature"] == written["confidence_temperature"]
    assert "Normalised cross entropy" in output
    # again, from the model that has a temperature now: the same, as it does not depend on the one before
    invoke("calibrate", model, manifest)
    again = json.loads((model.parent / "calibrate" / "heard" / "calibration.json").read_text())
    assert again["confidence_temperature"] == pytest.approx(written["confidence_temperature"])


def test_nothing_is_stored_where_nothing_can_be_fitted(model, corpus, tmp_path):
    manifest = with_references(model, corpus, tmp_path, lambda text: text)
    with pytest.raises(ScoringError, match="recognised words are right"):
        invoke("calibrate", model, manifest, "-o", tmp_path / "out")
    assert not (tmp_path / "out").exists()
    assert read_decoding(model).confidence_temperature == 1.0
