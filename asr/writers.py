"""Transcript -> text of a file format, and the name of the file it goes to.

A format is one function in `WRITERS`, from a `Transcript` and the file that was transcribed to the whole text of the
output. Formats that have a place for the file's name write it.

Aligned words of a whole set go through `ctm`, those of one utterance through `text_grid`; texts of a whole set go
through `trn`, and `stm` where their times count.
"""

from __future__ import annotations

import json
import math
import os
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from asr.errors import ConfigError, OutputError
from asr.types import Seconds, Transcript, Word

if TYPE_CHECKING:
    from asr.scoring.time_marked import Segment

Writer = Callable[[Transcript, str | None], str]

STDIN = "-"

# A silence this long ends a segment: longer than pauses inside a sentence, which stay below one second.
SEGMENT_PAUSE_SECONDS = 1.0

_TIME_DECIMALS = 2  # whisper's; one frame of 10 ms
_PROBABILITY_DECIMALS = 4
_MILLISECOND_DECIMALS = 3  # of alignments: frames need not be whole hundredths of a second
_MILLISECOND = 0.001
# White space, control characters, and what some file system or path refuses; at the front also what hides a file or
# makes a CTM line a comment.
_UNSAFE = re.compile(r"^[.;]|[\s\x00-\x1f\x7f/\\:*?\"<>|]")


def render(transcript: Transcript, name: str, file: str | None = None) -> str:
    """Write `transcript` in the format called `name`, one of `WRITERS`.

    Args:
        transcript: what was recognised
        name: the format
        file: what was transcribed, as the user named it, for formats that write it; None for samples in memory

    Raises:
        ConfigError: there is no such format.
    """
    if name not in WRITERS:
        raise ConfigError(f"expected an output format among {', '.join(WRITERS)}, got {name!r}")
    return WRITERS[name](transcript, file)


def json_line(transcript: Transcript, file: str) -> str:
    """The same object as in the format json, in one line: several of them are JSON lines."""
    return _json(transcript, file, indent=None)


def _txt(transcript: Transcript, _file: str | None) -> str:
    return transcript.text + "\n"


def _json(transcript: Transcript, file: str | None, *, indent: int | None = 2) -> str:
    named = {} if file is None else {"file": file}
    text = json.dumps({**named, **whisper_object(transcript)}, ensure_ascii=False, allow_nan=False, indent=indent)
    # A warning may name a file whose name is not UTF-8, which Python holds as lone surrogates that no file takes.
    # Written as \udcxx they are valid JSON and read back as they were.
    return text.encode("utf-8", errors="backslashreplace").decode("utf-8") + "\n"


WRITERS: Mapping[str, Writer] = {"txt": _txt, "json": _json}


def whisper_object(transcript: Transcript) -> dict[str, Any]:
    """The object whisper writes as JSON, less what a CTC model does not have, plus `duration`, `warnings` and `score`.

    A score is the sum of its `parts`, natural logarithms. Where an N-best list was asked for, `alternatives` has the
    other texts with their scores, best first.

    Times are seconds with two decimals. Each `word` keeps whisper's leading space; `text` has none, neither of the
    whole nor of a segment. Without word times there is one segment over the whole recording, without `words`.
    """
    written: dict[str, Any] = {
        "text": transcript.text,
        "segments": list(_whisper_segments(transcript)),
        "duration": _time(transcript.duration),
        "warnings": list(transcript.warnings),
    }
    if transcript.parts is not None:
        written |= {"score": transcript.score, "parts": asdict(transcript.parts)}
    if transcript.alternatives:
        written["alternatives"] = [
            {"text": other.text, "score": other.score, "parts": asdict(other.parts)}
            for other in transcript.alternatives
        ]
    return written


def segments(words: Sequence[Word]) -> list[tuple[Word, ...]]:
    """Split words, in order of time, where nothing is said for `SEGMENT_PAUSE_SECONDS` or longer."""
    # Compared in milliseconds: 2.3 - 1.3 is a pause of one second although the floats differ by less.
    pause_milliseconds = round(1000 * SEGMENT_PAUSE_SECONDS)
    starts = [0]
    for index, (word, following) in enumerate(pairwise(words), start=1):
        if round(1000 * (following.start - word.end)) >= pause_milliseconds:
            starts.append(index)
    ends = [*starts[1:], len(words)]
    return [tuple(words[start:end]) for start, end in zip(starts, ends) if start < end]


