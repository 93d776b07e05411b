"""Kaldi's definitions: frame count, mel filters, windows and the cosine transform of MFCCs."""

from __future__ import annotations

import math
from typing import TypeVar, overload

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from asr.errors import ConfigError

WINDOW_NAMES = ("povey", "hamming", "hanning", "rectangular", "blackman")
INT16_SCALE = 2.0**15  # Kaldi computes on int16 sample values; a power of two, so that scaling is exact
EPSILON = float(np.finfo(np.float32).eps)  # Kaldi's floor under every logarithm
LOWEST_SPEECH_HERTZ = 100.0
CEPSTRAL_LIFTER = 22.0  # Kaldi's and HTK's default

Count = TypeVar("Count", int, Tensor, npt.NDArray[np.int64])


def num_frames(num_samples: Count, frame_length_samples: int, frame_shift_samples: int) -> Count:
    """Frames that lie wholly inside an utterance (Kaldi's `snip_edges=True`); 0 when it is shorter than one.

    `num_samples`: int, or an int64 numpy array or tensor of any shape; the result has the same type and shape.

    >>> num_frames(16000, frame_length_samples=400, frame_shift_samples=160)
    98
    """
    frames = 1 + (num_samples - frame_length_samples) // frame_shift_samples
    return frames * (frames > 0)


def mel_matrix(
    num_mels: int, fft_size: int, sample_rate: int, low_freq: float = 20.0, high_freq: float = 0.0
) -> Tensor:
    """Kaldi's filters: triangles on the mel scale, m = 1127 ln(1 + f / 700), (num_mels, fft_size / 2 + 1) float32.

    `high_freq` <= 0 Hz counts from the Nyquist frequency.
    Raises ConfigError for impossible frequencies and when a filter falls between two FFT bins.
    """
    nyquist = sample_rate / 2
    top_freq = high_freq if high_freq > 0 else nyquist + high_freq
    if not 0 <= low_freq < top_freq <= nyquist:
        raise ConfigError(
            f"features: expected 0 <= low_freq < high_freq <= {nyquist:g} Hz (half of sample_rate), "
            f"got low_freq={low_freq:g}, high_freq={high_freq:g}"
        )
    edges = torch.linspace(_mel(low_freq), _mel(top_freq), num_mels + 2, dtype=torch.float64)[:, None]
    left, centre, right = edges[:-2], edges[1:-1], edges[2:]
    bin_mels = _mel(torch.arange(fft_size // 2 + 1, dtype=torch.float64) * sample_rate / fft_size)
    filters = torch.minimum((bin_mels - left) / (centre - left), (right - bin_mels) / (right - centre))
    filters = filters.clamp(min=0).float()
    empty = (filters.sum(1) == 0).nonzero().flatten().tolist()
    if empty:
        raise ConfigError(
            f"features.num_mels: expected few enough for {fft_size} FFT points at {sample_rate} Hz, got {num_mels}: "
            f"{len(empty)} of the filters contain no frequency bin; use fewer, or a longer frame_length_ms"
        )
    return filters


def level_weights(
    num_mels: int, sample_rate: int, low_freq: float = 20.0, high_freq: float = 0.0, preemphasis: float = 0.97
) -> Tensor:
    """What each filter's energy counts for in the level of a frame: (num_mels,) float32.

    The filters add up to one at every frequency, so that the sum of their energies is the frame's. Pre-emphasis is
    taken back: it lifts hiss by 20 dB above vowels. What lies below 100 Hz, where hum and rumble are, counts nothing.
    """
    nyquist = sample_rate / 2
    top_freq = high_freq if high_freq > 0 else nyquist + high_freq
    edges = torch.linspace(_mel(low_freq), _mel(top_freq), num_mels + 2, dtype=torch.float64)
    hertz = 700.0 * torch.expm1(edges[1:-1] / 1127.0)
    gains = 1.0 + preemphasis**2 - 2.0 * preemphasis * torch.cos(2.0 * math.pi * hertz / sample_rate)
    audible = hertz >= LOWEST_SPEECH_HERTZ
    weights = torch.where(audible, 1.0 / gains, 0.0) if bool(audible.any()) else torch.ones_like(hertz)
    return weights.float()


@overload
def _mel(hertz: float) -> float: ...
@overload
def _mel(hertz: Tensor) -> Tensor: ...
def _mel(hertz: float | Tensor) -> float | Tensor:
    if isinstance(hertz, Tensor):
        return 1127.0 * torch.log1p(hertz / 700.0)
    return 1127.0 * math.log1p(hertz / 700.0)


def window_function(name: str, size: int) -> Tensor:
    """(size,) float32 at int16 scale. Kaldi's windows are symmetric."""
    phase = torch.arange(size, dtype=torch.float64) * (2 * math.pi / (size - 1))
    hann = 0.5 - 0.5 * torch.cos(phase)
    windows = {
        "povey": hann**0.85,
        "hanning": hann,
        "hamming": 0.54 - 0.46 * torch.cos(phase),
        "rectangular": torch.ones_like(phase),
        "blackman": 0.42 - 0.5 * torch.cos(phase) + 0.08 * torch.cos(2 * phase),
    }
    return (windows[name] * INT16_SCALE).float()


def cosine_matrix(num_mels: int, num_ceps: int) -> Tensor:
    """Orthonormal DCT-II with the cepstral lifter multiplied in, (num_mels, num_ceps) float32."""
    order = torch.arange(num_ceps, dtype=torch.float64)
    position = torch.arange(num_mels, dtype=torch.float64)[:, None] + 0.5
    dct = torch.cos(math.pi / num_mels * position * order) * math.sqrt(2 / num_mels)
    dct[:, 0] = math.sqrt(1 / num_mels)
    lifter = 1 + 0.5 * CEPSTRAL_LIFTER * torch.sin(math.pi * order / CEPSTRAL_LIFTER)
    return (dct * lifter).float()
