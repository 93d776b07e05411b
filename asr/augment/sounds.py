"""Sounds that nobody says, made up: noise, hums and tones, clicks, clatter, bursts, speech played backwards.

A model that has heard nothing but speech takes every sound for some. These are none of the sounds of any test set.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from asr.augment.waveforms import Recordings, mean_power, stretch_of

Waveform = NDArray[np.float32]

ENVELOPE_POINTS = 9  # of a random spectrum or loudness, from its beginning to its end
SPECTRUM_DB = 14.0  # standard deviation of a random spectrum at each of them
LOWEST_HERTZ = 40.0
HIGHEST_RESONANCE = 0.45  # of the sample rate: what is higher would fold down
MAX_PARTIALS = 10
SHARE_OF_TWO = 0.3  # of the sounds are two at once
MAX_STRIKES = 200  # of things that hit one another, in one recording


def draw_sound(num_samples: int, sample_rate: int, rng: np.random.Generator, speech: Waveform) -> Waveform:
    """(N,) float32 samples of a sound that is not speech, with a mean square of 1 (or of 0: nothing at all).

    speech: what is played backwards where that is drawn.
    """
    makers: list[Callable[[], NDArray[np.float64]]] = [
        lambda: _stationary(num_samples, sample_rate, rng),
        lambda: _stationary(num_samples, sample_rate, rng) * _loudness(num_samples, sample_rate, rng),
        lambda: _tones(num_samples, sample_rate, rng) * _loudness(num_samples, sample_rate, rng),
        lambda: _clicks(num_samples, sample_rate, rng),
        lambda: _bursts(num_samples, sample_rate, rng),
        lambda: _clatter(num_samples, sample_rate, rng),
        lambda: _backwards(speech, num_samples, rng),
    ]
    sound = _unit(makers[int(rng.integers(len(makers)))]())
    if rng.random() < SHARE_OF_TWO:
        level = 10.0 ** (rng.uniform(-20.0, 0.0) / 20.0)
        second = makers[int(rng.integers(len(makers) - 1))]  # the last one, speech backwards, is no accompaniment
        sound = _unit(sound + level * _unit(second()))
    return sound.astype(np.float32)


def coloured_noise(num_samples: int, sample_rate: int, rng: np.random.Generator) -> Waveform:
    """(N,) float32 samples of stationary noise with a random smooth spectrum, of a mean square of 1."""
    return _unit(_stationary(num_samples, sample_rate, rng)).astype(np.float32)


def like_background(waveform: Waveform, num_samples: int, sample_rate: int, rng: np.random.Generator) -> Waveform:
    """(N,) float32 samples of noise with the spectrum and level of the quietest tenth of a second of `waveform`."""
    size = max(1, sample_rate // 10)
    num_windows = len(waveform) // size
    if num_windows == 0:
        return np.zeros(num_samples, np.float32)
    windows = waveform[: num_windows * size].reshape(num_windows, size)
    quietest = windows[int(np.square(windows, dtype=np.float64).sum(1).argmin())].astype(np.float64)
    if not quietest.any():
        return np.zeros(num_samples, np.float32)
    shape = np.abs(np.fft.rfft(quietest * np.hanning(size)))
    filled = _shaped(rng.standard_normal(num_samples), np.linspace(0.0, 1.0, len(shape)), shape)
    return (_unit(filled) * math.sqrt(mean_power(quietest))).astype(np.float32)


def recorded_sound(noises: Recordings, num_samples: int, rng: np.random.Generator) -> Waveform:
    """(N,) float32 samples from a random place of a random recording of noise, of a mean square of 1."""
    noise = noises.waveform(int(rng.integers(len(noises))))
    return _unit(stretch_of(noise, num_samples, rng).astype(np.float64)).astype(np.float32)


def _unit(sound: NDArray[np.float64]) -> NDArray[np.float64]:
    power = mean_power(sound)
    return sound / math.sqrt(power) if power > 0.0 else sound


def _shaped(noise: NDArray[np.float64], places: NDArray[np.float64], shape: NDArray[np.float64]) -> NDArray[np.float64]:
    """Multiply the spectrum of (N,) samples by `shape`, given at `places` from 0 to 1, half the sample rate."""
    size = 1 << max(1, (len(noise) - 1).bit_length())
    spectrum = np.fft.rfft(noise, size)
    spectrum *= np.interp(np.linspace(0.0, 1.0, len(spectrum)), places, shape)
    return np.asarray(np.fft.irfft(spectrum, size)[: len(noise)])


def _stationary(num_samples: int, sample_rate: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """White noise through a random spectrum that falls by 0 to 6 dB per octave on the whole."""
    hertz = np.geomspace(LOWEST_HERTZ, sample_rate / 2, ENVELOPE_POINTS)
    decibels = rng.normal(0.0, SPECTRUM_DB, ENVELOPE_POINTS) - rng.uniform(0.0, 6.0) * np.log2(hertz / LOWEST_HERTZ)
    return _shaped(rng.standard_normal(num_samples), hertz / (sample_rate / 2), 10.0 ** (decibels / 20.0))


def _loudness(num_samples: int, sample_rate: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """A random loudness over time, changing 0.5 to 15 times a second over some ten decibels."""
    num_points = 2 + int(num_samples / sample_rate * 10.0 ** rng.uniform(-0.3, 1.2))
    decibels = rng.normal(0.0, rng.uniform(3.0, 15.0), num_points)
    time = np.linspace(0.0, num_points - 1.0, num_samples)
    return np.asarray(10.0 ** (np.interp(time, np.arange(num_points), decibels) / 20.0))


def _tones(num_samples: int, sample_rate: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """A hum, whistle, siren or cry: partials, harmonic or not, whose pitch glides."""
    num_points = 2 + int(num_samples / sample_rate * rng.uniform(0.2, 4.0))
    octaves = rng.normal(0.0, rng.uniform(0.0, 0.5), num_points)
    pitch = 10.0 ** rng.uniform(1.7, 3.3) * 2.0 ** np.interp(
        np.linspace(0.0, num_points - 1.0, num_samples), np.arange(num_points), octaves
    )
    phase = 2.0 * math.pi * np.cumsum(pitch) / sample_rate
    harmonic = rng.random() < 0.7
    total = np.zeros(num_samples)
    for number in range(1, 1 + int(rng.integers(1, MAX_PARTIALS, endpoint=True))):
        ratio = float(number) if harmonic else float(rng.uniform(0.5, 8.0))
        audible = pitch * ratio < sample_rate / 2
        strength = rng.random() / number ** rng.uniform(0.3, 1.5)
        total += audible * strength * np.sin(ratio * phase + rng.uniform(0.0, 2.0 * math.pi))
    return total


def _clicks(num_samples: int, sample_rate: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """Clicks, regular as of a clock or irregular as of a fire, each a short decay of noise or of a resonance."""
    gap = sample_rate * 10.0 ** rng.uniform(-1.5, 0.0)
    num_gaps = 2 + int(num_samples / gap)
    gaps = rng.exponential(gap, num_gaps) if rng.random() < 0.5 else np.full(num_gaps, gap)
    places = np.cumsum(gaps).astype(np.int64)
    places = places[places < num_samples]
    train = np.zeros(num_samples)
    train[places] = rng.uniform(0.2, 1.0, len(places))
    decay = sample_rate * 10.0 ** rng.uniform(-3.3, -1.3)
    time = np.arange(1 + int(6 * decay))
    if rng.random() < 0.5:
        excitation = rng.standard_normal(len(time))
    else:
        hertz = min(10.0 ** rng.uniform(2.3, 3.7), HIGHEST_RESONANCE * sample_rate)
        excitation = np.sin(2.0 * math.pi * hertz / sample_rate * time)
    ringing = np.exp(-time / decay) * excitation
    size = 1 << (num_samples + len(ringing)).bit_length()
    return np.asarray(np.fft.irfft(np.fft.rfft(train, size) * np.fft.rfft(ringing, size), size)[:num_samples])


def _clatter(num_samples: int, sample_rate: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """Things that hit one another: each time other resonances, that decay at rates of their own."""
    total = np.zeros(num_samples)
    for place in np.cumsum(rng.exponential(0.3 * sample_rate * 10.0 ** rng.uniform(-0.7, 0.5), MAX_STRIKES)):
        if place >= num_samples:
            break
        seconds = np.arange(min(sample_rate, num_samples - int(place))) / sample_rate
        strength = 10.0 ** rng.uniform(-1.0, 0.0)
        for _ in range(int(rng.integers(2, 6))):
            hertz = min(10.0 ** rng.uniform(2.3, 3.85), HIGHEST_RESONANCE * sample_rate)
            decay_seconds = 10.0 ** rng.uniform(-2.3, -0.7)
            ringing = np.exp(-seconds / decay_seconds) * np.sin(2.0 * math.pi * hertz * seconds)
            total[int(place) : int(place) + len(seconds)] += strength * rng.random() * ringing
    return total


def _bursts(num_samples: int, sample_rate: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """Short sounds of one kind each, with silence between: coughs, barks, knocks."""
    total = np.zeros(num_samples)
    place = int(rng.uniform(0.0, 0.5) * sample_rate)
    while place < num_samples:
        size = max(16, min(int(10.0 ** rng.uniform(-1.5, -0.2) * sample_rate), num_samples - place))
        burst = _stationary(size, sample_rate, rng) if rng.random() < 0.5 else _tones(size, sample_rate, rng)
        shape = np.minimum(1.0, np.arange(size) / (0.01 * sample_rate)) * np.exp(-3.0 * np.arange(size) / size)
        end = min(num_samples, place + size)
        total[place:end] += (_unit(burst) * shape)[: end - place] * rng.uniform(0.3, 1.0)
        place += size + int(10.0 ** rng.uniform(-1.3, 0.3) * sample_rate)
    return total


def _backwards(speech: Waveform, num_samples: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """Speech played backwards, repeated as long as needed: it sounds like speech and says nothing."""
    if len(speech) == 0:
        return np.zeros(num_samples)
    return stretch_of(np.ascontiguousarray(speech[::-1]), num_samples, rng).astype(np.float64)
