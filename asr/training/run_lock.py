"""The lock of a run directory: of two processes that would train in it, one does.

The lock is the operating system's and ends with the process that holds it, however that ends: nothing has to be cleaned
up after a crash. Of processes that train together the first one holds it for all. On a network file system it holds
between machines where that system passes locks on, as NFS from version 4 on does; where it knows no locks there is
none.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from asr.errors import ConfigError, OutputError

LOCK = ".lock"
IN_USE = (BlockingIOError, PermissionError)  # what a system answers for a file that another process has locked


@contextmanager
def locked(run_dir: Path) -> Iterator[None]:
    """Inside the block no other process trains in `run_dir`, which is made if need be.

    Raises `ConfigError` when another one does, `OutputError` where the directory cannot be written.
    """
    path = run_dir / LOCK
    try:
        run_dir.mkdir(parents=True, exist_ok=True)
        file = path.open("ab+", buffering=0)
    except OSError as error:
        raise OutputError(
            f"{run_dir} cannot be written: {error.strerror or error}; choose another directory (run_dir=…)"
        ) from error
    with file:
        try:
            _lock(file)
        except IN_USE:
            raise ConfigError(
                f"another process trains in {run_dir}{_owner(path)}: wait until it ends, or choose another directory "
                "(run_dir=…)"
            ) from None
        with suppress(OSError):  # who it is helps, and is no part of the lock
            file.truncate(0)
            file.write(f"process {os.getpid()} on {socket.gethostname()}".encode())
        yield


def is_locked(run_dir: Path) -> bool:
    """Whether a process trains in a directory now, as far as this machine can tell."""
    try:
        with (run_dir / LOCK).open("rb+") as file:
            _lock(file)
    except IN_USE:
        return True
    except OSError:
        return False
    return False


def _owner(path: Path) -> str:
    try:
        text = path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:  # Windows lets nobody read what is locked
        return ""
    return f" ({text})" if text else ""


def _lock(file: IO[bytes]) -> None:
    """Lock an open file until it is closed. Raises one of `IN_USE` where another process has it."""
    if os.name == "nt":
        import msvcrt

        file.seek(0)
        msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined, unused-ignore]
        return
    import fcntl

    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except IN_USE:
        raise
    except OSError:  # this file system knows no locks: then there is none
        return
