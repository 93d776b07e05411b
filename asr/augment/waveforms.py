"""Speed perturbation and additive noise."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Protocol

import numpy as np
import soxr
from numpy.typing import NDArray

from asr.augment.streams import SPEED_STREAM

POWER_BLOCK_SAMPLES = 4096


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


class Recordings(Protocol):
    """Recordings of noise or of rooms, such as `asr.data.audio_cache.AudioStore`."""

    def __len__(self) -> int: ...

    def waveform(self, index: int) -> NDArray[np.float32]:
        """(N,) float32 samples of recording `index`."""
        ...


class AdditiveNoise:
    """Mix a random stretch of a random noise recording into a waveform, at a signal-to-noise ratio drawn in dB."""

    def __init__(self, noises: Recordings, probability: float, min_snr_db: float, max_snr_db: float) -> None:
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

    def __call__(
        self, waveform: NDArray[np.float32], rng: np.random.Generator, speech: NDArray[np.float32] | None = None
    ) -> NDArray[np.float32]:
        """(N,) -> (N,) float32; a silent waveform or noise is left alone, as it has no ratio.

        speech: what the ratio is to, where the waveform also has pauses; None: all of the waveform.
        """
        if rng.random() >= self.probability:
            return waveform
        noise = self.noises.waveform(int(rng.integers(len(self.noises))))
        noise = stretch_of(noise, len(waveform), rng)
        snr_db = rng.uniform(self.min_snr_db, self.max_snr_db)
        signal_power, noise_power = mean_power(waveform if speech is None else speech), mean_power(noise)
        if signal_power == 0.0 or noise_power == 0.0:
            return waveform
        gain = math.sqrt(signal_power / noise_power * 10.0 ** (-snr_db / 10.0))
        return np.asarray(waveform + np.float32(gain) * noise)


def stretch_of(noise: NDArray[np.float32], num_samples: int, rng: np.random.Generator) -> NDArray[np.float32]:
    """`num_samples` successive samples of `noise` from a random place; it repeats when it is too short."""
    if len(noise) == 0:
        return np.zeros(num_samples, dtype=np.float32)
    start = int(rng.integers(len(noise)))
    if start + num_samples <= len(noise):
        return noise[start : start + num_samples]
    return np.resize(np.concatenate((noise[start:], noise[:start])), num_samples)


def mean_power(waveform: NDArray[np.floating]) -> float:
    """Mean square, of blocks whose sums are added in float64, so that no copy of the whole in float64 is made."""
    if len(waveform) == 0:
        return 0.0
    whole = len(waveform) // POWER_BLOCK_SAMPLES * POWER_BLOCK_SAMPLES
    blocks, rest = waveform[:whole].reshape(-1, POWER_BLOCK_SAMPLES), waveform[whole:].astype(np.float64)
    total = np.matmul(blocks[:, None, :], blocks[:, :, None]).sum(dtype=np.float64) + np.square(rest).sum()
    return float(total) / len(waveform)
