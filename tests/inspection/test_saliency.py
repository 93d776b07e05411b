"""Which part of the audio a word depends on, against finite differences."""

import numpy as np
import pytest
import torch

from asr.inspection.saliency import WordSaliency, feature_gradients
from asr.inspection.subjects import Place, exact_copy
from asr.models.acoustic import AcousticModel
from asr.models.frontend import ConvFrontend, FrameStacking
from asr.models.recurrent import RecurrentStack


@pytest.mark.parametrize("frontend", [FrameStacking(6, 3, 2), ConvFrontend(6, (2, 3), (2, 1))])
def test_gradients_equal_finite_differences(frontend):
    torch.manual_seed(5)
    model = exact_copy(AcousticModel(frontend, RecurrentStack(frontend.output_size, 4, 1), vocab_size=4))
    features = torch.randn(7, 6, dtype=torch.float64)
    words = [[Place(0, 2), Place(2, 1)], [Place(3, 3)]]
    gradients = feature_gradients(model, features, words)
    assert gradients.shape == (2, 7, 6)

    def log_prob(features, places):
        with torch.no_grad():
            frames = model.frontend(features[None], torch.tensor([7]))
            logits = model.output(model.encoder(frames, torch.tensor([4])))[0]
            return sum(float(torch.log_softmax(logits, -1)[place.frame, place.token]) for place in places)

    epsilon = 1e-6
    for row, places in zip(gradients, words):
        for t, f in ((0, 0), (3, 5), (6, 2)):
            step = torch.zeros_like(features)
            step[t, f] = epsilon
            slope = (log_prob(features + step, places) - log_prob(features - step, places)) / (2 * epsilon)
            assert row[t, f] == pytest.approx(slope, rel=1e-4, abs=1e-9)


def test_figures_of_a_map_by_hand():
    # four rows of 10 ms: nothing, 3 and 1 of 4, nothing
    word = WordSaliency("one", 1, 2, np.array([[0.0, 0.0], [2.0, 1.0], [0.0, 1.0], [0.0, 0.0]]))
    row = word.to_json(seconds_per_row=0.01, frame_seconds=0.03)
    assert row["written"] == pytest.approx([0.03, 0.06])
    assert row["over_time"] == [0.0, 0.75, 0.25, 0.0]
    assert row["over_features"] == [0.5, 0.5]
    assert row["centre"] == pytest.approx((0.75 * 1.5 + 0.25 * 2.5) * 0.01)
    assert row["nine_tenths"] == pytest.approx([0.01, 0.03])


def test_a_map_of_nothing_has_no_shares():
    row = WordSaliency("one", 0, 1, np.zeros((2, 2))).to_json(0.01, 0.03)
    assert row["over_time"] == [0.0, 0.0]
