"""Kaldi's data directories: wav.scp, text, segments, utt2spk, spk2utt, spk2gender, utt2lang, utt2dur, reco2dur.

Reading. A wav.scp may hold plain paths. What Kaldi would hand to a shell (`sph2pipe … |`) or seek in an archive
(`wav.ark:1234`) is refused, never run: convert such audio to files first. Relative paths are relative to the working
directory, as in Kaldi. A speaker that has the name of the utterance means that the speaker is not known, Kaldi's
custom. An utterance lies in `text`, in `utt2spk` if there is one, and in `segments` or else `wav.scp`, or it is an
error. A segment's end of -1 is the recording's. Times are rounded to microseconds.

Writing. Lines are in the order of the C locale. Segments are written unless every utterance is a whole file. Kept are
id, text, speaker, lang and gender (`extra["gender"]`; female and male become f and m); white space between words
becomes one space. Other fields of a manifest have no place here. Ids with white space are refused. Where ids do not
begin with their speaker, Kaldi's `validate_data_dir.sh` wants `--no-spk-sort`.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from asr.audio import AudioInfo
from asr.data.archives import whole_directory
from asr.data.audio_cache import ROUNDED_SECONDS
from asr.data.exchange.faults import Faults
from asr.data.exchange.records import Record, measure_utterances, read_lines, seconds, some, to_utterances
from asr.errors import CorpusError
from asr.files import write_text
from asr.types import Utterance

# What may lie in a directory that is replaced.
KALDI_FILES = ("wav.scp", "text", "segments", "utt2spk", "spk2utt", "spk2gender", "utt2lang", "utt2dur", "reco2dur")
GENDERS = {"m": "m", "f": "f", "male": "m", "female": "f"}  # ours -> Kaldi's
END_OF_RECORDING = -1.0
ARCHIVE_OFFSET = re.compile(r":\d+$")

Tables = dict[str, list[str]]  # name of a file -> its lines


@dataclass(frozen=True, slots=True)
class Entry:
    """What stands behind a key, and where: `file:line`."""

    place: str
    value: str


def read_kaldi(
    directory: Path, *, audio_root: Path | None = None, faults: Faults | None = None, show_progress: bool = False
) -> list[Utterance]:
    """Read a data directory; see above, and `asr.data.exchange.read_corpus`."""
    faults = faults or Faults()
    audio = read_entries(directory / "wav.scp", faults)
    texts = read_entries(directory / "text", faults)
    has_segments = (directory / "segments").exists()
    spans = _read_segments(directory / "segments", audio, faults) if has_segments else _whole_files(audio, faults)
    _check_same(directory, "text", texts, spans, faults)
    fields = _Fields(directory, spans, faults)
    return to_utterances(
        _records(spans, texts, fields, faults),
        audio_root or Path.cwd(),
        directory,
        faults=faults,
        show_progress=show_progress,
    )


def write_kaldi(directory: Path, utterances: Sequence[Utterance], *, show_progress: bool = False) -> None:
    """Write a data directory, whole or not at all; see above, and `asr.data.exchange.write_corpus`."""
    tables = kaldi_tables(utterances, measure_utterances(utterances, show_progress))
    write_tables(directory, tables, replaces=KALDI_FILES)


def write_tables(directory: Path, tables: Tables, replaces: Sequence[str]) -> None:
    """Write files of sorted lines into a directory that may hold only files named in `replaces`."""
    with whole_directory(directory, replaces=replaces) as temporary:
        for name, lines in tables.items():
            # Code points sort as their UTF-8 bytes do, which is what LC_ALL=C compares.
            write_text(temporary / name, "".join(f"{line}\n" for line in sorted(lines)))


def kaldi_tables(utterances: Sequence[Utterance], infos: Mapping[str, AudioInfo]) -> Tables:
    """The lines of each file. infos: the headers of the audio, by path.

    Raises `CorpusError` for what Kaldi cannot hold, naming the utterance.
    """
    for utterance in utterances:
        _check_token(utterance.id, f"utterance {utterance.id!r}: id")
        _check_token(_speaker(utterance), f"utterance {utterance.id!r}: speaker")
        check_inside(utterance, infos[utterance.audio_filepath])
    tables: Tables = {
        "text": [f"{u.id} {' '.join(u.text.split())}".strip() for u in utterances],
        "utt2spk": [f"{u.id} {_speaker(u)}" for u in utterances],
        "spk2utt": _speakers_utterances(utterances),
        "utt2dur": [f"{u.id} {u.duration!r}" for u in utterances],
        "spk2gender": _genders(utterances),
        "utt2lang": [f"{u.id} {u.lang}" for u in utterances if u.lang],
    }
    recordings = {u.id: u.audio_filepath for u in utterances}
    if not _are_whole_files(utterances, infos):
        recordings = _recordings(utterances)
        names = {path: name for name, path in recordings.items()}
        tables["segments"] = [
            f"{u.id} {names[u.audio_filepath]} {u.offset!r} {round(u.offset + u.duration, 6)!r}" for u in utterances
        ]
    tables["wav.scp"] = [f"{name} {_plain_path(path)}" for name, path in recordings.items()]
    tables["reco2dur"] = [f"{name} {seconds(infos[path])!r}" for name, path in recordings.items()]
    return {name: lines for name, lines in tables.items() if lines}


def check_inside(utterance: Utterance, info: AudioInfo) -> None:
    """Raise `CorpusError` for an utterance that reaches past the end of its recording."""
    end = utterance.offset + utterance.duration
    if end > seconds(info) + ROUNDED_SECONDS:
        raise CorpusError(
            f"utterance {utterance.id!r}: it ends at {end:g} s, its recording {utterance.audio_filepath} at "
            f"{seconds(info):g} s; `asr check --fix` mends manifests"
        )


def read_entries(path: Path, faults: Faults | None = None) -> dict[str, Entry]:
    """Read lines of a key and a value, which may be empty.

    Raises `CorpusError` for a file that is not there. A key that comes twice is a fault.
    """
    faults = faults or Faults()
    entries: dict[str, Entry] = {}
    for place, line in read_lines(path):
        key, *rest = re.split(r"[ \t]+", line.strip(" \t\r"), maxsplit=1)
        if key in entries:
            message = f"expected each key once, got {key!r}, which stands at {entries[key].place}"
            faults.report("duplicate-id", place, message, id=key)
        else:
            entries[key] = Entry(place, rest[0] if rest else "")
    return entries


def _whole_files(audio: Mapping[str, Entry], faults: Faults) -> dict[str, Record]:
    spans = {}
    for id, entry in audio.items():
        try:
            spans[id] = Record(entry.place, {"audio_filepath": _audio_path(entry)})
        except CorpusError as error:
            faults.take("unreadable-audio", entry.place, error, id=id)
    return spans


def _records(
    spans: Mapping[str, Record], texts: Mapping[str, Entry], fields: _Fields, faults: Faults
) -> Iterator[Record]:
    for id, span in spans.items():
        if id not in texts:  # reported before
            continue
        try:
            yield Record(span.place, fields.of(id) | {"text": texts[id].value})
        except CorpusError as error:
            faults.take("malformed", span.place, error, id=id)


class _Fields:
    """What the optional files say about utterances."""

    def __init__(self, directory: Path, spans: Mapping[str, Record], faults: Faults) -> None:
        self._spans = spans
        self._speakers = _read_optional(directory / "utt2spk")
        self._genders = _read_optional(directory / "spk2gender")
        self._languages = _read_optional(directory / "utt2lang")
        # Of whole files; a segment says itself how long it is, and reco2dur how long its recording.
        self._durations = _read_optional(directory / "reco2dur") | _read_optional(directory / "utt2dur")
        if self._speakers:
            _check_same(directory, "utt2spk", self._speakers, spans, faults)

    def of(self, id: str) -> dict[str, Any]:
        """The fields of an utterance's manifest line, but for its text."""
        fields = {"id": id, **self._spans[id].fields}
        if "offset" not in fields and id in self._durations:
            fields["duration"] = _number(self._durations[id])
        speaker = self._speakers[id].value if id in self._speakers else id
        if speaker != id:
            fields["speaker"] = speaker
        if speaker in self._genders:
            fields["gender"] = self._genders[speaker].value
        if id in self._languages:
            fields["lang"] = self._languages[id].value
        return fields


