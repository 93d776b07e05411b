import itertools

import numpy as np
import pytest
import torch

from asr.augment import (
    AdditiveNoise,
    SpecAugment,
    change_speed,
    draw_speeds,
    masked,
    mean_power,
    num_samples_at_speed,
    stretch_of,
    utterance_rng,
)


class Noises:
    def __init__(self, *waveforms):
        self.waveforms = [np.asarray(waveform, dtype=np.float32) for waveform in waveforms]

    def __len__(self):
        return len(self.waveforms)

    def waveform(self, index):
        return self.waveforms[index]


@pytest.mark.parametrize("speed", [0.9, 1.0, 1.1])
def test_speed_changes_length_and_pitch_together(speed):
    time = np.arange(16000) / 16000
    tone = np.sin(2 * np.pi * 440 * time).astype(np.float32)
    changed = change_speed(tone, speed)
    assert len(changed) == round(16000 / speed) == num_samples_at_speed(16000, speed)
    loudest = np.argmax(np.abs(np.fft.rfft(changed))) * 16000 / len(changed)
    assert loudest == pytest.approx(440 * speed, abs=1.5)  # one bin of a one-second spectrum
    assert changed.dtype == np.float32


@pytest.mark.parametrize("num_samples", range(1, 40))
def test_speed_keeps_its_word_on_length(num_samples):
    for speed in (0.9, 1.1):
        waveform = np.ones(num_samples, dtype=np.float32)
        assert len(change_speed(waveform, speed)) == num_samples_at_speed(num_samples, speed)


def test_speeds_are_a_function_of_seed_and_epoch():
    speeds = [0.9, 1.0, 1.1]
    first = draw_speeds(speeds, 3000, seed=1, epoch=0)
    assert np.array_equal(first, draw_speeds(speeds, 3000, seed=1, epoch=0))
    assert not np.array_equal(first, draw_speeds(speeds, 3000, seed=1, epoch=1))
    assert not np.array_equal(first, draw_speeds(speeds, 3000, seed=2, epoch=0))
    shares = [np.mean(first == speed) for speed in speeds]
    assert shares == pytest.approx([1 / 3] * 3, abs=0.05)  # six standard deviations of 3,000 draws


@pytest.mark.parametrize("snr_db", [-5.0, 0.0, 20.0])
def test_noise_has_the_snr_that_was_drawn(snr_db):
    rng = np.random.default_rng(0)
    speech = rng.standard_normal(5000).astype(np.float32) * 0.1
    noise = AdditiveNoise(Noises(rng.standard_normal(800)), 1.0, snr_db, snr_db)
    added = noise(speech, np.random.default_rng(1)) - speech
    assert 10 * np.log10(mean_power(speech) / mean_power(added)) == pytest.approx(snr_db, abs=0.01)


def test_silence_has_no_snr_and_stays():
    noise = AdditiveNoise(Noises(np.ones(10)), 1.0, 0.0, 0.0)
    assert noise(np.zeros(50, np.float32), np.random.default_rng(0)).tolist() == [0.0] * 50
    silent = AdditiveNoise(Noises(np.zeros(10), np.zeros(0)), 1.0, 0.0, 0.0)
    assert silent(np.ones(50, np.float32), np.random.default_rng(0)).tolist() == [1.0] * 50


def test_noise_probability():
    noise = AdditiveNoise(Noises(np.ones(10)), 0.3, 0.0, 0.0)
    speech = np.ones(4, np.float32)
    changed = [not np.array_equal(noise(speech, utterance_rng(0, 0, i, 2)), speech) for i in range(2000)]
    assert np.mean(changed) == pytest.approx(0.3, abs=0.05)


def test_short_noise_repeats():
    stretch = stretch_of(np.array([1, 2, 3], np.float32), 7, np.random.default_rng(0))
    assert len(stretch) == 7
    assert all((b - a) % 3 == 1 for a, b in itertools.pairwise(stretch))  # 1 2 3 1 2 3 …


@pytest.mark.parametrize("options", [(1.5, 0, 0), (0.5, 9, 3)])
def test_noise_options_are_checked(options):
    with pytest.raises(ValueError, match="expected"):
        AdditiveNoise(Noises([1.0]), *options)
    with pytest.raises(ValueError, match="at least one noise recording"):
        AdditiveNoise(Noises(), 0.5, 0, 10)


def test_masks_by_hand():
    """Widths and starts from draws: half of 0…4 is 2, and it begins at half of 0…(10 - 2)."""
    draws = np.array([[[0.5, 0.5]], [[0.99, 0.0]]])
    hidden = masked(draws, widest=np.array([[4.0], [4.0]]), size=np.array([[10.0], [6.0]]), num_places=10)
    assert hidden.astype(int).tolist() == [[0, 0, 0, 0, 1, 1, 0, 0, 0, 0], [1, 1, 1, 1, 0, 0, 0, 0, 0, 0]]


def test_spec_augment_hides_valid_frames_only_within_its_limits():
    features = torch.ones(2, 100, 20)
    augment = SpecAugment(2, 6, 2, 30, max_time_share=0.2)
    hid_time, hid_freq = False, False
    for seed in range(50):
        masked_features = augment(features, [100, 40], [seed, seed + 1000])
        assert set(masked_features.unique().tolist()) <= {0.0, 1.0}
        for row, length in ((0, 100), (1, 40)):
            frames = masked_features[row].eq(0).all(dim=1)
            bands = masked_features[row, :length].eq(0).all(dim=0)
            assert frames[length:].sum() == 0
            assert frames.sum() <= 2 * 0.2 * length
            assert bands.sum() <= 2 * 6
            hid_time, hid_freq = hid_time or bool(frames.any()), hid_freq or bool(bands.any())
    assert hid_time
    assert hid_freq


def test_spec_augment_of_an_utterance_does_not_depend_on_its_batch():
    augment = SpecAugment()
    features = torch.randn(3, 80, 80)
    together = augment(features, [80, 60, 30], [11, 22, 33])
    alone = augment(features[1:2, :60], [60], [22])
    assert torch.equal(together[1, :60], alone[0])


def test_streams_of_random_numbers_differ():
    draws = {
        utterance_rng(*key).random() for key in [(0, 0, 0, 1), (0, 0, 0, 2), (0, 0, 1, 1), (0, 1, 0, 1), (1, 0, 0, 1)]
    }
    assert len(draws) == 5
