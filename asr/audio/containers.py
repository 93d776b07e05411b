"""What a file's own structure says about its length: whether it was cut short, and what an MP3 really holds.

libsndfile reads what is there of a truncated file without a word, believes a wrong length in an MP3 header,
and estimates the length from the first frame where an MP3 has none, so that more than half can be lost. The
functions here look at headers and page or frame boundaries only; nothing is decoded.

Not detectable: headerless data, NIST, VOC and W64 files (no length that can be checked), an MP3 without a
Xing header cut exactly between two frames, and bytes overwritten inside a PCM sample or an MP3 frame.
"""

from __future__ import annotations

import io
import os
import re
from dataclasses import dataclass
from typing import BinaryIO, Literal

MAX_CHUNKS = 10_000  # a RIFF or AIFF file has a dozen; keeps a malformed one from being walked for minutes

# Programs that write WAV into a pipe cannot go back to fill in the size. They leave 0xFFFFFFFF (ffmpeg),
# 0x80000000 (arecord) or 0x7FFFF000 and some (SoX): from here on, a size larger than the file means "unknown".
STREAMED_SIZE_BYTES = 0x7FFF_F000

# RFC 3533: a page is at most 27 + 255 + 255 * 255 bytes, so the last page begins in this many.
MAX_OGG_PAGE_BYTES = 65_307
OGG_END_OF_STREAM = 0x04

# MPEG audio Layer III (ISO 11172-3 and 13818-3), by bitrate index; 0 is "free format", 15 is forbidden.
MPEG1_KBITS = (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320)
MPEG2_KBITS = (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160)
MPEG1_SAMPLE_RATES = (44_100, 48_000, 32_000)
RATE_DIVISORS = {3: 1, 2: 2, 0: 4}  # by the version bits: MPEG-1, MPEG-2, MPEG-2.5
LAYER_III = 1


@dataclass(frozen=True, slots=True)
class Mp3Frame:
    """One MPEG Layer III frame header."""

    mpeg1: bool
    mono: bool
    sample_rate: int  # Hz
    num_bytes: int  # the whole frame, header included

    @property
    def num_samples(self) -> int:
        """Samples a channel."""
        return 1152 if self.mpeg1 else 576

    @property
    def xing_offset(self) -> int:
        """Where a Xing or Info header lies in the first frame: behind the 4 header bytes and the side info."""
        if self.mpeg1:
            return 4 + (17 if self.mono else 32)
        return 4 + (9 if self.mono else 17)


@dataclass(frozen=True, slots=True)
class Mp3Start:
    """What the first frame of an MP3 file says."""

    header: bytes  # its 4 header bytes
    frame: Mp3Frame
    audio_start: int  # byte position of the first frame with sound
    promised_frames: int | None  # from the Xing or Info header; None where there is none


@dataclass(frozen=True, slots=True)
class Mp3Survey:
    """The frames that an MP3 file holds, against what its header says."""

    start: Mp3Start
    num_frames: int  # whole frames with sound
    last_cut: bool  # the file ends inside a frame

    @property
    def length_is_wrong(self) -> bool:
        """Whether libsndfile would stop too early: more frames than promised, or nothing promised."""
        return self.start.promised_frames is None or self.num_frames > self.start.promised_frames

    @property
    def damage(self) -> str | None:
        """How the file is damaged; None where no damage shows."""
        promised = self.start.promised_frames
        if promised is not None and self.num_frames < promised:
            seconds = self.start.frame.num_samples / self.start.frame.sample_rate
            return (
                f"the file is cut short or broken: its header promises {promised * seconds:.2f} s, "
                f"frames for {self.num_frames * seconds:.2f} s are there"
            )
        return "the file is cut short: it ends inside an MP3 frame" if self.last_cut else None


def size_bytes(file: BinaryIO) -> int:
    """The size of a file that can seek; its position is moved to the end."""
    file.seek(0, os.SEEK_END)
    return file.tell()  # seek itself returns nothing for a SpooledTemporaryFile of Python 3.10


