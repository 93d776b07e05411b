"""FLAC frame by frame (RFC 9639): where decoding can go on behind a place that is damaged.

libFLAC, as libsndfile uses it, ends at the first broken frame. Every frame says which samples it holds, so that what
follows can be decoded in its place.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

from asr.audio.views import Piece, Stretch

STREAMINFO_BYTES = 34
HEADER_BYTES = 8 + STREAMINFO_BYTES  # "fLaC", the header of a metadata block, STREAMINFO
MAX_FRAME_HEADER_BYTES = 16
WINDOW_BYTES = 1 << 16
BLOCK_SIZES = {1: 192, **{2 + n: 576 << n for n in range(4)}, **{8 + n: 256 << n for n in range(8)}}
SAMPLE_BITS = {1: 8, 2: 12, 4: 16, 5: 20, 6: 24, 7: 32}
RATE_BYTES = {12: 1, 13: 2, 14: 2}  # how many bytes of a frame header tell the rate, by its code
SIZE_BYTES = {6: 1, 7: 2}  # and the size of the block
FIXED_STEREO_MODES = range(8, 11)  # left-side, right-side, mid-side


@dataclass(frozen=True, slots=True)
class StreamInfo:
    """The beginning of a FLAC file."""

    contents: bytes  # the block itself
    audio_start: int  # byte position of the first frame

    @property
    def block_sizes(self) -> tuple[int, int]:
        """The smallest and the largest number of samples in a frame; the last may have fewer."""
        return int.from_bytes(self.contents[:2], "big"), int.from_bytes(self.contents[2:4], "big")

    @property
    def channels(self) -> int:
        """How many."""
        return (self.contents[12] >> 1 & 7) + 1

    @property
    def bits(self) -> int:
        """Per sample."""
        return ((self.contents[12] & 1) << 4 | self.contents[13] >> 4) + 1

    @property
    def num_samples(self) -> int | None:
        """Of a channel; None where the encoder did not know."""
        return int.from_bytes(self.contents[13:18], "big") & (1 << 36) - 1 or None

    def pieces_from(self, position: int, stop: int) -> tuple[Piece, ...]:
        """A FLAC file of unknown length whose first frame is the one at `position`."""
        without_length = self.contents[:13] + bytes([self.contents[13] & 0xF0]) + bytes(4 + 16)
        header = b"fLaC" + b"\x80" + STREAMINFO_BYTES.to_bytes(3, "big") + without_length
        return header, Stretch(position, stop)


@dataclass(frozen=True, slots=True)
class Frame:
    """A frame that begins at byte `position` and holds the samples from `first_sample` on."""

    position: int
    first_sample: int


def read_stream_info(file: BinaryIO) -> StreamInfo | None:
    """Read the metadata of a file that can seek and begins with "fLaC"; None where it is none, or broken."""
    file.seek(0)
    head = file.read(HEADER_BYTES)
    if len(head) < HEADER_BYTES or head[:4] != b"fLaC" or head[4] & 0x7F != 0:
        return None
    position = 4
    is_last = False
    while not is_last:
        file.seek(position)
        header = file.read(4)
        if len(header) < 4:
            return None
        is_last = bool(header[0] & 0x80)
        position += 4 + int.from_bytes(header[1:], "big")
    return StreamInfo(head[8:], position)


def find_frames(file: BinaryIO, info: StreamInfo, position: int) -> Iterator[Frame]:
    """The frames from a byte position on, in order; their headers have a checksum of their own."""
    while True:
        file.seek(position)
        window = file.read(WINDOW_BYTES)
        if len(window) < 6:
            return
        is_end = len(window) < WINDOW_BYTES
        usable = len(window) if is_end else len(window) - MAX_FRAME_HEADER_BYTES
        for match in re.finditer(rb"\xff[\xf8\xf9]", window[: usable + 1]):
            header = window[match.start() : match.start() + MAX_FRAME_HEADER_BYTES]
            if (first := _first_sample(header, info)) is not None:
                yield Frame(position + match.start(), first)
        if is_end:
            return
        position += usable


def _first_sample(header: bytes, info: StreamInfo) -> int | None:
    """Which sample a frame begins with; None where these bytes are no header of a frame of this file."""
    if len(header) < 6 or not _fits(header, info):
        return None
    number, length = _coded_number(header[4:])
    end = 4 + length + SIZE_BYTES.get(header[2] >> 4, 0) + RATE_BYTES.get(header[2] & 15, 0)
    if length == 0 or len(header) <= end or _crc8(header[:end]) != header[end]:
        return None
    first = number if header[1] & 1 else number * info.block_sizes[0]
    return first if info.num_samples is None or first < info.num_samples else None


def _fits(header: bytes, info: StreamInfo) -> bool:
    size_code, rate_code = header[2] >> 4, header[2] & 15
    layout, bits_code = header[3] >> 4, header[3] >> 1 & 7
    channels = 2 if layout in FIXED_STEREO_MODES else layout + 1
    return (
        size_code != 0
        and rate_code != 15
        and layout < FIXED_STEREO_MODES.stop
        and header[3] & 1 == 0
        and channels == info.channels
        and (bits_code == 0 or SAMPLE_BITS.get(bits_code) == info.bits)
        and BLOCK_SIZES.get(size_code, 0) <= info.block_sizes[1]
    )


def _coded_number(data: bytes) -> tuple[int, int]:
    """A number coded as UTF-8 codes characters, of up to 36 bits, and its length in bytes; 0 where it is none."""
    first = data[0]
    if first < 0x80:
        return first, 1
    length = 8 - (first ^ 0xFF).bit_length()
    if not 2 <= length <= 7 or len(data) < length:
        return 0, 0
    number = first & (1 << 7 - length) - 1
    for byte in data[1:length]:
        if byte & 0xC0 != 0x80:
            return 0, 0
        number = number << 6 | byte & 0x3F
    return number, length


def _crc8(data: bytes) -> int:
    """The checksum of frame headers: polynomial x^8 + x^2 + x + 1."""
    crc = 0
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = (crc << 1 ^ 0x07 if crc & 0x80 else crc << 1) & 0xFF
    return crc
