"""AN4 in miniature: its real tree, headers and transcripts, made-up audio."""

import hashlib
import shutil

import numpy as np
import pytest
from corpus_imitation import pack, run_recipe, serving
from helpers import sing

from asr.audio import read_audio
from asr.data.manifest import read_manifest
from asr.errors import ConfigError, CorpusError
from asr.recipe import load_recipe

prepare = load_recipe("an4").prepare
RATE = 16000
# File id -> transcript as it stands there: letters that are spelt are words, and the test has no sentence marks.
TRAIN = {
    "an4_clstk/fash/an251-fash-b": "<s> YES </s>",
    "an4_clstk/fash/cen5-fash-b": "<s> A B C A D </s>",
    "an4_clstk/ffmm/cen1-ffmm-b": "<s> D A D </s>",
    "an4_clstk/mblb/an86-mblb-b": "<s> RUBOUT B A D </s>",
    "an4_clstk/mmxg/cen4-mmxg-b": "<s> FIVE YES </s>",
}
TEST = {
    "an4test_clstk/fcaw/an406-fcaw-b": "RUBOUT A B FIVE",
    "an4test_clstk/mmxg2/cen8-mmxg2-b": "YES",
}
NUM_UTTERANCES = {"train": 5, "test": 2}


def sphere(text):
    """A recording as in an4_sphere.tar.gz: NIST's SPHERE header of 1,024 bytes, 16-bit samples, high byte first."""
    samples = (np.repeat(sing(text, np.random.default_rng(0)), 2) * 32767).astype(np.int16)
    header = (
        f"NIST_1A\n   1024\nchannel_count -i 1\nsample_count -i {len(samples)}\nsample_rate -i {RATE}\n"
        "sample_n_bytes -i 2\nsample_byte_format -s2 10\nsample_sig_bits -i 16\nsample_coding -s3 pcm\nend_head\n"
    )
    return header.encode().ljust(1024) + samples.astype(">i2").tobytes()


def imitate(root):
    """A folder an4 in `root`."""
    corpus = root / "an4"
    (corpus / "etc").mkdir(parents=True)
    for part, transcripts in (("train", TRAIN), ("test", TEST)):
        lines = []
        for place, text in transcripts.items():
            path = corpus / "wav" / f"{place}.sph"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(sphere(text.replace("<s>", "").replace("</s>", "").strip().lower()))
            lines.append(f"{text} ({path.stem})\n")
        (corpus / "etc" / f"an4_{part}.fileids").write_text("".join(f"{place}\n" for place in transcripts))
        (corpus / "etc" / f"an4_{part}.transcription").write_text("".join(lines))
    return corpus


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    return imitate(tmp_path_factory.mktemp("disk"))


@pytest.fixture(autouse=True)
def numbers(monkeypatch):
    """What the whole corpus has a thousand of, this one has seven of."""
    monkeypatch.setitem(prepare.__globals__, "NUM_UTTERANCES", NUM_UTTERANCES)


def test_from_the_download_to_a_score(corpus, tmp_path):
    archive = pack(tmp_path / "server" / "an4_sphere.tar.gz", corpus.parent, "an4")
    with serving(archive.parent) as address:
        options = [f"+data.options.url={address}/an4_sphere.tar.gz", "data.batch_seconds=2.5"]
        scores = run_recipe("an4", options, tmp_path)
    assert (scores["test"]["utterances"], scores["test"]["reference_words"]) == (2, 5)
    (first, *_), (dev, *_), test = (
        read_manifest(tmp_path / "prepared" / f"{split}.jsonl") for split in ("train", "dev", "test")
    )
    assert first.id == "cen1-ffmm-b"
    assert (dev.id, dev.text, dev.speaker) == ("an251-fash-b", "yes", "fash")
    assert [u.text for u in test] == ["rubout a b five", "yes"]
    assert test[0].extra == {"gender": "female"}
    place = tmp_path / "downloads/an4/unpacked/an4/wav/an4test_clstk/fcaw/an406-fcaw-b.sph"
    assert test[0].audio_filepath == str(place)
    waveform = read_audio(place, RATE).waveform
    expected = np.repeat(sing("rubout a b five", np.random.default_rng(0)), 2)
    np.testing.assert_allclose(waveform, expected, atol=1e-4)  # the bytes are in the right order


