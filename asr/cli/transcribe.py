"""`asr transcribe`: audio files -> text."""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from asr.cli.common import Device, load
from asr.cli.decoding_options import DecodingOptions, takes_decoding_options

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress

    from asr.recognizer import Recognizer

Audio = Annotated[
    list[str], typer.Argument(help="Files, directories, globs, or - for standard input.", show_default=False)
]
SOME_FAILED = 1


@takes_decoding_options
def transcribe(
    audio: Audio,
    model: Annotated[Path, typer.Option("--model", "-m", help="A model directory.", show_default=False)],
    output_format: Annotated[
        str, typer.Option("--output-format", "--output_format", "-f", help="txt or json (with word times).")
    ] = "txt",
    output_dir: Annotated[
        Path | None,
        typer.Option("--output-dir", "--output_dir", "-o", help="Write a file for each input; else print."),
    ] = None,
    recursive: Annotated[bool, typer.Option("--recursive", "-r", help="Look into subdirectories.")] = False,
    skip_existing: Annotated[bool, typer.Option(help="Leave out inputs whose output file is there (with -o).")] = False,
    channel: Annotated[
        int | None, typer.Option(min=0, help="Take this channel, from 0; else the mean of all.", show_default=False)
    ] = None,
    strict: Annotated[bool, typer.Option(help="A file that is cut short is an error, not a warning.")] = False,
    device: Device = "auto",
    *,
    decoding: DecodingOptions,
) -> None:
    """Transcribe recordings of any format, sample rate and length.

    Goes on after a file that cannot be read, and then exits non-zero. Decodes as the model directory says (see
    `asr tune`) where the options say nothing else.

    [bold]Examples[/]

        asr transcribe call.wav --model runs/digits/model

        asr transcribe recordings/ "more/*.mp3" --model runs/digits/model -f json -o transcripts

        sox call.wav -t wav - | asr transcribe - --model runs/digits/model

        asr transcribe call.wav --model runs/mini_english/model --lm 4gram.lm --hotwords "vronsky, anna karenina"
    """
    from rich.console import Console

    from asr.audio import find_audio_files
    from asr.writers import WRITERS, output_paths

    if output_format not in WRITERS:
        raise typer.BadParameter(f"expected one of {', '.join(WRITERS)}, got {output_format}", param_hint="-f")
    if decoding.nbest is not None and output_format != "json":
        raise typer.BadParameter(f"{output_format} has no place for alternatives; use -f json", param_hint="--nbest")
    if skip_existing and output_dir is None:
        raise typer.BadParameter("needs -o: without it there are no output files", param_hint="--skip-existing")
    errors = Console(stderr=True)
    found = find_audio_files(audio, recursive)
    for error in found.errors:
        print_error(errors, error)
    names = list(found.paths)
    outputs = dict(zip(names, output_paths(names, output_dir, f".{output_format}"))) if output_dir else {}
    todo = [name for name in names if not (skip_existing and outputs[name].exists())]
    failed = len(found.errors)
    if todo:
        job = Job(
            load(model, device, decoding), output_format, channel, strict, names_shown=len(names) > 1, errors=errors
        )
        with progress_bar(errors) as bar:
            failed += sum(not job.run(name, outputs.get(name), bar) for name in todo)
    if failed:
        errors.print(f"{failed} of {len(names) + len(found.errors)} inputs failed", style="red", highlight=False)
        raise typer.Exit(SOME_FAILED)


@dataclass(frozen=True)
class Job:
    """What is the same for every input."""

    recognizer: "Recognizer"
    output_format: str
    channel: int | None
    strict: bool
    names_shown: bool  # before each text on standard output
    errors: "Console"

    def run(self, name: str, output: Path | None, bar: "Progress") -> bool:
        """Transcribe one input and write or print it; returns whether that went well."""
        from asr.cli.standard_output import nobody_reads
        from asr.errors import AsrError
        from asr.files import write_text
        from asr.writers import render

        if output is None and nobody_reads():
            return True  # as after `| head`
        task = bar.add_task(Path(name).name, total=None)
        try:
            transcript = self.recognizer.transcribe(
                name,
                channel=self.channel,
                strict=self.strict,
                on_progress=lambda done, total: bar.update(task, completed=done, total=total),
            )
        except AsrError as error:
            print_error(self.errors, error)
            return False
        finally:
            bar.remove_task(task)
        for warning in transcript.warnings:
            self._say("[yellow]warning:[/] {}: {}", name, warning)
        text = render(transcript, self.output_format, Path(name).stem)
        if output is not None:
            write_text(output, text)
            self._say("{} -> {}", name, str(output))
        else:
            sys.stdout.write(f"{name}: {text}" if self.names_shown and self.output_format == "txt" else text)
            sys.stdout.flush()
        return True

    def _say(self, message: str, *values: str) -> None:
        from rich.markup import escape

        self.errors.print(message.format(*map(escape, values)), highlight=False, soft_wrap=True)


def progress_bar(console: "Console") -> "Progress":
    """How far each recording is, with the time left; only on a terminal."""
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    return Progress(*columns, console=console, transient=True, disable=not console.is_terminal)


def print_error(console: "Console", error: Exception) -> None:
    """One line for one input that failed."""
    from rich.markup import escape

    console.print(f"[bold red]error:[/] {escape(str(error))}", highlight=False, soft_wrap=True)
