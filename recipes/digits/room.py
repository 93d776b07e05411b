"""What happens to speech on its way to a microphone: echo, background noise, level. All of it synthetic.

Waveforms are (N,) float64, so that a result does not depend on the order of sums in a faster type.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Waveform = NDArray[np.float64]

# exp(-DECAY t / RT60) has fallen by 60 dB at t = RT60: ln(10 ** 3).
DECAY = math.log(1000.0)
# Exponents of 1 / f^n in power.
NOISE_COLOURS = {"white": 0.0, "pink": 1.0, "brown": 2.0}
NOISES = (*NOISE_COLOURS, "babble")
BABBLE_TALKERS = 6
LOWEST_NOISE_HERTZ = 40.0  # below it 1/f noise would put all its power where no microphone listens
ACTIVE_DB = 30.0  # speech is where the level is at most this far below the loudest moment


def reverberate(
    waveform: Waveform, sample_rate: int, rt60_seconds: float, direct_to_reverberant_db: float, rng: np.random.Generator
) -> Waveform:
    """Add a room's echo; the result is as long as `waveform`, and so loses the last echoes.

    The impulse response is a unit impulse followed by Gaussian noise that decays by 60 dB in `rt60_seconds`
    (Polack 1988; Moorer 1979), with `direct_to_reverberant_db` between the energies of the two.
    """
    tail_samples = round(rt60_seconds * sample_rate)
    seconds = np.arange(1, tail_samples + 1) / sample_rate
    tail = rng.standard_normal(tail_samples) * np.exp(-DECAY * seconds / rt60_seconds)
    tail *= 10.0 ** (-direct_to_reverberant_db / 20.0) / np.linalg.norm(tail)
    response = np.concatenate(([1.0], tail))
    size = _fast_size(len(waveform) + len(response) - 1)
    spectrum = np.fft.rfft(waveform, size) * np.fft.rfft(response, size)
    return np.fft.irfft(spectrum, size)[: len(waveform)]


def make_noise(kind: str, num_samples: int, sample_rate: int, rng: np.random.Generator) -> Waveform:
    """`num_samples` of background noise with a mean square of 1; `kind` is one of `NOISES`.

    "babble" is no speech: noise with the spectrum of speech that is the sum of talkers, each louder and softer
    at the pace of syllables (3-6 Hz).
    """
    if kind == "babble":
        excitation = np.zeros(num_samples)
        for _ in range(BABBLE_TALKERS):
            excitation += _syllables(num_samples, sample_rate, rng)
        return shape_noise(excitation, _speech_spectrum, sample_rate)
    exponent = NOISE_COLOURS[kind]
    return shape_noise(
        rng.standard_normal(num_samples),
        lambda hertz: np.maximum(hertz, LOWEST_NOISE_HERTZ) ** (-exponent / 2.0),
        sample_rate,
    )


def add_noise(waveform: Waveform, noise: Waveform, snr_db: float, sample_rate: int) -> Waveform:
    """Mix at a signal-to-noise ratio; the signal's power is that of its active parts (see `active_rms`)."""
    gain = active_rms(waveform, sample_rate) / (_rms(noise) * 10.0 ** (snr_db / 20.0))
    mixed: Waveform = waveform + gain * noise
    return mixed


def active_rms(waveform: Waveform, sample_rate: int) -> float:
    """Root mean square over the 20 ms frames within 30 dB of the loudest: pauses do not count."""
    frame_samples = sample_rate // 50
    num_frames = len(waveform) // frame_samples
    power = np.mean(waveform[: num_frames * frame_samples].reshape(num_frames, frame_samples) ** 2, axis=1)
    return float(np.sqrt(np.mean(power[power >= power.max() * 10.0 ** (-ACTIVE_DB / 10.0)])))


def set_level(waveform: Waveform, rms_db: float, sample_rate: int, highest_peak: float = 0.95) -> Waveform:
    """Scale to `rms_db` dB below full scale over the active parts, or as near to it as no sample clips."""
    gain = 10.0 ** (rms_db / 20.0) / active_rms(waveform, sample_rate)
    scaled: Waveform = waveform * min(gain, highest_peak / float(np.abs(waveform).max()))
    return scaled


def shape_noise(noise: Waveform, amplitude: Callable[[Waveform], Waveform], sample_rate: int) -> Waveform:
    """Multiply the spectrum by `amplitude` of the frequency in Hz, and scale to a mean square of 1."""
    size = _fast_size(len(noise))
    hertz = np.linspace(0.0, sample_rate / 2, size // 2 + 1)
    spectrum = np.fft.rfft(noise, size) * amplitude(hertz)
    filtered = np.fft.irfft(spectrum, size)[: len(noise)]
    filtered /= _rms(filtered)
    return filtered


def _syllables(num_samples: int, sample_rate: int, rng: np.random.Generator) -> Waveform:
    rate_hertz, phase = rng.uniform(3.0, 6.0), rng.uniform(0.0, 2.0 * math.pi)
    radians = 2.0 * math.pi * rate_hertz / sample_rate * np.arange(num_samples) + phase
    syllables: Waveform = (0.5 + 0.5 * np.sin(radians)) * rng.standard_normal(num_samples)
    return syllables


def _speech_spectrum(hertz: Waveform) -> Waveform:
    """Flat from 100 to 500 Hz, then -9 dB an octave: roughly speech in the long term (Byrne et al. 1994)."""
    return np.where(hertz < 100.0, hertz / 100.0, np.maximum(hertz / 500.0, 1.0) ** -1.5)


def _rms(waveform: Waveform) -> float:
    return float(np.sqrt(np.mean(waveform**2)))


def _fast_size(num_samples: int) -> int:
    """The smallest of 4, 5, 6 or 7 times a power of two that holds the samples: the FFT is fast at these."""
    power = max(0, (num_samples - 1).bit_length() - 3)
    return next(factor << power for factor in (4, 5, 6, 7, 8) if factor << power >= num_samples)
