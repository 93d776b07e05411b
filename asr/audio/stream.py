"""A recording read as a stream of mono blocks at the model's rate, and whole."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from asr.audio.decoders import UNKNOWN_NUM_SAMPLES, ArrayDecoder, AudioInfo, Decoder
from asr.audio.mixdown import Mixdown, Waveform, full_scale
from asr.audio.sources import MAX_PIPE_BYTES, OpenSource, Source, open_source
from asr.errors import AudioError
from asr.types import Seconds

MAX_SECONDS = 3600.0  # of read_audio: 230 MB of float32 at 16 kHz
MAX_STREAM_SECONDS = 24 * 3600.0  # of open_audio, whose memory does not grow with the length
DECODE_VALUES = 1 << 18  # samples x channels decoded at a time: 1 MiB of float32
SLACK_SECONDS = 0.025  # times in manifests are rounded: a window may reach this far past the end

# Codecs whose decoders carry state: right after a seek their output differs (Opus by up to 2e-3 of full scale,
# MP3 by up to 9e-2). In 102 seeks in real Opus files the difference was gone after 5 seconds, in 318 seeks in
# MP3 files after 0.1 seconds.
STATEFUL_CONTAINERS = ("OGG", "MP3")
PREROLL_SECONDS = 10
FLOAT_ENCODINGS = ("FLOAT", "DOUBLE")


@dataclass(frozen=True, slots=True, eq=False)
class Audio:
    """A recording as a model wants it."""

    waveform: Waveform  # (N,) float32, mono, in [-1, 1] but for what lossy codecs and resampling overshoot
    sample_rate: int  # Hz
    warnings: tuple[str, ...] = ()

    @property
    def duration(self) -> Seconds:
        """Length in seconds."""
        return len(self.waveform) / self.sample_rate


def read_audio(
    source: Source,
    sample_rate: int,
    *,
    offset: Seconds = 0.0,
    duration: Seconds | None = None,
    channel: int | None = None,
    strict: bool = False,
    max_seconds: Seconds = MAX_SECONDS,
) -> Audio:
    """Decode a whole recording, or a window of it, to mono at `sample_rate` Hz.

    Arguments and errors are those of `open_audio`. Longer than `max_seconds` is an error, so that a small file
    that unpacks to hours cannot fill the memory; `open_audio` reads it in blocks.
    """
    with open_audio(
        source,
        sample_rate,
        offset=offset,
        duration=duration,
        channel=channel,
        strict=strict,
        max_seconds=max_seconds,
    ) as stream:
        return _read(stream)


def from_array(array: NDArray[Any], sample_rate_in: int, sample_rate: int, *, channel: int | None = None) -> Audio:
    """Bring samples that are already in memory to mono at `sample_rate` Hz, by the same steps as a file.

    Args:
        array: (N,), (N, C) or (C, N) of int8, uint8, int16, int32, float16, float32 or float64. The shorter axis is
            the channels. Integers are divided by their full scale; floats are expected in [-1, 1] and else scaled.
        sample_rate_in: Hz of `array`.
        sample_rate: Hz of the result.
        channel: the one to keep, from 0; None takes the mean of all.

    Raises:
        AudioError: another type or shape, NaN or infinity, a sample rate or channel out of range.
    """
    decoder = ArrayDecoder(array, sample_rate_in)
    source = OpenSource("the array", decoder.info, decoder, damage=None)
    return _read(AudioStream(source, sample_rate, channel=channel))


def _read(stream: AudioStream) -> Audio:
    waveform = np.concatenate([np.zeros(0, np.float32), *stream.decode()])
    return Audio(waveform, stream.sample_rate, stream.warnings)


@contextmanager
def open_audio(
    source: Source,
    sample_rate: int,
    *,
    offset: Seconds = 0.0,
    duration: Seconds | None = None,
    channel: int | None = None,
    strict: bool = False,
    max_seconds: Seconds = MAX_STREAM_SECONDS,
    max_pipe_bytes: int = MAX_PIPE_BYTES,
) -> Iterator[AudioStream]:
    """Open a recording to be read in blocks, in memory that does not grow with its length.

    Uncompressed float samples are read twice, first for their peak: where they leave [-1, 1], one factor scales the
    whole recording, whatever window of it is read.

    Args:
        source: a path, "-" for standard input, or a binary file object. One that can seek is read from its
            beginning; one that cannot is buffered first, in memory and beyond 16 MiB in a temporary file.
        sample_rate: Hz of what comes out.
        offset: seconds to skip; rounded to the file's own samples.
        duration: seconds to read; None reads to the end.
        channel: the one to keep, from 0; None takes the mean of all.
        strict: where the file is damaged (cut short, fewer samples than promised), raise instead of warning.
        max_seconds: of audio; longer is an error.
        max_pipe_bytes: of a source that cannot seek; longer is an error.

    Raises:
        AudioError: missing, unreadable, empty or corrupt file, unknown format, impossible header, NaN samples,
            channel or window outside the recording, longer than allowed. While reading, too.
    """
    with ExitStack() as stack:
        yield AudioStream(
            open_source(source, stack, max_pipe_bytes),
            sample_rate,
            offset=offset,
            duration=duration,
            channel=channel,
            strict=strict,
            max_seconds=max_seconds,
        )


class AudioStream:
    """An open recording, made by `open_audio` while that holds the source open. It can be read once.

    Attributes:
        name: of the recording, for messages.
        info: what its header says.
        sample_rate: Hz of the blocks.
    """

    def __init__(
        self,
        source: OpenSource,
        sample_rate: int,
        *,
        offset: Seconds = 0.0,
        duration: Seconds | None = None,
        channel: int | None = None,
        strict: bool = False,
        max_seconds: Seconds = math.inf,
    ) -> None:
        self.name, self.info, self.sample_rate = source.name, source.info, sample_rate
        self._decoder, self._strict = source.decoder, strict
        self._damage: list[str] = []
        self._is_empty = False
        self._started = False
        # Checks rate and channel, so it comes before all that computes with them.
        self._mixdown = Mixdown(self.name, self.info.sample_rate, self.info.channels, sample_rate, channel)
        self._window = _Window.of(self.name, self.info, offset, duration, max_seconds)
        if self.info.encoding in FLOAT_ENCODINGS:
            self._mixdown.scale = _find_scale(self._decoder, self.info.channels)
        if source.damage is not None:
            self._note_damage(source.damage)

    @property
    def warnings(self) -> tuple[str, ...]:
        """What is wrong with what was read so far."""
        empty = ("no samples: the recording, or the part asked for, is empty",) if self._is_empty else ()
        return (*self._damage, *empty, *self._mixdown.warnings)

    def blocks(self, seconds: Seconds = 10.0) -> Iterator[Waveform]:
        """Read on in blocks of `seconds`; (n,) float32 each, the last one shorter, none empty.

        Raises:
            AudioError: as `open_audio`.
        """
        size = round(seconds * self.sample_rate)
        if size < 1:
            raise ValueError(f"expected blocks of at least one sample, got {seconds} s at {self.sample_rate} Hz")
        pieces: list[Waveform] = []
        num_held = 0
        for piece in self.decode():
            pieces.append(piece)
            num_held += len(piece)
            if num_held >= size:
                held = np.concatenate(pieces)
                num_whole = num_held - num_held % size
                yield from np.split(held[:num_whole], range(size, num_whole, size))
                pieces, num_held = [held[num_whole:]], num_held - num_whole
        if num_held:
            yield np.concatenate(pieces)

    def decode(self) -> Iterator[Waveform]:
        """Read on in pieces of whatever length decoding gives; (n,) float32 each, none empty.

        Raises:
            AudioError: as `open_audio`, or the stream was read before.
        """
        if self._started:
            raise AudioError(f"{self.name}: the stream was read already; open it again")
        self._started = True
        for block in self._decoded():
            yield from filter(len, [self._mixdown.push(block)])
        yield from filter(len, [self._mixdown.finish()])

    def _decoded(self) -> Iterator[Waveform]:
        """The window's samples, (n, channels) float32."""
        window = self._window
        block_samples = _block_samples(self.info.channels)
        position = self._seek(window.start)
        while position < window.stop:
            block = self._decoder.read(min(block_samples, window.stop - position))
            if len(block) == 0:
                break
            before_window = max(0, window.start - position)
            position += len(block)
            window.check_length(self.name, position)
            if self._strict and self._decoder.damage is not None:
                self._note_damage(self._decoder.damage)
            yield block[before_window:]
        self._check_end(position)

    def _seek(self, start: int) -> int:
        """Go to sample `start`, or so far before it that the codec's state is right there; say where."""
        if self.info.container in STATEFUL_CONTAINERS:
            start = max(0, start - PREROLL_SECONDS * self.info.sample_rate)
        if start > 0:
            self._decoder.seek(start)
        return start

    def _note_damage(self, message: str) -> None:
        if self._strict:
            raise AudioError(f"{self.name}: {message}")
        self._damage.append(message)

    def _check_end(self, position: int) -> None:
        window, rate = self._window, self.info.sample_rate
        self._is_empty = position <= window.start
        if self._decoder.damage is not None and not self._damage:
            self._note_damage(self._decoder.damage)
        if position < window.promised and not self._damage:
            self._note_damage(
                f"the file is cut short or broken: its header promises {window.promised / rate:.2f} s, "
                f"only {position / rate:.2f} s can be decoded"
            )
        elif self._decoder.failure is not None and not self._damage:
            reason = self._decoder.failure.rstrip(".")
            self._note_damage(
                f"the file is cut short or broken: only {position / rate:.2f} s can be decoded ({reason})"
            )
        elif window.asked is not None and position < window.asked - SLACK_SECONDS * rate:
            self._note_damage(f"{window.asked / rate:.2f} s were asked for, it ends at {position / rate:.2f} s")


