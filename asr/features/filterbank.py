"""Log-mel and MFCC features: one batched torch module with Kaldi's conventions, the same code on CPU and GPU."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from asr.errors import ConfigError, ModelError
from asr.features import tiles
from asr.features.frames import (
    LIMIT,
    Statistics,
    adapt_to_utterances,
    append_deltas,
    normalize_utterances,
    padding_mask,
)
from asr.features.kaldi import (
    EPSILON,
    INT16_SCALE,
    WINDOW_NAMES,
    Count,
    cosine_matrix,
    level_weights,
    mel_matrix,
    num_frames,
    window_function,
)
from asr.features.speech_level import speech_weights
from asr.features.tiles import Block, cpu_blocks, for_each_block, gpu_blocks

FEATURE_NAMES = ("logmel", "mfcc")
CORPUS_NORMALIZATIONS = ("global", "adaptive")
NORMALIZE_NAMES = ("none", "utterance", *CORPUS_NORMALIZATIONS)

# Filters that are neighbours share their few bins: products of 16 filters with those bins only, instead of all
# filters with all bins, halve the time.
FILTERS_PER_PRODUCT = 16

# Matrices are padded to this many columns, the floats of the widest vector register: where a product has fewer, the
# library's way of summing depends on the row, so that a frame's place in its block would show in the last bits.
COLUMN_MULTIPLE = 16


@dataclass(frozen=True, slots=True)
class Frames:
    """Features before normalisation."""

    features: Tensor  # (B, T, F) float32, zero past the lengths
    lengths: Tensor  # (B,) int64, frames
    speech_weights: Tensor  # (B, T) float32, zero past the lengths: see `asr.features.speech_level`


class Filterbank(nn.Module):
    """Waveforms to log-mel or MFCC features, with Kaldi's conventions, in float32 whatever the autocast type.

    Samples are taken at int16 scale; each frame loses its mean, is pre-emphasised, windowed and padded to a power
    of two; the mel filters weigh its power spectrum. `Filterbank(num_mels=40, use_energy=True, deltas=2)` gives the
    123 inputs of Graves, Mohamed & Hinton 2013 ("Speech recognition with deep recurrent neural networks").

    Args:
        name: "logmel", or "mfcc": cosine transform (Kaldi's, orthonormal) and lifter on top of log-mel.
        num_ceps: MFCCs, including the zeroth; "logmel" has none.
        window: "povey" (a Hann window to the power 0.85), "hamming", "hanning", "rectangular" or "blackman".
        dither: standard deviation of the noise added while training, in int16 steps.
        low_freq, high_freq: of the mel filters, Hz; `high_freq` <= 0 counts from the Nyquist frequency.
        use_energy: log energy of the frame before pre-emphasis; comes first for "logmel" and in place of the
            zeroth coefficient for "mfcc".
        deltas: append this many time derivatives, 0 to 2.
        normalize: "none", "utterance" (over the valid frames of each), "global" (by the buffers `mean` and
            `std`, which `set_statistics` sets and the state dict keeps), or "adaptive" (global, then by the utterance
            in the measure of its length, see `adapt_to_utterances`).

    Raises ConfigError, naming the option.
    """

    window: Tensor  # (frame_length_samples,) at int16 scale
    filters: Tensor  # (2 * num_bins, num_mels, padded): each row twice, for real and imaginary part
    level_weights: Tensor  # (num_mels,)
    cosines: Tensor  # (num_mels, num_ceps), both padded, "mfcc" only
    mean: Tensor  # (F,), normalize="global" and "adaptive" only
    std: Tensor  # (F,), normalize="global" and "adaptive" only

    def __init__(
        self,
        name: str = "logmel",
        *,
        sample_rate: int = 16000,
        num_mels: int = 80,
        num_ceps: int = 13,
        frame_length_ms: float = 25.0,
        frame_shift_ms: float = 10.0,
        window: str = "povey",
        preemphasis: float = 0.97,
        dither: float = 0.0,
        low_freq: float = 20.0,
        high_freq: float = 0.0,
        use_energy: bool = False,
        deltas: int = 0,
        normalize: str = "none",
    ) -> None:
        super().__init__()
        _expect_one_of("name", name, FEATURE_NAMES)
        _expect_one_of("window", window, WINDOW_NAMES)
        _expect_one_of("normalize", normalize, NORMALIZE_NAMES)
        _expect_one_of("deltas", deltas, (0, 1, 2))
        _expect_range("sample_rate", sample_rate, 1)
        _expect_range("num_mels", num_mels, 3)
        _expect_range("preemphasis", preemphasis, 0.0, 1.0)
        _expect_range("dither", dither, 0.0)
        self.name = name
        self.sample_rate = sample_rate
        self.preemphasis = preemphasis
        self.dither = dither
        self.use_energy = use_energy
        self.deltas = deltas
        self.normalize = normalize
        # Kaldi's order of multiplication and its truncation, for rates such as 11025 and 22050.
        self.frame_length_samples = int(sample_rate * 0.001 * frame_length_ms)
        self.frame_shift_samples = int(sample_rate * 0.001 * frame_shift_ms)
        _expect_range("frame_length_ms in samples", self.frame_length_samples, 2)
        _expect_range("frame_shift_ms in samples", self.frame_shift_samples, 1)
        self.fft_size = 2 ** math.ceil(math.log2(self.frame_length_samples))
        self.register_buffer("window", window_function(window, self.frame_length_samples), persistent=False)
        mels = mel_matrix(num_mels, self.fft_size, sample_rate, low_freq, high_freq)
        self._filter_groups = _filter_groups(mels)
        filters = _padded(mels.T.repeat_interleave(2, dim=0), num_rows=2 * mels.shape[1])
        self.register_buffer("filters", filters, persistent=False)
        weights = level_weights(num_mels, sample_rate, low_freq, high_freq, preemphasis)
        self.register_buffer("level_weights", weights, persistent=False)
        self._num_mels = self._num_columns = num_mels
        if name == "mfcc":
            _expect_range("num_ceps", num_ceps, 1, num_mels)
            cosines = _padded(cosine_matrix(num_mels, num_ceps), num_rows=filters.shape[1])
            self.register_buffer("cosines", cosines, persistent=False)
            self._num_columns = num_ceps
        self._num_static = num_ceps if name == "mfcc" else num_mels + int(use_energy)
        self._has_statistics = False
        if normalize in CORPUS_NORMALIZATIONS:
            self.register_buffer("mean", torch.zeros(self.num_features))
            self.register_buffer("std", torch.zeros(self.num_features))  # zero, which no std is: not set yet
            self.register_load_state_dict_post_hook(_look_at_statistics_again)  # type: ignore[no-untyped-call]

    @property
    def num_features(self) -> int:
        """F, the number of features in a frame, derivatives included."""
        return self._num_static * (1 + self.deltas)

    def num_frames(self, num_samples: Count) -> Count:
        """Frames that `forward` makes of `num_samples`: int, or int64 array or tensor."""
        return num_frames(num_samples, self.frame_length_samples, self.frame_shift_samples)

    def set_statistics(self, statistics: Statistics) -> None:
        """Set `mean` and `std`, the statistics of a corpus. Raises ConfigError when they belong to other features."""
        if self.normalize not in CORPUS_NORMALIZATIONS:
            allowed = " or ".join(map(repr, CORPUS_NORMALIZATIONS))
            raise ConfigError(f"features: statistics are for normalize={allowed}, got normalize={self.normalize!r}")
        if statistics.mean.shape != self.mean.shape or statistics.std.shape != self.std.shape:
            raise ConfigError(
                f"features: expected statistics of {self.num_features} features, got mean "
                f"{tuple(statistics.mean.shape)} and std {tuple(statistics.std.shape)}"
            )
        self.mean.copy_(statistics.mean)
        self.std.copy_(statistics.std)
        self._has_statistics = False  # looked at again by the next forward

    @torch.no_grad()
    def forward(self, waveforms: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Features of padded utterances; an utterance's features do not depend on the rest of the batch.

        On a CPU an utterance has the same bits in any batch, before a normalisation that sums over its frames: that
        one's order of summation follows the padded length, so that it adds a rounding.

        Args:
            waveforms: (B, N) float32 in [-1, 1]; samples past `lengths[b]` are ignored.
            lengths: (B,) int64, samples, on the same device. Those of 0 or of less than one frame are fine.

        Returns: features (B, T, F) float32, zero past their lengths, T = num_frames(N); lengths (B,) int64, frames.

        Raises:
            ValueError: wrong shape, type or device; a length outside 0..N (looked at on the CPU only: on a GPU
                it would stop the queue).
            ModelError: a normalisation by the corpus without its statistics.
        """
        frames = self.unnormalized(waveforms, lengths)
        return self._normalized(frames), frames.lengths

    def _normalized(self, frames: Frames) -> Tensor:
        if self.normalize == "none":
            return frames.features
        if self.normalize == "utterance":
            return normalize_utterances(frames.features, frames.lengths, frames.speech_weights)
        self._require_statistics()
        padding = padding_mask(frames.lengths, frames.features.shape[1])
        features = frames.features.sub_(self.mean).div_(self.std).masked_fill_(padding, 0.0)
        if self.normalize == "global":
            return features.clamp_(-LIMIT, LIMIT)
        return adapt_to_utterances(features, frames.lengths, frames.speech_weights)

    @torch.no_grad()
    def unnormalized(self, waveforms: Tensor, lengths: Tensor) -> Frames:
        """`forward` without the normalisation, and what counts as speech: what `GlobalStatistics` is fed with."""
        _check_batch(waveforms, lengths)
        if self.training and self.dither > 0:
            waveforms = waveforms + torch.randn_like(waveforms) * (self.dither / INT16_SCALE)
        frame_lengths = self.num_frames(lengths)
        with torch.autocast(waveforms.device.type, enabled=False), _full_precision_products():
            features, levels = self._static_features(waveforms, frame_lengths)
        if self.deltas:
            features = append_deltas(features, frame_lengths, self.deltas)
        return Frames(features, frame_lengths, speech_weights(levels, frame_lengths))

    def _static_features(self, waveforms: Tensor, frame_lengths: Tensor) -> tuple[Tensor, Tensor]:
        """(B, N) -> features (B, T, number of static features), zero past the lengths, and levels (B, T)."""
        num_padded = self.num_frames(waveforms.shape[1])
        features = waveforms.new_zeros(waveforms.shape[0], num_padded, self._num_static)
        levels = waveforms.new_zeros(waveforms.shape[0], num_padded)
        if features.numel() == 0:
            return features, levels
        # (B, N) -> (B, T, frame_length_samples), a view: frames overlap and are never copied as such
        frames = waveforms.unfold(1, self.frame_length_samples, self.frame_shift_samples)

        def fill(block: Block) -> None:
            with torch.inference_mode():  # a mode of the thread: the caller's no_grad does not reach here
                self._fill_block(features, levels, frames, block)

        if waveforms.device.type == "cpu":
            blocks = list(cpu_blocks(frame_lengths.tolist(), tiles.CPU_BLOCK_ROWS))
            for_each_block(fill, blocks, torch.get_num_threads())
            return features, levels  # their padding is still zero
        for_each_block(fill, list(gpu_blocks(features.shape[0], num_padded, tiles.GPU_BLOCK_ROWS)), num_threads=1)
        return features.masked_fill_(padding_mask(frame_lengths, num_padded), 0.0), levels

    def _fill_block(self, features: Tensor, levels: Tensor, frames: Tensor, block: Block) -> None:
        """Compute the static features and levels of a block of `frames`, (B, T, frame_length_samples)."""
        rows = frames.new_empty(block.num_rows, self.frame_length_samples)
        used = 0
        for piece in block.pieces:
            source = frames[piece.utterances, piece.frames]  # (b, t, frame_length_samples)
            rows[used : used + piece.num_frames].view(source.shape).copy_(source)
            used += piece.num_frames
        rows[used:] = 0
        sizes = [piece.num_frames for piece in block.pieces]
        for whole, results in zip((features, levels), self._row_features(rows)):
            for piece, result in zip(block.pieces, torch.split(results[:used], sizes)):
                target = whole[piece.utterances, piece.frames]  # (b, t, number of static features), or (b, t)
                target.copy_(result.view(target.shape))

    def _row_features(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """(R, frame_length_samples) -> (R, number of static features), and levels (R,).

        The level is ln energy, pre-emphasis taken back. Overwrites `rows`.
        """
        centred = rows.sub_(rows.mean(1, keepdim=True))
        windowed = rows.new_empty(len(rows), self.fft_size)
        windowed[:, self.frame_length_samples :] = 0
        emphasised = windowed[:, : self.frame_length_samples]
        torch.sub(centred[:, 1:], centred[:, :-1], alpha=self.preemphasis, out=emphasised[:, 1:])
        torch.mul(centred[:, :1], 1 - self.preemphasis, out=emphasised[:, :1])
        emphasised *= self.window
        # |z|^2 is left to the product with `filters`, which adds both squares: torch.abs alone costs more than the FFT
        squares = torch.view_as_real(torch.fft.rfft(windowed)).square_().flatten(1)
        log_mel = rows.new_empty(len(rows), self.filters.shape[1])
        for bins, mels in self._filter_groups:
            torch.mm(squares[:, bins], self.filters[bins, mels], out=log_mel[:, mels])
        log_mel.clamp_(min=EPSILON)
        levels = (log_mel[:, : self._num_mels] * self.level_weights).sum(1).log_()
        log_mel.log_()
        features = (log_mel @ self.cosines if self.name == "mfcc" else log_mel)[:, : self._num_columns]
        return self._with_energy(features, centred) if self.use_energy else features, levels

    def _with_energy(self, features: Tensor, centred: Tensor) -> Tensor:
        energy = centred.square_().sum(-1, keepdim=True).mul_(INT16_SCALE**2).clamp_(min=EPSILON).log_()
        replaced = 1 if self.name == "mfcc" else 0
        return torch.cat([energy, features[..., replaced:]], dim=-1)

    def _require_statistics(self) -> None:
        # The answer is kept, because asking a GPU stops its queue.
        if not self._has_statistics and not bool((self.std > 0).all()):
            raise ModelError(
                f"normalize={self.normalize!r} has no statistics yet: load a trained state dict, or accumulate them "
                "with GlobalStatistics and call set_statistics"
            )
        self._has_statistics = True


def _look_at_statistics_again(module: nn.Module, _: Any) -> None:
    assert isinstance(module, Filterbank)
    module._has_statistics = False


def _padded(matrix: Tensor, num_rows: int) -> Tensor:
    """`matrix` with zeros below, to `num_rows`, and on the right, to a multiple of `COLUMN_MULTIPLE`."""
    return F.pad(matrix, (0, -matrix.shape[1] % COLUMN_MULTIPLE, 0, num_rows - matrix.shape[0])).contiguous()


def _filter_groups(mels: Tensor) -> list[tuple[slice, slice]]:
    """Rows of the padded `filters` that neighbouring columns use, and those columns; of (num_mels, num_bins) `mels`."""
    groups = []
    for first in range(0, mels.shape[0], FILTERS_PER_PRODUCT):
        columns = slice(first, first + FILTERS_PER_PRODUCT)
        used = mels[columns].sum(0).nonzero()
        groups.append((slice(2 * int(used.min()), 2 * int(used.max()) + 2), columns))
    return groups


@contextmanager
def _full_precision_products() -> Iterator[None]:
    """Keep TF32 and bf16 products off, which a training may have allowed: they cost 5e-4 in the log domain."""
    backends = (torch.backends.cuda.matmul, torch.backends.mkldnn.matmul)  # type: ignore[attr-defined]
    reduced = [(backend, backend.fp32_precision) for backend in backends if backend.fp32_precision in ("tf32", "bf16")]
    for backend, _ in reduced:
        backend.fp32_precision = "ieee"
    try:
        yield
    finally:
        for backend, precision in reduced:
            backend.fp32_precision = precision


def _expect_one_of(option: str, value: object, allowed: tuple[object, ...]) -> None:
    if value not in allowed:
        raise ConfigError(f"features: expected {option} to be one of {', '.join(map(repr, allowed))}, got {value!r}")


def _expect_range(option: str, value: float, low: float, high: float = math.inf) -> None:
    if not low <= value <= high:
        expected = f"at least {low:g}" if high == math.inf else f"{low:g} to {high:g}"
        raise ConfigError(f"features: expected {option} to be {expected}, got {value:g}")


def _check_batch(waveforms: Tensor, lengths: Tensor) -> None:
    if waveforms.ndim != 2 or waveforms.dtype != torch.float32:
        raise ValueError(f"expected (B, N) float32 waveforms, got {tuple(waveforms.shape)} {waveforms.dtype}")
    if lengths.shape != waveforms.shape[:1] or lengths.dtype != torch.int64:
        raise ValueError(f"expected ({waveforms.shape[0]},) int64 lengths, got {tuple(lengths.shape)} {lengths.dtype}")
    if lengths.device != waveforms.device:
        raise ValueError(f"expected lengths on {waveforms.device} beside the waveforms, got {lengths.device}")
    if lengths.device.type == "cpu" and bool(((lengths < 0) | (lengths > waveforms.shape[1])).any()):
        raise ValueError(f"expected lengths from 0 to {waveforms.shape[1]} samples, got {lengths.tolist()}")
