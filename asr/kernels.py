"""Compiled loops: how numba compiles them, and which machine code of an earlier run it may take from its cache.

numba calls cached code fresh as long as the text of the kernel's own file is the same, although the kernels and
constants that the file imports are compiled into it. Here their state belongs to what must be the same.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from numba import njit
from numba.core.dispatcher import Dispatcher

Kernel = Callable[..., Any]

_SETTINGS: dict[str, Any] = {"cache": True, "nogil": True}
# Without numba's reference counts: of arrays that are only passed around they took three quarters of a search's time.
# What such a kernel works with is made by its caller.
_MAKES_NO_ARRAYS: dict[str, Any] = {**_SETTINGS, "_nrt": False}


def _compile(function: Kernel, settings: dict[str, Any]) -> Any:
    compiled = njit(**settings)(function)
    if isinstance(compiled, Dispatcher):  # not with NUMBA_DISABLE_JIT
        cache = _cache_file(compiled)
        cache._source_stamp = (cache._source_stamp, _imported(function))
    return compiled


def _cache_file(compiled: Any) -> Any:
    """Where machine code is kept; numba has no public name for it."""
    return compiled._cache._cache_file


def _imported(function: Kernel) -> str:
    """A hash of what a kernel may have from other files: of constants the value, of kernels the stamp, theirs included.

    Imports stand at the top of a file, so that all of it is there when the kernel is defined.
    """
    parts = []
    for name, value in sorted(function.__globals__.items()):
        if isinstance(value, Dispatcher) and value.__module__ != function.__module__:
            parts.append(f"{name} {_cache_file(value)._source_stamp}")
        elif isinstance(value, np.ndarray):
            parts.append(f"{name} {value.dtype} {value.shape} {value.tobytes().hex()}")
        elif isinstance(value, int | float | np.generic):
            parts.append(f"{name} {value!r}")
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


kernel = partial(_compile, settings=_MAKES_NO_ARRAYS)  # makes no arrays
inlined = partial(_compile, settings={**_MAKES_NO_ARRAYS, "inline": "always"})  # the same, as a part of its callers
array_kernel = partial(_compile, settings=_SETTINGS)  # makes arrays
