import itertools
import math
from collections import Counter

import pytest
import torch
from helpers import rounding
from hypothesis import given
from hypothesis import strategies as st

from asr.ctc import (
    LabelSmoothing,
    blank_share,
    check_targets,
    collapse,
    ctc_loss,
    required_frames,
    uniform_prior,
    unigram_prior,
)
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
    # A lattice of 5 frames and 3 states, each a sum of three terms.
    assert float(together[1]) == pytest.approx(float(alone[0]), abs=rounding(alone, terms=5 * 3))


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


def test_label_smoothing_by_hand():
    """KL((3/4, 1/4) ‖ (1/2, 1/2)) = 3/4 ln 3/2 + 1/4 ln 1/2, in each of two frames; a uniform frame adds nothing."""
    log_probs = torch.log(torch.tensor([[[0.75, 0.25], [0.75, 0.25], [0.5, 0.5]]]))
    divergence = 2 * (0.75 * math.log(1.5) + 0.25 * math.log(0.5))
    smoothed = LabelSmoothing(0.1, uniform_prior(2))(torch.tensor([7.0]), log_probs, torch.tensor([3]))
    assert smoothed.tolist() == pytest.approx([0.9 * 7.0 + 0.1 * divergence])
    prior = LabelSmoothing(0.1, torch.tensor([0.75, 0.25]))
    expected = 0.5 * math.log(0.5 / 0.75) + 0.5 * math.log(0.5 / 0.25)  # of the last frame alone
    assert prior(torch.zeros(1), log_probs, torch.tensor([3])).tolist() == pytest.approx([0.1 * expected], abs=1e-7)


def test_label_smoothing_leaves_padding_out():
    torch.manual_seed(0)
    log_probs = torch.randn(2, 6, 4).log_softmax(-1)
    smoothing = LabelSmoothing(0.2, uniform_prior(4))
    together = smoothing(torch.tensor([1.0, 2.0]), log_probs, torch.tensor([6, 3]))
    alone = smoothing(torch.tensor([2.0]), log_probs[1:, :3], torch.tensor([3]))
    assert float(together[1]) == pytest.approx(float(alone), abs=rounding(alone, terms=3 * 4))
    log_probs = log_probs.requires_grad_()
    smoothing(torch.zeros(2), log_probs, torch.tensor([6, 3])).sum().backward()
    assert log_probs.grad[1, 3:].eq(0).all()
    assert log_probs.grad[1, :3].ne(0).any()


def test_label_smoothing_pulls_a_spike_towards_the_prior():
    """The gradient with respect to the logits is α p (ln p/q − KL): it lowers what is above the prior."""
    logits = torch.tensor([[[4.0, 0.0, 0.0]]], requires_grad=True)
    LabelSmoothing(0.5, uniform_prior(3))(torch.zeros(1), logits.log_softmax(-1), torch.tensor([1])).sum().backward()
    p = logits.detach()[0, 0].softmax(-1)
    by_hand = 0.5 * p * ((p * 3).log() - (p * (p * 3).log()).sum())
    assert torch.allclose(logits.grad[0, 0], by_hand, atol=1e-6)
    assert logits.grad[0, 0, 0] > 0 > logits.grad[0, 0, 1]


def test_smoothing_is_float32_and_its_weight_is_checked():
    smoothing = LabelSmoothing(0.1, uniform_prior(4))
    log_probs = torch.randn(1, 5, 4).log_softmax(-1).bfloat16()
    assert smoothing(torch.zeros(1), log_probs, torch.tensor([5])).dtype == torch.float32
    with pytest.raises(ValueError, match=r"below 1, got 1\.0"):
        LabelSmoothing(1.0, uniform_prior(4))


@given(st.lists(st.lists(st.integers(1, 4), max_size=5), max_size=5), st.integers(0, 50))
def test_a_unigram_prior_is_a_distribution_without_zeros(targets, num_frames):
    prior = unigram_prior(Counter(itertools.chain.from_iterable(targets)), num_frames, vocab_size=5)
    assert float(prior.sum()) == pytest.approx(1.0, abs=1e-6)
    assert prior.min() > 0
