"""How far gradients reach: closed forms, finite differences, and what is said of a curve."""

import math

import numpy as np
import pytest
import torch

from asr.inspection.reach import Reach, describe, gradient_norms, mean_curve, reach
from asr.inspection.subjects import Place, exact_copy, logits_in_full, spread
from asr.models.acoustic import AcousticModel
from asr.models.frontend import FrameStacking, Identity
from asr.models.recurrent import RecurrentStack

FRAME_SECONDS = 0.03


def one_unit(weight, bidirectional=False):
    """A tanh unit that says h(t) = w h(t − 1) + x(t) of silence, where tanh is the identity to first order."""
    stack = RecurrentStack(1, 1, 1, cell="rnn_tanh", bidirectional=bidirectional).double()
    with torch.no_grad():
        for name, parameter in stack.named_parameters():
            parameter.fill_(weight if "weight_hh" in name else 1.0 if "weight_ih" in name else 0.0)
    return exact_copy(AcousticModel(Identity(1), stack, vocab_size=2))


@pytest.mark.parametrize("weight", [0.5, 0.9, 1.0, 1.2])
def test_the_reach_of_one_linear_unit_is_its_weight_to_the_power_of_the_distance(weight):
    model = one_unit(weight)
    norms = gradient_norms(model, torch.zeros(20, 1), [Place(19, 1), Place(7, 0)])
    # log p(1) = −log(1 + exp(v0 h + b0 − v1 h − b1)), so that |∂ log p / ∂ h| is p(the other) |v1 − v0|
    output = model.output
    other = torch.softmax(output.bias, 0).tolist()
    slope = abs(float((output.weight[1, 0] - output.weight[0, 0]).detach()))
    assert norms[0] == pytest.approx([other[0] * slope * weight ** (19 - s) for s in range(20)], rel=1e-12)
    assert norms[1] == pytest.approx([other[1] * slope * weight ** (7 - s) if s <= 7 else 0.0 for s in range(20)])
    curve = mean_curve([norms[0, ::-1]])
    decay = curve.decay()
    assert decay.factor_per_frame == pytest.approx(weight, rel=1e-9)
    if weight < 1:
        assert curve.relative == pytest.approx([weight**k for k in range(20)], rel=1e-12)
        assert decay.time_constant_frames == pytest.approx(-1 / math.log(weight), rel=1e-9)
        assert decay.r_squared == pytest.approx(1.0)
    if weight > 1:
        assert decay.time_constant_frames is None
        assert "explodes, by 1.2 a frame" in describe(curve, "past", FRAME_SECONDS)


def test_two_directions_of_one_unit_reach_alike_to_both_sides():
    norms = gradient_norms(one_unit(0.8, bidirectional=True), torch.zeros(11, 1), [Place(5, 1)])[0]
    assert norms[:5] / norms[4] == pytest.approx(norms[:5:-1] / norms[6])  # to the other side, times its own weight
    assert norms[3] / norms[4] == pytest.approx(0.8)


@pytest.mark.parametrize("cell", ["rnn_tanh", "gru", "lstm"])
def test_gradients_equal_finite_differences(cell):
    torch.manual_seed(1)
    frontend = FrameStacking(2, 2, 2)
    model = exact_copy(AcousticModel(frontend, RecurrentStack(4, 5, 2, cell=cell, layer_norm=True), vocab_size=4))
    features = torch.randn(11, 2)  # the last stack is filled up
    places = [Place(1, 3), Place(5, 0)]
    norms = gradient_norms(model, features, places)
    assert norms.shape == (2, 6)
    frames = frontend(features[None].double(), torch.tensor([11]))

    def log_prob(frames, place):
        with torch.no_grad():
            return float(logits_in_full(model, frames, torch.tensor([6]))[0, place.frame, place.token])

    epsilon = 1e-5
    for row, place in zip(norms, places):
        for s in range(6):
            slopes = []
            for entry in range(4):
                step = torch.zeros_like(frames)
                step[0, s, entry] = epsilon
                slopes.append((log_prob(frames + step, place) - log_prob(frames - step, place)) / (2 * epsilon))
            assert row[s] == pytest.approx(math.hypot(*slopes), rel=1e-6)


