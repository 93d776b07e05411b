"""`asr transcribe`: audio files -> text."""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from asr.cli.common import Device, find_model, load
from asr.cli.decoding_options import DecodingOptions, takes_decoding_options

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress

    from asr.errors import OutputError
    from asr.recognizer import Recognizer
    from asr.types import Transcript

Audio = Annotated[
    list[str], typer.Argument(help="Files, directories, globs, or - for standard input.", show_default=False)
]
SOME_FAILED = 1


@takes_decoding_options
def transcribe(
    audio: Audio,
    model: Annotated[
        Path, typer.Option("--model", "-m", help="A model directory, or the run that it lies in.", show_default=False)
    ],
    output_format: Annotated[
        str, typer.Option("--output-format", "--output_format", "-f", help="txt, or json: with times and scores.")
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
    strict: Annotated[
        bool, typer.Option(help="A file that is cut short or damaged is an error, not a warning.")
    ] = False,
    device: Device = "auto",
    *,
    decoding: DecodingOptions,
) -> None:
    """Transcribe recordings of any sample rate and length: WAV, FLAC, MP3, Ogg Vorbis, Opus and FLAC, AIFF, AU, CAF, …

    Several inputs are printed as `NAME: text`, with -f json as JSON lines that name their file. Goes on after one that
    cannot be read or whose transcript cannot be written, and then exits non-zero. A directory gives its audio files;
    recordings in it that cannot be read are named. Decodes as the model directory says (see `asr tune`) where the
    options say nothing else.

    [bold]Examples[/]

        asr transcribe call.wav --model runs/digits/model

        asr transcribe recordings/ "more/*.mp3" --model runs/digits/model -f json -o transcripts

        sox call.wav -t wav - | asr transcribe - --model runs/digits/model

        asr transcribe call.wav --model runs/mini_english/model --lm 4gram.lm --hotwords "vronsky, anna karenina"
    """
    from rich.console import Console

    from asr.audio import find_audio_files
    from asr.writers import WRITERS

    if output_format not in WRITERS:
        raise typer.BadParameter(f"expected one of {', '.join(WRITERS)}, got {output_format}", param_hint="-f")
    if decoding.nbest is not None and output_format != "json":
        raise typer.BadParameter(f"{output_format} has no place for alternatives; use -f json", param_hint="--nbest")
    if skip_existing and output_dir is None:
        raise typer.BadParameter("needs -o: without it there are no output files", param_hint="--skip-existing")
    errors = Console(stderr=True)
    model = find_model(model)
    found = find_audio_files(audio, recursive)
    for path, reason in found.left_out.items():
        say(errors, "[yellow]left out:[/] {}: {}", path, reason)
    names = list(found.paths)
    outputs = Outputs({}, {})
    if output_dir is not None:
        outputs = choose_outputs(names, output_dir, f".{output_format}", files_read_besides(model, decoding))
        names = [name for name in names if name in outputs.paths or name in outputs.refused]
    for error in (*found.errors, *outputs.refused.values()):
        print_error(errors, error)
    wanted = [name for name in names if name not in outputs.refused]
    todo = [name for name in wanted if not (skip_existing and outputs.paths[name].is_file())]
    failed, total = len(found.errors) + len(outputs.refused), len(names) + len(found.errors)
    if todo:
        job = Job(load(model, device, decoding), output_format, channel, strict, is_one=total == 1, errors=errors)
        with progress_bar(errors) as bar:
            failed += sum(not job.run(name, outputs.paths.get(name), bar) for name in todo)
    if failed:
        errors.print(f"{failed} of {total} inputs failed", style="red", highlight=False)
        raise typer.Exit(SOME_FAILED)


@dataclass(frozen=True)
class Outputs:
    """Where the transcripts go."""

    paths: dict[str, Path]  # by input; of the same recording named twice, the first only
    refused: dict[str, "OutputError"]  # inputs whose transcript cannot be written


def choose_outputs(names: list[str], directory: Path, suffix: str, read_besides: list[Path]) -> Outputs:
    """Choose a file for each input, and find out before the work which of them cannot be written.

    read_besides: further files that no transcript may replace
    """
    from asr.errors import OutputError
    from asr.files import check_output
    from asr.writers import STDIN, output_paths

    read = {identity: name for name in [*map(str, read_besides), *names] if (identity := file_identity(name))}
    outputs = Outputs({}, {})
    users: dict[Path, str] = {}
    for name, path in zip(names, output_paths(names, directory, suffix)):
        first = users.setdefault(path, name)
        try:
            if first != name and STDIN not in (first, name):
                continue  # the same recording once more
            if first != name:
                raise OutputError(f"{name}: its transcript would be {path}, as that of {first}; rename one of them")
            check_output(path)
            identity = file_identity(path)
            if identity is not None and identity in read:
                raise OutputError(
                    f"{name}: its transcript, {path}, would be written over {read[identity]}, which is read; "
                    "choose another -o"
                )
            outputs.paths[name] = path
        except OutputError as error:
            outputs.refused[name] = error
    return outputs


def file_identity(path: str | Path) -> tuple[int, int] | None:
    """What is the same for all names and links of a file; None where there is no file."""
    try:
        status = Path(path).stat()
    except (OSError, ValueError):
        return None
    return status.st_dev, status.st_ino


def files_read_besides(model: Path, decoding: DecodingOptions) -> list[Path]:
    """The files of the model and of its decoding."""
    hotwords = decoding.hotwords or ""
    named = [decoding.lm, decoding.lexicon, Path(hotwords[1:]) if hotwords.startswith("@") else None]
    return [*filter(None, named), *(path for path in model.glob("*") if path.is_file())]


@dataclass(frozen=True)
class Job:
    """What is the same for every input."""

    recognizer: "Recognizer"
    output_format: str
    channel: int | None
    strict: bool
    is_one: bool  # the only input, which need not be named on standard output
    errors: "Console"

    def run(self, name: str, output: Path | None, bar: "Progress") -> bool:
        """Transcribe one input and write or print it; returns whether that went well."""
        from asr.cli.standard_output import nobody_reads
        from asr.errors import AsrError

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
            for warning in transcript.warnings:
                say(self.errors, "[yellow]warning:[/] {}: {}", name, warning)
            self.put_out(name, transcript, output)
        except AsrError as error:
            print_error(self.errors, error)
            return False
        finally:
            bar.remove_task(task)
        return True

    def put_out(self, name: str, transcript: "Transcript", output: Path | None) -> None:
        """Write the transcript into its file, or print it with the name of its input where there are several."""
        from asr.files import write_text
        from asr.writers import json_line, render

        if output is not None:
            write_text(output, render(transcript, self.output_format, name))
            say(self.errors, "{} -> {}", name, str(output))
            return
        text = render(transcript, self.output_format, name)
        if not self.is_one:
            text = json_line(transcript, name) if self.output_format == "json" else f"{name}: {text}"
        # A file's name that is not UTF-8 comes as lone surrogates.
        sys.stdout.write(text.encode("utf-8", errors="backslashreplace").decode("utf-8"))
        sys.stdout.flush()


def say(console: "Console", message: str, *values: str) -> None:
    """Print a line with values that are no markup."""
    from rich.markup import escape

    printable = [value.encode("utf-8", errors="backslashreplace").decode("utf-8") for value in values]
    console.print(message.format(*map(escape, printable)), highlight=False, soft_wrap=True)


def progress_bar(console: "Console") -> "Progress":
    """How far each recording is, with the time left; only on a terminal."""
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    return Progress(*columns, console=console, transient=True, disable=not console.is_terminal)


def print_error(console: "Console", error: Exception) -> None:
    """One line for one input that failed."""
    say(console, "[bold red]error:[/] {}", str(error))
