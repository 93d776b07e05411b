"""Progress bars go to standard error: standard output belongs to results, and is often a file."""

from collections.abc import Iterable
from typing import TypeVar

from rich.console import Console
from rich.progress import track as rich_track

Item = TypeVar("Item")


def track(items: Iterable[Item], title: str, *, total: int | None = None, shown: bool) -> Iterable[Item]:
    """Pass items on, with a bar on standard error that goes when it is done; total: how many, where no len() says."""
    return rich_track(items, title, total=total, console=Console(stderr=True), transient=True, disable=not shown)
