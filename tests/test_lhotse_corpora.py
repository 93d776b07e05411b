"""lhotse behind our transport: what it fetches, unpacks, says and returns."""

import io
import logging
import sys
import tarfile
import types
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from asr.audio import write_audio
from asr.data import lhotse_corpora
from asr.data.archives import unpack_into
from asr.data.corpus_folders import find_corpus, write_splits
from asr.data.lhotse_corpora import fetch, lhotse_recipe, our_transport, run_preparer, to_utterances
from asr.data.manifest import read_manifest, write_manifest
from asr.errors import CorpusError
from asr.types import Utterance

lhotse = pytest.importorskip("lhotse")


def tar_bytes(*entries, mode="w:gz"):
    """An archive of (name, content) pairs and ready TarInfos."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode=mode) as tar:
        for entry in entries:
            info, content = (
                (entry, b"") if isinstance(entry, tarfile.TarInfo) else (tarfile.TarInfo(entry[0]), entry[1])
            )
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return file.getvalue()


def special(name, kind, target="x"):
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


def downloader(target: Path, url: str = "http://example.org/a/corpus.tar.gz?v=1"):
    """What lhotse's downloaders look like: the module's own names, a tarfile, a stamp."""
    module.resumable_download(url, filename=target / "corpus.tar.gz", force_download=False)
    with tarfile.open(target / "corpus.tar.gz") as tar:
        module.safe_extract(tar, path=target)
    return target / "corpus"


def refuse(*arguments, **options):
    raise AssertionError("lhotse's own transport was called")


module = types.SimpleNamespace(resumable_download=refuse, safe_extract=refuse, download=downloader)


@pytest.fixture
def web(monkeypatch):
    """The web: address -> bytes; what was asked for is the key `asked`."""
    pages = {}

    def download(url, path, sha256=None):
        pages.setdefault("asked", []).append((url, sha256))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(pages["body"])
        return path

    monkeypatch.setattr(lhotse_corpora, "download", download)
    return pages


def test_a_folder_that_cannot_be_made_is_explained(tmp_path):
    (tmp_path / "file").write_text("")
    message = r"cannot write .*file/sub: Not a directory; check the folder"
    with pytest.raises(CorpusError, match=message), our_transport(module, checksums={}):
        (tmp_path / "file" / "sub").mkdir()


def test_downloaders_use_our_transport(web, tmp_path, capsys):
    web["body"] = tar_bytes(("corpus/a.txt", b"hello"))
    (tmp_path / "corpus").mkdir()
    (tmp_path / "corpus" / "earlier.txt").write_text("kept")
    with our_transport(module, checksums={"corpus.tar.gz": "ab"}, mirror="http://mirror:80/base/"):
        folder = module.download(tmp_path)
    assert web["asked"] == [("http://mirror:80/base/a/corpus.tar.gz?v=1", "ab")]
    assert sorted(path.name for path in folder.iterdir()) == ["a.txt", "earlier.txt"]
    assert module.resumable_download is refuse
    assert "downloading http://mirror:80/base/a/corpus.tar.gz?v=1 to " in capsys.readouterr().err


def test_without_a_mirror_addresses_stay(web, tmp_path):
    web["body"] = b""
    fetch("http://example.org/x.gz", tmp_path / "x.gz", checksums={})
    assert web["asked"] == [("http://example.org/x.gz", None)]


EVIL = {
    "path": ("../evil", b"x"),
    "absolute": ("/tmp/evil", b"x"),
    "symlink": special("link", tarfile.SYMTYPE, "/etc"),
    "hard link": special("link", tarfile.LNKTYPE, "corpus/a.txt"),
    "device": special("device", tarfile.CHRTYPE),
    "pipe": special("pipe", tarfile.FIFOTYPE),
}


@pytest.mark.parametrize("kind", EVIL)
def test_an_evil_archive_writes_nothing(web, tmp_path, kind):
    web["body"] = tar_bytes(("corpus/a.txt", b"hello"), EVIL[kind])
    with pytest.raises(CorpusError, match="refused, nothing was unpacked"), our_transport(module, checksums={}):
        module.download(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["corpus.tar.gz"]
    assert module.safe_extract is refuse


WHOLE = tar_bytes(("corpus/a.txt", bytes(range(256)) * 500))


@pytest.mark.parametrize(
    "body", [WHOLE[: len(WHOLE) // 2], WHOLE[:-8] + b"\0" * 8, b"not an archive"], ids=["cut", "check sum", "text"]
)
def test_a_damaged_archive_is_named_and_leaves_nothing(web, tmp_path, body):
    web["body"] = body
    with (
        pytest.raises(CorpusError, match=r"corpus\.tar\.gz: expected a whole archive, got: .*; remove it"),
        our_transport(module, checksums={}),
    ):
        module.download(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["corpus.tar.gz"]


def test_unpacking_into_a_folder_needs_room(tmp_path, monkeypatch):
    monkeypatch.setattr("shutil.disk_usage", lambda _: types.SimpleNamespace(free=100))
    with (
        tarfile.open(fileobj=io.BytesIO(WHOLE)) as tar,
        pytest.raises(CorpusError, match="make room"),
    ):
        unpack_into(tar, tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []


def test_lhotse_that_is_absent(monkeypatch):
    assert lhotse_recipe("yesno").__name__ == "lhotse.recipes.yesno"
    for name in [name for name in sys.modules if name.partition(".")[0] == "lhotse"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "lhotse", None)
    with pytest.raises(CorpusError, match=r'pip install "blstm-asr\[corpora\]"'):
        lhotse_recipe("yesno")


# --- finding ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("place", ["", "an4", "AN4_DB"])
def test_a_named_folder_is_found_itself_or_around_it(tmp_path, place):
    (tmp_path / place / "wav").mkdir(parents=True)
    found = find_corpus("an4", str(tmp_path), Path("/elsewhere"), ["wav"], spellings=["AN4_DB"])
    assert found == tmp_path / place


@pytest.mark.parametrize("place", ["an4", "AN4_DB", "an4/AN4_DB"])
def test_the_folder_in_asr_data_is_found_by_its_name(tmp_path, place):
    (tmp_path / "wav").mkdir()  # not it: this is somebody else's
    assert find_corpus("an4", "", tmp_path, ["wav"], spellings=["AN4_DB"]) is None
    (tmp_path / place / "wav").mkdir(parents=True)
    assert find_corpus("an4", "", tmp_path, ["wav"], spellings=["AN4_DB"]) == tmp_path / place


def test_no_folder(tmp_path):
    assert find_corpus("an4", "", None, ["wav"]) is None
    assert find_corpus("an4", "", tmp_path, ["wav"]) is None
    (tmp_path / "an4" / "etc").mkdir(parents=True)
    with pytest.raises(CorpusError, match=r"the folder of an4, with etc, wav in it, got .*/an4 without wav;"):
        find_corpus("an4", str(tmp_path), None, ["etc", "wav"])


def test_splits_are_written_all_or_none(tmp_path):
    utterance = Utterance("a", str(tmp_path / "a.wav"), 1.0, "x")
    write_splits(tmp_path / "out", {"train": [utterance], "dev": [utterance]}, texts={"lm.txt": ["x", "y"]})
    assert (tmp_path / "out" / "lm.txt").read_text() == "x\ny\n"
    with pytest.raises(CorpusError, match="expected utterances in test, found none"):
        write_splits(tmp_path / "out", {"train": [utterance], "test": []})
    with pytest.raises(CorpusError, match=r"got dev\.jsonl, lm\.txt in it"):
        write_splits(tmp_path / "out", {"train": [utterance]})
    write_splits(tmp_path / "out", {"train": [utterance]}, texts={"lm.txt": []}, known=["dev"])
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["lm.txt", "train.jsonl"]


# --- lhotse's values -------------------------------------------------------------------------------------------


def recording(identifier="r", kind="file", source="r.wav", channels=(0,), **options):
    source = lhotse.audio.AudioSource(type=kind, channels=list(channels), source=source)
    return lhotse.Recording(identifier, [source], 16000, 160000, 10.0, **options)


def supervision(identifier="s", **options):
    return lhotse.SupervisionSegment(**{"id": identifier, "recording_id": "r", "start": 0.0, "duration": 1.0} | options)


def test_a_supervision_becomes_an_utterance(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    segment = supervision(
        start=2.5, text="Hi", speaker="ann", language="English", gender="female", custom={"age": "twenties"}
    )
    assert to_utterances([recording()], [segment]) == [
        Utterance("s", str(tmp_path / "r.wav"), 1.0, "Hi", 2.5, "ann", "en", {"gender": "female", "age": "twenties"})
    ]
    bare, other = to_utterances([recording()], [supervision("z", language="de"), supervision("a")])
    assert (bare.id, bare.text, bare.speaker, bare.lang, dict(bare.extra)) == ("a", "", None, None, {})
    assert other.lang == "de"


def test_channels():
    stereo = recording(channels=(0, 1))
    assert len(to_utterances([stereo], [supervision(channel=[0, 1])])) == 1  # all of them: mixed on reading
    with pytest.raises(CorpusError, match=r"got channel \[1\] of \[0, 1\] in .*r\.wav"):
        to_utterances([stereo], [supervision(channel=1)])


@pytest.mark.parametrize("kind", ["command", "url"])
def test_only_files(kind):
    with pytest.raises(CorpusError, match=f"got sources {kind}"):
        to_utterances([recording(kind=kind, source="touch evil |")], [])
    with pytest.raises(CorpusError, match="and 1 transforms"):
        to_utterances([recording().perturb_speed(1.1, affix_id=False)], [])
    with pytest.raises(CorpusError, match="supervision s: its recording 'r' is not there"):
        to_utterances([], [supervision()])


@given(st.lists(st.tuples(st.text(), st.floats(0, 9), st.none() | st.sampled_from(["de", "zh-CN"])), max_size=5))
def test_what_lhotse_says_survives_a_manifest(tmp_path_factory, lines):
    segments = [supervision(f"u{i}", text=t, start=start, language=lang) for i, (t, start, lang) in enumerate(lines)]
    path = tmp_path_factory.mktemp("m") / "m.jsonl"
    made = to_utterances([recording()], segments)
    write_manifest(path, made)
    assert read_manifest(path) == made


def prepare_corpus(corpus_dir, warn=(), error=None):
    """Stands for a prepare_… of lhotse."""
    for message in warn:
        logging.warning(message)
    if error is not None:
        raise error
    return "made", lhotse.audio.backend.get_current_audio_backend()


def test_preparers_read_audio_without_a_shell_and_warn_in_short(tmp_path, capsys):
    handlers = list(logging.getLogger().handlers)
    made, backend = run_preparer(prepare_corpus, tmp_path, warn=[f"thing {i}" for i in range(5)])
    assert (made, type(backend).__name__) == ("made", "LibsndfileBackend")
    assert capsys.readouterr().err.splitlines()[-4:] == [
        "lhotse: thing 0", "lhotse: thing 1", "lhotse: thing 2", "lhotse: and 2 more warnings"
    ]  # fmt: skip
    assert logging.getLogger().handlers == handlers


def test_what_preparers_run_into_becomes_an_error(tmp_path):
    with pytest.raises(CorpusError, match=r"2 recordings .* missing, the first: No such file: a\.wav"):
        run_preparer(prepare_corpus, tmp_path, warn=["No such file: a.wav", "No such file: b.wav"])
    with pytest.raises(
        CorpusError, match=r"prepare_corpus cannot read this corpus: ValueError: expected 3 fields; is it"
    ):
        run_preparer(prepare_corpus, tmp_path, error=ValueError("expected 3 fields\nat length"))


def prepare_recordings(corpus_dir):
    """Reads headers with lhotse's own bar around it."""
    return lhotse.RecordingSet.from_dir(corpus_dir, pattern="*.wav")


def test_bars_stay_out_of_files(capfd, tmp_path):
    write_audio(tmp_path / "a.wav", np.zeros(160, dtype=np.float32), 16000)
    assert len(run_preparer(prepare_recordings, tmp_path)) == 1
    assert capfd.readouterr().err == ""
