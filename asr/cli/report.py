"""`asr report`: runs side by side, with intervals."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from asr.cli.compare import Json
from asr.cli.grid import NOTHING, Grid, percent

if TYPE_CHECKING:
    from asr.scoring.runs import Summary

# What must agree before the rates of two runs on a set can be set side by side.
COMPARABLE = {
    "utterances": "utterances",
    "reference_words": "reference words",
    "alignment": "alignment",
    "unit": "unit",
    "folding": "folding",
}


def report(
    runs: Annotated[
        list[Path],
        typer.Argument(
            metavar="RUN...",
            help="Training runs, folders of them, or what `asr evaluate` or `asr score -o` wrote.",
            show_default=False,
        ),
    ],
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", metavar="FILE.md", help="Write the table as Markdown too.", show_default=False),
    ] = None,
    json_file: Json = None,
) -> None:
    """Put runs side by side: trainings by their options, word error rates with intervals and the change from the first.

    Of a folder with training runs, such as one of a sweep, each run is listed: whether it is running, stopped, finished
    or failed, epochs, time, figures on the development and test sets, and the options in which the runs differ.

    Of results, one test set gives a row for each run; several give a row for each set and a column for each run.
    Whether a difference is significant says [bold]asr compare[/].

    [bold]Examples[/]

        asr report runs

        asr report runs/*/evaluate/test

        asr report results/greedy results/lm -o comparison.md --json comparison.json
    """
    from rich.console import Console
    from rich.text import Text

    from asr.cli.report_training import training_grid, training_json
    from asr.errors import ScoringError
    from asr.files import write_json, write_text
    from asr.scoring.runs import distinct_names, find_sets, read_summary
    from asr.training.found_runs import find_runs

    trained = [run for directory in runs for run in find_runs(directory)]
    console = Console()
    grids, values = [], {}
    if trained:
        grids.append(training_grid(trained, console.width))
        values["training"] = training_json(trained)
    try:
        sets = [find_sets(directory) for directory in runs]
    except ScoringError:
        if not trained:
            raise
    else:
        found = {
            name: _by_set([read_summary(directory) for directory in each.values()], list(each))
            for name, each in zip(distinct_names(runs), sets)
        }
        grids.append(side_by_side(found))
        values |= as_json(found)
    for grid in grids:
        console.print(grid.table())
        for note in grid.notes:
            console.print(Text(note))
    if output is not None:
        write_text(output, "\n".join(grid.markdown() for grid in grids))
        console.print(f"written: {output}", highlight=False, markup=False)
    if json_file is not None:
        write_json(json_file, values)
        console.print(f"written: {json_file}", highlight=False, markup=False)


Runs = Mapping[str, Mapping[str, "Summary"]]  # run -> test set -> score.json


def side_by_side(runs: Runs) -> Grid:
    """Lay runs out: a row for each when they share one test set, else a row for each set and a column for each."""
    sets = list(dict.fromkeys(name for summaries in runs.values() for name in summaries))
    notes = tuple(note for name in sets if (note := _difference(name, runs)))
    first = next(iter(runs.values()))
    if len(sets) == 1:
        headings: tuple[str, ...] = (sets[0], "WER", "95 % interval", "relative", "CER", "SER")
        rows = [_run_row(name, summaries[sets[0]], first[sets[0]]) for name, summaries in runs.items()]
    else:
        headings = ("test set", *runs)
        notes = (f"In each cell: word error rate, its 95 % interval, and the change from {next(iter(runs))}.", *notes)
        cells = {name: [_cell(summaries.get(name), first.get(name)) for summaries in runs.values()] for name in sets}
        rows = [(name, *row) for name, row in cells.items()]
    return Grid(headings, tuple(rows), notes)


def as_json(runs: Runs) -> dict[str, Any]:
    """The same numbers for programs: run -> test set -> rate, interval and change from the first run."""
    first = next(iter(runs.values()))
    return {
        run: {
            name: {
                "directory": str(summary.directory),
                "wer": summary.values["wer"],
                "wer_ci95": list(summary.values["wer_ci95"]),
                "relative": _relative(summary, first.get(name)),
                "cer": summary.values.get("cer"),
                "ser": summary.values.get("ser"),
                "reference_words": summary.values["reference_words"],
                "utterances": summary.values["utterances"],
            }
            for name, summary in summaries.items()
        }
        for run, summaries in runs.items()
    }


def _by_set(summaries: Sequence["Summary"], names: Sequence[str]) -> dict[str, "Summary"]:
    return {name or summary.set: summary for name, summary in zip(names, summaries)}


def _run_row(name: str, summary: "Summary", first: "Summary") -> tuple[str, ...]:
    values = summary.values
    return (
        name,
        percent(values["wer"]),
        _interval(summary),
        _change(summary, first),
        percent(values.get("cer")),
        percent(values.get("ser")),
    )


def _cell(summary: "Summary | None", first: "Summary | None") -> str:
    if summary is None:
        return NOTHING
    lines = [percent(summary.values["wer"]), _interval(summary)]
    return "\n".join(lines if summary is first or first is None else [*lines, _change(summary, first)])


def _difference(name: str, runs: Runs) -> str:
    """A warning where runs on a set of this name were not scored on the same texts in the same way."""
    present = {run: summaries[name] for run, summaries in runs.items() if name in summaries}
    for key, words in COMPARABLE.items():
        values = {run: _value(summary, key) for run, summary in present.items()}
        if len(set(values.values())) > 1:
            each = ", ".join(f"{value} ({run})" for run, value in values.items())
            return f"{name}: rates that cannot be compared, as the {words} are not the same: {each}."
    return ""


def _value(summary: "Summary", key: str) -> str:
    return (
        summary.alignment if key == "alignment" else str(summary.values.get(key) or {"unit": "word"}.get(key, "none"))
    )


def _relative(summary: "Summary", first: "Summary | None") -> float | None:
    base = first.values["wer"] if first is not None else None
    rate = summary.values["wer"]
    return (rate - base) / base if base and rate is not None else None


def _change(summary: "Summary", first: "Summary") -> str:
    relative = _relative(summary, first)
    if summary is first or relative is None:
        return NOTHING
    return f"{100 * relative:+.1f} %".replace("-", "−")


def _interval(summary: "Summary") -> str:
    bounds = summary.interval
    return NOTHING if bounds is None else f"{100 * bounds[0]:.2f} … {100 * bounds[1]:.2f}"
