"""`asr data import`: manifests of folders, tables and other toolkits' corpora."""

import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from asr.cli.previews import needs_output, refuse_recordings, shown, tell_preview
from asr.errors import ConfigError

if TYPE_CHECKING:
    from asr.data.exchange import Columns, Faults
    from asr.types import Utterance

# The formats of asr.data.exchange, which loads too much for --help, and folders.
Source = Literal["folder", "csv", "tsv", "kaldi", "espnet", "lhotse", "nemo"]
Layout = Literal["auto", "beside", "parallel", "librispeech", "ljspeech", "audiofolder"]
SECONDS_IN_HOUR = 3600
TABLES, FOLDER = "Tables (csv, tsv)", "Folders"


def import_corpus(
    format: Annotated[Source, typer.Argument(show_default=False, help="What SOURCE is.")],
    source: Annotated[
        Path, typer.Argument(exists=True, help="A directory (folder, kaldi, espnet) or a file.", show_default=False)
    ],
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", dir_okay=False, help="The manifest to write.", show_default=False),
    ] = None,
    audio_root: Annotated[
        Path | None,
        typer.Option(
            exists=True,
            file_okay=False,
            show_default="kaldi, espnet: the working directory; others: the source's folder",
            help="What relative audio paths are relative to; not for folder.",
        ),
    ] = None,
    skip_bad: Annotated[
        bool,
        typer.Option(
            "--skip-bad", help="Leave out what no manifest can hold, and list it all in a file beside the manifest."
        ),
    ] = False,
    preview: Annotated[bool, typer.Option("--preview", help="Show what would be imported; write nothing.")] = False,
    examples: Annotated[int, typer.Option("-n", "--examples", min=0, help="How many --preview shows.")] = 10,
    columns: Annotated[
        str | None,
        typer.Option(
            metavar="NAMES",
            help="Names of all columns of a table without a header, such as id,audio,text,speaker; - leaves one out.",
            rich_help_panel=TABLES,
        ),
    ] = None,
    id_column: Annotated[str | None, typer.Option(help="The column of the ids.", rich_help_panel=TABLES)] = None,
    audio_column: Annotated[
        str | None, typer.Option(help="The column of the audio files.", rich_help_panel=TABLES)
    ] = None,
    text_column: Annotated[str | None, typer.Option(help="The column of the texts.", rich_help_panel=TABLES)] = None,
    duration_column: Annotated[
        str | None, typer.Option(help="The column of the seconds.", rich_help_panel=TABLES)
    ] = None,
    speaker_column: Annotated[
        str | None, typer.Option(help="The column of the speakers.", rich_help_panel=TABLES)
    ] = None,
    layout: Annotated[
        Layout, typer.Option(help="How texts go with recordings; auto goes by the files.", rich_help_panel=FOLDER)
    ] = "auto",
    speakers_from_folders: Annotated[
        bool,
        typer.Option(
            "--speakers-from-folders",
            help="The first folder on the way to a recording is its speaker.",
            rich_help_panel=FOLDER,
        ),
    ] = False,
) -> None:
    """Make a manifest of recordings and their texts. Audio stays where it is.

    folder: beside (a.wav with a.txt), parallel (wav/a.wav, txt/a.txt),
    librispeech (*.trans.txt), ljspeech (metadata.csv with id|text), or
    audiofolder (HuggingFace's metadata.csv or .jsonl with file_name and
    transcription, text or sentence).

    csv: commas, semicolons, tabs or bars, with or without a header. Columns
    are known by their usual names (audio, wav, path; text, sentence,
    transcript; speaker, client_id; …).

    Durations that the source does not state are measured. Commands in a
    wav.scp are never run. What cannot be used is an error, or with --skip-bad
    left out, counted and listed.

    [bold]Examples[/]

        asr data import folder recordings --preview

        asr data import folder recordings -o all.jsonl --speakers-from-folders --skip-bad

        asr data import csv list.csv -o all.jsonl --columns id,audio,text,speaker

        asr data import csv calls.csv -o calls.jsonl --text-column transcription_final

        asr data import tsv cv-corpus/de/validated.tsv -o validated.jsonl --audio-root cv-corpus/de/clips

        asr data import kaldi egs/mini/data/train -o train.jsonl --audio-root egs/mini
    """
    needs_output(output, preview)
    _refuse_idle(format, audio_root, layout, speakers_from_folders)
    from asr.data.exchange import Columns, FaultError, Faults, read_corpus
    from asr.data.manifest import write_manifest
    from asr.files import refuse_same_file

    if output is not None and output.exists():
        refuse_same_file(output, _files_read(format, source))
    single = Columns(id_column, audio_column, text_column, duration_column, speaker_column)
    chosen = _columns(columns, single)
    faults, bar = Faults(skip=skip_bad), sys.stderr.isatty()
    try:
        if format == "folder":
            utterances = _read_folder(source, layout, speakers_from_folders, faults, chosen)
        else:
            if preview and format in ("csv", "tsv"):
                _show_columns(source, format, chosen)
            utterances = read_corpus(
                format, source, audio_root=audio_root, columns=chosen, faults=faults, show_progress=bar
            )
    except FaultError as error:
        raise FaultError(f"{error}. --skip-bad leaves such records out and lists them") from error
    if preview or output is None:
        _show(utterances, examples)
        _tell_left_out(faults, len(utterances), None, examples)
        tell_preview()
        return
    refuse_recordings(output, utterances)
    write_manifest(output, utterances)
    typer.echo(f"written: {output} ({_size(utterances)})")
    _list_left_out(output, faults, len(utterances))


