"""Disks that are full or read-only, files that rot: in real processes, the checkpoints before are always whole."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from test_training import TEXTS, configure, corpus, losses, weights  # noqa: F401  # a fixture

from asr.cli.train import train_stage
from asr.errors import Interrupted
from asr.model_directory import ModelFiles, read_model, write_model
from asr.training.checkpoint import list_checkpoints, load_newest, only_whole, save_checkpoint
from asr.training.loop import Trainer
from asr.training.position import Position
from asr.training.selection import best_epochs

pytestmark = pytest.mark.usefixtures("no_curves")

DAMAGES = {
    "emptied": lambda data: b"",
    "truncated": lambda data: data[: len(data) // 2],
    "one bit flipped": lambda data: data[:-1] + bytes([data[-1] ^ 1]),
}
damaged = pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES.keys())

SAVE = """
import os, resource, sys
from pathlib import Path
import torch
from asr.errors import OutputError
from asr.model_directory import ModelFiles, write_model
from asr.training.checkpoint import save_checkpoint
how, what = sys.argv[1:]
if how == "full":
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
elif os.geteuid() == 0:
    os.setuid(65534)  # nobody: root may write anywhere
tensors = {"w": torch.zeros(100_000)}  # 400 kB
try:
    if what == "checkpoint":
        save_checkpoint(Path("place"), "resume", 2, tensors, {})
    else:
        write_model(Path("place/model"), ModelFiles({}, tensors, {}), "card")
except OutputError as error:
    print(error)
    sys.exit(7)
"""


def run_child(where, how, what):
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent)}
    command = [sys.executable, "-c", SAVE, how, what]
    return subprocess.run(command, capture_output=True, text=True, cwd=where, env=environment)


@pytest.fixture
def place(tmp_path):
    """A directory with a checkpoint and a model; relative paths reach it whoever asks."""
    tmp_path.chmod(0o755)
    directory = tmp_path / "place"
    save_checkpoint(directory, "resume", 1, {"w": torch.ones(3)}, {"step": 1})
    write_model(directory / "model", ModelFiles({"a": 1}, {"w": torch.ones(3)}, {"b": 2}), "the card")
    return directory


@pytest.mark.skipif(os.name == "nt", reason="limits and rights of Unix")
@pytest.mark.parametrize("what", ["checkpoint", "model"])
@pytest.mark.parametrize(("how", "reason"), [("full", "File too large"), ("read-only", "ermission denied")])
def test_a_disk_that_takes_nothing(place, how, reason, what):
    if how == "read-only":
        place.chmod(0o555)
    before = sorted(place.rglob("*"))
    result = run_child(place.parent, how, what)
    place.chmod(0o755)
    assert result.returncode == 7, result.stderr
    assert reason in result.stdout
    assert "untouched" in result.stdout
    assert sorted(place.rglob("*")) == before
    newest = load_newest(place, "resume", pytest.fail)
    assert newest is not None
    assert newest.state == {"step": 1}
    assert read_model(place / "model").config == {"a": 1}


def interrupted_run(corpus, run_dir, monkeypatch, *overrides):  # noqa: F811
    """Stop a run in its second epoch, with two checkpoints there."""
    original = Trainer._save_or_stop

    def stop(trainer):
        trainer._stop_requested = trainer.position.epoch == 1 and trainer.position.batch == 2
        original(trainer)

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "_save_or_stop", stop)
        with pytest.raises(Interrupted):
            train_stage(configure(corpus, run_dir, *overrides))


OVERRIDES = ["training.log_every_steps=1", "training.epochs=2", "model.dropout=0.2"]


@damaged
def test_a_run_whose_last_checkpoint_rotted(corpus, tmp_path, monkeypatch, capsys, damage):  # noqa: F811
    train_stage(configure(corpus, tmp_path / "whole", *OVERRIDES))
    interrupted_run(corpus, tmp_path / "run", monkeypatch, *OVERRIDES)
    newest = list_checkpoints(tmp_path / "run" / "checkpoints", "resume")[-1]
    newest.write_bytes(damage(newest.read_bytes()))
    train_stage(configure(corpus, tmp_path / "run", *OVERRIDES))
    said = " ".join(capsys.readouterr().out.split())
    assert f"{newest.name} is damaged" in said.replace(" ", "").replace("isdamaged", " is damaged")
    assert "using the one before" in said
    assert losses(tmp_path / "run") == losses(tmp_path / "whole")
    whole, run = weights(tmp_path / "whole"), weights(tmp_path / "run")
    assert all(torch.equal(whole[name], run[name]) for name in whole)


def test_a_run_whose_every_checkpoint_rotted_begins_anew(corpus, tmp_path, monkeypatch, capsys):  # noqa: F811
    """Also with checkpoints of epochs lying there that will come again."""
    train_stage(configure(corpus, tmp_path / "whole", *OVERRIDES))
    interrupted_run(corpus, tmp_path / "run", monkeypatch, *OVERRIDES)
    for path in list_checkpoints(tmp_path / "run" / "checkpoints", "resume"):
        path.write_bytes(b"")
    train_stage(configure(corpus, tmp_path / "run", *OVERRIDES))
    assert "there is none before: beginning anew" in " ".join(capsys.readouterr().out.split())
    assert losses(tmp_path / "run") == losses(tmp_path / "whole")


def test_epochs_ahead_of_the_place_do_not_count(tmp_path):
    for epoch in range(3):
        save_checkpoint(tmp_path, "epoch", epoch, {"w": torch.full((2,), float(epoch))}, {})
    position = Position(epoch=2, error_rates=[0.5, 0.4], losses=[1.0, 1.0])
    assert [path.name[:14] for path in best_epochs(tmp_path, position, 5)] == ["epoch-00000001", "epoch-00000000"]


@damaged
def test_an_epoch_that_rotted_is_left_out_of_the_export(corpus, tmp_path, monkeypatch, capsys, damage):  # noqa: F811
    original = Trainer.choose_mean

    def rot(trainer):
        best = trainer.best_checkpoints()[0]
        best.write_bytes(damage(best.read_bytes()))
        return original(trainer)

    monkeypatch.setattr(Trainer, "choose_mean", rot)
    train_stage(configure(corpus, tmp_path / "run", *OVERRIDES))
    said = " ".join(capsys.readouterr().out.split())
    assert "this epoch is left out" in said
    assert "exporting epoch" in said
    train_stage(configure(corpus, tmp_path / "one", *OVERRIDES, "training.average_best=1"))
    assert "exporting the weights after the last epoch" in " ".join(capsys.readouterr().out.split())


def test_a_disk_that_gives_nothing_back(tmp_path, monkeypatch):
    path = save_checkpoint(tmp_path, "resume", 1, {"w": torch.ones(3)}, {})

    def fail(*_):
        raise OSError(5, "Input/output error")

    monkeypatch.setattr("asr.training.checkpoint.sha256", fail)
    heard = []
    assert only_whole([path], heard.append) == []
    assert "Input/output error" in heard[0]


FULL_RUN = """
import resource, sys
from asr.cli.train import train_stage
from asr.training.loop import Trainer
from test_training import configure
original = Trainer._train_epoch
def fill_up(trainer):
    if trainer.position.epoch == 1:
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
    original(trainer)
