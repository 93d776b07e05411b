"""LibriSpeech in miniature: real names and transcripts, made-up audio."""

import gzip
import hashlib
import sys

import pytest
from corpus_imitation import pack, pack_evil, run_recipe, serving, speak
from helpers import needs_real_speech, real_data

from asr.data.manifest import read_manifest
from asr.errors import ConfigError, CorpusError
from asr.recipe import load_recipe

prepare = load_recipe("librispeech").prepare

# Part -> reader, chapter and lines of the transcript.
TREE = {
    "train-clean-100": [("103", "1240", ["A BAD CAB", "DAB A CAB", "ADD A CAB"]), ("60", "121082", ["CAB", "DAD'S"])],
    "dev-clean": [("84", "121123", ["BAD", "A CAB"])],
    "dev-other": [("116", "288045", ["ABBA"])],
    "test-clean": [("61", "70968", ["DAB", "BAD DAD"])],
    "test-other": [("367", "130732", ["CAB A DAB"])],
}
SPEAKERS = """\
;ID  |SEX| SUBSET           |MINUTES| NAME
60   | M | train-clean-100  | 20.18 | |CBW|Simon
61   | M | test-clean       | 8.08  | Paul-Gabriel Wiener
84   | F | dev-clean        | 8.02  | Christie Nowak
103  | F | train-clean-100  | 30.32 | Karen Savage
116  | U | dev-other        | 8.10  | nobody knows
"""


def imitate(root, parts=TREE):
    """A folder LibriSpeech in `root`."""
    corpus = root / "LibriSpeech"
    for number, part in enumerate(parts):
        for reader, chapter, lines in TREE[part]:
            folder = corpus / part / reader / chapter
            for position, text in enumerate(lines):
                speak(folder / f"{reader}-{chapter}-{position:04d}.flac", text, seed=number)
            transcript = "".join(f"{reader}-{chapter}-{i:04d} {text}\n" for i, text in enumerate(lines))
            (folder / f"{reader}-{chapter}.trans.txt").write_text(transcript)
    (corpus / "SPEAKERS.TXT").write_text(SPEAKERS)
    return corpus


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    return imitate(tmp_path_factory.mktemp("disk"))


def test_from_disk_to_a_score(corpus, tmp_path):
    scores = run_recipe("librispeech", [f"+data.options.corpus_dir={corpus}"], tmp_path)
    assert {name: (score["utterances"], score["reference_words"]) for name, score in scores.items()} == {
        "test-clean": (2, 3),
        "test-other": (1, 3),
    }
    made = tmp_path / "prepared"
    assert sorted(path.name for path in made.iterdir()) == sorted(
        [*(f"{part}.jsonl" for part in TREE), "lm-train.txt", "prepared.json"]
    )
    first, *_, last = read_manifest(made / "train-clean-100.jsonl")
    assert (first.id, first.text, first.speaker, first.lang) == ("103-1240-0000", "a bad cab", "103", "en")
    assert first.audio_filepath == str(corpus / "train-clean-100/103/1240/103-1240-0000.flac")
    assert (first.extra, last.extra) == ({"gender": "female"}, {"gender": "male"})
    assert [u.extra for u in read_manifest(made / "dev-other.jsonl")] == [{}]  # 116 has none in SPEAKERS.TXT
    assert (made / "lm-train.txt").read_text() == "a bad cab\ndab a cab\nadd a cab\ncab\ndad's\n"


@pytest.mark.parametrize("place", ["LibriSpeech", "librispeech/LibriSpeech"])
def test_the_corpus_in_asr_data_is_found(corpus, tmp_path, place):
    (tmp_path / "data" / place).parent.mkdir(parents=True)
    (tmp_path / "data" / place).symlink_to(corpus)
    prepare("librispeech", {"parts": ["dev-clean"]}, tmp_path / "out", tmp_path / "data")
    assert [u.text for u in read_manifest(tmp_path / "out" / "dev-clean.jsonl")] == ["bad", "a cab"]


def test_without_speakers_txt_nobody_has_a_gender(tmp_path):
    corpus = imitate(tmp_path, ["dev-clean"])
    (corpus / "SPEAKERS.TXT").unlink()
    prepare("librispeech", {"corpus_dir": str(tmp_path), "parts": ["dev-clean"]}, tmp_path / "out", None)
    assert [dict(u.extra) for u in read_manifest(tmp_path / "out" / "dev-clean.jsonl")] == [{}, {}]


