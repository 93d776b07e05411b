"""What a file is that cannot be read here, by its first bytes: for an error that names it, and the remedy."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import BinaryIO

from asr.audio.views import size_bytes

HEAD_BYTES = 1 << 16
MAX_MOOV_BYTES = 16 << 20
READABLE = "WAV, FLAC, Ogg Vorbis, Opus and FLAC, MP3, AIFF, AU, CAF, W64, NIST SPHERE"

# Suffixes of audio and video that are looked for in directories only to name what is left out.
FOREIGN_SUFFIXES = frozenset(
    {".m4a", ".m4b", ".mp4", ".m4v", ".mov", ".3gp", ".3g2", ".aac", ".alac", ".webm", ".mkv", ".mka", ".wma", ".wmv"}
    | {".asf", ".amr", ".awb", ".ape", ".wv", ".tta", ".mpc", ".ac3", ".dts", ".ra", ".rm", ".avi", ".flv"}
    | {".mpg", ".mpeg", ".vob", ".spx", ".shn", ".dsf", ".dff", ".gsm", ".qcp", ".vox", ".sln", ".raw"}
)

MP4_CODECS = {"mp4a": "AAC", "alac": "ALAC", "samr": "AMR", "sawb": "AMR-WB", "Opus": "Opus", "fLaC": "FLAC"}
MATROSKA_CODECS = {"A_OPUS": "Opus", "A_VORBIS": "Vorbis", "A_AAC": "AAC", "A_FLAC": "FLAC", "A_MPEG/L3": "MP3"}
OGG_CODECS = {
    b"Speex   ": "Speex",
    b"\x80theora": "Theora video",
    b"BBCD\0": "Dirac video",
    b"PCM     ": "PCM",
    b"CELT    ": "CELT",
    b"fLaC": "FLAC of an old mapping",
}
WAV_CODECS = {
    0x000A: "WMA voice",
    0x0042: "G.723.1",
    0x0045: "G.726",
    0x0050: "MPEG Layer I or II",
    0x0064: "G.726",
    0x0083: "G.729",
    0x00FF: "AAC",
    0x0160: "WMA 1",
    0x0161: "WMA 2",
    0x0162: "WMA Pro",
    0x1610: "HE-AAC",
    0x2000: "AC-3",
    0x2001: "DTS",
    0xA109: "Speex",
}
READ_WAV_CODECS = (1, 2, 3, 6, 7, 0x11, 0x14, 0x31, 0x38, 0x40, 0x55, 0xFFFE)  # by libsndfile
READ_CAF_CODECS = ("lpcm", "alac", "ulaw", "alaw")
MAGICS = (
    (0, b"\x30\x26\xb2\x75\x8e\x66\xcf\x11", "WMA (Windows Media, ASF)"),
    (0, b"#!AMR", "AMR, a mobile phone's speech codec"),
    (0, b"MAC \x96\x0f", "Monkey's Audio (APE)"),
    (0, b"wvpk", "WavPack"),
    (0, b"TTA1", "True Audio (TTA)"),
    (0, b"MPCK", "Musepack"),
    (0, b"MP+\x07", "Musepack"),
    (0, b"ajkg", "Shorten"),
    (0, b"DSD ", "DSD"),
    (0, b"FRM8", "DSD (DSDIFF)"),
    (0, b".RMF", "RealMedia"),
    (0, b".ra\xfd", "RealAudio"),
    (0, b"FLV\x01", "Flash video"),
    (0, b"\x0b\x77", "AC-3"),
    (0, b"\x7f\xfe\x80\x01", "DTS"),
    (0, b"\x00\x00\x01\xba", "MPEG video"),
    (0, b"MThd", "MIDI: notes, no sound"),
)
OTHERS = (
    (0, b"version https://git-lfs", "a Git LFS pointer, not the file that it stands for: fetch that with git lfs pull"),
    (0, b"PK\x03\x04", "a ZIP archive: unpack it first"),
    (0, b"\x1f\x8b", "gzip data: unpack it first"),
    (0, b"BZh", "bzip2 data: unpack it first"),
    (0, b"\xfd7zXZ", "xz data: unpack it first"),
    (0, b"\x28\xb5\x2f\xfd", "zstd data: unpack it first"),
    (0, b"Rar!", "a RAR archive: unpack it first"),
    (0, b"7z\xbc\xaf", "a 7z archive: unpack it first"),
    (257, b"ustar", "a tar archive: unpack it first"),
    (0, b"\x00\x05\x16\x07", "what macOS keeps beside a file (AppleDouble), not the file itself"),
    (0, b"%PDF", "a PDF"),
    (0, b"\x89PNG", "a picture (PNG)"),
    (0, b"\xff\xd8\xff", "a picture (JPEG)"),
    (0, b"GIF8", "a picture (GIF)"),
    (0, b"<!DOCTYPE", "a web page, perhaps an error message of the server that it came from"),
    (0, b"<html", "a web page, perhaps an error message of the server that it came from"),
)


def explain(file: BinaryIO, name: str) -> str | None:
    """Name what a file is, and what to do, in one line; None where it is nothing known.

    file: can seek; its position is moved. name: its path, for the remedy.
    """
    if (audio := foreign_audio(file)) is not None:
        return f"{audio} is not read here; {remedy(name, audio)}"
    head = _head(file)
    return next((text for at, magic, text in OTHERS if head[at:].startswith(magic)), None)


def remedy(name: str, audio: str = "") -> str:
    """The command that turns a file into one that is read."""
    path = Path(name)
    if "shorten" in audio.lower():
        return f"convert it, for instance with: sph2pipe -f wav {shlex.quote(name)} {shlex.quote(path.stem + '.wav')}"
    target = path.stem + ("_converted" if path.suffix.lower() == ".wav" else "") + ".wav"
    source = shlex.quote(name) if path.suffix else "INPUT"
    return f"convert it, for instance with: ffmpeg -i {source} {shlex.quote(target) if path.suffix else 'OUTPUT.wav'}"


def foreign_audio(file: BinaryIO) -> str | None:
    """Container and codec of an audio or video file that libsndfile does not read; None for anything else."""
    head = _head(file)
    if head[4:8] == b"ftyp" or head[4:8] in (b"moov", b"mdat", b"wide"):
        codec = _mp4_codec(file)
        return f"{codec} in MP4 (M4A)" if codec else "MP4 (M4A)"
    if head[:4] == b"\x1a\x45\xdf\xa3":
        return _named(_matroska_codec(head), "WebM" if b"webm" in head[:64] else "Matroska")
    if head[:4] == b"OggS":
        codec = _ogg_codec(head)
        return codec and f"{codec} in Ogg"
    if head[:4] in (b"RIFF", b"RIFX"):
        return _riff_codec(head)
    if head[:4] == b"caff":
        codec = head[28:32].decode("latin-1").strip()
        return None if codec in READ_CAF_CODECS else f"{'AAC' if codec.startswith('aac') else codec} in CAF"
    if head[:8] == b"NIST_1A\n" and b"shorten" in head[:1024].lower():
        return "NIST SPHERE with Shorten compression"
    if len(head) > 7 and head[0] == 0xFF and head[1] & 0xF6 == 0xF0 and head[2] >> 2 & 15 < 13:
        return "AAC (ADTS)"
    if len(head) > 376 and head[0] == head[188] == head[376] == 0x47:
        return "MPEG transport stream"
    return next((name for at, magic, name in MAGICS if head[at:].startswith(magic)), None)


def _named(codec: str | None, container: str) -> str:
    return f"{codec} in {container}" if codec else container


def _head(file: BinaryIO) -> bytes:
    file.seek(0)
    return file.read(HEAD_BYTES)


def _mp4_codec(file: BinaryIO) -> str | None:
    """The first audio codec that the index of an MP4 file names (ISO 14496-12)."""
    stop, position = size_bytes(file), 0
    while position + 8 <= stop:
        file.seek(position)
        header = file.read(16)
        size = int.from_bytes(header[:4], "big")
        if size == 1:
            size = int.from_bytes(header[8:16], "big")
        if header[4:8] == b"moov":
            file.seek(position)
            index = file.read(min(size or MAX_MOOV_BYTES, MAX_MOOV_BYTES))
            codecs = [
                MP4_CODECS.get(match[1].decode("latin-1")) for match in re.finditer(rb"stsd.{12}(.{4})", index, re.S)
            ]
            return next(filter(None, codecs), None)
        if size < 8:
            return None
        position += size
    return None


def _matroska_codec(head: bytes) -> str | None:
    found = re.search(rb"A_[A-Z0-9_/]{2,20}", head)
    if found is None:
        return None
    name = found[0].decode()
    return next((codec for start, codec in MATROSKA_CODECS.items() if name.startswith(start)), name)


def _ogg_codec(head: bytes) -> str | None:
    packet = head[28:36] if len(head) > 27 and head[26] == 1 else b""
    return next((codec for magic, codec in OGG_CODECS.items() if packet.startswith(magic)), None)


def _riff_codec(head: bytes) -> str | None:
    if head[8:12] == b"AVI ":
        return "AVI video"
    at = head.find(b"fmt ")
    if head[8:12] != b"WAVE" or at < 0:
        return None
    order = "big" if head[:4] == b"RIFX" else "little"
    tag = int.from_bytes(head[at + 8 : at + 10], order)  # type: ignore[arg-type]
    if tag in READ_WAV_CODECS:
        return None
    return f"{WAV_CODECS[tag]} in WAV" if tag in WAV_CODECS else f"WAV with codec 0x{tag:04X}"
