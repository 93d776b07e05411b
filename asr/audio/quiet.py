"""Silence for the C library inside libsndfile that prints on standard error what is no news to anybody.

mpg123 prints a line for every MP3 frame whose beginning lies before the place where reading starts, which happens
after each seek, and for every broken frame. libsndfile has no option against it.
"""

from __future__ import annotations

import ctypes
import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager


class _CStandardError:
    """The C library's own `stderr`, a pointer that can lead elsewhere for a while.

    File descriptor 2 stays as it is, so that what Python prints, in any thread, arrives. What other C code prints in
    the meantime is lost. Where the C library has no such pointer (musl, Windows) nothing is silenced.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._num_users = 0
        self._usual: int | None = None
        self._pointer = _find_pointer()
        self._nowhere = _open_nowhere() if self._pointer is not None else None

    @contextmanager
    def silenced(self) -> Iterator[None]:
        """Throw away what C code prints until the block ends; may be entered by several threads at once."""
        if self._pointer is None or self._nowhere is None:
            yield
            return
        with self._lock:
            if self._num_users == 0:
                self._usual, self._pointer.value = self._pointer.value, self._nowhere
            self._num_users += 1
        try:
            yield
        finally:
            with self._lock:
                self._num_users -= 1
                if self._num_users == 0:
                    self._pointer.value = self._usual

    def restore(self) -> None:
        """Begin anew in a process that was forked while another thread was inside."""
        self._lock = threading.Lock()
        if self._num_users and self._pointer is not None:
            self._pointer.value = self._usual
        self._num_users = 0


def _find_pointer() -> ctypes.c_void_p | None:
    names = {"linux": "stderr", "darwin": "__stderrp"}
    if sys.platform not in names or (sys.platform == "linux" and not _is_glibc()):
        return None
    try:
        return ctypes.c_void_p.in_dll(ctypes.CDLL(None), names[sys.platform])
    except (OSError, ValueError):
        return None


def _is_glibc() -> bool:
    """Whether `stderr` is a variable: in musl it is a constant, and writing to it would end the process."""
    try:
        return bool(os.confstr("CS_GNU_LIBC_VERSION"))
    except (OSError, ValueError):
        return False


def _open_nowhere() -> int | None:
    fopen = ctypes.CDLL(None).fopen
    fopen.argtypes, fopen.restype = (ctypes.c_char_p, ctypes.c_char_p), ctypes.c_void_p
    opened: int | None = fopen(os.devnull.encode(), b"w")
    return opened


_C_STANDARD_ERROR = _CStandardError()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_C_STANDARD_ERROR.restore)

c_library_silenced = _C_STANDARD_ERROR.silenced
