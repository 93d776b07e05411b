"""Steps that are not finite: skipped on the device, counted, named, and saved for replay when they do not pass."""

import re
from types import SimpleNamespace

import pytest
import torch
from test_training import configure, corpus, losses, weights  # noqa: F401  # a fixture
from typer.testing import CliRunner

from asr.cli.main import app
from asr.cli.train import train_stage
from asr.errors import AsrError, CheckpointError, ConfigError, Interrupted
from asr.training.acoustic_task import AcousticTask
from asr.training.checkpoint import list_checkpoints
from asr.training.guard import StepGuard, StepInfo
from asr.training.loop import Trainer
from asr.training.replay import find_nonfinite, load_batch

pytestmark = pytest.mark.usefixtures("no_curves")

EVERY_STEP = "training.log_every_steps=1"


def optimizer_of(name, parameter):
    if name == "sgd":
        return torch.optim.SGD([parameter], lr=0.1, momentum=0.9)
    return torch.optim.AdamW([parameter], lr=0.1, weight_decay=0.1)


def steps(name, gradients, patience=10):
    """The weight after a step with each gradient, of which some are not finite."""
    parameter = torch.nn.Parameter(torch.ones(3))
    optimizer = optimizer_of(name, parameter)
    guard = StepGuard(optimizer, patience, torch.device("cpu"))
    for number, gradient in enumerate(gradients):
        parameter.grad = torch.full((3,), float(gradient))
        guard.judge(StepInfo(number, number, 1, 0.1), torch.tensor(1.0), parameter.grad.norm())
        optimizer.step()
    return parameter.detach(), optimizer, guard


@pytest.mark.parametrize("name", ["adamw", "sgd"])
@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_skipped_step_leaves_weights_and_moments_as_if_it_had_not_been(name, bad):
    """Also the very first one, before there are moments."""
    expected, expected_optimizer, _ = steps(name, [1.0, -2.0, 0.5])
    found, found_optimizer, guard = steps(name, [bad, 1.0, bad, bad, -2.0, 0.5, bad])
    assert torch.equal(expected, found)
    ((expected_state,), (found_state,)) = (o.state.values() for o in (expected_optimizer, found_optimizer))
    assert all(torch.equal(expected_state[key], found_state[key]) for key in expected_state)
    assert [outcome.was_applied for outcome in guard.read()] == [False, True, False, False, True, True, False]
    assert guard.read() == []


@pytest.mark.parametrize("name", ["adamw", "sgd"])
def test_the_fused_step_is_the_plain_one(name):
    parameter = torch.nn.Parameter(torch.ones(3))
    optimizer = optimizer_of(name, parameter)
    for gradient in (1.0, -2.0, 0.5):
        parameter.grad = torch.full((3,), gradient)
        optimizer.step()
    assert torch.allclose(parameter.detach(), steps(name, [1.0, -2.0, 0.5])[0], rtol=1e-6)


def test_after_the_patience_nothing_moves_until_the_host_looks():
    nan = float("nan")
    weight, _, guard = steps("sgd", [1.0, nan, nan, 1.0, 1.0], patience=2)
    assert torch.equal(weight, steps("sgd", [1.0])[0])
    assert int(guard.in_a_row) == 4
    assert [outcome.was_applied for outcome in guard.read()] == [True, False, False, False, False]


def test_an_infinite_loss_with_a_finite_gradient_is_skipped():
    parameter = torch.nn.Parameter(torch.ones(1))
    optimizer = optimizer_of("sgd", parameter)
    guard = StepGuard(optimizer, 3, torch.device("cpu"))
    parameter.grad = torch.ones(1)
    guard.judge(StepInfo(0, 0, 1, 0.1), torch.tensor(float("inf")), torch.tensor(1.0))
    optimizer.step()
    assert parameter.item() == 1.0


def test_an_optimizer_that_cannot_skip_is_refused():
    with pytest.raises(ValueError, match="got RMSprop"):
        StepGuard(torch.optim.RMSprop([torch.nn.Parameter(torch.ones(1))]), 3, torch.device("cpu"))


def spoil(monkeypatch, is_bad):
    """Make the loss NaN of the batches that `is_bad` picks out."""
    original = AcousticTask.loss

    def loss(self, model, batch):
        found = original(self, model, batch)
        return found * float("nan") if is_bad(batch) else found

    monkeypatch.setattr(AcousticTask, "loss", loss)


