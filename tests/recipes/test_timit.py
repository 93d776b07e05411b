"""TIMIT in miniature: its real tree, headers and phone transcripts, made-up audio."""

import json
import shutil

import numpy as np
import pytest
import soundfile
from corpus_imitation import run_recipe
from helpers import sing

from asr.audio import read_audio
from asr.data.manifest import read_manifest
from asr.errors import ConfigError, CorpusError
from asr.recipe import load_recipe

prepare = load_recipe("timit").prepare
RATE = 16000
PHONES = (
    "iy ih eh ey ae aa aw ay ah ao oy ow uh uw ux er ax ix axr ax-h jh ch s sh z zh f th v dh m n ng em en eng nx "
    "l r w y hh hv el b d g p t k dx q bcl dcl gcl pcl tcl kcl pau epi h#"
)
# Speaker's folder -> sentence -> phones. FCJF0 is a training speaker, FAKS0 a development one, FELC0 one of the core
# test; MSJS1 is in no set. SA1 and SA2 are the sentences that everybody reads.
TREE = {
    "TRAIN/DR1/FCJF0": {"SA1": "h# sh iy h#", "SA2": "h# d ow n h#", "SX127": f"h# {PHONES}", "SI648": "h# ae q t h#"},
    "TRAIN/DR4/MESG0": {"SA1": "h# sh iy h#", "SX72": "h# bcl b ax-h dcl d h#"},
    "TEST/DR1/FAKS0": {"SA2": "h# d ow n h#", "SX43": "h# kcl k ae bcl b h#"},
    "TEST/DR1/FELC0": {"SA1": "h# sh iy h#", "SX126": "h# q ae dcl d h#"},
    "TEST/DR1/MSJS1": {"SX9": "h# dh ax h#"},
}
NUM_UTTERANCES = {"train": 3, "dev": 1, "test": 1}


def sphere(samples, name):
    """A file as on the CD: NIST's SPHERE header of 1,024 bytes, 16-bit samples, low byte first."""
    header = (
        "NIST_1A\n   1024\ndatabase_id -s5 TIMIT\ndatabase_version -s3 1.0\n"
        f"utterance_id -s{len(name)} {name}\nchannel_count -i 1\nsample_count -i {len(samples)}\n"
        f"sample_rate -i {RATE}\nsample_min -i {samples.min()}\nsample_max -i {samples.max()}\n"
        "sample_n_bytes -i 2\nsample_byte_format -s2 01\nsample_sig_bits -i 16\nend_head\n"
    )
    return header.encode().ljust(1024) + samples.astype("<i2").tobytes()


def write_sentence(folder, name, phones, riff=False):
    """The four files of a sentence; its phones stand one after another."""
    letters = "".join(character if "a" <= character <= "z" else " " for character in phones[:16])
    samples = (np.repeat(sing(letters, np.random.default_rng(0)), 2) * 32767).astype(np.int16)
    if riff:
        soundfile.write(folder / f"{name}.WAV.wav", samples, RATE, format="WAV")
    else:
        (folder / f"{name}.WAV").write_bytes(sphere(samples, f"{folder.name[1:]}_{name}".lower()))
    ends = np.linspace(0, len(samples), len(phones.split()) + 1).astype(int)
    lines = [f"{begin} {end} {phone}\n" for begin, end, phone in zip(ends, ends[1:], phones.split())]
    (folder / f"{name}.PHN").write_text("".join(lines))
    (folder / f"{name}.WRD").write_text(f"0 {len(samples)} word\n")
    (folder / f"{name}.TXT").write_text(f"0 {len(samples)} Word. \n")


def imitate(root, riff=False):
    """A folder TIMIT in `root`."""
    for speaker, sentences in TREE.items():
        folder = root / "TIMIT" / speaker
        folder.mkdir(parents=True)
        for name, phones in sentences.items():
            write_sentence(folder, name, phones, riff)
    (root / "TIMIT" / "DOC").mkdir()
    return root / "TIMIT"


def in_lower_case(corpus, target):
    for path in corpus.rglob("*"):
        if path.is_file():
            new = target / str(path.relative_to(corpus)).lower()
            new.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, new)
    return target


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    return imitate(tmp_path_factory.mktemp("disk"))


@pytest.fixture(autouse=True)
def numbers(monkeypatch):
    """What the whole corpus has thousands of, this one has five of."""
    monkeypatch.setitem(prepare.__globals__, "NUM_UTTERANCES", NUM_UTTERANCES)


def test_graves_set_up_from_disk_to_a_score(corpus, tmp_path):
    option = f"+data.options.corpus_dir={corpus}"
    scores = run_recipe("timit", [option, "decoding.beam_width=4"], tmp_path)
    # h# q ae dcl d h#: of six phones the glottal stop counts for nothing once they are folded to 39
    assert scores["core"]["reference_words"] == 5
    run = tmp_path / "run"
    records = [json.loads(line) for line in (run / "history.jsonl").read_text().splitlines()]
    assert len([r for r in records if r["kind"] == "step" and r["epoch"] == 0]) == 3  # one utterance each
    tokens = json.loads((run / "tokenizer.json").read_text())["vocab"]
    assert len(tokens) == 62  # 61 phones and the blank
    model = json.loads((run / "model" / "config.json").read_text())
    assert model["features"]["deltas"] == 2
    # the second stage: noise on the weights, from where the first one ended
    second = ["optim.weight_noise=0.075", f"training.initial_model={run / 'model'}"]
    assert run_recipe("timit", [option, *second, "decoding.beam_width=4"], tmp_path / "noise")["core"]


