"""speechocean762 in miniature: Kaldi directories with tabs and capitals, WAVE/SPEAKERxxxx, ages, scores."""

import hashlib
import json
import sys

import pytest
from corpus_imitation import pack, pack_evil, run_recipe, serving, speak
from helpers import needs_real_speech, real_data

from asr.data.manifest import read_manifest
from asr.errors import ConfigError, CorpusError
from asr.recipe import load_recipe

prepare = load_recipe("speechocean762").prepare
module = sys.modules[prepare.__module__]

# id -> text as it stands there. The first four digits after the zero are the speaker; 0001 is a development speaker.
TRAIN = {"000010011": "A DARK BEAR", "000050003": "MARK'S DOG", "000050010": "A BAD DOG", "000060015": "BE GLAD"}
TEST = {"000030012": "MARK IS GOING", "000030024": "KATE LOVES"}
AGES = {"0001": 6, "0005": 6, "0006": 33, "0003": 7}


def write_part(folder, part, texts):
    directory = folder / part
    directory.mkdir(parents=True)
    speakers = {id: id[1:5] for id in texts}
    paths = {id: f"WAVE/SPEAKER{speaker}/{id}.WAV" for id, speaker in speakers.items()}
    for id, path in paths.items():
        speak(folder / path, texts[id])
    lines = {
        "wav.scp": [f"{id}\t{path}" for id, path in paths.items()],
        "text": [f"{id}\t{text}" for id, text in texts.items()],
        "utt2spk": [f"{id} {speaker}" for id, speaker in speakers.items()],
        "spk2age": [f"{speaker}\t{AGES[speaker]}" for speaker in dict.fromkeys(speakers.values())],
        "spk2gender": [f"{speaker}\tm" for speaker in dict.fromkeys(speakers.values())],
    }
    for name, content in lines.items():
        (directory / name).write_text("\n".join(content) + "\n")


@pytest.fixture
def corpus(tmp_path):
    folder = tmp_path / "disk" / "speechocean762"
    write_part(folder, "train", TRAIN)
    write_part(folder, "test", TEST)
    (folder / "WAVE" / ".DS_Store").write_bytes(b"\0")  # it is really there
    (folder / "resource").mkdir()
    (folder / "resource" / "scores.json").write_text(json.dumps({"000030012": {"text": TEST["000030012"], "total": 8}}))
    return folder


def splits(folder):
    return {split: read_manifest(folder / f"{split}.jsonl") for split in ("train", "dev", "test")}


def test_from_disk_to_a_score(corpus, tmp_path):
    scores = run_recipe("speechocean762", [f"+data.options.corpus_dir={corpus.parent}"], tmp_path)
    assert scores["test"]["reference_words"] == 5
    made = splits(tmp_path / "prepared")
    assert {split: [u.id for u in utterances] for split, utterances in made.items()} == {
        "train": ["000050003", "000050010", "000060015"],
        "dev": ["000010011"],
        "test": ["000030012", "000030024"],
    }
    first, second = made["test"]
    assert (first.text, first.speaker) == ("mark is going", "0003")
    assert dict(first.extra) == {"gender": "m", "age": 7, "pronunciation": 8.0}
    assert dict(second.extra) == {"gender": "m", "age": 7}
    assert first.audio_filepath == str(corpus / "WAVE/SPEAKER0003/000030012.WAV")
    assert first.duration == pytest.approx(13 * 0.12 + 0.2, abs=1e-6)  # 13 letters and spaces, 0.1 s at both ends
    assert made["train"][0].text == "mark's dog"


def test_download(corpus, tmp_path):
    archive = pack(tmp_path / "mirror/resources/101/speechocean762.tar.gz", corpus.parent, "speechocean762")
    digest, out = hashlib.sha256(archive.read_bytes()).hexdigest(), tmp_path / "data" / "speechocean762"
    with serving(tmp_path / "mirror") as url:
        with pytest.raises(CorpusError, match="expected sha256 0000"):
            prepare("speechocean762", {"mirror": url, "sha256": "0" * 64}, out, None)
        assert not out.exists()
        # ASR_DATA holds a folder of the same name with other things in it
        (tmp_path / "asr_data" / "speechocean762" / "0001").mkdir(parents=True)
        prepare("speechocean762", {"mirror": url, "sha256": digest}, out, tmp_path / "asr_data")
    assert len(splits(out)["train"]) == 3
    prepare("speechocean762", {}, out, None)  # again, from what was unpacked


