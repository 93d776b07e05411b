"""What of a corpus can be used: found once, by the doctor's cheap part, and by listening where that is not too long.

Of training utterances without a target, whose text the model cannot spell or align, nothing can be learnt: they are
left out. In a validation set they stay, with a number of labels of `NO_TARGET`: an error rate counts their words too.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from asr.data.audio_cache import Measured, ShortAudioError
from asr.data.corpus import Corpus
from asr.data.examination import Examination, Requirements
from asr.data.findings import Finding
from asr.errors import ManifestError
from asr.progress import track
from asr.types import Seconds

NAMED_DROPS = 5  # utterances that messages name
NO_TARGET = -1  # in the place of the number of labels
LIMIT_CODES = ("too-short", "too-long")  # findings that leave out what the user wants left out: no fault of the data
TARGET_CODES = ("out-of-alphabet", "unalignable")  # findings that leave an utterance without a target
AUDIO_CODES = ("missing-audio", "unreadable-audio", "wrong-duration")  # findings that another file may mend
REMEMBERED_FILES = 1000  # of utterances left out for their audio

FileState: TypeAlias = "tuple[int, int] | None"  # bytes and time of change; None where there is none


@dataclass(frozen=True, slots=True)
class Limits:
    """The durations that training was told to keep."""

    min_duration: Seconds = 0.0
    max_duration: Seconds = math.inf


@dataclass(frozen=True, slots=True)
class Usable:
    """Which utterances of a corpus can be trained on, and how many cannot, for what reason."""

    rows: NDArray[np.int32]  # (K,) indices of the usable ones, ascending
    durations: NDArray[np.float64]  # (K,) seconds
    num_labels: NDArray[np.int32]  # (K,) tokens of their targets; NO_TARGET
    label_counts: Mapping[int, int]  # token id -> how often it occurs in all of these targets
    drop_counts: Mapping[str, int]  # a finding's code -> how many were dropped for it
    first_drops: tuple[tuple[str, str], ...]  # id and message of the first that were dropped
    no_target_counts: Mapping[str, int] = field(default_factory=dict)  # a finding's code -> how many have no target
    first_without: tuple[tuple[str, str], ...] = ()  # id and message of the first of these
    dropped_files: Mapping[str, FileState] = field(default_factory=dict)  # of the first dropped for their audio

    @property
    def num_faulty(self) -> int:
        """Utterances left out because something is wrong with them."""
        return sum(number for code, number in self.drop_counts.items() if code not in LIMIT_CODES)


class UsableBuilder:
    """Collects what is found of the utterances of a corpus."""

    def __init__(self, corpus: Corpus, on_drop: Callable[[Finding], None]) -> None:
        self.corpus = corpus
        self.on_drop = on_drop
        self.num_labels = np.zeros(len(corpus), dtype=np.int32)
        self.is_kept = np.zeros(len(corpus), dtype=bool)
        self.label_counts: Counter[int] = Counter()
        self.drop_counts: Counter[str] = Counter()
        self.first_drops: list[tuple[str, str]] = []
        self.no_target_counts: Counter[str] = Counter()
        self.first_without: list[tuple[str, str]] = []
        self.dropped_files: dict[str, FileState] = {}

    @classmethod
    def of(cls, found: Usable, corpus: Corpus, on_drop: Callable[[Finding], None]) -> UsableBuilder:
        """Go on from what was found."""
        builder = cls(corpus, on_drop)
        builder.is_kept[found.rows] = True
        builder.num_labels[found.rows] = found.num_labels
        builder.label_counts.update(found.label_counts)
        builder.drop_counts.update(found.drop_counts)
        builder.first_drops += found.first_drops
        builder.no_target_counts.update(found.no_target_counts)
        builder.first_without += found.first_without
        builder.dropped_files |= found.dropped_files
        return builder

    def keep(self, row: int, target: Sequence[int]) -> None:
        """Take an utterance, with its target."""
        self.is_kept[row] = True
        self.num_labels[row] = len(target)
        self.label_counts.update(target)

    def keep_without_target(self, row: int, finding: Finding) -> None:
        """Take an utterance of which only the words count."""
        self.is_kept[row] = True
        self.num_labels[row] = NO_TARGET
        self.no_target_counts[finding.code] += 1
        if len(self.first_without) < NAMED_DROPS:
            self.first_without.append((finding.utterance_id, finding.message))

    def forget_target(self, row: int, target: Sequence[int]) -> None:
        """Take back the target of an utterance that was kept."""
        self.num_labels[row] = 0
        self.label_counts.subtract(target)

    def drop(self, row: int, finding: Finding) -> None:
        """Leave an utterance out."""
        self.is_kept[row] = False
        self.drop_counts[finding.code] += 1
        if len(self.first_drops) < NAMED_DROPS:
            self.first_drops.append((finding.utterance_id, finding.message))
        if finding.code in AUDIO_CODES and len(self.dropped_files) < REMEMBERED_FILES:
            path = self.corpus[row].audio_filepath
            self.dropped_files[path] = file_state(path)
        self.on_drop(finding)

    def finish(self) -> Usable:
        """What was found."""
        rows = np.flatnonzero(self.is_kept).astype(np.int32)
        return Usable(
            rows,
            self.corpus.durations[rows],
            self.num_labels[rows],
            +self.label_counts,
            self.drop_counts,
            tuple(self.first_drops),
            self.no_target_counts,
            tuple(self.first_without),
            self.dropped_files,
        )


def find_usable(
    corpus: Corpus,
    requirements: Requirements,
    limits: Limits,
    on_drop: Callable[[Finding], None],
    *,
    needs_targets: bool = True,
    show_progress: bool = False,
) -> Usable:
    """Sort out what cannot be used, without opening audio; `on_drop` hears of each such utterance why.

    needs_targets: leave out what has no target. Durations are the manifest's. Takes a minute for some 700,000
    utterances.
    """
    builder = UsableBuilder(corpus, on_drop)
    for row in track(range(len(corpus)), "checking utterances", shown=show_progress):
        found = _look(corpus, row, requirements, limits)
        if not isinstance(found, Finding):
            builder.keep(row, found)
        elif needs_targets or found.code not in TARGET_CODES:
            builder.drop(row, found)
        else:
            builder.keep_without_target(row, found)
    return builder.finish()


def hear_usable(
    corpus: Corpus,
    found: Usable,
    measured: Measured,
    requirements: Requirements,
    on_drop: Callable[[Finding], None],
    *,
    needs_targets: bool = True,
) -> Usable:
    """Sort out what listening to the usable utterances has shown to be of no use, too. Arguments as `find_usable`.

    That is audio that cannot be decoded or is shorter than the manifest says, and where it is shorter within rounding,
    what then leaves too few frames for the target.
    """
    builder = UsableBuilder.of(found, corpus, on_drop)
    for place, row in enumerate(found.rows.tolist()):
        utterance, num_labels = corpus[row], int(found.num_labels[place])
        sick = Examination([utterance])
        heard = replace(utterance, duration=int(measured.lengths[place]) / requirements.sample_rate)
        if (error := measured.failures.get(place)) is not None:
            code = "wrong-duration" if isinstance(error, ShortAudioError) else "unreadable-audio"
            sick.add(code, 0, str(error), drop=True)
        elif (
            num_labels == NO_TARGET
            or heard.duration >= utterance.duration
            or sick.look_at_target(0, heard, requirements) is not None
        ):
            continue
        if num_labels != NO_TARGET:
            builder.forget_target(row, requirements.tokenizer.encode(utterance.text))
        if needs_targets or error is not None:
            builder.drop(row, sick.findings[0])
        else:
            builder.keep_without_target(row, sick.findings[0])
    return builder.finish()


def refuse_too_many(
    name: str,
    counts: Mapping[str, int],
    first: Sequence[tuple[str, str]],
    num_utterances: int,
    max_share: float,
    option: str = "data.max_unusable_share",
) -> None:
    """Raise `ManifestError` where more of a set than `max_share` cannot be used.

    counts: reason -> number of utterances left out for it; first: id and message of the first ones; option: that says
    how many may be.
    """
    number = sum(count for code, count in counts.items() if code not in LIMIT_CODES)
    if number <= max_share * num_utterances:
        return
    reasons = ", ".join(f"{count} {code}" for code, count in counts.items() if code not in LIMIT_CODES)
    examples = "".join(f"\n  {id}: {message}" for id, message in first[:NAMED_DROPS])
    raise ManifestError(
        f"{name}: {number} of {num_utterances} utterances cannot be used ({reasons}), {number / num_utterances:.1%}, "
        f"where {option} allows {max_share:.1%}. `asr check` lists what is wrong with a manifest: mend "
        f"or remove these utterances, or raise {option}. The first:{examples}"
    )


def _look(corpus: Corpus, index: int, requirements: Requirements, limits: Limits) -> tuple[int, ...] | Finding:
    """The target of an utterance, or the first thing that is wrong with it."""
    utterance = corpus[index]
    sick = Examination([utterance])
    shortest, longest = limits.min_duration, limits.max_duration
    if not corpus.has_audio(index):
        sick.add("missing-audio", 0, f"no such file: {utterance.audio_filepath}", drop=True)
    elif utterance.duration < shortest:
        sick.add("too-short", 0, f"{utterance.duration:g} s, expected at least {shortest:g} s", drop=True)
    elif utterance.duration > longest:
        sick.add("too-long", 0, f"{utterance.duration:g} s, expected at most {longest:g} s", drop=True)
    elif (target := sick.look_at_target(0, utterance, requirements)) is not None:
        return target
    return sick.findings[0]


def file_state(path: str) -> FileState:
    """What of a file changes when it is mended."""
    try:
        state = Path(path).stat()
    except OSError:
        return None
    return state.st_size, state.st_mtime_ns


def changed_files(found: Usable) -> list[str]:
    """The files of utterances left out for their audio that are not now what they were then."""
    return [path for path, state in found.dropped_files.items() if file_state(path) != state]