def find_damage(file: BinaryIO) -> str | None:
    """Say how a WAV, RF64, AIFF, AU or Ogg file is cut short; None where it is whole or cannot tell.

    `file` can seek; its position is moved. MP3 has `survey_mp3`; FLAC checks itself while decoding.
    """
    size = size_bytes(file)
    file.seek(0)
    head = file.read(24)
    if head[:4] == b"OggS":
        return _ogg_damage(file, size)
    declared = _declared_samples(file, head)
    if declared is None:
        return None
    start, num_bytes = declared
    present = size - start
    if num_bytes == 0 and present > 1 and head[4:8] in (b"\0\0\0\0", b"\xff\xff\xff\xff"):
        return f"the header was never finished: it promises 0 bytes of samples and {present} follow"
    if num_bytes > present and not (head[:4] != b"RF64" and num_bytes >= STREAMED_SIZE_BYTES):
        return f"the file is cut short: its header promises {num_bytes} bytes of samples, {present} are there"
    return None


def _declared_samples(file: BinaryIO, head: bytes) -> tuple[int, int] | None:
    """Where the samples begin and how many bytes the header says they take; None for other formats."""
    magic, form = head[:4], head[8:12]
    if magic in (b"RIFF", b"RIFX", b"RF64") and form == b"WAVE":
        return _find_chunk(file, b"data", big_endian=magic == b"RIFX")
    if magic == b"FORM" and form in (b"AIFF", b"AIFC"):
        return _find_chunk(file, b"SSND", big_endian=True)
    if magic == b".snd":
        return int.from_bytes(head[4:8], "big"), int.from_bytes(head[8:12], "big")
    return None


def _find_chunk(file: BinaryIO, wanted: bytes, big_endian: bool) -> tuple[int, int] | None:
    order: Literal["big", "little"] = "big" if big_endian else "little"
    position = 12
    long_size = None  # EBU Tech 3306: RF64 keeps the true size in its chunk ds64
    for _ in range(MAX_CHUNKS):
        file.seek(position)
        header = file.read(24)
        if len(header) < 8:
            return None
        name, size = header[:4], int.from_bytes(header[4:8], order)
        if name == b"ds64":
            long_size = int.from_bytes(header[16:24], "little")
        if name == wanted:
            return position + 8, long_size if long_size is not None else size
        position += 8 + size + size % 2
    return None


def _ogg_damage(file: BinaryIO, size: int) -> str | None:
    """Look at the last page (RFC 3533): is it whole, is it marked as the end, is it of the first stream."""
    file.seek(0)
    first_serial = file.read(18)[14:18]
    file.seek(max(0, size - 2 * MAX_OGG_PAGE_BYTES))
    tail = file.read()
    page = tail[max(0, tail.rfind(b"OggS")) :]
    whole = len(page) >= 27 and len(page) >= 27 + page[26] + sum(page[27 : 27 + page[26]])
    if not whole:
        return "the file is cut short: it ends inside an Ogg page"
    if page[14:18] != first_serial:
        return "the file holds several Ogg streams, of which only the first is read"
    if not page[5] & OGG_END_OF_STREAM:
        return "the file is cut short: its last Ogg page is not marked as the end"
    return None


def survey_mp3(file: BinaryIO) -> Mp3Survey | None:
    """Walk the frame headers of an MP3 file; about 0.3 s an hour of audio.

    `file` can seek; its position is moved. None where `read_mp3_start` gives None.
    """
    start = read_mp3_start(file)
    if start is None:
        return None
    num_frames, last_cut = _count_frames(file, start.audio_start, start.frame.sample_rate)
    return Mp3Survey(start, num_frames, last_cut)


def read_mp3_start(file: BinaryIO) -> Mp3Start | None:
    """Read the first frame of an MP3 file.

    `file` can seek; its position is moved. None for another format, Layer I or II, or a free-format bitrate, of
    which the frame size is not known.
    """
    position = _skip_id3(file)
    file.seek(position)
    header = file.read(4)
    frame = parse_mp3_header(header)
    if frame is None:
        return None
    tag = file.read(frame.num_bytes - 4)[frame.xing_offset - 4 : frame.xing_offset + 8]
    promised = None
    if tag[:4] in (b"Xing", b"Info"):
        position += frame.num_bytes  # this frame holds no sound
        if len(tag) == 12 and tag[7] & 1:  # flag bit 0: the frame count follows
            promised = int.from_bytes(tag[8:12], "big")
    return Mp3Start(header, frame, position, promised)


