"""Dropout between layers: a new mask for every frame, or one for a whole sequence."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class SequenceDropout(nn.Module):
    """Variational dropout (Gal & Ghahramani 2016): the units that fall out are the same in all frames of a sequence.

    Each sequence of a batch has a mask of its own. What stays is divided by 1 − p; in evaluation nothing happens.
    """

    def __init__(self, p: float) -> None:
        super().__init__()
        if not 0.0 <= p < 1.0:
            raise ValueError(f"expected a dropout probability of at least 0 and below 1, got {p}")
        self.p = p

    def forward(self, frames: Tensor) -> Tensor:
        """(B, T, F) -> (B, T, F)."""
        if not self.training or self.p == 0.0:
            return frames
        ones = torch.ones(len(frames), 1, frames.shape[2], device=frames.device)  # 1 / (1 - p) needs float32
        return (frames * F.dropout(ones, self.p)).to(frames.dtype)


def make_dropout(p: float, per_sequence: bool) -> nn.Module:
    """`SequenceDropout`, or the usual one, which draws anew for every frame (Srivastava et al. 2014)."""
    return SequenceDropout(p) if per_sequence else nn.Dropout(p)
