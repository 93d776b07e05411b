"""Features against kaldi-native-fbank, librosa and arithmetic by hand; padding and batching change nothing."""

import copy
import json
import math
import os
from collections.abc import Iterable
from pathlib import Path

import kaldi_native_fbank
import librosa
import numpy as np
import pytest
import soundfile
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from asr.errors import ConfigError, ModelError
from asr.features import (
    CORPUS_NORMALIZATIONS,
    Filterbank,
    GlobalStatistics,
    Statistics,
    adapt_to_utterances,
    append_deltas,
    mel_matrix,
    normalize_utterances,
    num_frames,
    tiles,
)
from asr.features.frames import LIMIT
from asr.features.speech_level import EDGE_DB, NEPERS_PER_DB, SPEECH_RANGE_DB, speech_weights
from asr.features.tiles import Block

LOG_EPSILON = math.log(2.0**-23)  # -15.942: what an empty filter gives

# What float32 allows. Both programs round at every step, relative to the loudest band of the frame; in the logarithm
# of a band that lies d nepers of power below it the rounding grows as exp(d / 2). On real speech it passes 1e-3 from
# d = 17 (75 dB) on, in one value of ten thousand, and there Kaldi is as far from float64 as we are.
KALDI_TOLERANCE = 1e-3
FLOAT32_NEPERS = 16

FLOAT32_EPSILON = 2.0**-23


def rounding_of_normalization(normalized: torch.Tensor) -> float:
    """By how much two orders of summation over the frames of (T, F) normalised features may move a value.

    A sum of n values in a tree is off by at most log2(n) roundings of their size; mean and deviation are such sums,
    over values that reach twice as far as the normalised ones, and a few operations follow them.
    """
    num_roundings = 2 * (math.log2(len(normalized)) + 4)
    return num_roundings * FLOAT32_EPSILON * 2 * float(normalized.abs().max())


def synthetic_speech(num_samples: int, sample_rate: int, seed: int = 0) -> torch.Tensor:
    """Harmonics with a drifting pitch, noise and a constant offset, rounded to int16 as from a file; in [-1, 1]."""
    seconds = np.arange(num_samples) / sample_rate
    pitch_phase = 2 * np.pi * (120 * seconds + 15 * np.sin(2 * np.pi * seconds))
    voiced = sum(np.sin(n * pitch_phase) / n for n in range(1, 12)) * (np.sin(5 * seconds) > -0.5)
    noise = np.random.default_rng(seed).standard_normal(num_samples)
    return torch.from_numpy(np.round(3000 * voiced + 100 * noise + 500) / 2**15).float()


def kaldi_reference(waveform: torch.Tensor, name: str, **options) -> np.ndarray:
    """(T, F) features by kaldi-native-fbank of a (N,) waveform in [-1, 1]."""
    settings_of, compute = {
        "logmel": (kaldi_native_fbank.FbankOptions, kaldi_native_fbank.OnlineFbank),
        "mfcc": (kaldi_native_fbank.MfccOptions, kaldi_native_fbank.OnlineMfcc),
    }[name]
    chosen = settings_of()
    chosen.frame_opts.dither = 0
    chosen.frame_opts.samp_freq = options.get("sample_rate", 16000)
    chosen.frame_opts.window_type = options.get("window", "povey")
    chosen.frame_opts.preemph_coeff = options.get("preemphasis", 0.97)
    chosen.frame_opts.frame_length_ms = options.get("frame_length_ms", 25.0)
    chosen.frame_opts.frame_shift_ms = options.get("frame_shift_ms", 10.0)
    chosen.mel_opts.num_bins = options.get("num_mels", 80)
    chosen.mel_opts.low_freq = options.get("low_freq", 20.0)
    chosen.mel_opts.high_freq = options.get("high_freq", 0.0)
    chosen.use_energy = options.get("use_energy", False)
    if name == "mfcc":
        chosen.num_ceps = options.get("num_ceps", 13)
    computer = compute(chosen)
    computer.accept_waveform(chosen.frame_opts.samp_freq, (waveform * 2**15).tolist())
    computer.input_finished()
    return np.stack([computer.get_frame(frame) for frame in range(computer.num_frames_ready)])


def of_one(module: Filterbank, waveform: torch.Tensor) -> torch.Tensor:
    """(T, F) features of a (N,) waveform."""
    return module(waveform[None], torch.tensor([len(waveform)]))[0][0]


def pad(waveforms: list[torch.Tensor], value: float = 0.0) -> tuple[torch.Tensor, torch.Tensor]:
    lengths = torch.tensor([len(waveform) for waveform in waveforms])
    return torch.nn.utils.rnn.pad_sequence(waveforms, batch_first=True, padding_value=value), lengths