@pytest.fixture
def mirror(corpus, tmp_path):
    """A mirror of openslr with two parts and the text for language models, and how to serve it."""
    folder = tmp_path / "mirror" / "resources"
    for part in ("dev-clean", "test-clean"):
        pack(folder / "12" / f"{part}.tar.gz", corpus.parent, f"LibriSpeech/{part}", "LibriSpeech/SPEAKERS.TXT")
    (folder / "11").mkdir()
    (folder / "11" / "librispeech-lm-norm.txt.gz").write_bytes(gzip.compress(b"A BAD CAB\n"))
    return tmp_path / "mirror"


@pytest.fixture
def published(mirror, monkeypatch):
    """The imitation's check sums in place of LibriSpeech's."""
    module = sys.modules[prepare.__module__]
    sums = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in mirror.rglob("*.tar.gz")}
    monkeypatch.setattr(module, "SHA256", sums)


def test_download_is_unpacked_once(mirror, published, tmp_path):
    options = {"parts": ["dev-clean", "test-clean"], "lm_text": True}
    out = tmp_path / "data" / "librispeech"
    with serving(mirror) as url:
        prepare("librispeech", {**options, "mirror": url}, out, None)
    assert len(read_manifest(out / "dev-clean.jsonl")) == len(read_manifest(out / "test-clean.jsonl")) == 2
    downloads = tmp_path / "data" / "downloads" / "librispeech"
    assert gzip.decompress((downloads / "librispeech-lm-norm.txt.gz").read_bytes()) == b"A BAD CAB\n"
    prepare("librispeech", {**options, "mirror": "http://127.0.0.1:9"}, out, None)  # all is there: nobody is asked


def test_a_wrong_check_sum_is_refused(mirror, tmp_path):
    with serving(mirror) as url, pytest.raises(CorpusError, match="expected sha256 76f87d09"):
        prepare("librispeech", {"parts": ["dev-clean"], "mirror": url}, tmp_path / "data" / "out", None)
    assert not (tmp_path / "data" / "out").exists()


def test_an_evil_archive_is_refused(mirror, tmp_path, monkeypatch):
    module = sys.modules[prepare.__module__]
    monkeypatch.setattr(module, "SHA256", {})
    pack_evil(mirror / "resources" / "12" / "dev-clean.tar.gz")
    with (
        serving(mirror) as url,
        pytest.raises(CorpusError, match="nothing was unpacked: member 'LibriSpeech' is a link"),
    ):
        prepare("librispeech", {"parts": ["dev-clean"], "mirror": url}, tmp_path / "data" / "out", None)
    downloads = tmp_path / "data" / "downloads" / "librispeech"
    assert [path.name for path in downloads.iterdir()] == ["dev-clean.tar.gz"]


def test_what_is_missing_is_named(tmp_path):
    corpus = imitate(tmp_path, ["dev-clean"])
    options = {"corpus_dir": str(corpus), "parts": ["dev-clean", "dev-other"]}
    with pytest.raises(CorpusError, match=r"corpus_dir: .*/LibriSpeech without dev-other"):
        prepare("librispeech", options, tmp_path / "out", None)
    (corpus / "dev-clean/84/121123/84-121123-0001.flac").unlink()
    with pytest.raises(CorpusError, match=r"1 recordings .*84-121123-0001\.flac"):
        prepare("librispeech", {**options, "parts": ["dev-clean"]}, tmp_path / "out", None)
    assert not (tmp_path / "out").exists()


def test_options_that_it_does_not_have(tmp_path):
    with pytest.raises(ConfigError, match=r"expected some of .*, got dev-dirty"):
        prepare("librispeech", {"parts": ["dev-dirty"]}, tmp_path, None)
    with pytest.raises(ConfigError, match=r"expected some of .*, got none"):
        prepare("librispeech", {"parts": []}, tmp_path, None)
    with pytest.raises(ConfigError, match="got 'libri'"):
        prepare("libri", {}, tmp_path, None)
    with pytest.raises(ConfigError, match="has none, got parts"):
        prepare("librispeech_subset", {"parts": ["dev-clean"]}, tmp_path, None)


def test_other_parts_replace_the_earlier_ones(corpus, tmp_path):
    for part in ("train-clean-100", "dev-clean"):
        prepare("librispeech", {"corpus_dir": str(corpus), "parts": [part]}, tmp_path / "out", None)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["dev-clean.jsonl", "lm-train.txt"]


@needs_real_speech
def test_the_subset_that_lies_in_asr_data(tmp_path):
    prepare("librispeech_subset", {}, tmp_path / "out", real_data())
    assert len(read_manifest(tmp_path / "out" / "test.jsonl")) == 395