def test_an_evil_archive_is_refused(tmp_path):
    pack_evil(tmp_path / "mirror/resources/101/speechocean762.tar.gz")
    with serving(tmp_path / "mirror") as url, pytest.raises(CorpusError, match="refused, nothing was unpacked"):
        prepare("speechocean762", {"mirror": url}, tmp_path / "data" / "so", None)
    assert not (tmp_path / "data" / "downloads" / "speechocean762" / "unpacked").exists()


def test_a_corpus_in_asr_data_is_used_in_place(corpus, tmp_path):
    prepare("speechocean762", {}, tmp_path / "out", corpus.parent)
    assert len(splits(tmp_path / "out")["test"]) == 2


def share_a_speaker(folder):
    (folder / "train/utt2spk").write_text("".join(f"{id} 0003\n" for id in TRAIN))
    (folder / "train/spk2age").write_text("0003 7\n")


def lose_the_development_speakers(folder):
    (folder / "train/utt2spk").write_text("".join(f"{id} 0005\n" for id in TRAIN))


BROKEN = {
    "no audio": (
        lambda folder: (folder / "WAVE/SPEAKER0005/000050003.WAV").unlink(),
        r"train/wav\.scp:2: no such audio",
    ),
    "no text": (
        lambda folder: (folder / "test/text").write_text("000030012 A\n"),
        r"lacks 1 ids of wav\.scp: 000030024",
    ),
    "no age": (lambda folder: (folder / "test/spk2age").write_text("0009 7\n"), r"spk2age: expected an age for every"),
    "odd age": (lambda folder: (folder / "test/spk2age").write_text("0003 six\n"), r"spk2age:1: expected an age"),
    "scores": (lambda folder: (folder / "resource/scores.json").write_text("[]"), r"scores\.json: expected a total"),
    "no dev": (lose_the_development_speakers, "none of the development speakers"),
    "shared": (share_a_speaker, r"expected speakers in train or in test, got \['0003'\] in both"),
    "cut short": (lambda folder: (folder / "test/wav.scp").unlink(), r"without test/wav\.scp"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_corpus_is_named_and_leaves_nothing(corpus, tmp_path, case):
    spoil, message = BROKEN[case]
    spoil(corpus)
    with pytest.raises(CorpusError, match=message):
        prepare("speechocean762", {"corpus_dir": str(corpus)}, tmp_path / "out", None)
    assert not (tmp_path / "out").exists()


def test_names_and_options(tmp_path):
    with pytest.raises(ConfigError, match="expected speechocean762 or speechocean762_subset, got 'so'"):
        prepare("so", {}, tmp_path, None)
    with pytest.raises(ConfigError, match="unknown option 'parts'"):
        prepare("speechocean762", {"parts": []}, tmp_path, None)
    with pytest.raises(ConfigError, match="has none, got mirror"):
        prepare("speechocean762_subset", {"mirror": ""}, tmp_path, None)
    with pytest.raises(CorpusError, match="ASR_DATA"):
        prepare("speechocean762_subset", {}, tmp_path / "out", None)


@needs_real_speech
def test_the_real_subset(tmp_path):
    prepare("speechocean762_subset", {}, tmp_path / "out", real_data())
    made = splits(tmp_path / "out")
    assert {split: len(utterances) for split, utterances in made.items()} == {"train": 2260, "dev": 240, "test": 2000}
    speakers = {split: {u.speaker for u in utterances} for split, utterances in made.items()}
    assert {split: len(names) for split, names in speakers.items()} == {"train": 113, "dev": 12, "test": 100}
    assert not speakers["test"] & (speakers["train"] | speakers["dev"])
    assert not speakers["dev"] & speakers["train"]
    assert {speaker.removeprefix("so762-") for speaker in speakers["dev"]} == module.DEV_SPEAKERS
