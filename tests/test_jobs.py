"""Sweeps: which runs they are, where these lie, and what happens when one of them fails."""

import json
import sys
from pathlib import Path

import pytest
from helpers import SAMPLE_RATE, sung_corpus
from typer.testing import CliRunner

from asr.cli import jobs
from asr.cli.jobs import Request, carry_out, folder_names
from asr.cli.main import app
from asr.errors import AsrError, ConfigError, Interrupted

DATA = ["data.train=[t.jsonl]", "data.dev=[d.jsonl]"]


def places(*overrides):
    """The run directories of a sweep."""
    asked = Request([*DATA, *overrides], multirun=True)
    return [config.run_dir for config in done(asked)]


def done(request, **options):
    """The configs that are acted upon, in order."""
    configs = []
    carry_out(request, configs.append, check=lambda config: None, **options)
    return configs


def test_one_run_has_the_directory_that_is_given():
    assert [config.run_dir for config in done(Request([*DATA, "run_dir=mine"]))] == ["mine"]
    assert places("run_dir=mine") == ["mine"]  # -m without anything to sweep


def test_runs_lie_below_the_given_directory_named_by_what_is_swept():
    assert places("run_dir=mine", "optim.lr=1e-3,2e-3", "seed=7") == ["mine/optim.lr=0.001", "mine/optim.lr=0.002"]
    assert places("run_dir=mine", "model=blstm_2x128,lstm_4x512", "seed=1,2")[1:3] == [
        "mine/model=blstm_2x128,seed=2",
        "mine/model=lstm_4x512,seed=1",
    ]


def test_without_a_directory_they_lie_in_a_folder_of_sweeps():
    first, second = map(Path, places("optim.lr=1e-3,2e-3"))
    assert (first.name, second.name) == ("optim.lr=0.001", "optim.lr=0.002")
    assert first.parent == second.parent
    assert first.parts[:2] == ("runs", "sweeps")
    assert places("hydra.sweep.dir=s", "seed=1,2") == ["s/seed=1", "s/seed=2"]


def test_directories_that_differ_by_themselves_are_kept():
    assert places("run_dir='runs/lr-${optim.lr}'", "optim.lr=1e-3,2e-3") == ["runs/lr-0.001", "runs/lr-0.002"]
    assert places("run_dir=a,b") == ["a", "b"]
    assert places("run_dir=a,b", "seed=1,2") == ["a/seed=1", "a/seed=2", "b/seed=1", "b/seed=2"]


def test_paths_that_are_swept_make_no_folders():
    names = [Path(place).name for place in places("run_dir=r", "data.train=[/a/train.jsonl],[/b/train.jsonl]")]
    assert names == ["data.train=a_train.jsonl", "data.train=b_train.jsonl"]
    assert all(Path(place).parent == Path("r") for place in places("run_dir=r", "data.dev=[/a/b/c.jsonl],[x]"))


def test_long_values_make_short_names_that_differ():
    assert folder_names([[("data.train", "/ü/ö")]]) == ["data.train=none"]
    long = "x" * 300
    names = folder_names([[("data.train", f"/{end}/{long}")] for end in "ab"])
    assert len(set(names)) == 2
    assert all(len(name) <= jobs.LONGEST_NAME for name in names)
    many = folder_names([[(f"data.options.{i}", f"{long}{j}") for i in range(9)] for j in range(2)])
    assert len(set(many)) == 2
    assert all(len(name) <= jobs.LONGEST_NAME for name in many)


def test_the_same_run_twice_is_refused():
    with pytest.raises(ConfigError, match=r"expected runs that differ, got 2 of them for r/optim\.lr=0\.001"):
        places("run_dir=r", "optim.lr=1e-3,0.001")


def test_all_configs_are_checked_before_the_first_run():
    acted = []
    with pytest.raises(ConfigError, match=r"model\.frontend\.stride: expected no more than stack"):
        carry_out(Request([*DATA, "model.frontend.stride=2,4"], multirun=True), acted.append, check=lambda config: None)
    assert acted == []

    def look(config):
        if config.seed == 2:
            raise ConfigError("nothing there")

    with pytest.raises(ConfigError, match="nothing there"):
        carry_out(Request([*DATA, "seed=1,2"], multirun=True), acted.append, check=look)
    assert acted == []


def test_a_run_that_fails_does_not_stop_the_others(capsys):
    acted = []

    def act(config):
        acted.append(config.seed)
        if config.seed == 2:
            raise AsrError("two is no good")

    with pytest.raises(AsrError, match=r"^1 of 3 runs failed: seed=2$"):
        carry_out(Request([*DATA, "seed=1,2,3"], multirun=True), act, check=lambda config: None)
    assert acted == [1, 2, 3]
    said = capsys.readouterr().err
    assert "run 3 of 3: seed=3, in " in said
    assert "error: two is no good" in said