def _read_optional(path: Path) -> dict[str, Entry]:
    return read_entries(path) if path.exists() else {}


def _audio_path(entry: Entry) -> str:
    path = entry.value
    if path.endswith("|") or path.startswith("|"):
        raise CorpusError(
            f"{entry.place}: expected the path of an audio file, got a command, which is never run: {path!r}; "
            "convert the audio to files (sph2pipe, sox, ffmpeg), and name these"
        )
    if ARCHIVE_OFFSET.search(path) and not Path(path).exists():
        raise CorpusError(
            f"{entry.place}: expected the path of an audio file, got a place in an archive: {path!r}; "
            "write the recordings to files (wav-copy), and name these"
        )
    if path in ("", "-"):
        raise CorpusError(f"{entry.place}: expected the path of an audio file behind the id, got {path!r}")
    return path


def _read_segments(path: Path, audio: Mapping[str, Entry], faults: Faults) -> dict[str, Record]:
    spans = {}
    for id, entry in read_entries(path, faults).items():
        try:
            spans[id] = Record(entry.place, _span(path, entry, audio))
        except CorpusError as error:
            faults.take("malformed", entry.place, error, id=id)
    return spans


def _span(path: Path, entry: Entry, audio: Mapping[str, Entry]) -> dict[str, Any]:
    columns = entry.value.split()
    if len(columns) != 3:
        raise CorpusError(
            f"{entry.place}: expected utterance, recording, start and end, got {len(columns) + 1} columns; "
            "a channel cannot be chosen: split the recording into one file a channel"
        )
    if columns[0] not in audio:
        raise CorpusError(f"{entry.place}: the recording {columns[0]!r} is not in {path.with_name('wav.scp')}")
    start, end = (_number(Entry(entry.place, column)) for column in columns[1:])
    span: dict[str, Any] = {"audio_filepath": _audio_path(audio[columns[0]]), "offset": start}
    if end != END_OF_RECORDING:
        if not 0 <= start < end:
            raise CorpusError(f"{entry.place}: expected a start before the end, got {start:g} s and {end:g} s")
        span["duration"] = round(end - start, 6)
    return span