@pytest.mark.parametrize("every", [1, 7])
def test_skipped_steps_are_counted_and_named_and_resuming_stays_exact(corpus, tmp_path, monkeypatch, capsys, every):  # noqa: F811
    overrides = [f"training.log_every_steps={every}", "model.dropout=0.2"]
    spoil(monkeypatch, lambda batch: "train-3" in batch.ids)
    train_stage(configure(corpus, tmp_path / "whole", *overrides))
    said = capsys.readouterr().out
    assert len(re.findall(r"step \d+ skipped", said)) == 3  # once an epoch
    assert "train-3" in said
    original = Trainer._save_or_stop

    def stop_once(trainer):
        trainer._stop_requested = trainer.position.step == 9
        original(trainer)

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "_save_or_stop", stop_once)
        with pytest.raises(Interrupted):
            train_stage(configure(corpus, tmp_path / "halves", *overrides))
    train_stage(configure(corpus, tmp_path / "halves", *overrides))
    assert losses(tmp_path / "halves") == losses(tmp_path / "whole")
    whole, halves = weights(tmp_path / "whole"), weights(tmp_path / "halves")
    assert all(torch.equal(whole[name], halves[name]) for name in whole)


def stopped_run(corpus, run_dir, *overrides):  # noqa: F811
    with pytest.raises(AsrError, match="2 steps in a row had a loss or gradient that is not finite") as raised:
        train_stage(configure(corpus, run_dir, "training.nonfinite_patience=2", *overrides))
    (path,) = list_checkpoints(run_dir / "checkpoints", "replay")
    assert str(path) in str(raised.value)
    return path


def test_what_does_not_pass_ends_the_run_and_can_be_replayed(corpus, tmp_path, monkeypatch):  # noqa: F811
    """A weight that became infinite: the replay names its layer as the place where it begins."""
    original = Trainer._step

    def step(trainer, *arguments):
        if trainer.position.step == 2:
            with torch.no_grad():
                trainer.task.model.output.bias[1] = float("inf")
        original(trainer, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "_step", step)
        path = stopped_run(corpus, tmp_path / "run")
    assert "-00000003-" in path.name  # steps 2 and 3 were skipped
    result = CliRunner().invoke(app, ["train", "--replay", str(path)])
    assert result.exit_code == 0, result.output
    said = " ".join(result.output.split())
    assert "it begins with the weight of output.bias: not finite in 1 of 6 values" in said
    assert "output of output: not finite" in said
    assert re.search(r"utterance train-\d+: its loss is nan", said)


def test_the_host_may_look_late(corpus, tmp_path, monkeypatch):  # noqa: F811
    """The saved batch is the one at which patience ended, not the last one before the host looked."""
    spoil(monkeypatch, lambda batch: True)
    path = stopped_run(corpus, tmp_path / "run", "training.log_every_steps=5")
    assert "-00000001-" in path.name


def test_a_replayed_batch_that_is_finite(corpus, tmp_path, monkeypatch):  # noqa: F811
    with monkeypatch.context() as patch:
        spoil(patch, lambda batch: True)
        path = stopped_run(corpus, tmp_path / "run")
    assert "all is finite" in CliRunner().invoke(app, ["train", "--replay", str(path)]).output


def test_replaying_what_is_no_saved_batch(corpus, tmp_path, monkeypatch):  # noqa: F811
    runner = CliRunner()
    absent = runner.invoke(app, ["train", "--replay", str(tmp_path / "absent.safetensors")])
    assert isinstance(absent.exception, CheckpointError)
    beside = runner.invoke(app, ["train", "--replay", "x", "seed=2"])
    assert isinstance(beside.exception, ConfigError)
    train_stage(configure(corpus, tmp_path / "run", "training.epochs=1"))
    (other,) = list_checkpoints(tmp_path / "run" / "checkpoints", "epoch")
    with pytest.raises(CheckpointError, match="expected a saved Batch, got another checkpoint"):
        load_batch(other, "Batch")


def test_the_first_layer_that_is_not_finite_comes_first():
    """The second layer divides by zero; the first one's output is fine, its gradient is not."""

    class Reciprocal(torch.nn.Module):
        def forward(self, values):
            return 1.0 / values

    model = torch.nn.Sequential(torch.nn.Linear(2, 2), Reciprocal(), torch.nn.Linear(2, 1))
    torch.nn.init.zeros_(model[0].weight)
    torch.nn.init.zeros_(model[0].bias)
    task = SimpleNamespace(model=model)

    class OneGradient:
        def __init__(self):
            self.task = task

        def __call__(self, work, step):
            nats = model(work.parts[0]).sum()
            nats.backward()
            return nats

    found = find_nonfinite(OneGradient(), torch.ones(1, 2), 1, 0)
    assert str(found[0]) == "output of 1: not finite in 2 of 2 values"
    assert [entry.where for entry in found if entry.what == "loss"] == ["the batch"]
    assert [entry.where for entry in found if entry.what == "gradient of output"] == ["0"]
    assert {entry.where for entry in found if entry.what == "gradient"} >= {"0.weight", "0.bias"}
    assert find_nonfinite(OneGradient(), torch.ones(1, 2), 1, 0)  # hooks of the first time are gone
    assert all(parameter.grad is None for parameter in model.parameters())
