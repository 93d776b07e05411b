"""What a file's own structure says about how to read it: where audio begins, how long it is, whether it was cut short.

libsndfile reads what is there of a truncated file without a word, believes wrong sizes in headers, and refuses what
stands behind zeros or tags. The functions here look at headers and page or frame boundaries only; nothing is decoded.
What libsndfile cannot cope with, it sees through a `SplicedFile`.
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import BinaryIO, cast

from asr.audio.flac import read_stream_info
from asr.audio.headers import W64_RIFF, Samples, find_samples, is_caf
from asr.audio.layout import AS_IT_IS, Layout
from asr.audio.mpeg import SEARCH_BYTES, mp3_layout, parse_mp3_header
from asr.audio.ogg import ogg_layout
from asr.audio.views import Piece, SplicedFile, Stretch, size_bytes

LEFTOVER_BYTES = 4096  # looked at of what stands behind the samples
TAGS = (b"TAG", b"ID3", b"APETAGEX", b"LYRICSBEGIN")  # which some programs put there
MAX_STREAMS = 10_000  # in one file, one after the other
ID3_BYTES, ID3_FOOTER_BIT = 10, 0x10
APE_BYTES = 32
ZEROS_BYTES = 1 << 16
# Of the formats that are looked for behind other bytes, as much as chance does not make.
BEGINNINGS = re.compile(
    rb"RIFF.{4}WAVEfmt |RF64.{4}WAVEds64|FORM.{4}AIF[FC]|fLaC[\x00\x80]\x00\x00\x22|OggS\x00\x02.{20}\x01"
    rb"|caff\x00\x01\x00\x00desc|NIST_1A\n   1024\n",
    re.DOTALL,
)
MAGICS = (b"RIFF", b"RIFX", b"RF64", b"BW64", b"FORM", b"caff", b".snd", b"dns.", b"OggS", b"fLaC", b"NIST_1A\n")


def survey(file: BinaryIO, *, counted: bool = True) -> Layout:
    """How a file is to be read, and how it is damaged.

    Args:
        file: can seek; its position is moved.
        counted: whether to walk all frames of an MP3, which takes about 0.3 s per hour of audio.
    """
    stop = size_bytes(file)
    start = skip_tags(file, stop)
    layout = _survey(file, start, stop, counted) if start < stop else None
    if layout is None:
        return AS_IT_IS
    return _placed(file, layout, start, stop)


def search(file: BinaryIO, *, counted: bool = True) -> Layout | None:
    """How to read audio that begins somewhere behind other bytes; None where none is found."""
    stop = size_bytes(file)
    file.seek(0)
    if (found := BEGINNINGS.search(file.read(SEARCH_BYTES))) is not None:
        layout = _survey(file, found.start(), stop, counted) or AS_IT_IS
        damage = f"the file is broken: the {found.start()} bytes before its header are no audio"
        return replace(_placed(file, layout, found.start(), stop), damage=damage)
    return mp3_layout(file, 0, stop, counted=counted, search=True)


def has_known_start(file: BinaryIO) -> bool:
    """Whether a file begins, behind any tags, as one of a format that is read here."""
    file.seek(skip_tags(file, size_bytes(file)))
    return is_audio(file.read(40))


def is_audio(head: bytes) -> bool:
    """Whether the first 40 bytes of a file, behind any tags, are those of a format that is read here."""
    if head[:4] == b"RIFF":
        return head[8:12] == b"WAVE"
    if head[:4] == b"FORM":
        return head[8:12] in (b"AIFF", b"AIFC", b"8SVX", b"16SV")
    return head.startswith((*MAGICS, W64_RIFF, b"Creative Voice File\x1a")) or parse_mp3_header(head) is not None


def skip_tags(file: BinaryIO, stop: int) -> int:
    """The position behind ID3v2 and APE tags and zeros, as music players and recorders put them before audio."""
    position = before = 0
    while True:
        file.seek(position)
        head = file.read(APE_BYTES)
        if head[:3] == b"ID3" and len(head) > ID3_BYTES:  # the size has 7 bits per byte
            size = head[6] << 21 | head[7] << 14 | head[8] << 7 | head[9]
            position += ID3_BYTES + size + (ID3_BYTES if head[5] & ID3_FOOTER_BIT else 0)
        elif head[:8] == b"APETAGEX" and len(head) == APE_BYTES:
            position += APE_BYTES + int.from_bytes(head[12:16], "little")
        elif head[:1] == b"\0":
            position = _skip_zeros(file, position)
        if position == before:
            return position
        before = position = min(position, stop)


def _skip_zeros(file: BinaryIO, position: int) -> int:
    while True:
        file.seek(position)
        window = file.read(ZEROS_BYTES)
        zeros = len(window) - len(window.lstrip(b"\0"))
        position += zeros
        if zeros < len(window) or not window:
            return position


def _survey(file: BinaryIO, start: int, stop: int, counted: bool) -> Layout | None:
    """The layout of what begins at `start`; None for a format without a surveyor."""
    file.seek(start)
    head = file.read(40)
    if head[:4] == b"OggS":
        return ogg_layout(file, start, stop)
    if head[:4] == b"fLaC":
        info = read_stream_info(cast(BinaryIO, SplicedFile(file, [Stretch(start, stop)])))
        is_cut = info is not None and info.audio_start >= stop - start
        return Layout(damage="the file is cut short: it ends before its first FLAC frame") if is_cut else AS_IT_IS
    if (inner := _inner_stretch(file, start, stop)) is not None:
        layout = _survey(file, inner.start, inner.stop, counted) or AS_IT_IS
        return _placed(file, layout, inner.start, inner.stop)
    if (found := _chunk_layout(file, start, stop)) is not None:
        return _chain(file, *found, start)
    return mp3_layout(file, start, stop, counted=counted)


def _placed(file: BinaryIO, layout: Layout, start: int, stop: int) -> Layout:
    """A layout that says of what is "as it is" where it lies."""
    if start == 0 and stop == size_bytes(file):
        return layout
    whole: tuple[Piece, ...] = (Stretch(start, stop),)
    streams = tuple(whole if pieces is None else pieces for pieces in layout.streams)
    return Layout(streams, layout.damage, layout.states_length)


# ---- headers and chunks ----------------------------------------------------------------------------------------------


def _chunk_layout(file: BinaryIO, start: int, stop: int) -> tuple[Layout, Stretch] | None:
    """How a file of one of these formats is to be read, and what lies behind its samples.

    Returns:
        Layout of this one recording; the bytes behind it that are no part of it and may be another file, or none.
        None where the file has another format, or no samples can be found in it.
    """
    samples = find_samples(file, start, stop)
    if samples is None or samples.start > stop:
        return None
    stop = _without_trailer(file, samples, stop)
    present = stop - samples.start
    declared = samples.declared
    damage = None
    rest = Stretch(stop, stop)
    if declared is None:
        declared = present
    elif declared == 0 and present > 1 and not _follow(file, samples, stop):
        damage = f"the header was never finished: it promises 0 bytes of samples and {present} follow, which are read"
        declared = present
    elif declared > present:
        damage = f"the file is cut short: its header promises {declared} bytes of samples, {present} are there"
        declared = present
    else:
        rest = _leftover(file, samples, stop)
        return _layout(samples, declared, None, needs_mending=samples.needs_mending or bool(rest)), rest
    needs_mending = samples.needs_mending or damage is not None
    return _layout(samples, declared, damage, needs_mending), rest


def _inner_stretch(file: BinaryIO, start: int, stop: int) -> Stretch | None:
    """Where a WAV file holds a file of another format instead of samples, such as MP3; None elsewhere."""
    samples = find_samples(file, start, stop)
    if samples is None or not samples.inner:
        return None
    size = stop - samples.start if not samples.declared else samples.declared
    return Stretch(samples.start, min(stop, samples.start + size))


def _layout(samples: Samples, num_bytes: int, damage: str | None, needs_mending: bool) -> Layout:
    if not needs_mending:
        return AS_IT_IS
    pieces: tuple[Piece, ...] = (samples.header(num_bytes), Stretch(samples.start, samples.start + num_bytes))
    return Layout((pieces,), damage)


def _without_trailer(file: BinaryIO, samples: Samples, stop: int) -> int:
    if samples.trailer_bytes and is_caf(file, stop - samples.trailer_bytes):
        return stop - samples.trailer_bytes
    return stop


def _follow(file: BinaryIO, samples: Samples, stop: int) -> bool:
    """Whether what stands right where the samples should be is a further chunk: then there really are none."""
    return samples.follows is not None and samples.follows.follow(file, samples.start, stop)


def _leftover(file: BinaryIO, samples: Samples, stop: int) -> Stretch:
    """What lies behind the samples and is neither a chunk nor a tag nor zeros."""
    assert samples.declared is not None
    end = samples.start + samples.declared
    if end >= stop:
        return Stretch(stop, stop)
    for position in sorted({end, min(stop, end + end % 2)}):
        if samples.follows is not None and samples.follows.follow(file, position, stop):
            return Stretch(stop, stop)
    file.seek(end)
    head = file.read(LEFTOVER_BYTES).lstrip(b"\0")
    if not head or head.startswith(TAGS):
        return Stretch(stop, stop)
    return Stretch(end, stop)


def _chain(file: BinaryIO, layout: Layout, rest: Stretch, start: int) -> Layout:
    """A layout, and those of the recordings that somebody appended to the file."""
    streams = list(_placed(file, layout, start, rest.start).streams) if rest else list(layout.streams)
    damage = layout.damage
    while rest and len(streams) < MAX_STREAMS:
        following = _chunk_layout(file, rest.start, rest.stop)
        if following is None:
            damage = damage or f"{len(rest)} bytes follow its samples that belong to nothing and are not read"
            break
        begin, (layout, rest) = rest.start, following
        streams += _placed(file, layout, begin, rest.start).streams
        damage = damage or layout.damage
    return Layout(tuple(streams), damage)
