"""What has become of a run: `state.json` and, when it has come to its end, `result.json` of its directory."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from asr.errors import AsrError, Interrupted
from asr.files import write_json
from asr.training.run_lock import is_locked

STATE, RESULT = "state.json", "result.json"
State = Literal["running", "stopped", "finished", "failed"]


@dataclass(frozen=True, slots=True)
class Result:
    """What a run has come to."""

    epochs: int  # that were trained
    planned_epochs: int
    seconds: float  # of training and validation
    criterion: str
    exported: str  # which epochs, and why
    figures: Mapping[str, float] = field(default_factory=dict)  # of the exported model on the development set

    def write(self, run_dir: Path) -> None:
        """Write result.json."""
        write_json(run_dir / RESULT, asdict(self))


def read_result(run_dir: Path) -> Result | None:
    """The result of a run that has come to its end."""
    try:
        return Result(**json.loads((run_dir / RESULT).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None


@contextmanager
def recording_state(run_dir: Path) -> Iterator[None]:
    """Write down that a run begins, and how the block ends."""
    _write(run_dir, "running")
    try:
        yield
    except (Interrupted, KeyboardInterrupt):
        _write(run_dir, "stopped")
        raise
    except AsrError as error:
        _write(run_dir, "failed", str(error))
        raise
    except BaseException as error:
        _write(run_dir, "failed", f"{type(error).__name__}: {error}")
        raise
    _write(run_dir, "finished")


def read_state(run_dir: Path) -> tuple[State, str] | None:
    """What has become of a run, and why it failed; None where none ran. One that was killed counts as stopped."""
    try:
        record: dict[str, Any] = json.loads((run_dir / STATE).read_text(encoding="utf-8"))
        state, reason = record["state"], str(record.get("reason", ""))
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    if state == "running" and not is_locked(run_dir):
        return "stopped", "it was killed"
    return state, reason


def _write(run_dir: Path, state: State, reason: str = "") -> None:
    try:
        write_json(run_dir / STATE, {"state": state, **({"reason": reason} if reason else {})})
    except AsrError:
        if state == "running":
            raise  # else what ended the run, such as a full disk, is what must be heard
