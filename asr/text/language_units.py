"""What a recurrent language model counts in: the tokens of a tokenizer, or the most frequent words of a text.

Id 0 ends a sentence. A tokenizer's id 0 is the CTC blank, which no text contains: the other ids stay as they are.
"""

# ruff: noqa: D102  (public methods are documented once, by the protocol)

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Protocol

from asr.errors import TextError
from asr.text.tokenizer import tokenizer_from_json
from asr.text.tokens import FORMAT_VERSION, Tokenizer

END, UNKNOWN = "</s>", "<unk>"
END_ID = 0
UNKNOWN_WORD_ID = 1  # of word units
_WORDS_TYPE = "words"


class LanguageUnits(Protocol):
    """Normalised text to ids. Implementations are immutable values."""

    @property
    def vocab_size(self) -> int:
        """The number of ids, that of the sentence's end included."""
        ...

    def encode(self, text: str) -> list[int]:
        """Return the ids of a normalised text, without its end; raise TextError for what cannot be spelt."""
        ...

    def unlisted_nats(self, text: str) -> float:
        """Return what telling unknown words apart adds to −ln p(text), see `WordUnits`; 0 for tokens."""
        ...

    def unknown_symbols(self, text: str) -> tuple[str, ...]:
        """Return what `encode` would refuse in `text`, each once, in order."""
        ...

    def to_json(self) -> dict[str, Any]:
        """Return everything the units are, as `units_from_json` reads it."""
        ...


@dataclass(frozen=True)
class TokenUnits(LanguageUnits):
    """The tokens of a tokenizer: characters, BPE pieces or phones.

    >>> from asr.text.tokenizer import CharTokenizer
    >>> TokenUnits(CharTokenizer((" ", "a", "b"))).encode("ab a")
    [2, 3, 1, 2]
    """

    tokenizer: Tokenizer

    @property
    def vocab_size(self) -> int:
        return self.tokenizer.vocab_size

    def encode(self, text: str) -> list[int]:
        return self.tokenizer.encode(text)

    def unlisted_nats(self, text: str) -> float:  # noqa: ARG002
        return 0.0

    def unknown_symbols(self, text: str) -> tuple[str, ...]:
        return self.tokenizer.unknown_symbols(text)

    def to_json(self) -> dict[str, Any]:
        return self.tokenizer.to_json()


@dataclass(frozen=True)
class WordUnits(LanguageUnits):
    """A list of words; every other word is <unk>.

    The probability of <unk> belongs to all unlisted words together. A text with one of them has that probability
    divided by their number in the training text: otherwise a misrecognised word would be likelier than a rare one.

    Args:
        words: ids follow their order, from 2.
        num_unlisted: the different words of the training text that are not listed.

    Raises:
        TextError: a word is repeated, empty, reserved or has white space; the number is negative.

    >>> WordUnits(("the", "cat"), num_unlisted=10).encode("the dog")
    [2, 1]
    """

    words: tuple[str, ...] = field(repr=False)
    num_unlisted: int

    def __post_init__(self) -> None:
        if self.num_unlisted < 0:
            raise TextError(f"num_unlisted: expected 0 or more, got {self.num_unlisted}")
        if len(self._ids) != len(self.words):
            repeated = next(word for word, count in Counter(self.words).items() if count > 1)
            raise TextError(f"words: expected different words, got {repeated!r} more than once")
        for word in self.words:
            if word.split() != [word] or word in (END, UNKNOWN):
                raise TextError(f"words: expected words without white space, none of them {END} or {UNKNOWN}: {word!r}")

    @classmethod
    def learn(cls, texts: Iterable[str], vocab_size: int) -> WordUnits:
        """Take the most frequent words of normalised texts, of equally frequent ones the first in code point order.

        Args:
            texts: sentences.
            vocab_size: the most ids there may be, </s> and <unk> included.

        Raises:
            TextError: the texts hold no words, or `vocab_size` leaves room for none.
        """
        if vocab_size < 3:
            raise TextError(f"vocab_size: expected at least 3 ({END}, {UNKNOWN} and one word), got {vocab_size}")
        counts: Counter[str] = Counter()
        for text in texts:
            counts.update(text.split())
        for reserved in (END, UNKNOWN):
            counts.pop(reserved, None)  # a text that was limited to a vocabulary before
        if not counts:
            raise TextError("expected texts to learn a list of words from, got no word")
        ranked = sorted(counts, key=lambda word: (-counts[word], word))
        return cls(tuple(ranked[: vocab_size - 2]), max(0, len(ranked) - (vocab_size - 2)))

    @property
    def vocab_size(self) -> int:
        return len(self.words) + 2

    def encode(self, text: str) -> list[int]:
        ids = self._ids
        return [ids.get(word, UNKNOWN_WORD_ID) for word in text.split()]

    def unlisted_nats(self, text: str) -> float:
        if self.num_unlisted < 2:
            return 0.0
        return sum(word not in self._ids for word in text.split()) * math.log(self.num_unlisted)

    def unknown_symbols(self, text: str) -> tuple[str, ...]:  # noqa: ARG002
        return ()

    def to_json(self) -> dict[str, Any]:
        return {
            "type": _WORDS_TYPE,
            "version": FORMAT_VERSION,
            "num_unlisted": self.num_unlisted,
            "words": list(self.words),
        }

    @cached_property
    def _ids(self) -> dict[str, int]:
        return {word: word_id for word_id, word in enumerate(self.words, start=UNKNOWN_WORD_ID + 1)}


def units_from_json(content: object, source: str = "tokenizer.json") -> LanguageUnits:
    """Make units of what `to_json` returned, which is a tokenizer's JSON or a list of words.

    Raises:
        TextError: a field is missing, unknown or wrong; names `source` and the field.
    """
    if not isinstance(content, dict) or content.get("type") != _WORDS_TYPE:
        return TokenUnits(tokenizer_from_json(content, source))
    try:
        return _parse_words(content)
    except TextError as error:
        raise TextError(f"{source}: {error}") from error


def _parse_words(content: dict[str, Any]) -> WordUnits:
    expected = {"type", "version", "num_unlisted", "words"}
    if set(content) != expected:
        raise TextError(f"fields: expected {sorted(expected)}, got {sorted(content)}")
    if content["version"] != FORMAT_VERSION:
        raise TextError(
            f"version: expected {FORMAT_VERSION}, got {content['version']!r}; use the release that wrote it"
        )
    words, num_unlisted = content["words"], content["num_unlisted"]
    if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
        raise TextError("words: expected a list of strings")
    if type(num_unlisted) is not int:
        raise TextError(f"num_unlisted: expected a whole number, got {num_unlisted!r}")
    return WordUnits(tuple(words), num_unlisted)
