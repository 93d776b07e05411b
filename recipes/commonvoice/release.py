"""The tables of a Common Voice release: what all releases have in common, and what changed between them."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from rich.console import Console

from asr.data.exchange.records import Record, to_utterances
from asr.data.exchange.rows import read_rows
from asr.errors import CorpusError
from asr.types import Utterance

REQUIRED = ("client_id", "path", "sentence")
# Column -> field; "accent" became "accents" on the way.
KEPT = {"age": "age", "gender": "gender", "accent": "accents", "accents": "accents", "variant": "variant"}
DURATIONS = "clip_durations.tsv"  # since release 16.1
MISSING_SHOWN = 3


def read_split(folder: Path, language: str, split: str, *, skip_missing_clips: bool) -> list[Utterance]:
    """Read `<split>.tsv` with sentences as they are written; ids are the clips' names, speakers the client ids.

    Raises `CorpusError` for a malformed line, columns that lack, another language's file, and missing clips.
    """
    durations = _read_durations(folder / DURATIONS)
    records, missing = [], []
    for record in _records(folder, language, split, durations):
        if Path(record.fields["audio_filepath"]).is_file():
            records.append(record)
        else:
            missing.append(record)
    if missing:
        _tell_missing(folder, missing, skip_missing_clips)
    return to_utterances(records, folder, folder / f"{split}.tsv", show_progress=sys.stderr.isatty())


def _records(folder: Path, language: str, split: str, durations: Mapping[str, float]) -> Iterator[Record]:
    for place, row in _read_table(folder / f"{split}.tsv", REQUIRED):
        locale = row.get("locale")
        if locale and locale != language:
            raise CorpusError(f"{place}: expected data.options.language, {language!r}, in every line, got {locale!r}")
        clip = row["path"] if "." in row["path"] else f"{row['path']}.mp3"  # the first releases leave the suffix out
        fields: dict[str, Any] = {
            "id": Path(clip).stem,
            "audio_filepath": str(folder / "clips" / clip),
            "duration": durations.get(clip),
            "text": row["sentence"],
            "speaker": row["client_id"] or None,
            "lang": language,
        }
        fields |= {field: row[column] for column, field in KEPT.items() if row.get(column)}
        yield Record(place, fields)


def _read_durations(path: Path) -> dict[str, float]:
    if not path.exists():
        return {}
    durations = {}
    for place, row in _read_table(path, ("clip", "duration[ms]")):
        if not row["duration[ms]"].isdecimal():
            raise CorpusError(f"{place}: expected milliseconds, got {row['duration[ms]']!r}")
        durations[row["clip"]] = int(row["duration[ms]"]) / 1000
    return durations


def _read_table(path: Path, required: tuple[str, ...]) -> Iterator[tuple[str, dict[str, str]]]:
    """Rows by column. Quotation marks mean nothing in these files: many sentences have a single one."""
    rows = read_rows(path, "tsv")
    place, header = next(rows, (str(path), []))
    if lacking := [column for column in required if column not in header]:
        raise CorpusError(f"{place}: expected the columns {', '.join(required)}, got none called {', '.join(lacking)}")
    for place, row in rows:
        yield place, dict(zip(header, row, strict=True))


def _tell_missing(folder: Path, missing: list[Record], skip: bool) -> None:
    names = ", ".join(Path(record.fields["audio_filepath"]).name for record in missing[:MISSING_SHOWN])
    more = f" and {len(missing) - MISSING_SHOWN:,} more" if len(missing) > MISSING_SHOWN else ""
    what = f"{missing[0].place}: clips that are not in {folder / 'clips'}: {names}{more}"
    if not skip:
        raise CorpusError(f"{what}; unpack the archive anew, or leave them out: +data.options.skip_missing_clips=true")
    Console(stderr=True, markup=False, highlight=False, soft_wrap=True).print(f"left out: {what}")
