"""`asr compare`: is one run better than another, and is that more than chance?"""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from rich.console import Console

    from asr.scoring.comparison_display import SystemComparison

Json = Annotated[
    Path | None, typer.Option("--json", metavar="FILE", help="Write every figure as JSON too.", show_default=False)
]


def compare(
    run_a: Annotated[Path, typer.Argument(help="What `asr evaluate` or `asr score -o` wrote.", show_default=False)],
    run_b: Annotated[Path, typer.Argument(help="The same of another system.", show_default=False)],
    alignment: Annotated[
        str,
        typer.Option(help="Of the significance tests: sclite (costs 4, 3, 3, as NIST's tools) or levenshtein."),
    ] = "sclite",
    json_file: Json = None,
) -> None:
    """Compare two runs on the same references, and say whether the difference is significant.

    Prints both word error rates and their difference with 95 % intervals (paired bootstrap over speakers, where
    there are enough), the tests of NIST's sc_stats (MAPSSWE, sign, Wilcoxon, McNemar), and the answer in words.
    Directories with several test sets are compared set by set.

    [bold]Examples[/]

        asr compare runs/small/evaluate/test runs/large/evaluate/test

        asr compare results/greedy results/lm --json comparison.json
    """
    import sys
    from dataclasses import replace

    from rich.console import Console

    from asr.errors import ConfigError
    from asr.files import write_json
    from asr.progress import track
    from asr.scoring.assessment import ALIGNMENTS

    if alignment not in ALIGNMENTS:
        raise ConfigError(f"--alignment: expected one of {', '.join(ALIGNMENTS)}, got {alignment!r}")
    pairs = paired_sets(run_a, run_b)
    console = Console()
    found = {}
    for name, directories in track(pairs.items(), "comparing", total=len(pairs), shown=sys.stderr.isatty()):
        found[name] = replace(compare_directories(directories, run_a, run_b, alignment), set=name)
    for index, comparison in enumerate(found.values()):
        if index:
            console.print()
        show(console, comparison)
    if json_file is not None:
        sets = {name: comparison.to_json() for name, comparison in found.items()}
        write_json(json_file, {"first": str(run_a), "second": str(run_b), "sets": sets})
        console.print(f"written: {json_file}", highlight=False, markup=False)


def paired_sets(run_a: Path, run_b: Path) -> dict[str, tuple[Path, Path]]:
    """The test sets of both runs, by name; raises `ScoringError` when they are not the same sets."""
    from asr.errors import ScoringError
    from asr.scoring.runs import find_sets, read_summary

    first, second = find_sets(run_a), find_sets(run_b)
    if len(first) == len(second) == 1:  # named as they may be: the references tell whether they belong together
        (directory,), (other,) = first.values(), second.values()
        return {read_summary(directory).set: (directory, other)}
    if first.keys() != second.keys():
        alone = [f"{name or 'a single set'} only in {run_a}" for name in sorted(first.keys() - second.keys())]
        alone += [f"{name or 'a single set'} only in {run_b}" for name in sorted(second.keys() - first.keys())]
        raise ScoringError(
            f"expected the same test sets in both runs, got {'; '.join(alone)}: compare the directories of single sets"
        )
    return {name: (first[name], second[name]) for name in first}


def compare_directories(directories: tuple[Path, Path], run_a: Path, run_b: Path, alignment: str) -> "SystemComparison":
    """Read and compare both results on one test set."""
    from asr.errors import ScoringError
    from asr.scoring.comparison_display import compare_runs
    from asr.scoring.runs import distinct_names, read_run

    names = distinct_names([run_a, run_b])
    first, second = (read_run(directory) for directory in directories)
    try:
        return compare_runs(first, second, names, alignment)
    except ScoringError as error:
        raise ScoringError(f"{directories[0]} and {directories[1]}: {error}") from error


def show(console: "Console", comparison: "SystemComparison") -> None:
    """Print one comparison."""
    from rich.text import Text

    from asr.scoring.comparison_display import cautions, improvement, systems_table, tests_table, verdict

    console.print(systems_table(comparison))
    console.print()
    console.print(tests_table(comparison))
    console.print(
        Text(f"tests on alignments by {comparison.alignment}; two-tailed; * p < 0.05, ** 0.01, *** 0.001", "dim")
    )
    console.print()
    console.print(Text(verdict(comparison), "bold"))
    console.print(Text(improvement(comparison)))
    for caution in cautions(comparison):
        console.print(Text(f"Caution: {caution}", "yellow"))
