"""`asr inspect` on sung letters, with a model that was never trained but says much."""

import json

import numpy as np
import pytest
import torch
import typer
from helpers import SAMPLE_RATE, needs_real_speech, real_data, sung_corpus
from typer.testing import CliRunner

from asr.audio import write_audio
from asr.builders import build_recognizer, load_model
from asr.cli.inspect import freshly_initialized, inspect, run_seed, select
from asr.config import DecodingConfig, FeaturesConfig, ModelConfig, to_json
from asr.errors import AudioError, ConfigError, ManifestError, ModelError
from asr.inspection.report import read_history, rounded
from asr.model_directory import ModelFiles, write_model
from asr.text.tokenizer import CharTokenizer

app = typer.Typer()
app.command()(inspect)

TEXTS = ["ab", "bad cab", "a bad dab", "dab"]


def write_sung_model(directory, features=None, scale=30.0, **options):
    torch.manual_seed(3)
    parts = {"features": features or FeaturesConfig(num_mels=23), "model": ModelConfig(hidden_size=12, **options)}
    parts["decoding"] = DecodingConfig()
    tokenizer = CharTokenizer.train(["abcd"])
    recognizer = build_recognizer(*parts.values(), sample_rate=SAMPLE_RATE, case="lower", tokenizer=tokenizer)
    with torch.no_grad():
        recognizer.model.output.weight.mul_(scale)
        if scale == 0.0:
            recognizer.model.output.bias[0] = 5.0
    config = {"sample_rate": SAMPLE_RATE, "case": "lower", **{name: to_json(part) for name, part in parts.items()}}
    state = {f"model.{name}": tensor for name, tensor in recognizer.model.state_dict().items()}
    write_model(directory, ModelFiles(config, state, tokenizer.to_json()), card="# a card\n")
    return directory


def invoke(*arguments):
    result = CliRunner().invoke(app, [*map(str, arguments)])
    if result.exception is not None:
        raise result.exception
    return result.output


@pytest.fixture
def corpus(tmp_path):
    return sung_corpus(tmp_path, "songs", TEXTS)


