"""Whole files or none: what a reader finds under the final name is complete, also after a power cut."""

import hashlib
import json
import os
import shutil
import stat
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from asr.errors import OutputError

NAME_SHOWN = 40  # characters of a file's name in that of its temporary file: names have an end at 255 bytes
LOCK = "lock"  # of a scratch folder; its owner holds it


def refuse_same_file(output: str | Path, inputs: Iterable[str | Path]) -> None:
    """Raise `OutputError` when writing `output` would replace one of `inputs`, by whatever name or link."""
    for given in inputs:
        try:
            same = Path(output).samefile(given)
        except OSError:  # one of them is not there
            same = Path(output).resolve() == Path(given).resolve()
        if same:
            raise OutputError(f"{output} would be written over {given}, which is read; name another file")


def check_output(path: str | Path) -> None:
    """Raise `OutputError` when a file cannot be written, before the work that would go into it; nothing is written."""
    path = Path(path)
    try:
        if path.is_dir():
            raise OutputError(f"{path} cannot be written: a directory of that name is there; choose another place")
        _lstat(path)  # too long a name is found here
    except OSError as error:
        raise OutputError(f"{path} cannot be written: {error.strerror or error}; choose another place") from error
    check_output_directory(path.parent, path)


def check_output_directory(directory: str | Path, output: str | Path | None = None) -> None:
    """Raise `OutputError` when no files can be written into a directory, be it there or to be made.

    output: what the message names; without it, the directory.
    """
    existing = next(path for path in (Path(directory), *Path(directory).absolute().parents) if os.path.lexists(path))
    output = output or directory
    if not existing.is_dir():
        raise OutputError(f"{output} cannot be written: {existing} is no directory; choose another place")
    if not os.access(existing, os.W_OK | os.X_OK):
        raise OutputError(f"{output} cannot be written: {existing} cannot be written to; choose another place")


def _lstat(path: Path) -> None:
    with suppress(FileNotFoundError, NotADirectoryError):
        path.lstat()


def sync_directory(directory: Path) -> None:
    """Make renames inside `directory` survive a power cut; Windows has no such call."""
    if os.name == "nt":
        return
    handle = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """Give a temporary path for `path`; what was written there takes its place when the block ends without error."""
    path = Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with scratch_folder(path) as folder:
            temporary = folder / f"new{path.suffix}"
            yield temporary
            put_in_place(temporary, path)
    except OSError as error:
        raise OutputError(
            f"{path} cannot be written: {error.strerror or error}; what was there before is untouched. "
            "Choose a place that is writable and has room"
        ) from error


@contextmanager
def scratch_folder(path: Path) -> Iterator[Path]:
    """An empty folder beside `path` that nobody else uses, for what will become `path`; it is gone after the block.

    What a killed process left is cleared away by the next that writes the same file on the same machine. It is told
    from what is in use by a lock, which ends with its process and which all processes of one running kernel see; on
    another machine, or after a restart, that would be guessing, and it is left alone.
    """
    start = f".{path.name[:NAME_SHOWN]}."
    kernel = _running_kernel()
    folder = path.with_name(start + kernel)
    lock = _take(folder) if kernel else None
    if lock is None:  # the same file is being written just now, or there are no locks
        folder = Path(tempfile.mkdtemp(dir=path.parent, prefix=start))
    try:
        yield folder
    finally:
        _empty(folder)
        _give_up(folder)
        if lock is not None:
            os.close(lock)


def _running_kernel() -> str:
    """What tells this start of this machine from every other; only Linux says it, elsewhere it is empty."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_bytes()[:8].decode()
    except OSError:
        return ""


def _take(folder: Path) -> int | None:
    """Make a folder this process's own, and empty; the handle of its lock, or None where that cannot be."""
    import fcntl  # not on Windows

    try:
        folder.mkdir(mode=0o700)
    except FileExistsError:
        if not _is_own(folder):
            return None
    try:
        handle = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
    except FileNotFoundError:  # who had it has just given it up
        return None
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.path.samestat(os.fstat(handle), (folder / LOCK).stat()):  # else the one before deleted it meanwhile
            _empty(folder)
            return handle
    except (BlockingIOError, FileNotFoundError):  # in use; or given up just now
        pass
    except OSError:  # no locks on this file system
        _give_up(folder)
    os.close(handle)
    return None


def _is_own(folder: Path) -> bool:
    """Whether a folder is this user's, and no link: where everybody may write anything might lie."""
    try:
        status = folder.lstat()
    except FileNotFoundError:
        return False
    return stat.S_ISDIR(status.st_mode) and status.st_uid == os.geteuid()


def _empty(folder: Path) -> None:
    """Delete everything in a folder but its lock."""
    for entry in folder.iterdir():
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry)
        elif entry.name != LOCK:
            entry.unlink()


def _give_up(folder: Path) -> None:
    """Delete an empty folder, unless another process takes it in the moment in which its lock is gone."""
    (folder / LOCK).unlink(missing_ok=True)
    with suppress(OSError):
        folder.rmdir()


def put_in_place(temporary: Path, path: Path) -> None:
    """Rename a finished temporary file of the same file system, so that the new name survives a power cut whole."""
    with temporary.open("rb+") as file:
        os.fsync(file.fileno())
    set_usual_mode(temporary)
    temporary.replace(path)
    sync_directory(path.parent)


def set_usual_mode(path: Path) -> None:
    """Let a file be read and written by whom the umask says: some writers give it to its owner alone."""
    path.chmod(0o666 & ~_umask())


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def write_text(path: str | Path, text: str) -> None:
    """Write a UTF-8 file, whole or not at all."""
    with replacing(path) as temporary:
        # A file name or id that is not UTF-8 comes as lone surrogates: escaped they lose nothing, in JSON least of all.
        temporary.write_bytes(text.encode("utf-8", errors="backslashreplace"))


def write_json(path: str | Path, value: Any) -> None:
    """Write a JSON file, whole or not at all; NaN and infinity are refused, as JSON has none."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def sha256(path: str | Path) -> str:
    """The hexadecimal SHA-256 of a file."""
    digest = hashlib.sha256()
    with Path(path).open("rb") as file:
        for block in iter(lambda: file.read(1 << 20), b""):
            digest.update(block)
    return digest.hexdigest()


def write_json_lines(path: str | Path, rows: Iterable[Any]) -> None:
    """Write one JSON value a line, whole or not at all."""
    with (
        replacing(path) as temporary,
        temporary.open("w", encoding="utf-8", errors="backslashreplace", newline="\n") as file,
    ):
        for row in rows:
            file.write(json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n")
