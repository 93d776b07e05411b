"""Training runs as a table: what differs between them, how far they have come, and how well they do."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from asr.cli.grid import NOTHING, Grid, percent

if TYPE_CHECKING:
    from pathlib import Path

    from asr.training.found_runs import FoundRun

MOST_COLUMNS = 2  # for options; more are listed below the table
WIDE = 100  # characters
HEADINGS = {"wer": "dev WER", "cer": "dev CER", "perplexity": "dev perplexity", "loss": "dev loss"}


def training_grid(runs: "Sequence[FoundRun]", width: int) -> Grid:
    """A row for each run: its state, epochs, time, figures on the development and test sets, and its own options.

    width: of the terminal, in characters; a narrow one has the options below the table.
    """
    from asr.training.found_runs import FIGURES, differing
    from asr.training.time_left import clock_time

    names, options = _names([run.directory for run in runs]), differing(runs)
    figures = [name for name in FIGURES if any(name in run.figures for run in runs)]
    tests = [_test_rates(run.directory) for run in runs]
    sets = list(dict.fromkeys(name for rates in tests for name in rates))
    as_columns = options if len(options) <= MOST_COLUMNS and width >= WIDE else []
    rows = [
        (
            name,
            *(_shown(run.options[option]) for option in as_columns),
            run.state,
            f"{run.epochs}/{run.planned_epochs}",
            clock_time(run.seconds),
            *(_figure(key, run.figures.get(key)) for key in figures),
            *(percent(rates.get(key)) for key in sets),
        )
        for name, run, rates in zip(names, runs, tests)
    ]
    headings = ("run", *as_columns, "state", "epochs", "time", *(HEADINGS[name] for name in figures))
    listed = [option for option in options if option not in as_columns]
    notes = [f"{name}: {', '.join(f'{o}={_shown(run.options[o])}' for o in listed)}" for name, run in zip(names, runs)]
    failures = [f"{name} {run.state}: {run.reason}" for name, run in zip(names, runs) if run.reason]
    return Grid((*headings, *(f"{name} WER" for name in sets)), tuple(rows), (*(notes if listed else []), *failures))


def training_json(runs: "Sequence[FoundRun]") -> dict[str, Any]:
    """The same for programs: directory -> what the table shows of it."""
    from asr.training.found_runs import differing

    options = differing(runs)
    return {
        str(run.directory): {
            "state": run.state,
            "reason": run.reason,
            "epochs": run.epochs,
            "planned_epochs": run.planned_epochs,
            "seconds": run.seconds,
            "dev": dict(run.figures),
            "test": {name: {"wer": rate} for name, rate in _test_rates(run.directory).items()},
            "options": {name: run.options[name] for name in options},
        }
        for run in runs
    }


def _names(directories: "Sequence[Path]") -> list[str]:
    from asr.scoring.runs import distinct_names

    return distinct_names(directories)


def _test_rates(directory: "Path") -> Mapping[str, float | None]:
    """The word error rate on each test set that was evaluated."""
    from asr.errors import ScoringError
    from asr.scoring.runs import find_sets, read_summary

    try:
        return {name: read_summary(path).values["wer"] for name, path in find_sets(directory / "evaluate").items()}
    except ScoringError:
        return {}


def _figure(name: str, value: float | None) -> str:
    if value is None:
        return NOTHING
    return percent(value) if name in ("wer", "cer") else f"{value:.3f}"


def _shown(value: Any) -> str:
    if isinstance(value, list):
        return f"[{','.join(map(str, value))}]"
    return f"{value:g}" if isinstance(value, float) else str(value)
