"""Pauses, joined utterances and sounds without words around the utterances that a model is trained on."""

import numpy as np
import pytest

from asr.augment import NOBODY, SurroundingsPlanner, fill_pause, other_sounds
from asr.augment.sounds import coloured_noise, draw_sound, like_background
from asr.data.dataset import SpeechDataset
from asr.data.sampler import Draw, Partner
from asr.text.tokenizer import CharTokenizer, PhoneTokenizer
from asr.text.tokens import word_separator
from asr.training.acoustic_task import AcousticPlan
from asr.types import Utterance

RATE = 8000


def planner(**options) -> SurroundingsPlanner:
    defaults = {
        "pause_probability": 0.5,
        "max_pause_seconds": 8.0,
        "join_probability": 0.4,
        "nonspeech_probability": 0.1,
        "max_seconds": 20.0,
    }
    return SurroundingsPlanner(**{**defaults, **options})


class Tones:
    """Three utterances of a second each, of 1, 2 and 3 tenths of full scale."""

    sample_rate = RATE
    utterances = tuple(Utterance(f"u{n}", f"u{n}.wav", 1.0, text) for n, text in enumerate(["a b", "ba", ""]))

    def __len__(self):
        return 3

    def waveform(self, index):
        return np.full(RATE, 0.1 * (index + 1), np.float32)


def dataset() -> SpeechDataset:
    tokenizer = CharTokenizer((" ", "a", "b"))
    targets = [tokenizer.encode(u.text) for u in Tones.utterances]
    return SpeechDataset(Tones(), targets, seed=3, separator=word_separator(tokenizer))


def test_shares_and_lengths_are_those_asked_for():
    seconds = np.full(20_000, 2.0)
    around = planner().draw(seconds, seed=1, epoch=0)
    assert (around.before > 0).mean() == pytest.approx(0.5, abs=0.02)
    assert (around.after > 0).mean() == pytest.approx(0.5, abs=0.02)
    assert (~around.has_speech).mean() == pytest.approx(0.1, abs=0.01)
    assert (around.partner != NOBODY).mean() == pytest.approx(0.4 * 0.9, abs=0.02)
    pauses = around.before[around.before > 0]
    assert pauses.min() >= 0.1
    assert pauses.max() <= 8.0
    assert np.median(pauses) == pytest.approx((0.1 * 8.0) ** 0.5, rel=0.1)  # even over the logarithm
    expected = 2.0 + around.before + around.after + np.where(around.partner == NOBODY, 0, 2.0 + around.gap)
    np.testing.assert_allclose(around.lengths(seconds), expected, rtol=1e-6)


def test_nothing_grows_beyond_the_limit():
    seconds = np.random.default_rng(0).uniform(0.5, 25.0, 5000)  # some are longer from the start
    around = planner().draw(seconds, seed=1, epoch=0)
    lengths = around.lengths(seconds)
    assert (lengths <= np.maximum(seconds, 20.0) + 1e-4).all()
    assert (lengths <= planner().longest(seconds) + 1e-4).all()


def test_an_epoch_has_surroundings_of_its_own_and_the_same_again():
    seconds = np.full(50, 2.0)
    first, again, other = (planner().draw(seconds, seed=1, epoch=epoch) for epoch in (0, 0, 1))
    assert np.array_equal(first.before, again.before)
    assert np.array_equal(first.partner, again.partner)
    assert not np.array_equal(first.before, other.before)


def test_switched_off_nothing_is_around():
    off = planner(pause_probability=0.0, join_probability=0.0, nonspeech_probability=0.0)
    seconds = np.array([1.0, 30.0])
    assert off.draw(seconds, seed=1, epoch=0).lengths(seconds).tolist() == [1.0, 30.0]
    assert off.longest(seconds).tolist() == [1.0, 30.0]


