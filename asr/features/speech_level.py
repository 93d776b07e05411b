"""Which frames are speech, by their level: so that silence before, between and after words moves no statistic.

The rule takes masked sums only, with no shape that depends on the data: it can be exported to ONNX. Its causal form
takes the same sums over the frames so far.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

# A frame counts as speech within this range below the reference level, the mean level weighted by energy. Vowels make
# the reference, and they and strong consonants lie within the range; a wider one would take in more of the noise of a
# poor recording. Half weight at its end, and less over a few decibels: a hard edge would let rounding decide.
SPEECH_RANGE_DB = 14.0
EDGE_DB = 2.0

NEPERS_PER_DB = math.log(10.0) / 10.0  # of power


def speech_weights(levels: Tensor, lengths: Tensor) -> Tensor:
    """Weight of each frame in statistics of speech, 0 to 1: (B, T) float32, zero past the lengths.

    The reference level of an utterance is the mean of its frames' levels weighted by their energy, exp(level): what
    is 20 dB weaker has a hundredth of the weight, so that silence of any length leaves it where it is, and a click of
    one frame moves it by little.

    Args:
        levels: (B, T) float32, natural logarithms of the frames' energies.
        lengths: (B,) int64, frames.
    """
    num_padded = levels.shape[1]
    if num_padded == 0:
        return levels.clone()
    inside = torch.arange(num_padded, device=levels.device) < lengths[:, None]  # (B, T)
    levels = levels.double()
    loudest = levels.masked_fill(~inside, -math.inf).amax(dim=1, keepdim=True)
    energies = (levels - loudest).exp().masked_fill(~inside, 0.0)  # at most 1, so that none overflows
    reference = (energies * levels.masked_fill(~inside, 0.0)).sum(1, keepdim=True) / energies.sum(1, keepdim=True)
    decibels = (levels - reference) / NEPERS_PER_DB
    weights = torch.sigmoid((decibels + SPEECH_RANGE_DB) / EDGE_DB)
    return weights.masked_fill(~inside, 0.0).float()
