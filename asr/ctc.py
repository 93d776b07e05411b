"""Connectionist temporal classification: the loss, which targets it can learn, and what a path spells.

Graves, Fernández, Gomez & Schmidhuber 2006. This is the only place where frames come before the batch.
"""

from collections.abc import Iterable, Sequence
from itertools import groupby, pairwise

import torch
import torch.nn.functional as F
from torch import Tensor

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

    log_probs: (B, T, V), normalised; lengths: (B,); targets: (B, U); target_lengths: (B,). Returns (B,).
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


def blank_share(log_probs: Tensor, lengths: Tensor, blank_id: int = BLANK) -> Tensor:
    """The share of valid frames whose likeliest label is the blank, a scalar tensor; 1: the model says nothing."""
    valid = torch.arange(log_probs.shape[1], device=log_probs.device) < lengths[:, None]
    blank = (log_probs.argmax(dim=-1) == blank_id) & valid
    return blank.sum() / valid.sum().clamp(min=1)
