"""asr/kernels.py: machine code in the cache does not outlive what it was made of, in whatever file that stands."""

import importlib
import sys

import numpy as np
import pytest

CONSTANTS = "LIMIT = {limit}\n"
INNER = """
from asr.kernels import kernel

@kernel
def inner(x):
    return x + {added}
"""
MIDDLE = """
from asr.kernels import kernel
from stale_inner import inner

@kernel
def middle(x):
    return inner(x)
"""
OUTER = """
import numpy as np
from asr.kernels import array_kernel
from stale_constants import LIMIT
from stale_middle import middle

@array_kernel
def outer(xs):
    ys = np.empty_like(xs)
    for i in range(len(xs)):
        ys[i] = min(_own(xs[i]), LIMIT)
    return ys

@array_kernel
def _own(x):
    return middle(x)
"""


@pytest.fixture
def outer(tmp_path, monkeypatch):
    """A kernel that is built on three other files, imported as if in a new process; how much it adds, up to what."""
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)

    def build(added: int, limit: int):
        sources = {"constants": CONSTANTS.format(limit=limit), "inner": INNER.format(added=added)}
        for name, source in {**sources, "middle": MIDDLE, "outer": OUTER}.items():
            (tmp_path / f"stale_{name}.py").write_text(source)
            sys.modules.pop(f"stale_{name}", None)
        importlib.invalidate_caches()
        return importlib.import_module("stale_outer").outer

    yield build
    for name in ("constants", "inner", "middle", "outer"):
        sys.modules.pop(f"stale_{name}", None)


def call(kernel):
    """What a kernel makes of 1 and 5, and how often its code came from the cache."""
    values = kernel(np.array([1, 5])).tolist()
    return values, sum(kernel.stats.cache_hits.values())


def test_a_kernel_of_an_unchanged_source_comes_from_the_cache(outer):
    assert call(outer(added=1, limit=100)) == ([2, 6], 0)
    assert call(outer(added=1, limit=100)) == ([2, 6], 1)


def test_a_kernel_two_files_away_that_changes_is_compiled_in(outer):
    call(outer(added=1, limit=100))
    assert call(outer(added=10, limit=100)) == ([11, 15], 0)


def test_an_imported_constant_that_changes_is_compiled_in(outer):
    call(outer(added=1, limit=100))
    assert call(outer(added=1, limit=3)) == ([2, 3], 0)


def test_every_kernel_that_is_built_on_other_files_is_guarded():
    from numba.core.dispatcher import Dispatcher

    for name in ("asr.decoding.labelling_scores", "asr.decoding.search_kernel", "asr.ngram.trie", "asr.ngram.lookup"):
        module = importlib.import_module(name)
        own = [value for value in vars(module).values() if isinstance(value, Dispatcher) and value.__module__ == name]
        assert own
        assert all(isinstance(kernel._cache._cache_file._source_stamp, tuple) for kernel in own), name
