"""What gives the samples of all channels in order: libsndfile for a file, slices for an array."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any, BinaryIO, Protocol, cast

import numpy as np
import soundfile
from numpy.typing import NDArray

from asr.audio.mixdown import Waveform
from asr.errors import AudioError
from asr.types import Seconds

UNKNOWN_NUM_SAMPLES = 2**63 - 1  # libsndfile's answer where a header gives no length

SNDFILE_REASONS = {  # by libsndfile's error number, where its own words do not help
    1: (
        "not an audio format that can be read here (WAV, FLAC, Ogg Vorbis or Opus, MP3, AIFF, AU, CAF); "
        "convert it, for instance with: ffmpeg -i INPUT OUTPUT.wav"
    ),
    24: "its header gives no valid sample rate, number of channels or encoding",
}


@dataclass(frozen=True, slots=True)
class AudioInfo:
    """What a file's header says."""

    sample_rate: int  # Hz
    channels: int
    num_samples: int | None  # a channel; None where the header does not know
    container: str  # libsndfile's name, such as WAV, FLAC, OGG, MP3; ARRAY for samples in memory
    encoding: str  # such as PCM_16, FLOAT, OPUS, MPEG_LAYER_III

    @property
    def duration(self) -> Seconds | None:
        """Length in seconds; None where the header does not know."""
        return None if self.num_samples is None else self.num_samples / self.sample_rate


class Decoder(Protocol):
    """Gives the samples of all channels in order."""

    def read(self, num_samples: int) -> Waveform:
        """The next (n, channels) float32 samples, n ≤ num_samples; n = 0 at the end."""
        ...

    def seek(self, sample: int) -> None:
        """Go to a sample, counted from 0."""
        ...


class _SequentialFile(soundfile.SoundFile):  # type: ignore[misc]
    """A sound file that does not seek by itself.

    soundfile seeks to the current position after each read. libsndfile's MP3 decoder loses its state by that:
    block-wise reading of real files was off by up to 0.17 of full scale. An explicit `seek` still works.
    """

    def seekable(self) -> bool:
        return False


class _GuardedFile:
    """A Python file as libsndfile calls it. No exception passes through C, so the first one is kept for later."""

    def __init__(self, file: BinaryIO | io.RawIOBase) -> None:
        self._file = file
        self.error: Exception | None = None

    def read(self, num_bytes: int) -> bytes:
        try:
            return self._file.read(num_bytes) or b""
        except Exception as error:
            self.error = self.error or error
            return b""

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> None:
        with suppress(ValueError, OSError):  # before the start: a broken header's fault, which decoding will tell
            self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()


class FileDecoder:
    """Reads a file with libsndfile.

    Args:
        name: for errors.
        file: at its beginning; a file descriptor, or a binary file object that can seek. It is left open.

    Raises:
        AudioError: no audio format, or a header that makes no sense.
    """

    def __init__(self, name: str, file: BinaryIO | io.RawIOBase | int) -> None:
        self._name = name
        self._guard = None if isinstance(file, int) else _GuardedFile(file)
        with self._errors():
            self._file = _SequentialFile(self._guard or file, closefd=False)
        num_samples = None if self._file.frames == UNKNOWN_NUM_SAMPLES else self._file.frames
        self.info = AudioInfo(
            self._file.samplerate, self._file.channels, num_samples, self._file.format, self._file.subtype
        )

    def read(self, num_samples: int) -> Waveform:
        """The next (n, channels) float32 samples.

        Raises:
            AudioError: the file is corrupt here, or its file object fails.
        """
        block = np.empty((num_samples, self.info.channels), np.float32)
        with self._errors():
            return cast(Waveform, self._file.read(out=block))

    def seek(self, sample: int) -> None:
        """Go to a sample.

        Raises:
            AudioError: the file is corrupt and cannot seek.
        """
        with self._errors():
            self._file.seek(sample)

    def close(self) -> None:
        """Free libsndfile's memory."""
        self._file.close()

    @contextmanager
    def _errors(self) -> Iterator[None]:
        reason = None
        try:
            yield
        except soundfile.LibsndfileError as error:
            reason = SNDFILE_REASONS.get(error.code, error.error_string.removeprefix("Error : "))
        if self._guard is not None and self._guard.error is not None:
            raise AudioError(f"{self._name}: reading from it failed: {self._guard.error}") from self._guard.error
        if reason is not None:
            raise AudioError(f"{self._name}: cannot be decoded: {reason}")


class ArrayDecoder:
    """Reads an array of samples in memory, block by block, so that it is never copied whole.

    Args:
        array: (N,), (N, C) or (C, N) of int16, int32, float32 or float64; the shorter axis is the channels.
        sample_rate: Hz.

    Raises:
        AudioError: another type or shape.
    """

    def __init__(self, array: NDArray[Any], sample_rate: int) -> None:
        self._samples = _as_columns(array)  # (N, C)
        self._position = 0
        encoding = {"int16": "PCM_16", "int32": "PCM_32", "float32": "FLOAT", "float64": "DOUBLE"}
        if array.dtype.name not in encoding:
            raise AudioError(f"the array: expected int16, int32, float32 or float64, got {array.dtype}")
        num_samples, channels = self._samples.shape
        self.info = AudioInfo(sample_rate, channels, num_samples, "ARRAY", encoding[array.dtype.name])

    def read(self, num_samples: int) -> Waveform:
        """The next (n, channels) float32 samples; integers are divided by their full scale."""
        block = self._samples[self._position : self._position + num_samples]
        self._position += len(block)
        if block.dtype.kind == "i":
            block = block / -float(np.iinfo(block.dtype).min)
        return block.astype(np.float32)

    def seek(self, sample: int) -> None:
        """Go to a sample."""
        self._position = sample


def _as_columns(array: NDArray[Any]) -> NDArray[Any]:
    """(N,), (N, C) or (C, N) -> (N, C)"""
    if array.ndim == 1:
        return array[:, None]
    if array.ndim != 2 or array.shape[0] == array.shape[1] > 1:
        raise AudioError(f"the array: expected shape (N,), (N, C) or (C, N) with C < N, got {array.shape}")
    return array if array.shape[1] <= array.shape[0] else array.T
