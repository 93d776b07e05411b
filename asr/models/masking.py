"""Keep what lies past an utterance's end out of its result."""

import torch
from torch import Tensor


def valid_frames(lengths: Tensor, num_frames: int) -> Tensor:
    """(B,) lengths -> (B, T) bool, true where a frame belongs to its utterance."""
    return torch.arange(num_frames, device=lengths.device) < lengths[:, None]


def zero_padding(frames: Tensor, lengths: Tensor) -> Tensor:
    """(B, T, …) with everything past lengths[b] set to zero."""
    mask = valid_frames(lengths, frames.shape[1])
    return frames.masked_fill(~mask.view(*mask.shape, *[1] * (frames.dim() - 2)), 0.0)
