"""What mends each finding of `asr check`: the command to type, or, where no command can, what to do."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from asr.data.findings import Finding
    from asr.data.manifest import Line

FIX = "asr check {manifests}{options} --fix clean.jsonl"
NORMALIZE = "asr data normalize {first} -o {normal}{lang}"
REMEDIES: Mapping[str, str] = {
    "malformed-line": f"{FIX}   (leaves the lines out)",
    "missing-audio": f"{FIX}   (leaves them out); or put the files where the manifest says",
    "unreadable-audio": f"{FIX}   (leaves them out)",
    "wrong-duration": f"{FIX}   (takes the audio's)",
    "silent": f"{FIX}   (leaves them out)",
    "duplicate-id": f"{FIX}   (numbers the ids)",
    "conflicting-text": f"{FIX}   (keeps the first)",
    "duplicate-audio": f"{FIX}   (keeps the first)",
    "out-of-alphabet": f"{NORMALIZE}, or {FIX}   (leaves them out)",
    "unalignable": f"{FIX}   (leaves them out)",
    "not-normalized": FIX,
    "digits": f"{NORMALIZE}   (what has more than one reading, as 10:30, is for you to write out)",
    "signs": f"write by hand what is said; {NORMALIZE} --preview   lists them",
    "capitals": NORMALIZE,
    "punctuation": NORMALIZE,
    "shared-speaker": "join the manifests, then asr data split ALL.jsonl -o parts",
    "shared-text": "join the manifests, then asr data split ALL.jsonl -o parts --by text",
    "poor-audio": "listen; record anew with the level lower, or name one side as a file of its own",
    "empty-text": "nothing, if nobody speaks there; else write what is said",
    "unusual-rate": "listen: a text may belong to another recording",
}


def remedies(
    findings: Sequence[Finding], lines: Sequence[Line], manifests: Sequence[Path], options: Sequence[str]
) -> dict[str, str]:
    """What mends each kind of finding.

    Args:
        findings: of the report.
        lines: that were examined.
        manifests: that were examined together.
        options: of the call that `--fix` needs too, such as the tokenizer.
    """
    return {
        code: REMEDIES[code].format(
            manifests=shlex.join(map(str, manifests)),
            options="".join(f" {shlex.quote(option)}" for option in options),
            **_for_normalize(code, findings, lines, manifests),
        )
        for code in dict.fromkeys(finding.code for finding in findings)
        if code in REMEDIES
    }


def _for_normalize(
    code: str, findings: Sequence[Finding], lines: Sequence[Line], manifests: Sequence[Path]
) -> dict[str, str]:
    """The first manifest with such a finding, the name of its better self, and --lang where digits need it."""
    place = next(finding.place for finding in findings if finding.code == code)
    first = next((m for m in manifests if place == str(m) or place.startswith(f"{m}:")), manifests[0])
    with_digits = {finding.index for finding in findings if finding.code == "digits"}
    needs_lang = any(lines[index].utterance.lang is None for index in with_digits if index is not None)
    normal = first.with_name(f"{first.name.removesuffix(first.suffix)}-normal.jsonl")
    return {
        "first": shlex.quote(str(first)),
        "normal": shlex.quote(str(normal)),
        "lang": " --lang en" if needs_lang else "",
    }
