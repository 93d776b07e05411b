"""Work done ahead by threads, results in order, and no more of them waiting than asked for."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

MAX_THREADS = 8  # beyond these a disk is what is waited for


def num_cores() -> int:
    """The cores that this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def num_usable_cores() -> int:
    """The cores that this process may run on, at most MAX_THREADS."""
    return min(num_cores(), MAX_THREADS)


def map_ahead(work: Callable[[Item], Result], items: Iterable[Item], num_threads: int) -> Iterator[Result]:
    """`map` by threads: at most `num_threads` + 1 results wait to be taken. An error arrives at its place.

    Whoever stops taking results stops the work; what was begun ends by itself and is not waited for. An iterator that
    an error left behind is closed by the garbage collector, which may run while any lock is held: one that joining a
    thread needs was among them.
    """
    pool = ThreadPoolExecutor(num_threads)
    ahead: deque[Future[Result]] = deque()
    try:
        for item in items:
            ahead.append(pool.submit(work, item))
            if len(ahead) > num_threads + 1:
                yield ahead.popleft().result()
        while ahead:
            yield ahead.popleft().result()
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
