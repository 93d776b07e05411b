"""How long a run is to be, and where it was given more epochs than it began with: `changes.jsonl` of its directory."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from asr.errors import CheckpointError
from asr.files import write_json_lines

CHANGES = "changes.jsonl"
EPOCHS = "training.epochs"


@dataclass(frozen=True, slots=True)
class Place:
    """A place in a run, as a schedule of the learning rate sees it."""

    step: int  # since the beginning
    progress: float  # the share that is done: of the run, or of what follows a warm restart; 0-1
    warmed: float  # the share that is done of the run as it was planned when it began: what the warm-up goes by
    is_restarted: bool = False  # after a warm restart


@dataclass(frozen=True, slots=True)
class Course:
    """A run's length in epochs.

        0 ─────── warm-up, then the schedule ─────── restart ─── from a share of the peak down ─── epochs

    first_epochs: what it was when the run began; 0: the same. The warm-up stays what it was then.
    restarts: the epochs at which the run had come to its end and was given a further one, in order.
    """

    epochs: int
    first_epochs: int = 0
    restarts: tuple[int, ...] = ()

    def place(self, step: int, epochs_done: float) -> Place:
        """Where a run is that has made `step` steps, in so many epochs."""
        start = max((epoch for epoch in self.restarts if epoch <= epochs_done), default=0)
        end = min((epoch for epoch in self.restarts if epoch > epochs_done), default=self.epochs)
        return Place(
            step=step,
            progress=(epochs_done - start) / (end - start) if end > start else 1.0,
            warmed=epochs_done / (self.first_epochs or self.epochs),
            is_restarted=start > 0,
        )


def read_course(run_dir: Path, epochs: int) -> Course:
    """The course of a run that is to have so many epochs in all."""
    changes = list(_read(run_dir / CHANGES))
    first = next((change["changes"][EPOCHS][0] for change in changes if EPOCHS in change["changes"]), 0)
    return Course(epochs, first, tuple(sorted({change["epoch"] for change in changes if change["restart"]})))


def record_change(
    run_dir: Path, *, epoch: int, step: int, changes: Mapping[str, tuple[Any, Any]], restart: bool
) -> None:
    """Note that a run goes on with other options from a place on; restart: that its schedule begins anew there."""
    record = {
        "time": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "epoch": epoch,
        "step": step,
        "changes": {name: list(values) for name, values in changes.items()},
        "restart": restart,
    }
    write_json_lines(run_dir / CHANGES, [*_read(run_dir / CHANGES), record])


def _read(path: Path) -> Iterator[dict[str, Any]]:
    if not path.is_file():
        return
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        try:
            change = json.loads(line)
            _ = change["epoch"] + 0, change["restart"], change["changes"].items()
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise CheckpointError(
                f"{path}, line {number}: expected a change of the run's options, got {line[:80]!r}: put the file back "
                "as it was, as the course of the learning rate depends on it, or begin another run"
            ) from error
        yield change
