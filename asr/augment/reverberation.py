"""Reverberation: speech as it arrives after the walls of a room have sent it back (Ko et al. 2017).

A waveform is convolved with a room impulse response: a recorded one, or noise that decays exponentially. The direct
path stays where it was, so that every word keeps its time, and the result has the power of the dry waveform.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from asr.augment.waveforms import Recordings, mean_power
from asr.errors import AudioError

SHORTEST_RT60_SECONDS = 0.01  # less than any room's, and still many samples


class Rooms(Protocol):
    """Where speech is put."""

    def draw(self, rng: np.random.Generator) -> NDArray[np.float32]:
        """(M,) float32 impulse response of a random room; its largest sample is the direct path."""
        ...


class RecordedRooms:
    """Impulse responses from recordings, each as likely as the others.

    Take single channels of microphone arrays: the mean of several would be a comb filter, and no room.
    """

    def __init__(self, responses: Recordings) -> None:
        if len(responses) == 0:
            raise ValueError("expected at least one room impulse response, got none")
        self.responses = responses

    def draw(self, rng: np.random.Generator) -> NDArray[np.float32]:
        """(M,) float32. Raises `AudioError` for a recording without sound."""
        index = int(rng.integers(len(self.responses)))
        response = self.responses.waveform(index)
        if not response.any():
            raise AudioError(
                f"room impulse response {index + 1} of {len(self.responses)} has no sound (16-bit samples, all zero): "
                "leave it out of its manifest, or scale its largest sample to 1"
            )
        return response


@dataclass(frozen=True, slots=True)
class SynthesisedRooms:
    """Rooms by Polack's model (1988, after Schroeder and Moorer): white noise under an exponential decay.

    h(0) = 1 is the direct path, h(n) = g · w(n) · 10^(−3 n / (rate · RT60)) the reflections, with w of unit variance:
    their energy falls by 60 dB within RT60. g makes the direct path `direct_db` stronger than all of them together.
    """

    sample_rate: int
    min_rt60_seconds: float
    max_rt60_seconds: float
    min_direct_db: float
    max_direct_db: float

    def __post_init__(self) -> None:
        if not SHORTEST_RT60_SECONDS <= self.min_rt60_seconds <= self.max_rt60_seconds:
            raise ValueError(
                f"expected {SHORTEST_RT60_SECONDS} <= min_rt60_seconds <= max_rt60_seconds, "
                f"got {self.min_rt60_seconds} and {self.max_rt60_seconds}"
            )
        if self.min_direct_db > self.max_direct_db:
            raise ValueError(
                f"expected min_direct_db <= max_direct_db, got {self.min_direct_db} and {self.max_direct_db}"
            )

    def draw(self, rng: np.random.Generator) -> NDArray[np.float32]:
        """(RT60 · rate,) float32, RT60 and the direct path's level drawn uniformly."""
        rt60_samples = rng.uniform(self.min_rt60_seconds, self.max_rt60_seconds) * self.sample_rate
        direct_db = rng.uniform(self.min_direct_db, self.max_direct_db)
        time = np.arange(1, math.ceil(rt60_samples))
        tail = rng.standard_normal(len(time)) * 10.0 ** (-3.0 * time / rt60_samples)
        tail *= math.sqrt(10.0 ** (-direct_db / 10.0) / np.square(tail).sum())
        return np.concatenate(([1.0], tail)).astype(np.float32)


class Reverberation:
    """Put a share of the utterances into random rooms."""

    def __init__(self, rooms: Rooms, probability: float) -> None:
        if not 0.0 <= probability <= 1.0:
            raise ValueError(f"expected a probability in 0-1, got {probability}")
        self.rooms = rooms
        self.probability = probability

    def __call__(self, waveform: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float32]:
        """(N,) -> (N,) float32."""
        if rng.random() >= self.probability:
            return waveform
        return reverberate(waveform, self.rooms.draw(rng))


def reverberate(waveform: NDArray[np.float32], response: NDArray[np.float32]) -> NDArray[np.float32]:
    """Convolve (N,) samples with a room impulse response: (N,) float32 of the same power, aligned to the direct path.

    The direct path is the response's largest sample, as in Kaldi's wav-reverberate. Digital silence stays.
    """
    if not waveform.any():
        return waveform
    direct = int(np.argmax(np.abs(response)))
    num_samples = len(waveform) + len(response) - 1
    size = 1 << (num_samples - 1).bit_length()  # powers of two are fast
    spectrum = np.fft.rfft(waveform, size) * np.fft.rfft(response, size)
    wet = np.fft.irfft(spectrum, size)[direct : direct + len(waveform)]
    gain = math.sqrt(mean_power(waveform) / mean_power(wet))
    return np.asarray(gain * wet, dtype=np.float32)
