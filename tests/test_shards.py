"""Shard sets: what goes in comes out, to the bit, from a disk or an address; and what must not be read is refused."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import fsspec
import numpy as np
import pytest
from helpers import SAMPLE_RATE, needs_real_speech, real_data, sung_corpus
from hypothesis import given, settings
from hypothesis import strategies as st
from test_manifest import json_values, texts
from typer.testing import CliRunner

from asr.cli.shard import shard
from asr.data import shard_writer
from asr.data.audio_cache import AudioStore
from asr.data.dataset import SpeechDataset, load_batches
from asr.data.manifest import read_manifest
from asr.data.sampler import Draw, plan_epoch
from asr.data.shard_writer import ShardLimits, index_shards, write_shards
from asr.data.shards import ShardSet
from asr.errors import AudioError, CorpusError, ManifestError
from asr.types import Utterance

WORDS = ["go", "on and on", "a", "", "no", "so it goes", "ab"]
ROOMY = ShardLimits(1 << 30, 100)
THREE = ShardLimits(1 << 30, 3)


@pytest.fixture
def corpus(tmp_path: Path) -> list[Utterance]:
    return read_manifest(sung_corpus(tmp_path / "corpus", "c", WORDS))


def fields(utterance: Utterance) -> Utterance:
    """All but where the audio lies."""
    extra = {key: value for key, value in utterance.extra.items() if key != "shard"}
    return replace(utterance, audio_filepath="", offset=0.0, extra=extra)


def assert_same(shards: ShardSet, utterances: list[Utterance]) -> None:
    assert [fields(u) for u in shards.utterances] == [fields(u) for u in utterances]
    store = AudioStore(utterances, shards.sample_rate)
    for index in range(len(store)):
        assert np.array_equal(shards.waveform(index), store.waveform(index))


# ------------------------------------------------------------------------------------------ round trips


@pytest.mark.parametrize("sample_rate", [SAMPLE_RATE, 16000])
def test_files_come_out_as_they_were(tmp_path: Path, corpus: list[Utterance], sample_rate: int) -> None:
    manifest = write_shards(tmp_path / "set", corpus, THREE)
    assert sorted(path.name for path in (tmp_path / "set").glob("*.tar")) == [f"shard-00000{n}.tar" for n in range(3)]
    shards = ShardSet.open(tmp_path / "set", sample_rate)
    assert_same(shards, corpus)
    for utterance, original in zip(shards.utterances, corpus):
        assert shards.source(utterance).read() == Path(original.audio_filepath).read_bytes()
    assert read_manifest(manifest)[0].audio_filepath == str(tmp_path / "set/shard-000000.tar/c-0.wav")


def test_stretches_of_a_file_are_cut_out_to_the_bit(tmp_path: Path, corpus: list[Utterance]) -> None:
    whole = corpus[5]
    parts = [replace(whole, id=f"p{n}", offset=0.1 * n, duration=0.1, text=str(n)) for n in range(7)]
    write_shards(tmp_path / "set", parts, ROOMY)
    assert_same(ShardSet.open(tmp_path / "set", SAMPLE_RATE), parts)
    assert read_manifest(tmp_path / "set/manifest.jsonl")[1].audio_filepath.endswith("shard-000000.tar/p1.flac")


def test_a_shard_is_a_webdataset(tmp_path: Path, corpus: list[Utterance]) -> None:
    """Read as that library does: as a stream, grouped by what comes before the first point of the base name."""
    corpus[0] = replace(corpus[0], id="talk/ä.v2", extra={"age": 6})
    write_shards(tmp_path / "set", corpus[:2], ROOMY)
    with tarfile.open(tmp_path / "set/shard-000000.tar", "r|") as archive:
        members = {entry.name: archive.extractfile(entry).read() for entry in archive}
    assert list(members) == ["talk%2F%C3%A4%2Ev2.wav", "talk%2F%C3%A4%2Ev2.json", "c-1.wav", "c-1.json"]
    assert json.loads(members["talk%2F%C3%A4%2Ev2.json"]) == {
        "id": "talk/ä.v2", "duration": corpus[0].duration, "text": "go", "speaker": "s0", "age": 6
    }  # fmt: skip


@settings(max_examples=25)
@given(
    st.lists(texts.filter(bool), min_size=1, max_size=4, unique=True),
    texts,
    st.dictionaries(texts.filter(lambda key: key not in {*Utterance.__dataclass_fields__, "shard"}), json_values),
)
def test_any_id_text_and_field_survives(
    tmp_path_factory: pytest.TempPathFactory, ids: list[str], text: str, extra: dict[str, object]
) -> None:
    folder = tmp_path_factory.mktemp("any")
    (one,) = read_manifest(sung_corpus(folder, "c", ["a"]))
    utterances = [replace(one, id=id, text=text, extra=extra) for id in ids]
    write_shards(folder / "set", utterances, ShardLimits(1, 9))
    assert [fields(u) for u in ShardSet.open(folder / "set", SAMPLE_RATE).utterances] == list(map(fields, utterances))
    assert len(list((folder / "set").glob("*.tar"))) == len(ids)  # each is larger than a byte, and has its own


def test_shards_are_filled_up_to_their_size(tmp_path: Path, corpus: list[Utterance]) -> None:
    write_shards(tmp_path / "set", corpus, ShardLimits(60_000, 100))
    sizes = [len(read_manifest(path)) for path in sorted((tmp_path / "set").glob("shard-*.jsonl"))]
    assert sum(sizes) == len(corpus)
    assert len(sizes) > 1
    for tar in (tmp_path / "set").glob("*.tar"):
        with tarfile.open(tar) as archive:
            assert sum(512 + -(-entry.size // 512) * 512 for entry in archive) <= 60_000


def test_no_utterances_make_an_empty_set(tmp_path: Path) -> None:
    write_shards(tmp_path / "set", [], ROOMY)
    assert len(ShardSet.open(tmp_path / "set", SAMPLE_RATE)) == 0


# ------------------------------------------------------------------------------------------ going on


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_what_was_stopped_goes_on_and_ends_the_same(
    tmp_path: Path, corpus: list[Utterance], monkeypatch: pytest.MonkeyPatch
) -> None:
    write_shards(tmp_path / "straight", corpus, THREE)
    example = shard_writer._example

    def stopped(utterance: Utterance) -> object:
        if utterance.id == "c-4":
            raise KeyboardInterrupt
        return example(utterance)

    with monkeypatch.context() as patch:
        patch.setattr(shard_writer, "_example", stopped)
        with pytest.raises(KeyboardInterrupt):
            write_shards(tmp_path / "stopped", corpus, THREE)
    assert sorted(contents(tmp_path / "stopped")) == ["shard-000000.jsonl", "shard-000000.tar"]
    with pytest.raises(CorpusError, match=r"expected manifest\.jsonl in .*run that to its end"):
        ShardSet.open(tmp_path / "stopped", SAMPLE_RATE)
    finished = (tmp_path / "stopped/shard-000000.tar").stat().st_ino
    (tmp_path / "stopped/shard-000001.tar").write_bytes(b"of a shard without its manifest")
    write_shards(tmp_path / "stopped", corpus, THREE)
    assert (tmp_path / "stopped/shard-000000.tar").stat().st_ino == finished
    assert contents(tmp_path / "stopped") == contents(tmp_path / "straight")
    write_shards(tmp_path / "stopped", corpus, THREE)  # nothing to do
    assert contents(tmp_path / "stopped") == contents(tmp_path / "straight")


def test_shards_of_other_utterances_are_not_mixed(tmp_path: Path, corpus: list[Utterance]) -> None:
    write_shards(tmp_path / "set", corpus, THREE)
    before = contents(tmp_path / "set")
    changed = [*corpus[:4], replace(corpus[4], text="other"), *corpus[5:]]
    for others in (changed, corpus[1:], corpus[:5]):
        with pytest.raises(CorpusError, match=r"holds shards of other utterances: expected .* in shard-00000\d\.tar"):
            write_shards(tmp_path / "set", others, THREE)
    assert contents(tmp_path / "set") == before


def test_unreadable_audio_is_named(tmp_path: Path, corpus: list[Utterance]) -> None:
    corpus[2] = replace(corpus[2], audio_filepath=str(tmp_path / "absent.wav"))
    with pytest.raises(AudioError, match=r"absent\.wav: cannot be opened"):
        write_shards(tmp_path / "set", corpus, ROOMY)
    assert list((tmp_path / "set").iterdir()) == []


# ------------------------------------------------------------------------------------------ addresses


def test_a_set_is_read_from_any_address(
    tmp_path: Path, corpus: list[Utterance], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    write_shards(tmp_path / "set", corpus, THREE)
    memory = fsspec.filesystem("memory")
    memory.put(str(tmp_path / "set"), f"/{tmp_path.name}", recursive=True)
    try:
        for _ in range(2):
            shards = ShardSet.open(f"memory://{tmp_path.name}", SAMPLE_RATE)
            assert_same(shards, corpus)
        assert len(list((tmp_path / "cache/asr/manifests").iterdir())) == 1
        assert_same(ShardSet.open(f"file://{tmp_path}/set", SAMPLE_RATE), corpus)
    finally:
        memory.rm(f"/{tmp_path.name}", recursive=True)
    with pytest.raises(AudioError, match=r"shard-000000\.tar: cannot be read"):
        shards.waveform(0)


@pytest.mark.parametrize("address", ["memory://absent", "nosuch://x", "absent"])
def test_addresses_without_a_set_are_corpus_errors(address: str) -> None:
    with pytest.raises(CorpusError, match=address):
        ShardSet.open(address, SAMPLE_RATE)


# ------------------------------------------------------------------------------------------ training


def test_epochs_are_a_function_of_seed_and_epoch(tmp_path: Path, corpus: list[Utterance]) -> None:
    write_shards(tmp_path / "set", corpus, THREE)
    shards = ShardSet.open(tmp_path / "set", SAMPLE_RATE)
    durations = np.array([utterance.duration for utterance in corpus])

    def order(seed: int, epoch: int) -> list[list[int]]:
        return list(plan_epoch(shards.utterances.durations, 1.5, seed, epoch))

    assert order(1, 2) == order(1, 2) == list(plan_epoch(durations, 1.5, 1, 2))
    assert len({str(order(seed, epoch)) for seed in (1, 2) for epoch in (0, 1)}) == 4
    targets = [[1]] * len(corpus)
    plan = [[Draw(index, 2) for index in batch] for batch in order(1, 2)]
    from_shards = load_batches(SpeechDataset(shards, targets), plan, num_workers=2)
    from_files = load_batches(SpeechDataset(AudioStore(corpus, SAMPLE_RATE), targets), plan, num_workers=0)
    for ours, theirs in zip(from_shards, from_files, strict=True):
        assert ours.ids == theirs.ids
        assert ours.waveforms.equal(theirs.waveforms)


# ------------------------------------------------------------------------------------------ shards of others


def make_tar(path: Path, members: dict[str, bytes], change: Callable[[tarfile.TarInfo], None] | None = None) -> None:
    with tarfile.open(path, "w") as archive:
        for name, data in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            if change is not None:
                change(member)
            archive.addfile(member, io.BytesIO(data))


def test_shards_of_other_programs_are_indexed(tmp_path: Path, corpus: list[Utterance]) -> None:
    wav = [Path(utterance.audio_filepath).read_bytes() for utterance in corpus]
    long = "x" * 150
    pair = {"d/2.json": b'{"text": "on", "id": "two", "shard": 7}', "d/2.wav": wav[1]}
    make_tar(tmp_path / "a.tar", {"./one.v1.wav": wav[0], "./one.txt": b"go\n"} | pair)
    make_tar(tmp_path / "b.tar", {f"{long}.wav": wav[2], f"{long}.json": b'{"text": "a", "duration": 0.2}'})
    index_shards(tmp_path)
    shards = ShardSet.open(tmp_path, SAMPLE_RATE)
    assert [(u.id, u.text) for u in shards.utterances] == [("./one", "go"), ("two", "on"), (long, "a")]
    assert shards.utterances.durations.tolist() == [corpus[0].duration, corpus[1].duration, 0.2]
    expected = AudioStore(corpus, SAMPLE_RATE)
    assert np.array_equal(shards.waveform(1), expected.waveform(1))
    assert np.array_equal(shards.waveform(2), expected.waveform(2)[:1600])


@pytest.mark.parametrize(
    ("kind", "name", "reason"),
    [
        (tarfile.SYMTYPE, "a.wav", "is a link"),
        (tarfile.LNKTYPE, "a.wav", "is a link"),
        (tarfile.CHRTYPE, "a.wav", "is a device or pipe"),
        (tarfile.FIFOTYPE, "a.wav", "is a device or pipe"),
        (tarfile.REGTYPE, "../a.wav", "is a path that leaves the archive"),
        (tarfile.REGTYPE, "/a.wav", "is an absolute path"),
        (tarfile.REGTYPE, "b\\..\\..\\a.wav", "is a path that leaves the archive"),
    ],
)
def test_evil_members_refuse_a_shard(tmp_path: Path, kind: bytes, name: str, reason: str) -> None:
    def change(member: tarfile.TarInfo) -> None:
        member.type, member.linkname = kind, "/etc/passwd"

    make_tar(tmp_path / "a.tar", {name: b""}, change)
    with pytest.raises(CorpusError, match=f"a.tar: refused: member .* {reason}"):
        index_shards(tmp_path)
    assert not (tmp_path / "manifest.jsonl").exists()


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ({"a.txt": b"go"}, r"a\.tar: a: expected one audio file \(.*\), got a\.txt"),
        ({"a.wav": b"", "a.flac": b"", "a.txt": b""}, r"expected one audio file .*, got a\.wav, a\.flac, a\.txt"),
        ({"a.wav": b""}, "expected its text in a .json"),
        ({"a.wav": b"", "a.json": b"{}"}, "expected its text in a .json"),
        ({"a.wav": b"", "a.json": b"["}, "a: expected a JSON object"),
        ({"a.wav": b"", "a.txt": b"\xff"}, "a: 'utf-8' codec can't decode"),
        ({"a.wav": b"x", "a.txt": b""}, r"a\.tar: a: "),  # no audio to measure
    ],
)
def test_utterances_that_are_not_whole_refuse_a_shard(tmp_path: Path, members: dict[str, bytes], message: str) -> None:
    make_tar(tmp_path / "a.tar", members)
    with pytest.raises((CorpusError, AudioError), match=message):
        index_shards(tmp_path)


def test_fields_and_ids_of_others_are_checked(tmp_path: Path) -> None:
    audio = {"a.wav": b"", "b.wav": b""}
    json_lines = {"a.json": b'{"text": 7, "duration": 1}', "b.json": b'{"text": "", "duration": 1, "id": "a"}'}
    pairs = [name for pair in zip(audio, json_lines) for name in pair]
    make_tar(tmp_path / "a.tar", {name: (audio | json_lines)[name] for name in pairs})
    with pytest.raises(CorpusError, match=r"a\.tar: a: expected a string in 'text', got 7"):
        index_shards(tmp_path)
    json_lines["a.json"] = b'{"text": "", "duration": 1}'
    make_tar(tmp_path / "a.tar", {name: (audio | json_lines)[name] for name in pairs})
    index_shards(tmp_path)
    with pytest.raises(ManifestError, match="expected unique ids, got 'a'"):
        ShardSet.open(tmp_path, SAMPLE_RATE)


def test_compressed_cut_and_absent_tars_are_refused(tmp_path: Path, corpus: list[Utterance]) -> None:
    with pytest.raises(CorpusError, match="expected tar files in"):
        index_shards(tmp_path)
    wav = Path(corpus[0].audio_filepath).read_bytes()
    make_tar(tmp_path / "a.tar", {"a.wav": wav, "a.txt": b""})
    whole = (tmp_path / "a.tar").read_bytes()
    (tmp_path / "a.tar").write_bytes(whole[: len(wav) // 2])
    with pytest.raises(CorpusError, match=r"a\.tar: expected a whole, uncompressed tar"):
        index_shards(tmp_path)
    with tarfile.open(tmp_path / "a.tar", "w:gz") as archive:
        archive.add(corpus[0].audio_filepath, "a.wav")
    with pytest.raises(CorpusError, match=r"a\.tar: expected a whole, uncompressed tar"):
        index_shards(tmp_path)


# ------------------------------------------------------------------------------------------ damage


def test_shards_that_are_not_the_manifests_are_refused(tmp_path: Path, corpus: list[Utterance]) -> None:
    write_shards(tmp_path / "set", corpus, ROOMY)
    shards = ShardSet.open(tmp_path / "set", SAMPLE_RATE)
    tar = tmp_path / "set/shard-000000.tar"
    whole = tar.read_bytes()
    for content in (whole[:1000], whole[512:], bytes(len(whole)), b"X" + whole[1:]):
        tar.write_bytes(content)
        with pytest.raises(AudioError, match=r"shard-000000\.tar/c-0\.wav: the shard is damaged or not the manifest's"):
            shards.waveform(0)


@pytest.mark.parametrize(
    "place",
    [None, 7, {}, {"tar": "../x.tar", "start": 512, "bytes": 1}, {"tar": "x.tar", "start": 0, "bytes": 1},
     {"tar": "x.tar", "start": 512, "bytes": -1}, {"tar": "x.tar", "start": "512", "bytes": 1}],
)  # fmt: skip
def test_manifests_without_a_place_inside_the_set_are_refused(tmp_path: Path, place: object) -> None:
    line = {"id": "a", "audio_filepath": "x.tar/a.wav", "duration": 1, "text": "", "shard": place}
    (tmp_path / "manifest.jsonl").write_text(json.dumps(line))
    with pytest.raises(CorpusError, match="utterance a: expected the field 'shard' with tar, start and bytes, got"):
        ShardSet.open(tmp_path, SAMPLE_RATE).waveform(0)


# ------------------------------------------------------------------------------------------ the command


def run(*arguments: str | Path) -> str:
    import typer

    app = typer.Typer()
    app.command()(shard)
    result = CliRunner().invoke(app, list(map(str, arguments)), catch_exceptions=False)
    return result.output if result.exit_code == 0 else f"exit {result.exit_code}: {result.output}"


def test_the_command_writes_and_indexes(tmp_path: Path) -> None:
    manifests = [sung_corpus(tmp_path / name, name, WORDS[:3]) for name in ("x", "y")]
    told = run(*manifests, "-o", tmp_path / "set", "--max-utterances", "4")
    assert "manifest.jsonl (6 utterances, 0.00 hours, 2 shards)" in told.replace("\n", "")
    before = (tmp_path / "set/manifest.jsonl").read_bytes()
    (tmp_path / "set/manifest.jsonl").unlink()
    assert "6 utterances" in run("--index", tmp_path / "set")
    assert (tmp_path / "set/manifest.jsonl").read_bytes() == before
    assert run(manifests[0]).startswith("exit 2")
    assert run("--index", tmp_path / "set", "-o", tmp_path).startswith("exit 2")


@needs_real_speech
def test_real_speech_of_every_format(tmp_path: Path) -> None:
    """FLAC, MP3 and Opus: copied to the byte, so decoded to the bit."""
    data = real_data()
    utterances = [u for name in ("fsdd-test", "librispeech-dev", "librispeech-test", "speechocean762-dev")
                  for u in read_manifest(data / f"{name}.jsonl")[:6]]  # fmt: skip
    write_shards(tmp_path / "set", utterances, ShardLimits(1 << 18, 10))
    shards = ShardSet.open(tmp_path / "set", 16000)
    assert_same(shards, utterances)
    for utterance, original in zip(shards.utterances, utterances):
        assert shards.source(utterance).read() == Path(original.audio_filepath).read_bytes()
