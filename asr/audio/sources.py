"""Whatever holds audio (a path, a pipe, a file object), opened and looked over before it is decoded."""

from __future__ import annotations

import io
import os
import stat
import sys
import tempfile
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO, TypeAlias, cast

from asr.audio.containers import RelabelledMp3, find_damage, read_mp3_start, size_bytes, survey_mp3
from asr.audio.decoders import AudioInfo, Decoder, FileDecoder
from asr.errors import AudioError

Source: TypeAlias = "str | os.PathLike[str] | BinaryIO"

STDIN = "-"  # as a source: standard input
MAX_PIPE_BYTES = 2 << 30  # ten hours of 16 kHz WAV are 1.2 GB
PIPE_MEMORY_BYTES = 16 << 20  # what a pipe brings beyond this goes to a temporary file
PIPE_CHUNK_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class OpenSource:
    """A source that is ready to be read."""

    name: str  # for messages: the path as given
    info: AudioInfo
    decoder: Decoder
    damage: str | None  # what its structure says is wrong; None where nothing, or where that was not asked


def probe(source: Source) -> AudioInfo:
    """Read the header only. `source` is as in `open_audio`; a pipe is used up.

    Raises:
        AudioError: not a readable audio file.
    """
    with ExitStack() as stack:
        file = _open_file(source, stack, MAX_PIPE_BYTES)
        info = _decoder(file.name, file.readable(), stack).info
        if info.container == "MP3" and not _states_its_length(file.file):
            return replace(info, num_samples=None)
        return info


def _states_its_length(file: BinaryIO) -> bool:
    start = read_mp3_start(file)
    return start is not None and start.promised_frames is not None


def open_source(source: Source, stack: ExitStack, max_pipe_bytes: int) -> OpenSource:
    """Open `source` until `stack` closes, and look into its structure for damage.

    Raises:
        AudioError: see `asr.audio.open_audio`.
    """
    file = _open_file(source, stack, max_pipe_bytes)
    damage, survey = find_damage(file.file), survey_mp3(file.file)
    if survey is not None:
        damage = survey.damage
    if survey is not None and survey.length_is_wrong:
        decoder = _decoder(file.name, RelabelledMp3(file.file, survey), stack)
    else:
        decoder = _decoder(file.name, file.readable(), stack)
    return OpenSource(file.name, decoder.info, decoder, damage)


def _decoder(name: str, file: BinaryIO | io.RawIOBase | int, stack: ExitStack) -> FileDecoder:
    decoder = FileDecoder(name, file)
    stack.callback(decoder.close)
    return decoder


@dataclass(frozen=True, slots=True)
class _File:
    """A file that can seek. libsndfile reads a path's by descriptor: faster, and without the interpreter lock."""

    name: str
    file: BinaryIO
    has_descriptor: bool

    def readable(self) -> BinaryIO | int:
        """What to give to soundfile, at its beginning."""
        if not self.has_descriptor:
            self.file.seek(0)
            return self.file
        os.lseek(self.file.fileno(), 0, os.SEEK_SET)  # not file.seek, which may stay inside its buffer
        return self.file.fileno()


def _open_file(source: Source, stack: ExitStack, max_pipe_bytes: int) -> _File:
    if isinstance(source, (str, os.PathLike)) and os.fspath(source) != STDIN:
        return _open_path(os.fspath(source), stack, max_pipe_bytes)
    if isinstance(source, (str, os.PathLike)):
        return _open_object("standard input", sys.stdin.buffer, stack, max_pipe_bytes)
    if hasattr(source, "read") and not isinstance(source, io.TextIOBase):
        name = getattr(source, "name", None)  # of a pipe, its number
        return _open_object(name if isinstance(name, str) else "the file object", source, stack, max_pipe_bytes)
    raise AudioError(f"expected a path or a binary file object, got {type(source).__name__}")


def _open_object(name: str, file: BinaryIO, stack: ExitStack, max_pipe_bytes: int) -> _File:
    try:
        file.seek(0)
    except (OSError, AttributeError):  # the latter from objects that have no more than `read`
        return _buffer(name, file, stack, max_pipe_bytes)
    return _not_empty(_File(name, file, has_descriptor=False))


def _open_path(path: str, stack: ExitStack, max_pipe_bytes: int) -> _File:
    try:
        file = stack.enter_context(Path(path).open("rb"))  # noqa: SIM115 - the stack closes it
    except OSError as error:
        raise AudioError(f"{path}: cannot be opened: {error.strerror}") from error
    except ValueError as error:  # a NUL in the name
        raise AudioError(f"{path!r}: cannot be opened: {error}") from error
    mode = os.fstat(file.fileno()).st_mode
    if stat.S_ISFIFO(mode):
        return _buffer(path, file, stack, max_pipe_bytes)
    if not stat.S_ISREG(mode):
        raise AudioError(f"{path}: expected a file or a pipe, got a device")
    return _not_empty(_File(path, file, has_descriptor=True))


def _not_empty(file: _File) -> _File:
    if size_bytes(file.file) == 0:
        raise AudioError(f"{file.name}: the file is empty (0 bytes)")
    return file


def _buffer(name: str, pipe: BinaryIO, stack: ExitStack, max_pipe_bytes: int) -> _File:
    """Copy what cannot seek to where it can."""
    spooled = tempfile.SpooledTemporaryFile(PIPE_MEMORY_BYTES)  # noqa: SIM115 - the stack closes it
    copy = cast(BinaryIO, stack.enter_context(spooled))
    num_bytes = 0
    while chunk := pipe.read(PIPE_CHUNK_BYTES):
        num_bytes += len(chunk)
        if num_bytes > max_pipe_bytes:
            raise AudioError(
                f"{name}: expected at most {max_pipe_bytes} bytes from a pipe, got more; save them to a file first"
            )
        copy.write(chunk)
    if num_bytes == 0:
        raise AudioError(f"{name}: the pipe is empty (0 bytes)")
    return _File(name, copy, has_descriptor=False)
