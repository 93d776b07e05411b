"""One look at a list of utterances: each method examines one aspect and adds what it finds."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

from asr.data.audio_cache import ROUNDED_SECONDS
from asr.data.audit import Measurement
from asr.data.findings import Finding
from asr.errors import AudioError, TextError
from asr.text.normalize import Case, describe_character, normalize
from asr.text.tokenizer import Tokenizer
from asr.text.written import features
from asr.types import Seconds, Utterance

# -60 dB of full scale: 33 steps of 16-bit audio, less than the noise of any room.
SILENCE_PEAK = 10 ** (-60 / 20)
# Five robust standard deviations of the logarithm. A normal distribution has one in 1.7 million beyond them.
UNUSUAL_DEVIATIONS = 5.0
# The scale of a normal distribution by its median absolute deviation.
MAD_TO_STD = 1.4826
# Shown before the place where a text differs from its normal form.
EXCERPT_CHARACTERS = 20
# Of the speakers, or the texts, that two manifests share.
SHARED_SHOWN = 3
SHARED_CHARACTERS = 30
# Fewer utterances say little about what is usual.
MIN_UTTERANCES_FOR_RATES = 20


@dataclass(frozen=True, slots=True)
class Requirements:
    """What a model needs of an utterance: a text it can spell, and frames enough to align it.

    num_output_frames: T, the frames the model puts out for a number of samples at `sample_rate`.
    fastest_speed: the highest factor of speed perturbation, which leaves the fewest frames.
    """

    tokenizer: Tokenizer
    num_output_frames: Callable[[int], int]
    sample_rate: int = 16000
    fastest_speed: float = 1.0

    def frames(self, duration: Seconds) -> int:
        """T for audio of `duration` at the fastest speed."""
        return self.num_output_frames(round(round(duration * self.sample_rate) / self.fastest_speed))


class Examination:
    """Collects findings about a list of utterances.

    utterances: those examined; findings name them by index.
    places: where each stands, for messages.
    findings: what was found so far.
    unknown_symbols: what the tokenizer lacks -> in how many utterances.
    """

    def __init__(self, utterances: Sequence[Utterance], places: Sequence[str] | None = None) -> None:
        self.utterances = utterances
        self.places = places if places is not None else [""] * len(utterances)
        self.findings: list[Finding] = []
        self.unknown_symbols: Counter[str] = Counter()

    def add(self, code: str, index: int, message: str, *, drop: bool = False, **changes: Any) -> None:
        """Note a finding; its remedy is to drop the utterance, to change fields, or nothing."""
        identifier = self.utterances[index].id
        self.findings.append(Finding(code, identifier, message, self.places[index], index, drop, changes))

    def look_at_text(self, index: int, case: Case) -> None:
        """Hold the text to its normal form."""
        text = self.utterances[index].text
        normal = normalize(text, case)
        if normal != text:
            self.add("not-normalized", index, _first_difference(text, normal), text=normal)
        if not normal:
            self.add("empty-text", index, "the text is empty")

    def look_at_writing(self, case: Case) -> None:
        """Find what a model of sounds would have to learn besides: figures, signs, punctuation, mixed capitals."""
        texts = [utterance.text for utterance in self.utterances]
        has_capitals = case == "keep" and any(map(_has_capitals, texts))
        is_mixed = has_capitals and any(map(_has_small, texts))
        if has_capitals and not is_mixed:
            message = "all letters are capitals: a model will write such, and scores small ones as errors"
            self.findings.append(Finding("capitals", "", message, place=self.places[0].rpartition(":")[0]))
        for index, text in enumerate(texts):
            found = features(text)
            if is_mixed and _has_capitals(text):
                found["capitals"] = next(at for at, character in enumerate(text) if character != character.lower())
            for code in ("digits", "signs", "punctuation", "capitals"):
                if code in found:
                    self.add(code, index, f"{text[found[code]]!r} in {_excerpt(text, found[code])}")

    def look_at_manifests(self) -> None:
        """Find speakers and texts that two manifests share; which belongs to which is told by `places`."""
        speakers: dict[str, set[str]] = {}
        texts: dict[str, set[str]] = {}
        for utterance, place in zip(self.utterances, self.places):
            manifest = place.rpartition(":")[0]
            speakers.setdefault(manifest, set()).update({utterance.speaker} if utterance.speaker is not None else ())
            texts.setdefault(manifest, set()).update({text} if (text := normalize(utterance.text)) else ())
        for code, kind, found in (("shared-speaker", "speaker", speakers), ("shared-text", "text", texts)):
            for one, other in combinations(found, 2):
                if shared := sorted(found[one] & found[other]):
                    plural = "s are" if len(shared) > 1 else " is"
                    some = ", ".join(_quote(name, SHARED_CHARACTERS) for name in shared[:SHARED_SHOWN])
                    more = " …" if len(shared) > SHARED_SHOWN else ""
                    message = f"{len(shared):,} {kind}{plural} also in {other}: {some}{more}"
                    self.findings.append(Finding(code, "", message, place=one))

    def look_at_audio(self, index: int, measurement: Measurement | AudioError | None) -> None:
        """Hold the manifest to the audio as it was measured; None when nobody listened."""
        utterance = self.utterances[index]
        if not is_file(utterance.audio_filepath):
            self.add("missing-audio", index, f"no such file: {utterance.audio_filepath}", drop=True)
        elif isinstance(measurement, AudioError):
            self.add("unreadable-audio", index, str(measurement), drop=True)
        elif measurement is not None:
            self._look_at_measurement(index, utterance, measurement)

    def _look_at_measurement(self, index: int, utterance: Utterance, measurement: Measurement) -> None:
        for warning in measurement.warnings:
            self.add("poor-audio", index, warning)
        if measurement.duration == 0:
            self.add("unreadable-audio", index, f"no audio at {utterance.offset:g} s", drop=True)
            return
        if utterance.text.strip() and measurement.peak <= SILENCE_PEAK:
            self.add("silent", index, f"silence, but the text is {_quote(utterance.text)}", drop=True)
        excess = utterance.duration - measurement.duration
        # The stretch of a longer file may end where it likes, as long as the file goes on till there.
        if excess > ROUNDED_SECONDS or (measurement.whole_file and -excess > ROUNDED_SECONDS):
            message = f"the manifest says {utterance.duration:g} s, the audio has {measurement.duration:.3f} s"
            self.add("wrong-duration", index, message, duration=round(measurement.duration, 3))

    def look_at_identities(self, measurements: Sequence[Measurement | AudioError | None]) -> None:
        """Find ids and audio that come twice; the first stays."""
        by_id: dict[str, int] = {}
        by_audio: dict[object, int] = {}
        copies = Counter({utterance.id: 1 for utterance in self.utterances})  # also: which ids are taken
        for index, utterance in enumerate(self.utterances):
            namesake = by_id.setdefault(utterance.id, index)
            if namesake != index:
                new = _numbered_id(utterance.id, copies)
                self.add("duplicate-id", index, f"{self._name(namesake)} has this id too", id=new)
            original = by_audio.setdefault(_audio_key(utterance, measurements[index], index), index)
            if original != index:
                self._add_duplicate_audio(index, original)

    def _add_duplicate_audio(self, index: int, original: int) -> None:
        first, second = self.utterances[original].text, self.utterances[index].text
        if normalize(first) == normalize(second):
            self.add("duplicate-audio", index, f"the same audio as {self._name(original)}", drop=True)
        else:
            texts = f"{_quote(second)}, there {_quote(first)}"
            self.add("conflicting-text", index, f"the same audio as {self._name(original)}: here {texts}", drop=True)

    def _name(self, index: int) -> str:
        place = self.places[index]
        return f"{self.utterances[index].id} ({place})" if place else self.utterances[index].id

    def look_at_target(self, index: int, utterance: Utterance, requirements: Requirements) -> tuple[int, ...] | None:
        """The token ids of the utterance, or None when a finding says why it has none that can be learnt."""
        from asr.ctc import required_frames  # imports torch: two seconds that a check without a model need not wait

        try:
            target = requirements.tokenizer.encode(utterance.text)
        except TextError as error:
            self.unknown_symbols.update(requirements.tokenizer.unknown_symbols(utterance.text))
            self.add("out-of-alphabet", index, str(error), drop=True)
            return None
        needed, frames = required_frames(target), requirements.frames(utterance.duration)
        if frames < needed:
            repeats = needed - len(target)
            message = (
                f"{utterance.duration:g} s make {frames} frames, but {len(target)} tokens with {repeats} repeats "
                f"need {needed}: {_quote(utterance.text)}"
            )
            self.add("unalignable", index, message, drop=True)
            return None
        return tuple(target)

    def look_at_rates(self, healthy: Mapping[int, Utterance]) -> None:
        """Flag characters a second far from the median, by the median absolute deviation of their logarithm."""
        spoken = {i: len(u.text) / u.duration for i, u in healthy.items() if u.text and u.duration > 0}
        if len(spoken) < MIN_UTTERANCES_FOR_RATES:
            return
        logs = np.log(list(spoken.values()))
        median = float(np.median(logs))
        spread = MAD_TO_STD * float(np.median(np.abs(logs - median)))
        for (index, rate), log in zip(spoken.items(), logs):
            if abs(log - median) > UNUSUAL_DEVIATIONS * spread > 0:
                message = f"{rate:.1f} characters a second, usual are {math.exp(median):.1f}"
                self.add("unusual-rate", index, f"{message}: {_quote(self.utterances[index].text)}")


def _has_small(text: str) -> bool:
    return text != text.upper()


def _has_capitals(text: str) -> bool:
    return text != text.lower()


def is_file(path: str) -> bool:
    """Whether there is a file; False also where one may not look."""
    try:
        return Path(path).is_file()
    except OSError:  # a folder that may not be entered, a name that is too long
        return False


def _audio_key(utterance: Utterance, measurement: Measurement | AudioError | None, index: int) -> object:
    """Equal for equal audio: its samples where there is something to hear, else its place."""
    if isinstance(measurement, AudioError):
        return index
    if measurement is not None and measurement.peak > SILENCE_PEAK:
        return measurement.fingerprint
    duration = utterance.duration if measurement is None else measurement.duration
    return utterance.audio_filepath, utterance.offset, duration


def _numbered_id(identifier: str, copies: Counter[str]) -> str:
    """`identifier-2` or the next free number; `copies` keeps count."""
    while True:
        copies[identifier] += 1
        new = f"{identifier}-{copies[identifier]}"
        if new not in copies:
            copies[new] = 1
            return new


def _first_difference(text: str, normal: str) -> str:
    at = next((i for i, (a, b) in enumerate(zip(text, normal)) if a != b), min(len(text), len(normal)))
    found = describe_character(text[at]) if at < len(text) else "the end"
    start = max(0, at - EXCERPT_CHARACTERS)
    excerpt = f"{'…' if start else ''}{normal[start:]}"
    return f"expected {_quote(excerpt)}, got {found} at character {at + 1}"


def _excerpt(text: str, at: int) -> str:
    """What stands around a place."""
    start = max(0, at - EXCERPT_CHARACTERS)
    return _quote(f"{'…' if start else ''}{text[start:]}")


def _quote(text: str, limit: int = 60) -> str:
    return repr(text if len(text) <= limit else text[: limit - 1] + "…")
