"""Training runs read back from their directories: which there are, how far they have come, and how well they do."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from asr.training.claim import INTERVALS, NOT_COMPARED, covers, flat
from asr.training.course import EPOCHS
from asr.training.monitor import HISTORY
from asr.training.run_directory import CONFIG
from asr.training.run_state import STATE, read_result, read_state
from asr.training.selection import ranked

NOT_SHOWN = (*NOT_COMPARED, *INTERVALS, EPOCHS)  # among the options in which runs differ; epochs have their own column
DEEPEST = 4  # folders below the one that is asked for
FIGURES = ("wer", "cer", "perplexity", "loss")  # of a validation


@dataclass(frozen=True, slots=True)
class FoundRun:
    """A training run, as its directory shows it."""

    directory: Path
    options: Mapping[str, Any]  # by their full names, without those that say where and on what it runs
    state: str  # running, stopped, finished or failed
    reason: str  # why it failed
    epochs: int  # that are trained
    planned_epochs: int
    seconds: float
    figures: Mapping[str, float]  # on the development set, of the exported model or else of the best epoch so far


def find_runs(directory: Path) -> Iterator[FoundRun]:
    """The training runs in a directory: itself, or those below it, in order of their names."""
    run = _read(directory)
    if run is not None:
        yield run
        return
    yield from _below(directory, DEEPEST)


def _below(directory: Path, depth: int) -> Iterator[FoundRun]:
    if depth == 0 or not directory.is_dir():
        return
    for path in sorted(path for path in directory.iterdir() if path.is_dir() and not path.is_symlink()):
        run = _read(path)
        if run is not None:
            yield run
        else:
            yield from _below(path, depth - 1)


def _read(directory: Path) -> FoundRun | None:
    """The run in a directory; None where there is none."""
    config = _json(directory / CONFIG)
    begun = any((directory / name).exists() for name in (HISTORY, STATE, "checkpoints"))
    if config is None or not begun or not isinstance(config.get("training"), dict):
        return None
    epochs = list(_epochs(directory / HISTORY))
    result = read_result(directory)
    criterion = str(config["training"].get("criterion", "perplexity"))
    state, reason = read_state(directory) or ("finished" if (directory / "model").is_dir() else "stopped", "")
    if result is not None and state == "finished":
        figures, seconds = dict(result.figures), result.seconds
    else:
        best = min(epochs, key=lambda epoch: _rank(epoch, criterion), default={})
        figures, seconds = {name: best[name] for name in FIGURES if name in best}, _seconds(epochs)
    return FoundRun(
        directory=directory,
        options={name: value for name, value in flat(config).items() if not covers(NOT_SHOWN, name)},
        state=state,
        reason=reason,
        epochs=len(epochs),
        planned_epochs=int(config["training"].get("epochs", 0)),
        seconds=seconds,
        figures=figures,
    )


def differing(runs: Sequence[FoundRun]) -> list[str]:
    """The options that are not the same in all runs, by their full names; younger ones than a run are none of it."""
    names = sorted(set.intersection(*(set(run.options) for run in runs)))
    return [name for name in names if any(run.options[name] != runs[0].options[name] for run in runs)]


def _rank(epoch: Mapping[str, Any], criterion: str) -> float:
    try:
        return ranked(epoch, criterion)
    except KeyError:  # the history of another version
        return float(epoch.get("loss", 0.0))


def _seconds(epochs: Sequence[Mapping[str, Any]]) -> float:
    return sum(float(epoch.get("seconds", 0.0)) for epoch in epochs)


def _epochs(path: Path) -> Iterator[dict[str, Any]]:
    """The records of epochs; a line that a killed run left unfinished is passed over."""
    if not path.is_file():
        return
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            record = json.loads(line)
        except ValueError:
            continue
        if isinstance(record, dict) and record.get("kind") == "epoch":
            yield record


def _json(path: Path) -> dict[str, Any] | None:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return value if isinstance(value, dict) else None
