"""Word times on synthetic digits, whose places in the audio are known."""

import importlib

import numpy as np
import pytest
import soxr

from asr.decoding.word_times import SoundLevels, sound_levels, words_in_sound
from asr.recipe import load_recipe
from asr.types import Word

load_recipe("digits")  # as the command line does
common, room, synthesis, voices = (
    importlib.import_module(f"asr_recipe_digits.{name}") for name in ("common", "room", "synthesis", "voices")
)
RATE = 16000
FRAME = 160


def say_digits(espeak, rng: np.random.Generator) -> tuple[np.ndarray, list[tuple[float, float]]]:
    """(N,) samples of five digits in a room with noise, and where each sounds within 30 dB of its loudest 10 ms."""
    voice = synthesis.Voice("en-us", str(rng.choice(voices.TEST)))
    manner = synthesis.Manner(int(rng.integers(120, 241)), 50, 50)
    parts, places, position = [np.zeros(3200)], [], 3200
    for digit in rng.integers(10, size=5):
        text = f"<speak>{common.WORDS[digit]}</speak>"
        said = soxr.resample(espeak.say(text, voice, manner, seed=1) / 32768, synthesis.SAMPLE_RATE, RATE)
        power = sound_levels(said.astype(np.float32), FRAME)
        loud = np.flatnonzero(power > power.max() - 30)
        word = said[loud[0] * FRAME : (loud[-1] + 1) * FRAME]
        pause = np.zeros(int(rng.integers(2)) * int(rng.integers(800, 6400)))  # one time in two there is none
        places.append((position / RATE, (position + len(word)) / RATE))
        parts += [word, pause]
        position += len(word) + len(pause)
    clean = np.concatenate([*parts, np.zeros(3200)])
    echoing = room.reverberate(clean, RATE, 0.3, 10.0, rng)
    noise = room.make_noise("pink", len(clean), RATE, rng)
    return room.add_noise(echoing, noise, float(rng.uniform(15, 40)), RATE).astype(np.float32), places


def test_digits_end_where_their_sound_ends():
    pytest.importorskip("espeakng_loader")
    espeak, rng = synthesis.Espeak(), np.random.default_rng(5)
    begins, ends, lengths, true_lengths = [], [], [], []
    for _ in range(20):
        samples, places = say_digits(espeak, rng)
        shares = rng.uniform(0.1, 0.6, size=len(places))  # a model's spikes stand anywhere in a word's first half
        spikes = [start + share * (end - start) for share, (start, end) in zip(shares, places)]
        words = [Word("digit", spike, spike + 0.03, 1.0) for spike in spikes]
        levels = SoundLevels(sound_levels(samples, FRAME), FRAME / RATE)
        for word, (start, end) in zip(words_in_sound(words, levels, len(samples) / RATE), places):
            begins.append(abs(word.start - start))
            ends.append(abs(word.end - end))
            lengths.append(word.end - word.start)
            true_lengths.append(end - start)
    assert np.median(begins) <= 0.03
    assert np.median(ends) <= 0.05
    assert np.mean(lengths) == pytest.approx(np.mean(true_lengths), rel=0.2)
