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

from asr.audio.containers import has_known_start, search, survey
from asr.audio.decoders import (
    SNDFILE_REASONS,
    UNKNOWN_FORMAT,
    AudioInfo,
    ChainedDecoder,
    Decoder,
    FileDecoder,
    UndecodableError,
)
from asr.audio.flac import read_stream_info
from asr.audio.flac_decoder import FlacDecoder
from asr.audio.foreign import explain, remedy
from asr.audio.layout import Layout
from asr.audio.views import Piece, SplicedFile, size_bytes
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
    """Read the header only, and of containers of pages where these lie.

    `source` is as in `open_audio`; a pipe is used up.

    Raises:
        AudioError: not a readable audio file.
    """
    with ExitStack() as stack:
        file = _open_file(source, stack, MAX_PIPE_BYTES)
        layout = _survey(file, counted=False)
        try:
            opened = _open_layout(file, layout, stack)
        except UndecodableError as error:
            layout, opened = _second_try(file, error, stack, layout.damage, counted=False)
        if opened.info.container == "MP3" and not layout.states_length:
            return replace(opened.info, num_samples=None)
        return opened.info


def open_source(source: Source, stack: ExitStack, max_pipe_bytes: int) -> OpenSource:
    """Open `source` until `stack` closes, and look into its structure for damage.

    Raises:
        AudioError: see `asr.audio.open_audio`.
    """
    file = _open_file(source, stack, max_pipe_bytes)
    layout = _survey(file, counted=True)
    try:
        return _open_layout(file, layout, stack)
    except UndecodableError as error:
        return _second_try(file, error, stack, layout.damage)[1]


def _survey(file: _File, *, counted: bool) -> Layout:
    try:
        return survey(file.file, counted=counted)
    except OSError as error:
        raise AudioError(f"{file.name}: reading from it failed: {error}") from error


def _second_try(
    file: _File, error: UndecodableError, stack: ExitStack, damage: str | None = None, *, counted: bool = True
) -> tuple[Layout, OpenSource]:
    """Look for audio behind other bytes in what libsndfile does not open; else say why it cannot be read."""
    file = file.left_to_python()
    if (reason := explain(file.file, file.name)) is not None:
        raise AudioError(f"{file.name}: cannot be decoded: {reason}") from error
    if damage is not None:
        raise AudioError(f"{file.name}: nothing can be decoded: {damage}") from error
    if has_known_start(file.file):
        raise AudioError(f"{str(error).rstrip('.')}; if a player plays it, {remedy(file.name)}") from error
    layout = search(file.file, counted=counted)
    if layout is None:
        raise AudioError(f"{file.name}: cannot be decoded: {SNDFILE_REASONS[UNKNOWN_FORMAT]}") from error
    return layout, _open_layout(file, layout, stack)


def _open_layout(file: _File, layout: Layout, stack: ExitStack) -> OpenSource:
    decoders = [_open_stream(file, pieces, stack) for pieces in layout.streams]
    alike = [decoder for decoder in decoders if decoder.info.shape == decoders[0].info.shape]
    damage = layout.damage
    if len(alike) < len(decoders):
        damage = damage or (
            f"it holds {len(decoders)} recordings one after the other, of which {len(decoders) - len(alike)} have "
            "another sample rate or number of channels than the first and are not read"
        )
    decoder = alike[0] if len(alike) == 1 else ChainedDecoder(alike)
    return OpenSource(file.name, decoder.info, decoder, damage)


def _open_stream(file: _File, pieces: tuple[Piece, ...] | None, stack: ExitStack) -> Decoder:
    """A decoder of the whole file, or of what the pieces make of it."""

    def open_file(readable: BinaryIO | io.RawIOBase | int) -> FileDecoder:
        decoder = FileDecoder(file.name, readable)
        stack.callback(decoder.close)
        return decoder

    view = None if pieces is None else SplicedFile(file.file, pieces)
    seekable = file.file if view is None else cast(BinaryIO, view)
    stream_info = read_stream_info(seekable)  # before libsndfile is at some place in the same file
    if view is not None:
        view.seek(0)
    decoder = open_file(file.readable() if view is None else view)
    if stream_info is None:
        return decoder
    where = file.tell if view is None else view.tell
    again = file.again if view is None else lambda: seekable
    return FlacDecoder(decoder, again, stream_info, reopen=open_file, where=where)


@dataclass(frozen=True, slots=True)
class _File:
    """A file that can seek. libsndfile reads a path's by descriptor: faster, and without the interpreter lock."""

    name: str
    file: BinaryIO
    has_descriptor: bool

    def tell(self) -> int:
        """Up to where it has been read."""
        return os.lseek(self.file.fileno(), 0, os.SEEK_CUR) if self.has_descriptor else self.file.tell()

    def again(self) -> BinaryIO:
        """The file for Python to read beside libsndfile: without a buffer, which would not know of moved positions."""
        if not self.has_descriptor:
            return self.file
        return cast(BinaryIO, open(self.file.fileno(), "rb", buffering=0, closefd=False))

    def left_to_python(self) -> _File:
        """The file when libsndfile has given it up, with a buffer that knows nothing from before."""
        if not self.has_descriptor:
            return self
        return _File(self.name, open(self.file.fileno(), "rb", closefd=False), has_descriptor=False)

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