def _number(entry: Entry) -> float:
    try:
        return float(entry.value)
    except ValueError:
        raise CorpusError(f"{entry.place}: expected a number of seconds, got {entry.value!r}") from None


def _check_same(
    directory: Path, name: str, entries: Mapping[str, Entry], spans: Mapping[str, Record], faults: Faults
) -> None:
    """Report ids that are not in both. What lacks a speaker alone is kept when others are left out."""
    whole = "segments" if (directory / "segments").exists() else "wav.scp"
    if not faults.skip:
        if unknown := set(entries) - set(spans):
            first = min(unknown)
            faults.report("no-audio", entries[first].place, f"not in {directory / whole}: {some(unknown)}")
        if missing := set(spans) - set(entries):
            faults.report("no-text", str(directory / name), f"lacks {len(missing)} ids of {whole}: {some(missing)}")
    if name != "text":
        return
    known = {left_out.id for left_out in faults.left_out}
    for id in entries.keys() - spans.keys() - known:
        faults.report("no-audio", entries[id].place, f"not in {directory / whole}: {id}", id=id)
    for id in spans.keys() - entries.keys():
        faults.report("no-text", spans[id].place, f"not in {directory / name}: {id}", id=id)


def _speaker(utterance: Utterance) -> str:
    return utterance.id if utterance.speaker is None else utterance.speaker


def _check_token(token: str, what: str) -> None:
    if not token or " " in token or not token.isprintable():
        raise CorpusError(f"{what}: expected printable characters and no white space for Kaldi, got {token!r}")


def _plain_path(path: str) -> str:
    if path.strip() != path or "\n" in path or path.endswith("|") or ARCHIVE_OFFSET.search(path):
        raise CorpusError(f"{path!r}: Kaldi would not read this as the name of a file; rename it")
    return path


def _speakers_utterances(utterances: Iterable[Utterance]) -> list[str]:
    ids: defaultdict[str, list[str]] = defaultdict(list)
    for utterance in utterances:
        ids[_speaker(utterance)].append(utterance.id)
    return [" ".join((speaker, *sorted(spoken))) for speaker, spoken in ids.items()]


def _genders(utterances: Iterable[Utterance]) -> list[str]:
    genders: dict[str, str] = {}
    for utterance in utterances:
        gender, speaker = GENDERS.get(str(utterance.extra.get("gender"))), _speaker(utterance)
        if gender is not None and genders.setdefault(speaker, gender) != gender:
            raise CorpusError(f"utterance {utterance.id!r}: speaker {speaker!r} has another gender elsewhere")
    return [f"{speaker} {gender}" for speaker, gender in genders.items()]


def _are_whole_files(utterances: Sequence[Utterance], infos: Mapping[str, AudioInfo]) -> bool:
    uses = Counter(utterance.audio_filepath for utterance in utterances)
    return max(uses.values(), default=0) <= 1 and all(
        utterance.offset == 0 and abs(utterance.duration - seconds(infos[utterance.audio_filepath])) <= ROUNDED_SECONDS
        for utterance in utterances
    )


def _recordings(utterances: Sequence[Utterance]) -> dict[str, str]:
    """A name for each recording, and its path: the file's stem where these tell all apart, else an utterance's id."""
    first = {utterance.audio_filepath: utterance.id for utterance in reversed(utterances)}
    stems = {Path(path).stem: path for path in first}
    if len(stems) == len(first) and all(stem.isprintable() and " " not in stem for stem in stems):
        return stems
    return {id: path for path, id in first.items()}
