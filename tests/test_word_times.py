"""Words that last as long as they sound: sounds by hand, and any words in any levels."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from asr.decoding.word_times import REACH_SECONDS, SoundLevels, sound_levels, tokens_in_word, words_in_sound
from asr.types import Word

RATE = 8000
FRAME = 80  # samples: 10 ms


def recording(duration: float, *sounds: tuple[float, float, float], noise: float = 0.0) -> np.ndarray:
    """Tones of (start, end, amplitude), in seconds and of full scale, over white noise."""
    rng = np.random.default_rng(0)
    samples = noise * rng.standard_normal(round(duration * RATE))
    for start, end, amplitude in sounds:
        place = slice(round(start * RATE), round(end * RATE))
        samples[place] += amplitude * np.sin(2 * np.pi * 400 * np.arange(place.stop - place.start) / RATE)
    return samples.astype(np.float32)


def times(samples: np.ndarray, *tokens: tuple[float, float]) -> list[tuple[float, float]]:
    words = [Word(f"w{index}", start, end, 0.5) for index, (start, end) in enumerate(tokens)]
    levels = SoundLevels(sound_levels(samples, FRAME), FRAME / RATE)
    placed = words_in_sound(words, levels, len(samples) / RATE)
    assert [replace(word, start=0.0, end=0.0) for word in placed] == [
        replace(word, start=0.0, end=0.0) for word in words
    ]
    return [(pytest.approx(word.start, abs=0.011), pytest.approx(word.end, abs=0.011)) for word in placed]


@pytest.mark.parametrize("noise", [0.0, 0.0003, 0.01])
def test_words_last_as_long_as_they_sound(noise):
    samples = recording(3.0, (0.5, 1.1, 0.3), (1.4, 2.0, 0.1), noise=noise)
    assert times(samples, (0.6, 0.63), (1.8, 1.83)) == [(0.5, 1.1), (1.4, 2.0)]


def test_a_recording_that_is_switched_off_says_nothing_of_the_noise():
    samples = np.concatenate((np.zeros(2 * RATE, np.float32), recording(2.0, (0.5, 1.1, 0.3), noise=0.03)))
    assert times(np.concatenate((samples, samples[: 2 * RATE])), (2.6, 2.63)) == [(2.5, 3.1)]


def test_a_word_of_six_tenths_at_each_end_of_the_recording():
    assert times(recording(2.0, (0.0, 0.6, 0.3), (1.4, 2.0, 0.3)), (0.3, 0.33), (1.5, 1.53)) == [(0, 0.6), (1.4, 2)]


def test_the_closure_of_a_stop_is_no_pause():
    samples = recording(2.0, (0.5, 0.8, 0.3), (0.9, 1.0, 0.1))  # "eight" and its t
    assert times(samples, (0.6, 0.63)) == [(0.5, 1.0)]


def test_words_without_a_pause_meet_at_the_closure_between_them():
    samples = recording(2.0, (0.5, 0.8, 0.3), (0.85, 1.2, 0.3))
    assert times(samples, (0.6, 0.63), (1.0, 1.03)) == [(0.5, 0.8), (0.85, 1.2)]


def test_words_in_one_breath_meet_where_it_is_quietest():
    samples = recording(2.0, (0.5, 0.8, 0.3), (0.8, 0.81, 0.1), (0.81, 1.2, 0.3))
    assert times(samples, (0.6, 0.63), (1.0, 1.03)) == [(0.5, 0.8), (0.8, 1.2)]


def test_a_sound_between_two_words_belongs_to_neither():
    samples = recording(3.0, (0.5, 0.8, 0.3), (1.05, 1.15, 0.2), (1.4, 1.8, 0.3))
    assert times(samples, (0.6, 0.63), (1.5, 1.53)) == [(0.5, 0.8), (1.4, 1.8)]


def test_a_loud_word_does_not_hide_a_soft_one():
    samples = recording(8.0, (3.5, 3.9, 0.9), (4.5, 4.9, 0.02))
    assert times(samples, (3.6, 3.63), (4.6, 4.63)) == [(3.5, 3.9), (4.5, 4.9)]


@pytest.mark.parametrize("samples", [recording(5.0), recording(5.0, noise=0.1), recording(5.0, (0.0, 5.0, 0.3))])
def test_a_word_that_does_not_stand_out_keeps_its_times(samples):
    assert times(samples, (2.0, 2.03), (2.2, 2.23)) == [(2.0, 2.03), (2.2, 2.23)]


def test_no_word_reaches_further_than_a_second():
    samples = recording(20.0, (5.0, 15.0, 0.3))
    assert times(samples, (10.0, 10.03)) == [(10.0, 10.03)]  # in ten seconds of the same sound
    assert times(samples, (5.5, 5.53)) == [(5.0, 5.53 + REACH_SECONDS)]


def test_no_words_and_no_sound():
    assert times(recording(1.0)) == []
    assert times(recording(0.0), (0.0, 0.0)) == [(0.0, 0.0)]


def test_levels_of_pieces_are_those_of_the_whole():
    samples = recording(1.0, (0.2, 0.5, 0.3), noise=0.01)
    pieces = [sound_levels(piece, FRAME) for piece in np.split(samples, [3 * FRAME, 40 * FRAME])]
    assert np.array_equal(np.concatenate(pieces), sound_levels(samples, FRAME))
    assert sound_levels(np.full(2 * FRAME, 0.1, np.float32), FRAME) == pytest.approx([-20.0, -20.0], abs=1e-4)
    assert sound_levels(np.full(FRAME + 40, 0.1, np.float32), FRAME) == pytest.approx([-20.0, -23.01], abs=1e-2)


@st.composite
def words_and_levels(draw):
    """Words on a grid of three frames, as a model emits them, and levels of the same recording."""
    num_steps = draw(st.integers(1, 60))
    cuts = sorted(draw(st.sets(st.integers(0, num_steps), max_size=12)))
    words = [Word("w", 0.03 * a, 0.03 * b, 0.5) for a, b in zip(cuts[::2], cuts[1::2])]
    num_frames = 3 * num_steps - draw(st.integers(0, 2))
    decibels = draw(
        st.lists(st.sampled_from([-100.0, -88, -80, -60, -40, -30, -20, -5]), min_size=num_frames, max_size=num_frames)
    )
    return words, np.array(decibels, np.float32)


@given(words_and_levels())
def test_any_words_and_levels(case):
    words, decibels = case
    duration = 0.01 * len(decibels)
    placed = words_in_sound(words, SoundLevels(decibels, 0.01), duration)
    assert len(placed) == len(words)
    for word, original in zip(placed, words):
        assert 0 <= word.start <= original.start < word.end <= duration
        assert word.end >= min(original.end, duration)
    assert all(word.end <= following.start + 1e-9 for word, following in pairwise(placed))


def test_tokens_share_the_time_of_their_word():
    tokens = [Word("s", 0.3, 0.33, 0.9), Word("i", 0.39, 0.42, 0.8), Word("x", 0.42, 0.48, 0.7)]
    placed = tokens_in_word(tokens, Word("six", 0.2, 0.6, 0.5))
    assert [(t.text, t.confidence) for t in placed] == [("s", 0.9), ("i", 0.8), ("x", 0.7)]
    assert [time for t in placed for time in (t.start, t.end)] == pytest.approx([0.2, 0.36, 0.36, 0.42, 0.42, 0.6])