def test_speakers_for_development_are_in_no_training(corpus, tmp_path):
    """Of every eight speakers in alphabetical order the first."""
    prepare("an4", {"corpus_dir": str(corpus)}, tmp_path / "out", None)
    speakers = {
        split: {u.speaker for u in read_manifest(tmp_path / "out" / f"{split}.jsonl")} for split in ("train", "dev")
    }
    assert speakers == {"train": {"ffmm", "mblb", "mmxg"}, "dev": {"fash"}}


@pytest.mark.parametrize("place", ["an4", "an4/an4"])
def test_the_corpus_in_asr_data_is_found(corpus, tmp_path, place):
    (tmp_path / "data" / place).parent.mkdir(parents=True)
    (tmp_path / "data" / place).symlink_to(corpus)
    prepare("an4", {}, tmp_path / "out", tmp_path / "data")
    assert len(read_manifest(tmp_path / "out" / "test.jsonl")) == 2


def test_a_checksum_that_is_given_is_compared(corpus, tmp_path):
    archive = pack(tmp_path / "server" / "an4_sphere.tar.gz", corpus.parent, "an4")
    with serving(archive.parent) as address:
        options = {"url": f"{address}/an4_sphere.tar.gz", "sha256": "0" * 64}
        with pytest.raises(CorpusError, match=hashlib.sha256(archive.read_bytes()).hexdigest()):
            prepare("an4", options, tmp_path / "out" / "an4", None)
        options["sha256"] = hashlib.sha256(archive.read_bytes()).hexdigest()
        prepare("an4", options, tmp_path / "out" / "an4", None)
    prepare("an4", options, tmp_path / "out" / "an4", None)  # the server is gone: nothing is fetched again


def edit(corpus, name, old, new):
    path = corpus / "etc" / name
    path.write_text(path.read_text().replace(old, new))


@pytest.mark.parametrize(
    ("name", "old", "new", "message"),
    [
        (
            "an4_train.transcription",
            "<s> YES </s> (an251-fash-b)\n",
            "",
            r"got 5 and 4; in only one of the two: an251-fash-b",
        ),
        ("an4_test.fileids", "an4test_clstk/fcaw/an406-fcaw-b\n", "", r"expected 2 recordings, .* an406-fcaw-b"),
        ("an4_train.transcription", " (an251-fash-b)", "", r"train\.transcription:1: expected words and a new"),
        ("an4_train.transcription", "an251-fash-b", "cen5-fash-b", r"train\.transcription:2: expected words and a new"),
        ("an4_train.transcription", "<s> YES </s>", "<s> </s>", r"train\.transcription:1: expected words"),
    ],
)
def test_lists_and_transcripts_that_do_not_fit(corpus, tmp_path, name, old, new, message):
    copy = shutil.copytree(corpus, tmp_path / "an4")
    edit(copy, name, old, new)
    with pytest.raises(CorpusError, match=message):
        prepare("an4", {"corpus_dir": str(copy)}, tmp_path / "out", None)
    assert not (tmp_path / "out").exists()


def test_the_copy_without_headers_is_told_from_a_missing_recording(corpus, tmp_path):
    copy = shutil.copytree(corpus, tmp_path / "an4")
    path = copy / "wav/an4_clstk/fash/an251-fash-b.sph"
    path.rename(path.with_suffix(".raw"))
    with pytest.raises(CorpusError, match=r"an251-fash-b\.raw has no header; take the archive an4_sphere\.tar\.gz"):
        prepare("an4", {"corpus_dir": str(copy)}, tmp_path / "out", None)
    path.with_suffix(".raw").unlink()
    with pytest.raises(CorpusError, match=r"expected the recording .*an251-fash-b\.sph, found none; remove"):
        prepare("an4", {"corpus_dir": str(copy)}, tmp_path / "out", None)


def test_names_and_options_it_does_not_have(tmp_path):
    with pytest.raises(ConfigError, match="an5"):
        prepare("an5", {}, tmp_path / "out", None)
    with pytest.raises(ConfigError, match="mirrors"):
        prepare("an4", {"mirrors": "x"}, tmp_path / "out", None)
