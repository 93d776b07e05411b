"""`asr check`: the manifest doctor on the command line."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from asr.cli.check_remedies import remedies
from asr.errors import AsrError

if TYPE_CHECKING:
    from rich.console import Console

    from asr.data.doctor import Report, Requirements
    from asr.data.findings import Finding
    from asr.data.manifest import Line
    from asr.text.normalize import Case

# Where T comes from when no model is asked: Kaldi's 25 ms windows every 10 ms, three of them to one output frame.
SAMPLE_RATE = 16000
FRAME_LENGTH_MS = 25.0
DEFAULT_FRAME_SHIFT_MS = 10.0
DEFAULT_SUBSAMPLING = 3

PROBLEMS_FOUND = 1
FILE_COLUMNS = 100_000  # one line a finding where no terminal wraps them, so that grep finds it whole


def check(
    manifests: Annotated[
        list[Path], typer.Argument(exists=True, dir_okay=False, help="Manifests (JSON lines), looked at together.")
    ],
    tokenizer: Annotated[
        Path | None,
        typer.Option(exists=True, dir_okay=False, help="tokenizer.json: check the alphabet and what CTC can align."),
    ] = None,
    frame_shift_ms: Annotated[
        float | None, typer.Option(min=0.1, help="Feature frames; with --tokenizer.", show_default="10")
    ] = None,
    subsampling: Annotated[
        int | None,
        typer.Option(min=1, help="Feature frames to one of the model's; with --tokenizer.", show_default="3"),
    ] = None,
    case: Annotated[Literal["keep", "lower", "upper"], typer.Option(help="Case that normalised texts have.")] = "keep",
    fix: Annotated[
        Path | None, typer.Option(metavar="OUT", dir_okay=False, help="Write one clean manifest of them all.")
    ] = None,
    json_path: Annotated[
        str | None, typer.Option("--json", metavar="OUT", help="Write everything as JSON; - for standard output.")
    ] = None,
    audio: Annotated[bool, typer.Option(help="Decode the audio; else look for missing files only.")] = True,
    workers: Annotated[int | None, typer.Option(min=1, help="Threads that decode.", show_default="all cores")] = None,
) -> None:
    """Find what is wrong with MANIFESTS before it costs a training run.

    Shows hours, speakers, alphabet and histograms. Lists missing and
    unreadable audio, wrong durations, silence, clipping, duplicates (across
    all manifests given), texts that are not normalised or that the tokenizer
    cannot spell, digits, punctuation and capitals, speakers and texts that two
    manifests share, and utterances too short for CTC to align. Names what
    mends each: --fix, asr data normalize, asr data split.

    Exits with 0 when all is well, 1 when it is not, 2 when called wrongly.

        asr check train.jsonl dev.jsonl test.jsonl

        asr check train.jsonl --tokenizer model/tokenizer.json --subsampling 3

        asr check train.jsonl --fix clean.jsonl --case lower

        asr check train.jsonl --no-audio --json - | jq .counts
    """
    _refuse_idle_options(tokenizer, {"--frame-shift-ms": frame_shift_ms, "--subsampling": subsampling}, "--tokenizer")
    _refuse_idle_options(audio or None, {"--workers": workers}, "--audio")
    _refuse_overwriting(
        {"--fix": fix, "--json": Path(json_path) if json_path and json_path != "-" else None}, manifests
    )
    from rich.console import Console

    from asr.data.doctor import examine

    console = Console(stderr=json_path == "-")
    if not console.is_terminal:
        console.width = FILE_COLUMNS
    with _exit_2_for_unusable_files():
        lines, malformed = _scan(manifests)
        report = examine(
            [line.utterance for line in lines],
            places=[line.place for line in lines],
            requirements=_requirements(tokenizer, frame_shift_ms, subsampling),
            case=case,
            listen=audio,
            num_workers=workers or os.cpu_count() or 1,
            show_progress=Console(stderr=True).is_terminal,
        )
        report = replace(report, findings=(*malformed, *report.findings))
        given = _options_of_a_fix(tokenizer, frame_shift_ms, subsampling, case)
        _publish(report, manifests, remedies(report.findings, lines, manifests, given), json_path, console)
        if fix is not None:
            _write_fixed(fix, lines, report, console)
    if report.count("error") + report.count("warning"):
        raise typer.Exit(PROBLEMS_FOUND)


@contextmanager
def _exit_2_for_unusable_files() -> Iterator[None]:
    """1 must mean that the manifests were examined; a file that cannot be read or written is another thing."""
    try:
        yield
    except AsrError as error:
        raise typer.BadParameter(str(error)) from error


def _refuse_idle_options(needed: object, options: dict[str, object], name: str) -> None:
    for option, value in options.items():
        if needed is None and value is not None:
            raise typer.BadParameter(f"{option} does nothing without {name}")


def _refuse_overwriting(written: dict[str, Path | None], manifests: list[Path]) -> None:
    from asr.files import refuse_same_file

    given = {option: path for option, path in written.items() if path is not None}
    for option, path in given.items():
        try:
            refuse_same_file(path, [*manifests, *(other for name, other in given.items() if name != option)])
        except AsrError as error:
            raise typer.BadParameter(f"{option}: {error}") from error


def _scan(manifests: list[Path]) -> tuple[list[Line], list[Finding]]:
    from asr.data.findings import Finding
    from asr.data.manifest import scan_manifest

    scans = [scan_manifest(manifest) for manifest in manifests]
    lines = [line for scan in scans for line in scan.lines]
    errors = [str(error) for scan in scans for error in scan.errors]
    return lines, [Finding("malformed-line", "", error) for error in errors]


def _requirements(tokenizer: Path | None, frame_shift_ms: float | None, subsampling: int | None) -> Requirements | None:
    if tokenizer is None:
        return None
    from asr.data.doctor import Requirements
    from asr.text.tokenizer import load_tokenizer

    output_frames = _output_frames(frame_shift_ms or DEFAULT_FRAME_SHIFT_MS, subsampling or DEFAULT_SUBSAMPLING)
    return Requirements(load_tokenizer(tokenizer), output_frames, SAMPLE_RATE)


def _output_frames(frame_shift_ms: float, subsampling: int) -> Callable[[int], int]:
    from asr.features import num_frames

    window = round(SAMPLE_RATE * FRAME_LENGTH_MS / 1000)
    shift = round(SAMPLE_RATE * frame_shift_ms / 1000)
    return lambda num_samples: -(-num_frames(num_samples, window, shift) // subsampling)  # rounded up


def _options_of_a_fix(
    tokenizer: Path | None, frame_shift_ms: float | None, subsampling: int | None, case: Case
) -> list[str]:
    """The options of this call that decide what `--fix` would do."""
    values = {"--tokenizer": tokenizer, "--frame-shift-ms": frame_shift_ms, "--subsampling": subsampling}
    given = [part for name, value in values.items() if value is not None for part in (name, str(value))]
    return given + (["--case", case] if case != "keep" else [])


def _publish(
    report: Report, manifests: list[Path], mending: dict[str, str], json_path: str | None, console: Console
) -> None:
    from asr.data.doctor_display import show_report
    from asr.files import write_json

    everything = {**report.to_json(), "remedies": mending}
    if json_path == "-":
        typer.echo(json.dumps(everything, ensure_ascii=False, indent=2, allow_nan=False))
        return
    console.print(show_report(report, len(manifests), mending))
    if json_path is not None:
        write_json(json_path, everything)


def _write_fixed(fix: Path, lines: list[Line], report: Report, console: Console) -> None:
    from asr.data.doctor import repair
    from asr.data.doctor_display import show_repaired
    from asr.data.manifest import write_manifest

    repaired = repair([line.utterance for line in lines], report.findings)
    write_manifest(fix, repaired.utterances)
    console.print(show_repaired(repaired, len(lines), str(fix)))
