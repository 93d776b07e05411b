"""Texts as people write them -> texts as they are spoken: case, punctuation, numbers in words.

`normalize` gives a text one Unicode form and stops there. Transcripts of one's own also have capitals, commas and
figures, which a small model can only learn as further sounds. What a reader would say in a way that the text does not
tell stays as it is, and is named: `10:30`, `50 %`, `[laughter]`.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from functools import cache
from typing import Literal

from asr.errors import ConfigError
from asr.text.normalize import Case, normalize
from asr.text.numbers import SPOKEN, NumberSpeller, has_digits, is_figure, is_sign

Punctuation = Literal["remove", "keep"]
Digits = Literal["spell", "keep"]

_QUOTES = dict.fromkeys(map(ord, "“”„‟«»‹›〝〞＂"), '"')
_DASHES = dict.fromkeys(map(ord, "‐‑‒–—―−"), "-")
_PARTED_THOUSANDS = re.compile("(?<=[0-9])[\u00a0\u2009\u202f](?=[0-9]{3}(?![0-9]))")
_PLAIN = {**_QUOTES, **_DASHES, ord("…"): "..."}


@dataclass(frozen=True, slots=True)
class Rules:
    """How texts are rewritten. Unicode form, apostrophes and white space are always `normalize`'s."""

    case: Case = "lower"
    punctuation: Punctuation = "remove"  # or "keep": quotes and dashes become plain ones
    digits: Digits = "spell"


@dataclass(frozen=True, slots=True)
class Rewritten:
    """A text after `rewrite`."""

    text: str
    left: tuple[str, ...] = ()  # words that have digits or signs which are spoken, as they still stand there


def rewrite(text: str, rules: Rules, lang: str | None = None) -> Rewritten:
    """Rewrite one text.

    Words with digits that stay keep their punctuation too. Hyphens and dashes become spaces, apostrophes stay inside
    words; `%`, `&`, `€` and their like stay.

    Args:
        text: as written.
        rules: for case, punctuation and digits.
        lang: the language of its numbers, such as "de"; needed where a text has digits that are to be spelt.

    Raises:
        ConfigError: digits are to be spelt, and `lang` is None or has no rules.
        TextError: the text has a lone surrogate.

    >>> rewrite("“Don’t—stop!” On the 2nd of May: 50%.", Rules(), "en")
    Rewritten(text="don't stop on the second of may 50%", left=('50%',))
    """
    # Thousands are told apart by apostrophes then: that the space was no ordinary one would be lost.
    text = normalize(_PARTED_THOUSANDS.sub("'", text), "keep").translate(_PLAIN)
    if rules.digits == "spell" and has_digits(text):
        if lang is None:
            raise ConfigError("expected a language to spell digits in, such as en, got none")
        text = normalize(_speller(lang)(text), "keep")
    text = normalize(text, rules.case)
    text = _without_punctuation(text) if rules.punctuation == "remove" else text
    text = " ".join(text.split())
    return Rewritten(text, tuple(word for word in text.split() if _is_left(word, rules)))


def features(text: str) -> dict[str, int]:
    """Where a text first has "digits", "punctuation" and "signs" (`%`, `€`, `[`), if it does; apostrophes are letters.

    >>> features("It's 5 o'clock.")
    {'digits': 5, 'punctuation': 14}
    """
    found: dict[str, int] = {}
    for character in dict.fromkeys(text):  # in the order in which they come
        if kind := _kind(character):
            found.setdefault(kind, text.index(character))
    return found


@cache
def _kind(character: str) -> str:
    if is_figure(character):
        return "digits"
    if is_sign(character):
        return "" if normalize(character, "keep") == "'" else "signs"
    return "punctuation" if _is_mark(character) and normalize(character, "keep") != "'" else ""


def _is_left(word: str, rules: Rules) -> bool:
    has_number = rules.digits == "spell" and has_digits(word)
    return has_number or (rules.punctuation == "remove" and any(map(is_sign, word)))


def _without_punctuation(text: str) -> str:
    return " ".join(word if has_digits(word) else _bare(word) for word in map(_trim, text.split()))


def _trim(word: str) -> str:
    """A word without the punctuation at its ends, but for signs that are spoken."""
    start, stop = 0, len(word)
    is_number = has_digits(word)  # what stands before one may be its sign
    while start < stop and _is_mark(word[start]) and not (is_number and word[start] == "-"):
        start += 1
    while stop > start and _is_mark(word[stop - 1]):
        stop -= 1
    return word[start:stop]


def _bare(word: str) -> str:
    """A trimmed word of letters: marks inside part it, but for apostrophes."""
    letters = "".join(" " if _is_mark(character) and character != "'" else character for character in word)
    return " ".join(part.strip("'") for part in letters.split())


def _is_mark(character: str) -> bool:
    """Whether a character is punctuation that nobody says."""
    return unicodedata.category(character)[0] == "P" and character not in SPOKEN


@cache
def _speller(lang: str) -> NumberSpeller:
    return NumberSpeller(lang)
