"""Unpacking archives safely, and directories that appear whole or not at all."""

from __future__ import annotations

import contextlib
import errno
import gzip
import lzma
import secrets
import shutil
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import IO

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

from asr.errors import CorpusError

CHUNK_BYTES = 1 << 18
# RuntimeError and NotImplementedError are zipfile's words for an encrypted member and an unknown compression.
DAMAGE = (tarfile.TarError, zipfile.BadZipFile, gzip.BadGzipFile, zlib.error, lzma.LZMAError, EOFError, RuntimeError)


def unpack(archive: str | Path, directory: str | Path, *, progress: bool = True) -> Path:
    """Unpack a tar (plain, gz, bz2, xz) or zip archive into the new `directory`; return it.

    Every member is looked at before the first is written. Files and folders are taken, with ordinary
    permissions; a link, a device, a pipe, an absolute path or one with `..` refuses the whole archive.

    Raises `CorpusError`, and leaves nothing behind, for such an archive, for one that is damaged, encrypted
    or larger than the free disk, and when `directory` is there already and not empty.
    """
    archive, directory = Path(archive), Path(directory)
    try:
        with _open_archive(archive, progress) as members:
            _check_members(archive, members)
            with whole_directory(directory) as temporary:
                check_space(temporary, sum(member.size_bytes for member in members), f"unpacking {archive}")
                _extract(members, temporary, progress_bar(progress))
    except DAMAGE as error:
        raise explain_damage(archive, error) from error
    except OSError as error:
        raise CorpusError(f"cannot read {archive}: {error.strerror or error}") from error
    return directory


def unpack_into(tar: tarfile.TarFile, directory: str | Path, *, progress: bool = True) -> None:
    """Unpack an open tar archive into `directory`, which may hold other things already; files of one name are lost.

    Every member is looked at before the first is written, as by `unpack`, and the archive is read to its end, where
    gzip and xz keep their check sums.

    Raises `CorpusError`, with nothing written, when a member is refused or the disk is too small, and one of
    `DAMAGE` for an archive that is not whole: seen before anything is written, too.
    """
    archive, directory = Path(str(tar.name)), Path(directory)
    members = _tar_members(tar, progress)
    _check_members(archive, members)
    with explain_disk_errors(directory):
        directory.mkdir(parents=True, exist_ok=True)
    check_space(directory, sum(member.size_bytes for member in members), f"unpacking {archive}")
    _extract(members, directory, progress_bar(progress))


def explain_damage(archive: Path, error: Exception) -> CorpusError:
    """What to say of an archive whose reading ended in one of `DAMAGE`."""
    reason = next(iter(str(error).splitlines()), "its end")
    return CorpusError(f"{archive}: expected a whole archive, got: {reason}; remove it and download it again")


@contextlib.contextmanager
def whole_directory(directory: str | Path, *, replaces: Collection[str] = ()) -> Iterator[Path]:
    """Give an empty hidden sibling of `directory` to fill; it takes that name when the block ends well.

    When the block raises, the sibling is removed and `directory` is as it was. An earlier `directory` may
    hold only entries named in `replaces`, which are lost; anything else in it raises `CorpusError` at once.
    """
    directory = Path(directory).absolute()
    _check_replaceable(directory, replaces)
    temporary = directory.with_name(f".{directory.name}.{secrets.token_hex(4)}.tmp")
    with explain_disk_errors(temporary):
        temporary.mkdir(parents=True)
    try:
        yield temporary
        with explain_disk_errors(directory):
            _move_into_place(temporary, directory)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def check_space(directory: Path, needed_bytes: int, what: str) -> None:
    """Raise `CorpusError` when the disk of `directory` has less than `needed_bytes` free for `what`."""
    free_bytes = shutil.disk_usage(directory).free
    if needed_bytes > free_bytes:
        raise CorpusError(
            f"{what} needs {needed_bytes / 1e6:,.1f} MB, but {directory} has {free_bytes / 1e6:,.1f} MB free; "
            "make room or choose another disk"
        )


@contextlib.contextmanager
def explain_disk_errors(path: Path) -> Iterator[None]:
    """Turn an `OSError` of writing `path` into a `CorpusError` that says what to do."""
    try:
        yield
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        advice = "make room or choose another disk, then run this again" if full else "check the folder"
        raise CorpusError(f"cannot write {path}: {error.strerror or error}; {advice}") from error


def progress_bar(shown: bool) -> Progress:
    """Bar of bytes on standard error, silent when that is not a terminal."""
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    return Progress(*columns, TimeRemainingColumn(), console=console, disable=not (shown and console.is_terminal))


