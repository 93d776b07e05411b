"""A reference file and a hypothesis file, each in one of six formats -> texts by utterance id, checked.

| format | what | for | pairs with |
|---|---|---|---|
| `trn` | NIST's transcripts, `words (speaker-utterance)` | both | all with ids |
| `kaldi` | Kaldi's `text`, `id words…` | both | all with ids |
| `jsonl` | manifests, `hypotheses.jsonl`, NeMo's rows | both | all with ids |
| `stm` | segments of recordings | both | all with ids; with each other by file, speaker and time |
| `ctm` | words with times | hypotheses | `stm` by time, others by file |
| `lines` | plain text, line against line | both | `lines` |

What `auto` takes a file for:

1. A suffix of .trn, .stm, .ctm, .jsonl or .json says it, and a file called `text` is Kaldi's.
2. Else the content does: the first of these that every line has the form of, blank ones and comments aside: JSON
   objects, TRN, STM (a reference) or CTM (a hypothesis).
3. Else it is Kaldi's when every line begins with what has a digit and a `-` or `_`, as ids have, or when the other
   file is in a format with ids.
4. Else it is plain lines when the other file is too, and the first words of its lines are not ids: none has a digit
   or `_`, or they repeat and none has a digit and a `-` or `_`.
5. Else it is an error that asks for --ref-format or --hyp-format.

Nothing is scored in part: whatever does not match is an error that names utterances and lines. A CTM alone cannot
name an utterance in which nothing was recognised; what it has no words of is in `Pair.silent`, with empty hypotheses.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence, Sized
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

from asr.errors import AsrError, ScoringError
from asr.progress import track
from asr.scoring.scored_set import Details
from asr.scoring.time_marked import (
    assigned_entries,
    matched_entries,
    parse_ctm,
    parse_stm,
    recording_entries,
    segment_entries,
)
from asr.scoring.transcripts import (
    UTT2SPK,
    Entry,
    Line,
    Side,
    content,
    parse_json_lines,
    parse_kaldi,
    parse_plain,
    parse_trn,
    read_lines,
    read_utt2spk,
)
from asr.types import Utterance

Parsed = TypeVar("Parsed", bound=Sized)

AUTO = "auto"
FORMATS = ("trn", "stm", "ctm", "kaldi", "jsonl", "lines")
_OPTION: Mapping[Side, str] = {"reference": "--ref-format", "hypothesis": "--hyp-format"}
_SUFFIXES = {".trn": "trn", ".stm": "stm", ".ctm": "ctm", ".jsonl": "jsonl", ".json": "jsonl"}
_KALDI_NAME = "text"
_LIST = "list"  # while it is open whether a file is Kaldi's text or plain lines
_SURE_ID = re.compile(r"(?=.*[0-9]).*[-_]")
_PERHAPS_ID = re.compile(r".*[0-9_]")
_HAS_MARKUP = ("trn", "stm")
# The beginning of an alternation, a null word or an optional word of NIST's references.
_MARKUP = re.compile(r"(?<!\S)(?:\{|@(?!\S)|\(\S+\)(?!\S))")
_ALTERNATION = re.compile(r"(?<!\S)\{")
_SHOWN = 3
_MANY_LINES = 100_000  # so many take a second or two


@dataclass(frozen=True)
class Pair:
    """References and hypotheses of the same utterances."""

    references: dict[str, str]  # utterance id -> what was said, in the order of the file
    hypotheses: dict[str, str]  # utterance id -> what was recognised, in the order of the file
    details: dict[str, Details]  # by id, what the references say of each utterance besides
    audio: dict[str, Utterance]  # by id, where the references are a manifest; else empty
    markup: bool  # whether references hold alternations or optional words (TRN and STM)
    silent: tuple[str, ...] = ()  # ids or, with an STM, recordings that a CTM has no words of: all deletions


def read_pair(reference: Path, hypothesis: Path, reference_format: str = AUTO, hypothesis_format: str = AUTO) -> Pair:
    """Read references and hypotheses that belong together.

    Args:
        reference: file with what was said
        hypothesis: file with what was recognised
        reference_format: one of `FORMATS` or `auto`, see the module's rule
        hypothesis_format: the same

    Raises:
        ScoringError: a file is malformed, its format is unclear, or utterances do not match; names file and line.
        ManifestError: a manifest is malformed.
    """
    files = _with_formats(
        _File("reference", reference, read_lines(reference), reference_format),
        _File("hypothesis", hypothesis, read_lines(hypothesis), hypothesis_format),
    )
    entries = _read_entries(files.reference, files.hypothesis)
    references = _by_id(entries.references, files.reference)
    if not references:
        raise ScoringError(f"{reference}: expected an utterance to score, got ignored segments alone")
    hypotheses = _by_id(entries.hypotheses, files.hypothesis)
    _check_same_ids(references, hypotheses, files)
    _check_hypotheses(entries.hypotheses, files.hypothesis)
    return Pair(
        references={id: entry.text for id, entry in references.items()},
        hypotheses={id: entry.text for id, entry in hypotheses.items()},
        details={id: entry.details for id, entry in references.items()},
        audio={id: entry.utterance for id, entry in references.items() if entry.utterance is not None},
        markup=_has_markup(files.reference, entries.references),
        silent=entries.silent,
    )


# ---- formats ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _File:
    side: Side
    path: Path
    lines: list[Line]
    format: str
    guessed: str = ""  # by what, where the user did not say

    @property
    def advice(self) -> str:
        """What to do if the format was guessed wrong."""
        if not self.guessed:
            return ""
        return f" (taken for {self.format} by {self.guessed}; {_OPTION[self.side]} says otherwise)"

    @property
    def doubt(self) -> str:
        """The same, where lines of any kind can be read as the format."""
        return self.advice if self.format in ("kaldi", "lines") else ""


@dataclass(frozen=True, slots=True)
class _Files:
    reference: _File
    hypothesis: _File


def _with_formats(reference: _File, hypothesis: _File) -> _Files:
    """Decide both formats. Raises `ScoringError` where they are unclear, unknown or do not go together."""
    for file in (reference, hypothesis):
        if file.format not in (AUTO, *FORMATS):
            raise ScoringError(f"{_OPTION[file.side]}: expected {', '.join([AUTO, *FORMATS])}, got {file.format!r}")
    files = [_guess(file) if file.format == AUTO else file for file in (reference, hypothesis)]
    reference, hypothesis = (_settle(file, other) for file, other in zip(files, files[::-1]))
    if reference.format == "ctm":
        raise ScoringError(
            f"{reference.path}: CTM is for hypotheses; expected references as STM or as texts with ids;"
            " the references come first"
        )
    if "lines" in (reference.format, hypothesis.format) and reference.format != hypothesis.format:
        raise ScoringError(
            f"plain lines have no ids and go with plain lines alone, got {reference.path} as {reference.format} and"
            f" {hypothesis.path} as {hypothesis.format}; see --ref-format and --hyp-format"
        )
    return _Files(reference, hypothesis)


def _guess(file: _File) -> _File:
    if format := _SUFFIXES.get(file.path.suffix.lower()):
        return replace(file, format=format, guessed="its suffix")
    if file.path.name == _KALDI_NAME:
        return replace(file, format="kaldi", guessed="its name")
    lines = list(content(file.lines))
    timed = ("stm", parse_stm) if file.side == "reference" else ("ctm", parse_ctm)
    forms: list[tuple[str, Callable[[Iterable[Line]], object]]] = [("trn", parse_trn), timed]
    if lines and all(line.text.strip().startswith("{") and line.text.strip().endswith("}") for line in lines):
        return replace(file, format="jsonl", guessed="its content")
    for format, parse in forms:
        if lines and _parses(parse, lines):
            return replace(file, format=format, guessed="its content")
    if lines and all(_SURE_ID.match(word) for word in _first_words(file)):
        return replace(file, format="kaldi", guessed="its content")
    return replace(file, format=_LIST)


def _settle(file: _File, other: _File) -> _File:
    """Kaldi's text or plain lines? The other file says it, or else the first words of the lines do."""
    if file.format != _LIST:
        return file
    if other.format == "lines" or (other.format == _LIST and _is_plain(file) and _is_plain(other)):
        return replace(file, format="lines", guessed="its content")
    if other.format != _LIST:
        return replace(file, format="kaldi", guessed="the ids of the other file")
    raise ScoringError(
        f"{file.path}: expected to see whether this is Kaldi's text, with ids, or plain lines, but its lines could"
        f" begin with either; say {_OPTION[file.side]} kaldi or {_OPTION[file.side]} lines"
    )