def _refuse_idle(format: str, audio_root: Path | None, layout: str, speakers_from_folders: bool) -> None:
    if format == "folder" and audio_root is not None:
        raise ConfigError("--audio-root does nothing for folder: recordings are looked for in the folder itself")
    if format != "folder" and (layout != "auto" or speakers_from_folders):
        raise ConfigError(f"--layout and --speakers-from-folders belong to folder; {format} has none")


def _files_read(format: str, source: Path) -> list[Path]:
    """The files of a source that say what is in it; recordings besides, where it is a folder of them."""
    if not source.is_dir():
        return [source]
    if format == "folder":
        from asr.data.exchange.folder import survey

        contents = survey(source)
        return [*contents.recordings, *contents.texts, *contents.transcripts, *contents.metadata]
    from asr.data.exchange.kaldi import KALDI_FILES

    return [source / name for name in KALDI_FILES]


def _columns(names: str | None, single: "Columns") -> "Columns":
    from asr.data.exchange import Columns

    if names is None:
        return single
    if single.chosen():
        raise ConfigError("--columns names all columns of a table without a header: leave --text-column and such out")
    return Columns(names=tuple(name.strip() for name in names.split(",")))


def _read_folder(
    folder: Path, layout: Layout, speakers_from_folders: bool, faults: "Faults", columns: "Columns"
) -> "list[Utterance]":
    from asr.data.exchange import Columns
    from asr.data.exchange.folder import find_layout, read_folder, survey

    if columns != Columns():
        raise ConfigError("columns belong to csv and tsv; folder has none")
    if not folder.is_dir():
        raise ConfigError(f"expected a folder, got the file {folder}; tables are imported with `asr data import csv`")
    if layout == "auto":
        layout = find_layout(survey(folder))
    typer.echo(f"layout: {layout}")
    return read_folder(
        folder,
        layout,
        speakers_from_folders=speakers_from_folders,
        faults=faults,
        show_progress=sys.stderr.isatty(),
    )


def _show_columns(source: Path, format: str, columns: "Columns") -> None:
    from asr.data.exchange.table import fields_of_columns

    found = fields_of_columns(source, format, columns)
    typer.echo("columns: " + ", ".join(f"{shown(name)} → {shown(field)}" for name, field in found.items() if field))
    if idle := [shown(name) for name, field in found.items() if not field and name]:
        typer.echo(f"left out: {', '.join(idle)}")


def _show(utterances: "Sequence[Utterance]", num_examples: int) -> None:
    for utterance in utterances[:num_examples]:
        speaker = f"  speaker {shown(utterance.speaker)}" if utterance.speaker else ""
        typer.echo(f"{shown(utterance.id)}  {utterance.duration:.2f} s{speaker}\n  {shown(utterance.text)}")
    typer.echo(_size(utterances))


def _list_left_out(output: Path, faults: "Faults", num_kept: int) -> None:
    """Write the list of what was left out beside the manifest; where nothing was, remove an earlier one."""
    from asr.files import write_json_lines

    path = output.with_name(f"{output.stem}.left-out.jsonl")
    if faults.left_out:
        write_json_lines(path, [left_out.to_json() for left_out in faults.left_out])
    else:
        path.unlink(missing_ok=True)
    _tell_left_out(faults, num_kept, path, 0)


def _tell_left_out(faults: "Faults", num_kept: int, path: Path | None, num_examples: int) -> None:
    from asr.data.exchange.faults import CODES

    if not faults.left_out:
        return
    where = f", all listed in {path}" if path is not None else ""
    typer.echo(f"left out: {len(faults.left_out):,} of {len(faults.left_out) + num_kept:,}{where}")
    for code, count in faults.counts.most_common():
        typer.echo(f"  {count:,}  {CODES[code]} ({code})")
    for left_out in faults.left_out[:num_examples]:
        typer.echo(f"  {shown(left_out.place)}: {shown(left_out.message)}")


def _size(utterances: "Sequence[Utterance]") -> str:
    seconds = math.fsum(utterance.duration for utterance in utterances)
    if seconds >= SECONDS_IN_HOUR:
        length = f"{seconds / SECONDS_IN_HOUR:.2f} hours"
    else:
        length = f"{seconds / 60:.1f} minutes" if seconds >= 60 else f"{seconds:.1f} seconds"
    return f"{len(utterances):,} utterances, {length}"
