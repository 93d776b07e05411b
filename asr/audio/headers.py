"""What WAV, RF64, W64, AIFF, CAF, AU and NIST headers say about their samples, and headers that say it truly.

Programs that write into a pipe, or are killed, leave sizes that are 0, -1 or huge. Where libsndfile cannot live with
what a header says, it gets one that is true instead (`views.SplicedFile`).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import BinaryIO, Literal

from asr.audio.chunks import AIFF, CAF, RIFX, W64, W64_TAIL, WAV, Chunks
from asr.audio.views import size_bytes

MAX_HEADER_BYTES = 1 << 20  # of what stands before the samples, where it is copied

# Programs that write WAV into a pipe cannot go back to fill in the size. They leave 0xFFFFFFFF (ffmpeg),
# 0x80000000 (arecord) or 0x7FFFF000 and some (SoX): from here on, a size larger than the file means "unknown".
STREAMED_SIZE_BYTES = 0x7FFF_F000
# SoX's AIFF has this many bytes of samples, rounded down to whole ones of all channels.
STREAMED_AIFF_BYTES = range(0x7F00_0000 - 0x1000, 0x7F00_0001)
WAV_LIMIT_BYTES = 1 << 32  # from here on sizes of 32 bits do not hold it
STREAMED_LONG_BYTES = 1 << 62  # of formats with 64-bit sizes: ffmpeg leaves 2^63 - 1 or -1

W64_RIFF = bytes.fromhex("726966662e91cf11a5d628db04c10000")
CAF_EDIT_COUNT_BYTES = 4  # at the beginning of the data chunk
AIFF_OFFSET_BYTES = 8  # at the beginning of SSND: offset and block size
INNER_FORMATS = (0x50, 0x55, 0x674F, 0x6750, 0x6751, 0x676F, 0x6770, 0x6771, 0xF1AC)  # MPEG, Ogg Vorbis, FLAC in WAV


@dataclass(frozen=True, slots=True)
class Samples:
    """Where a header says that the samples lie.

    Attributes:
        start: byte position in the file.
        declared: bytes that the header promises; None where it says that it does not know.
        header: a number of bytes -> the header that is true for so many.
        needs_mending: whether libsndfile cannot read the header as it is.
        follows: the way in which further chunks would follow; None where nothing may.
        inner: whether the samples are a file of another format.
        trailer_bytes: of a second header, which may stand at the end of the file.
    """

    start: int
    declared: int | None
    header: Callable[[int], bytes]
    needs_mending: bool = False
    follows: Chunks | None = None
    inner: bool = False
    trailer_bytes: int = 0


def find_samples(file: BinaryIO, start: int, stop: int) -> Samples | None:
    """Where the header that begins at `start` says that its samples are; None where it is of none of these formats."""
    file.seek(start)
    head = file.read(40)
    magic, form = head[:4], head[8:12]
    if magic in (b"RIFF", b"RIFX", b"RF64", b"BW64") and form == b"WAVE":
        return _wav_samples(file, start, magic)
    if head[:16] == W64_RIFF and head[24:40] == b"wave" + W64_TAIL:
        return _w64_samples(file, start)
    if magic == b"FORM" and form in (b"AIFF", b"AIFC"):
        return _aiff_samples(file, start)
    if magic == b"caff":
        return _caf_samples(file, start, stop)
    if magic in (b".snd", b"dns."):
        return _au_samples(file, start, "big" if magic == b".snd" else "little")
    if head[:8] == b"NIST_1A\n":
        return _nist_samples(file, start)
    return None


# ---- WAV and its relatives ------------------------------------------------------------------------------------------


def _wav_samples(file: BinaryIO, start: int, magic: bytes) -> Samples | None:
    chunks = RIFX if magic == b"RIFX" else WAV
    kept, position, is_odd, long_size = b"", start + 12, False, None
    for chunk in chunks.walk(file, position):
        is_odd |= chunk.header != position  # the one before was not padded
        position = chunk.start + chunk.size + chunk.size % 2
        if chunk.name == b"ds64":  # EBU Tech 3306: the true size of RF64
            file.seek(chunk.start + 8)
            long_size = int.from_bytes(file.read(8), "little", signed=True)
        elif chunk.name == b"fmt " and chunk.size <= MAX_HEADER_BYTES:
            file.seek(chunk.start)
            kept = _chunk(b"fmt ", file.read(chunk.size), chunks)
        elif chunk.name == b"data":
            break
    else:
        return None
    is_long = magic in (b"RF64", b"BW64")
    declared = long_size if is_long and long_size is not None else chunk.size
    unknown = declared >= (STREAMED_LONG_BYTES if is_long else STREAMED_SIZE_BYTES) or declared < 0
    present = size_bytes(file) - chunk.start
    is_too_large = magic == b"RIFF" and present >= WAV_LIMIT_BYTES
    if is_too_large and declared:  # what 32 bits hold is the remainder, or nothing that tells the size
        declared += (present - declared) // WAV_LIMIT_BYTES * WAV_LIMIT_BYTES
    format_tag = int.from_bytes(kept[8:10], chunks.order)
    return Samples(
        chunk.start,
        None if unknown and (is_too_large or not 0 <= declared <= present) else declared,
        lambda size: _wav_header(chunks, kept, size),
        needs_mending=is_odd or is_too_large or magic == b"BW64" or (is_long and unknown),
        follows=chunks,
        inner=format_tag in INNER_FORMATS,
    )


def _is_larger(file: BinaryIO, start: int, declared: int) -> bool:
    return declared < 0 or declared > size_bytes(file) - start


def _wav_header(chunks: Chunks, kept: bytes, num_bytes: int) -> bytes:
    magic = b"RIFX" if chunks.order == "big" else b"RIFF"
    size = 4 + len(kept) + 8 + num_bytes
    if size < WAV_LIMIT_BYTES:
        return magic + size.to_bytes(4, chunks.order) + b"WAVE" + kept + b"data" + num_bytes.to_bytes(4, chunks.order)
    sizes = (size + 36).to_bytes(8, "little") + num_bytes.to_bytes(8, "little") + bytes(8 + 4)
    long_sizes = b"ds64" + len(sizes).to_bytes(4, "little") + sizes
    return b"RF64\xff\xff\xff\xffWAVE" + long_sizes + kept + b"data\xff\xff\xff\xff"


def _chunk(name: bytes, contents: bytes, chunks: Chunks) -> bytes:
    return name + len(contents).to_bytes(4, chunks.order) + contents + b"\0" * (len(contents) % 2)


def _w64_samples(file: BinaryIO, start: int) -> Samples | None:
    for chunk in W64.walk(file, start + 40):
        if chunk.name == b"data":
            break
    else:
        return None
    unknown = chunk.size >= STREAMED_LONG_BYTES or chunk.size < -W64.header_bytes
    before = _bytes_between(file, start, chunk.start - 8)
    return Samples(
        chunk.start,
        None if unknown else max(0, chunk.size),
        lambda size: before + (size + W64.header_bytes).to_bytes(8, "little"),
        needs_mending=unknown,
        follows=W64,
    )


# ---- AIFF, CAF, AU, NIST --------------------------------------------------------------------------------------------


def _aiff_samples(file: BinaryIO, start: int) -> Samples | None:
    file.seek(start + 8)
    form, common, sound = file.read(4), None, None
    for chunk in AIFF.walk(file, start + 12):
        if chunk.name == b"COMM" and chunk.size >= 18:
            common = chunk
        if chunk.name == b"SSND":
            sound = chunk
            break
    if common is None or sound is None:
        return None
    contents = _bytes_between(file, common.start, common.start + common.size)
    declared = max(0, sound.size - AIFF_OFFSET_BYTES)
    unknown = declared >= STREAMED_SIZE_BYTES or declared in STREAMED_AIFF_BYTES
    return Samples(
        sound.start + AIFF_OFFSET_BYTES,
        None if unknown and _is_larger(file, sound.start, declared) else declared,
        lambda size: _aiff_header(form, contents, size),
        follows=AIFF,
    )


def _aiff_header(form: bytes, common: bytes, num_bytes: int) -> bytes:
    channels, bits = (int.from_bytes(common[at : at + 2], "big") for at in (0, 6))
    frame_bytes = max(1, channels * -(-bits // 8))
    if common[18:22] == b"ima4":
        frame_bytes = max(1, channels * 34)  # a packet of 64 samples
    common = common[:2] + (num_bytes // frame_bytes).to_bytes(4, "big") + common[6:]
    sound = b"SSND" + (num_bytes + AIFF_OFFSET_BYTES).to_bytes(4, "big") + bytes(AIFF_OFFSET_BYTES)
    version = _chunk(b"FVER", bytes.fromhex("a2805140"), AIFF) if form == b"AIFC" else b""
    header = form + version + _chunk(b"COMM", common, AIFF) + sound
    return b"FORM" + (len(header) + num_bytes).to_bytes(4, "big") + header


def _caf_samples(file: BinaryIO, start: int, stop: int, *, may_repeat: bool = True) -> Samples | None:
    for chunk in CAF.walk(file, start + 8):
        if chunk.name == b"data":
            break
    else:
        return None
    samples_start = chunk.start + CAF_EDIT_COUNT_BYTES
    if may_repeat and samples_start < stop and is_caf(file, samples_start):
        # libsndfile, which SoX writes CAF with, puts its header out again when it cannot go back: once more in front,
        # and at the end the true one.
        again = _caf_samples(file, samples_start, stop, may_repeat=False)
        return again and replace(again, trailer_bytes=samples_start - start)
    before = _bytes_between(file, start, chunk.start - 8)
    edit_count = _bytes_between(file, chunk.start, samples_start)
    declared = None if chunk.size == -1 else max(0, chunk.size - CAF_EDIT_COUNT_BYTES)
    return Samples(
        samples_start,
        declared,
        lambda size: before + (size + CAF_EDIT_COUNT_BYTES).to_bytes(8, "big") + edit_count,
        needs_mending=declared is None,
        follows=CAF,
    )


def is_caf(file: BinaryIO, position: int) -> bool:
    """Whether a CAF header begins here."""
    file.seek(position)
    return file.read(4) == b"caff"


def _au_samples(file: BinaryIO, start: int, order: Literal["big", "little"]) -> Samples:
    head = _bytes_between(file, start, start + 24)
    offset, declared = (int.from_bytes(head[at : at + 4], order) for at in (4, 8))
    header = _bytes_between(file, start, start + offset)
    return Samples(
        start + offset,
        None if declared >= STREAMED_SIZE_BYTES and _is_larger(file, start + offset, declared) else declared,
        lambda size: header[:8] + min(size, 0xFFFF_FFFF).to_bytes(4, order) + header[12:],
    )


def _nist_samples(file: BinaryIO, start: int) -> Samples | None:
    head = _bytes_between(file, start, start + 1024)
    values = dict(re.findall(rb"^(\w+) -i (\d+)", head, re.MULTILINE))
    size = re.match(rb"NIST_1A\n\s*(\d+)\n", head)
    if size is None:
        return None
    header = _bytes_between(file, start, start + int(size[1]))
    is_companded = re.search(rb"^sample_coding -s\d+ (ulaw|mu-law|alaw)", head, re.MULTILINE)
    sample_bytes = values.get(b"sample_n_bytes", b"1" if is_companded else b"2")
    frame_bytes = max(1, int(sample_bytes) * int(values.get(b"channel_count", b"1")))
    count = int(values.get(b"sample_count", b"0"))
    return Samples(
        start + int(size[1]),
        count * frame_bytes,
        lambda num_bytes: _nist_header(header, num_bytes // frame_bytes),
    )


def _nist_header(header: bytes, count: int) -> bytes:
    """The same text with another number of samples, and as long."""
    without = re.sub(rb"^sample_count -i \d+\n", b"", header, count=1, flags=re.MULTILINE)
    told = without.replace(b"end_head", b"sample_count -i %d\nend_head" % count, 1)
    return told[: len(header)].ljust(len(header), b" ")


def _bytes_between(file: BinaryIO, start: int, stop: int) -> bytes:
    file.seek(start)
    return file.read(min(max(0, stop - start), MAX_HEADER_BYTES))
