"""What becomes of a record that no manifest can hold: the first is an error, or all are left out and listed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass

from asr.errors import CorpusError

# A fault's code -> what a person reads of it.
CODES: Mapping[str, str] = {
    "malformed": "malformed lines or rows",
    "missing-audio": "no such audio file",
    "unreadable-audio": "audio that cannot be read",
    "no-samples": "recordings without samples",
    "no-text": "audio without a text",
    "no-audio": "texts without audio",
    "duplicate-id": "ids that stand there twice",
}


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A record that is not in the manifest."""

    code: str  # one of `CODES`
    place: str  # file:line, or a file
    message: str
    id: str = ""

    def to_json(self) -> dict[str, str]:
        """The record as JSON types; without an id where it has none."""
        return {name: value for name, value in asdict(self).items() if value or name != "id"}


class FaultError(CorpusError):
    """The first bad record, where none is to be left out."""


class Faults:
    """Where readers report what is wrong with a record.

    skip: leave such records out and list them; else the first raises `FaultError`.
    left_out: what was left out so far.
    """

    def __init__(self, skip: bool = False) -> None:
        self.skip = skip
        self.left_out: list[LeftOut] = []

    def report(self, code: str, place: str, message: str, *, id: str = "") -> None:
        """Raise `FaultError`, or note the record as left out."""
        assert code in CODES
        place = place.encode("utf-8", "backslashreplace").decode()  # a file name may be no UTF-8
        if not self.skip:
            raise FaultError(f"{place}: {message}")
        self.left_out.append(LeftOut(code, place, message, id))

    def take(self, code: str, place: str, error: CorpusError, *, id: str = "") -> None:
        """Report an error that begins with the place, as those of single records do."""
        self.report(code, place, str(error).removeprefix(f"{place}: "), id=id)

    @property
    def counts(self) -> Counter[str]:
        """The number of records left out for each code."""
        return Counter(left_out.code for left_out in self.left_out)
