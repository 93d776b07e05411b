"""The moving average of the weights: its arithmetic by hand, skipped steps, and what becomes of it."""

import pytest
import torch
from test_training import configure, corpus  # noqa: F401  # a fixture
from torch import nn

from asr.cli.train import train_stage
from asr.errors import ConfigError
from asr.training.checkpoint import list_checkpoints, load_checkpoint
from asr.training.ema import WeightAverage

YES, NO = torch.tensor(True), torch.tensor(False)


def one_weight(value):
    model = nn.Linear(1, 1, bias=False)
    nn.init.constant_(model.weight, value)
    return model


def follow(average, model, values, applied=YES):
    found = []
    for value in values:
        nn.init.constant_(model.weight, value)
        average.update(applied)
        found.append(average.average[0].item())
    return found


def test_the_average_by_hand():
    """d = min(0.5, (1 + n) / (10 + n)): 0.1, 2/11, 3/12, … and 0.5 from n = 8 on."""
    model = one_weight(0.0)
    average = WeightAverage(model, 0.5)
    first, second, third = follow(average, model, [1.0, 2.0, 2.0])
    assert first == pytest.approx(0.9 * 1.0)
    assert second == pytest.approx(2 / 11 * 0.9 + 9 / 11 * 2.0)
    assert third == pytest.approx(0.25 * second + 0.75 * 2.0)
    follow(average, model, [2.0] * 7)
    (tenth,) = follow(average, model, [4.0])
    assert tenth == pytest.approx(0.5 * 2.0 + 0.5 * 4.0, abs=1e-4)


def test_a_skipped_step_does_not_count():
    model = one_weight(0.0)
    average = WeightAverage(model, 0.9)
    follow(average, model, [1.0])
    before = average.state()
    follow(average, model, [5.0, 6.0], applied=NO)
    assert all(torch.equal(before[name], tensor) for name, tensor in average.state().items())


def test_weights_come_back_to_the_bit():
    torch.manual_seed(0)
    model = nn.LSTM(3, 4)
    average = WeightAverage(model, 0.9)
    weights = [parameter.clone() for parameter in model.parameters()]
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(1.1)
    moved = [parameter.clone() for parameter in model.parameters()]
    with average.in_place():
        assert all(torch.equal(a, b) for a, b in zip(weights, model.parameters()))
    assert all(torch.equal(a, b) for a, b in zip(moved, model.parameters()))


def test_half_precision_weights_have_a_float32_average():
    model = one_weight(1.0).bfloat16()
    average = WeightAverage(model, 0.999)
    assert follow(average, model, [1.0078125] * 3)[-1] != 1.0078125
    assert average.average[0].dtype == torch.float32


@pytest.mark.parametrize("decay", [0.0, 1.0, -0.1])
def test_a_decay_that_is_none_is_refused(decay):
    with pytest.raises(ValueError, match="expected a decay above 0 and below 1"):
        WeightAverage(one_weight(0.0), decay)


@pytest.mark.usefixtures("no_curves")
def test_what_is_validated_and_kept_is_the_average(corpus, tmp_path):  # noqa: F811
    train_stage(configure(corpus, tmp_path / "run", "optim.ema_decay=0.9", "training.epochs=1"))
    checkpoints = tmp_path / "run" / "checkpoints"
    (resume,), (epoch,) = (list_checkpoints(checkpoints, kind) for kind in ("resume", "epoch"))
    saved, kept = load_checkpoint(resume).tensors, load_checkpoint(epoch).tensors
    assert all(torch.equal(kept[name], saved[f"average.{name}"]) for name in kept)
    assert any(not torch.equal(kept[name], saved[f"model.{name}"]) for name in kept)
    assert saved["average.num_updates"] == load_checkpoint(resume).state["step"]


def test_a_wrong_option_is_a_config_error(corpus, tmp_path):  # noqa: F811
    with pytest.raises(ConfigError, match=r"optim\.ema_decay: expected a number, 0 or more and below 1, got 1\.5"):
        train_stage(configure(corpus, tmp_path / "run", "optim.ema_decay=1.5"))
