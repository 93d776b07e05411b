"""The manifest doctor: what is wrong with training data, found before it costs a night.

`examine` looks at everything and returns a `Report`; `repair` turns its findings into utterances that can be
used. Training runs a part of it that opens no audio before its first step: `asr.data.usable`. What they look for
stands in `asr.data.findings`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from asr.data.audit import Measurement, measure
from asr.data.census import Census, take_census
from asr.data.examination import Examination, Requirements
from asr.data.findings import Finding, Severity
from asr.errors import AudioError
from asr.text.normalize import Case
from asr.types import Utterance

__all__ = ["Repaired", "Report", "Requirements", "examine", "repair"]


@dataclass(frozen=True, slots=True)
class Report:
    """What `examine` saw."""

    census: Census
    findings: tuple[Finding, ...]  # in the order of the utterances
    num_listened: int  # utterances whose audio was decoded
    unknown_symbols: Mapping[str, int]  # what the tokenizer lacks -> in how many utterances, most first

    def count(self, severity: Severity) -> int:
        """Number of findings of that severity."""
        return sum(finding.severity == severity for finding in self.findings)

    def to_json(self) -> dict[str, Any]:
        """The report as JSON types."""
        counts = Counter(finding.code for finding in self.findings)
        return {
            **self.census.to_json(),
            "listened": self.num_listened,
            "unknown_symbols": dict(self.unknown_symbols),
            "errors": self.count("error"),
            "warnings": self.count("warning"),
            "notes": self.count("note"),
            "counts": dict(counts.most_common()),
            "findings": [finding.to_json() for finding in self.findings],
        }


@dataclass(frozen=True, slots=True)
class Repaired:
    """Utterances after `repair`, and how many were dropped or changed for which finding."""

    utterances: tuple[Utterance, ...]
    dropped: Mapping[str, int]
    changed: Mapping[str, int]


def examine(
    utterances: Sequence[Utterance],
    *,
    places: Sequence[str] | None = None,
    requirements: Requirements | None = None,
    case: Case = "keep",
    listen: bool = True,
    num_workers: int = 1,
    show_progress: bool = False,
) -> Report:
    """Look at everything: texts, identities, audio, and whether a model can be trained on them.

    Args:
        utterances: of one manifest or of several together.
        places: for each utterance where it stands, for messages.
        requirements: the model's, for alphabet and alignment; without them digits, signs, punctuation and mixed
            capitals are found.
        case: of normalised texts; "keep" lets both be.
        listen: decode the audio, in `num_workers` threads; else only missing files are found.
        show_progress: a progress bar on standard error.
    """
    sick = Examination(utterances, places)
    measurements: list[Measurement | AudioError | None] = [None] * len(utterances)
    if listen:
        measurements = list(measure(utterances, num_workers, show_progress))
    for index, measurement in enumerate(measurements):
        sick.look_at_text(index, case)
        sick.look_at_audio(index, measurement)
    if requirements is None:  # a tokenizer says itself what it cannot spell
        sick.look_at_writing(case)
    sick.look_at_identities(measurements)
    sick.look_at_manifests()
    healthy = _apply(utterances, sick.findings)
    if requirements is not None:
        for index, utterance in healthy.items():
            sick.look_at_target(index, utterance, requirements)
    sick.look_at_rates(healthy)
    sick.findings.sort(key=lambda finding: finding.index or 0)
    num_listened = sum(isinstance(measurement, Measurement) for measurement in measurements)
    unknown_symbols = dict(sick.unknown_symbols.most_common())
    return Report(take_census(utterances), tuple(sick.findings), num_listened, unknown_symbols)


def repair(utterances: Sequence[Utterance], findings: Iterable[Finding]) -> Repaired:
    """Drop and change utterances as their findings say. `findings` are those of `examine` for these utterances."""
    findings = list(findings)
    healthy = _apply(utterances, findings)
    dropped = {finding.index: finding.code for finding in reversed(findings) if finding.drop}
    changed = Counter(finding.code for finding in findings if finding.changes and finding.index in healthy)
    return Repaired(tuple(healthy.values()), Counter(dropped.values()), changed)


def _apply(utterances: Sequence[Utterance], findings: Iterable[Finding]) -> dict[int, Utterance]:
    """What is left after drops and changes, by index."""
    healthy = dict(enumerate(utterances))
    for finding in findings:
        if finding.index not in healthy:
            continue
        if finding.drop:
            del healthy[finding.index]
        else:
            healthy[finding.index] = replace(healthy[finding.index], **finding.changes)
    return healthy
