"""`tools/torture.py`: a killed run loses nothing, and what it would lose is named."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    """Three kills of a short run."""
    directory = tmp_path_factory.mktemp("torture")
    command = [sys.executable, str(ROOT / "tools" / "torture.py"), "--kills", "3", "--epochs", "2", "--fork"]
    result = subprocess.run(
        [*command, "--work", str(directory)], capture_output=True, text=True, env={"PYTHONPATH": str(ROOT)}
    )
    assert result.returncode == 0, result.stdout + result.stderr
    assert result.stdout.splitlines()[-1].startswith("EQUAL: weights, moments and every loss, after 3 kills")
    return directory


@pytest.fixture
def runs(work, tmp_path, monkeypatch):
    """The undisturbed run, and a killed one to be spoilt."""
    monkeypatch.syspath_prepend(str(ROOT / "tools"))
    shutil.copytree(work / "killed-0", tmp_path / "killed-0")
    return work / "whole", tmp_path / "killed-0"


def test_equal_runs_compare_equal(runs):
    from torture import compare

    compare(*runs)


def test_a_loss_that_differs_is_named(runs):
    from torture import TortureError, compare

    path = runs[1] / "history.jsonl"
    records = [json.loads(line) for line in path.read_text().splitlines()]
    records[2]["loss"] += 1e-12
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    with pytest.raises(TortureError, match=r"killed-0: history\.jsonl has .*'step': 2"):
        compare(*runs)
    path.write_text("".join(json.dumps(record) + "\n" for record in records[:2]))
    with pytest.raises(TortureError, match="2 records in history"):
        compare(*runs)


def test_weights_that_differ_are_named(runs):
    from torture import TortureError, compare

    from asr.training.checkpoint import list_checkpoints, load_checkpoint, save_checkpoint

    directory = runs[1] / "checkpoints"
    newest = list_checkpoints(directory, "resume")[-1]
    checkpoint = load_checkpoint(newest)
    checkpoint.tensors["model.output.bias"][0] += 1e-7
    newest.unlink()
    save_checkpoint(directory, "resume", 99, checkpoint.tensors, checkpoint.state)
    with pytest.raises(TortureError, match=r"1 of \d+ tensors differ, as \['model\.output\.bias'\]"):
        compare(*runs)
