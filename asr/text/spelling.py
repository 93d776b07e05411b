"""Words as people write them, and the tokens of what they say: for texts that nobody prepared for a model.

Punctuation is not said, so a model that has no token for it spells the rest of the word. Digits, symbols and foreign
letters are said, but how, the text does not tell: in the place of such a word stands a bridge, which any sound may be.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from asr.errors import TextError
from asr.text.normalize import Case, normalize
from asr.text.tokens import SPACE, Tokenizer, TokenSpan

BRIDGE = -1  # a token that any sound may be

_SAID = frozenset("&%@#§+=×÷±°")  # punctuation and symbols that have names; those of currencies have them too
# Between two words that no space divides; a single dot is part of "a.m." and "u.s.a.".
_DIVIDER = re.compile(r"(?:[/\\,;:!?…|~_\-‐‑‒–—―−]|\.\.+)+")
_WHITE_SPACE = re.compile(r"[\s\u200b\ufeff]+")


@dataclass(frozen=True, slots=True)
class SpokenWord:
    """A word of a text and what is said of it."""

    written: str  # as it stands in the text
    text: str  # what is spelt, or else the word normalised
    tokens: tuple[int, ...]  # empty where nothing is said; with `BRIDGE` where it cannot be spelt

    @property
    def is_spelt(self) -> bool:
        """Whether the tokens are the word."""
        return bool(self.tokens) and BRIDGE not in self.tokens


@dataclass(frozen=True, slots=True)
class SpokenText:
    """A text as a model can follow it."""

    words: tuple[SpokenWord, ...]
    tokens: tuple[int, ...]  # of all words, with what a tokenizer puts between
    spans: tuple[TokenSpan, ...]  # of the words of which anything is said, in `tokens`

    @property
    def said(self) -> tuple[SpokenWord, ...]:
        """The words of `spans`."""
        return tuple(word for word in self.words if word.tokens)

    @property
    def unspelt(self) -> tuple[str, ...]:
        """The words that have no tokens of their own: bridged or, where nothing is said, left out."""
        return tuple(word.text for word in self.words if not word.is_spelt)


def spoken_text(text: str, case: Case, tokenizer: Tokenizer) -> SpokenText:
    """Spell a text as far as the tokenizer can.

    Raises `TextError` for a text of which something is said but no word can be spelt, naming what has no token.

    >>> from asr.text.tokenizer import PhoneTokenizer
    >>> spoken = spoken_text("Six -- 8, one!", "lower", PhoneTokenizer(None, ("one", "six")))
    >>> [word.tokens for word in spoken.words], spoken.tokens
    ([(2,), (), (-1,), (1,)], (2, -1, 1))
    >>> spoken.unspelt
    ('--', '8')
    """
    words = tuple(word for written in _WHITE_SPACE.split(text) for word in _spoken_words(written, case, tokenizer))
    said = [word for word in words if word.tokens]
    if said and not any(word.is_spelt for word in said):
        unknown = tokenizer.unknown_symbols(normalize(text, case))
        raise TextError(f"no word of the text can be spelt: the model has no tokens for {_listed(unknown)}")
    between = _separator(tokenizer, next((word.text for word in said if word.is_spelt), ""))
    tokens: list[int] = []
    spans = []
    for word in said:
        if tokens:
            tokens += between
        start = len(tokens) + (tokenizer.surfaces[word.tokens[0]] == SPACE)  # a lone space is no sound of the word
        tokens += word.tokens
        spans.append(TokenSpan(word.text, start, len(tokens)))
    return SpokenText(words, tuple(tokens), tuple(spans))


def _spoken_words(written: str, case: Case, tokenizer: Tokenizer) -> list[SpokenWord]:
    """What stands between two spaces: a word, or several with a dash or the like between them."""
    unknown = _unknown_characters(tokenizer, normalize(written, case))
    cuts = [
        match.end()
        for match in _DIVIDER.finditer(written)
        if match.start() > 0 and match.end() < len(written) and unknown.issuperset(match[0])
    ]
    parts = [written[start:end] for start, end in pairwise([0, *cuts, len(written)])]
    words = [_spoken_word(part, case, tokenizer) for part in parts if normalize(part, case)]
    if len(words) > 1 and not any(word.is_spelt for word in words):
        return [_spoken_word(written, case, tokenizer)]
    return words


def _spoken_word(written: str, case: Case, tokenizer: Tokenizer) -> SpokenWord:
    word = normalize(written, case)
    silent = "".join(filter(_is_silent, _unknown_characters(tokenizer, word)))
    stripped = word.strip(silent)
    if not stripped:
        return SpokenWord(written, word, ())
    for said in (stripped, stripped.translate(dict.fromkeys(map(ord, silent)))):
        if not tokenizer.unknown_symbols(said):
            return SpokenWord(written, said, tuple(tokenizer.encode(said)))
    return SpokenWord(written, stripped, (BRIDGE,))


def _unknown_characters(tokenizer: Tokenizer, word: str) -> frozenset[str]:
    """Characters without tokens; all of a word that is none."""
    return frozenset("".join(tokenizer.unknown_symbols(word)))


def _is_silent(character: str) -> bool:
    category = unicodedata.category(character)
    return category[0] in "PS" and category != "Sc" and character not in _SAID


def _separator(tokenizer: Tokenizer, word: str) -> Sequence[int]:
    """What the tokenizer puts between two words: a space among characters, else nothing."""
    alone = len(tokenizer.encode(word))
    both = tokenizer.encode(f"{word} {word}")
    return both[alone : len(both) - alone]


def _listed(symbols: Sequence[str], shown: int = 10) -> str:
    return ", ".join(map(repr, symbols[:shown])) + (" …" if len(symbols) > shown else "")
