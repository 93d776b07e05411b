"""What a config names must be there before a run writes anything."""

import os

import pytest

from asr.cli.compose import compose_recipe
from asr.cli.inputs import find_inputs, read_manifests
from asr.cli.run import find_run_inputs
from asr.cli.train import train_stage
from asr.errors import AsrError, ConfigError, ManifestError


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    """A folder with what a user might have there."""
    monkeypatch.chdir(tmp_path)
    for name in (
        "train.jsonl",
        "dev.jsonl",
        "words.txt",
        "runs/one/model/config.json",
        "runs/one/model/model.safetensors",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("")
    for name in ("audio", "shards", "empty_model"):
        (tmp_path / name).mkdir()
    (tmp_path / "shards" / "manifest.jsonl").write_text("")
    return tmp_path


def composed(*overrides):
    return compose_recipe("custom", ["data.train=train.jsonl", "data.dev=dev.jsonl", "run_dir=r", *overrides])


@pytest.mark.parametrize(
    "overrides",
    [
        [],
        ["data.train=[train.jsonl,shards]"],
        ["data.train=s3://bucket/shards"],
        ["data.test.a=dev.jsonl"],
        ["training.initial_model=runs/one/model"],
        ["text.tokenizer=phone", "text.lexicon=words.txt"],
        ["scoring.folding=timit39"],
        ["run_dir=runs/one"],
        ["run_dir=a/b/c/d"],
    ],
)
def test_what_is_there_is_found(overrides):
    find_inputs(composed(*overrides))


MANIFEST = "expected a manifest, or a folder of shards, at"


@pytest.mark.parametrize(
    ("overrides", "error", "message"),
    [
        (
            ["data.train=trian.jsonl"],
            ManifestError,
            f"data.train: {MANIFEST} trian.jsonl, found none; did you mean train.jsonl?",
        ),
        (["data.dev=[dev.jsonl,nix]"], ManifestError, f"data.dev: {MANIFEST} nix, found none"),
        (
            ["data.dev=Runs/x.jsonl"],
            ManifestError,
            f"data.dev: {MANIFEST} Runs/x.jsonl, found no folder Runs; did you mean runs?",
        ),
        (["data.dev=train.jsonl/x"], ManifestError, f"data.dev: {MANIFEST} train.jsonl/x, found no folder train.jsonl"),
        (["data.test.a=tset.jsonl"], ManifestError, f"data.test.a: {MANIFEST} tset.jsonl, found none"),
        (
            ["data.train=audio"],
            ManifestError,
            f"data.train: {MANIFEST} audio, found a folder without manifest.jsonl; `asr data import`",
        ),
        (["augment.noise=n.jsonl"], ManifestError, f"augment.noise: {MANIFEST} n.jsonl, found none"),
        (["augment.rooms=n.jsonl"], ManifestError, f"augment.rooms: {MANIFEST} n.jsonl, found none"),
        (["data.train='" + "x" * 300 + "'"], ConfigError, f"data.train: {MANIFEST} xxx"),
        (
            ["training.initial_model=runs/one"],
            ConfigError,
            "training.initial_model: expected a model directory at runs/one, found a folder without model.safetensors; "
            "did you mean runs/one/model?",
        ),
        (
            ["training.initial_model=words.txt"],
            ConfigError,
            "training.initial_model: expected a model directory at words.txt, found a file",
        ),
        (
            ["training.initial_model=runs/two/model"],
            ConfigError,
            "training.initial_model: expected a model directory at runs/two/model, found no folder runs/two",
        ),
        (
            ["text.tokenizer=phone", "text.lexicon=word.txt"],
            ConfigError,
            "text.lexicon: expected a file at word.txt, found none; did",
        ),
        (
            ["text.tokenizer=phone", "text.lexicon=audio"],
            ConfigError,
            "text.lexicon: expected a file at audio, found a folder",
        ),
        (["scoring.folding=timit"], ConfigError, "scoring.folding: expected a file at timit, found none"),
        (
            ["decoding=beam", "decoding.language_model=lm.arpa", "decoding.lm_weight=1"],
            ConfigError,
            "decoding.language_model: expected a file at lm.arpa, found none",
        ),
        (["decoding=beam", "decoding.lexicon=word.txt"], ConfigError, "decoding.lexicon: expected a file at word.txt"),
        (
            ["decoding=beam", "decoding.rescoring_model=empty_model", "decoding.rescoring_weight=1"],
            ConfigError,
            "decoding.rescoring_model: expected a model directory at empty_model, found a folder without",
        ),
        (["run_dir=words.txt"], ConfigError, "run_dir: expected a folder, or a name for one, got words.txt"),
        (["run_dir=words.txt/r"], ConfigError, "run_dir: expected a folder, or a name for one, got words.txt/r"),
        (["run_dir='" + "x" * 300 + "'"], ConfigError, "run_dir: expected a folder to make, got xxx"),
    ],
)
def test_what_is_not_there_is_named_and_nothing_is_written(here, overrides, error, message):
    config = composed(*overrides)
    before = sorted(here.rglob("*"))
    with pytest.raises(error) as raised:
        find_inputs(config)
    assert str(raised.value).startswith(message)
    if not overrides[0].startswith("data.test"):
        with pytest.raises(error):
            train_stage(config)
    assert sorted(here.rglob("*")) == before


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read and write everything")
def test_what_may_not_be_read_or_written(here):
    (here / "dev.jsonl").chmod(0)
    with pytest.raises(ManifestError, match=r"^data\.dev: expected to be allowed to read dev\.jsonl"):
        find_inputs(composed())
    (here / "runs").chmod(0o500)
    with pytest.raises(ConfigError, match=r"^run_dir: expected to be allowed to write into"):
        find_inputs(composed("run_dir=runs/x"))
    (here / "runs").chmod(0o700)


def test_what_a_recipe_makes_is_not_looked_for_before(here):
    config = compose_recipe("digits", ["data=fsdd"])
    find_inputs(config, unmade=here / "data/digits-fsdd")
    with pytest.raises(
        ManifestError, match=r"data/digits-fsdd/train\.jsonl, found .*; `asr prepare digits data=fsdd` makes it"
    ):
        find_inputs(config)


@pytest.mark.parametrize("option", ["data.train", "data.dev", "augment.noise", "augment.rooms"])
def test_manifests_are_read_before_anything_is_written(here, option):
    line = '{"audio_filepath": "a.wav", "duration": 1, "text": "a"}\n'
    for name in ("train", "dev"):
        (here / f"{name}.jsonl").write_text(line)
    (here / "bad.jsonl").write_text(line + "{\n")
    config = composed(f"{option}=bad.jsonl")
    before = sorted(here.rglob("*"))
    with pytest.raises(AsrError, match=r"bad\.jsonl:2: "):
        read_manifests(config)
    with pytest.raises(AsrError, match=r"bad\.jsonl:2: "):
        train_stage(config)
    assert sorted(here.rglob("*")) == before


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (
            ["features.num_mels=300"],
            r"^features\.num_mels: expected few enough for 512 FFT points at 16000 Hz, got 300",
        ),
        (
            ["data.sample_rate=4000", "features.num_mels=80"],
            r"^features\.num_mels: expected few enough for 128 FFT points",
        ),
        (["machine.accelerator=cuda"], r"^machine\.accelerator: expected a CUDA device, found none"),
    ],
)
def test_what_cannot_be_computed_is_refused_before_anything_is_written(here, monkeypatch, overrides, message):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    before = sorted(here.rglob("*"))
    with pytest.raises(ConfigError, match=message):
        train_stage(composed(*overrides))
    assert sorted(here.rglob("*")) == before


def test_options_that_nobody_reads(here):
    with pytest.raises(
        ConfigError, match=r"^data\.options: expected none for custom, which prepares nothing, got \{'size': 3\}"
    ):
        find_run_inputs(composed("data.options.size=3"))
