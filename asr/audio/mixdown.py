"""Blocks of decoded channels in, mono at the model's rate out, with what is wrong with the sound noted.

One object serves a stream of any length: what it returns does not depend on where the blocks are cut.
"""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
import soxr
from numpy.typing import NDArray

from asr.errors import AudioError

Waveform: TypeAlias = NDArray[np.float32]

MIN_SAMPLE_RATE = 1_000  # Hz; nothing of speech is left below it
MAX_SAMPLE_RATE = 768_000  # Hz; the highest that converters offer

FULL_SCALES = (2.0**15, 2.0**23, 2.0**31)  # integer samples that someone stored as float
HOT_PEAK = 128.0  # up to here a float peak is a mix that came out too loud, above it integers

OVERSHOOT_PEAK = 2.0  # lossy codecs ring a little above full scale; more than this was encoded too loud

CLIP_LEVEL = 1 - 2.0**-14  # the two loudest of the 16-bit values
CLIP_RUN_SAMPLES = 3  # a loud but whole wave touches full scale for a sample or two, a clipped one stays there
CLIP_SHARE = 1e-3
CANCELLED_POWER = 1e-2  # mono 20 dB under the channels it was mixed from
SILENT_POWER = 1e-10  # -100 dB; below it there is nothing that could cancel


def full_scale(peak: float) -> float:
    """What to divide float samples by so that they lie in [-1, 1].

    >>> full_scale(0.5), full_scale(3.0), full_scale(20_000.0)
    (1.0, 3.0, 32768.0)
    """
    if peak <= 1:
        return 1.0
    if peak <= HOT_PEAK:
        return peak
    return next((scale for scale in FULL_SCALES if peak <= scale), peak)