@dataclass(frozen=True, slots=True)
class _Member:
    name: str
    kind: str  # "file" and "folder" are taken; any other word is what the refusal calls it
    size_bytes: int
    open: Callable[[], IO[bytes] | None]


@contextlib.contextmanager
def _open_archive(path: Path, progress: bool) -> Iterator[list[_Member]]:
    if tarfile.is_tarfile(path):
        with tarfile.open(path, "r:*") as tar:
            yield _tar_members(tar, progress)
    elif zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as file:
            yield [_Member(e.filename, _zip_kind(e), e.file_size, partial(file.open, e)) for e in file.infolist()]
    else:
        raise CorpusError(f"{path}: expected a tar or zip archive, got something else; download it again")


def _tar_members(tar: tarfile.TarFile, progress: bool) -> list[_Member]:
    members = []
    with progress_bar(progress) as bar:
        task = bar.add_task("check", total=None)
        for entry in tar:
            members.append(_Member(entry.name, _tar_kind(entry), entry.size, partial(tar.extractfile, entry)))
            bar.advance(task, entry.size)
        assert tar.fileobj is not None
        while tar.fileobj.read(CHUNK_BYTES):  # to where gzip, bz2 and xz compare their check sums
            pass
        bar.update(task, total=sum(member.size_bytes for member in members))
    return members


def _tar_kind(entry: tarfile.TarInfo) -> str:
    if entry.isfile() or entry.isdir():
        return "file" if entry.isfile() else "folder"
    return "link" if entry.issym() or entry.islnk() else "device or pipe"


def _zip_kind(entry: zipfile.ZipInfo) -> str:
    mode = entry.external_attr >> 16  # of Unix; 0 in archives made elsewhere
    if stat.S_IFMT(mode) in (0, stat.S_IFREG, stat.S_IFDIR):
        return "folder" if entry.is_dir() else "file"
    return "link" if stat.S_ISLNK(mode) else "device or pipe"


def _check_members(archive: Path, members: list[_Member]) -> None:
    for member in members:
        if (reason := _refusal(member.name, member.kind)) is not None:
            raise CorpusError(f"{archive}: refused, nothing was unpacked: member {member.name!r} is {reason}")


def tar_refusal(entry: tarfile.TarInfo) -> str | None:
    """What is wrong with a tar member, such as "a link" or "an absolute path"; None for an ordinary file or folder."""
    return _refusal(entry.name, _tar_kind(entry))


def _refusal(name: str, kind: str) -> str | None:
    place = PurePosixPath(name)
    windows = PureWindowsPath(name)  # sees `\\` and drive letters, which are harmless only elsewhere
    if place.is_absolute() or windows.drive or windows.root:
        return "an absolute path"
    if ".." in place.parts or ".." in windows.parts:
        return "a path that leaves the archive"
    if "\0" in name:
        return "a name with a zero byte"
    return None if kind in ("file", "folder") else f"a {kind}"


def _extract(members: list[_Member], directory: Path, bar: Progress) -> None:
    with bar:
        task = bar.add_task("unpack", total=sum(member.size_bytes for member in members))
        for member in members:
            target = directory / member.name
            with explain_disk_errors(target):
                (target if member.kind == "folder" else target.parent).mkdir(parents=True, exist_ok=True)
            if member.kind == "file":
                _copy(member, target)
                bar.advance(task, member.size_bytes)


def _copy(member: _Member, target: Path) -> None:
    source = member.open()
    assert source is not None  # tarfile's answer for what is no file
    with source:
        with explain_disk_errors(target):
            file = target.open("wb")
        with file:
            while chunk := source.read(CHUNK_BYTES):
                with explain_disk_errors(target):
                    file.write(chunk)


def _check_replaceable(directory: Path, replaces: Collection[str]) -> None:
    if directory.is_dir():
        foreign = sorted(entry.name for entry in directory.iterdir() if entry.name not in replaces)
        if foreign:
            raise CorpusError(
                f"expected {directory} to be absent or empty, got {', '.join(foreign[:5])} in it; "
                "choose another folder or remove this one"
            )
    elif directory.exists() or directory.is_symlink():
        raise CorpusError(f"expected {directory} to be a folder, got a file; choose another folder")


def _move_into_place(temporary: Path, directory: Path) -> None:
    if not directory.exists():
        temporary.rename(directory)
        return
    old = temporary.with_suffix(".old")
    directory.rename(old)
    try:
        temporary.rename(directory)
    except OSError:
        old.rename(directory)
        raise
    shutil.rmtree(old, ignore_errors=True)
