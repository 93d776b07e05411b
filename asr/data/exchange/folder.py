"""A folder of recordings with their texts, as people keep them. Five layouts, found by their files:

- beside: a text file of the same name beside each recording, `a.wav` and `a.txt`
- parallel: the same in folders of their own, `wav/ann/a.wav` and `txt/ann/a.txt`
- librispeech: `*.trans.txt` with lines `id TEXT`, the recordings `id.flac` in the same folder
- ljspeech: `metadata.csv` with lines `id|text` or `id|text|normalised text`, no header; recordings in `wavs/` or beside
- audiofolder: HuggingFace's `metadata.csv`, `.tsv` or `.jsonl` with the columns `file_name` and `transcription`, `text`
  or `sentence`, in the folder or in folders of it such as `train`

Subfolders are searched; hidden files are not. A recording without a text, and a text without a recording, are faults:
nothing is passed over. Only files called README, LICENSE and the like are no texts.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from asr.audio import AUDIO_SUFFIXES
from asr.data.exchange.faults import Faults
from asr.data.exchange.nemo import json_records
from asr.data.exchange.records import Record, read_bytes, read_lines, to_utterances
from asr.data.exchange.table import KNOWN_COLUMNS, Columns, table_records
from asr.errors import CorpusError
from asr.text.encoding import EncodingFaultError, decode
from asr.types import Utterance

Layout = Literal["beside", "parallel", "librispeech", "ljspeech", "audiofolder"]
LAYOUTS: tuple[Layout, ...] = ("beside", "parallel", "librispeech", "ljspeech", "audiofolder")

# Recordings that some machine may not read: they are named, not passed over.
FOREIGN_SUFFIXES = frozenset({".m4a", ".mp4", ".aac", ".wma", ".webm", ".amr", ".3gp", ".mka", ".mkv", ".mov", ".spx"})
RECORDING_SUFFIXES = AUDIO_SUFFIXES | FOREIGN_SUFFIXES
NO_TEXTS = frozenset(
    {"readme", "license", "licence", "copying", "notice", "changelog", "speakers", "chapters", "books"}
)
TRANSCRIPTS = ".trans.txt"
METADATA = ("metadata.csv", "metadata.tsv", "metadata.jsonl")
LJSPEECH_FOLDERS = ("wavs", "wav", "audio", "clips", ".")
FILE_NAME = "file_name"
PLACES_SHOWN = 3


@dataclass
class Contents:
    """The files of a folder and of those in it, sorted, hidden ones left out."""

    root: Path
    recordings: list[Path] = field(default_factory=list)
    texts: list[Path] = field(default_factory=list)  # *.txt, but for transcripts of many
    transcripts: list[Path] = field(default_factory=list)  # *.trans.txt
    metadata: list[Path] = field(default_factory=list)


def survey(folder: Path) -> Contents:
    """List what is in a folder. Raises `CorpusError` when it, or a folder in it, cannot be entered."""
    contents = Contents(folder)
    for parent, folders, names in os.walk(folder, onerror=_raise_unreadable):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            path, lower = Path(parent, name), name.lower()
            if name.startswith("."):
                continue
            if path.suffix.lower() in RECORDING_SUFFIXES:
                contents.recordings.append(path)
            elif lower.endswith(TRANSCRIPTS):
                contents.transcripts.append(path)
            elif lower in METADATA:
                contents.metadata.append(path)
            elif path.suffix.lower() == ".txt":
                contents.texts.append(path)
    return contents


def find_layout(contents: Contents) -> Layout:
    """The one layout that a folder's files are of. Raises `CorpusError` when none is, or several are."""
    found: list[Layout] = []
    if set(map(_place_beside, contents.recordings)) & set(map(_place_beside, contents.texts)):
        found.append("beside")
    elif _is_parallel(contents):
        found.append("parallel")
    if contents.transcripts:
        found.append("librispeech")
    if contents.metadata:
        found.append("audiofolder" if any(map(_names_files, contents.metadata)) else "ljspeech")
    if len(found) == 1:
        return found[0]
    if found:
        raise CorpusError(
            f"{contents.root}: expected one layout, got files of {' and '.join(found)}; say which with --layout"
        )
    raise CorpusError(
        f"{contents.root}: expected recordings with .txt files beside them (or wav/a.wav, txt/a.txt), *{TRANSCRIPTS} "
        "as LibriSpeech has them, or a metadata.csv (LJSpeech, HuggingFace), got "
        f"{len(contents.recordings):,} recordings, "
        f"{len(contents.texts):,} other .txt files and none of these; a table of another name is imported with "
        "`asr data import csv`"
    )