def test_ctrl_c_stops_all():
    acted = []

    def act(config):
        acted.append(config.seed)
        raise Interrupted("stopped")

    with pytest.raises(Interrupted):
        carry_out(Request([*DATA, "seed=1,2"], multirun=True), act, check=lambda config: None)
    assert acted == [1]


def test_asr_run_takes_no_launcher():
    pytest.importorskip("submitit")
    with pytest.raises(ConfigError, match=r"^hydra/launcher: expected none for asr run"):
        done(Request([*DATA, "+cluster=slurm"]), may_launch=False)


def test_a_launcher_does_the_runs_elsewhere(tmp_path, monkeypatch, capsys):
    """Two processes by submitit's executor for one machine."""
    pytest.importorskip("submitit")
    monkeypatch.chdir(tmp_path)

    def note(config):
        Path(config.run_dir, "seed.json").write_text(json.dumps({"seed": config.seed, "command": sys.argv[0]}))
        if config.seed == 2:
            raise AsrError("two is no good")

    monkeypatch.setattr(sys, "argv", ["asr"])
    request = Request([*DATA, "run_dir=r", "seed=1,2", "hydra/launcher=submitit_local"])
    with pytest.raises(AsrError, match=r"^two is no good$"):
        carry_out(request, note, check=lambda config: None)
    for seed in (1, 2):
        assert json.loads((tmp_path / f"r/seed={seed}/seed.json").read_text()) == {"seed": seed, "command": "asr"}
    assert (tmp_path / "r" / ".submitit").is_dir()
    assert "Error executing job" not in capsys.readouterr().err


# ---- --cfg ----------------------------------------------------------------------------------------------------------


def printed(*arguments):
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    return result.output


@pytest.mark.parametrize("command", [("train", "+recipe=digits"), ("run", "digits")])
def test_the_config_is_shown(command):
    plain = printed(*command, "--cfg", "job", "seed=9")
    assert "seed: 9\n" in plain
    assert "run_dir: runs/${recipe}\n" in plain
    assert "hydra:" not in plain
    resolved = printed(*command, "-c", "job", "--resolve")
    assert "run_dir: runs/digits\n" in resolved
    assert "train.jsonl" in resolved
    assert "hydra:" in printed(*command, "--cfg", "all")
    assert printed(*command, "--cfg", "hydra").startswith("hydra:")


def test_the_configs_of_a_sweep_are_shown():
    shown = printed("run", "digits", "optim.lr=1e-3,2e-3", "run_dir=r", "-m", "--cfg", "job")
    assert shown.count("--- # optim.lr=0.00") == 2
    assert "run_dir: r/optim.lr=0.002" in shown


def test_a_config_without_manifests_is_shown():
    assert "train: ???" in printed("run", "custom", "--cfg", "job")


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        (Request(DATA, show_config="jobs"), "^--cfg: expected job, hydra or all, got 'jobs'"),
        (Request(DATA, resolve=True), "^--resolve: expected --cfg job, hydra or all beside it, got none"),
        (
            Request(["run_dir='${nix}'"], show_config="job", resolve=True),
            r"^run_dir: expected \$\{OPTION\} of an option",
        ),
    ],
)
def test_what_cannot_be_shown(request_, message):
    with pytest.raises(ConfigError, match=message):
        done(request_)


# ---- as a user types them -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "arguments",
    [
        ("train", "--info"),
        ("train", "--config-dir", "x"),
        ("train", "--hydra-help"),
        ("run", "digits", "--run"),
        ("train", "--cfg"),
    ],
)
def test_flags_of_hydra_that_there_are_not(arguments):
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 2
    assert "hydra.cc" not in result.output


def test_asr_run_trains_on_ones_own_manifests_and_sweeps(tmp_path, monkeypatch, no_curves):
    monkeypatch.chdir(tmp_path)
    for name, seed in (("train", 1), ("dev", 2)):
        sung_corpus(tmp_path, name, ["ab", "ba", "bad", "dab"], seed=seed)
    small = ["model=blstm_2x128", "model.hidden_size=8", "features=logmel40", f"data.sample_rate={SAMPLE_RATE}"]
    small += ["training.epochs=1", "machine.precision=float32", "machine.num_threads=1", "training.num_samples=0"]
    data = ["data.train=train.jsonl", "data.dev=dev.jsonl", "data.test.own=dev.jsonl"]
    result = CliRunner().invoke(app, ["run", "custom", *data, *small, "run_dir=mine", "optim.lr=1e-3,2e-3", "-m"])
    assert result.exit_code == 0, result.output
    for rate in ("0.001", "0.002"):
        assert (tmp_path / f"mine/optim.lr={rate}/evaluate/own/score.json").is_file()
    assert sorted(path.name for path in (tmp_path / "mine").iterdir()) == ["optim.lr=0.001", "optim.lr=0.002"]