def _whisper_segments(transcript: Transcript) -> Iterator[dict[str, Any]]:
    if transcript.text and not transcript.words:
        yield {"id": 0, "start": 0.0, "end": _time(transcript.duration), "text": transcript.text}
    for id, words in enumerate(segments(transcript.words)):
        yield {
            "id": id,
            "start": _time(words[0].start),
            "end": _time(words[-1].end),
            "text": " ".join(word.text for word in words),
            "words": [_whisper_word(word) for word in words],
        }


def _whisper_word(word: Word) -> dict[str, Any]:
    return {
        "word": f" {word.text}",
        "start": _time(word.start),
        "end": _time(word.end),
        "probability": round(word.confidence, _PROBABILITY_DECIMALS),
    }


def _time(seconds: float) -> float:
    return round(seconds, _TIME_DECIMALS)


def output_paths(inputs: Sequence[str], directory: Path, suffix: str) -> list[Path]:
    """Choose a file below `directory` for each input so that no two different inputs share one.

    The name is the first of these that no other input claims: `a.txt`; `a.wav.txt` (beside `a.mp3.txt`);
    `monday/a.wav.txt`; `june/monday/a.wav.txt`; and so on up the input's folders. All inputs that claim the same
    name move on together, so the outcome does not depend on their order.

    Args:
        inputs: audio files, `-` for stdin (called `stdin`); the same file twice gets the same output
        directory: folder of the outputs
        suffix: of the output files, with its dot

    Returns:
        One path for each input, in order.
    """
    sources = [_absolute("stdin" if name == STDIN else name) for name in inputs]
    rungs = dict.fromkeys(sources, 0)
    while crowded := _crowded(rungs):
        for source in crowded:
            rungs[source] += 1
    return [directory / (_claim(source, rungs[source]) + suffix) for source in sources]


def _absolute(name: str) -> Path:
    # Not Path.resolve(): two links to one recording have names of their own.
    return Path(os.path.abspath(name))  # noqa: PTH100


def _crowded(rungs: Mapping[Path, int]) -> list[Path]:
    """Sources whose claim another source makes too, less those that have no further name."""
    claims = {source: _claim(source, rung) for source, rung in rungs.items()}
    times = Counter(claims.values())
    return [source for source, claim in claims.items() if times[claim] > 1 and rungs[source] < _last_rung(source)]


def _claim(source: Path, rung: int) -> str:
    return source.stem if rung == 0 else "/".join(source.parts[1:][-rung:])


def _last_rung(source: Path) -> int:
    return len(source.parts) - 1


# ---- alignments ------------------------------------------------------------------------------------------------------


def safe_names(ids: Sequence[str]) -> dict[str, str]:
    """A name for each utterance id that is a file's name everywhere and a field of a CTM: the id where it can be.

    White space and characters such as `/` become `_`.

    Raises:
        OutputError: two ids would get one name, or one apart from case, which some file systems do not tell apart.
    """
    taken: dict[str, str] = {}
    names = {}
    for id in ids:
        names[id] = name = _UNSAFE.sub("_", id)
        other = taken.setdefault(name.casefold(), id)
        if other != id:
            raise OutputError(
                f"the utterance ids {other!r} and {id!r} would both be called {name!r} in the output; "
                "give them ids in the manifest that differ in more than case, white space and the characters of paths"
            )
    return names


def ctm(recordings: Mapping[str, Sequence[Word]]) -> str:
    """Words in NIST's CTM: file, channel 1, begin, duration, word, confidence; sorted by file, then begin.

    recordings: name without white space -> words in order of time. Seconds have three decimals; begin and duration
    add up to the rounded end, so that what did not overlap does not. A duration is a millisecond at least.
    """
    lines = []
    for name, words in sorted(recordings.items()):  # by code point, which is the order of the bytes
        for word in words:
            begin, end = round(word.start, _MILLISECOND_DECIMALS), round(word.end, _MILLISECOND_DECIMALS)
            duration = max(end - begin, _MILLISECOND)
            lines.append(f"{name} 1 {begin:.3f} {duration:.3f} {word.text} {word.confidence:.4f}\n")
    return "".join(lines)