def test_pictures_and_figures_of_a_manifest(corpus, tmp_path):
    model = write_sung_model(tmp_path / "run" / "model", num_layers=2, cell="gru")
    (tmp_path / "run" / "config.json").write_text('{"seed": 3}', encoding="utf-8")
    record = {"kind": "inspection", "step": 0, "epoch": 0, "gradient/layer 1": 3.0, "gradient/all": 5.0}
    lines = [{"kind": "step", "step": 0}, {**record, "clip_scale": 0.5}, {**record, "step": 5, "clip_scale": 1.0}]
    (tmp_path / "run" / "history.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    output = invoke(model, corpus, "-o", tmp_path / "out", "--pictures", 1, "--tokens", 4)
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert names == {
        "reach.png",
        "gates.png",
        "gradients.png",
        "figures.json",
        "songs-0.posteriors.png",
        "songs-0.saliency.png",
    }
    assert all((tmp_path / "out" / name).read_bytes()[:4] == b"\x89PNG" for name in names if name.endswith(".png"))
    figures = json.loads((tmp_path / "out" / "figures.json").read_text(encoding="utf-8"))
    assert (figures["cell"], figures["directions"], figures["frame_ms"]) == ("gru", 2, 30.0)
    assert figures["num_utterances"] == 4
    assert len(figures["gradients"]) == 2
    # the weights before training are the model's own, but for its output layer: the gradients of the states are alike
    assert figures["gates"]["before training"] == figures["gates"]["after training"]
    assert len(figures["gates"]["after training"]) == 2 * 2 * 3
    assert "Towards the past the influence of a frame" in output.replace("\n", " ")
    (utterance,) = figures["utterances"]
    assert utterance["reference"] == "ab"
    assert sum(utterance["words"][0]["over_time"]) == pytest.approx(1.0, abs=1e-4)
    assert utterance["tokens"][0]["end"] > utterance["tokens"][0]["start"]


def test_a_recording_of_its_own_beside_the_model(corpus, tmp_path):
    features = FeaturesConfig(name="mfcc", num_mels=23, num_ceps=13, deltas=1)
    model = write_sung_model(tmp_path / "run" / "model", features, num_layers=1, cell="rnn_tanh", bidirectional=False)
    output = invoke(model, corpus.parent / "audio" / "songs-1.wav")
    assert "no direction that brings it" in output.replace("\n", " ")
    assert (tmp_path / "run" / "inspect" / "songs-1" / "songs-1.posteriors.png").is_file()


def test_a_model_that_says_nothing_cannot_be_inspected(corpus, tmp_path):
    model = write_sung_model(tmp_path / "model", num_layers=1, scale=0.0)
    with pytest.raises(ModelError, match="recognises nothing in 2 utterances"):
        invoke(model, corpus, "-o", tmp_path / "out", "--utterances", 2)


def test_what_is_too_long_to_be_seen_at_once_is_refused(tmp_path):
    model = write_sung_model(tmp_path / "model", num_layers=1)
    write_audio(tmp_path / "long.wav", np.zeros(41 * SAMPLE_RATE, dtype=np.float32), SAMPLE_RATE)
    with pytest.raises(AudioError, match=r"long\.wav: expected at most 40 s .* got 41\.0 s"):
        invoke(model, tmp_path / "long.wav")


def test_an_empty_manifest_is_an_error(tmp_path):
    (tmp_path / "none.jsonl").write_text("")
    with pytest.raises(ManifestError, match="expected utterances"):
        select(str(tmp_path / "none.jsonl"), 3)


def test_utterances_come_from_all_over(corpus):
    assert [utterance.id for utterance in select(str(corpus), 2)] == ["songs-0", "songs-2"]
    assert len(select(str(corpus), 100)) == 4


def test_fresh_weights_are_those_that_a_run_begins_with(tmp_path):
    model = write_sung_model(tmp_path / "model", num_layers=1)  # written with the seed 3 and 30 times the output
    recognizer = load_model(model)
    fresh = freshly_initialized(model, recognizer, 3)
    assert torch.equal(
        fresh.encoder.layers[0].forward_rnn.weight_hh_l0,
        recognizer.model.state_dict()["encoder.layers.0.forward_rnn.weight_hh_l0"],
    )
    assert torch.equal(30 * fresh.output.weight, recognizer.model.output.weight)
    assert not torch.equal(fresh.output.weight, freshly_initialized(model, recognizer, 4).output.weight)


def test_the_seed_comes_from_the_run(tmp_path):
    assert run_seed(tmp_path) == 1
    (tmp_path / "config.json").write_text('{"seed": 7}')
    assert run_seed(tmp_path) == 7


@pytest.mark.parametrize("text", ["{", "[]", "{}", '{"seed": "x"}'])
def test_a_run_without_a_seed_is_an_error(tmp_path, text):
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(ConfigError, match="--seed"):
        run_seed(tmp_path)


def test_a_broken_history_names_its_line(tmp_path):
    assert read_history(tmp_path) == []
    (tmp_path / "history.jsonl").write_text('{"kind": "step"}\n{"ki\n')
    with pytest.raises(ConfigError, match=r"history\.jsonl:2: expected a JSON object"):
        read_history(tmp_path)


def test_figures_are_rounded():
    assert rounded({"a": [1 / 3, 1], "b": (2e-10 / 3, None)}) == {"a": [0.333333, 1], "b": [6.66667e-11, None]}


@needs_real_speech
def test_real_speech(tmp_path):
    model = write_sung_model(tmp_path / "model", num_layers=1)
    invoke(model, real_data() / "fsdd-test.jsonl", "-o", tmp_path / "out", "--utterances", 3, "--pictures", 1)
    figures = json.loads((tmp_path / "out" / "figures.json").read_text(encoding="utf-8"))
    assert figures["reach"]["after training"]["past"]["time_constant_ms"] > 0
