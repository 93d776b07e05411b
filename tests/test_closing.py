"""How a run ends on the screen, and how runs are listed."""

import json

import pytest
from test_training import configure, corpus  # noqa: F401  # a fixture
from typer.testing import CliRunner

from asr.cli.main import app
from asr.cli.train import train_one
from asr.errors import ScoringError
from asr.training.found_runs import find_runs
from asr.training.run_lock import locked

SHORT = ["training.epochs=1", "training.criterion=cer"]


def test_a_run_ends_with_its_figures_and_what_to_do_next(corpus, tmp_path, capsys):  # noqa: F811
    run_dir, command = tmp_path / "run", [*SHORT, f"+data.test.mine={corpus['dev']}"]
    train_one(configure(corpus, run_dir, *command))
    said = capsys.readouterr().out
    assert "mine: the worst utterances" in said
    block = said[said.index("Word error rate") :]
    for line in (
        f"model  {run_dir}/model: epoch 1, the best by CER",
        "dev  WER ",
        "for 1 epoch",
        f"reports  {run_dir}/evaluate",
        f"use it  asr transcribe FILE --model {run_dir}/model",
        f"test it  asr evaluate {run_dir}/model MANIFEST",
        "go on  the same command with training.epochs=2",
    ):
        assert line in block
    assert (run_dir / "evaluate" / "mine" / "report.html").is_file()
    card = (run_dir / "model" / "README.md").read_text()
    assert "| dev | " in card
    assert "| mine | " in card

    train_one(configure(corpus, run_dir, *command))
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith(f"already trained: {run_dir}/model after 1 epoch; dev WER ")
    assert "; mine WER " in line

    train_one(configure(corpus, run_dir, *command, f"+data.test.another={corpus['train']}"))
    said = capsys.readouterr().out
    assert "goes on after epoch 1 with data.test.another" in said
    assert "another" in said[said.index("Word error rate") - 200 :]
    assert "epoch 1/1" not in said  # nothing was trained again


def test_a_test_set_that_is_not_there_is_named(corpus, tmp_path, capsys):  # noqa: F811
    train_one(configure(corpus, tmp_path / "run", *SHORT, "+data.test.later=later.jsonl"))
    said = capsys.readouterr().out
    assert "later: not evaluated, as later.jsonl is not there" in said
    assert "use it  asr transcribe" in said


def test_training_runs_are_listed_with_what_differs(corpus, tmp_path):  # noqa: F811
    sweep = tmp_path / "sweep"
    train_one(configure(corpus, sweep / "slow", *SHORT, "optim.lr=0.001", f"+data.test.mine={corpus['dev']}"))
    train_one(configure(corpus, sweep / "fast", *SHORT, "optim.lr=0.002", "training.log_every_steps=3"))
    state = sweep / "fast" / "state.json"
    state.write_text('{"state": "failed", "reason": "the disk is full"}')
    options = ["--json", str(tmp_path / "runs.json"), "-o", str(tmp_path / "runs.md")]
    result = CliRunner().invoke(app, ["report", str(tmp_path), *options], env={"COLUMNS": "120"})
    assert result.exit_code == 0, result.output
    headings, _, fast, slow, *notes = result.output.splitlines()
    assert headings.split()[:5] == ["run", "optim.lr", "state", "epochs", "time"]
    assert headings.split()[5:] == ["dev", "WER", "dev", "CER", "dev", "loss", "mine", "WER"]
    assert fast.split()[:4] == ["fast", "0.002", "failed", "1/1"]
    assert slow.split()[:4] == ["slow", "0.001", "finished", "1/1"]
    assert notes[0] == "fast failed: the disk is full"
    values = json.loads((tmp_path / "runs.json").read_text())["training"]
    assert values[str(sweep / "slow")]["options"] == {"optim.lr": 0.001}
    assert values[str(sweep / "slow")]["dev"]["wer"] >= 0
    assert values[str(sweep / "slow")]["test"]["mine"]["wer"] >= 0
    assert (tmp_path / "runs.md").read_text().startswith("| run | optim.lr | state |")

    result = CliRunner().invoke(app, ["report", str(tmp_path)], env={"COLUMNS": "80"})
    assert result.output.splitlines()[-3:-1] == ["fast: optim.lr=0.002", "slow: optim.lr=0.001"]

    (sweep / "slow" / "state.json").write_text('{"state": "running"}')
    assert [run.state for run in find_runs(sweep)] == ["failed", "stopped"]
    with locked(sweep / "slow"):
        assert [run.state for run in find_runs(sweep)] == ["failed", "running"]
    (run,) = find_runs(sweep / "slow")
    assert run.directory == sweep / "slow"


def test_a_folder_without_runs_is_named(tmp_path):
    with pytest.raises(ScoringError, match=r"expected score\.json"):
        CliRunner().invoke(app, ["report", str(tmp_path)], catch_exceptions=False)
