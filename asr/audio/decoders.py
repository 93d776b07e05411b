"""What gives the samples of all channels in order: libsndfile for a file, slices for an array."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import dataclass, replace
from typing import Any, BinaryIO, Protocol

import numpy as np
import soundfile
from numpy.typing import NDArray

from asr.audio.foreign import READABLE
from asr.audio.mixdown import Waveform
from asr.audio.quiet import c_library_silenced
from asr.errors import AudioError
from asr.types import Seconds

COMPRESSED_CONTAINERS = ("FLAC", "OGG", "MP3")
ARRAY_ENCODINGS = {  # what samples in memory may be, and what libsndfile calls it
    **{"int8": "PCM_S8", "uint8": "PCM_U8", "int16": "PCM_16", "int32": "PCM_32"},
    **{"float16": "FLOAT", "float32": "FLOAT", "float64": "DOUBLE"},
}
MPEG_ENCODINGS = ("MPEG_LAYER_I", "MPEG_LAYER_II", "MPEG_LAYER_III")
UNKNOWN_NUM_SAMPLES = 2**63 - 1  # libsndfile's answer where a header gives no length

UNKNOWN_FORMAT = 1  # libsndfile's error number
SNDFILE_REASONS = {  # by libsndfile's error number, where its own words do not help
    UNKNOWN_FORMAT: f"not an audio format that can be read here ({READABLE}); convert it, for instance with: "
    "ffmpeg -i INPUT OUTPUT.wav",
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
    def shape(self) -> tuple[int, int]:
        """Sample rate and number of channels."""
        return self.sample_rate, self.channels

    @property
    def duration(self) -> Seconds | None:
        """Length in seconds; None where the header does not know."""
        return None if self.num_samples is None else self.num_samples / self.sample_rate


class Decoder(Protocol):
    """Gives the samples of all channels in order."""

    @property
    def info(self) -> AudioInfo:
        """What the header says."""
        ...

    @property
    def damage(self) -> str | None:
        """What could not be decoded so far, although samples follow it; None where nothing."""
        ...

    @property
    def failure(self) -> str | None:
        """Why decoding has ended before the file's end; None where it has not."""
        ...

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


class UndecodableError(AudioError):
    """libsndfile does not open a file, or gets nothing from it.

    Attributes:
        code: libsndfile's error number.
    """

    def __init__(self, message: str, code: int) -> None:
        super().__init__(message)
        self.code = code


class FileDecoder:
    """Reads a file with libsndfile.

    Args:
        name: for errors.
        file: at its beginning; a file descriptor, or a binary file object that can seek. It is left open.

    Raises:
        UndecodableError: no audio format, or a header that makes no sense.
    """

    damage: str | None = None

    def __init__(self, name: str, file: BinaryIO | io.RawIOBase | int) -> None:
        self.name = name
        self._guard = None if isinstance(file, int) else _GuardedFile(file)
        self._has_given = False  # any samples yet
        self.failure: str | None = None
        with self._errors(), c_library_silenced():
            self._file = _SequentialFile(self._guard or file, closefd=False)
        num_samples = None if self._file.frames == UNKNOWN_NUM_SAMPLES else self._file.frames
        self.info = AudioInfo(
            self._file.samplerate, self._file.channels, num_samples, self._file.format, self._file.subtype
        )

    def read(self, num_samples: int) -> Waveform:
        """The next (n, channels) float32 samples. What fails after the first of all ends the file: see `failure`.

        Raises:
            UndecodableError: nothing at all can be decoded.
            AudioError: the file object fails.
        """
        if self.failure is not None:
            return np.empty((0, self.info.channels), np.float32)
        block = np.empty((num_samples, self.info.channels), np.float32)
        is_compressed = self.info.container in COMPRESSED_CONTAINERS
        if is_compressed:  # of a block that fails, libsndfile does not say how far it came
            block[:, 0] = np.nan
        try:
            with self._errors(), self._quiet():
                block = self._file.read(out=block)
        except UndecodableError as error:
            is_decoded = ~np.isnan(block[:, 0]) if is_compressed else np.zeros(num_samples, bool)
            block = block[: len(block) if is_decoded.all() else int(is_decoded.argmin())]
            if len(block) == 0 and not self._has_given:
                raise
            self.failure = str(error).removeprefix(f"{self.name}: cannot be decoded: ")
        self._has_given |= len(block) > 0
        return block

    def seek(self, sample: int) -> None:
        """Go to a sample.

        Raises:
            UndecodableError: the file is corrupt and cannot seek.
        """
        with self._errors(), self._quiet():
            self._file.seek(sample)

    def close(self) -> None:
        """Free libsndfile's memory."""
        self._file.close()

    def _quiet(self) -> AbstractContextManager[None]:
        return c_library_silenced() if self.info.encoding in MPEG_ENCODINGS else nullcontext()

    @contextmanager
    def _errors(self) -> Iterator[None]:
        reason, code = None, 0
        try:
            yield
        except soundfile.LibsndfileError as error:
            code = error.code
            reason = SNDFILE_REASONS.get(code, error.error_string.removeprefix("Error : "))
        if self._guard is not None and self._guard.error is not None:
            raise AudioError(f"{self.name}: reading from it failed: {self._guard.error}") from self._guard.error
        if reason is not None:
            raise UndecodableError(f"{self.name}: cannot be decoded: {reason}", code)


