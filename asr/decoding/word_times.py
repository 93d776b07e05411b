"""Word times by ear: from the frames in which a model emits a word to those in which it sounds.

A CTC model emits each token in a frame or two and blanks between, so the frames of a word say that it was said there,
not for how long. Its sound goes on, before and behind them, for as long as the recording stays loud:

    level    ▁▁▁▃▅▇▇▆▅▃▂▁▁▁▁▁▂▅▇▇▅▂▁▅▇▆▃▁▁▁
    tokens   ······o··n··········t·w·o·······
    words       [  one   ]      [ two  ]

A word ends at the first pause behind its last token and begins at the last one before its first token. A pause is a
stretch of frames below the word's threshold, longer than the closure of a stop inside a word. Where two words follow
each other without one, they meet in the longest of the shorter stretches, or else in the quietest frame.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from asr.types import Seconds, Word

Frames = slice  # start, stop

# Of digits said in rooms with noise at 10-40 dB, where a few dB more or less make no difference.
SPEECH_RANGE_DECIBELS = 30.0  # what is this far below a word's loudest frame is no part of it
NOISE_MARGIN_DECIBELS = 10.0  # noise rises as far above its usual level, and a word stands out as far at least
NOISE_PERCENTILE = 10.0  # of the levels around a word: at least one frame in ten is in a pause
DIGITAL_SILENCE_DECIBELS = -85.0  # a recording switched off says nothing of the noise in the rest; the last bit is -90
PAUSE_SECONDS = 0.15  # the closures of /t/ and /k/ are shorter
REACH_SECONDS = 1.0  # from a word's tokens to its beginning or end, at most
PEAK_SECONDS = 0.1  # on both sides of a word's tokens, where its loudest frame is looked for
AROUND_SECONDS = 3.0  # on both sides of a word, which tell how loud the noise is
SILENT_POWER = 1e-10  # -100 dB, a few dB below the last of 16 bits


@dataclass(frozen=True, slots=True, eq=False)
class SoundLevels:
    """How loud a recording is, frame by frame."""

    decibels: NDArray[np.float32]  # (L,) of full scale
    frame_seconds: Seconds  # from one to the next, a hundredth or so

    def frames(self, seconds: Seconds) -> int:
        """A length of time in frames."""
        return round(seconds / self.frame_seconds)


def sound_levels(samples: NDArray[np.float32], frame_samples: int) -> NDArray[np.float32]:
    """(N,) samples -> (ceil(N / frame_samples),) mean power of each frame in dB, the last one filled up with zeros."""
    num_frames = -(-len(samples) // frame_samples)
    padded = np.pad(samples, (0, num_frames * frame_samples - len(samples)))
    power = np.square(padded, dtype=np.float64).reshape(num_frames, frame_samples).mean(axis=1)
    decibels: NDArray[np.float32] = (10.0 * np.log10(np.maximum(power, SILENT_POWER))).astype(np.float32)
    return decibels


def words_in_sound(words: Sequence[Word], levels: SoundLevels, duration: Seconds) -> tuple[Word, ...]:
    """Let words begin and end with their sound.

    Each keeps the frames of its tokens, none overlap, and all end within the recording. A word that does not stand out
    from what is around it keeps its times, as nothing shows where its sound ends.

    Args:
        words: in order of time, placed by the frames of their tokens.
        levels: of the recording that they are in.
        duration: of that recording.
    """
    return tuple(
        replace(
            word,
            start=min(word.start, frames.start * levels.frame_seconds),
            end=min(max(word.end, frames.stop * levels.frame_seconds), duration),
        )
        for word, frames in zip(words, _sounding(words, levels))
    )


def tokens_in_word(tokens: Sequence[Word], word: Word) -> tuple[Word, ...]:
    """Share a word's time out among its tokens, which meet halfway between their frames."""
    middles = [(token.end + following.start) / 2 for token, following in pairwise(tokens)]
    edges = [word.start, *middles, word.end]
    return tuple(replace(token, start=start, end=end) for token, (start, end) in zip(tokens, pairwise(edges)))


