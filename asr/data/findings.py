"""What can be wrong with an utterance, and what is done about it.

Errors are wrong or cannot be used, warnings want a look, notes are for the record. With each the remedy that
`asr.data.doctor.repair` applies:

- malformed-line (error): the manifest's line cannot be read. Left out.
- missing-audio (error): there is no such file. Dropped.
- unreadable-audio (error): it cannot be decoded, or not to the end that its header promises. Dropped.
- wrong-duration (error): the manifest and the audio disagree by more than rounding to 0.1 s. Corrected.
- silent (error): there is a text, but no sample above -60 dB of full scale. Dropped.
- duplicate-id (error): one id for two lines, across manifests too. Numbered.
- conflicting-text (error), duplicate-audio (warning): the same audio again, with another or the same text. Dropped.
- out-of-alphabet (error): the tokenizer cannot spell the text, normalised or not. Dropped.
- unalignable (error): CTC needs U + adjacent repeats frames and the model gives fewer. Dropped.
- too-short, too-long (error): outside the durations that training was told to keep. Dropped, by training alone.
- not-normalized (warning): the text is not as `asr.text.normalize` writes it. Corrected.
- digits (warning): the text has figures, which are said in words. Left; `asr data normalize` spells them out.
- signs (warning): %, €, & or [: said as words, or notes that nobody says. Left, for a person to mend.
- poor-audio (warning): clipped, beyond full scale, or channels that cancel each other. Left.
- capitals (note): the text has capitals where others have small letters; or, once, all letters are. Left; as digits.
- punctuation (note): the text has punctuation, which nobody says. Left; as digits.
- shared-speaker, shared-text (note): two of the manifests have speakers, or texts, in common. Left; `asr data split`.
- empty-text, unusual-rate (note): nothing is said; characters a second are far from the others'. Left.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

# Of a set, 0 to 1: as much may be left out for faults of the data before that is an error.
MAX_UNUSABLE_SHARE = 0.1

Severity = Literal["error", "warning", "note"]

SEVERITIES: Mapping[str, Severity] = {
    "malformed-line": "error",
    "missing-audio": "error",
    "unreadable-audio": "error",
    "wrong-duration": "error",
    "silent": "error",
    "duplicate-id": "error",
    "conflicting-text": "error",
    "out-of-alphabet": "error",
    "unalignable": "error",
    "too-short": "error",
    "too-long": "error",
    "duplicate-audio": "warning",
    "not-normalized": "warning",
    "digits": "warning",
    "signs": "warning",
    "poor-audio": "warning",
    "capitals": "note",
    "punctuation": "note",
    "shared-speaker": "note",
    "shared-text": "note",
    "empty-text": "note",
    "unusual-rate": "note",
}


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing wrong with one utterance, and what `repair` would do about it: drop it, or change some fields."""

    code: str
    utterance_id: str
    message: str
    place: str = ""  # manifest:line, when known
    index: int | None = None  # among the utterances given
    drop: bool = False
    changes: Mapping[str, Any] = field(default_factory=dict)

    @property
    def severity(self) -> Severity:
        """error, warning or note: a matter of the code alone."""
        return SEVERITIES[self.code]

    def to_json(self) -> dict[str, Any]:
        """The finding as JSON types; `fix` is "drop", the changed fields, or null."""
        fix = "drop" if self.drop else dict(self.changes) or None
        return {
            "code": self.code,
            "severity": self.severity,
            "id": self.utterance_id,
            "place": self.place,
            "message": self.message,
            "fix": fix,
        }