def _find_scale(decoder: Decoder, channels: int) -> float:
    """Read everything for the peak of its finite values, and go back to the start."""
    peak = 0.0
    while len(block := decoder.read(_block_samples(channels))):
        magnitudes = np.abs(block)
        peak = max(peak, float(magnitudes.max(where=np.isfinite(magnitudes), initial=0.0)))
    decoder.seek(0)
    return full_scale(peak)


def _block_samples(channels: int) -> int:
    return max(1, DECODE_VALUES // channels)


@dataclass(frozen=True, slots=True)
class _Window:
    """The part of a recording that is read, in its own samples."""

    start: int
    stop: int  # where reading ends at the latest
    asked: int | None  # where the caller wants it to end; None for the end of the file
    promised: int  # up to where the header promises samples; `start` where it does not know
    max_seconds: Seconds
    sample_rate: int

    @classmethod
    def of(cls, name: str, info: AudioInfo, offset: Seconds, duration: Seconds | None, max_seconds: Seconds) -> _Window:
        """The window that `offset` and `duration` describe, checked against the header."""
        if not 0 <= offset < math.inf or not (duration is None or 0 <= duration < math.inf):
            raise AudioError(f"{name}: expected offset and duration ≥ 0, got {offset} s and {duration} s")
        rate, known = info.sample_rate, info.num_samples
        start = round(offset * rate)
        if known is not None and start > known + SLACK_SECONDS * rate:
            raise AudioError(f"{name}: offset {offset:g} s lies behind its end at {known / rate:.2f} s")
        start = start if known is None else min(start, known)
        asked = None if duration is None else start + round(duration * rate)
        stop = UNKNOWN_NUM_SAMPLES if asked is None else asked
        promised = start if known is None else min(known, stop)
        window = cls(start, stop, asked, promised, max_seconds, rate)
        window.check_length(name, promised)
        return window

    def check_length(self, name: str, position: int) -> None:
        """Raise where reading up to `position` would be longer than allowed."""
        if position - self.start > self.max_seconds * self.sample_rate:
            raise AudioError(
                f"{name}: expected at most {self.max_seconds:g} s of audio, it holds more; "
                "read it as a stream, give offset and duration, or raise max_seconds"
            )
