"""Sequences reversed inside their lengths, their padding left where it is."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


def reversal_index(lengths: Tensor, num_frames: int) -> Tensor:
    """Row numbers, in a (B·T, F) view, that reverse each sequence inside its length and leave its padding in place.

    Returns (B·T,) int64. Applying it twice gives the input back.
    """
    time = torch.arange(num_frames, device=lengths.device)
    last = lengths[:, None] - 1
    reversed_time = torch.where(time <= last, last - time, time)  # (B, T)
    first_row = torch.arange(len(lengths), device=lengths.device)[:, None] * num_frames
    return (first_row + reversed_time).flatten()


def reorder(frames: Tensor, index: Tensor) -> Tensor:
    """Gather (B, T, F) frames by an index from `reversal_index`."""
    reordered: Tensor = _Reorder.apply(frames, index)  # type: ignore[no-untyped-call]
    return reordered


class _Reorder(torch.autograd.Function):
    """A gather whose gradient is the same gather, since the index is its own inverse.

    PyTorch, which cannot know that, would add the gradient's rows to zeros one by one, on a GPU with atomic additions.
    """

    @staticmethod
    def forward(ctx: Any, frames: Tensor, index: Tensor) -> Tensor:
        ctx.save_for_backward(index)
        return frames.flatten(0, 1).index_select(0, index).view_as(frames)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        (index,) = ctx.saved_tensors
        return reorder(gradient, index), None
