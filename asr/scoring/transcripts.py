"""Files with one utterance a line -> entries: NIST's TRN, Kaldi's `text`, JSON lines, plain lines.

- TRN: `words (speaker-utterance)`; lines that begin with `;;` are comments
- Kaldi's `text`: `id words…`; `utt2spk` beside it has the speakers
- JSON lines: our manifests, `hypotheses.jsonl` of `asr evaluate`, rows with `text` and `pred_text` as NeMo and the
  Open ASR leaderboard write them
- plain lines: line 7 is the utterance `line-000007`

All are UTF-8; a byte-order mark, CRLF, a missing last line feed and (but in plain lines) blank lines are tolerated.
Texts are returned as they are written, without the white space around them. Every error names file and line.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from asr.data.manifest import Line as ManifestLine
from asr.data.manifest import scan_manifest
from asr.errors import ScoringError
from asr.scoring.scored_set import Details
from asr.text.encoding import EncodingFaultError, decode_lines
from asr.types import Utterance

COMMENT = ";;"
UTT2SPK = "utt2spk"

Side = Literal["reference", "hypothesis"]
# Where a row has its text; the first that is there counts.
_TEXT_KEYS: Mapping[Side, tuple[str, ...]] = {
    "reference": ("reference", "text"),
    "hypothesis": ("hypothesis", "pred_text", "text"),
}
# Keys of a row that say nothing of the utterance itself; `fields` are those of a manifest that was scored.
_TEXTS = frozenset({"id", "reference", "marked_reference", "hypothesis", "text", "pred_text"})
_NO_DETAILS = _TEXTS | {"errors", "reference_words", "speaker", "duration", "fields"}
_SHOWN = 60  # characters of a line in a message


@dataclass(frozen=True, slots=True)
class Line:
    """A line of a file and where it stands: `place` is `file:line`, lines counted from 1."""

    place: str
    text: str


@dataclass(frozen=True, slots=True)
class Entry:
    """An utterance of a reference or hypothesis file."""

    id: str
    text: str
    place: str  # file:line
    details: Details = field(default_factory=Details)
    utterance: Utterance | None = None  # where the file is a manifest


def read_lines(path: Path) -> list[Line]:
    """The lines of a text file in UTF-8.

    Raises:
        ScoringError: the file cannot be read, is in another encoding, or has a NUL or a carriage return inside a line.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ScoringError(f"cannot read {path}: {error.strerror or error}") from error
    try:
        return [Line(f"{path}:{number}", line) for number, line in enumerate(decode_lines(data), 1)]
    except EncodingFaultError as fault:
        raise ScoringError(f"{path}:{fault.number}: {fault}") from fault


def content(lines: Iterable[Line]) -> Iterator[Line]:
    """The lines that are neither blank nor NIST's comments."""
    return (line for line in lines if line.text.strip() and not line.text.lstrip().startswith(COMMENT))


def shorten(text: str) -> str:
    """A text as a message shows it."""
    return repr(text if len(text) <= _SHOWN else text[: _SHOWN - 1] + "…")


# ---- TRN -------------------------------------------------------------------------------------------------------------


def parse_trn(lines: Iterable[Line]) -> list[Entry]:
    """Entries of a TRN file. Raises `ScoringError` for a line that does not end with an id in parentheses."""
    return [_trn_entry(line) for line in content(lines)]


def _trn_entry(line: Line) -> Entry:
    text = line.text.rstrip()
    opening = text.rfind("(")  # the last one: words may be optional, and then stand in parentheses too
    id = text[opening + 1 : -1].strip()
    if opening < 0 or not text.endswith(")") or id.split() != [id] or ")" in id:
        raise ScoringError(f"{line.place}: expected TRN, `words (speaker-utterance)`, got {shorten(text)}")
    return Entry(id, text[:opening].strip(), line.place, Details(speaker=trn_speaker(id)))


def trn_speaker(id: str) -> str | None:
    """The speaker of an utterance id as sclite sees it with `-i spu_id` (or `rm`, `swb`): what is before the hyphen.

    Without a hyphen it is what is before the first underscore, without either None, where sclite stops.

    >>> trn_speaker("1462-170138-0001"), trn_speaker("fjcs0_sa1"), trn_speaker("b_c-3"), trn_speaker("4k0c0301")
    ('1462', 'fjcs0', 'b_c', None)
    """
    separator = "-" if "-" in id else "_"
    return id.partition(separator)[0] or None if separator in id else None


# ---- Kaldi, plain lines ----------------------------------------------------------------------------------------------


def parse_kaldi(lines: Iterable[Line], speakers: Mapping[str, str] | None = None) -> list[Entry]:
    """Entries of Kaldi's `text`, where an id alone is an empty text.

    Args:
        lines: of the file
        speakers: utterance id -> speaker, from `read_utt2spk`

    Raises:
        ScoringError: a line begins with white space, or an utterance has no speaker.
    """
    entries = []
    for line in lines:
        if not line.text.strip():
            continue
        if line.text[0].isspace():
            raise ScoringError(
                f"{line.place}: expected an id at the front of the line, as Kaldi's `text` has it, got white space"
            )
        id, *words = line.text.split(None, 1)
        if speakers is not None and id not in speakers:
            raise ScoringError(f"{line.place}: expected a speaker of {id} in {UTT2SPK} of the same folder, got none")
        details = Details(speaker=speakers[id]) if speakers is not None else Details()
        entries.append(Entry(id, "".join(words).rstrip(), line.place, details))
    return entries


