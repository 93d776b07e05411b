"""Corpora of any size: manifests, indexed ones and shards train the same model, and a run finds its place in each."""

from __future__ import annotations

import io
import json
import re
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace

import fsspec
import numpy as np
import pytest
from helpers import SAMPLE_RATE, needs_real_speech, real_data, sung_corpus
from rich.console import Console

from asr import processes, training_data
from asr.builders import build_recognizer
from asr.cli.compose import compose_recipe
from asr.config import Config
from asr.data import corpus as corpus_module
from asr.data.audio_cache import AudioStore
from asr.data.corpus import Corpus, checksum
from asr.data.dataset import EncodedTexts
from asr.data.doctor import Requirements
from asr.data.manifest import read_manifest, write_manifest
from asr.data.sampler import Draw
from asr.data.shard_writer import ShardLimits, write_shards
from asr.data.shards import ShardSet
from asr.data.usable import Limits, Usable, find_usable
from asr.data.usable_file import read_usable, write_usable
from asr.errors import AsrError, AudioError, CorpusError, Interrupted, ManifestError
from asr.experiment import train
from asr.files import sha256
from asr.processes import Processes
from asr.text.tokenizer import CharTokenizer
from asr.training.checkpoint import list_checkpoints, load_checkpoint
from asr.training.loop import Trainer
from asr.training_data import build_data, learn_tokenizer, open_corpus, smoothing

TEXTS = ["ab", "ba", "Bad", "dab", "a  bad cab", "cab", "add a cab", "abba", "dad", "a dad", "bad dad", "cab ab"]
THREE = ShardLimits(1 << 30, 3)
SMALL = [
    "data=manifests",
    "text.tokenizer=char",
    "features.normalize=global",
    f"data.sample_rate={SAMPLE_RATE}",
    "data.test={}",
    "data.batch_seconds=4",
    "data.max_duration_seconds=1.2",
    "model.hidden_size=16",
    "model.num_layers=1",
    "features.num_mels=23",
    "augment.label_smoothing=0.05",
    "training.epochs=2",
    "training.average_best=1",
    "training.log_every_steps=1",
    "optim.warmup_steps=5",
    "machine.precision=float32",
]


@pytest.fixture
def train_manifest(tmp_path: Path) -> Path:
    return sung_corpus(tmp_path / "corpus", "train", TEXTS, seed=1)


@pytest.fixture
def dev_manifest(tmp_path: Path) -> Path:
    return sung_corpus(tmp_path / "corpus", "dev", TEXTS[:3], seed=2)


def shard(manifest: Path, folder: Path, part: slice = slice(None)) -> str:
    write_shards(folder, read_manifest(manifest)[part], THREE)
    return str(folder)


def configure(sources: list[str], dev: Path | str, run_dir: Path, *overrides: str) -> Config:
    sets = [f"data.train=[{','.join(sources)}]", f"data.dev=[{dev}]", f"run_dir={run_dir}"]
    return compose_recipe("digits", [*SMALL, *sets, *overrides])


def train_on(sources: list[str], dev: Path | str, run_dir: Path, *overrides: str) -> list[tuple[int, float]]:
    """Train, and give the losses of steps and epochs."""
    train(configure(sources, dev, run_dir, *overrides), run_dir, Console(quiet=True))
    return losses(run_dir)


def losses(run_dir: Path) -> list[tuple[int, float]]:
    records = [json.loads(line) for line in (run_dir / "history.jsonl").read_text().splitlines()]
    return [(record["step"], record["loss"]) for record in records]


def same_weights(one: Path, other: Path) -> bool:
    first, second = (load_checkpoint(list_checkpoints(run / "checkpoints", "resume")[-1]) for run in (one, other))
    return all(first.tensors[name].equal(tensor) for name, tensor in second.tensors.items())


# ------------------------------------------------------------------------------------------ the same training


