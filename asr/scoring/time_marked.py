"""NIST's time-marked files: STM says who said what in which stretch of a recording, CTM which word came when.

- STM, references: `FILE CHANNEL SPEAKER BEGIN END [<label,label,…>] text`; a text of IGNORE_TIME_SEGMENT_IN_SCORING
  takes its stretch out of the scoring
- CTM, hypotheses: `FILE CHANNEL BEGIN DURATION WORD [CONFIDENCE]`, where the confidence plays no part and may be NA

Times are seconds; lines that begin with `;;` are comments. Words of a CTM are given to segments as NIST sclite 2.10
does it, see `assign_words`, and segments are called as sclite calls them: `1462-003` is the fourth of speaker 1462.
"""

from __future__ import annotations

import math
import re
import struct
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from asr.errors import ScoringError
from asr.scoring.scored_set import Details
from asr.scoring.transcripts import Entry, Line, content, shorten
from asr.types import Seconds

IGNORED = "IGNORE_TIME_SEGMENT_IN_SCORING"
_IGNORED_SPELLINGS = (IGNORED, IGNORED.replace("_", ""))  # sclite takes both, in either case
_NUMBER = r"[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?"
_UNKNOWN = r"(?i:n/?a|nan|-|\?)"  # confidences that a recogniser does not know
_CTM = re.compile(rf"\s*(\S+)\s+(\S+)\s+({_NUMBER})\s+({_NUMBER})\s+(\S+)(?:\s+(?:{_NUMBER}|{_UNKNOWN}))?\s*")
_ALTERNATION = "<ALT"  # of sclite's <ALT_BEGIN>, <ALT> and <ALT_END>, which have `*` for times


@dataclass(frozen=True, slots=True)
class Recording:
    """One channel of an audio file."""

    file: str
    channel: str

    def __str__(self) -> str:
        return f"{self.file} {self.channel}"


@dataclass(frozen=True, slots=True)
class Segment:
    """A stretch of a recording in which one speaker speaks: a line of an STM file."""

    recording: Recording
    speaker: str
    begin: Seconds
    end: Seconds
    text: str
    labels: tuple[str, ...] = ()  # subsets that it belongs to, such as ("o", "f0", "male")
    place: str = ""  # file:line

    @property
    def is_ignored(self) -> bool:
        """Whether what is said here does not count."""
        text = self.text.upper()
        return any(spelling in text for spelling in _IGNORED_SPELLINGS)

    @property
    def details(self) -> Details:
        """Speaker, length, `file`, `channel`, and the labels as `label_1`, `label_2`, …."""
        labels = {f"label_{number}": label for number, label in enumerate(self.labels, 1)}
        fields = {"file": self.recording.file, "channel": self.recording.channel} | labels
        return Details(self.speaker, self.end - self.begin, fields)


@dataclass(frozen=True, slots=True)
class TimedWord:
    """A recognised word and when it was said: a line of a CTM file."""

    begin: Seconds
    duration: Seconds
    text: str
    place: str = ""  # file:line

    @property
    def midpoint(self) -> Seconds:
        """Where it counts as said."""
        return self.begin + self.duration / 2


# ---- lines -----------------------------------------------------------------------------------------------------------


def parse_stm(lines: Iterable[Line]) -> list[Segment]:
    """The segments of an STM file, in its order, ignored ones too. Raises `ScoringError` for a malformed line."""
    return [_segment(line) for line in content(lines)]


def _segment(line: Line) -> Segment:
    fields = line.text.split(None, 5)
    times = [_seconds(field) for field in fields[3:5]]
    if len(fields) < 5 or None in times:
        raise ScoringError(
            f"{line.place}: expected STM, `FILE CHANNEL SPEAKER BEGIN END [<labels>] text`, got {shorten(line.text)}"
        )
    begin, end = (time for time in times if time is not None)
    if end < begin:
        raise ScoringError(f"{line.place}: expected a segment that ends after it begins, got {begin:g} to {end:g} s")
    text = fields[5].rstrip() if len(fields) > 5 else ""
    labels: tuple[str, ...] = ()
    if text.startswith("<"):  # as sclite: the first word is then no word
        label, *words = text.split(None, 1)
        if not label.endswith(">"):
            raise ScoringError(f"{line.place}: expected labels such as <o,f0,male>, got {shorten(label)}")
        labels, text = tuple(label[1:-1].split(",")), "".join(words)
    return Segment(Recording(fields[0], fields[1]), fields[2], begin, end, text, labels, line.place)


def parse_ctm(lines: Iterable[Line]) -> dict[Recording, list[TimedWord]]:
    """The words of a CTM file in order of time; those that begin together stay in the file's order.

    Raises `ScoringError` for a malformed line or one with alternatives.
    """
    found: dict[tuple[str, str], list[TimedWord]] = defaultdict(list)  # a Recording a word would take half the time
    for line in content(lines):
        file, channel, word = _timed_word(line)
        found[file, channel].append(word)
    return {Recording(*names): sorted(words, key=lambda word: word.begin) for names, words in found.items()}


