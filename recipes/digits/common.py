"""What both corpora of digits share."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeAlias

from asr.errors import ConfigError

WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
SPLITS = ("train", "dev", "test-strings", "test-singles")

Report: TypeAlias = Callable[
    [int, int], None
]  # gets the utterances made since the last call, and those of the whole corpus


def check_at_least(lowest: int, **options: int) -> None:
    """Raise `ConfigError` for an option below `lowest`."""
    for name, value in options.items():
        if value < lowest:
            raise ConfigError(f"option {name}: expected {lowest} or more, got {value}")


@contextlib.contextmanager
def thread_pool(num_threads: int) -> Iterator[ThreadPoolExecutor]:
    """A pool that drops what it has not begun when the block ends, so that Ctrl-C need not wait for it."""
    pool = ThreadPoolExecutor(num_threads)
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)