def test_the_modern_set_up(corpus, tmp_path):
    scores = run_recipe("timit_modern", [f"+data.options.corpus_dir={corpus}"], tmp_path)
    assert scores["core"]["utterances"] == 1


def test_the_sets_are_the_usual_ones(corpus, tmp_path):
    prepare("timit", {"corpus_dir": str(corpus)}, tmp_path / "out", None)
    train, dev, test = (read_manifest(tmp_path / "out" / f"{split}.jsonl") for split in NUM_UTTERANCES)
    assert [u.id for u in train] == ["fcjf0-si648", "fcjf0-sx127", "mesg0-sx72"]
    assert [u.id for u in dev] == ["faks0-sx43"]
    (utterance,) = test
    assert (utterance.id, utterance.text, utterance.speaker) == ("felc0-sx126", "h# q ae dcl d h#", "felc0")
    assert utterance.extra == {"gender": "female", "dialect": "dr1"}
    assert utterance.audio_filepath == str(corpus / "TEST/DR1/FELC0/SX126.WAV")
    audio = read_audio(utterance.audio_filepath, RATE)
    assert len(audio.waveform) == round(utterance.duration * RATE)
    assert audio.warnings == ()
    assert np.abs(audio.waveform).max() > 0.1


@pytest.mark.parametrize("place", ["timit", "TIMIT", "timit/data", "timit/TIMIT"])
@pytest.mark.parametrize("lower", [False, True], ids=["upper case", "lower case"])
def test_copies_are_found_in_asr_data(corpus, tmp_path, place, lower):
    target = tmp_path / "data" / place
    if lower:
        in_lower_case(corpus, target)
    else:
        target.parent.mkdir(parents=True, exist_ok=True)
        target.symlink_to(corpus)
    prepare("timit", {}, tmp_path / "out", tmp_path / "data")
    assert [u.id for u in read_manifest(tmp_path / "out" / "test.jsonl")] == ["felc0-sx126"]


def test_copies_converted_to_riff(tmp_path):
    corpus = imitate(tmp_path, riff=True)
    prepare("timit", {"corpus_dir": str(corpus.parent)}, tmp_path / "out", None)  # the folder around it does, too
    (utterance,) = read_manifest(tmp_path / "out" / "test.jsonl")
    assert utterance.audio_filepath.endswith("TEST/DR1/FELC0/SX126.WAV.wav")


@pytest.mark.parametrize("options", [{}, {"corpus_dir": "nowhere"}])
def test_without_the_corpus_it_says_where_it_is_sold(tmp_path, options):
    with pytest.raises(CorpusError, match=r"TRAIN and TEST.*LDC93S1 \(https://catalog\.ldc\.upenn\.edu/LDC93S1\)"):
        prepare("timit", options, tmp_path / "out", None)
    assert not (tmp_path / "out").exists()


def test_a_part_of_the_corpus_is_refused(corpus, tmp_path):
    copy = shutil.copytree(corpus, tmp_path / "TIMIT")
    shutil.rmtree(copy / "TRAIN" / "DR4")
    with pytest.raises(CorpusError, match=r"expected 3 \(train\), 1 \(dev\), 1 \(test\) utterances, got 2 \(train\)"):
        prepare("timit", {"corpus_dir": str(copy)}, tmp_path / "out", None)


def test_audio_that_is_missing(corpus, tmp_path):
    copy = shutil.copytree(corpus, tmp_path / "TIMIT")
    (copy / "TRAIN/DR1/FCJF0/SX127.WAV").unlink()
    with pytest.raises(CorpusError, match=r"SX127\.PHN: expected its audio beside it, sx127\.wav or sx127\.wav\.wav"):
        prepare("timit", {"corpus_dir": str(copy)}, tmp_path / "out", None)


@pytest.mark.parametrize("line", ["0 100 xx", "0 100", "0.5 1.0 iy", "-5 10 iy", "\xff\xfe"])
def test_lines_that_are_no_phones(corpus, tmp_path, line):
    copy = shutil.copytree(corpus, tmp_path / "TIMIT")
    (copy / "TRAIN/DR1/FCJF0/SX127.PHN").write_bytes(b"0 10 h#\n" + line.encode("latin-1") + b"\n")
    with pytest.raises(
        CorpusError, match=r"SX127\.PHN:2: expected begin, end \(samples\) and one of TIMIT's 61 phones"
    ):
        prepare("timit", {"corpus_dir": str(copy)}, tmp_path / "out", None)


def test_names_and_options_it_does_not_have(tmp_path):
    with pytest.raises(ConfigError, match="timid"):
        prepare("timid", {}, tmp_path / "out", None)
    with pytest.raises(ConfigError, match="num_phones"):
        prepare("timit", {"num_phones": 48}, tmp_path / "out", None)


def test_the_speakers_are_fifty_and_twenty_four_and_distinct():
    from asr_recipe_timit.speakers import CORE_TEST_SPEAKERS, DEV_SPEAKERS

    assert (len(DEV_SPEAKERS), len(CORE_TEST_SPEAKERS)) == (50, 24)
    assert not DEV_SPEAKERS & CORE_TEST_SPEAKERS
    assert sum(speaker.startswith("f") for speaker in CORE_TEST_SPEAKERS) == 8  # one woman of each dialect region
