"""The frames of an MP3 file, counted by their headers; nothing is decoded.

libsndfile believes a wrong length in an MP3's header, and estimates the length from the first frame where it has none,
so that more than half can be lost. It gives up at a kilobyte that is no frame. So it gets the frames alone, behind a
header that counts them, wherever the file has something else.

Not detectable: an MP3 without a Xing header cut exactly between two frames, and bytes overwritten inside a frame.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

from asr.audio.layout import AS_IT_IS, Layout
from asr.audio.views import Piece, Stretch
from asr.types import Seconds

# MPEG audio Layer III (ISO 11172-3 and 13818-3), by bitrate index; 0 is "free format", 15 is forbidden.
MPEG1_KBITS = (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320)
MPEG2_KBITS = (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160)
MPEG1_SAMPLE_RATES = (44_100, 48_000, 32_000)
RATE_DIVISORS = {3: 1, 2: 2, 0: 4}  # by the version bits: MPEG-1, MPEG-2, MPEG-2.5
LAYER_III = 1
MAX_FRAME_BYTES = 1441  # 320 kbit/s at 32 kHz; a recording of a broadcast begins inside a frame
VBRI_OFFSET = 36  # where Fraunhofer's header lies in the first frame, whatever its kind

SEARCH_BYTES = 1 << 20  # how far into a file its first frame is looked for
SURE_FRAMES = 3  # in a row: chance makes these once in 10^12 bytes
WINDOW_BYTES = 1 << 16
END_TAGS = (b"TAG", b"APETAGEX", b"LYRICSBEGIN", b"ID3")


@dataclass(frozen=True, slots=True)
class Mp3Frame:
    """One MPEG Layer III frame header."""

    mpeg1: bool
    mono: bool
    sample_rate: int  # Hz
    num_bytes: int  # the whole frame, header included

    @property
    def num_samples(self) -> int:
        """Samples per channel."""
        return 1152 if self.mpeg1 else 576

    @property
    def xing_offset(self) -> int:
        """Where a Xing or Info header lies in the first frame: behind the 4 header bytes and the side info."""
        if self.mpeg1:
            return 4 + (17 if self.mono else 32)
        return 4 + (9 if self.mono else 17)

    @property
    def seconds(self) -> Seconds:
        """The duration of one frame."""
        return self.num_samples / self.sample_rate


@dataclass(frozen=True, slots=True)
class Mp3Start:
    """What the first frame of an MP3 file says."""

    header: bytes  # its 4 header bytes
    frame: Mp3Frame
    first: int  # byte position of the first frame
    audio_start: int  # of the first frame with sound
    promised_frames: int | None  # from the Xing, Info or VBRI header; None where there is none
    skipped_bytes: int  # before the first frame, which are no tag


@dataclass(frozen=True, slots=True)
class Mp3Survey:
    """The frames that an MP3 file holds, against what its header says."""

    start: Mp3Start
    num_frames: int  # whole frames with sound
    runs: tuple[Stretch, ...]  # where frames follow one another
    last_cut: bool  # the file ends inside a frame
    lost_bytes: int  # between frames, that are none

    @property
    def damage(self) -> str | None:
        """How the file is damaged; None where no damage shows."""
        promised, seconds = self.start.promised_frames, self.start.frame.seconds
        # Some encoders count the frame that holds the header, too.
        if promised is not None and self.num_frames < promised - (not self.last_cut):
            return (
                f"the file is cut short or broken: its header promises {promised * seconds:.2f} s, "
                f"frames for {self.num_frames * seconds:.2f} s are there"
            )
        if self.start.skipped_bytes > MAX_FRAME_BYTES:
            return f"the file is broken: the {self.start.skipped_bytes} bytes before its first MP3 frame are no audio"
        if self.lost_bytes > MAX_FRAME_BYTES:
            return f"the file is broken: {self.lost_bytes} bytes between its MP3 frames are no audio"
        return "the file is cut short: it ends inside an MP3 frame" if self.last_cut else None

    @property
    def layout(self) -> Layout:
        """How libsndfile is to see it: as it is, or with a true count of its frames and nothing between them."""
        promised, is_one_run = self.start.promised_frames, len(self.runs) == 1
        if promised is not None and self.num_frames != promised - 1 and self.num_frames <= promised and is_one_run:
            first = self.start.first
            pieces: tuple[Piece, ...] | None = (Stretch(first, self.runs[0].stop),) if first else None
            return Layout((pieces,), self.damage)
        return Layout(((_xing_frame(self), *self.runs),), self.damage)


def mp3_layout(file: BinaryIO, start: int, stop: int, *, counted: bool, search: bool = False) -> Layout | None:
    """How an MP3 file is to be read; None for another format.

    Args:
        file: can seek; its position is moved.
        start: where the first frame is expected, behind any tags.
        stop: where the file ends.
        counted: whether to walk all frames, which takes about 0.3 s per hour of audio.
        search: whether frames may also begin further on.
    """
    begin = read_mp3_start(file, start, stop, search=search)
    if begin is None:
        return None
    if counted:
        return survey_mp3(file, begin, stop).layout
    pieces: tuple[Piece, ...] = (Stretch(begin.first, stop),)
    return Layout((pieces,) if begin.first else AS_IT_IS.streams, states_length=begin.promised_frames is not None)


def read_mp3_start(file: BinaryIO, start: int, stop: int, *, search: bool = False) -> Mp3Start | None:
    """Read the first frame of an MP3 file; None for Layer I or II, or a free-format bitrate, too."""
    first = _search(file, start, min(stop, start + SEARCH_BYTES)) if search else start
    if first is None:
        return None
    file.seek(first)
    header = file.read(4)
    frame = parse_mp3_header(header)
    if frame is None:
        return None
    contents = header + file.read(frame.num_bytes - 4)
    promised = _promised_frames(contents, frame)
    is_header = promised is not None or contents[frame.xing_offset :][:4] in (b"Xing", b"Info")
    audio_start = first + (frame.num_bytes if is_header else 0)
    return Mp3Start(header, frame, first, audio_start, promised, skipped_bytes=first - start)


def _promised_frames(contents: bytes, frame: Mp3Frame) -> int | None:
    tag = contents[frame.xing_offset : frame.xing_offset + 12]
    if tag[:4] in (b"Xing", b"Info") and len(tag) == 12 and tag[7] & 1:  # flag bit 0: the frame count follows
        return int.from_bytes(tag[8:12], "big")
    tag = contents[VBRI_OFFSET : VBRI_OFFSET + 18]
    return int.from_bytes(tag[14:18], "big") if tag[:4] == b"VBRI" and len(tag) == 18 else None


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


def _search(file: BinaryIO, start: int, stop: int) -> int | None:
    """The first place with a few frames in a row, or with frames right to the end of the file."""
    for position in _candidates(file, start, stop):
        place, num_frames = position, 0
        while num_frames < SURE_FRAMES and (frame := _frame_at(file, place)) is not None:
            place, num_frames = place + frame.num_bytes, num_frames + 1
        if num_frames == SURE_FRAMES:
            return position
    return None


def _frame_at(file: BinaryIO, position: int) -> Mp3Frame | None:
    file.seek(position)
    return parse_mp3_header(file.read(4))


def _candidates(file: BinaryIO, start: int, stop: int) -> Iterator[int]:
    """Places whose four bytes could be a frame header."""
    while start < stop:
        file.seek(start)
        window = file.read(min(WINDOW_BYTES, stop - start))
        if len(window) < 4:
            return
        for match in re.finditer(rb"\xff[\xe0-\xff]", window[:-2]):
            if parse_mp3_header(window[match.start() : match.start() + 4]) is not None:
                yield start + match.start()
        start += len(window) - 3


def survey_mp3(file: BinaryIO, start: Mp3Start, stop: int) -> Mp3Survey:
    """Walk the frames to the end of the file, stepping over bytes that are none (tags, broken frames)."""
    rate, position = start.frame.sample_rate, start.audio_start
    runs: list[Stretch] = []
    run_start, num_frames, lost = position, 0, 0
    last_cut = False
    while position + 4 <= stop and not last_cut:
        frame = _frame_at(file, position)
        if frame is not None and frame.sample_rate == rate:
            last_cut = position + frame.num_bytes > stop
            if not last_cut:
                num_frames, position = num_frames + 1, position + frame.num_bytes
            continue
        runs.append(Stretch(run_start, position))
        run_start = _next_frame(file, position + 1, stop, rate)
        if run_start < stop and not _is_tag(file, position):
            lost += run_start - position
        position = run_start
    runs.append(Stretch(run_start, position))
    return Mp3Survey(start, num_frames, tuple(run for run in runs if len(run)), last_cut, lost)


def _is_tag(file: BinaryIO, position: int) -> bool:
    file.seek(position)
    return file.read(11).startswith(END_TAGS)


def _next_frame(file: BinaryIO, position: int, stop: int, sample_rate: int) -> int:
    """The next place with two frames in a row, so that chance bytes are not taken for one; else the end."""
    for start in _candidates(file, position, stop):
        frame = _frame_at(file, start)
        assert frame is not None
        if frame.sample_rate == sample_rate and _frame_at(file, start + frame.num_bytes) is not None:
            return start
    return stop


def _xing_frame(survey: Mp3Survey) -> bytes:
    """A silent frame of the same kind, without checksum and large enough for the header, that counts frames.

    libsndfile's frame count comes from that header, and it decodes no further.
    """
    header = bytearray(survey.start.header)
    header[1] |= 1  # no CRC
    header[2] = header[2] & 0x0C | 0x80  # the same rate; bitrate index 8, no padding
    frame = parse_mp3_header(bytes(header))
    assert frame is not None
    tag = b"Xing" + (1).to_bytes(4, "big") + survey.num_frames.to_bytes(4, "big")
    return (bytes(header) + bytes(frame.xing_offset - 4) + tag).ljust(frame.num_bytes, b"\0")
