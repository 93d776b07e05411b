"""What all readers have in common: from fields of manifest lines to utterances that a manifest can hold."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from asr.audio import AudioInfo, open_audio, probe
from asr.data.manifest import Line, LineError, to_utterance, with_derived_ids
from asr.errors import AudioError, CorpusError
from asr.progress import track
from asr.types import Utterance

IDS_SHOWN = 3


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
        data = path.read_bytes()
    except OSError as error:
        raise CorpusError(f"cannot read {path}: {error.strerror}") from error
    # At line feeds alone: U+2028 and its like may stand inside a text.
    for number, raw in enumerate(data.removeprefix(b"\xef\xbb\xbf").split(b"\n"), start=1):
        place = f"{path}:{number}"
        try:
            line = raw.removesuffix(b"\r").decode("utf-8")
        except UnicodeDecodeError as error:
            raise CorpusError(
                f"{place}: expected UTF-8, got byte 0x{raw[error.start]:02x}; convert the file to UTF-8"
            ) from error
        if line.strip():
            yield place, line


def to_utterances(
    records: Iterable[Record], audio_root: Path, source: Path, *, show_progress: bool = False
) -> list[Utterance]:
    """Check records as manifest lines are checked, measure missing durations, and make ids of file names.

    Args:
        records: in order.
        audio_root: what relative audio paths are relative to.
        source: for messages.
        show_progress: a bar while audio is measured.

    Raises `CorpusError` with the place of a record that is malformed, repeats an id, or whose audio is not there.
    """
    lines: list[Line] = []
    unmeasured: dict[int, str] = {}  # index -> path
    for index, record in enumerate(records):
        fields = dict(record.fields)
        if fields.get("duration") is None:
            fields["duration"] = 0.0
            unmeasured[index] = record.place
        try:
            lines.append(Line(record.place, to_utterance(fields, audio_root.absolute())))
        except LineError as error:
            raise CorpusError(f"{record.place}: {error}") from error
    if not lines:
        raise CorpusError(f"{source}: expected utterances, found none")
    _check_audio(lines, audio_root)
    infos = measure({lines[i].utterance.audio_filepath: place for i, place in unmeasured.items()}, show_progress)
    for index in unmeasured:
        lines[index] = _measured(lines[index], infos)
    return [line.utterance for line in _check_ids(with_derived_ids(lines))]


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


def _measured(line: Line, infos: Mapping[str, AudioInfo]) -> Line:
    utterance = line.utterance
    duration = round(seconds(infos[utterance.audio_filepath]) - utterance.offset, 6)
    if duration < 0:
        raise CorpusError(f"{line.place}: it starts at {utterance.offset:g} s, behind the end of the recording")
    return Line(line.place, replace(utterance, duration=duration))


def _check_audio(lines: Sequence[Line], audio_root: Path) -> None:
    first = {line.utterance.audio_filepath: line.place for line in reversed(lines)}
    for path, place in reversed(first.items()):
        if not Path(path).is_file():
            raise CorpusError(f"{place}: no such audio file: {path}; relative paths are taken to begin at {audio_root}")


def _check_ids(lines: Sequence[Line]) -> Sequence[Line]:
    first: dict[str, Line] = {}
    for line in lines:
        if (earlier := first.setdefault(line.utterance.id, line)) is not line:
            raise CorpusError(
                f"{line.place}: expected unique ids, got {line.utterance.id!r}, which stands at {earlier.place}, too"
            )
    return lines
