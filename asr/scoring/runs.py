"""Results read back: the directories that `asr evaluate` and `asr score` write.

A run's directory holds `score.json` and `hypotheses.jsonl`, or a directory with these for each test set. The texts
are aligned again, which is quick and gives what the files do not hold; what comes out must agree with the files.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path
from typing import Any

from asr.errors import ScoringError
from asr.scoring.assessment import ALIGNMENTS
from asr.scoring.errors import Score, score
from asr.scoring.scored_set import Details, ScoredSet

SCORE_FILE, HYPOTHESES_FILE = "score.json", "hypotheses.jsonl"
# A benchmark's test sets lie two levels down: librispeech/test-clean.
_SET_PATTERNS = (f"*/{SCORE_FILE}", f"*/*/{SCORE_FILE}")
_COUNTS = ("substitutions", "deletions", "insertions", "reference_words", "utterances")
_SHOWN = 60  # characters of a line that is not what it should be


@dataclass(frozen=True, slots=True)
class Summary:
    """A `score.json`: the figures of one test set."""

    directory: Path
    values: Mapping[str, Any]  # the object itself, with all that its writer knew

    @property
    def set(self) -> str:
        """The test set's name; without one in the file, the directory's."""
        return self.values.get("set") or self.directory.resolve().name

    @property
    def system(self) -> str:
        """What made the hypotheses; without a name in the file, the directory's."""
        return self.values.get("system") or self.directory.resolve().name

    @property
    def alignment(self) -> str:
        """A name of `ALIGNMENTS`; files from before there was a choice have the fewest errors."""
        return self.values.get("alignment") or "levenshtein"

    @property
    def interval(self) -> tuple[float, float] | None:
        """The 95 % interval of the word error rate, where it is finite."""
        low, high = self.values["wer_ci95"]
        return None if low is None or high is None else (low, high)


@dataclass(frozen=True)
class Run:
    """A system's results on one test set."""

    name: str  # of the test set
    summary: Mapping[str, Any]  # the object of score.json
    scored: ScoredSet


def find_sets(directory: Path) -> dict[str, Path]:
    """The test sets of a run: name -> directory. One, named "", when `directory` itself holds a `score.json`.

    Raises:
        ScoringError: there is none.
    """
    if (directory / SCORE_FILE).is_file():
        return {"": directory}
    found = sorted(path.parent for pattern in _SET_PATTERNS for path in directory.glob(pattern))
    if not found:
        raise ScoringError(
            f"{directory}: expected {SCORE_FILE}, or directories with one for each test set, as `asr evaluate` and "
            f"`asr score -o` write them; got {'none' if directory.is_dir() else 'no directory'}"
        )
    return {path.relative_to(directory).as_posix(): path for path in found}


def distinct_names(directories: Sequence[Path]) -> list[str]:
    """What tells runs apart: their paths without the folders that all begin or end with.

    `a/small/test` and `a/large/test` are "small" and "large"; of a single run it is the last folder.

    Raises:
        ScoringError: a directory is there twice.
    """
    paths = [directory.resolve().parts for directory in directories]
    if repeated := [str(directory) for directory, parts in zip(directories, paths) if paths.count(parts) > 1]:
        raise ScoringError(f"expected different runs, got {repeated[0]} twice")
    if len(paths) < 2:
        return [parts[-1] for parts in paths]
    start = _num_shared(paths)
    end = _num_shared([parts[start:][::-1] for parts in paths])
    return ["/".join(parts[start : len(parts) - end]) or parts[-1] for parts in paths]


def _num_shared(sequences: Sequence[Sequence[str]]) -> int:
    return sum(1 for _ in takewhile(lambda items: len(set(items)) == 1, zip(*sequences)))


def read_runs(directory: Path) -> dict[str, Run]:
    """Every test set of a run, by the names of `find_sets`. Raises `ScoringError` as that and `read_run`."""
    return {name: read_run(path) for name, path in find_sets(directory).items()}


def read_run(directory: Path) -> Run:
    """Read one test set's results and align the texts as `score.json` says.

    Raises:
        ScoringError: a file is missing, damaged or not ours, or the two do not belong together; names file and line.
    """
    summary = read_summary(directory)
    path = directory / HYPOTHESES_FILE
    references: dict[str, str] = {}
    hypotheses: dict[str, str] = {}
    details: dict[str, Details] = {}
    rows: dict[str, dict[str, Any]] = {}
    for where, row in _rows(path):
        id = _field(row, "id", where)
        if id in references:
            raise ScoringError(f"{where}: expected every id once, got {id} again")
        references[id], hypotheses[id] = _field(row, "reference", where), _field(row, "hypothesis", where)
        if "marked_reference" in row:
            references[id] = _field(row, "marked_reference", where)
        details[id] = _details(row, where)
        _count(row.get("errors"), "errors", where)
        rows[id] = row
    if not references:
        raise ScoringError(f"{path}: expected at least one utterance, got none: evaluate again")
    has_choices = any("marked_reference" in row for row in rows.values())
    scored = score(references, hypotheses, ALIGNMENTS[summary.alignment], markup=has_choices)
    _check_rows(scored, rows, path)
    _check_agreement(scored, summary)
    return Run(summary.set, summary.values, ScoredSet(summary.set, summary.system, scored, details))


