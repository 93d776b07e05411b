"""What all readers have in common: from fields of manifest lines to utterances that a manifest can hold."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PureWindowsPath
from typing import Any
from urllib.parse import unquote

from asr.audio import AudioInfo, open_audio, probe
from asr.data.exchange.faults import Faults
from asr.data.manifest import Line, LineError, to_utterance, with_derived_ids
from asr.errors import AudioError, CorpusError
from asr.progress import track
from asr.text.encoding import EncodingFaultError, decode_lines
from asr.types import Utterance

IDS_SHOWN = 3
_FOREIGN_STARTS = ("~/", "$", "{", "file://")
_PLACEHOLDER = re.compile(r"(?:\$\w+|\$?\{\w+\})[/\\]")


@dataclass(frozen=True, slots=True)
class Record:
    """A manifest line to be, and where it stands in the source: `file:line`."""

    place: str
    fields: Mapping[str, Any]  # of a manifest; `id` and `duration` may be absent


def read_lines(path: Path) -> Iterator[tuple[str, str]]:
    """Yield `file:line` and text of each line that is not blank; UTF-8, a byte-order mark and CRLF tolerated.

    Raises `CorpusError` when the file cannot be read, and for bytes that are not UTF-8.
    """
    try:
        lines = decode_lines(read_bytes(path))
    except EncodingFaultError as fault:
        raise CorpusError(f"{path}:{fault.number}: {fault}") from fault
    return ((f"{path}:{number}", line) for number, line in enumerate(lines, start=1) if line.strip())


def read_bytes(path: Path) -> bytes:
    """The bytes of a file. Raises `CorpusError` when it cannot be read."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise CorpusError(f"cannot read {path}: {error.strerror}") from error


def to_utterances(
    records: Iterable[Record],
    audio_root: Path,
    source: Path,
    *,
    faults: Faults | None = None,
    show_progress: bool = False,
) -> list[Utterance]:
    """Check records as manifest lines are checked, measure missing durations, and make ids of file names.

    Args:
        records: in order.
        audio_root: what relative audio paths are relative to.
        source: for messages.
        faults: told of records that are malformed, repeat an id, or whose audio is not there or has no samples;
            None: the first of them is an error.
        show_progress: a bar while audio is measured.

    Raises `CorpusError` with the place of such a record, or when none is left.
    """
    faults = faults or Faults()
    drafts = list(_with_audio(_checked(records, audio_root.absolute(), faults), audio_root, faults))
    shown = show_progress and any(draft.is_unmeasured for draft in drafts)
    lines = list(_measured(track(drafts, "measuring audio", total=len(drafts), shown=shown), faults))
    utterances = [line.utterance for line in _with_unique_ids(with_derived_ids(lines), faults)]
    if not utterances:
        reason = f"all {len(faults.left_out)} were left out, the first: " if faults.left_out else ""
        first = f"{faults.left_out[0].place}: {faults.left_out[0].message}" if faults.left_out else "found none"
        raise CorpusError(f"{source}: expected utterances, {reason}{first}")
    return utterances


def measure(places: Mapping[str, str], show_progress: bool = False) -> dict[str, AudioInfo]:
    """Read the headers of audio files; where one does not state the length, the file is decoded.

    places: path -> where it is named, for messages. Every `num_samples` of the result is known.

    Raises `CorpusError` for audio that cannot be read.
    """
    infos = {}
    for path, place in track(places.items(), "measuring audio", total=len(places), shown=show_progress):
        try:
            infos[path] = _measure(path)
        except AudioError as error:
            raise CorpusError(f"{place}: {error}") from error
    return infos


def measure_utterances(utterances: Sequence[Utterance], show_progress: bool = False) -> dict[str, AudioInfo]:
    """The headers of all audio of `utterances`, by path: see `measure`."""
    return measure({u.audio_filepath: f"utterance {u.id!r}" for u in utterances}, show_progress)


def seconds(info: AudioInfo) -> float:
    """The length of audio that was measured."""
    assert info.duration is not None
    return info.duration


def some(ids: Iterable[str]) -> str:
    """A few ids, for messages.

    >>> some(["d", "a", "c", "b"])
    'a, b, c and 1 more'
    """
    ordered = sorted(ids)
    more = f" and {len(ordered) - IDS_SHOWN} more" if len(ordered) > IDS_SHOWN else ""
    return ", ".join(ordered[:IDS_SHOWN]) + more


def _measure(path: str) -> AudioInfo:
    info = probe(path)
    if info.num_samples is not None:
        return info
    with open_audio(path, info.sample_rate) as stream:
        return replace(info, num_samples=sum(len(block) for block in stream.decode()))


@dataclass(frozen=True, slots=True)
class _Draft:
    """A line whose duration may still be unknown, and is then 0."""

    line: Line
    is_unmeasured: bool