def read_utt2spk(path: Path) -> dict[str, str]:
    """Utterance id -> speaker from Kaldi's `utt2spk`. Raises `ScoringError` for a line that is not such a pair."""
    speakers = {}
    for line in read_lines(path):
        fields = line.text.split()
        if len(fields) != 2:
            raise ScoringError(f"{line.place}: expected `utterance speaker`, got {shorten(line.text)}")
        speakers[fields[0]] = fields[1]
    return speakers


def parse_plain(lines: Iterable[Line]) -> list[Entry]:
    """One entry for each line, blank ones too; the ids are the numbers of the lines."""
    return [Entry(f"line-{number:06d}", line.text.strip(), line.place) for number, line in enumerate(lines, 1)]


# ---- JSON lines ------------------------------------------------------------------------------------------------------


def parse_json_lines(path: Path, lines: Iterable[Line], side: Side) -> list[Entry]:
    """Entries of a file with one JSON object a line.

    A file whose rows have `audio_filepath` is a manifest, and ids that are not there are made of the names of the
    audio files (asr/data/manifest.py); other rows have an `id`. The text of a reference is `reference` or `text`; that
    of a hypothesis `hypothesis`, `pred_text` or, but not in a manifest, where it is what was said, `text`.

    Args:
        path: the file
        lines: its lines
        side: what is wanted of each row

    Raises:
        ScoringError: a line is no JSON object, or has no id or no such text.
        ManifestError: a line of a manifest is malformed.
    """
    rows = [(line.place, _row(line)) for line in lines if line.text.strip()]
    if rows and "audio_filepath" in rows[0][1]:
        scan = scan_manifest(path)
        if scan.errors:
            raise scan.errors[0]
        return [_manifest_entry(line, side) for line in scan.lines]
    return [_row_entry(place, row, side) for place, row in rows]


def _row(line: Line) -> dict[str, Any]:
    try:
        row = json.loads(line.text)
    except (ValueError, RecursionError) as error:
        raise ScoringError(
            f"{line.place}: expected one JSON object on each line, got {shorten(line.text)}: {error}"
        ) from error
    if not isinstance(row, dict):
        raise ScoringError(f"{line.place}: expected a JSON object {{...}}, got {shorten(line.text)}")
    return row


def _manifest_entry(line: ManifestLine, side: Side) -> Entry:
    utterance = line.utterance
    if side == "reference":
        known = dict(utterance.extra) | ({"lang": utterance.lang} if utterance.lang is not None else {})
        details = Details(utterance.speaker, utterance.duration, known)
        return Entry(utterance.id, utterance.text, line.place, details, utterance)
    found = [key for key in _TEXT_KEYS[side] if key in utterance.extra]
    if not found:
        raise ScoringError(
            f"{line.place}: expected what was recognised in `hypothesis` or `pred_text`, got a manifest, whose `text`"
            " is what was said; is this the reference?"
        )
    return Entry(utterance.id, _text(utterance.extra, found[0], line.place), line.place)


def _row_entry(place: str, row: Mapping[str, Any], side: Side) -> Entry:
    id = row.get("id")
    if not isinstance(id, str) or not id:
        raise ScoringError(f"{place}: expected an utterance's id in `id`, a string, got {shorten(json.dumps(id))}")
    found = [key for key in _TEXT_KEYS[side] if key in row]
    if not found:
        raise ScoringError(f"{place}: expected the {side} in {_either(_TEXT_KEYS[side])}, got {_either(list(row))}")
    return Entry(id, _text(row, found[0], place), place, _row_details(row, place))


def _row_details(row: Mapping[str, Any], place: str) -> Details:
    speaker, duration = row.get("speaker"), row.get("duration")
    if speaker is not None and not isinstance(speaker, str):
        raise ScoringError(f"{place}: expected a string in `speaker`, got {shorten(json.dumps(speaker))}")
    number = isinstance(duration, int | float) and not isinstance(duration, bool)
    if duration is not None and not (number and 0 <= duration < math.inf):
        raise ScoringError(f"{place}: expected a number of seconds in `duration`, got {shorten(json.dumps(duration))}")
    fields = row.get("fields") or {}
    if not isinstance(fields, dict):
        raise ScoringError(f"{place}: expected an object in `fields`, got {shorten(json.dumps(fields))}")
    return Details(speaker, duration, fields | {key: row[key] for key in row if key not in _NO_DETAILS})


def _text(row: Mapping[str, Any], key: str, place: str) -> str:
    text = row[key]
    if not isinstance(text, str):
        raise ScoringError(f"{place}: expected a string in `{key}`, got {shorten(json.dumps(text))}")
    return text.strip()


def _either(names: Sequence[str]) -> str:
    return " or ".join(f"`{name}`" for name in names) or "nothing"