def parse_mp3_header(header: bytes) -> Mp3Frame | None:
    """Read the 4 bytes of a frame header; None where they are not one of Layer III with a stated bitrate."""
    if len(header) < 4 or header[0] != 0xFF or header[1] & 0xE0 != 0xE0:
        return None
    version, layer = header[1] >> 3 & 3, header[1] >> 1 & 3
    bitrate_index, rate_index = header[2] >> 4, header[2] >> 2 & 3
    if version not in RATE_DIVISORS or layer != LAYER_III or bitrate_index in (0, 15) or rate_index == 3:
        return None
    mpeg1 = version == 3
    sample_rate = MPEG1_SAMPLE_RATES[rate_index] // RATE_DIVISORS[version]
    kbits = (MPEG1_KBITS if mpeg1 else MPEG2_KBITS)[bitrate_index]
    padding = header[2] >> 1 & 1
    num_bytes = (144 if mpeg1 else 72) * kbits * 1000 // sample_rate + padding
    return Mp3Frame(mpeg1, header[3] >> 6 == 3, sample_rate, num_bytes)


def _skip_id3(file: BinaryIO) -> int:
    """The position behind any ID3v2 tags (their size has 7 bits a byte)."""
    position = 0
    while True:
        file.seek(position)
        tag = file.read(10)
        if len(tag) < 10 or tag[:3] != b"ID3":
            return position
        position += 10 + (tag[6] << 21 | tag[7] << 14 | tag[8] << 7 | tag[9])


def _count_frames(file: BinaryIO, position: int, sample_rate: int) -> tuple[int, bool]:
    """Count whole frames to the end of the file, stepping over bytes that are none (tags, broken frames)."""
    size = size_bytes(file)
    count = 0
    while position + 4 <= size:
        file.seek(position)
        frame = parse_mp3_header(file.read(4))
        if frame is None or frame.sample_rate != sample_rate:
            position = _next_frame(file, position + 1, sample_rate)
            continue
        if position + frame.num_bytes > size:
            return count, True
        count += 1
        position += frame.num_bytes
    return count, False


def _next_frame(file: BinaryIO, position: int, sample_rate: int) -> int:
    """The next place with two frames in a row, so that chance bytes are not taken for one; else the end."""
    while True:
        file.seek(position)
        window = file.read(1 << 16)
        if len(window) < 4:
            return position + len(window)
        for match in re.finditer(rb"\xff[\xe0-\xff]", window[:-2]):
            start = position + match.start()
            frame = parse_mp3_header(window[match.start() : match.start() + 4])
            if frame is None or frame.sample_rate != sample_rate:
                continue
            file.seek(start + frame.num_bytes)
            if parse_mp3_header(file.read(4)) is not None:
                return start
        position += len(window) - 3


class RelabelledMp3(io.RawIOBase):
    """An MP3 file seen with a new Xing header that states how many frames it really has.

    libsndfile's frame count comes from that header, and it decodes no further. With a true one it decodes all
    of an MP3 that has a wrong header (two files joined) or none (a variable-bitrate stream).
    """

    def __init__(self, file: BinaryIO, survey: Mp3Survey) -> None:
        self._file = file
        self._start = survey.start.audio_start
        self._head = _xing_frame(survey)
        self._size = len(self._head) + size_bytes(file) - survey.start.audio_start
        self._position = 0

    def readable(self) -> bool:
        """True: it can only be read."""
        return True

    def seekable(self) -> bool:
        """True, as the file beneath."""
        return True

    def tell(self) -> int:
        """The position, in bytes from the new header's first."""
        return self._position

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Move to a byte position."""
        origins = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._size}
        self._position = max(0, origins[whence] + offset)
        return self._position

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        """Fill `buffer` from the new header, then from the file; the number of bytes read."""
        if self._position < len(self._head):
            data = self._head[self._position : self._position + len(buffer)]
        else:
            self._file.seek(self._start + self._position - len(self._head))
            data = self._file.read(len(buffer))
        buffer[: len(data)] = data
        self._position += len(data)
        return len(data)


def _xing_frame(survey: Mp3Survey) -> bytes:
    """A silent frame of the same kind, without checksum and large enough for the header, that counts frames."""
    header = bytearray(survey.start.header)
    header[1] |= 1  # no CRC
    header[2] = header[2] & 0x0C | 0x80  # the same rate; bitrate index 8, no padding
    frame = parse_mp3_header(bytes(header))
    assert frame is not None
    tag = b"Xing" + (1).to_bytes(4, "big") + survey.num_frames.to_bytes(4, "big")
    return (bytes(header) + bytes(frame.xing_offset - 4) + tag).ljust(frame.num_bytes, b"\0")
