"""A run directory is one run's: who may go on there, with which other options, and one process at a time."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from test_training import StopAfter, configure, corpus, losses, weights  # noqa: F401  # a fixture

from asr.cli.train import train_stage
from asr.config import Config, to_json
from asr.data.manifest import read_manifest, write_manifest
from asr.errors import ConfigError, Interrupted, ManifestError, OutputError
from asr.language_config import LanguageConfig
from asr.training.checkpoint import save_checkpoint
from asr.training.claim import CHANGEABLE, NOT_COMPARED, Claim, claim
from asr.training.course import Course, read_course
from asr.training.run_lock import is_locked, locked
from asr.training.run_state import read_result, read_state

PLAIN = {"training": {"epochs": 9}}


def begun(run_dir, config, epoch=3, step=30):
    """A run directory in which so much was trained."""
    claim(run_dir, PLAIN | config, {})
    save_checkpoint(run_dir / "checkpoints", "resume", step, {"w": torch.zeros(1)}, {"epoch": epoch, "step": step})
    return PLAIN | config


def test_every_option_that_may_change_exists():
    """And every new one is compared until it is listed."""

    def names(config, prefix=""):
        for name, value in config.items():
            yield f"{prefix}{name}"
            if isinstance(value, dict):
                yield from names(value, f"{prefix}{name}.")

    known = {*names(to_json(Config())), *names(to_json(LanguageConfig())), "manifests", "contents"}
    assert {*CHANGEABLE, *NOT_COMPARED} <= known


def test_another_config_in_the_same_directory_is_refused(tmp_path):
    config = begun(tmp_path, {"run_dir": "a", "optim": {"lr": 0.001}, "machine": {"num_workers": 1}})
    assert claim(tmp_path, {**config, "run_dir": "b", "machine": {"num_workers": 9}}, {}) == Claim(9)
    assert json.loads((tmp_path / "config.json").read_text())["machine"] == {"num_workers": 9}
    with pytest.raises(ConfigError, match=r"optim\.lr: 0\.001 -> 0\.002\n.*Begin another run"):
        claim(tmp_path, {**config, "optim": {"lr": 0.002}}, {})
    assert json.loads((tmp_path / "config.json").read_text())["optim"] == {"lr": 0.001}


def test_a_directory_without_a_step_takes_another_config(tmp_path):
    claim(tmp_path, PLAIN | {"optim": {"lr": 0.001}}, {})
    (tmp_path / "tokenizer.json").write_text("of that run")
    (tmp_path / "mine.txt").write_text("the user's")
    (note,) = claim(tmp_path, PLAIN | {"optim": {"lr": 0.002}}, {}).notes
    assert "begins anew" in note
    assert json.loads((tmp_path / "config.json").read_text())["optim"] == {"lr": 0.002}
    assert not (tmp_path / "tokenizer.json").exists()
    assert (tmp_path / "mine.txt").exists()


def test_an_option_younger_than_a_run_had_its_default_there(tmp_path):
    defaults = {"optim": {"lr": 1.0, "weight_noise": 0.0}}
    begun(tmp_path, {"optim": {"lr": 0.001}})
    claim(tmp_path, PLAIN | {"optim": {"lr": 0.001, "weight_noise": 0.0}}, defaults)
    with pytest.raises(ConfigError, match=r"optim\.weight_noise: 0\.0 -> 0\.1"):
        claim(tmp_path, PLAIN | {"optim": {"lr": 0.001, "weight_noise": 0.1}}, defaults)


def test_files_count_by_what_is_in_them(tmp_path):
    config = begun(tmp_path, {"data": {"train": ["a", "b"]}, "manifests": {"a": "1", "b": "2"}})
    moved = PLAIN | {"data": {"train": ["/there/a", "/there/b"]}, "manifests": {"/there/a": "1", "/there/b": "2"}}
    assert claim(tmp_path, moved, {}) == Claim(9)
    with pytest.raises(ConfigError, match=r"data\.train: /there/b as it was -> as it is now, with other contents"):
        claim(tmp_path, {**moved, "manifests": {"/there/a": "1", "/there/b": "3"}}, {})
    with pytest.raises(ConfigError, match=r"data\.train: \['/there/a', '/there/b'\] -> \['b', 'a'\]"):
        claim(tmp_path, {**config, "data": {"train": ["b", "a"]}}, {})


def test_a_config_that_cannot_be_read_is_named(tmp_path):
    (tmp_path / "config.json").write_text('{"optim')
    with pytest.raises(ConfigError, match=r"config\.json cannot be read"):
        claim(tmp_path, PLAIN, {})


@pytest.mark.parametrize(
    ("schedule", "epoch", "epochs", "course", "said"),
    [
        ("cosine", 3, 6, Course(6, first_epochs=3, restarts=(3,)), "warm restart at optim.restart_share=0.3"),
        ("one_cycle", 3, 6, Course(6, first_epochs=3, restarts=(3,)), "warm restart"),
        ("cosine", 2, 6, Course(6, first_epochs=3), "the cosine schedule ends with epoch 6 from here on"),
        ("cosine", 2, 2, Course(2, first_epochs=3), "ends with epoch 2 from here on"),
        ("constant", 3, 6, Course(6, first_epochs=3), "goes on after epoch 3 with training.epochs 3 -> 6"),
        ("plateau", 3, 6, Course(6, first_epochs=3), "goes on after epoch 3"),
    ],
)
def test_what_becomes_of_the_schedule(tmp_path, schedule, epoch, epochs, course, said):
    config = {"optim": {"schedule": schedule, "restart_share": 0.3}, "training": {"epochs": 3}}
    begun(tmp_path, config, epoch=epoch)
    notes = claim(tmp_path, {**config, "training": {"epochs": epochs}}, {}).notes
    assert said in "\n".join(notes)
    assert ("\n" in "\n".join(notes)) == (schedule in ("cosine", "one_cycle"))
    assert read_course(tmp_path, epochs) == course
    assert claim(tmp_path, {**config, "training": {"epochs": epochs}}, {}) == Claim(epochs)


def test_less_epochs_than_are_trained_already(tmp_path):
    """They cannot be taken back: the run ends where it is."""
    config = {"optim": {"schedule": "cosine"}, "training": {"epochs": 9}}
    begun(tmp_path, config, epoch=3)
    asked = {**config, "training": {"epochs": 2}}
    claimed = claim(tmp_path, asked, {})
    assert claimed.epochs == 3
    assert claimed.notes[0] == "training.epochs=2: 3 are trained already, and stay"
    assert read_course(tmp_path, 3) == Course(3, first_epochs=9)
    assert claim(tmp_path, asked, {}) == Claim(3, claimed.notes[:1])


# ---- whole runs ----------------------------------------------------------------------------------------------------

STEADY = ["optim.schedule=constant", "optim.warmup_steps=2", "training.log_every_steps=1", "model.dropout=0.2"]


@pytest.mark.parametrize("stopped", [False, True])
@pytest.mark.parametrize("schedule", ["constant", "plateau"])
def test_more_epochs_are_as_if_it_had_never_ended(corpus, tmp_path, monkeypatch, stopped, schedule):  # noqa: F811
    """Ended, or stopped on the way: steps, figures and weights are those of a run that had them from the beginning."""
    steady = [*STEADY, f"optim.schedule={schedule}"]
    train_stage(configure(corpus, tmp_path / "whole", *steady, "training.epochs=4"))
    if stopped:
        with monkeypatch.context() as patch:
            StopAfter(patch, 7)
            with pytest.raises(Interrupted):
                train_stage(configure(corpus, tmp_path / "run", *steady, "training.epochs=2"))
    else:
        train_stage(configure(corpus, tmp_path / "run", *steady, "training.epochs=2"))
    train_stage(configure(corpus, tmp_path / "run", *steady, "training.epochs=4"))
    assert losses(tmp_path / "run") == losses(tmp_path / "whole")
    whole, run = weights(tmp_path / "whole"), weights(tmp_path / "run")
    assert all(torch.equal(whole[name], run[name]) for name in whole)


def rates(run_dir):
    records = map(json.loads, (run_dir / "history.jsonl").read_text().splitlines())
    return [record["lr"] for record in records if record["kind"] == "step"]


def test_an_ended_cosine_run_goes_on_with_a_warm_restart(corpus, tmp_path, capsys):  # noqa: F811
    fall = ["optim.schedule=cosine", "optim.lr=0.01", "optim.restart_share=0.5", "training.log_every_steps=1"]
    model = train_stage(configure(corpus, tmp_path / "run", *fall, "training.epochs=2"))
    first = rates(tmp_path / "run")
    assert model.is_dir()
    train_stage(configure(corpus, tmp_path / "run", *fall, "training.epochs=4"))
    assert "warm restart at optim.restart_share=0.5" in capsys.readouterr().out
    after = rates(tmp_path / "run")
    assert after[: len(first)] == first
    assert after[len(first)] == pytest.approx(0.005)
    assert after[len(first) :] == sorted(after[len(first) :], reverse=True)
    assert after[-1] < 0.001
    assert json.loads((tmp_path / "run" / "config.json").read_text())["training"]["epochs"] == 4
    (change,) = map(json.loads, (tmp_path / "run" / "changes.jsonl").read_text().splitlines())
    assert (change["epoch"], change["step"], change["restart"]) == (2, len(first), True)
    assert change["changes"] == {"training.epochs": [2, 4]}
    assert read_result(tmp_path / "run").epochs == 4


@pytest.mark.parametrize(
    "override",
    [
        "training.num_samples=1",
        "training.checkpoint_minutes=1",
        "training.log_every_steps=5",
        "training.patience=3",
        "training.average_best=1",
        "decoding.beam_width=10",
        "decoding=beam",
        "scoring.normalizers=[basic]",
    ],
)
def test_what_says_nothing_about_the_past_may_change(corpus, tmp_path, override):  # noqa: F811
    train_stage(configure(corpus, tmp_path / "run", "training.epochs=1"))
    before = losses(tmp_path / "run")
    train_stage(configure(corpus, tmp_path / "run", "training.epochs=1", override))
    assert losses(tmp_path / "run") == before
    train_stage(configure(corpus, tmp_path / "run", "training.epochs=2", override))
    assert losses(tmp_path / "run")[: len(before)] == before


@pytest.mark.parametrize(
    "override", ["optim.lr=0.5", "optim.schedule=plateau", "seed=7", "model.dropout=0.5", "training.criterion=wer"]
)
def test_what_would_make_the_past_untrue_is_refused(corpus, tmp_path, override):  # noqa: F811
    train_stage(configure(corpus, tmp_path / "run", "training.epochs=1", "training.criterion=cer"))
    with pytest.raises(ConfigError, match=override.partition("=")[0]) as caught:
        train_stage(configure(corpus, tmp_path / "run", "training.epochs=1", "training.criterion=cer", override))
    assert "training.initial_model=" in str(caught.value)
    assert "run_dir=" in str(caught.value)


def test_after_bad_data_the_same_directory_takes_good_data(corpus, tmp_path):  # noqa: F811
    good = read_manifest(corpus["train"])
    write_manifest(corpus["train"], [replace(utterance, text="abc " * 40) for utterance in good])
    with pytest.raises(ManifestError, match="can be used"):
        train_stage(configure(corpus, tmp_path / "run", "training.epochs=1"))
    assert read_state(tmp_path / "run")[0] == "failed"
    write_manifest(corpus["train"], good)
    train_stage(configure(corpus, tmp_path / "run", "training.epochs=1", "optim.lr=0.002"))
    assert read_state(tmp_path / "run") == ("finished", "")


# ---- one process at a time -----------------------------------------------------------------------------------------

HOLDER = """
import sys
from pathlib import Path
from asr.training.run_lock import locked
with locked(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_of_two_processes_the_second_is_refused_until_the_first_is_gone(tmp_path):
    """Even when it is killed, so that it can clean nothing up."""
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent)}
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(tmp_path / "run")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=environment,
    )
    try:
        assert holder.stdout.readline() == b"held\n"
        assert is_locked(tmp_path / "run")
        refused = pytest.raises(ConfigError, match=rf"another process trains in .*run \(process {holder.pid} on ")
        with refused, locked(tmp_path / "run"):
            pytest.fail("two at once")
    finally:
        holder.kill()
        holder.communicate()
    assert not is_locked(tmp_path / "run")
    with locked(tmp_path / "run"):
        assert is_locked(tmp_path / "run")


def test_a_second_run_in_a_directory_changes_nothing_there(corpus, tmp_path):  # noqa: F811
    with locked(tmp_path / "run"), pytest.raises(ConfigError, match="another process trains in"):
        train_stage(configure(corpus, tmp_path / "run", "training.epochs=1"))
    assert [path.name for path in (tmp_path / "run").iterdir()] == [".lock"]


def test_a_directory_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot be written"), locked(tmp_path / "file" / "run"):
        pytest.fail("there is a file")


def test_a_killed_run_counts_as_stopped(tmp_path):
    (tmp_path / "state.json").write_text('{"state": "running"}')
    assert read_state(tmp_path) == ("stopped", "it was killed")
    with locked(tmp_path):
        assert read_state(tmp_path) == ("running", "")
    assert read_state(tmp_path / "nowhere") is None
