"""Monitors of a training: gradient norms by layer, clipping, gates."""

import math

import pytest
import torch

from asr.inspection.monitors import (
    GateMonitor,
    GradientMonitor,
    clip_scale,
    gradient_norms_by_layer,
    layer_of,
    training_watches,
)
from asr.models.acoustic import AcousticModel
from asr.models.frontend import ConvFrontend, Identity
from asr.models.recurrent import RecurrentStack


class Recorder(list):
    def __call__(self, step, epoch, figures):
        self.append((step, epoch, figures))


@pytest.fixture
def model():
    torch.manual_seed(6)
    return AcousticModel(Identity(3), RecurrentStack(3, 4, 2), vocab_size=5)


def train_step(model, monitor, step, scale=1.0):
    model.zero_grad()
    with monitor.watch(step, 0):
        log_probs, _ = model(torch.randn(2, 6, 3), torch.tensor([6, 4]))
        (scale * log_probs[:, :, 1].sum()).backward()


def test_layers_have_names():
    assert layer_of("encoder.layers.11.backward_rnn.bias_hh_l0") == "layer 12"
    assert layer_of("frontend.convolutions.0.weight") == "frontend"
    model = AcousticModel(ConvFrontend(8), RecurrentStack(64, 4, 2), vocab_size=5)
    assert {layer_of(name) for name, _ in model.named_parameters()} == {"frontend", "layer 1", "layer 2", "output"}


def test_norms_by_hand(model):
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    model.encoder.layers[0].forward_rnn.bias_ih_l0.grad[:2] = torch.tensor([3.0, 0.0])
    model.encoder.layers[0].backward_rnn.bias_ih_l0.grad[:2] = torch.tensor([0.0, 4.0])
    model.output.bias.grad[0] = 12.0
    assert gradient_norms_by_layer(model) == {"layer 1": 5.0, "layer 2": 0.0, "output": 12.0, "all": 13.0}


def test_a_model_without_gradients_has_no_norms(model):
    assert gradient_norms_by_layer(model) == {}


@pytest.mark.parametrize("clip_norm", [0.1, 1e9])
def test_the_scale_is_what_clipping_does(model, clip_norm):
    recorder = Recorder()
    train_step(model, GradientMonitor(model, clip_norm, 1, recorder), 0)
    before = model.output.bias.grad.clone()
    norm = float(torch.nn.utils.clip_grad_norm_(model.parameters(), clip_norm))
    figures = recorder[0][2]
    assert figures["gradient/all"] == pytest.approx(norm, rel=1e-5)
    assert torch.allclose(before * figures["clip_scale"], model.output.bias.grad, rtol=1e-5)
    assert figures["clip_scale"] == clip_scale(figures["gradient/all"], clip_norm)


def test_clipping_that_is_no_multiplication_has_no_scale(model):
    recorder = Recorder()
    train_step(model, GradientMonitor(model, math.inf, 1, recorder), 0)
    assert "clip_scale" not in recorder[0][2]
    assert "gradient/all" in recorder[0][2]


def test_only_every_so_many_steps_are_recorded(model):
    recorder = Recorder()
    monitors = [GradientMonitor(model, 1.0, 3, recorder), GateMonitor(model, 3, recorder)]
    for monitor in monitors:
        for step in range(7):
            train_step(model, monitor, step)
    assert [step for step, _, _ in recorder] == [0, 3, 6, 0, 3, 6]


def test_a_step_that_is_not_finite_is_left_out(model):
    recorder = Recorder()
    train_step(model, GradientMonitor(model, 1.0, 1, recorder), 0, scale=math.nan)
    assert recorder == []


def test_gates_of_each_layer_and_direction_are_recorded(model):
    recorder = Recorder()
    train_step(model, GateMonitor(model, 1, recorder), 0)
    figures = recorder[0][2]
    assert len(figures) == 2 * 2 * 4 * 2  # layers, directions, gates, low and high
    assert all(0.0 <= share <= 1.0 for share in figures.values())
    assert "gate/layer 2 backward/forget/high" in figures


def test_watching_changes_no_gradient(model):
    gradients = []
    for monitor in (GateMonitor(model, 1, Recorder()), GradientMonitor(model, 1.0, 2, Recorder())):
        torch.manual_seed(7)
        train_step(model, monitor, 1)
        gradients.append(model.encoder.layers[0].forward_rnn.weight_hh_l0.grad.clone())
    assert torch.equal(*gradients)


def test_gates_of_dropped_weights_are_not_watched():
    dropping = AcousticModel(Identity(3), RecurrentStack(3, 4, 1, weight_drop=0.5), vocab_size=5)
    recorder = Recorder()
    (watch,) = training_watches(dropping, 1.0, 1, recorder)
    with watch(0, 0):
        dropping(torch.randn(1, 6, 3), torch.tensor([6]))[0].sum().backward()
    assert recorder[0][2].keys() >= {"gradient/layer 1", "gradient/all"}
    with pytest.raises(ValueError, match="without weight drop"):
        GateMonitor(dropping, 1, recorder)


def test_without_them_both_are(model):
    assert len(training_watches(model, 1.0, 1, Recorder())) == 2


def test_no_steps_at_all_make_no_sense(model):
    with pytest.raises(ValueError, match="every_steps of at least 1, got 0"):
        GradientMonitor(model, 1.0, 0, Recorder())
