"""`tools/compare_speechbrain.py` as far as it goes without SpeechBrain: the job, a worker, the arithmetic."""

import json
import sys
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from asr.audio import write_audio
from asr.data.manifest import write_manifest
from asr.errors import AsrError, ManifestError
from asr.types import Utterance

ROOT = Path(__file__).parent.parent


@pytest.fixture
def tool(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "tools"))
    import compare_speechbrain

    return compare_speechbrain


def noisy_corpus(directory, seconds, text="ab a", rate=16000):
    """A manifest of faint noise, one utterance for each length."""
    rng = np.random.default_rng(0)
    utterances = []
    for number, length in enumerate(seconds):
        path = directory / f"{number}.wav"
        write_audio(path, 0.01 * rng.standard_normal(int(length * rate)).astype(np.float32), rate)
        utterances.append(Utterance(f"u{number}", str(path), length, text))
    write_manifest(directory / "corpus.jsonl", utterances)
    return directory / "corpus.jsonl"


def test_a_job_holds_batches_within_the_budget_and_survives_json(tool, tmp_path):
    manifest = noisy_corpus(tmp_path, [1.0, 1.0, 2.0, 2.0, 2.0, 0.1])
    job = json.loads(json.dumps(tool.make_job(manifest, num_batches=2, batch_seconds=4.5)))
    rows = job["utterances"]
    assert [row["id"] for row in rows] == ["u0", "u1", "u2", "u3", "u4"]  # 0.1 s has 3 stacks, for 4 letters
    assert rows[0]["target"] == [2, 3, 1, 2]  # blank is 0, then space, a, b
    assert job["vocab_size"] == 4
    assert len(job["batches"]) == 2
    for batch in job["batches"]:
        assert max(rows[index]["duration"] for index in batch) * len(batch) <= 4.5


def test_too_small_a_manifest_and_another_rate_are_refused(tool, tmp_path):
    manifest = noisy_corpus(tmp_path, [1.0, 1.0])
    with pytest.raises(ManifestError, match=r"expected enough for 5 batches of 2 seconds, got 1"):
        tool.make_job(manifest, num_batches=5, batch_seconds=2.0)
    manifest = noisy_corpus(tmp_path, [1.0, 1.0], rate=8000)
    with pytest.raises(ManifestError, match=r"expected audio of 16000 Hz, got 8000 Hz in .*\.wav"):
        tool.make_job(manifest, num_batches=1, batch_seconds=2.0)


def test_a_factor_is_the_median_of_the_rounds_ratios(tool):
    """Ours makes 10, 20 and 10 utterances a second, the peer 5, 5 and 1: 2, 4 and 10 times, though 10 / 5 is 2."""
    seconds = {"ours": [1.0, 0.5, 1.0], "speechbrain": [2.0, 2.0, 10.0], "speechbrain_without_lengths": [1.0, 1.0, 1.0]}
    blocks = [
        tool.Block(system, kind, number + 1, 10, taken if kind == "from_files" else 1.0, 500, loss=3.0 - number)
        for kind in tool.KINDS
        for number in range(3)
        for system, taken in ((system, times[number]) for system, times in seconds.items())
    ]
    figures = tool.summarize(blocks)
    assert figures["over_speechbrain"] == 4.0
    assert figures["over_speechbrain_without_lengths"] == 1.0
    assert figures["from_files"]["over"]["speechbrain"] == {"median": 4.0, "lowest": 2.0, "highest": 10.0}
    assert figures["from_files"]["utterances_per_second"]["ours"] == {"median": 10.0, "lowest": 10.0, "highest": 20.0}
    assert figures["from_memory"]["over"]["speechbrain"]["median"] == 1.0
    assert figures["input_frames"]["ours"] == 1500
    assert figures["last_loss"]["speechbrain"] == 1.0


def test_our_worker_trains_from_files_and_from_memory(tool, tmp_path, monkeypatch):
    """What comes back is what the blocks and the check of likeness need."""
    job = tool.make_job(noisy_corpus(tmp_path, [0.5, 0.5]), num_batches=1, batch_seconds=1.2)
    path = tmp_path / "job.json"
    path.write_text(json.dumps(job))
    with closing(tool.Worker("ours", sys.executable, path, num_threads=1, num_workers=1)) as worker:
        assert worker.hello["speechbrain"] is None
        # 4 layers of 2 directions and 4 gates: 240 or 640 inputs, 320 states, two biases; the output has 4 tokens
        layers = [2 * 4 * 320 * (inputs + 320 + 2) for inputs in (240, 640, 640, 640)]
        assert worker.hello["num_parameters"] == sum(layers) + (640 + 1) * 4
        replies = [worker.run(kind, [0]) for kind in tool.KINDS]
        # 0.5 s: 48 frames of 25 ms every 10 ms, 16 stacks of three, two utterances
        assert [reply["input_frames"] for reply in replies] == [32, 32]
        assert 0.0 < replies[1]["loss"] < replies[0]["loss"]  # the same batch again, one update later
        tool.check_alike([worker, worker])


def test_a_worker_that_ends_and_one_that_differs_are_named(tool, tmp_path):
    with pytest.raises(AsrError, match="the worker of speechbrain ended with status 1"):
        tool.Worker("speechbrain", sys.executable, tmp_path / "absent.json", num_threads=1, num_workers=0)

    class Told:
        def __init__(self, system, torch):
            self.system = system
            self.hello = {"python": "3.11.7", "torch": torch, "num_parameters": 1}

    with pytest.raises(
        AsrError, match=r"expected the same torch for all, got {'ours': '2.11.0', 'speechbrain': '2.7.1'}"
    ):
        tool.check_alike([Told("ours", "2.11.0"), Told("speechbrain", "2.7.1")])