# --- against Kaldi ---------------------------------------------------------------------------------------------------

KALDI_CASES = [
    ("logmel", {}),
    ("logmel", {"use_energy": True, "num_mels": 40}),
    ("logmel", {"sample_rate": 8000, "num_mels": 40}),
    ("logmel", {"sample_rate": 22050, "num_mels": 64}),  # 10 ms are 220.5 samples, cut to 220
    ("logmel", {"sample_rate": 44100, "num_mels": 128}),
    ("logmel", {"low_freq": 100.0, "high_freq": -400.0, "num_mels": 23}),
    ("logmel", {"high_freq": 6000.0, "frame_length_ms": 32.0, "frame_shift_ms": 12.5, "num_mels": 40}),
    ("logmel", {"preemphasis": 0.0}),
    ("logmel", {"window": "hamming"}),
    ("logmel", {"window": "hanning"}),
    ("logmel", {"window": "rectangular"}),
    ("logmel", {"window": "blackman"}),
    ("mfcc", {"num_mels": 23}),
    ("mfcc", {"num_mels": 40, "num_ceps": 40}),
    ("mfcc", {"num_mels": 23, "use_energy": True, "sample_rate": 8000}),
]


@pytest.mark.parametrize(("name", "options"), KALDI_CASES)
def test_equals_kaldi_native_fbank(name, options):
    rate = options.get("sample_rate", 16000)
    waveform = synthetic_speech(rate, rate)
    expected = kaldi_reference(waveform, name, **options)
    features = of_one(Filterbank(name, **options), waveform)
    assert features.shape == expected.shape
    np.testing.assert_allclose(features, expected, rtol=0, atol=KALDI_TOLERANCE)


REAL_SPEECH_CASES = [
    ("logmel", {"num_mels": 40}),
    ("logmel", {"num_mels": 40, "use_energy": True}),
    ("mfcc", {"num_mels": 23}),
]


@pytest.mark.parametrize(("name", "options"), REAL_SPEECH_CASES)
@pytest.mark.parametrize("corpus", ["fsdd-test", "librispeech-test", "speechocean762-test", "multilingual-samples"])
def test_equals_kaldi_native_fbank_on_real_speech(corpus, name, options):
    if "ASR_DATA" not in os.environ:
        pytest.skip("ASR_DATA is not set: no real speech")
    manifest = Path(os.environ["ASR_DATA"]) / f"{corpus}.jsonl"
    for line in manifest.read_text(encoding="utf-8").splitlines()[::100][:3]:
        samples, rate = soundfile.read(manifest.parent / json.loads(line)["audio_filepath"], dtype="float32")
        # MP3 and Opus decode to values between int16 steps: Kaldi reads int16.
        waveform = torch.from_numpy(np.round(samples * 2**15).clip(-(2**15), 2**15 - 1) / 2**15).float()
        module = Filterbank(name, sample_rate=rate, **options)
        expected = kaldi_reference(waveform, name, sample_rate=rate, **options)
        difference = np.abs(of_one(module, waveform).numpy() - expected)
        assert np.median(difference) <= KALDI_TOLERANCE / 10
        tolerance = float32_tolerance(kaldi_reference(waveform, "logmel", sample_rate=rate, **options))
        if name == "mfcc":
            # Cepstra are sums over bands whose roundings are independent: the squares add.
            tolerance = np.sqrt(tolerance**2 @ module.cosines[: tolerance.shape[1], : expected.shape[1]].numpy() ** 2)
        assert (difference <= tolerance).all()


def float32_tolerance(log_mel: np.ndarray) -> np.ndarray:
    """How far apart each of the (T, F) log-mel values of two programs in float32 may lie."""
    below_loudest = log_mel.max(1, keepdims=True) - log_mel
    return KALDI_TOLERANCE * np.exp((below_loudest - FLOAT32_NEPERS).clip(0) / 2)


def test_a_large_constant_offset_costs_no_accuracy():
    # Half of full scale under noise of 30 steps: the mean must go before the pre-emphasis, which would round it.
    noise = np.random.default_rng(3).standard_normal(16000) * 30
    waveform = torch.from_numpy(np.round(noise + 2**14) / 2**15).float()
    np.testing.assert_allclose(of_one(Filterbank(), waveform), kaldi_reference(waveform, "logmel"), rtol=0, atol=1e-3)


# --- against librosa and by hand -------------------------------------------------------------------------------------


