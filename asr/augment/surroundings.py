"""What comes before and after speech: pauses, another utterance, or sounds instead of any speech.

People begin late, stop early and hold their breath, and recordings are cut where they are: a model that has only heard
utterances cut close to their words is lost in a recording that is not.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from asr.augment.sounds import Waveform, coloured_noise, draw_sound, like_background, recorded_sound
from asr.augment.streams import SURROUNDINGS_STREAM
from asr.augment.waveforms import Recordings, mean_power
from asr.types import Seconds

SHORTEST_PAUSE_SECONDS = 0.1
# Between joined utterances there is room for the space and for the blank between equal tokens.
SHORTEST_GAP_SECONDS = 0.2
NOBODY = -1  # instead of the index of an utterance

# Pauses hold nothing at all, noise at a level relative to the speech, or what lies between the words already.
ZEROS_SHARE, NOISE_SHARE, SOUND_SHARE = 0.15, 0.45, 0.2  # the rest: like the background
QUIETEST_DB, LOUDEST_DB = -60.0, -3.0
JOINED_GAIN_DB = 15.0  # another speaker is so much louder or softer at most
SOUND_LEVEL_DB = (-60.0, -10.0)  # of what is no speech, below full scale


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What an epoch puts around each of N utterances."""

    before: NDArray[np.float32]  # (N,) seconds of pause
    after: NDArray[np.float32]  # (N,)
    partner: NDArray[np.int64]  # (N,) index of the utterance said after it, or NOBODY
    gap: NDArray[np.float32]  # (N,) seconds between the two
    has_speech: NDArray[np.bool_]  # (N,) False: other sounds instead, for as long

    def lengths(self, seconds: NDArray[np.float64]) -> NDArray[np.float64]:
        """(N,) lengths with everything around; `seconds`: (N,) those of the speech alone."""
        joined = np.where(self.partner == NOBODY, 0.0, self.gap + seconds[self.partner])
        return seconds + self.before + self.after + joined


class SurroundingsPlanner:
    """Draws what stands around the utterances of an epoch.

    Args:
        pause_probability: of a pause before an utterance, and of one after it.
        max_pause_seconds: their lengths are spread evenly over the logarithm, from a tenth of a second.
        join_probability: of another utterance after it.
        nonspeech_probability: of other sounds instead of the utterance.
        max_seconds: what no utterance grows beyond.
    """

    def __init__(
        self,
        *,
        pause_probability: float,
        max_pause_seconds: Seconds,
        join_probability: float,
        nonspeech_probability: float,
        max_seconds: Seconds,
    ) -> None:
        self.pause_probability = pause_probability
        self.max_pause_seconds = max_pause_seconds
        self.join_probability = join_probability
        self.nonspeech_probability = nonspeech_probability
        self.max_seconds = max_seconds

    def draw(self, seconds: NDArray[np.float64], seed: int, epoch: int) -> Surroundings:
        """The surroundings of N utterances, (N,) seconds at their speeds, in an epoch."""
        rng = np.random.default_rng((seed, epoch, SURROUNDINGS_STREAM))
        number = len(seconds)
        has_speech = rng.random(number) >= self.nonspeech_probability
        partner = np.where(
            rng.random(number) < self.join_probability, rng.integers(max(1, number), size=number), NOBODY
        )
        gap = self._pauses(number, rng, SHORTEST_GAP_SECONDS)
        room = self.max_seconds - seconds
        total = gap + seconds[partner]
        partner[(total > room) | ~has_speech] = NOBODY
        room = np.maximum(0.0, room - np.where(partner == NOBODY, 0.0, total))
        before = np.minimum(self._pauses(number, rng) * (rng.random(number) < self.pause_probability), room)
        after = np.minimum(self._pauses(number, rng) * (rng.random(number) < self.pause_probability), room - before)
        return Surroundings(
            before.astype(np.float32), after.astype(np.float32), partner, gap.astype(np.float32), has_speech
        )

    def longest(self, seconds: NDArray[np.float64]) -> NDArray[np.float64]:
        """(N,) the lengths that `draw` never exceeds."""
        grown = seconds + 2 * self.max_pause_seconds * (self.pause_probability > 0)
        if self.join_probability > 0 and len(seconds):
            grown = grown + self.max_pause_seconds + seconds.max()
        return np.maximum(seconds, np.minimum(grown, self.max_seconds))

    def _pauses(
        self, number: int, rng: np.random.Generator, shortest: Seconds = SHORTEST_PAUSE_SECONDS
    ) -> NDArray[np.float64]:
        longest = max(shortest, self.max_pause_seconds)
        return np.exp(rng.uniform(math.log(shortest), math.log(longest), size=number))


def fill_pause(
    speech: Waveform, num_samples: int, sample_rate: int, rng: np.random.Generator, noises: Recordings | None
) -> Waveform:
    """(num_samples,) float32: what is heard beside (N,) `speech` while nobody speaks."""
    kind = rng.random()
    if num_samples == 0 or kind < ZEROS_SHARE:
        return np.zeros(num_samples, np.float32)
    level = math.sqrt(mean_power(speech)) * 10.0 ** (rng.uniform(QUIETEST_DB, LOUDEST_DB) / 20.0)
    if kind < ZEROS_SHARE + NOISE_SHARE:
        return _scaled(coloured_noise(num_samples, sample_rate, rng), level)
    if kind < ZEROS_SHARE + NOISE_SHARE + SOUND_SHARE:
        return _scaled(_sound(speech, num_samples, sample_rate, rng, noises), level)
    return like_background(speech, num_samples, sample_rate, rng)


def other_sounds(
    speech: Waveform, num_samples: int, sample_rate: int, rng: np.random.Generator, noises: Recordings | None
) -> Waveform:
    """(num_samples,) float32 of sounds that are no speech, on top of a faint noise, at any level."""
    level = 10.0 ** (rng.uniform(*SOUND_LEVEL_DB) / 20.0)
    ground = level * 10.0 ** (rng.uniform(-50.0, 0.0) / 20.0)
    sound = _scaled(_sound(speech, num_samples, sample_rate, rng, noises), level)
    return np.add(sound, _scaled(coloured_noise(num_samples, sample_rate, rng), ground))


def _scaled(waveform: Waveform, gain: float) -> Waveform:
    return np.asarray(np.float32(gain) * waveform, dtype=np.float32)


def _sound(
    speech: Waveform, num_samples: int, sample_rate: int, rng: np.random.Generator, noises: Recordings | None
) -> Waveform:
    if noises is not None and len(noises) and rng.random() < 0.5:
        return recorded_sound(noises, num_samples, rng)
    return draw_sound(num_samples, sample_rate, rng, speech)


def join(first: Waveform, gap: Waveform, second: Waveform, rng: np.random.Generator) -> Waveform:
    """Two utterances one after the other, the second at a level of its own."""
    gain = 10.0 ** (rng.uniform(-JOINED_GAIN_DB, JOINED_GAIN_DB) / 20.0)
    return np.concatenate((first, gap, _scaled(second, gain)))
