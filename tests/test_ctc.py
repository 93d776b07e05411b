import itertools
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from asr.ctc import blank_share, check_targets, collapse, ctc_loss, required_frames
from asr.errors import TargetError


def brute_force(log_probs: torch.Tensor, target: list[int]) -> float:
    """-ln of the sum over every path of T frames that collapses to the target."""
    num_frames, vocab_size = log_probs.shape
    paths = [p for p in itertools.product(range(vocab_size), repeat=num_frames) if collapse(p) == target]
    probabilities = [math.exp(sum(float(log_probs[t, label]) for t, label in enumerate(path))) for path in paths]
    return -math.log(sum(probabilities)) if probabilities else math.inf


@pytest.mark.parametrize("target", [[], [1], [1, 2], [2, 2], [1, 2, 1], [1, 1, 2]])
@pytest.mark.parametrize("num_frames", [4, 5])
def test_loss_equals_the_sum_over_all_paths(target, num_frames):
    torch.manual_seed(len(target) * 10 + num_frames)
    log_probs = torch.randn(1, num_frames, 3, dtype=torch.float64).log_softmax(-1).float()
    padded = torch.tensor([target + [0] * (4 - len(target))])
    loss = ctc_loss(log_probs, torch.tensor([num_frames]), padded, torch.tensor([len(target)]))
    assert float(loss) == pytest.approx(brute_force(log_probs[0], target), rel=1e-5)  # float32


def test_loss_of_an_utterance_is_the_same_in_a_padded_batch():
    torch.manual_seed(0)
    log_probs = torch.randn(2, 8, 4).log_softmax(-1)
    targets, lengths = torch.tensor([[1, 2, 3], [2, 0, 0]]), torch.tensor([8, 5])
    together = ctc_loss(log_probs, lengths, targets, torch.tensor([3, 1]))
    alone = ctc_loss(log_probs[1:, :5], lengths[1:], targets[1:, :1], torch.tensor([1]))
    assert float(together[1]) == pytest.approx(float(alone[0]), abs=1e-6)


def test_loss_is_float32_whatever_comes():
    log_probs = torch.randn(1, 5, 4).log_softmax(-1).bfloat16()
    assert ctc_loss(log_probs, torch.tensor([5]), torch.tensor([[1]]), torch.tensor([1])).dtype == torch.float32


@given(st.lists(st.integers(1, 3), max_size=4))
def test_required_frames_is_the_shortest_path_that_spells_it(target):
    shortest = next(
        length
        for length in itertools.count()
        if any(collapse(path) == target for path in itertools.product(range(4), repeat=length))
    )
    assert required_frames(target) == shortest


# A label out of range makes PyTorch return numbers like -8.8e18 without a word; too few frames give infinity.
BAD_TARGETS = [
    ([1, 29], 10, "expected labels in 0…28, got 29 in utterance sad"),
    ([1, -1], 10, "expected labels in 0…28, got -1 in utterance sad"),
    ([1, 0, 2], 10, "the target of utterance sad holds the blank label 0"),
    ([1, 1, 2], 3, "utterance sad has 3 frames, its 3 labels need 4"),
]


@pytest.mark.parametrize(("target", "num_frames", "message"), BAD_TARGETS)
def test_targets_that_cannot_be_learnt_raise_with_the_id(target, num_frames, message):
    with pytest.raises(TargetError, match=message):
        check_targets([[1, 2], target], [10, num_frames], vocab_size=29, ids=["fine", "sad"])


def test_an_empty_target_is_allowed():
    check_targets([[]], [0], vocab_size=29, ids=["silence"])


def test_blank_share_counts_valid_frames_only():
    log_probs = torch.log(torch.tensor([[[0.9, 0.1], [0.2, 0.8], [0.9, 0.1]], [[0.3, 0.7], [0.9, 0.1], [0.9, 0.1]]]))
    assert float(blank_share(log_probs, torch.tensor([3, 1]))) == pytest.approx(2 / 4)
    assert float(blank_share(log_probs, torch.tensor([0, 0]))) == 0.0