def _is_plain(file: _File) -> bool:
    words = _first_words(file)
    repeat = len(set(words)) < len(words)
    return not any((_SURE_ID if repeat else _PERHAPS_ID).match(word) for word in words)


def _first_words(file: _File) -> list[str]:
    return [line.text.split(None, 1)[0] for line in file.lines if line.text.strip()]


def _parses(parse: Callable[[Iterable[Line]], object], lines: Sequence[Line]) -> bool:
    try:
        parse(lines)
    except ScoringError:
        return False
    return True


# ---- entries ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Entries:
    references: list[Entry]
    hypotheses: list[Entry]
    silent: tuple[str, ...] = ()


def _read_entries(reference: _File, hypothesis: _File) -> _Entries:
    match reference.format, hypothesis.format:
        case "stm", "ctm":
            return _timed_entries(reference, hypothesis)
        case "stm", "stm":
            segments = _parse(reference, parse_stm)
            matched = matched_entries(segments, _parse(hypothesis, parse_stm))
            return _Entries(segment_entries(segments), matched)
        case _, "ctm":
            return _recording_entries(_texts(reference), hypothesis)
        case _:
            return _Entries(_texts(reference), _texts(hypothesis))


def _timed_entries(reference: _File, hypothesis: _File) -> _Entries:
    segments, words = _parse(reference, parse_stm), _parse(hypothesis, parse_ctm)
    counted = dict.fromkeys(segment.recording for segment in segments if not segment.is_ignored)
    return _Entries(
        segment_entries(segments),
        assigned_entries(segments, words),
        tuple(str(recording) for recording in counted if recording not in words),
    )


