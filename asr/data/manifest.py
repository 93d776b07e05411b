"""Manifests: one JSON object a line, with NeMo's field names.

    {"id": "84-0001", "audio_filepath": "wav/84.flac", "duration": 4.2, "text": "go on", "speaker": "84"}

`audio_filepath`, `duration` (seconds) and `text` are required; `offset` (seconds), `speaker`, `lang` and
`id` are optional, and null means absent. Every other field is kept in `Utterance.extra`. Relative audio
paths are relative to the manifest. Files are UTF-8; a byte-order mark, CRLF and blank lines are tolerated.

Texts are returned as they are written; `asr.text.normalize` is the place that changes them.
"""

from __future__ import annotations

import json
import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path, PurePath
from typing import Any

from asr.errors import ManifestError
from asr.files import write_text
from asr.text.encoding import foreign_encoding
from asr.types import Utterance

MILLISECONDS = 1000  # a second
FIELDS = frozenset(f.name for f in fields(Utterance)) - {"extra"}


@dataclass(frozen=True, slots=True)
class Line:
    """An utterance and where it stands: `place` is `manifest:line`, lines counted from 1."""

    place: str
    utterance: Utterance


@dataclass(frozen=True, slots=True)
class Scan:
    """What a manifest holds: its well-formed lines, and one error for each of the others, both in order."""

    lines: tuple[Line, ...]
    errors: tuple[ManifestError, ...]


def read_manifest(path: str | Path) -> list[Utterance]:
    """Read a manifest; audio paths come back absolute.

    An utterance without an id gets one made of its file's stem: `talk` for `wav/talk.flac`, with as many
    parent folders as it takes to tell files of one name apart (`bed-0001`, `cat-0001`), and with the offset
    in milliseconds when several such lines share the file (`talk-0012340`). The order of lines plays no part.

    Raises `ManifestError`, with file and line, for the first malformed line, else for the first repeated id.
    """
    return [line.utterance for line in read_manifest_lines(path)]


def read_manifest_lines(path: str | Path) -> list[Line]:
    """Read a manifest as `read_manifest` does, each utterance with its place."""
    scan = scan_manifest(path)
    if scan.errors:
        raise scan.errors[0]
    first: dict[str, Line] = {}
    for line in scan.lines:
        if (earlier := first.setdefault(line.utterance.id, line)) is not line:
            raise _duplicate_id(earlier, line)
    return list(scan.lines)


def scan_manifest(path: str | Path) -> Scan:
    """Read a manifest as `read_manifest` does, but go on past malformed lines and let ids repeat.

    Raises `ManifestError` when the file itself cannot be read.
    """
    path = Path(path)
    directory = path.absolute().parent
    lines: list[Line] = []
    errors: list[ManifestError] = []
    for number, raw in enumerate(_read_lines(path), start=1):
        if not raw.strip():
            continue
        place = f"{path}:{number}"
        try:
            lines.append(Line(place, to_utterance(parse_line(raw), directory)))
        except LineError as error:
            errors.append(ManifestError(f"{place}: {error}"))
    return Scan(with_derived_ids(lines), tuple(errors))


def write_manifest(path: str | Path, utterances: Iterable[Utterance]) -> None:
    """Write a manifest that `read_manifest` returns unchanged, whole or not at all.

    Audio below the manifest's directory is written relative to it, so that the two can be moved together;
    other audio by its absolute path.

    Raises `ManifestError` for an utterance that could not be read back (a negative duration, a repeated id,
    an `extra` that is not JSON or uses a field's name), and `OutputError` when the file cannot be written;
    `path` is then untouched.
    """
    path = Path(path)
    directory = path.absolute().parent
    seen: set[str] = set()
    lines: list[str] = []
    for position, utterance in enumerate(utterances, start=1):
        where = f"cannot write {path}: utterance {position} ({utterance.id!r})"
        if utterance.id in seen:
            raise ManifestError(f"{where}: this id was used before; ids must be unique")
        seen.add(utterance.id)
        try:
            lines.append(_to_line(utterance, directory))
        except LineError as error:
            raise ManifestError(f"{where}: {error}") from error
    write_text(path, "".join(lines))


