"""Writing audio, and finding the audio files that someone names on a command line."""

from __future__ import annotations

import glob
import os
import secrets
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
import soundfile

from asr.audio.containers import has_known_start
from asr.audio.foreign import FOREIGN_SUFFIXES, foreign_audio, remedy
from asr.audio.mixdown import Waveform
from asr.audio.sources import STDIN
from asr.errors import AudioError

# What a directory is searched for. A file that is named itself is tried whatever its suffix.
AUDIO_SUFFIXES = frozenset(
    {".wav", ".wave", ".flac", ".mp3", ".ogg", ".oga", ".opus", ".aif", ".aiff", ".aifc", ".au", ".snd"}
    | {".caf", ".w64", ".rf64", ".sph", ".nist", ".voc"}
)
# Never looked into: a folder of recordings often has one of these beside each.
OTHER_SUFFIXES = frozenset(
    {".txt", ".json", ".jsonl", ".csv", ".tsv", ".lab", ".textgrid", ".srt", ".vtt", ".ctm", ".stm", ".trn", ".xml"}
    | {".md", ".html", ".htm", ".py", ".sh", ".log", ".yaml", ".yml", ".pdf", ".png", ".jpg", ".jpeg", ".gif", ".svg"}
    | {".zip", ".gz", ".bz2", ".xz", ".zst", ".tar", ".npy", ".npz", ".pt", ".safetensors"}
)
DEEPER = "recordings in subdirectories are read with --recursive"
WRITTEN_FORMATS = {
    ".wav": ("WAV", "PCM_16"),
    ".flac": ("FLAC", "PCM_16"),
    ".ogg": ("OGG", "OPUS"),
    ".opus": ("OGG", "OPUS"),
}
OPUS_SAMPLE_RATES = (8_000, 12_000, 16_000, 24_000, 48_000)  # RFC 6716
INT16_SCALE = 32_768  # what libsndfile divides by on reading, so that 16-bit audio survives rewriting bit for bit


@dataclass(frozen=True, slots=True)
class FoundFiles:
    """What arguments stand for, and an error for each that stands for nothing."""

    paths: tuple[str, ...]  # in the order of the arguments, each once; "-" is standard input
    errors: tuple[AudioError, ...]
    left_out: Mapping[str, str]  # what directories hold besides that is, or looks like, audio -> why it is not taken


def find_audio_files(arguments: Sequence[str], recursive: bool = False) -> FoundFiles:
    """Expand files, directories, globs and "-" (standard input).

    A file is taken whatever its suffix, and so is each file that a glob matches. A directory gives its files with a
    suffix in `AUDIO_SUFFIXES` and those that begin as audio does, sorted, hidden ones left out; with `recursive` those
    of its subdirectories, too, and `**` in a glob spans directories. A name that exists is never read as a glob.
    """
    paths: dict[str, None] = {}  # keeps the order and each path once
    left_out: dict[str, str] = {}
    errors = []
    for argument in arguments:
        try:
            paths.update(dict.fromkeys(_expand(argument, recursive, left_out)))
        except AudioError as error:
            errors.append(error)
    named = {path: reason for path, reason in left_out.items() if path not in paths}
    return FoundFiles(tuple(paths), tuple(errors), named)


def _expand(argument: str, recursive: bool, left_out: dict[str, str]) -> list[str]:
    if argument == STDIN:
        return [STDIN]
    if os.path.isdir(argument):  # noqa: PTH112 - Path drops a leading "./"
        return _in_directory(argument, recursive, left_out)
    if os.path.lexists(argument):
        return [argument]
    if not glob.has_magic(argument):
        raise AudioError(f"{argument}: no such file or directory")
    matches = sorted(filter(os.path.isfile, glob.glob(argument, recursive=recursive)))  # noqa: PTH207
    if not matches:
        raise AudioError(f"{argument}: no file matches")
    return matches


def _in_directory(directory: str, recursive: bool, left_out: dict[str, str]) -> list[str]:
    found: list[str] = []
    for parent, directories, names in os.walk(directory, onerror=_raise_unreadable):
        directories[:] = sorted(name for name in directories if not name.startswith("."))
        if not recursive:
            left_out.update((str(Path(parent, name)), DEEPER) for name in directories if _has_audio(Path(parent, name)))
            directories.clear()
        for name in sorted(names):
            path = Path(parent, name)
            reason = _why_not(path)
            if reason is None:
                found.append(str(path))
            elif reason:
                left_out[str(path)] = reason
    if not found:
        hint = "" if recursive else "; its subdirectories are searched with --recursive"
        raise AudioError(f"{directory}: no audio files in this directory ({_listed(AUDIO_SUFFIXES)}){hint}")
    return sorted(found)