def test_files_shards_and_both_train_the_same(
    tmp_path: Path, train_manifest: Path, dev_manifest: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from_files = train_on([str(train_manifest)], dev_manifest, tmp_path / "files")
    assert len(from_files) > 4
    dropped = (tmp_path / "files" / "dropped.jsonl").read_text()
    assert [json.loads(line)["code"] for line in dropped.splitlines()] == ["too-long", "too-long"]

    first = tmp_path / "first.jsonl"
    write_manifest(first, read_manifest(train_manifest)[:5])
    rest, dev = shard(train_manifest, tmp_path / "rest", slice(5, None)), shard(dev_manifest, tmp_path / "dev")
    assert train_on([str(first), rest], dev, tmp_path / "both", "machine.cache_gib=0") == from_files

    monkeypatch.setattr(corpus_module, "INDEXED_BYTES", 0)
    assert train_on([str(train_manifest)], dev_manifest, tmp_path / "indexed") == from_files
    for run in ("both", "indexed"):
        assert same_weights(tmp_path / "files", tmp_path / run)
        assert (tmp_path / run / "dropped.jsonl").read_text() == dropped


def test_a_run_on_shards_goes_on_to_the_same_bit(
    tmp_path: Path, train_manifest: Path, dev_manifest: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shards = shard(train_manifest, tmp_path / "set")
    whole = train_on([shards], dev_manifest, tmp_path / "whole")
    step = Trainer._step

    def stopping(trainer: Trainer, *arguments: object) -> None:
        step(trainer, *arguments)
        if trainer.position.step == 3:
            signal.raise_signal(signal.SIGINT)

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "_step", stopping)
        with pytest.raises(Interrupted):
            train_on([shards], dev_manifest, tmp_path / "stopped")
    monkeypatch.setattr(training_data, "find_usable", None)  # it is known: nobody looks again
    Path(shards, "shard-000003.tar").rename(tmp_path / "shard-000003.tar")  # nobody would notice yet
    with pytest.raises(AsrError, match=r"shard-000003\.tar: cannot be read"):
        train_on([shards], dev_manifest, tmp_path / "stopped")
    (tmp_path / "shard-000003.tar").rename(Path(shards, "shard-000003.tar"))
    train_on([shards], dev_manifest, tmp_path / "stopped")
    assert [loss for _, loss in losses(tmp_path / "stopped")] == [loss for _, loss in whole]
    assert same_weights(tmp_path / "whole", tmp_path / "stopped")


@needs_real_speech
def test_real_speech_from_shards_is_that_from_files(tmp_path: Path) -> None:
    """Compressed audio at another rate than the model's."""
    utterances = read_manifest(real_data() / "librispeech-dev.jsonl")[:6]
    write_shards(tmp_path / "set", utterances, THREE)
    corpus, store = Corpus.open([str(tmp_path / "set")], SAMPLE_RATE, "lower"), AudioStore(utterances, SAMPLE_RATE)
    from_shards = AudioStore(corpus, SAMPLE_RATE, corpus.decode, corpus.durations)
    assert from_shards.expected_bytes() == store.expected_bytes()
    for is_cached in (False, True):
        assert not is_cached or from_shards.fill(1 << 30, num_threads=2)
        for index in range(len(utterances)):
            assert np.array_equal(from_shards.waveform(index), store.waveform(index))


# ------------------------------------------------------------------------------------------ one sequence


def opened(*addresses: Path | str) -> Corpus:
    return Corpus.open([str(address) for address in addresses], SAMPLE_RATE, "lower")


def test_a_corpus_is_its_sources_one_after_another(tmp_path: Path, train_manifest: Path, dev_manifest: Path) -> None:
    corpus = opened(train_manifest, dev_manifest)
    assert [utterance.id for utterance in corpus] == [f"train-{n}" for n in range(12)] + [f"dev-{n}" for n in range(3)]
    assert [corpus[2].text, corpus[4].text, corpus[-1].text] == ["bad", "a bad cab", "bad"]
    assert [utterance.id for utterance in corpus[11:13]] == ["train-11", "dev-0"]
    assert corpus.durations.tolist() == [utterance.duration for utterance in corpus]
    assert corpus.checksums == (sha256(train_manifest), sha256(dev_manifest))
    for wrong in (15, -16):
        with pytest.raises(IndexError, match="expected an index below 15"):
            corpus[wrong]

    part = corpus.select(np.array([1, 12], dtype=np.int32), corpus.durations[[1, 12]])
    assert [utterance.id for utterance in part] == ["train-1", "dev-0"]
    assert part.durations.tolist() == [utterance.duration for utterance in part]
    assert np.array_equal(part.decode(1), corpus.decode(12))


def test_large_manifests_stay_where_they_are(
    train_manifest: Path, dev_manifest: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_memory = opened(train_manifest, dev_manifest)
    assert not train_manifest.with_name("train.jsonl.index").exists()
    together = train_manifest.stat().st_size + dev_manifest.stat().st_size
    for limit, is_indexed in ((together, False), (together - 1, True)):
        monkeypatch.setattr(corpus_module, "INDEXED_BYTES", limit)
        corpus = opened(train_manifest, dev_manifest)
        assert train_manifest.with_name("train.jsonl.index").exists() == is_indexed
        assert list(corpus) == list(in_memory)
        assert corpus.checksums == in_memory.checksums


@pytest.mark.parametrize("limit", [0, 1 << 20])
def test_ids_are_unique_across_manifests(
    tmp_path: Path, train_manifest: Path, monkeypatch: pytest.MonkeyPatch, limit: int
) -> None:
    monkeypatch.setattr(corpus_module, "INDEXED_BYTES", limit)
    again = tmp_path / "again.jsonl"
    write_manifest(again, read_manifest(train_manifest)[3:4])
    opened(train_manifest).refuse_repeats()
    with pytest.raises(ManifestError, match=r"'train-3'"):
        opened(train_manifest, again).refuse_repeats()
    with pytest.raises(ManifestError, match=r"'train-3'"):
        opened(shard(again, tmp_path / "set"), train_manifest).refuse_repeats()


def test_what_is_no_corpus_is_said(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "empty.jsonl").write_text("\n")
    for address, error, message in (
        ("absent.jsonl", ManifestError, "expected a manifest, or a folder of shards, at .*absent.jsonl, found none"),
        ("folder", CorpusError, "expected manifest.jsonl in .*folder, found none"),
        ("empty.jsonl", ManifestError, "expected utterances in .*empty.jsonl, found none"),
    ):
        with pytest.raises(error, match=message):
            opened(tmp_path / address)
    with pytest.raises(CorpusError, match="nosuch://x"):
        opened("nosuch://x")


def test_checksums_are_those_of_the_content(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    manifest = sung_corpus(tmp_path, "m", ["a", "b"])
    small = checksum(str(manifest))
    assert small == sha256(manifest)
    monkeypatch.setattr(corpus_module, "INDEXED_BYTES", 0)
    assert checksum(str(manifest)) == small
    with monkeypatch.context() as patch:
        patch.setattr("asr.data.manifest_index_build.sha256", None)
        assert checksum(str(manifest)) == small  # kept
    manifest.write_text(manifest.read_text().replace('"a"', '"c"'))
    assert checksum(str(manifest)) == sha256(manifest) != small
    assert checksum(shard(manifest, tmp_path / "set")) == sha256(tmp_path / "set" / "manifest.jsonl")


# ------------------------------------------------------------------------------------------ what is usable


def frames_of_10ms(num_samples: int) -> int:
    return num_samples // (SAMPLE_RATE // 100)


TOKENIZER = CharTokenizer((" ", "a", "b", "c", "d"))


def find(corpus: Corpus, limits: Limits = Limits()) -> tuple[Usable, list[str]]:  # noqa: B008 - it is frozen
    dropped: list[str] = []
    requirements = Requirements(TOKENIZER, frames_of_10ms, SAMPLE_RATE)
    found = find_usable(corpus, requirements, limits, lambda finding: dropped.append(finding.utterance_id))
    return found, dropped


def test_what_is_usable_is_counted_and_what_is_not_is_named(tmp_path: Path, train_manifest: Path) -> None:
    good = read_manifest(train_manifest)[:2]
    sick = [
        replace(good[0], id="gone", audio_filepath=str(tmp_path / "gone.wav"), text="z"),
        replace(good[0], id="short", duration=0.05, text="x"),
        replace(good[0], id="long", duration=9.1),
        replace(good[0], id="strange", text="ax"),
        replace(good[0], id="dense", text="a" * 99),
    ]
    write_manifest(tmp_path / "m.jsonl", [good[0], *sick, good[1], replace(good[1], id="silent", text="")])
    found, dropped = find(opened(tmp_path / "m.jsonl"), Limits(0.1, 9.0))
    assert found.rows.tolist() == [0, 6, 7]
    assert found.num_labels.tolist() == [2, 2, 0]
    assert found.durations.tolist() == [good[0].duration, good[1].duration, good[1].duration]
    a, b = TOKENIZER.encode("ab")
    assert found.label_counts == {a: 2, b: 2}  # "ab", "ba", ""
    first_reasons = ["missing-audio", "too-short", "too-long", "out-of-alphabet", "unalignable"]
    assert found.drop_counts == dict.fromkeys(first_reasons, 1)
    assert dropped == [id for id, _ in found.first_drops] == ["gone", "short", "long", "strange", "dense"]


def test_an_absent_shard_is_missing_audio(tmp_path: Path, train_manifest: Path) -> None:
    shards = Path(shard(train_manifest, tmp_path / "set"))
    (shards / "shard-000001.tar").unlink()
    found, dropped = find(opened(shards))
    assert found.rows.tolist() == [0, 1, 2, 6, 7, 8, 9, 10, 11]
    assert dropped == ["train-3", "train-4", "train-5"]
    assert "shard-000001.tar/train-3.wav" in found.first_drops[0][1]


def test_encoded_texts_are_a_sequence(train_manifest: Path) -> None:
    texts = EncodedTexts(opened(train_manifest), TOKENIZER)
    assert len(texts) == 12
    assert texts[2] == TOKENIZER.encode("bad")
    assert texts[1:3] == [TOKENIZER.encode("ba"), TOKENIZER.encode("bad")]


USABLE = Usable(
    np.array([0, 2], dtype=np.int32),
    np.array([1.5, 0.1]),
    np.array([3, 1], dtype=np.int32),
    {1: 2, 3: 2},
    {"silent": 1},
    (("u", "why"),),
)


def assert_equal(one: Usable, other: Usable) -> None:
    assert one.rows.tolist() == other.rows.tolist()
    assert one.durations.tolist() == other.durations.tolist()
    assert one.num_labels.tolist() == other.num_labels.tolist()
    assert (one.label_counts, one.drop_counts, one.first_drops) == (
        other.label_counts,
        other.drop_counts,
        other.first_drops,
    )


def test_what_is_usable_is_read_back(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "usable.safetensors"
    assert read_usable(path, "key") is None
    write_usable(path, {"train": USABLE, "dev": USABLE}, "key")
    found = read_usable(path, "key")
    assert found is not None
    assert list(found) == ["train", "dev"]
    assert_equal(found["train"], USABLE)
    assert not caplog.records
    assert read_usable(path, "another key") is None
    assert "of other data" in caplog.text


def test_every_damage_is_seen(tmp_path: Path) -> None:
    path = tmp_path / "usable.safetensors"
    write_usable(path, {"train": USABLE}, "key")
    whole = path.read_bytes()
    header = 8 + int.from_bytes(whole[:8], "little")
    for place in range(len(whole)):
        path.write_bytes(whole[:place])
        assert read_usable(path, "key") is None
    for place in range(header, len(whole)):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        assert read_usable(path, "key") is None


def test_a_changed_manifest_is_looked_at_anew(
    tmp_path: Path, train_manifest: Path, dev_manifest: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run_dir = tmp_path / "run"
    train_on([str(train_manifest)], dev_manifest, run_dir)
    before = (run_dir / "usable.safetensors").read_bytes()
    utterances = read_manifest(train_manifest)
    write_manifest(train_manifest, [replace(utterances[0], text="dd"), *utterances[1:]])
    train_on([str(train_manifest)], dev_manifest, run_dir)
    assert "it is made anew" in caplog.text
    assert (run_dir / "usable.safetensors").read_bytes() != before
    caplog.clear()
    train_on([str(train_manifest)], dev_manifest, run_dir)
    assert not caplog.text


# ------------------------------------------------------------------------------------------ statistics, processes


def test_statistics_of_a_large_corpus_are_those_of_some_of_it(
    tmp_path: Path, train_manifest: Path, dev_manifest: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hours = float(opened(train_manifest).durations.sum()) / 3600
    third = tmp_path / "third.jsonl"
    write_manifest(third, read_manifest(train_manifest)[::3])
    limit = ["data.max_duration_seconds=9"]
    statistics = {}
    for name, manifest, most in (
        ("all", train_manifest, hours),
        ("some", train_manifest, 0.4 * hours),
        ("third", third, 1),
    ):
        monkeypatch.setattr(training_data, "STATISTICS_HOURS", most)
        console = Console(record=True, file=io.StringIO(), width=200)
        train(configure([str(manifest)], dev_manifest, tmp_path / name, *limit), tmp_path / name, console)
        said = re.findall(r"statistics of features: from (.*)", console.export_text())
        assert said == (["4 of 12 utterances"] if name == "some" else [])
        statistics[name] = (tmp_path / name / "features.safetensors").read_bytes()
    assert statistics["some"] == statistics["third"] != statistics["all"]


def test_the_leader_looks_and_the_others_read(
    tmp_path: Path, train_manifest: Path, dev_manifest: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processes.dist, "barrier", lambda: None)  # one after the other, here
    run_dir = tmp_path / "run"
    run_dir.mkdir()
    config = configure([str(train_manifest)], dev_manifest, run_dir)
    told, found = {}, {}
    for rank in (0, 1):
        ours = Processes(rank, 2)
        console = Console(record=True, file=io.StringIO(), width=300)
        train_corpus, dev_corpus = (open_corpus(part, config, ours) for part in (config.data.train, config.data.dev))
        tokenizer = learn_tokenizer(config, run_dir, train_corpus, ours)
        recognizer = build_recognizer(
            config.features, config.model, config.decoding,
            sample_rate=config.data.sample_rate, case="lower", tokenizer=tokenizer,
        )  # fmt: skip
        data = build_data(config, recognizer, train_corpus, dev_corpus, run_dir, console, ours)
        assert smoothing(config, recognizer, data.train) is not None
        told[rank], found[rank] = console.export_text(), data.train
        for name in ("find_usable", "build_tokenizer", "GlobalStatistics"):
            monkeypatch.setattr(training_data, name, None)  # not for the second
    assert "left out: 2 too-long" in told[0]
    assert told[1] == ""
    assert len(found[0]) == len(found[1]) == 10
    assert [found[1][Draw(n, 0)].id for n in range(10)] == [found[0][Draw(n, 0)].id for n in range(10)]


# ------------------------------------------------------------------------------------------ addresses


class RangeHandler(BaseHTTPRequestHandler):
    """Serves a folder by ranges of bytes, as object stores do."""

    folder: Path

    def do_HEAD(self) -> None:
        """What a file is like."""
        self._begin()

    def do_GET(self) -> None:
        """A file, or a part of it."""
        data = self._begin()
        if data is not None:
            self.wfile.write(data)

    def _begin(self) -> bytes | None:
        path = self.folder / self.path.lstrip("/")
        if not path.is_file():
            self.send_error(404)
            return None
        data = path.read_bytes()
        wanted = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", ""))
        part = data[int(wanted[1]) : int(wanted[2]) + 1] if wanted else data
        self.send_response(206 if wanted else 200)
        self.send_header("Content-Length", str(len(part)))
        self.send_header("ETag", sha256(path))
        self.end_headers()
        return part

    def log_message(self, *_: object) -> None:
        """Nothing is printed."""


@pytest.fixture
def served(tmp_path: Path) -> Iterator[str]:
    handler = type("Handler", (RangeHandler,), {"folder": tmp_path})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.parametrize("protocol", ["file", "memory", "http"])
def test_threads_read_ranges_of_any_address_at_once(
    tmp_path: Path, train_manifest: Path, protocol: str, served: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    folder = shard(train_manifest, tmp_path / "set")
    if protocol == "http":
        pytest.importorskip("aiohttp")
    address = {"file": f"file://{folder}", "memory": f"memory:/{folder}", "http": f"{served}/set"}[protocol]
    if protocol == "memory":
        fsspec.filesystem("memory").put(folder, folder, recursive=True)
    corpus, files = opened(address), opened(train_manifest)
    assert all(map(corpus.has_audio, range(len(corpus))))
    assert corpus.checksums == (sha256(Path(folder) / "manifest.jsonl"),)
    wanted = np.random.default_rng(0).integers(0, len(corpus), 200).tolist()
    with ThreadPoolExecutor(8) as pool:
        for index, samples in zip(wanted, pool.map(corpus.decode, wanted)):
            assert np.array_equal(samples, files.decode(index))


def test_what_a_protocol_does_wrong_is_an_audio_error(train_manifest: Path, tmp_path: Path) -> None:
    shards = ShardSet.open(shard(train_manifest, tmp_path / "set"), SAMPLE_RATE)

    def hang_up(*_: object) -> bytes:
        raise RuntimeError("server disconnected")

    for answer, message in ((hang_up, "cannot be read: server disconnected"), (lambda *_: bytes(99_999), "got all")):
        file_system = SimpleNamespace(cat_file=answer)
        broken = ShardSet(file_system, "s3://set", shards.utterances, SAMPLE_RATE)  # type: ignore[arg-type]
        with pytest.raises(AudioError, match=rf"s3://set/shard-000000\.tar: {message}"):
            broken.waveform(0)


def test_a_manifest_that_changed_over_http_is_fetched_again(
    tmp_path: Path, train_manifest: Path, served: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("aiohttp")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    manifest = Path(shard(train_manifest, tmp_path / "set")) / "manifest.jsonl"
    assert opened(f"{served}/set")[1].text == "ba"
    manifest.write_text(manifest.read_text().replace('"ba"', '"dd"'))  # of the same size
    assert opened(f"{served}/set")[1].text == "dd"
