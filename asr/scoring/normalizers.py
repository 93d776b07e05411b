"""Spellings that should not count as errors: normalisers for scoring, always beside the raw figure.

What counts as the same word changes a word error rate by whole points; a figure under a normaliser says nothing
beside one without. So no normaliser replaces the raw score: it adds a second one under its own name.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable
from functools import cache

from asr.errors import ScoringError
from asr.text.normalize import normalize

Normalizer = Callable[[str], str]

NAMES = ("basic", "english")
_INSIDE_WORD = re.compile(r"(?<=\w)'(?=\w)")
_PLACEHOLDER = "\ue000"  # a character for private use: neither punctuation nor found in texts


def normalizer(name: str) -> Normalizer:
    """The normaliser called `name`: "basic" or "english".

    basic: `basic_normalize`, for any language. english: the rules of whisper (Radford et al. 2022, appendix C) from
    the package whisper-normalizer: numbers as digits, British as American spellings, contractions spelt out, fillers
    such as "hmm" dropped.

    Raises:
        ScoringError: there is no such normaliser.
    """
    match name:
        case "basic":
            return basic_normalize
        case "english":
            return _english()
        case unknown:
            raise ScoringError(f"normaliser: expected any of {', '.join(NAMES)}, got {unknown!r}")


def basic_normalize(text: str) -> str:
    """Case, punctuation, symbols and compatibility forms (NFKC) made one; every letter and mark of any script stays.

    Apostrophes inside words stay, as they spell ("don't"). Whisper's own basic normaliser also removes combining
    marks, and with them the vowels of Indic scripts; this one does not.

    >>> basic_normalize("“Don’t!” — 20 €, Ça va…")
    "don't 20 ça va"
    """
    text = normalize(unicodedata.normalize("NFKC", text).casefold(), "keep")  # apostrophes and spaces are plain now
    text = _INSIDE_WORD.sub(_PLACEHOLDER, text)
    return " ".join(text.translate(_SPACED).replace(_PLACEHOLDER, "'").split())


class _PunctuationTable(dict[int, str]):
    """Punctuation and symbols as spaces, for `str.translate`; filled as characters are met."""

    def __missing__(self, code_point: int) -> str:
        character = chr(code_point)
        self[code_point] = spaced = " " if unicodedata.category(character)[0] in "PS" else character
        return spaced


_SPACED = _PunctuationTable()


@cache
def _english() -> Normalizer:
    from whisper_normalizer.english import EnglishTextNormalizer

    english: Normalizer = EnglishTextNormalizer()
    return lambda text: " ".join(english(text).split())