@pytest.mark.parametrize(("rate", "fft_size", "num_mels"), [(16000, 512, 80), (16000, 512, 23), (8000, 256, 40)])
def test_mel_matrix_equals_librosa(rate, fft_size, num_mels):
    # librosa's triangles are straight over Hz, Kaldi's over mel, between the same corners. With D the width of half a
    # triangle in units of ln(1 + f/700), a point at the share u of it in Hz lies at ln(1 + u (e^D - 1)) / D in mel.
    librosa_weights = librosa.filters.mel(
        sr=rate, n_fft=fft_size, n_mels=num_mels, fmin=20.0, fmax=rate / 2, htk=True, norm=None, dtype=np.float64
    )
    log_low, log_high = math.log1p(20.0 / 700), math.log1p(rate / 2 / 700)
    width = (log_high - log_low) / (num_mels + 1)
    bins = np.log1p(np.arange(fft_size // 2 + 1) * rate / fft_size / 700)[None]
    centres = (log_low + width * np.arange(1, num_mels + 1))[:, None]

    def to_mel(share):
        return np.log1p(share * math.expm1(width)) / width

    rising, falling = to_mel(librosa_weights), 1 - to_mel(1 - librosa_weights)
    expected = np.where(bins < centres, rising, falling)
    # librosa rounds its scale factor to 2595 / ln 10 = 1126.99 Kaldi's 1127, which cancels; the rest is float32.
    np.testing.assert_allclose(mel_matrix(num_mels, fft_size, rate), expected, rtol=0, atol=1e-6)


def test_a_cosine_on_a_bin_gives_its_power_by_hand():
    # 512 samples, rectangular, no pre-emphasis: a cosine of amplitude 1000 on bin 40 (1250 Hz) has |X|^2 =
    # (1000 * 512 / 2)^2 in that bin and nothing elsewhere; raw energy is the sum of squares, 1000^2 * 512 / 2.
    waveform = (1000 * torch.cos(2 * math.pi * 40 / 512 * torch.arange(512, dtype=torch.float64)) / 2**15).float()
    module = Filterbank(frame_length_ms=32, window="rectangular", preemphasis=0.0, num_mels=40, use_energy=True)
    energy, *log_mel = of_one(module, waveform)[0].tolist()
    assert energy == pytest.approx(math.log(1000**2 * 256), abs=1e-5)
    weights = mel_matrix(40, 512, 16000)[:, 40]
    assert (weights > 0).sum() == 2  # triangles overlap by half
    for weight, value in zip(weights.tolist(), log_mel):
        if weight > 0:
            assert value == pytest.approx(math.log(weight * 256000**2), abs=1e-4)


def test_golden_features():
    # Written by kaldi-native-fbank 1.23 for this signal, so that a change shows even without it.
    samples = torch.tensor([((n * n) % 2001) - 1000 for n in range(560)]) / 2**15
    features = of_one(Filterbank(num_mels=5), samples)
    assert features.shape == (2, 5)
    expected = [[15.9571, 18.5196, 21.0303, 22.6874, 23.053], [16.2915, 17.9782, 19.8496, 21.6868, 23.756]]
    torch.testing.assert_close(features, torch.tensor(expected), rtol=0, atol=1e-3)
    torch.testing.assert_close(of_one(Filterbank(num_mels=5), samples), features, rtol=0, atol=0)


def test_digital_silence_is_the_floor():
    features = of_one(Filterbank(num_mels=40, use_energy=True), torch.zeros(1000))
    torch.testing.assert_close(features, torch.full((4, 41), LOG_EPSILON))


# --- frames ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("num_samples", "expected"), [(0, 0), (79, 0), (399, 0), (400, 1), (559, 1), (560, 2)])
def test_num_frames_by_hand(num_samples, expected):
    frames = num_frames(num_samples, 400, 160)
    assert (type(frames), frames) == (int, expected)
    array = num_frames(np.array([num_samples, 560]), 400, 160)
    assert array.tolist() == [expected, 2]
    assert array.dtype == np.int64
    tensor = num_frames(torch.tensor([num_samples, 560]), 400, 160)
    assert tensor.tolist() == [expected, 2]
    assert tensor.dtype == torch.int64


@settings(max_examples=60, deadline=None)
@given(num_samples=st.integers(0, 3000), rate=st.sampled_from([8000, 11025, 16000]))
def test_num_frames_is_what_the_module_and_kaldi_make(num_samples, rate):
    module = Filterbank(sample_rate=rate, num_mels=20)
    features, lengths = module(torch.zeros(1, num_samples), torch.tensor([num_samples]))
    assert features.shape == (1, module.num_frames(num_samples), 20)
    assert lengths.tolist() == [module.num_frames(num_samples)]
    options = kaldi_native_fbank.FbankOptions()
    options.frame_opts.samp_freq = rate
    computer = kaldi_native_fbank.OnlineFbank(options)
    computer.accept_waveform(rate, [0.0] * num_samples)
    computer.input_finished()
    assert computer.num_frames_ready == module.num_frames(num_samples)


EVERYTHING = {"num_mels": 40, "use_energy": True, "deltas": 2, "normalize": "utterance"}


@pytest.mark.parametrize(
    "options", [{}, {"name": "mfcc", "num_mels": 23, "deltas": 1}, {**EVERYTHING, "normalize": "none"}, EVERYTHING]
)
@pytest.mark.parametrize("rows", [96, 192, 768])
def test_an_utterance_alone_equals_itself_in_any_batch(options, rows, monkeypatch):
    """The same bits, whatever shares its blocks; only normalising sums over frames, in an order of the padding."""
    monkeypatch.setattr(tiles, "CPU_BLOCK_ROWS", rows)
    sizes = [9000, 0, 399, 400, 3333, 16000, 559, 40000]
    waveforms = [synthetic_speech(size, 16000, seed) for seed, size in enumerate(sizes)]
    module = Filterbank(**options)
    batch, lengths = pad(waveforms, value=math.nan)  # whatever lies in the padding must not reach a frame
    features, frame_lengths = module(batch, lengths)
    assert features.dtype == torch.float32
    assert frame_lengths.tolist() == [54, 0, 0, 1, 19, 98, 1, 248]
    for waveform, in_batch, length in zip(waveforms, features, frame_lengths.tolist()):
        alone, _ = module(waveform[None], torch.tensor([len(waveform)]))
        normalized = options.get("normalize", "none") != "none" and length > 0
        tolerance = rounding_of_normalization(alone[0]) if normalized else 0.0
        torch.testing.assert_close(in_batch[:length], alone[0], rtol=0, atol=tolerance)
        assert not in_batch[length:].any()


def frames_of(blocks: Iterable[Block]) -> list[tuple[int, int]]:
    return [
        (utterance, frame)
        for block in blocks
        for piece in block.pieces
        for utterance in range(piece.utterances.start, piece.utterances.stop)
        for frame in range(piece.frames.start, piece.frames.stop)
    ]


@settings(max_examples=60, deadline=None)
@given(lengths=st.lists(st.integers(0, 40), max_size=8), num_rows=st.integers(1, 30))
def test_blocks_hold_each_valid_frame_once(lengths, num_rows):
    blocks = list(tiles.cpu_blocks(lengths, num_rows))
    assert frames_of(blocks) == [(index, frame) for index, length in enumerate(lengths) for frame in range(length)]
    assert {block.num_rows for block in blocks} <= {num_rows}
    assert len(blocks) == math.ceil(sum(lengths) / num_rows)


@settings(max_examples=60, deadline=None)
@given(num_utterances=st.integers(1, 6), num_padded=st.integers(1, 40), num_rows=st.integers(1, 50))
def test_blocks_of_a_gpu_hold_each_frame_once(num_utterances, num_padded, num_rows):
    blocks = list(tiles.gpu_blocks(num_utterances, num_padded, num_rows))
    assert sorted(frames_of(blocks)) == [(row, frame) for row in range(num_utterances) for frame in range(num_padded)]
    for block in blocks:
        assert block.num_rows == sum(piece.num_frames for piece in block.pieces) <= num_rows


@pytest.mark.parametrize("normalize", ["none", "utterance", "global", "adaptive"])
@pytest.mark.parametrize("shape", [(0, 1000), (2, 0), (2, 399)])
def test_batches_without_a_frame(shape, normalize):
    module = Filterbank(num_mels=40, use_energy=True, deltas=2, normalize=normalize)
    if normalize in CORPUS_NORMALIZATIONS:
        module.set_statistics(Statistics(torch.zeros(123), torch.ones(123)))
    features, lengths = module(torch.zeros(shape), torch.full((shape[0],), shape[1]))
    assert features.shape == (shape[0], num_frames(shape[1], 400, 160), 123)
    assert lengths.tolist() == [0] * shape[0]


# --- deltas ----------------------------------------------------------------------------------------------------------


def test_deltas_by_hand():
    # (x[t+1] - x[t-1] + 2 (x[t+2] - x[t-2])) / 10 with the edges repeated: at t = 0, (2 - 1 + 2 (4 - 1)) / 10 = 0.7.
    # Second: the 9 taps [4 4 1 -4 -10 -4 1 4 4] / 100; at t = 0, (5*1 - 10*1 - 4*2 + 4 + 4*7 + 4*7) / 100 = 0.47.
    # The fifth frame is padding and must not be seen.
    features = torch.tensor([1.0, 2.0, 4.0, 7.0, math.nan])[None, :, None]
    with_deltas = append_deltas(features, torch.tensor([4]), order=2)
    assert with_deltas.shape == (1, 5, 3)
    torch.testing.assert_close(with_deltas[0, :4, 0], torch.tensor([1.0, 2.0, 4.0, 7.0]))
    torch.testing.assert_close(with_deltas[0, :4, 1], torch.tensor([0.7, 1.5, 1.7, 1.3]))
    torch.testing.assert_close(with_deltas[0, 0, 2], torch.tensor(0.47))
    assert with_deltas[0, 4].tolist() == [0.0, 0.0, 0.0]


@pytest.mark.parametrize("order", [1, 2])
def test_deltas_equal_kaldi(order):
    features = torch.randn(3, 12, 5, generator=torch.Generator().manual_seed(0))
    lengths = torch.tensor([12, 1, 3])
    with_deltas = append_deltas(features, lengths, order)
    options = kaldi_native_fbank.DeltaOptions(order=order, window=2)
    for utterance, result, length in zip(features, with_deltas, lengths.tolist()):
        expected = kaldi_native_fbank.compute_deltas(options, utterance[:length].numpy())
        np.testing.assert_allclose(result[:length], expected, rtol=0, atol=1e-6)


def test_graves_123_inputs():
    module = Filterbank(num_mels=40, use_energy=True, deltas=2)
    waveform = synthetic_speech(8000, 16000)
    features = of_one(module, waveform)
    assert module.num_features == features.shape[1] == 123
    static = kaldi_reference(waveform, "logmel", num_mels=40, use_energy=True)
    options = kaldi_native_fbank.DeltaOptions(order=2, window=2)
    expected = kaldi_native_fbank.compute_deltas(options, static)
    np.testing.assert_allclose(features, expected, rtol=0, atol=KALDI_TOLERANCE)


# --- normalisation ---------------------------------------------------------------------------------------------------


def test_utterance_normalisation_by_hand():
    # Mean 3, deviations -2 0 2, population std sqrt(8/3): -sqrt(1.5), 0, sqrt(1.5). The second feature is constant,
    # the fourth frame no speech, and far away: at the limit. The fifth lies past the end.
    features = torch.tensor([[[1.0, 5.0], [3.0, 5.0], [5.0, 5.0], [-90.0, 5.0], [9.0, 9.0]]])
    normalized = normalize_utterances(features, torch.tensor([4]), torch.tensor([[1.0, 1.0, 1.0, 0.0, 0.0]]))
    root = math.sqrt(1.5)
    expected = [[-root, 0.0], [0.0, 0.0], [root, 0.0], [-LIMIT, 0.0], [0.0, 0.0]]
    torch.testing.assert_close(normalized, torch.tensor([expected]))


def test_half_a_frame_counts_half():
    # Mean (0 + 3 / 2) / (3 / 2) = 1, variance (1 + 4 / 2) / (3 / 2) = 2.
    normalized = normalize_utterances(torch.tensor([[[0.0], [3.0]]]), torch.tensor([2]), torch.tensor([[1.0, 0.5]]))
    torch.testing.assert_close(normalized.flatten(), torch.tensor([-1.0, 2.0]) / math.sqrt(2))


def test_speech_is_what_comes_near_the_level_of_the_loudest_energy():
    decibels = torch.tensor([[0.0, 0.0, -14.0, -26.0, -60.0, -100.0, 0.0]])
    weights = speech_weights(decibels * NEPERS_PER_DB, torch.tensor([6]))[0]
    # The reference is (0 + 0 - 14 · 10^-1.4 - 20 / 400 …) / 2.04 = -0.30 dB: 14 dB below 0 is just inside.
    assert weights[:2].tolist() == pytest.approx([1.0, 1.0], abs=2e-3)
    assert weights[2] == pytest.approx(1 / (1 + math.exp(-0.30 / 2)), abs=0.01)
    assert weights[3] == pytest.approx(0.003, abs=0.002)
    assert weights[4:6].tolist() == pytest.approx([0.0, 0.0], abs=1e-6)
    assert weights[6] == 0.0


def test_tones_of_equal_amplitude_have_equal_levels_but_for_hum():
    """Pre-emphasis would put 26 dB between the first two, and lift hiss above vowels."""
    module, time = Filterbank(num_mels=80), torch.arange(16000) / 16000
    waveforms = torch.stack([0.1 * torch.sin(2 * math.pi * hertz * time) for hertz in (300, 6000, 50)])
    frames = module.unnormalized(waveforms, torch.tensor([16000] * 3))
    energies = frames.features.exp() * module.level_weights  # (B, T, F)
    low, high, hum = (energies.sum(2).log() / NEPERS_PER_DB).mean(1).tolist()
    assert low == pytest.approx(high, abs=1.0)
    assert hum < low - 20


@pytest.mark.parametrize("normalize", ["utterance", "adaptive"])
@pytest.mark.parametrize("filler", ["zeros", "noise 60 dB down", "one loud click"])
def test_silence_before_speech_moves_no_statistic(normalize, filler):
    module = Filterbank(num_mels=20, normalize=normalize)
    if normalize == "adaptive":
        module.set_statistics(Statistics(torch.full((20,), 12.0), torch.full((20,), 3.0)))
    speech = synthetic_speech(32000, 16000) - 500 / 2**15  # no step where it begins, which is a sound of its own
    speech[:4000] *= torch.linspace(0, 1, 4000)
    before = torch.zeros(13 * 16000)
    if filler == "noise 60 dB down":
        generator = torch.Generator().manual_seed(0)
        before = torch.randn(len(before), generator=generator) * speech.std() * 1e-3
    elif filler == "one loud click":
        before[80_000] = 1.0
    alone, after = of_one(module, speech), of_one(module, torch.cat([before, speech]))
    moved = (after[-len(alone) :] - alone)[2:].abs()  # in standard deviations of speech
    assert moved.mean() < (0.2 if filler == "one loud click" else 0.01)
    assert moved.max() < (2.0 if filler == "one loud click" else 0.05)
    assert after[: 13 * 100 - 3].min() >= -LIMIT


@pytest.mark.parametrize("num_samples", [0, 100, 400, 16000])
def test_silence_and_single_frames_normalise_to_zero(num_samples):
    module = Filterbank(**EVERYTHING)
    features, _ = module(torch.zeros(2, 20000), torch.tensor([num_samples, 400]))
    assert not features.any()  # neither NaN (which is true) nor amplified rounding


def test_the_rule_of_speech_has_no_shape_that_depends_on_the_data():
    """What can be traced at one shape and used at others can be exported."""

    def rule(features: torch.Tensor, levels: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        return normalize_utterances(features, lengths, speech_weights(levels, lengths))

    def example(num_utterances: int, num_frames: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        generator = torch.Generator().manual_seed(num_frames)
        features = torch.randn(num_utterances, num_frames, 3, generator=generator)
        levels = 3 * torch.randn(num_utterances, num_frames, generator=generator)
        return features, levels, torch.arange(num_frames, num_frames - num_utterances, -1)

    traced = torch.jit.trace(rule, example(2, 20), check_trace=False)
    for shape in ((1, 5), (3, 100), (4, 21)):
        torch.testing.assert_close(traced(*example(*shape)), rule(*example(*shape)))


def test_the_rule_of_speech_has_a_causal_form():
    """The same sums over the frames so far: after some seconds of speech they say what the whole says."""
    module = Filterbank(num_mels=20)
    speech = synthetic_speech(4 * 16000, 16000) - 500 / 2**15
    frames = module.unnormalized(torch.cat([torch.zeros(16000), speech])[None], torch.tensor([5 * 16000]))
    features, whole = frames.features[0].double(), frames.speech_weights[0].double()
    levels = (features.exp() * module.level_weights.double()).sum(1).log()
    energies = (levels - levels.max()).exp()
    reference = (energies * levels).cumsum(0) / energies.cumsum(0)  # as it was known at each frame
    weights = torch.sigmoid(((levels - reference) / NEPERS_PER_DB + SPEECH_RANGE_DB) / EDGE_DB)
    weights[: 16000 // 160] = 0.0  # nothing has been heard yet: silence is all there is, and counts as speech
    causal, offline = (w @ features / w.sum() for w in (weights, whole))
    assert (causal - offline).abs().max() < 0.2 * features[200:].std()


def test_global_statistics_by_hand():
    statistics = GlobalStatistics(2)
    frames = torch.tensor([[[1.0, 5.0], [3.0, 5.0]], [[5.0, 5.0], [9.0, 9.0]]])
    statistics.update(frames, torch.tensor([[1.0, 1.0], [1.0, 0.0]]))
    statistics.update(torch.tensor([[[7.0, 5.0]]]), torch.tensor([[1.0]]))
    finished = statistics.finish()
    # 1 3 5 7: mean 4, variance (9 + 1 + 1 + 9) / 4 = 5. A constant feature gets the floor, so that it becomes zero.
    torch.testing.assert_close(finished.mean, torch.tensor([4.0, 5.0]))
    torch.testing.assert_close(finished.std, torch.tensor([math.sqrt(5), 1e-3]))


def test_global_normalisation_travels_in_the_state_dict():
    batch, lengths = pad([synthetic_speech(size, 16000, size) for size in (16000, 9000)])
    module = Filterbank(num_mels=20, deltas=1, normalize="global")
    statistics = GlobalStatistics(module.num_features)
    frames = module.unnormalized(batch, lengths)
    statistics.update(frames.features, frames.speech_weights)
    finished = statistics.finish()
    weights = frames.speech_weights.flatten()
    mean = (weights @ frames.features.flatten(0, 1)) / weights.sum()
    torch.testing.assert_close(finished.mean, mean, rtol=1e-5, atol=1e-5)
    module.set_statistics(finished)
    features, frame_lengths = module(batch, lengths)
    expected = ((frames.features - finished.mean) / finished.std).clamp(-LIMIT, LIMIT)
    torch.testing.assert_close(features[0], expected[0], rtol=1e-5, atol=1e-5)
    assert not features[1, frame_lengths[1] :].any()

    loaded = torch.nn.Sequential(Filterbank(num_mels=20, deltas=1, normalize="global"))
    assert set(loaded.state_dict()) == {"0.mean", "0.std"}  # window and filters follow from the arguments
    loaded.load_state_dict({f"0.{key}": value for key, value in module.state_dict().items()})
    torch.testing.assert_close(loaded[0](batch, lengths)[0], features, rtol=0, atol=0)


def test_global_normalisation_without_statistics():
    module = Filterbank(num_mels=20, normalize="global")
    empty = copy.deepcopy(module.state_dict())
    batch = (torch.zeros(1, 800), torch.tensor([800]))
    with pytest.raises(ModelError, match="no statistics yet"):
        module(*batch)
    module.set_statistics(Statistics(torch.zeros(20), torch.ones(20)))
    assert module(*batch)[0].shape == (1, 3, 20)
    module.load_state_dict(empty)  # and a state dict without them takes them away again
    with pytest.raises(ModelError, match="set_statistics"):
        module(*batch)


# --- dither, precision, devices --------------------------------------------------------------------------------------


def test_dither_only_in_training_and_from_torchs_generator():
    module = Filterbank(num_mels=20, use_energy=True, dither=10.0)
    silence = torch.zeros(16000)
    module.eval()
    torch.testing.assert_close(of_one(module, silence), torch.full((98, 21), LOG_EPSILON))
    module.train()
    torch.manual_seed(7)
    first, second = of_one(module, silence), of_one(module, silence)
    torch.manual_seed(7)
    assert torch.equal(of_one(module, silence), first)
    assert not torch.equal(first, second)
    # 400 samples of variance 10^2: energy 40,000; a frame's own varies by sqrt(2 / 400) = 7 %, their mean by 1 %.
    assert first[:, 0].mean().item() == pytest.approx(math.log(40000), abs=0.05)


def test_float32_whatever_the_autocast_type_and_matmul_precision():
    waveform = synthetic_speech(8000, 16000)
    module = Filterbank("mfcc", num_mels=23)
    expected = of_one(module, waveform)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        torch.testing.assert_close(of_one(module, waveform), expected, rtol=0, atol=0)
    before = torch.get_float32_matmul_precision()
    try:
        torch.set_float32_matmul_precision("medium")  # bf16 products on CPUs that have them
        torch.testing.assert_close(of_one(module, waveform), expected, rtol=0, atol=0)
        assert torch.get_float32_matmul_precision() == "medium"
    finally:
        torch.set_float32_matmul_precision(before)


def test_threads_change_nothing():
    batch, lengths = pad([synthetic_speech(size, 16000, size) for size in (80000, 60000)])
    module = Filterbank(num_mels=20)
    before = torch.get_num_threads()
    results = []
    try:
        for num_threads in (1, 3):
            torch.set_num_threads(num_threads)
            results.append(module(batch, lengths)[0])
            assert torch.get_num_threads() == num_threads
        with torch.inference_mode():
            results.append(module(batch, lengths)[0])
    finally:
        torch.set_num_threads(before)
    assert not results[1].is_inference()  # usable by autograd afterwards, unlike what the caller makes so
    assert results[2].is_inference()
    for result in results[1:]:
        assert torch.equal(result, results[0])


@pytest.mark.gpu
@pytest.mark.parametrize("options", [{}, {"name": "mfcc", "num_mels": 23}, EVERYTHING])
def test_gpu_equals_cpu(options):
    batch, lengths = pad([synthetic_speech(size, 16000, size) for size in (48000, 0, 9000)])
    on_cpu, _ = Filterbank(**options)(batch, lengths)
    on_gpu, _ = Filterbank(**options).cuda()(batch.cuda(), lengths.cuda())
    torch.testing.assert_close(on_gpu.cpu(), on_cpu, rtol=0, atol=KALDI_TOLERANCE)


# --- errors ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"name": "plp"}, "name to be one of 'logmel', 'mfcc', got 'plp'"),
        ({"window": "hann"}, "window to be one of .*'hanning'.*got 'hann'"),
        ({"normalize": "speaker"}, "normalize to be one of .*got 'speaker'"),
        ({"deltas": 3}, "deltas to be one of 0, 1, 2, got 3"),
        ({"sample_rate": 0}, "sample_rate to be at least 1, got 0"),
        ({"num_mels": 2}, "num_mels to be at least 3, got 2"),
        ({"num_mels": 300}, r"features\.num_mels: expected few enough for 512 FFT points at 16000 Hz, got 300"),
        ({"name": "mfcc", "num_mels": 23, "num_ceps": 24}, "num_ceps to be 1 to 23, got 24"),
        ({"preemphasis": 1.5}, "preemphasis to be 0 to 1, got 1.5"),
        ({"dither": -1.0}, "dither to be at least 0, got -1"),
        ({"frame_length_ms": 0.01}, "frame_length_ms in samples to be at least 2, got 0"),
        ({"frame_shift_ms": 0.0}, "frame_shift_ms in samples to be at least 1, got 0"),
        ({"low_freq": 8000.0}, "low_freq < high_freq <= 8000 Hz .*got low_freq=8000"),
        ({"high_freq": 9000.0}, "high_freq=9000"),
        ({"high_freq": -8000.0}, "high_freq=-8000"),
    ],
)
def test_impossible_options(options, message):
    with pytest.raises(ConfigError, match=message):
        Filterbank(**options)


@pytest.mark.parametrize(
    ("waveforms", "lengths", "message"),
    [
        (torch.zeros(800), torch.tensor([800]), r"\(B, N\) float32 waveforms, got \(800,\)"),
        (torch.zeros(1, 800).double(), torch.tensor([800]), "got .* torch.float64"),
        (torch.zeros(1, 800), torch.tensor([800, 1]), r"\(1,\) int64 lengths, got \(2,\)"),
        (torch.zeros(1, 800), torch.tensor([800.0]), "int64 lengths, got .* torch.float32"),
        (torch.zeros(1, 800), torch.tensor([801]), r"from 0 to 800 samples, got \[801\]"),
        (torch.zeros(1, 800), torch.tensor([-1]), r"got \[-1\]"),
    ],
)
def test_impossible_batches(waveforms, lengths, message):
    with pytest.raises(ValueError, match=message):
        Filterbank()(waveforms, lengths)


def test_statistics_of_other_features_or_of_nothing():
    statistics = Statistics(torch.zeros(3), torch.ones(3))
    with pytest.raises(ConfigError, match=r"statistics of 20 features, got mean \(3,\)"):
        Filterbank(num_mels=20, normalize="global").set_statistics(statistics)
    with pytest.raises(ConfigError, match="got normalize='none'"):
        Filterbank(num_mels=20).set_statistics(statistics)
    with pytest.raises(ConfigError, match="at least one frame"):
        GlobalStatistics(20).finish()


def test_adaptive_normalisation_by_hand():
    """Two frames of 1 and 3 after 100 of mean 0 and variance 1: mean 4 / 102, mean square (1 + 9 + 100) / 102."""
    frames = torch.tensor([[[1.0], [3.0], [0.0]]])
    adapted = adapt_to_utterances(frames, torch.tensor([2]), torch.tensor([[1.0, 1.0, 0.0]]))
    mean, variance = 4 / 102, 110 / 102 - (4 / 102) ** 2
    expected = [(1 - mean) / variance**0.5, (3 - mean) / variance**0.5, 0.0]
    assert adapted.flatten().tolist() == pytest.approx(expected, rel=1e-6)


def test_adaptive_normalisation_of_a_long_utterance_is_its_own():
    """After 100,000 frames the prior's share is a thousandth."""
    frames = torch.randn(1, 100_000, 1, generator=torch.Generator().manual_seed(0)) * 2 + 5
    weights = torch.ones(1, 100_000)
    adapted = adapt_to_utterances(frames, torch.tensor([100_000]), weights)
    own = normalize_utterances(frames, torch.tensor([100_000]), weights)
    assert (adapted - own).abs().max() < 0.03