class LineError(Exception):
    """What is wrong with a line, before file and number are known."""


def _read_lines(path: Path) -> list[bytes]:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ManifestError(f"cannot read manifest {path}: {error.strerror}") from error
    if name := foreign_encoding(data):
        raise ManifestError(
            f"{path}:1: expected UTF-8, got {name}; convert the file to UTF-8 (iconv -f {name} -t UTF-8)"
        )
    # Split at line feeds alone: U+2028 and its like may stand inside a JSON string.
    return data.removeprefix(b"\xef\xbb\xbf").split(b"\n")


def parse_line(raw: bytes) -> dict[str, Any]:
    """The JSON object of a line, its keys unique; raises `LineError`."""
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        got = f"byte 0x{raw[error.start]:02x} at column {error.start + 1}"
        raise LineError(f"expected UTF-8, got {got}; convert the file to UTF-8") from error
    try:
        record = json.loads(text, object_pairs_hook=_unique_keys, parse_constant=_refuse_constant)
        if "\\u" in text:
            json.dumps(record, ensure_ascii=False).encode("utf-8")
    except UnicodeEncodeError as error:
        raise LineError("expected Unicode text, got half of a surrogate pair (\\ud800-\\udfff)") from error
    except RecursionError as error:
        raise LineError("expected a JSON object, got one nested too deeply to read") from error
    except json.JSONDecodeError as error:
        where = f"{error.msg} at column {error.colno}"
        raise LineError(f"expected a JSON object, got {_shorten(text)}: {where}") from error
    except ValueError as error:  # from the hooks, and from Python's limit on the digits of an integer
        raise LineError(f"expected a JSON object, got {_shorten(text)}: {error}") from error
    if not isinstance(record, dict):
        raise LineError(f"expected a JSON object {{...}}, got {_shorten(text)}")
    return record


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    record = dict(pairs)
    if len(record) < len(pairs):
        repeated = next(key for key, count in Counter(key for key, _ in pairs).items() if count > 1)
        raise ValueError(f"field {repeated!r} stands there twice")
    return record


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not a JSON number; expected a finite one")


def to_utterance(record: Mapping[str, Any], directory: Path) -> Utterance:
    """Check every field; raises `LineError`. An absent id becomes the empty string, for `with_derived_ids` to fill."""
    audio_filepath = _string(record, "audio_filepath")
    if not PurePath(audio_filepath).name or "\0" in audio_filepath:
        raise LineError(f"expected the path of an audio file in 'audio_filepath', got {audio_filepath!r}")
    identifier = _optional_string(record, "id")
    if identifier == "":
        raise LineError("expected a non-empty 'id', got ''; without the field it is made of the file name")
    return Utterance(
        id=identifier or "",
        audio_filepath=str(directory / audio_filepath),
        duration=_seconds(record, "duration"),
        text=_string(record, "text"),
        offset=0.0 if record.get("offset") is None else _seconds(record, "offset"),
        speaker=_optional_string(record, "speaker"),
        lang=_optional_string(record, "lang"),
        extra={key: value for key, value in record.items() if key not in FIELDS},
    )


def _field(record: Mapping[str, Any], name: str) -> Any:
    if name not in record:
        present = ", ".join(record) or "none"
        expected = "audio_filepath, duration and text"
        raise LineError(f"missing field {name!r}; expected {expected}, got {_shorten(present)}")
    return record[name]


def _string(record: Mapping[str, Any], name: str) -> str:
    value = _field(record, name)
    if not isinstance(value, str):
        raise LineError(f"expected a string in {name!r}, got {_shorten(json.dumps(value))}; put it in quotes")
    return value