class Mixdown:
    """Scales, checks, mixes to mono and resamples, block by block.

    Args:
        name: of the recording, for errors.
        source_rate: Hz of what is pushed.
        num_channels: of what is pushed.
        sample_rate: Hz of what comes out.
        channel: the one to keep, from 0; None takes the mean of all.

    Attributes:
        scale: what the samples are divided by (`full_scale`); to be set before the first block.

    Raises:
        AudioError: a rate outside 1 kHz to 768 kHz, no channels, or a channel that is not there.
    """

    def __init__(
        self,
        name: str,
        source_rate: int,
        num_channels: int,
        sample_rate: int,
        channel: int | None = None,
    ) -> None:
        _check_rate(name, source_rate)
        _check_rate("the sample rate asked for", sample_rate)
        _check_channel(name, num_channels, channel)
        self._name, self._source_rate, self._sample_rate = name, source_rate, sample_rate
        self._channel = channel
        self.scale = 1.0
        self._resampler = None
        if source_rate != sample_rate:
            self._resampler = soxr.ResampleStream(source_rate, sample_rate, 1, dtype="float32")
        self._num_samples = 0
        self._peak = 0.0
        self._num_clipped = 0
        self._mono_power = 0.0  # sums of squares, in float64: ten hours of float32 would stop growing
        self._channel_power = np.zeros(num_channels)

    def push(self, block: Waveform) -> Waveform:
        """Take (n, channels) float32 samples and give (m,) float32 at `sample_rate`.

        Raises:
            AudioError: a sample is NaN or infinite; says at what time.
        """
        if len(block) == 0:
            return np.zeros(0, np.float32)
        self._check_finite(block)
        if self.scale != 1:
            block = block / np.float32(self.scale)
        self._peak = max(self._peak, float(block.max()), -float(block.min()))
        mono = self._mix(block)
        self._num_samples += len(block)
        return mono if self._resampler is None else self._resampled(mono, last=False)

    def finish(self) -> Waveform:
        """Give the last (m,) samples, which the resampler held back. Call once, after the last block."""
        if self._resampler is None:
            return np.zeros(0, np.float32)
        return self._resampled(np.zeros(0, np.float32), last=True)

    @property
    def warnings(self) -> tuple[str, ...]:
        """What is wrong with the sound pushed so far."""
        return tuple(filter(None, (self._bandwidth(), self._level(), self._clipped(), self._cancelled())))

    def _resampled(self, mono: Waveform, last: bool) -> Waveform:
        assert self._resampler is not None
        resampled: Waveform = self._resampler.resample_chunk(mono, last=last)
        return resampled

    def _check_finite(self, block: Waveform) -> None:
        if np.isfinite(block.max()) and np.isfinite(block.min()):  # NaN passes through max
            return
        row = int(np.argmax(~np.isfinite(block).all(axis=1)))
        seconds = (self._num_samples + row) / self._source_rate
        raise AudioError(
            f"{self._name}: expected finite samples, got NaN or infinity {seconds:.3f} s after the start of "
            "what is read; write the file anew from its source"
        )

    def _mix(self, block: Waveform) -> Waveform:
        """(n, channels) -> (n,)"""
        if self._channel is not None:
            mono = np.ascontiguousarray(block[:, self._channel])
        elif block.shape[1] == 1:
            mono = block[:, 0]
        else:
            mono = block.mean(axis=1, dtype=np.float32)
            self._channel_power += np.einsum("nc,nc->c", block, block, dtype=np.float64)
            self._mono_power += float(np.einsum("n,n->", mono, mono, dtype=np.float64))
        self._num_clipped += _count_clipped(block if self._channel is None else mono[:, None])
        return mono

    def _bandwidth(self) -> str | None:
        if self._source_rate >= self._sample_rate:
            return None
        return (
            f"resampled from {self._source_rate} Hz to {self._sample_rate} Hz: nothing above "
            f"{self._source_rate // 2} Hz is there to hear, recognition may suffer"
        )

    def _level(self) -> str | None:
        if self.scale != 1:
            return f"samples reach outside [-1, 1] and were divided by {self.scale:g}"
        if self._peak > OVERSHOOT_PEAK:
            return f"samples reach {self._peak:.1f} times full scale; encode at a lower level"
        return None

    def _clipped(self) -> str | None:
        num_counted = self._num_samples * (len(self._channel_power) if self._channel is None else 1)
        share = self._num_clipped / max(1, num_counted)
        if share < CLIP_SHARE:
            return None
        return f"clipped: {share:.1%} of the samples stay at full scale; record at a lower level"

    def _cancelled(self) -> str | None:
        mean_power = self._channel_power.mean() / max(1, self._num_samples)
        mono_power = self._mono_power / max(1, self._num_samples)
        if mean_power < SILENT_POWER or mono_power >= CANCELLED_POWER * mean_power:
            return None
        return (
            "the channels cancel each other (opposite phase), so that little is left of their mean; choose one channel"
        )


def _check_rate(name: str, sample_rate: int) -> None:
    if not MIN_SAMPLE_RATE <= sample_rate <= MAX_SAMPLE_RATE:
        raise AudioError(
            f"{name}: expected a sample rate of {MIN_SAMPLE_RATE} to {MAX_SAMPLE_RATE} Hz, got {sample_rate}"
        )


def _check_channel(name: str, num_channels: int, channel: int | None) -> None:
    if num_channels < 1:
        raise AudioError(f"{name}: expected at least one channel, got {num_channels}")
    if channel is not None and not 0 <= channel < num_channels:
        raise AudioError(
            f"{name}: channel {channel} was asked for, the recording has {num_channels} (0 to {num_channels - 1})"
        )


def _count_clipped(block: Waveform) -> int:
    """How many samples of (n, channels) lie in the middle of a run at full scale."""
    if len(block) < CLIP_RUN_SAMPLES or max(block.max(), -block.min()) < CLIP_LEVEL:
        return 0
    full = np.abs(block) >= CLIP_LEVEL
    return int(np.count_nonzero(full[:-2] & full[1:-1] & full[2:]))
