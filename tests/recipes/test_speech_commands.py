"""Speech Commands in miniature: a folder a word, `_nohash_` in names, lists of two splits, noise, members in `./`."""

import hashlib
import sys
import tarfile

import numpy as np
import pytest
from corpus_imitation import run_recipe, serving, speak

from asr.audio import write_audio
from asr.data.manifest import read_manifest
from asr.errors import ConfigError, CorpusError
from asr.recipe import load_recipe

prepare = load_recipe("speech_commands").prepare
module = sys.modules[prepare.__module__]

TRAIN = ["bed/0a7c2a8d_nohash_0", "bed/0a7c2a8d_nohash_1", "cat/0a7c2a8d_nohash_0", "cat/1b4c9b89_nohash_0"]
DEV = ["bed/2c7c33e8_nohash_0", "cat/2c7c33e8_nohash_0"]
TEST = ["bed/3a70e03b_nohash_0", "cat/3a70e03b_nohash_0", "cat/3a70e03b_nohash_1"]


@pytest.fixture
def corpus(tmp_path):
    folder = tmp_path / "disk" / "speech_commands_v0.02"
    for name in (*TRAIN, *DEV, *TEST):
        speak(folder / f"{name}.wav", name.partition("/")[0] * 2)
    noise = folder / "_background_noise_"
    noise.mkdir()
    (noise / "README.md").write_text("what these are")
    for name in ("running_tap", "white_noise"):
        write_audio(noise / f"{name}.wav", 0.1 * np.random.default_rng(0).standard_normal(32000).astype("f4"), 16000)
    (folder / "validation_list.txt").write_text("".join(f"{name}.wav\n" for name in DEV))
    (folder / "testing_list.txt").write_text("".join(f"{name}.wav\n" for name in TEST))
    (folder / "LICENSE").write_text("CC BY 4.0")
    (folder / ".DS_Store").write_bytes(b"\0")
    return folder


def ids(path):
    return [utterance.id for utterance in read_manifest(path)]


def test_from_disk_to_a_score(corpus, tmp_path):
    scores = run_recipe("speech_commands", [f"+data.options.corpus_dir={corpus}"], tmp_path)
    assert scores["test"]["reference_words"] == 3
    prepared = tmp_path / "prepared"
    assert ids(prepared / "train.jsonl") == [name.replace("/", "-") for name in TRAIN]
    assert ids(prepared / "dev.jsonl") == [name.replace("/", "-") for name in DEV]
    test = read_manifest(prepared / "test.jsonl")
    assert [(u.id, u.text, u.speaker) for u in test] == [
        ("bed-3a70e03b_nohash_0", "bed", "3a70e03b"),
        ("cat-3a70e03b_nohash_0", "cat", "3a70e03b"),
        ("cat-3a70e03b_nohash_1", "cat", "3a70e03b"),
    ]
    noise = read_manifest(prepared / "noise.jsonl")
    assert [(u.id, u.text, u.duration) for u in noise] == [("running_tap", "", 2.0), ("white_noise", "", 2.0)]


def test_download(corpus, tmp_path, monkeypatch):
    archive = tmp_path / "mirror" / "data" / "speech_commands_v0.02.tar.gz"
    archive.parent.mkdir(parents=True)
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(corpus, arcname=".")  # the real one has no folder of its own, and its members begin with ./
    out = tmp_path / "data" / "speech_commands"
    with serving(tmp_path / "mirror") as url:
        with pytest.raises(CorpusError, match="expected sha256 af14739e"):
            prepare("speech_commands", {"mirror": url}, out, None)
        monkeypatch.setitem(module.SHA256, archive.name, hashlib.sha256(archive.read_bytes()).hexdigest())
        prepare("speech_commands", {"mirror": url}, out, None)
    assert len(ids(out / "train.jsonl")) == 4


@pytest.mark.parametrize("place", ["speech_commands_v0.02", "SpeechCommands/speech_commands_v0.02", "speech_commands"])
def test_a_corpus_in_asr_data_is_used_in_place(corpus, tmp_path, place):
    (tmp_path / "asr_data" / place).parent.mkdir(parents=True)
    corpus.rename(tmp_path / "asr_data" / place)
    prepare("speech_commands", {}, tmp_path / "out", tmp_path / "asr_data")
    (first, *_) = read_manifest(tmp_path / "out" / "train.jsonl")
    assert first.audio_filepath == str(tmp_path / "asr_data" / place / "bed/0a7c2a8d_nohash_0.wav")


def append(path, text):
    path.write_text(path.read_text() + text)


BROKEN = {
    "listed, not there": (
        lambda folder: append(folder / "testing_list.txt", "dog/3a70e03b_nohash_0.wav\n"),
        r"testing_list\.txt:4: no such recording: .*dog/3a70e03b_nohash_0\.wav",
    ),
    "in both": (
        lambda folder: append(folder / "testing_list.txt", f"{DEV[0]}.wav\n"),
        r"bed/2c7c33e8_nohash_0\.wav and 0 more recordings are in both lists",
    ),
    "no speaker": (
        lambda folder: speak(folder / "bed" / "somebody.wav", "bed"),
        r"somebody\.wav: expected a name like 0a7c2a8d_nohash_0\.wav",
    ),
    "no list": (lambda folder: (folder / "testing_list.txt").unlink(), r"without testing_list\.txt"),
    "empty audio": (lambda folder: (folder / f"{TEST[0]}.wav").write_bytes(b""), r"the file is empty"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_corpus_is_named_and_leaves_nothing(corpus, tmp_path, case):
    spoil, message = BROKEN[case]
    spoil(corpus)
    with pytest.raises(CorpusError, match=message):
        prepare("speech_commands", {"corpus_dir": str(corpus)}, tmp_path / "out", None)
    assert not (tmp_path / "out").exists()


def test_names_and_options(tmp_path):
    with pytest.raises(ConfigError, match="got 'commands'"):
        prepare("commands", {}, tmp_path, None)
    with pytest.raises(ConfigError, match="unknown option 'version'"):
        prepare("speech_commands", {"version": "0.01"}, tmp_path, None)
