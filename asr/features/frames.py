"""What is done to finished frames: time derivatives and mean-variance normalisation, over valid frames only."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from asr.errors import ConfigError

PRIOR_FRAMES = 100  # one second at the usual frame shift
DELTA_WINDOW = 2  # frames on each side of the regression, Kaldi's default

# Rounding moves a log-mel value by about 1e-6 and speech by more than 0.1. The floor lies between the two,
# so that a constant feature (digital silence, an empty band) comes out as zero and not as amplified rounding.
MIN_STD = 1e-3

# Normalised features end here, in standard deviations of speech. Digital silence would lie 10 and more below the mean,
# and no training set has enough of it to learn what that means; this is little beyond where room noise lies.
LIMIT = 4.0


def append_deltas(features: Tensor, lengths: Tensor, order: int) -> Tensor:
    """Append `order` time derivatives, Kaldi's `add-deltas`: regression over two frames on each side.

    Args:
        features: (B, T, F) float32. Frames past `lengths[b]` are ignored; the first and last valid frame of each
            utterance stand in for frames outside it.
        lengths: (B,) int64, frames.
        order: 1 for deltas, 2 for deltas and delta-deltas.

    Returns: (B, T, F * (1 + order)); frames past `lengths[b]` are zero.
    """
    num_padded = features.shape[1]
    if num_padded == 0:
        return features.repeat(1, 1, 1 + order)
    position = torch.arange(num_padded, device=features.device)
    inside = torch.minimum(position, (lengths[:, None] - 1).clamp(min=0))  # (B, T)
    held = features.gather(1, inside[:, :, None].expand_as(features))
    # The edges are extended once, before the first derivative: Kaldi's second derivative is one 9-tap filter
    # over the features, not a filter over deltas that were extended themselves.
    extended = _repeat_edges(held, order * DELTA_WINDOW)
    columns = [held]
    for remaining in reversed(range(order)):
        extended = _slope(extended)
        margin = remaining * DELTA_WINDOW
        columns.append(extended[:, margin : margin + num_padded])
    return torch.cat(columns, dim=2).masked_fill_(padding_mask(lengths, num_padded), 0.0)


def _repeat_edges(features: Tensor, num_repeats: int) -> Tensor:
    first = features[:, :1].expand(-1, num_repeats, -1)
    last = features[:, -1:].expand(-1, num_repeats, -1)
    return torch.cat([first, features, last], dim=1)


def _slope(features: Tensor) -> Tensor:
    """Least-squares slope over five frames: (B, T + 4, F) -> (B, T, F)."""
    size = features.shape[1] - 2 * DELTA_WINDOW
    offsets = range(1, DELTA_WINDOW + 1)
    shifted = [features[:, DELTA_WINDOW + n :][:, :size] - features[:, DELTA_WINDOW - n :][:, :size] for n in offsets]
    norm = 2 * sum(n * n for n in offsets)
    return torch.stack([difference * (n / norm) for n, difference in zip(offsets, shifted)]).sum(0)


def normalize_utterances(features: Tensor, lengths: Tensor, weights: Tensor) -> Tensor:
    """Zero mean and unit (population) variance of each feature over the speech of each utterance.

    Args:
        features: (B, T, F) float32. Constant ones, as in digital silence or in an utterance of one frame, become zero.
        lengths: (B,) int64, frames; what lies past them becomes zero.
        weights: (B, T) float32, zero past the lengths: how far a frame counts as speech (`speech_weights`).

    Returns: (B, T, F) float32, limited to ±`LIMIT`, where silence ends up.
    """
    if features.shape[1] == 0:
        return features.clone()
    # Relative to the first frame a constant feature is exactly zero; its float32 mean need not be exact.
    centred = features - features[:, :1]
    mean, variance = _weighted_moments(centred, weights, prior_frames=0)
    return _standardized(centred, lengths, mean, variance)


def adapt_to_utterances(features: Tensor, lengths: Tensor, weights: Tensor) -> Tensor:
    """Normalise features that have the corpus's statistics already, by each utterance's, in the measure of its length.

    Mean and variance are taken as if `PRIOR_FRAMES` frames of the corpus, of mean 0 and variance 1, came before the
    utterance's speech (maximum a posteriori; Kaldi's online CMVN does the same with its global frames). A long
    utterance is freed of its channel and its speaker, while a single word keeps what its own mean says about it.

    Args, Returns: as `normalize_utterances`.
    """
    mean, variance = _weighted_moments(features, weights, prior_frames=PRIOR_FRAMES)
    return _standardized(features, lengths, mean, variance)


def _weighted_moments(features: Tensor, weights: Tensor, prior_frames: int) -> tuple[Tensor, Tensor]:
    """Mean and variance of (B, T, F) features under (B, T) weights and a prior of mean 0 and variance 1: (B, 1, F).

    Summed in float64, so that padding and batching change nothing that float32 can hold.
    """
    values, row = features.double(), weights.double()[:, None, :]  # (B, T, F), (B, 1, T)
    count = (row.sum(2, keepdim=True) + prior_frames).clamp_(min=torch.finfo(torch.float32).tiny)
    mean = row @ values / count
    variance = (row @ values.square() + prior_frames) / count - mean.square()
    return mean.float(), variance.clamp_(min=0.0).float()


def _standardized(features: Tensor, lengths: Tensor, mean: Tensor, variance: Tensor) -> Tensor:
    standardized = (features - mean).div_(variance.sqrt().clamp_(min=MIN_STD)).clamp_(-LIMIT, LIMIT)
    return standardized.masked_fill_(padding_mask(lengths, features.shape[1]), 0.0)


def padding_mask(lengths: Tensor, num_padded: int) -> Tensor:
    """True past each length: (B, T, 1) bool."""
    return (torch.arange(num_padded, device=lengths.device) >= lengths[:, None]).unsqueeze(2)


@dataclass(frozen=True, slots=True)
class Statistics:
    """Mean and standard deviation of each feature over a corpus."""

    mean: Tensor  # (F,) float32
    std: Tensor  # (F,) float32, at least MIN_STD


class GlobalStatistics:
    """Accumulates mean and variance over the speech of a corpus, in float64.

    statistics = GlobalStatistics(filterbank.num_features)
    for batch in batches:
        frames = filterbank.unnormalized(batch.waveforms, batch.waveform_lengths)
        statistics.update(frames.features, frames.speech_weights)
    filterbank.set_statistics(statistics.finish())
    """

    def __init__(self, num_features: int) -> None:
        self.num_frames = 0.0
        self.sum = torch.zeros(num_features, dtype=torch.float64)
        self.sum_of_squares = torch.zeros(num_features, dtype=torch.float64)

    def update(self, features: Tensor, weights: Tensor) -> None:
        """Add frames of `features`, (B, T, F) float32, that count as `weights` say, (B, T) float32."""
        values, rows = features.double().flatten(0, 1), weights.double().flatten()[None]  # (B T, F), (1, B T)
        self.num_frames += float(rows.sum())
        self.sum += (rows @ values)[0].cpu()
        self.sum_of_squares += (rows @ values.square())[0].cpu()

    def finish(self) -> Statistics:
        """The statistics of everything added so far. Raises ConfigError when that was not a single frame."""
        if self.num_frames == 0:
            raise ConfigError(
                "normalize='global': expected at least one frame to take the statistics from, got none; "
                "every utterance is shorter than one frame"
            )
        mean = self.sum / self.num_frames
        variance = (self.sum_of_squares / self.num_frames - mean.square()).clamp(min=0)
        return Statistics(mean.float(), variance.sqrt().clamp(min=MIN_STD).float())
