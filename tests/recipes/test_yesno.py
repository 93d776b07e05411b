"""yesno: sixty recordings of the real names, in miniature only by their length."""

import hashlib
import itertools
import sys

import pytest
from corpus_imitation import pack, pack_evil, run_recipe, serving, speak

from asr.data.manifest import read_manifest
from asr.errors import ConfigError, CorpusError
from asr.recipe import load_recipe

prepare = load_recipe("yesno").prepare
# The first of the corpus is 0_0_0_0_1_1_1_1; which others there are does not matter here.
NAMES = ["_".join(digits) for digits in itertools.product("01", repeat=8)][15:255:4]


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """A folder waves_yesno, with the notes that lie among the recordings."""
    folder = tmp_path_factory.mktemp("disk") / "waves_yesno"
    for name in NAMES:
        speak(folder / f"{name}.wav", name.replace("_", "").replace("0", "a").replace("1", "b"), sample_rate=8000)
    (folder / "README").write_text("eight words each\n")
    (folder / "README~").write_text("eight words each\n")
    return folder


def serve_archive(corpus, tmp_path, monkeypatch):
    """The archive where OpenSLR has it, and its checksum in place of the real one's."""
    archive = pack(tmp_path / "server" / "resources/1/waves_yesno.tar.gz", corpus.parent, "waves_yesno")
    digest = hashlib.sha256(archive.read_bytes()).hexdigest()
    monkeypatch.setitem(prepare.__globals__, "SHA256", {archive.name: digest})
    return serving(tmp_path / "server")


def test_from_the_download_to_a_score(corpus, tmp_path, monkeypatch):
    with serve_archive(corpus, tmp_path, monkeypatch) as address:
        scores = run_recipe("yesno", [f"+data.options.mirror={address}"], tmp_path)
    assert (scores["test"]["utterances"], scores["test"]["reference_words"]) == (30, 240)
    train, dev, test = (read_manifest(tmp_path / "prepared" / f"{split}.jsonl") for split in ("train", "dev", "test"))
    assert (len(train), len(dev), len(test)) == (25, 5, 30)
    assert [u.id for u in test] == NAMES[1::2]  # lhotse's and icefall's test set
    assert sorted(u.id for u in train + dev) == NAMES[::2]
    assert (dev[0].id, dev[0].text, dev[0].lang) == ("0_0_0_0_1_1_1_1", "no no no no yes yes yes yes", "he")
    assert dev[0].audio_filepath == str(tmp_path / "downloads/yesno/waves_yesno/0_0_0_0_1_1_1_1.wav")


@pytest.mark.parametrize("place", ["yesno", "waves_yesno", "yesno/waves_yesno"])
def test_the_corpus_in_asr_data_is_found(corpus, tmp_path, place):
    (tmp_path / "data" / place).parent.mkdir(parents=True)
    (tmp_path / "data" / place).symlink_to(corpus)
    prepare("yesno", {}, tmp_path / "out", tmp_path / "data")
    assert len(read_manifest(tmp_path / "out" / "test.jsonl")) == 30


def test_another_archive_than_the_published_one_is_refused(corpus, tmp_path):
    archive = pack(tmp_path / "server" / "resources/1/waves_yesno.tar.gz", corpus.parent, "waves_yesno")
    with serving(tmp_path / "server") as address, pytest.raises(CorpusError, match="expected sha256 c3f49e0c"):
        prepare("yesno", {"mirror": address}, tmp_path / "out" / "yesno", None)
    assert archive.is_file()
    assert not list((tmp_path / "out").rglob("*.wav"))


def test_an_archive_that_reaches_outside_is_refused(tmp_path, monkeypatch):
    archive = pack_evil(tmp_path / "server" / "resources/1/waves_yesno.tar.gz")
    monkeypatch.setitem(prepare.__globals__, "SHA256", {})
    with serving(tmp_path / "server") as address, pytest.raises(CorpusError, match="refused, nothing was unpacked"):
        prepare("yesno", {"mirror": address}, tmp_path / "out" / "yesno", None)
    assert archive.is_file()


def test_fewer_than_sixty_recordings(corpus, tmp_path):
    for path in sorted(corpus.glob("*.wav"))[:59]:
        (tmp_path / "some").mkdir(exist_ok=True)
        (tmp_path / "some" / path.name).symlink_to(path)
    with pytest.raises(CorpusError, match="cannot read this corpus"):
        prepare("yesno", {"corpus_dir": str(tmp_path / "some")}, tmp_path / "out", None)


def test_without_lhotse_it_says_what_to_install(corpus, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "lhotse.recipes.yesno", None)
    with pytest.raises(CorpusError, match=r'pip install "blstm-asr\[corpora\]"'):
        prepare("yesno", {"corpus_dir": str(corpus)}, tmp_path / "out", None)


def test_names_and_options_it_does_not_have(tmp_path):
    with pytest.raises(ConfigError, match="maybe"):
        prepare("maybe", {}, tmp_path / "out", None)
    with pytest.raises(ConfigError, match="url"):
        prepare("yesno", {"url": "x"}, tmp_path / "out", None)