def _checked(records: Iterable[Record], audio_root: Path, faults: Faults) -> Iterator[_Draft]:
    for record in records:
        fields = dict(record.fields)
        duration = fields.get("duration")
        if duration is None:
            fields["duration"] = 0.0
        elif duration == 0:
            message = "expected a duration above 0 s, got 0; where the source states none, it is measured"
            faults.report("no-samples", record.place, message, id=str(fields.get("id") or ""))
            continue
        if isinstance(path := fields.get("audio_filepath"), str):
            if not _is_utf8(path):
                name = path.encode("utf-8", "backslashreplace").decode()
                faults.report("malformed", record.place, f"expected a file name in UTF-8, got {name}; rename the file")
                continue
            fields["audio_filepath"] = readable_path(path, audio_root)
        try:
            line = Line(record.place, to_utterance(fields, audio_root))
        except LineError as error:
            faults.report("malformed", record.place, str(error), id=str(fields.get("id") or ""))
        else:
            yield _Draft(line, duration is None)


def readable_path(path: str, audio_root: Path) -> str:
    """The path of an audio file as this machine knows it, from how other tools and machines write it.

    `~` is the home folder, `$data_root/` and `{data_root}/` (SpeechBrain's placeholders) and a leading `file://` say
    nothing, and the backslashes of a relative path of Windows part folders. A path that exists as it is stays.
    """
    if not path.startswith(_FOREIGN_STARTS) and "\\" not in path:
        return path
    if (audio_root / path).exists():
        return path
    path = path[match.end() :] if (match := _PLACEHOLDER.match(path)) else path
    path = unquote(path.removeprefix("file://")) if path.startswith("file://") else path
    if "\\" in path and not is_windows_path(path):
        path = path.replace("\\", "/")
    return str(Path.home() / path[2:]) if path.startswith("~/") else path


def _is_utf8(path: str) -> bool:
    """Whether a path can be written to a manifest: other bytes come as lone surrogates."""
    try:
        path.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def is_windows_path(path: str) -> bool:
    """Whether a path is absolute on Windows: `C:\\folder` or `\\\\server\\folder`."""
    return bool(PureWindowsPath(path).drive)


def _with_audio(drafts: Iterable[_Draft], audio_root: Path, faults: Faults) -> Iterator[_Draft]:
    """Leave out those whose file is not there; each file is looked for once."""
    is_there: dict[str, bool] = {}
    for draft in drafts:
        path = draft.line.utterance.audio_filepath
        if path not in is_there:
            is_there[path] = Path(path).is_file()
        if is_there[path]:
            yield draft
        else:
            message = f"no such audio file: {path}; relative paths are taken to begin at {audio_root}"
            relative = str(Path(path)).removeprefix(f"{audio_root.absolute()}/")
            if is_windows_path(relative):
                message = (
                    f"no such audio file: {relative}, a path of Windows; write paths that are relative to a folder of "
                    "this machine, and name that with --audio-root"
                )
            faults.report("missing-audio", draft.line.place, message, id=draft.line.utterance.id)


def _measured(drafts: Iterable[_Draft], faults: Faults) -> Iterator[Line]:
    """Fill in what is unmeasured; leave out audio that cannot be read or has no samples."""
    infos: dict[str, AudioInfo | AudioError] = {}
    for draft in drafts:
        line, path = draft.line, draft.line.utterance.audio_filepath
        if not draft.is_unmeasured:
            yield line
            continue
        if path not in infos:
            infos[path] = _try_to_measure(path)
        info = infos[path]
        if isinstance(info, AudioError):
            faults.report("unreadable-audio", line.place, str(info), id=line.utterance.id)
        elif not info.num_samples:
            message = f"{path}: the recording has no samples: it is empty, or its writer was cut off"
            faults.report("no-samples", line.place, message, id=line.utterance.id)
        elif (duration := round(seconds(info) - line.utterance.offset, 6)) <= 0:
            message = f"it starts at {line.utterance.offset:g} s, behind the end of the recording"
            faults.report("no-samples", line.place, message, id=line.utterance.id)
        else:
            yield Line(line.place, replace(line.utterance, duration=duration))


def _try_to_measure(path: str) -> AudioInfo | AudioError:
    try:
        return _measure(path)
    except AudioError as error:
        return error


def _with_unique_ids(lines: Iterable[Line], faults: Faults) -> Iterator[Line]:
    first: dict[str, Line] = {}
    for line in lines:
        id = line.utterance.id
        if (earlier := first.setdefault(id, line)) is line:
            yield line
        else:
            message = f"expected unique ids, got {id!r}, which stands at {earlier.place}, too"
            faults.report("duplicate-id", line.place, message, id=id)