def _recording_entries(references: list[Entry], hypothesis: _File) -> _Entries:
    hypotheses = recording_entries(_parse(hypothesis, parse_ctm))
    heard = {entry.id for entry in hypotheses}
    silent = [entry for entry in references if entry.id not in heard]
    if len(silent) == len(references):  # of another test set, which is for the check of the ids to say
        return _Entries(references, hypotheses)
    hypotheses += [Entry(entry.id, "", entry.place) for entry in silent]
    return _Entries(references, hypotheses, tuple(entry.id for entry in silent))


def _texts(file: _File) -> list[Entry]:
    """The entries of a file on its own."""
    match file.format:
        case "trn":
            return _parse(file, parse_trn)
        case "stm":
            return segment_entries(_parse(file, parse_stm))
        case "kaldi":
            utt2spk = file.path.parent / UTT2SPK
            speakers = read_utt2spk(utt2spk) if file.side == "reference" and utt2spk.is_file() else None
            return _parse(file, lambda lines: parse_kaldi(lines, speakers))
        case "jsonl":
            return _parse(file, lambda lines: parse_json_lines(file.path, lines, file.side))
        case _:
            return _parse(file, parse_plain)


def _parse(file: _File, parse: Callable[[Iterable[Line]], Parsed]) -> Parsed:
    try:
        shown = len(file.lines) > _MANY_LINES and sys.stderr.isatty()
        parsed = parse(track(file.lines, f"reading {file.path.name}", shown=shown))
    except AsrError as error:
        raise type(error)(f"{error}{file.advice}") from error
    if not parsed:
        raise ScoringError(f"{file.path}: expected at least one utterance, got a file without any{file.advice}")
    return parsed


# ---- checks ----------------------------------------------------------------------------------------------------------


def _by_id(entries: Sequence[Entry], file: _File) -> dict[str, Entry]:
    found: dict[str, Entry] = {}
    for entry in entries:
        if (earlier := found.setdefault(entry.id, entry)) is not entry:
            raise ScoringError(
                f"{entry.place}: expected each utterance once, got {entry.id!r} again, which is at {earlier.place}"
                f"{file.doubt}"
            )
    return found


def _check_same_ids(references: Mapping[str, Entry], hypotheses: Mapping[str, Entry], files: _Files) -> None:
    reference, hypothesis = files.reference, files.hypothesis
    missing = [entry for id, entry in references.items() if id not in hypotheses]
    unknown = [entry for id, entry in hypotheses.items() if id not in references]
    if not missing and not unknown:
        return
    if reference.format == "lines":
        raise ScoringError(
            f"{hypothesis.path}: expected as many lines as {reference.path} has, since line goes against line:"
            f" {len(references)}, got {len(hypotheses)}{hypothesis.doubt}"
        )
    doubt = reference.doubt + hypothesis.doubt
    if hypothesis.format == "ctm":
        doubt += ". The ids of a CTM are the names of its files; where these are whole recordings, score against an STM"
    if len(missing) == len(references):
        raise ScoringError(
            f"{hypothesis.path}: expected hypotheses for the utterances of {reference.path}, got those of another set:"
            f" no id is in both, such as {_list(missing[:1])} and {_list(unknown[:1])}{doubt}"
        )
    raise ScoringError(
        f"{hypothesis.path}: expected one hypothesis for each of the {len(references)} references in"
        f" {reference.path}, got {len(hypotheses)}: {_list(missing)} without a hypothesis,"
        f" {_list(unknown)} without a reference. Score the hypotheses against the set they were made from{doubt}"
    )


def _list(entries: Sequence[Entry]) -> str:
    names = [f"{entry.id!r} ({entry.place})" for entry in entries[:_SHOWN]]
    rest = f" and {len(entries) - _SHOWN} more" if len(entries) > _SHOWN else ""
    return (", ".join(names) or "none") + rest


def _has_markup(file: _File, references: Sequence[Entry]) -> bool:
    return file.format in _HAS_MARKUP and any(_MARKUP.search(entry.text) for entry in references)


def _check_hypotheses(hypotheses: Sequence[Entry], file: _File) -> None:
    """Refuse alternations, which a reference alone may have."""
    for entry in hypotheses:
        if file.format in _HAS_MARKUP and _ALTERNATION.search(entry.text):
            raise ScoringError(
                f"{entry.place}: expected one hypothesis, got alternatives ({{ … / … }}); leave the best in the file"
            )