def read_folder(
    folder: Path,
    layout: Layout | None = None,
    *,
    speakers_from_folders: bool = False,
    faults: Faults | None = None,
    show_progress: bool = False,
) -> list[Utterance]:
    """Read a folder of recordings and their texts; see above.

    Args:
        folder: where they are.
        layout: None: the one that its files are of.
        speakers_from_folders: the name of the folder in `folder` in which a recording lies is its speaker.
        faults: as of `asr.data.exchange.read_corpus`.
        show_progress: a bar while audio is measured.

    Raises:
        CorpusError: it has no such layout or several, nothing in it can be used, or a fault.
    """
    faults, folder = faults or Faults(), folder.absolute()
    contents = survey(folder)
    layout = layout or find_layout(contents)
    records = list(_READERS[layout](contents, faults))
    if not records:
        _check_all_are_named(contents, layout, records, faults)
    utterances = to_utterances(records, folder, folder, faults=faults, show_progress=show_progress)
    _check_all_are_named(contents, layout, records, faults)
    if not speakers_from_folders:
        return utterances
    root = 1 if layout == "parallel" else 0  # there the first folder is that of all recordings
    return [replace(utterance, speaker=_folder(utterance, folder, root)) for utterance in utterances]


# ---- layouts ---------------------------------------------------------------------------------------------------------


def _beside(contents: Contents, faults: Faults) -> Iterator[Record]:
    return _paired(contents, faults, _place_beside, "is beside it")


def _parallel(contents: Contents, faults: Faults) -> Iterator[Record]:
    return _paired(contents, faults, lambda path: _place_in_tree(path, contents), "is in the folders of recordings")


def _paired(contents: Contents, faults: Faults, place_of: Callable[[Path], Path], where: str) -> Iterator[Record]:
    """Recordings with the text files that stand in the same place."""
    texts = {place_of(path): path for path in contents.texts}
    for path in contents.recordings:
        source = texts.get(place_of(path))
        if source is None:  # said later, of all layouts alike
            continue
        try:
            text = " ".join(decode(read_bytes(source)).split())
        except EncodingFaultError as fault:
            faults.report("malformed", str(source), f"line {fault.number}: {fault}", id=path.stem)
            continue
        yield Record(str(source), {"audio_filepath": _relative(path, contents), "text": text})
    with_audio = set(map(place_of, contents.recordings))
    for place, source in texts.items():
        if place not in with_audio and source.stem.lower() not in NO_TEXTS:
            faults.report("no-audio", str(source), f"no recording of this name {where}", id=source.stem)


def _place_beside(path: Path) -> Path:
    return path.with_suffix("")


def _place_in_tree(path: Path, contents: Contents) -> Path:
    """The path below the first folder, without the suffix; of a file that is in none, its whole path."""
    below = path.relative_to(contents.root).parts[1:]
    return Path(*below).with_suffix("") if below else path


def _is_parallel(contents: Contents) -> bool:
    """Whether recordings and texts lie in different folders, and some in the same place of these."""
    trees, places = [], []
    for paths in (contents.recordings, contents.texts):
        deep = [path for path in paths if len(path.relative_to(contents.root).parts) > 1]
        trees.append({path.relative_to(contents.root).parts[0] for path in deep})
        places.append({_place_in_tree(path, contents) for path in deep})
    return not trees[0] & trees[1] and bool(places[0] & places[1])


def _librispeech(contents: Contents, faults: Faults) -> Iterator[Record]:
    recordings = {(path.parent, path.stem): path for path in contents.recordings}
    for transcript in contents.transcripts:
        for place, line in read_lines(transcript):
            id, *words = line.split(None, 1)
            path = recordings.get((transcript.parent, id))
            if path is None:
                faults.report("no-audio", place, f"no recording called {id} is in {transcript.parent}", id=id)
                continue
            speaker = {"speaker": id.partition("-")[0]} if id.count("-") == 2 else {}
            fields = {"id": id, "audio_filepath": _relative(path, contents), "text": "".join(words).strip()}
            yield Record(place, fields | speaker)