def test_an_example_with_everything_around_by_hand():
    """A second, a pause of half before and a quarter after, a gap of half, and the second utterance."""
    draw = Draw(0, 4, before=0.5, after=0.25, partner=Partner(1, 1.0, gap=0.5))
    example = dataset()[draw]
    assert len(example.waveform) == (0.5 + 1.0 + 0.5 + 1.0 + 0.25) * RATE
    assert (example.waveform[RATE // 2 : 3 * RATE // 2] == np.float32(0.1)).all()
    second = example.waveform[2 * RATE : 3 * RATE]  # at a level of its own, within 15 dB
    assert (second == second[0]).all()
    assert 0.2 / 5.63 < second[0] < 0.2 * 5.63
    assert example.target == [2, 1, 3, 1, 3, 2]  # "a b", a space, "ba"
    assert dataset().num_target_labels(draw) == 6
    assert np.array_equal(dataset()[draw].waveform, example.waveform)


def test_nothing_separates_an_empty_text():
    draw = Draw(0, 0, partner=Partner(2, 1.0, gap=0.3))
    assert dataset()[draw].target == [2, 1, 3]
    assert dataset().num_target_labels(draw) == 3


def test_sounds_take_the_place_of_speech():
    draw = Draw(1, 0, before=0.5, has_speech=False)
    example = dataset()[draw]
    assert example.target == []
    assert dataset().num_target_labels(draw) == 0
    assert len(example.waveform) == 1.5 * RATE
    assert not (example.waveform == np.float32(0.2)).any()


def test_words_as_tokens_need_no_separator():
    assert word_separator(PhoneTokenizer(None, ("one", "two"))) == []
    assert word_separator(CharTokenizer((" ", "a"))) == [1]


def test_a_plan_hands_its_surroundings_to_the_draws():
    around = planner(join_probability=1.0, nonspeech_probability=0.0).draw(np.full(2, 1.0), seed=1, epoch=3)
    (draws,) = AcousticPlan([[0, 1]], np.array([0.9, 1.1]), 3, around)
    for index, draw in enumerate(draws):
        assert draw.before == around.before[index]
        assert draw.partner.index == around.partner[index]
        assert draw.partner.speed == (0.9, 1.1)[draw.partner.index]


@pytest.mark.parametrize("num_samples", [0, 1, 7, 100, 4000])
def test_fillings_are_finite_whatever_their_length(num_samples):
    speech = Tones().waveform(0)
    for seed in range(40):
        rng = np.random.default_rng(seed)
        for made in (
            fill_pause(speech, num_samples, RATE, rng, None),
            fill_pause(speech, num_samples, RATE, rng, Tones()),
            other_sounds(speech, num_samples, RATE, rng, None),
            other_sounds(np.zeros(0, np.float32), num_samples, RATE, rng, Tones()),
        ):
            assert made.shape == (num_samples,)
            assert made.dtype == np.float32
            assert np.isfinite(made).all()


def test_sounds_have_unit_power_or_none_and_differ():
    sounds = [draw_sound(4000, RATE, np.random.default_rng(seed), Tones().waveform(0)) for seed in range(30)]
    powers = [float(np.square(sound, dtype=np.float64).mean()) for sound in sounds]
    assert all(power == pytest.approx(1.0, rel=1e-3) for power in powers if power)  # a tone may be too high to hear
    assert sum(power > 0 for power in powers) > 20
    assert len({sound.tobytes() for sound in sounds}) > 20
    assert np.square(coloured_noise(4000, RATE, np.random.default_rng(0))).mean() == pytest.approx(1.0, rel=1e-3)


def test_a_background_has_the_level_and_colour_of_the_quietest_stretch():
    rng = np.random.default_rng(0)
    hum = 0.01 * np.sin(2 * np.pi * 1000 / RATE * np.arange(4 * RATE))
    speech = (hum + np.where(np.arange(4 * RATE) < 3 * RATE, 0.3 * rng.standard_normal(4 * RATE), 0)).astype(np.float32)
    made = like_background(speech, 2 * RATE, RATE, rng)
    assert np.sqrt(np.square(made).mean()) == pytest.approx(0.01 / 2**0.5, rel=0.05)
    spectrum = np.abs(np.fft.rfft(made)) ** 2
    hertz = np.fft.rfftfreq(len(made), 1 / RATE)
    assert spectrum[np.abs(hertz - 1000) < 60].sum() > 0.9 * spectrum.sum()