class ChainedDecoder:
    """Reads recordings of one format that follow one another in a file as if they were one.

    Args:
        decoders: of the recordings, in order; all of one sample rate and number of channels.
    """

    def __init__(self, decoders: Sequence[Decoder]) -> None:
        self._decoders = decoders
        self._current = 0
        counts = [decoder.info.num_samples for decoder in decoders]
        self._counts = [count for count in counts if count is not None]
        whole = sum(self._counts) if len(self._counts) == len(counts) else None
        self.info = replace(decoders[0].info, num_samples=whole)

    @property
    def damage(self) -> str | None:
        """That of any recording so far, or why one ended early with others behind it."""
        ended = [decoder.failure for decoder in self._decoders[: self._current]]
        found = [*(decoder.damage for decoder in self._decoders), *(reason and _ended(reason) for reason in ended)]
        return next(filter(None, found), None)

    @property
    def failure(self) -> str | None:
        """That of the recording being read."""
        return self._decoders[self._current].failure

    def read(self, num_samples: int) -> Waveform:
        """The next (n, channels) float32 samples, of one recording at a time."""
        while True:
            block = self._decoders[self._current].read(num_samples)
            if len(block) or self._current == len(self._decoders) - 1:
                return block
            self._current += 1

    def seek(self, sample: int) -> None:
        """Go to a sample, in a chain of which every length is known."""
        self._current = 0
        while self._current < len(self._decoders) - 1 and sample >= self._counts[self._current]:
            sample -= self._counts[self._current]
            self._current += 1
        for decoder in self._decoders[self._current + 1 :]:
            decoder.seek(0)
        self._decoders[self._current].seek(sample)


def _ended(reason: str) -> str:
    return f"the file is broken: a part of it cannot be decoded ({reason.rstrip('.')})"


class ArrayDecoder:
    """Reads an array of samples in memory, block by block, so that it is never copied whole.

    Args:
        array: (N,), (N, C) or (C, N), of a type in `ARRAY_ENCODINGS`; the shorter axis is the channels.
        sample_rate: Hz.

    Raises:
        AudioError: another type or shape.
    """

    damage: str | None = None
    failure: str | None = None

    def __init__(self, array: NDArray[Any], sample_rate: int) -> None:
        self._samples = _as_columns(array)  # (N, C)
        self._position = 0
        if array.dtype.name not in ARRAY_ENCODINGS:
            raise AudioError(
                f"the array: expected samples of {', '.join(ARRAY_ENCODINGS)}, got {array.dtype}, whose full scale is "
                "not known; convert them"
            )
        num_samples, channels = self._samples.shape
        self.info = AudioInfo(sample_rate, channels, num_samples, "ARRAY", ARRAY_ENCODINGS[array.dtype.name])

    def read(self, num_samples: int) -> Waveform:
        """The next (n, channels) float32 samples; integers are divided by their full scale."""
        block = self._samples[self._position : self._position + num_samples]
        self._position += len(block)
        if block.dtype.kind == "u":  # the middle is silence, as in WAV
            block = block.astype(np.int16) - 128 << 8
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
