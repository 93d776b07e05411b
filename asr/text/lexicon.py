"""Pronunciation lexicons: which phones a word is made of, in one or several ways.

The file format is the one that CMUdict and Kaldi share, one pronunciation a line::

    ;;; a comment
    read R EH1 D
    read R IY1 D          # an alternative: the word again,
    read(2) R IY1 D       # or the word with a number, as CMUdict has it
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

from asr.errors import TextError
from asr.text.normalize import Case, normalize

Pronunciation = tuple[str, ...]

_ALTERNATIVE = re.compile(r"(?P<word>.+)\(\d+\)")  # CMUdict's "read(2)"
# A decimal number. Bare digits are no probability: SAMPA has vowels called 2, 6 and 9.
_DECIMAL = re.compile(r"\d*\.\d+(?:[eE][-+]?\d+)?|\d+\.|\d+[eE][-+]?\d+")


@dataclass(frozen=True)
class Lexicon:
    """The pronunciations of each word, in order of preference; words in the order in which they came.

    `pronunciations` is copied and cannot be changed afterwards. Lexicons with the same content are equal.

    Raises:
        TextError: there is no word; a word or phone is empty or has white space inside; a word has no pronunciation.

    >>> lexicon = Lexicon({"read": (("R", "EH", "D"), ("R", "IY", "D"))})
    >>> lexicon.pronunciations["read"][0]
    ('R', 'EH', 'D')
    """

    pronunciations: Mapping[str, tuple[Pronunciation, ...]] = field(repr=False)

    def __post_init__(self) -> None:
        if not self.pronunciations:
            raise TextError("expected a lexicon with at least one word, got an empty one")
        for word, alternatives in self.pronunciations.items():
            _check_entry(word, alternatives)
        object.__setattr__(self, "pronunciations", MappingProxyType(dict(self.pronunciations)))

    @property
    def phones(self) -> tuple[str, ...]:
        """Every phone that occurs, sorted."""
        alternatives = self.pronunciations.values()
        return tuple(sorted({phone for ways in alternatives for way in ways for phone in way}))

    def __contains__(self, word: object) -> bool:
        return word in self.pronunciations

    def __len__(self) -> int:
        return len(self.pronunciations)

    def __iter__(self) -> Iterator[str]:
        return iter(self.pronunciations)

    def __hash__(self) -> int:
        return hash(frozenset(self.pronunciations.items()))

    def __reduce__(self) -> tuple[Any, ...]:
        return Lexicon, (dict(self.pronunciations),)  # the read-only view itself cannot be pickled

    @classmethod
    def read(cls, path: str | Path, *, case: Case = "keep", probabilities: bool = False) -> Lexicon:
        """Read a lexicon file: `word phone phone …`, separated by white space, in UTF-8.

        Blank lines, lines that begin with ``;;;`` and the rest of a line after a lone ``#`` are comments. A word that
        comes again, or comes as ``word(2)``, gets an alternative; one that is there already is not added again. Words
        go through `normalize`, as the texts they are looked up for do; phones are brought to NFC and no further.

        Args:
            path: the file.
            case: what to do with the case of words; must agree with that of the texts (CMUdict is upper case).
            probabilities: the second column is Kaldi's pronunciation probability (`lexiconp.txt`): alternatives are
                put in order of it, most probable first, and the numbers are not kept. Without it such a file is
                refused, since its numbers would be learnt as phones.

        Raises:
            TextError: the file cannot be read or has no word, or a line is malformed; names the file and the line.
        """
        path = Path(path)
        found: dict[str, dict[Pronunciation, float]] = {}
        for number, line in _numbered_lines(path):
            try:
                entry = _parse_line(line, case, probabilities)
            except TextError as error:
                raise TextError(f"{path}:{number}: {error}") from error
            if entry is not None:
                ways = found.setdefault(entry.word, {})
                ways[entry.phones] = max(entry.probability, ways.get(entry.phones, 0.0))
        if not found:
            raise TextError(f"{path}: expected lines of `word phone phone …`, got no entry at all")
        # sorted() is stable: without probabilities all are 1 and the order of the file stays.
        return cls({word: tuple(sorted(ways, key=ways.__getitem__, reverse=True)) for word, ways in found.items()})


@dataclass(frozen=True, slots=True)
class _Entry:
    word: str
    phones: Pronunciation
    probability: float


def _check_entry(word: str, alternatives: tuple[Pronunciation, ...]) -> None:
    if not alternatives or not all(alternatives):
        raise TextError(f"lexicon: expected one phone or more for each pronunciation of {word!r}, got none")
    for name in (word, *(phone for way in alternatives for phone in way)):
        if name.split() != [name]:
            raise TextError(f"lexicon: expected words and phones without white space, got {name!r} in {word!r}")


def _numbered_lines(path: Path) -> Iterator[tuple[int, str]]:
    """Yield (line number from 1, line), decoding line by line so that an error can name its line."""
    try:
        lines = path.read_bytes().removeprefix(b"\xef\xbb\xbf").split(b"\n")
    except OSError as error:
        raise TextError(f"{path}: cannot read the lexicon: {error.strerror}") from error
    for number, line in enumerate(lines, start=1):
        yield number, _decode(line, f"{path}:{number}")


def _decode(line: bytes, place: str) -> str:
    try:
        return line.decode("utf-8")
    except UnicodeDecodeError as error:
        raise TextError(
            f"{place}: expected UTF-8, got the byte 0x{line[error.start]:02X}; convert the file, "
            "for instance with `iconv -f latin1 -t utf8`"
        ) from error


def _parse_line(line: str, case: Case, probabilities: bool) -> _Entry | None:
    """Return what one line says, or None for a comment or a blank line."""
    if line.startswith(";;;"):
        return None
    fields = line.split()
    if "#" in fields:
        fields = fields[: fields.index("#")]
    if not fields:
        return None
    word = _normalize_word(fields.pop(0), case)
    probability = _take_probability(word, fields) if probabilities else 1.0
    if not fields:
        raise TextError(f"expected `word phone phone …`, got no phone for {word!r}")
    if _DECIMAL.fullmatch(fields[0]):
        raise TextError(
            f"expected a phone after {word!r}, got the number {fields[0]}; "
            "if it is a pronunciation probability (Kaldi's lexiconp.txt), say so with probabilities=True"
        )
    phones = tuple(unicodedata.normalize("NFC", phone) for phone in fields)
    return _Entry(word, phones, probability)


def _normalize_word(spelling: str, case: Case) -> str:
    numbered = _ALTERNATIVE.fullmatch(spelling)
    word = normalize(numbered["word"] if numbered else spelling, case)
    if word.split() != [word]:
        raise TextError(f"expected a word in the first column, got {spelling!r}")
    return word


def _take_probability(word: str, fields: list[str]) -> float:
    """Remove the first field and return it as a number in (0, 1]."""
    column = fields.pop(0) if fields else ""
    try:
        probability = float(column)
    except ValueError:
        probability = -1.0
    if not 0.0 < probability <= 1.0:
        raise TextError(f"expected a probability in (0, 1] after {word!r}, got {column!r}")
    return probability