def _sounding(words: Sequence[Word], levels: SoundLevels) -> list[Frames]:
    """The frames in which each word sounds."""
    decibels, reach, shortest = levels.decibels, levels.frames(REACH_SECONDS), levels.frames(PAUSE_SECONDS)
    tokens = [slice(levels.frames(word.start), min(levels.frames(word.end), len(decibels))) for word in words]
    thresholds = [_threshold(tokens, index, levels) for index in range(len(tokens))]
    begins, ends = [frames.start for frames in tokens], [frames.stop for frames in tokens]
    for right in range(len(words) + 1):  # the gap before each word, and the one behind the last
        left = right - 1
        if 0 < right < len(words) and begins[right] - ends[left] <= reach:
            gap = slice(ends[left], begins[right])
            pause = _pause_between(decibels[gap], min(thresholds[left], thresholds[right]), shortest)
            ends[left], begins[right] = gap.start + pause.start, gap.start + pause.stop
            continue
        if right > 0:
            ends[left] += _loud_frames(decibels[ends[left] : ends[left] + reach], thresholds[left], shortest)
        if right < len(words):
            earliest = max(begins[right] - reach, ends[left] if right > 0 else 0)
            backwards = decibels[earliest : begins[right]][::-1]
            begins[right] -= _loud_frames(backwards, thresholds[right], shortest)
    # What does not stand out stays where it is, whatever its neighbours show.
    return [
        slice(begin, end) if threshold < np.inf else frames
        for begin, end, threshold, frames in zip(begins, ends, thresholds, tokens)
    ]


def _threshold(tokens: Sequence[Frames], index: int, levels: SoundLevels) -> float:
    """The level in dB below which a word is over, infinite for one that does not stand out."""
    own = tokens[index]
    margin, around = levels.frames(PEAK_SECONDS), levels.frames(AROUND_SECONDS)
    # Halfway to the neighbours begins what is theirs.
    first = (tokens[index - 1].stop + own.start) // 2 if index > 0 else 0
    last = (tokens[index + 1].start + own.stop + 1) // 2 if index + 1 < len(tokens) else len(levels.decibels)
    near = levels.decibels[max(first, own.start - margin) : min(last, own.stop + margin)]
    if len(near) == 0:  # tokens behind the end of the audio, in frames of zeros
        return np.inf
    peak = float(near.max())
    surroundings = levels.decibels[max(0, own.start - around) : own.stop + around]
    quietest = max(DIGITAL_SILENCE_DECIBELS, float(np.percentile(surroundings, NOISE_PERCENTILE)))
    if peak - quietest < NOISE_MARGIN_DECIBELS:
        return np.inf
    sounds = surroundings[surroundings > DIGITAL_SILENCE_DECIBELS]
    noise = float(np.percentile(sounds, NOISE_PERCENTILE))  # the word's own frames are among them, as it stands out
    above_noise = min(noise + NOISE_MARGIN_DECIBELS, peak - NOISE_MARGIN_DECIBELS)
    return max(peak - SPEECH_RANGE_DECIBELS, above_noise)


def _loud_frames(decibels: NDArray[np.float32], threshold: float, shortest_pause: int) -> int:
    """How many frames come before the first pause; quiet ones at the end of (G,) levels are one, however few."""
    starts, stops = _quiet(decibels, threshold)
    pauses = starts[(stops - starts >= shortest_pause) | (stops == len(decibels))]
    return int(pauses[0]) if len(pauses) else len(decibels)


def _pause_between(decibels: NDArray[np.float32], threshold: float, shortest_pause: int) -> Frames:
    """Where nothing is said in (G,) levels between two words; empty when they follow each other without a pause."""
    starts, stops = _quiet(decibels, threshold)
    if len(starts) == 0:
        quietest = int(decibels.argmin()) if len(decibels) else 0
        return slice(quietest, quietest)
    lengths = stops - starts
    pauses = np.flatnonzero(lengths >= min(shortest_pause, lengths.max()))
    return slice(int(starts[pauses[0]]), int(stops[pauses[-1]]))


def _quiet(decibels: NDArray[np.float32], threshold: float) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Starts and stops of the stretches of frames below a threshold."""
    edges = np.diff(decibels < threshold, prepend=False, append=False)
    places = np.flatnonzero(edges)
    return places[::2], places[1::2]
