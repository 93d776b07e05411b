"""SpecAugment: masks on features, on the device where these are."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from asr.augment.streams import MASK_STREAM


class SpecAugment(nn.Module):
    """Hide bands of frequency and stretches of time (Park et al. 2019), over each utterance's valid frames only.

    Widths are drawn uniformly in 0…maximum. A time mask is at most `max_time_share` of the utterance, which keeps
    short ones intelligible. What is hidden becomes 0, the mean of normalised features.
    """

    def __init__(
        self,
        num_freq_masks: int = 2,
        max_freq_width: int = 27,
        num_time_masks: int = 2,
        max_time_width: int = 40,
        max_time_share: float = 0.2,
    ) -> None:
        super().__init__()
        if min(num_freq_masks, max_freq_width, num_time_masks, max_time_width) < 0:
            raise ValueError("expected mask numbers and widths of at least 0")
        if not 0.0 <= max_time_share <= 1.0:
            raise ValueError(f"expected max_time_share in 0-1, got {max_time_share}")
        self.num_freq_masks = num_freq_masks
        self.max_freq_width = max_freq_width
        self.num_time_masks = num_time_masks
        self.max_time_width = max_time_width
        self.max_time_share = max_time_share

    def forward(self, features: Tensor, lengths: Sequence[int], seeds: Sequence[int]) -> Tensor:
        """(B, T, F) features -> the same with masks; lengths in frames, as ints: nothing waits for the device."""
        draws = np.stack([self._draw(seed) for seed in seeds])  # (B, masks, 2)
        valid = np.asarray(lengths, dtype=np.float64)[:, None]
        widest_time = np.minimum(self.max_time_width, self.max_time_share * valid)
        hidden_time = masked(draws[:, self.num_freq_masks :], widest_time, valid, features.shape[1])
        num_bands = np.full_like(valid, features.shape[2])
        widest_freq = np.minimum(self.max_freq_width, num_bands)
        hidden_freq = masked(draws[:, : self.num_freq_masks], widest_freq, num_bands, features.shape[2])
        hide = copied(hidden_time, features.device)[:, :, None] | copied(hidden_freq, features.device)[:, None, :]
        return features.masked_fill(hide, 0.0)

    def _draw(self, seed: int) -> NDArray[np.float64]:
        rng = np.random.default_rng((seed, MASK_STREAM))
        return rng.random((self.num_freq_masks + self.num_time_masks, 2))


def copied(mask: NDArray[np.bool_], device: torch.device) -> Tensor:
    """The mask on a device, without waiting for that: only from page-locked memory does a copy join its queue."""
    tensor = torch.from_numpy(mask)
    return tensor if device.type == "cpu" else tensor.pin_memory().to(device, non_blocking=True)


def masked(
    draws: NDArray[np.float64], widest: NDArray[np.float64], size: NDArray[np.float64], num_places: int
) -> NDArray[np.bool_]:
    """Which places any of an utterance's masks covers, (B, num_places).

    draws: (B, masks, 2) in [0, 1), for width and position; widest, size: (B, 1), of a mask and of what it lies in.
    """
    width = np.floor(draws[:, :, 0] * (np.floor(widest) + 1))  # 0…widest
    start = np.floor(draws[:, :, 1] * (size - width + 1))  # 0…size - width
    place = np.arange(num_places)
    covered = (place >= start[:, :, None]) & (place < (start + width)[:, :, None])  # (B, masks, places)
    return np.asarray(covered.any(axis=1))