def _ljspeech(contents: Contents, faults: Faults) -> Iterator[Record]:
    recordings = {path.with_suffix(""): path for path in contents.recordings}
    for metadata in contents.metadata:
        for place, line in read_lines(metadata):
            id, *texts = (cell.strip() for cell in line.split("|"))
            if not id or len(texts) not in (1, 2):
                message = f"expected id|text or id|text|normalised text, got {1 + len(texts)} cells: {line[:60]!r}"
                faults.report("malformed", place, message, id=id)
                continue
            name = id.removesuffix(Path(id).suffix) if Path(id).suffix.lower() in RECORDING_SUFFIXES else id
            places = [metadata.parent / folder / name for folder in LJSPEECH_FOLDERS]
            path = next((recordings[place] for place in places if place in recordings), None)
            if path is None:
                faults.report("no-audio", place, f"no recording called {name} is in {metadata.parent / 'wavs'}", id=id)
                continue
            fields = {"id": name, "audio_filepath": _relative(path, contents)}
            yield Record(place, fields | {"text": texts[-1] or texts[0]})


def _audiofolder(contents: Contents, faults: Faults) -> Iterator[Record]:
    for metadata in contents.metadata:
        suffix = metadata.suffix.lower()
        if suffix == ".jsonl":
            records = _json_records(metadata, faults)
        else:
            records = table_records(metadata, suffix[1:], Columns(audio_filepath=FILE_NAME), faults)
        for record in records:
            name = record.fields.get("audio_filepath")
            path = {"audio_filepath": str(metadata.parent / name)} if isinstance(name, str) else {}
            yield Record(record.place, {**record.fields, **path})


_READERS = {
    "beside": _beside,
    "parallel": _parallel,
    "librispeech": _librispeech,
    "ljspeech": _ljspeech,
    "audiofolder": _audiofolder,
}


def _json_records(metadata: Path, faults: Faults) -> Iterator[Record]:
    """Rows of a metadata.jsonl, its keys the manifest's: `file_name` and the first of the columns known for texts."""
    for record in json_records(metadata, faults):
        fields = dict(record.fields)
        usual = next((name for name in KNOWN_COLUMNS["text"] if name in fields), None)
        if FILE_NAME not in fields or usual is None:
            expected = f"{FILE_NAME} and one of {', '.join(KNOWN_COLUMNS['text'])}"
            faults.report("malformed", record.place, f"expected {expected}, got {', '.join(fields) or 'nothing'}")
            continue
        fields["audio_filepath"] = fields.pop(FILE_NAME)
        fields["text"] = fields.pop(usual)
        yield Record(record.place, fields)


# ---- what is common --------------------------------------------------------------------------------------------------


def _check_all_are_named(contents: Contents, layout: Layout, records: Sequence[Record], faults: Faults) -> None:
    """Report recordings that no text belongs to, and that were not reported yet."""
    named = {os.path.normpath(contents.root / str(record.fields.get("audio_filepath"))) for record in records}
    known = {left_out.id for left_out in faults.left_out if layout in ("beside", "parallel")}
    where = {
        "beside": "no .txt of this name is beside it",
        "parallel": "no .txt is in the same place of the folders of texts",
        "librispeech": f"no *{TRANSCRIPTS} names it",
    }
    for path in contents.recordings:
        if os.path.normpath(path) not in named and path.stem not in known:
            message = where.get(layout, f"no line of {_places(contents.metadata)} names it")
            faults.report("no-text", str(path), message, id=path.stem)


def _places(paths: Sequence[Path]) -> str:
    more = f" and {len(paths) - PLACES_SHOWN} more" if len(paths) > PLACES_SHOWN else ""
    return ", ".join(map(str, paths[:PLACES_SHOWN])) + more


def _names_files(metadata: Path) -> bool:
    """Whether a metadata file is HuggingFace's."""
    first = next((line for _, line in read_lines(metadata)), "")
    return metadata.suffix.lower() == ".jsonl" or FILE_NAME in first


def _relative(path: Path, contents: Contents) -> str:
    return str(path.relative_to(contents.root))


def _folder(utterance: Utterance, folder: Path, number: int) -> str | None:
    """The name of a folder on the way from `folder` to a recording; where there is none, the speaker that is known."""
    folders = Path(utterance.audio_filepath).relative_to(folder.absolute()).parts[:-1]
    return folders[number] if len(folders) > number else utterance.speaker


def _raise_unreadable(error: OSError) -> None:
    raise CorpusError(f"{error.filename}: cannot be listed: {error.strerror}") from error