def _optional_string(record: Mapping[str, Any], name: str) -> str | None:
    return None if record.get(name) is None else _string(record, name)


def _seconds(record: Mapping[str, Any], name: str) -> float:
    value = _field(record, name)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise LineError(f"expected a number of seconds in {name!r}, got {_shorten(json.dumps(value))}")
    try:
        seconds = float(value)
    except OverflowError:
        seconds = math.inf
    if not 0 <= seconds * MILLISECONDS < math.inf:  # false for NaN too; ids are made of milliseconds
        raise LineError(f"expected a finite number of seconds, zero or more, in {name!r}, got {value!r:.40}")
    return seconds


def with_derived_ids(lines: Sequence[Line]) -> tuple[Line, ...]:
    """Give utterances without an id the one that `read_manifest` describes."""
    anonymous = [line.utterance.audio_filepath for line in lines if not line.utterance.id]
    names = _short_names(set(anonymous))
    uses = Counter(anonymous)
    named: list[Line] = []
    for line in lines:
        utterance = line.utterance
        if not utterance.id:
            name = names[utterance.audio_filepath]
            if uses[utterance.audio_filepath] > 1:
                name += f"-{round(utterance.offset * MILLISECONDS):07d}"  # padded, so that names sort by time
            line = Line(line.place, replace(utterance, id=name))
        named.append(line)
    return tuple(named)


def _short_names(paths: set[str]) -> dict[str, str]:
    """For each path its stem, behind as many parent folders as tell it from the others of that stem."""
    same_stem: defaultdict[str, list[PurePath]] = defaultdict(list)
    for path in map(PurePath, paths):
        same_stem[path.stem].append(path)
    names: dict[str, str] = {}
    for stem, group in same_stem.items():
        depth = 0
        # Files that differ in their suffix alone stay equal at every depth; the duplicate is reported then.
        while len({_parents(path, depth) for path in group}) < len({path.parent for path in group}):
            depth += 1
        names.update((str(path), "-".join((*_parents(path, depth), stem))) for path in group)
    return names


def _parents(path: PurePath, depth: int) -> tuple[str, ...]:
    folders = path.parts[1:-1]  # without the root
    return folders[max(0, len(folders) - depth) :]


def _duplicate_id(first: Line, second: Line) -> ManifestError:
    number = first.place.rpartition(":")[2]
    return ManifestError(
        f"{second.place}: expected unique ids, got {second.utterance.id!r}, the id of line {number} "
        f"({first.utterance.audio_filepath}); give each line an 'id' of its own"
    )


def _to_line(utterance: Utterance, directory: Path) -> str:
    if clash := sorted(FIELDS & utterance.extra.keys()):
        raise LineError(f"expected no field of the manifest itself in 'extra', got {', '.join(clash)}")
    record: dict[str, Any] = {"id": utterance.id, "audio_filepath": _portable_path(utterance, directory)}
    record |= {"duration": utterance.duration, "text": utterance.text}
    record |= {"offset": utterance.offset} if utterance.offset else {}
    record |= {name: value for name in ("speaker", "lang") if (value := getattr(utterance, name)) is not None}
    try:
        line = json.dumps(record | dict(utterance.extra), ensure_ascii=False, allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise LineError(f"expected values that JSON can hold, got {error}") from error
    to_utterance(parse_line(line.encode("utf-8", "surrogatepass")), directory)  # what is written can be read
    return line + "\n"


def _portable_path(utterance: Utterance, directory: Path) -> str:
    if not utterance.audio_filepath:
        raise LineError("expected the path of an audio file in 'audio_filepath', got ''")
    path = Path(utterance.audio_filepath).absolute()
    return path.relative_to(directory).as_posix() if path.is_relative_to(directory) else str(path)


def _shorten(text: str, limit: int = 60) -> str:
    return text if len(text) <= limit else text[: limit - 1] + "…"