def test_the_copy_says_what_the_model_says():
    torch.manual_seed(2)
    model = AcousticModel(Identity(3), RecurrentStack(3, 6, 2, dropout=0.5), vocab_size=5, dropout=0.5).eval()
    features, lengths = torch.randn(1, 9, 3), torch.tensor([9])
    ours = logits_in_full(exact_copy(model), features.double(), lengths)
    assert torch.allclose(ours.float(), model(features, lengths).log_probs, atol=1e-6)
    assert model.output.weight.dtype == torch.float32


def test_means_by_hand():
    curve = mean_curve([np.array([1.0, 0.5, 0.25]), np.array([4.0, 1.0])])
    assert curve.num_positions.tolist() == [2, 2, 1]
    assert curve.absolute.tolist() == [2.5, 0.75, 0.25]
    # geometric: √(1·4) = 2, √(0.5·1), and 0.25, over the first
    assert curve.relative == pytest.approx([1.0, math.sqrt(0.5) / 2, 0.125])
    assert curve.reach_frames == 1  # 1 + 0.354 of 1.479 are 92 %, 1 alone is 68 %


def test_distances_that_few_tokens_have_are_left_out():
    rows = [np.ones(3)] * 7 + [np.ones(9)]
    assert len(mean_curve(rows).relative) == 3


def test_a_peak_that_lies_back_is_where_the_fit_begins():
    relative = np.array([0.1, 1.0, *[0.5**k for k in range(1, 20)]])
    decay = mean_curve([relative]).decay()
    assert decay.first_frame == 1
    assert decay.last_frame == 11  # 0.5 ** 10 is the first below a thousandth
    assert decay.factor_per_frame == pytest.approx(0.5)


def test_what_is_too_short_is_not_fitted():
    curve = mean_curve([np.array([1.0, 0.5])])
    assert curve.decay() is None
    assert describe(curve, "future", FRAME_SECONDS) == "Too few frames lie in the future to fit a decay."


def test_the_sentence_names_frames_milliseconds_and_what_is_left():
    curve = mean_curve([0.9 ** np.arange(60)])
    # τ = −1 / ln 0.9 = 9.49 frames of 30 ms; 0.9 ** (1 / 0.03) = 0.0298; 22 frames hold 1 − 0.9 ** 22 = 90.2 %
    assert describe(curve, "past", FRAME_SECONDS) == (
        "Towards the past the influence of a frame falls by e every 9.5 frames (285 ms), "
        "and a second away 0.03 of it is left; 90% of it lies within 22 frames (660 ms)."
    )


def test_a_model_of_one_direction_sees_nothing_of_the_future():
    norms = gradient_norms(one_unit(0.7), torch.zeros(9, 1), [Place(4, 1)])[0]
    found = Reach(mean_curve([norms[4::-1]]), mean_curve([norms[4:]]), FRAME_SECONDS)
    assert found.future.is_zero
    assert not found.past.is_zero
    assert found.to_json()["future"]["time_constant_ms"] is None
    assert found.to_json()["past"]["time_constant_ms"] == pytest.approx(-30 / math.log(0.7))
    assert "no direction" in found.sentence("future")


def test_nothing_recognised_is_an_error():
    from asr.errors import ModelError

    with pytest.raises(ModelError, match="recognises nothing in 0 utterances"):
        reach(one_unit(0.5), [], FRAME_SECONDS, 10)


def test_places_are_taken_from_all_over():
    places = [Place(frame, 1) for frame in range(10)]
    assert [place.frame for place in spread(places, 4)] == [0, 3, 6, 9]
    assert spread(places[:2], 4) == places[:2]
