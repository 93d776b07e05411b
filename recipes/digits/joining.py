"""Strings of digits, joined of single recordings of one speaker with random pauses."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .room import Waveform, shape_noise

SAMPLE_RATE = 8000
PCM_SCALE = 32768.0
PAUSE_SECONDS = (0.05, 0.4)  # before, between and after the digits
GAIN_DB = 2.0  # a take is made louder or softer by at most this much
FADE_SAMPLES = SAMPLE_RATE * 3 // 1000  # 3 ms between a take and the noise around it
QUIET_SAMPLES = 256  # 32 ms: where the noise floor is measured
HIGHEST_PEAK = 0.99


@dataclass(frozen=True, slots=True, eq=False)
class Take:
    """One recording of one digit."""

    digit: int
    speaker: str
    number: int  # 0-49
    samples: NDArray[np.int16]

    @property
    def name(self) -> str:
        return f"{self.digit}_{self.speaker}_{self.number}"


@dataclass(frozen=True, slots=True, eq=False)
class Floor:
    """The noise in a speaker's recordings while he is silent."""

    rms: float  # full scale is 1
    amplitudes: Waveform  # (QUIET_SAMPLES // 2 + 1,) its spectrum from 0 Hz to SAMPLE_RATE / 2, to any scale


@dataclass(frozen=True, slots=True, eq=False)
class JoinedString:
    """A string to be made: which takes, and the seed of pauses, gains and noise."""

    id: str
    takes: tuple[Take, ...]
    floor: Floor
    seed: tuple[int, ...]

    def render(self) -> Waveform:
        """(N,) samples in [-1, 1]: pause, take, pause … take, pause, over noise that fills the pauses."""
        rng = np.random.default_rng(self.seed)
        pauses = np.rint(rng.uniform(*PAUSE_SECONDS, len(self.takes) + 1) * SAMPLE_RATE).astype(int)
        gains = 10.0 ** (rng.uniform(-GAIN_DB, GAIN_DB, len(self.takes)) / 20.0)
        num_samples = int(pauses.sum()) + sum(len(take.samples) for take in self.takes)
        string = self.floor.rms * self._noise(num_samples, rng)
        position = 0
        for take, pause, gain in zip(self.takes, pauses, gains):
            position += int(pause)
            here = slice(position, position + len(take.samples))
            weight = _fade(len(take.samples))
            string[here] = (1.0 - weight) * string[here] + weight * gain * take.samples / PCM_SCALE
            position = here.stop
        return string * min(1.0, HIGHEST_PEAK / float(np.abs(string).max()))

    def _noise(self, num_samples: int, rng: np.random.Generator) -> Waveform:
        grid = np.linspace(0.0, SAMPLE_RATE / 2, len(self.floor.amplitudes))
        white = rng.standard_normal(num_samples)
        return shape_noise(white, lambda hertz: np.interp(hertz, grid, self.floor.amplitudes), SAMPLE_RATE)


@dataclass(frozen=True, slots=True, eq=False)
class SingleTake:
    """A recording as it is."""

    id: str
    takes: tuple[Take]

    def render(self) -> Waveform:
        """(N,) samples in [-1, 1]."""
        return self.takes[0].samples / PCM_SCALE


def draw_strings(
    prefix: str, takes: Sequence[Take], count: int, max_digits: int, seed: tuple[int, ...]
) -> list[JoinedString]:
    """Draw `count` strings of 1 to `max_digits` digits; the speakers take turns.

    A speaker's takes are dealt like cards: none comes again before all of his have been used.
    """
    rng = np.random.default_rng(seed)
    speakers = sorted({take.speaker for take in takes})
    own = {speaker: [take for take in takes if take.speaker == speaker] for speaker in speakers}
    decks = {speaker: _deal(own[speaker], rng) for speaker in speakers}
    floors = {speaker: measure_floor(own[speaker]) for speaker in speakers}
    strings = []
    for index in range(count):
        speaker = speakers[index % len(speakers)]
        length = int(rng.integers(1, max_digits, endpoint=True))
        drawn = tuple(next(decks[speaker]) for _ in range(length))
        strings.append(
            JoinedString(f"{prefix}-{index:05d}", drawn, floors[speaker], (*seed, index + 1))
        )  # numpy takes (1, 0, 0) for (1, 0)
    return strings


def measure_floor(takes: Sequence[Take]) -> Floor:
    """Level and spectrum of the quietest 32 ms of each take, over the quieter half of the takes.

    The recordings are trimmed, some into the word: these have no silence to measure, and are in the louder half.
    """
    quiet = sorted((_quietest(take) for take in takes), key=_power)
    quiet = quiet[: (len(quiet) + 1) // 2]
    spectra = np.abs(np.fft.rfft(np.array(quiet) * np.hanning(QUIET_SAMPLES), axis=1)) ** 2
    return Floor(float(np.sqrt(np.mean([_power(frame) for frame in quiet]))), np.sqrt(spectra.mean(axis=0)))


def _deal(takes: Sequence[Take], rng: np.random.Generator) -> Iterator[Take]:
    while True:
        yield from (takes[index] for index in rng.permutation(len(takes)))


def _quietest(take: Take) -> Waveform:
    num_frames = len(take.samples) // QUIET_SAMPLES
    frames = take.samples[: num_frames * QUIET_SAMPLES].reshape(num_frames, QUIET_SAMPLES) / PCM_SCALE
    frames -= frames.mean(axis=1, keepdims=True)  # some recordings are offset; an offset is no noise
    return min(frames, key=_power)


def _power(frame: Waveform) -> float:
    return float(np.mean(frame**2))


def _fade(num_samples: int) -> Waveform:
    """1, rising from 0 at the start and falling to 0 at the end."""
    ramp = np.minimum(np.arange(num_samples), FADE_SAMPLES) / FADE_SAMPLES
    return np.minimum(ramp, ramp[::-1])