def _timed_word(line: Line) -> tuple[str, str, TimedWord]:
    """File, channel and word."""
    if fields := _CTM.fullmatch(line.text):
        file, channel, begin, duration, text = fields.groups()
        word = TimedWord(float(begin), float(duration), text, line.place)
        if 0 <= word.begin < math.inf and 0 <= word.duration < math.inf and text[:4].upper() != _ALTERNATION:
            return file, channel, word
    if _ALTERNATION in line.text.upper():
        raise ScoringError(f"{line.place}: expected one hypothesis, got alternatives; leave the best in the file")
    raise ScoringError(
        f"{line.place}: expected CTM, `FILE CHANNEL BEGIN DURATION WORD [CONFIDENCE]`, got {shorten(line.text)}"
    )


def _seconds(field: str) -> Seconds | None:
    """A time of zero or more, None where `field` is something else."""
    seconds = float(field) if re.fullmatch(_NUMBER, field) else math.nan
    return seconds if 0 <= seconds < math.inf else None  # false for NaN too


# ---- segments and words ----------------------------------------------------------------------------------------------


def segment_entries(segments: Sequence[Segment]) -> list[Entry]:
    """The segments that count, called as in sclite's reports: speaker, hyphen, its running number from 000."""
    num_before: Counter[str] = Counter()
    entries = []
    for segment in segments:
        if not segment.is_ignored:
            id = f"{segment.speaker}-{num_before[segment.speaker]:03d}"
            num_before[segment.speaker] += 1
            entries.append(Entry(id, segment.text, segment.place, segment.details))
    return entries


def assign_words(
    segments: Sequence[Segment], words: Mapping[Recording, Sequence[TimedWord]]
) -> list[Sequence[TimedWord]]:
    """Give each word to a segment of its recording, as NIST sclite 2.10 does.

    In order of time, a segment takes every word, from where the one before it stopped, whose midpoint is before the
    segment's end, and the last one takes what is left. So words in a gap go to the segment after it, and no word is
    lost but those that an ignored segment takes. sclite keeps the ends of segments in single precision, the times of
    words in double, which decides where a midpoint falls on a border; this is followed.

    Args:
        segments: in any order
        words: as `parse_ctm` gives them

    Returns:
        For each of `segments` its words in order of time.

    Raises:
        ScoringError: a word is of a recording without segments.
    """
    indices: dict[Recording, list[int]] = defaultdict(list)
    for index in sorted(range(len(segments)), key=lambda index: segments[index].begin):
        indices[segments[index].recording].append(index)
    _check_recordings(dict.fromkeys(segment.recording for segment in segments), words)
    taken: list[Sequence[TimedWord]] = [()] * len(segments)
    for recording, spoken in words.items():
        start = 0
        for index in indices[recording]:
            end, stop = _single_precision(segments[index].end), start
            while stop < len(spoken) and (index == indices[recording][-1] or spoken[stop].midpoint < end):
                stop += 1
            taken[index] = spoken[start:stop]
            start = stop
    return taken


def _check_recordings(known: Collection[Recording], words: Mapping[Recording, Sequence[TimedWord]]) -> None:
    for recording, spoken in words.items():
        if recording not in known:
            names = ", ".join(f"'{name}'" for name in list(known)[:3])
            raise ScoringError(
                f"{spoken[0].place}: expected a file and channel that the references have, such as {names},"
                f" got '{recording}'"
            )


def assigned_entries(segments: Sequence[Segment], words: Mapping[Recording, Sequence[TimedWord]]) -> list[Entry]:
    """What was recognised in each segment that counts, ids as of `segment_entries`. Raises as `assign_words`."""
    counted = [taken for segment, taken in zip(segments, assign_words(segments, words)) if not segment.is_ignored]
    return [
        Entry(entry.id, _spoken(taken), taken[0].place if taken else entry.place)
        for entry, taken in zip(segment_entries(segments), counted)
    ]


def recording_entries(words: Mapping[Recording, Sequence[TimedWord]]) -> list[Entry]:
    """What was recognised in each file, whose name is the id. Raises `ScoringError` for a file with two channels."""
    entries: dict[str, Entry] = {}
    for recording, spoken in words.items():
        if other := entries.get(recording.file):
            raise ScoringError(
                f"{spoken[0].place}: expected one channel of {recording.file}, as references without channels have,"
                f" got {recording.channel} besides that of {other.place}; score against an STM"
            )
        entries[recording.file] = Entry(recording.file, _spoken(spoken), spoken[0].place)
    return list(entries.values())


def matched_entries(references: Sequence[Segment], hypotheses: Sequence[Segment]) -> list[Entry]:
    """What was recognised in each segment that counts, where the hypotheses have the same segments as the references.

    Raises:
        ScoringError: a hypothesis is not of a segment of the references: other recording, speaker or times.
    """
    counted = iter(segment_entries(references))
    ids = {_span(segment): None if segment.is_ignored else next(counted).id for segment in references}
    entries = []
    for segment in hypotheses:
        if _span(segment) not in ids:
            raise ScoringError(
                f"{segment.place}: expected a segment that the references have too, got {_span(segment)}"
                " (file, channel, speaker, seconds)"
            )
        id = ids[_span(segment)]
        if id is not None:
            entries.append(Entry(id, segment.text, segment.place))
    return entries


def _span(segment: Segment) -> str:
    # Milliseconds, since writers differ in how many decimals they give.
    return f"{segment.recording} {segment.speaker} {segment.begin:.3f} {segment.end:.3f}"


def _spoken(words: Sequence[TimedWord]) -> str:
    return " ".join(word.text for word in words)


def _single_precision(seconds: Seconds) -> Seconds:
    try:
        return float(struct.unpack("f", struct.pack("f", seconds))[0])
    except OverflowError:
        return math.inf
