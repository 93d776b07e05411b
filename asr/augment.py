"""Augmentation: speed perturbation and additive noise on waveforms, SpecAugment on features.

What happens to an utterance depends on (seed, epoch, index) alone, never on the batch, the order or the worker that
handles it, so a run repeats exactly with any number of workers.
"""

import math
from collections.abc import Sequence
from typing import Protocol

import numpy as np
import soxr
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

# Streams of random numbers for one utterance: each use has its own, so that switching one off leaves the others alone.
SPEED_STREAM, NOISE_STREAM, MASK_STREAM = 1, 2, 3


def utterance_rng(seed: int, epoch: int, index: int, stream: int) -> np.random.Generator:
    """The random generator for one use in one utterance in one epoch."""
    return np.random.default_rng((seed, epoch, index, stream))


def draw_speeds(speeds: Sequence[float], num_utterances: int, seed: int, epoch: int) -> NDArray[np.float64]:
    """The speed factor of every utterance in an epoch, (N,), drawn uniformly from `speeds`.

    The sampler needs all of them before the epoch begins, because speed changes length.
    """
    rng = np.random.default_rng((seed, epoch, SPEED_STREAM))
    return np.asarray(speeds, dtype=np.float64)[rng.integers(len(speeds), size=num_utterances)]


def num_samples_at_speed(num_samples: int, speed: float) -> int:
    """How many samples `change_speed` leaves."""
    return num_samples if speed == 1.0 else round(num_samples / speed)


def change_speed(waveform: NDArray[np.float32], speed: float) -> NDArray[np.float32]:
    """Play (N,) samples `speed` times faster, tempo and pitch together (Ko et al. 2015)."""
    if speed == 1.0:
        return waveform
    length = num_samples_at_speed(len(waveform), speed)
    # soxr's rates need only the right ratio; it may round the length the other way by one sample
    resampled = np.asarray(soxr.resample(waveform, speed, 1.0)[:length], dtype=np.float32)
    return np.concatenate((resampled, np.zeros(length - len(resampled), np.float32)))


class NoiseSource(Protocol):
    """Recordings of noise, such as `asr.data.audio_cache.AudioStore`."""

    def __len__(self) -> int: ...

    def waveform(self, index: int) -> NDArray[np.float32]:
        """(N,) float32 samples of recording `index`."""
        ...


class AdditiveNoise:
    """Mix a random stretch of a random noise recording into a waveform, at a signal-to-noise ratio drawn in dB."""

    def __init__(self, noises: NoiseSource, probability: float, min_snr_db: float, max_snr_db: float) -> None:
        if not 0.0 <= probability <= 1.0:
            raise ValueError(f"expected a probability in 0-1, got {probability}")
        if min_snr_db > max_snr_db:
            raise ValueError(f"expected min_snr_db <= max_snr_db, got {min_snr_db} and {max_snr_db}")
        if len(noises) == 0:
            raise ValueError("expected at least one noise recording, got none")
        self.noises = noises
        self.probability = probability
        self.min_snr_db = min_snr_db
        self.max_snr_db = max_snr_db

    def __call__(self, waveform: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float32]:
        """(N,) -> (N,) float32; a silent waveform or noise is left alone, as it has no ratio."""
        if rng.random() >= self.probability:
            return waveform
        noise = self.noises.waveform(int(rng.integers(len(self.noises))))
        noise = stretch_of(noise, len(waveform), rng)
        snr_db = rng.uniform(self.min_snr_db, self.max_snr_db)
        signal_power, noise_power = mean_power(waveform), mean_power(noise)
        if signal_power == 0.0 or noise_power == 0.0:
            return waveform
        gain = math.sqrt(signal_power / noise_power * 10.0 ** (-snr_db / 10.0))
        return np.asarray(waveform + np.float32(gain) * noise)


def stretch_of(noise: NDArray[np.float32], num_samples: int, rng: np.random.Generator) -> NDArray[np.float32]:
    """`num_samples` successive samples of `noise` from a random place; it repeats when it is too short."""
    if len(noise) == 0:
        return np.zeros(num_samples, dtype=np.float32)
    start = int(rng.integers(len(noise)))
    return np.take(noise, np.arange(start, start + num_samples), mode="wrap")


def mean_power(waveform: NDArray[np.float32]) -> float:
    """Mean square, summed in float64."""
    return float(np.mean(np.square(waveform, dtype=np.float64))) if len(waveform) else 0.0


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
        hide = [torch.from_numpy(mask).to(features.device, non_blocking=True) for mask in (hidden_time, hidden_freq)]
        return features.masked_fill(hide[0][:, :, None] | hide[1][:, None, :], 0.0)

    def _draw(self, seed: int) -> NDArray[np.float64]:
        rng = np.random.default_rng((seed, MASK_STREAM))
        return rng.random((self.num_freq_masks + self.num_time_masks, 2))


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