def read_summary(directory: Path) -> Summary:
    """Read `score.json`. Raises `ScoringError`, naming the file, when it is missing, damaged or not ours."""
    path = directory / SCORE_FILE
    values = _parse(_read(path), str(path))
    for key in _COUNTS:
        _count(values.get(key), key, str(path))
    _check_rate(values.get("wer"), "wer", path)
    interval = values.get("wer_ci95")
    if not isinstance(interval, list) or len(interval) != 2:
        raise ScoringError(f"{path}: expected two bounds as wer_ci95, got {_shown(interval)}")
    for bound in interval:
        _check_rate(bound, "wer_ci95", path)
    for key in ("set", "system", "alignment"):
        if values.get(key) is not None and not isinstance(values[key], str):
            raise ScoringError(f"{path}: expected a name as {key}, got {_shown(values[key])}")
    summary = Summary(directory, values)
    if summary.alignment not in ALIGNMENTS:
        raise ScoringError(f"{path}: alignment: expected one of {', '.join(ALIGNMENTS)}, got {summary.alignment!r}")
    return summary


# ---- checks ----------------------------------------------------------------------------------------------------------


def _check_rows(scored: Score, rows: Mapping[str, Mapping[str, Any]], path: Path) -> None:
    """Texts that were changed since do not have the errors that their line gives."""
    for utterance in scored.utterances:
        row = rows[utterance.id]
        if utterance.words.errors != row["errors"]:
            raise ScoringError(
                f"{path}: expected {row['errors']} errors in {utterance.id}, as its line says, got "
                f"{utterance.words.errors} from its texts: the file was changed, evaluate again"
            )


def _check_agreement(scored: Score, summary: Summary) -> None:
    """Files that come from two evaluations would give figures that belong to neither."""
    values, words = summary.values, scored.words
    found = (words.errors, words.reference_length, len(scored.utterances))
    errors = values["substitutions"] + values["deletions"] + values["insertions"]
    if found != (errors, values["reference_words"], values["utterances"]):
        raise ScoringError(
            f"{summary.directory / HYPOTHESES_FILE}: expected {errors} errors in {values['reference_words']} words of "
            f"{values['utterances']} utterances, as {SCORE_FILE} beside it says, got {found[0]} in {found[1]} of "
            f"{found[2]}: the files are of two evaluations, evaluate again"
        )


def _details(row: Mapping[str, Any], where: str) -> Details:
    speaker, duration, fields = row.get("speaker"), row.get("duration"), row.get("fields")
    if speaker is not None and not isinstance(speaker, str):
        raise ScoringError(f"{where}: expected a name or null as speaker, got {_shown(speaker)}")
    if duration is not None and not (_is_number(duration) and duration >= 0):
        raise ScoringError(f"{where}: expected seconds or null as duration, got {_shown(duration)}")
    if fields is not None and not isinstance(fields, dict):
        raise ScoringError(f"{where}: expected an object or null as fields, got {_shown(fields)}")
    return Details(speaker, duration, fields or {})


def _field(row: Mapping[str, Any], key: str, where: str) -> str:
    value = row.get(key)
    if not isinstance(value, str) or (key == "id" and not value):
        raise ScoringError(f"{where}: expected text as {key}, got {_shown(value)}")
    return value


def _count(value: Any, key: str, where: str) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise ScoringError(f"{where}: expected a count as {key}, got {_shown(value)}")
    return value


def _check_rate(value: Any, key: str, path: Path) -> None:
    if value is not None and not (_is_number(value) and value >= 0):
        raise ScoringError(f"{path}: expected a rate or null as {key}, got {_shown(value)}")


def _is_number(value: Any) -> bool:
    # Integers have no end, floats have: what is larger cannot be calculated with. NaN is not smaller either.
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return is_number and bool(abs(value) <= sys.float_info.max)


# ---- files -----------------------------------------------------------------------------------------------------------


def _rows(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """The rows of a JSON lines file, each with its place."""
    # Not splitlines: a text may hold other line separators, such as U+2028.
    for number, line in enumerate(_read(path).split("\n"), start=1):
        if line.strip():
            yield f"{path}:{number}", _parse(line, f"{path}:{number}")


def _read(path: Path) -> str:
    try:
        return path.read_bytes().decode("utf-8")
    except OSError as error:
        raise ScoringError(
            f"{path} cannot be read: {error.strerror or error}; is this the directory of a run?"
        ) from error
    except UnicodeDecodeError as error:
        raise ScoringError(
            f"{path}: expected UTF-8, got byte {error.object[error.start]:#04x} at {error.start}"
        ) from error


def _parse(text: str, where: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ScoringError(f"{where}: expected a JSON object, got {_shown(text)}: {error}") from error
    if not isinstance(value, dict):
        raise ScoringError(f"{where}: expected a JSON object, got {_shown(value)}")
    return value


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= _SHOWN else text[:_SHOWN] + " …"
