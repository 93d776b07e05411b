"""`tools/bench.py training`: its arithmetic, and a run on a few seconds of sung letters."""

import importlib
import json
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from asr.data.sampler import fill_batches
from tests.helpers import sung_corpus

TOOLS = Path(__file__).parent.parent / "tools"
SMALL = ("model.hidden_size=8", "model.num_layers=1", "features=logmel40", "data.sample_rate=8000")
ON_ONE_THREAD = ("data.batch_seconds=4", "machine.num_threads=1", "machine.precision=float32", "optim.lr=1e-30")


@pytest.fixture
def bench(monkeypatch):
    monkeypatch.syspath_prepend(str(TOOLS))
    return importlib.import_module("bench_training")


@pytest.fixture
def manifest(tmp_path):
    return sung_corpus(tmp_path, "train", ["ab", "abc", "ba cab", "cab", "bac", "acb", "bc", "a b c"] * 2)


def test_a_round_is_the_ratio_of_throughputs_on_the_same_batches(bench):
    measured = bench.Round(bench.Time(5.0, 18.0), bench.Time(4.5, 14.4), num_utterances=30, audio_seconds=60.0)
    assert measured.efficiency == 0.9


def test_on_a_cpu_loading_takes_its_share_of_all_cores(bench):
    parts = {"decode_ms": 2.0, "augment_ms": 0.5, "collate_ms": 0.1, "features_ms": 0.4}
    # 3 ms of loading beside a step that keeps 3 threads busy for 9 ms: 27 of 30
    assert bench.expected_on_cpu(parts, 3 * 9.0) == pytest.approx(0.9)


@pytest.mark.parametrize(("workers", "expected"), [(8, 0.9 / 1.0), (1, 0.9 / 2.6)])
def test_a_gpu_waits_for_features_and_only_for_slow_loading(bench, workers, expected):
    parts = {"decode_ms": 2.0, "augment_ms": 0.5, "collate_ms": 0.1, "features_ms": 0.1}
    assert bench.expected_on_gpu(parts, 0.9, workers) == pytest.approx(expected)


def test_padding_is_counted_in_frames_at_the_speeds_of_the_epoch(bench):
    class Features:
        def num_frames(self, num_samples):
            return num_samples // 80 - 1

    class Task:
        features = Features()
        train_data = type("Data", (), {"durations": np.array([1.1, 2.0, 2.0])})
        recognizer = type("Recognizer", (), {"sample_rate": 8000})

    class Plan:
        surroundings = None
        speeds = np.array([1.1, 1.0, 0.8])  # 1, 2 and 2.5 seconds: 99, 199 and 249 frames
        batches = fill_batches(np.array([1.0, 2.0, 2.5]), [0, 1, 2], budget=4.0)  # the first two together

    assert len(Plan.batches) == 2
    assert bench.frame_padding(Task(), Plan()) == pytest.approx(100 / (2 * 199 + 249))


def test_it_runs_from_files_to_figures(bench, manifest, monkeypatch, capsys, no_curves):
    overrides = [word for option in (*SMALL, *ON_ONE_THREAD) for word in ("--set", option)]
    options = ["--device", "cpu", "--manifest", str(manifest), "--batches", "2", "--seconds", "0", *overrides]
    monkeypatch.setattr(sys, "argv", ["bench.py", "training", "--json", *options])
    importlib.import_module("bench").main()
    figures = json.loads(capsys.readouterr().out)
    assert figures["efficiency_min"] <= figures["efficiency"] <= figures["efficiency_max"]
    assert figures["efficiency"] > 0.0
    assert 0.0 < figures["expected"] < 1.0
    assert 0.0 <= figures["padding"] < 0.5
    assert figures["rounds"] == bench.MIN_ROUNDS
    assert figures["audio_seconds_per_second"] > figures["utterances_per_second"] * 0.3  # the shortest lasts 0.3 s
    assert (figures["device"], figures["precision"], figures["threads"]) == ("cpu", "32-true", 1)


def test_without_data_it_makes_some_up(bench, tmp_path, monkeypatch):
    monkeypatch.delenv("ASR_DATA", raising=False)
    monkeypatch.setattr(bench, "made_up_speech", lambda folder, made=bench.made_up_speech: made(folder, 3))
    config = bench.make_config(tmp_path, None, [])
    (manifest,) = config.data.train
    lines = [json.loads(line) for line in Path(manifest).read_text().splitlines()]
    assert len(lines) == 3
    for line in lines:
        seconds = soundfile.info(str(Path(manifest).parent / line["audio_filepath"])).duration
        assert 4 <= line["duration"] == seconds <= 16
        assert len(line["text"]) == pytest.approx(14 * line["duration"], abs=4)


def test_an_option_of_another_benchmark_is_refused(bench, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["bench.py", "scoring", "--model", "4x320"])
    with pytest.raises(SystemExit):
        importlib.import_module("bench").main()
    assert "--model is not for the benchmark scoring" in capsys.readouterr().err