def trn(texts: Mapping[str, str]) -> str:
    """Texts in NIST's TRN, one a line: `words (id)`, in the order given.

    texts: utterance id -> text; sclite takes what is before the id's first hyphen as the speaker

    Raises:
        OutputError: an id has white space or parentheses, or a text begins with `;;` and would be a comment.
    """
    lines = []
    for id, text in texts.items():
        _check_nist_name(id, "an id", where=id, reserved="()")
        lines.append(_nist_line([*text.split(), f"({id})"], where=id))
    return "".join(lines)


def stm(segments: Sequence[Segment]) -> str:
    """Segments in NIST's STM: file, channel, speaker, begin, end, labels where there are any, text; in the order given.

    Seconds have three decimals. Raises `OutputError` for what would be read back as something else: white space in a
    name or label, a text without labels that begins with `<`, a segment that ends before it begins.
    """
    return "".join(_stm_line(segment) for segment in segments)


def _stm_line(segment: Segment) -> str:
    where = f"{segment.recording} {segment.speaker} at {segment.begin:g} s"
    names = {"a file": segment.recording.file, "a channel": segment.recording.channel, "a speaker": segment.speaker}
    for what, name in names.items():
        _check_nist_name(name, what, where)
    if not 0 <= segment.begin <= segment.end < math.inf:
        raise OutputError(f"{where}: expected a segment that ends after it begins, got an end at {segment.end:g} s")
    words = segment.text.split()
    if not segment.labels and words and words[0].startswith("<"):
        raise OutputError(f"{where}: expected a text that begins with a word, got {words[0]!r}, where labels stand")
    for label in segment.labels:
        _check_nist_name(label or "-", "a label", where, reserved=",")
    labels = [f"<{','.join(segment.labels)}>"] if segment.labels else []
    return _nist_line([*names.values(), f"{segment.begin:.3f}", f"{segment.end:.3f}", *labels, *words], where)


def _check_nist_name(name: str, what: str, where: str, reserved: str = "") -> None:
    if name.split() != [name] or set(reserved) & set(name):
        taken = f" and {reserved}" if reserved else ""
        raise OutputError(f"{where}: expected {what} without white space{taken}, got {name!r}; rename it")


def _nist_line(fields: Sequence[str], where: str) -> str:
    if fields[0].startswith(";;"):
        raise OutputError(f"{where}: expected a line that does not begin with ;;, which makes it a comment; change it")
    return " ".join(fields) + "\n"


def text_grid(tiers: Mapping[str, Sequence[Word]], duration: Seconds) -> str:
    """Interval tiers in the long text format of Praat's TextGrid.

    Args:
        tiers: name -> intervals in order of time, without overlap, inside the audio; gaps become empty intervals
        duration: of the audio
    """
    header = (
        'File type = "ooTextFile"\nObject class = "TextGrid"\n\n'
        f"xmin = 0\nxmax = {_praat_time(duration)}\ntiers? <exists>\nsize = {len(tiers)}\nitem []:\n"
    )
    return header + "".join(_tier(i, name, words, duration) for i, (name, words) in enumerate(tiers.items(), start=1))


def _tier(number: int, name: str, words: Sequence[Word], duration: Seconds) -> str:
    intervals = list(_without_gaps(words, duration))
    lines = [
        f"    item [{number}]:",
        '        class = "IntervalTier"',
        f"        name = {_praat_string(name)}",
        "        xmin = 0",
        f"        xmax = {_praat_time(duration)}",
        f"        intervals: size = {len(intervals)}",
    ]
    for index, word in enumerate(intervals, start=1):
        lines += [
            f"        intervals [{index}]:",
            f"            xmin = {_praat_time(word.start)}",
            f"            xmax = {_praat_time(word.end)}",
            f"            text = {_praat_string(word.text)}",
        ]
    return "\n".join(lines) + "\n"


def _without_gaps(words: Sequence[Word], duration: Seconds) -> Iterator[Word]:
    """The words, and an empty one wherever there is none: Praat's intervals cover the whole time."""
    now = 0.0
    for word in words:
        if _praat_time(now) != _praat_time(word.start):
            yield Word("", now, word.start, 1.0)
        yield word
        now = word.end
    if _praat_time(now) != _praat_time(duration):
        yield Word("", now, duration, 1.0)


def _praat_time(seconds: Seconds) -> str:
    # Microseconds: frames touch exactly in frames, but 3 × 0.03 is not 0.09 in floats.
    return f"{seconds:.6f}".rstrip("0").rstrip(".")


def _praat_string(text: str) -> str:
    doubled = text.replace('"', '""')
    return f'"{doubled}"'
