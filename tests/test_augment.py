import itertools

import numpy as np
import pytest
import torch

from asr.augment import (
    AdditiveNoise,
    RecordedRooms,
    Reverberation,
    SpecAugment,
    SynthesisedRooms,
    change_speed,
    draw_speeds,
    masked,
    mean_power,
    num_samples_at_speed,
    reverberate,
    stretch_of,
    utterance_rng,
)
from asr.errors import AudioError


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


@pytest.mark.parametrize("num_samples", [0, 1, 4095, 4096, 4097, 20_000])
@pytest.mark.parametrize("kind", [np.float32, np.float64])
def test_mean_power_is_the_mean_square(num_samples, kind):
    waveform = np.random.default_rng(0).standard_normal(num_samples).astype(kind)
    expected = np.square(waveform.astype(np.float64)).sum() / max(1, num_samples)
    assert mean_power(waveform) == pytest.approx(expected, rel=4096 * 2.0**-24)  # float32 sums of 4,096 terms


def test_a_stretch_of_short_noise_repeats_it():
    noise = np.arange(5, dtype=np.float32)
    found = stretch_of(noise, 13, np.random.default_rng(1))
    start = int(found[0])
    assert found.tolist() == [(start + place) % 5 for place in range(13)]


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


def test_reverberation_by_hand():
    """An echo of half the size two samples after the direct path, which stays at its place; of the same power."""
    click = np.array([0, 1, 0, 0, 0, 0], np.float32)
    wet = reverberate(click, np.array([0, 0, 0, 2, 0, 1], np.float32))
    assert wet == pytest.approx(np.array([0, 1, 0, 0.5, 0, 0]) / np.sqrt(1.25), abs=1e-6)
    assert mean_power(wet) == pytest.approx(mean_power(click))
    assert (wet.dtype, wet.shape) == (np.float32, (6,))


def test_an_inverted_direct_path_is_found_and_what_comes_before_it_stays_before():
    wet = reverberate(np.array([0, 0, 1, 0], np.float32), np.array([0.5, -1.0], np.float32))
    assert wet == pytest.approx(np.array([0, 0.5, -1.0, 0]) / np.sqrt(1.25), abs=1e-6)


def test_reverberation_is_a_convolution():
    rng = np.random.default_rng(0)
    dry, response = rng.standard_normal(1000).astype(np.float32), rng.standard_normal(77).astype(np.float32)
    response[0] = 9.0
    expected = np.convolve(dry.astype(np.float64), response)[:1000]
    expected *= np.sqrt(np.mean(np.square(dry)) / np.mean(np.square(expected)))
    assert reverberate(dry, response) == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("waveform", [np.zeros(9, np.float32), np.zeros(0, np.float32)])
def test_silence_has_no_echo(waveform):
    assert reverberate(waveform, np.ones(3, np.float32)).tolist() == waveform.tolist()


@pytest.mark.parametrize("rt60_seconds", [0.2, 0.8])
def test_synthesised_rooms_decay_by_60_db_in_their_reverberation_time(rt60_seconds):
    """Schroeder's backward integral falls from −5 to −35 dB in half of RT60 (T30, ISO 3382), the mean of 20 rooms."""
    rooms = SynthesisedRooms(16000, rt60_seconds, rt60_seconds, -60.0, -60.0)
    times = []
    for seed in range(20):
        tail = rooms.draw(np.random.default_rng(seed))[1:].astype(np.float64)
        decay = np.cumsum(np.square(tail)[::-1])[::-1]
        decay_db = 10 * np.log10(decay / decay[0])
        times.append(2 * (np.argmax(decay_db < -35) - np.argmax(decay_db < -5)) / 16000)
    assert np.mean(times) == pytest.approx(rt60_seconds, rel=0.03)


@pytest.mark.parametrize("direct_db", [-3.0, 0.0, 15.0])
def test_synthesised_rooms_have_the_direct_path_that_was_asked_for(direct_db):
    response = SynthesisedRooms(8000, 0.1, 0.5, direct_db, direct_db).draw(np.random.default_rng(0))
    assert response[0] == 1.0
    assert -10 * np.log10(np.square(response[1:], dtype=np.float64).sum()) == pytest.approx(direct_db, abs=1e-3)
    assert response.dtype == np.float32


def test_reverberation_keeps_the_place_of_speech():
    """The loudest sample of a click train stays, whatever the room."""
    rooms = SynthesisedRooms(16000, 0.2, 0.8, 3.0, 3.0)
    dry = np.zeros(16000, np.float32)
    dry[[1000, 9000]] = 1.0
    wet = Reverberation(rooms, 1.0)(dry, np.random.default_rng(0))
    assert sorted(np.argsort(np.abs(wet))[-2:].tolist()) == [1000, 9000]
    assert mean_power(wet) == pytest.approx(mean_power(dry), rel=1e-5)


def test_recorded_rooms_are_drawn_and_silent_ones_refused():
    rooms = RecordedRooms(Noises([1.0, 0.5], [0.0, 1.0]))
    drawn = {tuple(rooms.draw(np.random.default_rng(seed)).tolist()) for seed in range(20)}
    assert drawn == {(1.0, 0.5), (0.0, 1.0)}
    with pytest.raises(AudioError, match="room impulse response 1 of 1 has no sound"):
        RecordedRooms(Noises([0.0, 0.0])).draw(np.random.default_rng(0))
    with pytest.raises(AudioError, match="no sound"):
        RecordedRooms(Noises([])).draw(np.random.default_rng(0))
    with pytest.raises(ValueError, match="at least one"):
        RecordedRooms(Noises())


def test_reverberation_probability_and_stream():
    reverberation = Reverberation(RecordedRooms(Noises([1.0, 0.5])), 0.3)
    speech = np.array([1, 2, 3, 4], np.float32)
    wet = [not np.array_equal(reverberation(speech, utterance_rng(0, 0, i, 8)), speech) for i in range(2000)]
    assert np.mean(wet) == pytest.approx(0.3, abs=0.05)
    first, again = (reverberation(speech, utterance_rng(0, 0, 3, 8)) for _ in range(2))
    assert np.array_equal(first, again)
    with pytest.raises(ValueError, match="probability"):
        Reverberation(RecordedRooms(Noises([1.0])), 1.5)


@pytest.mark.parametrize("options", [(0.001, 0.5, 0, 0), (0.5, 0.2, 0, 0), (0.1, 0.2, 5, 3)])
def test_room_options_are_checked(options):
    with pytest.raises(ValueError, match="expected"):
        SynthesisedRooms(16000, *options)
