"""LJ Speech in miniature: metadata.csv with its quotation marks, abbreviations and letters beyond ASCII."""

import doctest
import hashlib
import sys

import pytest
from corpus_imitation import pack, run_recipe, serving, speak
from hypothesis import given
from hypothesis import strategies as st

from asr.data.manifest import read_manifest
from asr.errors import ConfigError, CorpusError
from asr.recipe import load_recipe

prepare = load_recipe("ljspeech").prepare
module = sys.modules[prepare.__module__]

# id, text as printed, text with its numbers spelt out
LINES = [
    ("LJ001-0001", "A bad cab, 2 cabs", "A bad cab, two cabs"),
    ("LJ001-0002", 'the "raison d\'être"', 'the "raison d\'être"'),
    ("LJ002-0010", "Mr. Dad and No. 5; No. He did.", "Mr. Dad and No. five; No. He did."),
    ("LJ049-0008", "Dab (a) cab-man.", "Dab (a) cab-man."),
    ("LJ050-0028", "Bad -- bad", "Bad -- bad"),
    ("LJ050-0029", "“Add” a cab…", "“Add” a cab…"),
]


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    folder = tmp_path_factory.mktemp("disk") / "LJSpeech-1.1"
    for identifier, text, _ in LINES:
        speak(folder / "wavs" / f"{identifier}.wav", text, sample_rate=22050)
    (folder / "metadata.csv").write_text("".join("|".join(line) + "\n" for line in LINES), encoding="utf-8")
    return folder


def test_from_disk_to_a_score(corpus, tmp_path):
    scores = run_recipe("ljspeech", [f"+data.options.corpus_dir={corpus}"], tmp_path)
    assert scores["test"]["reference_words"] == 3
    splits = {split: read_manifest(tmp_path / "prepared" / f"{split}.jsonl") for split in ("train", "dev", "test")}
    assert {split: [u.text for u in utterances] for split, utterances in splits.items()} == {
        "train": ["a bad cab two cabs", "the raison d'etre", "mister dad and number five no he did"],
        "dev": ["dab a cab man", "bad bad"],
        "test": ["add a cab"],
    }
    (test,) = splits["test"]
    assert (test.id, test.speaker, test.lang, dict(test.extra)) == ("LJ050-0029", "LJ", "en", {"gender": "female"})


def test_download(corpus, tmp_path, monkeypatch):
    archive = pack(tmp_path / "mirror/data/speech/LJSpeech-1.1.tar.bz2", corpus.parent, "LJSpeech-1.1")
    options = {"corpus_dir": ""}
    out = tmp_path / "data" / "ljspeech"
    with serving(tmp_path / "mirror") as url:
        with pytest.raises(CorpusError, match="expected sha256 be1a3045"):
            prepare("ljspeech", {**options, "mirror": url}, out, None)
        monkeypatch.setitem(module.SHA256, archive.name, hashlib.sha256(archive.read_bytes()).hexdigest())
        prepare("ljspeech", {**options, "mirror": url}, out, None)
    assert len(read_manifest(out / "train.jsonl")) == 3


def test_what_is_wrong_is_named(corpus, tmp_path):
    with pytest.raises(
        CorpusError, match=r"corpus_dir: expected the folder of ljspeech, with metadata\.csv, wavs in it"
    ):
        prepare("ljspeech", {"corpus_dir": str(tmp_path)}, tmp_path / "out", None)
    with pytest.raises(ConfigError, match="unknown option 'parts'"):
        prepare("ljspeech", {"parts": ["train"]}, tmp_path / "out", None)
    with pytest.raises(ConfigError, match="got 'ljs'"):
        prepare("ljs", {}, tmp_path / "out", None)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Dr. Co. St. Capt. Esq. Drs.", "doctor company saint captain esquire doctors"),
        ("Mrs. Smith & Co.", "missus smith and company"),
        ("the prisoners' walls", "the prisoners' walls"),
        ("he said 'halt' there", "he said halt there"),
        ("Müller’s café, Cœur", "muller's cafe coeur"),
        ("x -- ' -- y", "x y"),
        ("forty-two: [sic]", "forty two sic"),
    ],
)
def test_texts_become_what_is_heard(text, words):
    assert module.spoken_text(text) == words


def test_the_example_in_the_docstring():
    assert doctest.testmod(module) == (0, 1)


@given(st.text())
def test_any_text_becomes_letters(text):
    spoken = module.spoken_text(text)
    assert set(spoken) <= set("abcdefghijklmnopqrstuvwxyz' ")
    assert spoken == " ".join(spoken.split())
