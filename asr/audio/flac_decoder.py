"""FLAC decoded past the frames that are damaged."""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from typing import BinaryIO

import numpy as np

from asr.audio.decoders import AudioInfo, FileDecoder, UndecodableError
from asr.audio.flac import Frame, StreamInfo, find_frames
from asr.audio.mixdown import Waveform
from asr.audio.views import SplicedFile, size_bytes

READ_AHEAD_BYTES = 1 << 17  # more than libFLAC reads before it decodes
BEGINNING = re.compile(rb"fLaC[\x00\x80]\x00\x00\x22")
FOLLOWED = "another FLAC recording follows in the same file and is not read; cut the file in two"

Open = Callable[[io.RawIOBase], FileDecoder]


class FlacDecoder:
    """Reads a FLAC file; where frames are damaged it gives silence of their length and goes on behind them.

    Args:
        decoder: of the file as it is.
        file: gives the file, which can seek and begins with "fLaC"; asked for only when `decoder` has failed or ended,
            as both may share one position.
        info: the file's metadata.
        reopen: makes a decoder for a part of the file.
        where: tells up to which byte of the file `decoder` has read.
    """

    def __init__(
        self,
        decoder: FileDecoder,
        file: Callable[[], BinaryIO],
        info: StreamInfo,
        *,
        reopen: Open,
        where: Callable[[], int],
    ) -> None:
        self._decoder, self._file, self._stream, self._reopen = decoder, file, info, reopen
        self.info: AudioInfo = decoder.info
        self.failure: str | None = None
        self._position = 0  # of the next sample to give
        self._origin = 0  # of the decoder's first sample
        self._silent = 0  # samples to give before decoding goes on
        self._search_from = info.audio_start  # byte position behind the last frame that was tried
        self._num_lost, self._num_places, self._first_lost = 0, 0, 0
        self._where = where
        self._is_followed: bool | None = None  # by another FLAC file; None where that is not known yet

    @property
    def damage(self) -> str | None:
        """What is silent because it could not be decoded, or not read because it is another recording."""
        if not self._num_places:
            return FOLLOWED if self._is_followed else None
        rate = self.info.sample_rate
        places = "in one place" if self._num_places == 1 else f"in {self._num_places} places, the first"
        return (
            f"the file is broken: {self._num_lost / rate:.2f} s cannot be decoded and are silent here, {places} "
            f"{self._first_lost / rate:.2f} s after its start"
        )

    def read(self, num_samples: int) -> Waveform:
        """The next (n, channels) float32 samples."""
        while True:
            block = self._silence(num_samples) if self._silent else self._decode(num_samples)
            if len(block) or not self._is_broken or not self._go_on():
                self._position += len(block)
                if len(block) == 0 and self._is_followed is None:
                    self._is_followed = self._finds_another()
                return block

    def seek(self, sample: int) -> None:
        """Go to a sample, from the frame before it where the file cannot seek."""
        self._silent, self.failure = 0, None
        try:
            self._decoder.seek(max(0, sample - self._origin))
            self._position = max(sample, self._origin)
        except UndecodableError:
            self._seek_frame(sample)

    def _finds_another(self) -> bool:
        """Whether somebody has appended another FLAC file: its beginning lies about where decoding has ended."""
        if self._origin or self._position != self.info.num_samples:
            return False
        begin = max(self._stream.audio_start, self._where() - READ_AHEAD_BYTES)
        file = self._file()
        file.seek(begin)
        return BEGINNING.search(file.read(2 * READ_AHEAD_BYTES)) is not None

    @property
    def _is_broken(self) -> bool:
        return self.failure is not None

    def _silence(self, num_samples: int) -> Waveform:
        block = np.zeros((min(num_samples, self._silent), self.info.channels), np.float32)
        self._silent -= len(block)
        return block

    def _decode(self, num_samples: int) -> Waveform:
        if self.info.num_samples is not None:
            num_samples = min(num_samples, self.info.num_samples - self._position)
        if num_samples <= 0:
            return np.zeros((0, self.info.channels), np.float32)
        try:
            block = self._decoder.read(num_samples)
            self.failure = self._decoder.failure
        except UndecodableError as error:
            block, self.failure = np.zeros((0, self.info.channels), np.float32), str(error).rpartition(": ")[2]
        return block

    def _go_on(self) -> bool:
        """Decode from the next frame on that is whole; whether there is one."""
        reason = self.failure
        for frame in find_frames(self._file(), self._stream, self._search_from):
            self._search_from = frame.position + 1
            if frame.first_sample >= self._position and self._open_at(frame):
                self._silent = frame.first_sample - self._position
                if self._silent:
                    self._first_lost = self._first_lost if self._num_places else self._position
                    self._num_lost, self._num_places = self._num_lost + self._silent, self._num_places + 1
                self.failure = None
                return True
        if self._position == 0:
            why = (reason or "").rstrip(".")
            raise UndecodableError(
                f"{self._decoder.name}: nothing can be decoded: no FLAC frame in it is whole ({why})", code=0
            )
        return False

    def _open_at(self, frame: Frame) -> bool:
        """Make the decoder one that begins with this frame; whether it can be decoded."""
        file = self._file()
        pieces = self._stream.pieces_from(frame.position, size_bytes(file))
        try:
            self._reopen(SplicedFile(file, pieces)).read(1)
            self._decoder = self._reopen(SplicedFile(file, pieces))
            self._origin = frame.first_sample
        except UndecodableError:
            return False
        return True

    def _seek_frame(self, sample: int) -> None:
        before = None
        for frame in find_frames(self._file(), self._stream, self._stream.audio_start):
            if frame.first_sample > sample:
                break
            before = frame
        if before is None or not self._open_at(before):
            self._position, self.failure = sample, "the place to begin at cannot be decoded"
            return
        self._position, self._search_from = before.first_sample, before.position + 1
        while self._position < sample and len(self.read(sample - self._position)):
            pass