Trainer._train_epoch = fill_up
train_stage(configure({"train": sys.argv[1], "dev": sys.argv[2]}, sys.argv[3], *sys.argv[4:]))
"""


@pytest.mark.skipif(os.name == "nt", reason="a limit of Unix")
def test_a_run_whose_disk_filled_up_goes_on_when_there_is_room(corpus, tmp_path):  # noqa: F811
    train_stage(configure(corpus, tmp_path / "whole", *OVERRIDES))
    arguments = [str(corpus["train"]), str(corpus["dev"]), str(tmp_path / "run"), *OVERRIDES]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent)}
    result = subprocess.run(
        [sys.executable, "-c", FULL_RUN, *arguments],
        capture_output=True,
        text=True,
        cwd=Path(__file__).parent,
        env=environment,
    )
    assert result.returncode == 1
    assert "OutputError: no checkpoint can be written to" in result.stderr, result.stderr
    assert list_checkpoints(tmp_path / "run" / "checkpoints", "resume")
    train_stage(configure(corpus, tmp_path / "run", *OVERRIDES))
    assert losses(tmp_path / "run") == losses(tmp_path / "whole")


def test_checkpoints_by_steps(corpus, tmp_path, monkeypatch):  # noqa: F811
    saved = []
    original = Trainer._save
    monkeypatch.setattr(Trainer, "_save", lambda trainer: (saved.append(trainer.position.step), original(trainer)))
    train_stage(configure(corpus, tmp_path / "run", "training.checkpoint_steps=3", "training.epochs=1"))
    num_steps = saved[-1]
    assert saved == [*range(3, num_steps + 1, 3), num_steps]  # and at the end of the epoch