def _has_audio(directory: Path) -> bool:
    names = (name for _, _, names in os.walk(directory) for name in names)
    return any(Path(name).suffix.lower() in AUDIO_SUFFIXES and not name.startswith(".") for name in names)


def _why_not(path: Path) -> str | None:
    """Why a file found in a directory is not taken: empty where it is no audio, None where it is taken."""
    suffix = path.suffix.lower()
    if path.name.startswith("."):
        is_mac = path.name.startswith("._")  # which macOS puts beside a file
        return "it is hidden; name it to have it read" if suffix in AUDIO_SUFFIXES and not is_mac else ""
    if suffix in AUDIO_SUFFIXES:
        return "it is neither a file nor a link to one" if path.exists() and not path.is_file() else None
    if suffix in OTHER_SUFFIXES or not path.is_file():
        return ""
    by_suffix = f"{suffix[1:]} is not read here; {remedy(str(path))}" if suffix in FOREIGN_SUFFIXES else ""
    try:
        with path.open("rb") as file:
            if (audio := foreign_audio(file)) is not None:
                return f"{audio} is not read here; {remedy(str(path), audio)}"
            return None if has_known_start(file) else by_suffix
    except OSError:
        return by_suffix


def _raise_unreadable(error: OSError) -> None:
    raise AudioError(f"{error.filename}: cannot be listed: {error.strerror}") from error


def write_audio(path: str | os.PathLike[str], waveform: Waveform, sample_rate: int) -> None:
    """Write mono audio; whole or, after an error or a kill, not at all.

    16 bits for `.wav` and `.flac`, Opus for `.ogg` and `.opus` (which knows 8, 12, 16, 24 and 48 kHz only).

    Args:
        path: its suffix decides the format; the directory must exist.
        waveform: (N,) float32 in [-1, 1], N > 0.
        sample_rate: Hz.

    Raises:
        AudioError: another suffix, shape or rate; samples outside [-1, 1], NaN or none; a disk that cannot be
            written.
    """
    path = Path(path)
    _check_writable(path, waveform, sample_rate)
    container, encoding = WRITTEN_FORMATS[path.suffix.lower()]
    # No fsync: a corpus is thousands of files, which can be made again after a power cut.
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
    try:
        with temporary.open("xb") as file:
            _write(file, waveform, sample_rate, container, encoding)
        temporary.replace(path)
    except (OSError, soundfile.SoundFileError) as error:
        raise AudioError(f"{path}: cannot be written: {error}") from error
    finally:
        temporary.unlink(missing_ok=True)


def _write(file: BinaryIO, waveform: Waveform, sample_rate: int, container: str, encoding: str) -> None:
    with soundfile.SoundFile(
        file, "w", samplerate=sample_rate, channels=1, format=container, subtype=encoding
    ) as sound:
        if encoding == "PCM_16":
            scaled = np.rint(waveform * INT16_SCALE)
            sound.write(np.clip(scaled, -INT16_SCALE, INT16_SCALE - 1).astype(np.int16))
        else:
            sound.write(waveform.astype(np.float32))


def _check_writable(path: Path, waveform: Waveform, sample_rate: int) -> None:
    suffix = path.suffix.lower()
    if suffix not in WRITTEN_FORMATS:
        raise AudioError(f"{path}: expected a name that ends in {_listed(WRITTEN_FORMATS)}, got {suffix!r}")
    if WRITTEN_FORMATS[suffix][1] == "OPUS" and sample_rate not in OPUS_SAMPLE_RATES:
        raise AudioError(f"{path}: Opus expects {_listed(map(str, OPUS_SAMPLE_RATES))} Hz, got {sample_rate}")
    if waveform.ndim != 1 or waveform.dtype.kind != "f":
        raise AudioError(f"{path}: expected (N,) float samples, got {waveform.shape} {waveform.dtype}")
    if len(waveform) == 0:  # libsndfile would leave a FLAC file without a header
        raise AudioError(f"{path}: expected at least one sample to write, got none")
    peak = float(np.abs(waveform).max(initial=0.0))
    if not peak <= 1:  # NaN compares false
        raise AudioError(f"{path}: expected samples within [-1, 1], got a peak of {peak:g}; scale them first")


def _listed(words: Iterable[str]) -> str:
    return ", ".join(sorted(words, key=lambda word: (len(word), word)))
