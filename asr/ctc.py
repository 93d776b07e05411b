"""Connectionist temporal classification: the loss, which targets it can learn, and what a path spells.

Graves, Fernández, Gomez & Schmidhuber 2006. This is the only place where frames come before the batch.
"""

from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby, pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from asr.errors import TargetError

BLANK = 0


def required_frames(target: Sequence[int]) -> int:
    """The fewest frames that can spell `target`: its length, and one blank between each pair of equal neighbours.

    >>> required_frames([3, 3, 5])
    4
    """
    return len(target) + sum(a == b for a, b in pairwise(target))


def collapse(path: Iterable[int], blank_id: int = BLANK) -> list[int]:
    """Merge repeats, then drop blanks: the labelling that a path of frame labels spells.

    >>> collapse([0, 7, 7, 0, 7, 4, 4])
    [7, 7, 4]
    """
    return [label for label, _ in groupby(path) if label != blank_id]


def check_targets(
    targets: Sequence[Sequence[int]],
    num_frames: Sequence[int],
    vocab_size: int,
    ids: Sequence[str],
    blank_id: int = BLANK,
) -> None:
    """Raise `TargetError`, with the utterance's id, for a target that the loss would silently get wrong.

    PyTorch reads outside its tables for labels out of range, and returns infinity for targets that do not fit.
    """
    for target, frames, utterance in zip(targets, num_frames, ids, strict=True):
        wrong = [label for label in target if not 0 <= label < vocab_size]
        if wrong:
            raise TargetError(f"expected labels in 0…{vocab_size - 1}, got {wrong[0]} in utterance {utterance}")
        if blank_id in target:
            raise TargetError(f"the target of utterance {utterance} holds the blank label {blank_id}")
        if required_frames(target) > frames:
            raise TargetError(
                f"utterance {utterance} has {frames} frames, its {len(target)} labels need "
                f"{required_frames(target)}: drop it, or lower the model's subsampling (`asr check` lists all such)"
            )


def ctc_loss(
    log_probs: Tensor, lengths: Tensor, targets: Tensor, target_lengths: Tensor, blank_id: int = BLANK
) -> Tensor:
    """−ln p(target | audio) of each utterance, in float32.

    log_probs: (B, T, V), normalised; lengths: (B,); targets: (B, U) int64; target_lengths: (B,). Returns (B,).
    Both lengths are best on the host, wherever the rest is: the kernels take them from there, and fetching them would
    stop a GPU's queue. Targets of two axes are for PyTorch's own kernels; cuDNN's stop at 255 labels.
    Targets must have passed `check_targets`; nothing here hides an infinite loss.
    """
    return F.ctc_loss(
        log_probs.float().transpose(0, 1),  # (B, T, V) -> (T, B, V)
        targets,
        lengths,
        target_lengths,
        blank=blank_id,
        reduction="none",
        zero_infinity=False,
    )


class LabelSmoothing(nn.Module):
    """Label smoothing for CTC (Kim, Seltzer, Li & Zhao 2018): (1 − α) · CTC + α · Σ_t KL(p_t ‖ prior).

    CTC's outputs soon become spikes of probability 1; the divergence, summed over an utterance's valid frames, keeps
    them softer. weight: α, in [0, 1); prior: (V,) probabilities, uniform in the paper, see also `unigram_prior`.
    """

    log_prior: Tensor

    def __init__(self, weight: float, prior: Tensor) -> None:
        super().__init__()
        if not 0.0 <= weight < 1.0:
            raise ValueError(f"expected a smoothing weight of at least 0 and below 1, got {weight}")
        self.weight = weight
        self.register_buffer("log_prior", prior.float().log())

    def forward(self, losses: Tensor, log_probs: Tensor, lengths: Tensor) -> Tensor:
        """(B,) losses of `ctc_loss`, with the (B, T, V) log-probabilities they came from -> (B,) float32."""
        log_probs = log_probs.float()
        divergence = (log_probs.exp() * (log_probs - self.log_prior)).sum(dim=-1)  # (B, T)
        divergence = divergence.masked_fill(~_valid(lengths, log_probs.shape[1]), 0.0).sum(dim=1)
        return (1.0 - self.weight) * losses + self.weight * divergence


def uniform_prior(vocab_size: int) -> Tensor:
    """(V,) float32, 1 / V each."""
    return torch.full((vocab_size,), 1.0 / vocab_size)


def unigram_prior(label_counts: Mapping[int, int], num_frames: int, vocab_size: int, blank_id: int = BLANK) -> Tensor:
    """(V,) float32: how often each label is expected among `num_frames` frames of the model's output.

    label_counts: how often each label occurs in the targets. Each time it has one frame, as in the spikes that CTC
    learns, and blanks have the others. One more is added to each count (Laplace), as a label that never occurs would
    have an infinite divergence.

    >>> unigram_prior({1: 2, 2: 1}, num_frames=5, vocab_size=3)  # (2 blanks, twice 1, once 2) + 1 each, of 8
    tensor([0.3750, 0.3750, 0.2500])
    """
    counts = torch.ones(vocab_size, dtype=torch.float64)
    for label, count in label_counts.items():
        counts[label] += count
    counts[blank_id] += max(0, num_frames - sum(label_counts.values()))
    return (counts / counts.sum()).float()


def _valid(lengths: Tensor, num_frames: int) -> Tensor:
    """(B,) lengths -> (B, T) bool, true where a frame belongs to its utterance."""
    return torch.arange(num_frames, device=lengths.device) < lengths[:, None]


def blank_share(log_probs: Tensor, lengths: Tensor, blank_id: int = BLANK) -> Tensor:
    """The share of valid frames whose likeliest label is the blank, a scalar tensor; 1: the model says nothing."""
    valid = _valid(lengths, log_probs.shape[1])
    blank = (log_probs.argmax(dim=-1) == blank_id) & valid
    return blank.sum() / valid.sum().clamp(min=1)
