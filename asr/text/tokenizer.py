"""Tokenizers: text to the numbers a CTC model is trained on, and back.

Three kinds behind one interface: characters, SentencePiece pieces (BPE or unigram) and phones. Id 0 is always the CTC
blank; it is in `vocab` so that ids index the model's output, but no text contains it. A saved tokenizer is one JSON
file that needs nothing beside it and executes nothing.
"""

# ruff: noqa: D102  (public methods are documented once, by the protocol)

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from asr.errors import TextError
from asr.text.bpe import BpeTokenizer
from asr.text.lexicon import Lexicon
from asr.text.tokens import (
    BLANK,
    BLANK_ID,
    FORMAT_VERSION,
    SPACE,
    Tokenizer,
    TokenSpan,
    check_characters,
    check_tokens,
    excerpt,
    header,
    number_tokens,
    unknown_character_error,
)

__all__ = [
    "BLANK",
    "BLANK_ID",
    "BpeTokenizer",
    "CharTokenizer",
    "PhoneTokenizer",
    "TokenSpan",
    "Tokenizer",
    "load_tokenizer",
    "tokenizer_from_json",
]


@dataclass(frozen=True)
class CharTokenizer(Tokenizer):
    """One token for each character; ids follow the order of `alphabet`, from 1.

    Raises:
        TextError: the alphabet is empty, repeats a character, or has an entry that is not one character, or that
            no normalised text has (control characters, white space other than the space).

    >>> CharTokenizer((" ", "a", "b")).encode("ab a")
    [2, 3, 1, 2]
    """

    alphabet: tuple[str, ...]

    def __post_init__(self) -> None:
        check_tokens(self.alphabet)
        check_characters("".join(self.alphabet))
        for character in self.alphabet:
            if len(character) != 1:
                raise TextError(f"vocab: expected single characters, got {character!r}")

    @classmethod
    def train(cls, texts: Iterable[str]) -> CharTokenizer:
        """Learn the alphabet of normalised texts, sorted by code point; the space is in it whatever the texts.

        Raises:
            TextError: the texts hold no character but spaces, or are not normalised.
        """
        characters: set[str] = set()
        for text in texts:  # which may be millions, read one by one
            characters.update(text)
        if characters <= {SPACE}:
            raise TextError("expected texts to learn an alphabet from, got no character but spaces")
        return cls(tuple(sorted(characters | {SPACE})))

    @cached_property
    def vocab(self) -> tuple[str, ...]:
        return (BLANK, *self.alphabet)

    @cached_property
    def surfaces(self) -> tuple[str, ...]:
        return ("", *self.alphabet)

    def encode(self, text: str) -> list[int]:
        try:
            ids = self._ids
            return [ids[character] for character in text]
        except KeyError:
            raise unknown_character_error(self.unknown_symbols(text), text) from None

    def unknown_symbols(self, text: str) -> tuple[str, ...]:
        known = self._ids
        return tuple(dict.fromkeys(character for character in text if character not in known))

    def to_json(self) -> dict[str, Any]:
        return header("characters", self.vocab)

    @cached_property
    def _ids(self) -> dict[str, int]:
        return number_tokens(self.alphabet)


@dataclass(frozen=True)
class PhoneTokenizer(Tokenizer):
    """One token for each phone; ids follow the order of `phones`, from 1. In its output each phone is a word.

    Args:
        lexicon: turns words into phones, each word into its first pronunciation. With None the texts are phones
            already, separated by spaces, as TIMIT's transcripts are.
        phones: the inventory.

    Raises:
        TextError: the inventory is empty, has a repetition or white space, or lacks phones of the lexicon.

    >>> PhoneTokenizer(None, ("AH", "B", "T")).decode([2, 1, 3])
    'B AH T'
    """

    lexicon: Lexicon | None = field(repr=False)
    phones: tuple[str, ...]

    def __post_init__(self) -> None:
        check_tokens(self.phones)
        for phone in self.phones:
            if phone.split() != [phone]:
                raise TextError(f"vocab: expected phones without white space, got {phone!r}")
        missing = set(self.lexicon.phones if self.lexicon else ()) - set(self.phones)
        if missing:
            raise TextError(f"vocab: expected all phones of the lexicon, these are missing: {sorted(missing)}")

    @classmethod
    def from_lexicon(cls, lexicon: Lexicon) -> PhoneTokenizer:
        """Take the inventory from a lexicon, sorted; texts are words."""
        return cls(lexicon, lexicon.phones)

    @classmethod
    def train(cls, texts: Iterable[str]) -> PhoneTokenizer:
        """Learn the inventory of texts that are phones separated by spaces, sorted."""
        phones = {phone for text in texts for phone in text.split()}
        if not phones:
            raise TextError("expected texts of phones to learn an inventory from, got none")
        return cls(None, tuple(sorted(phones)))

    @cached_property
    def vocab(self) -> tuple[str, ...]:
        return (BLANK, *self.phones)

    @cached_property
    def surfaces(self) -> tuple[str, ...]:
        return ("", *(SPACE + phone for phone in self.phones))

    def encode(self, text: str) -> list[int]:
        unknown = self.unknown_symbols(text)
        if unknown:
            raise TextError(self._unknown_message(unknown[0], text))
        return [self._ids[phone] for word in text.split() for phone in self._pronounce(word)]

    def unknown_symbols(self, text: str) -> tuple[str, ...]:
        known = self._ids if self.lexicon is None else self.lexicon
        return tuple(dict.fromkeys(word for word in text.split() if word not in known))

    def to_json(self) -> dict[str, Any]:
        entries = None
        if self.lexicon is not None:
            pronunciations = self.lexicon.pronunciations
            entries = {word: [SPACE.join(way) for way in ways] for word, ways in pronunciations.items()}
        return {**header("phones", self.vocab), "lexicon": entries}

    def _pronounce(self, word: str) -> tuple[str, ...]:
        return (word,) if self.lexicon is None else self.lexicon.pronunciations[word][0]

    def _unknown_message(self, word: str, text: str) -> str:
        place = f"{word!r} in {excerpt(text, text.index(word))}"
        if self.lexicon is None:
            return f"expected one of {len(self.phones)} phones, got {place}"
        other_case = next((form for form in (word.upper(), word.lower()) if form in self.lexicon), None)
        hint = f"it has {other_case!r}: give both the same case" if other_case else "add it with its phones"
        return f"expected words of the lexicon ({len(self.lexicon)} words), got {place}; {hint}"

    @cached_property
    def _ids(self) -> dict[str, int]:
        return number_tokens(self.phones)


def load_tokenizer(path: str | Path) -> Tokenizer:
    """Read a tokenizer that `Tokenizer.save` wrote.

    Raises:
        TextError: the file cannot be read, is not JSON, or a field is wrong; names the file and the field.
    """
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise TextError(f"{path}: cannot read the tokenizer: {error.strerror}") from error
    except (ValueError, RecursionError) as error:  # malformed JSON, bytes that are not UTF-8, absurd nesting
        raise TextError(f"{path}: expected a tokenizer in JSON: {error}") from error
    return tokenizer_from_json(content, source=str(path))


def tokenizer_from_json(content: object, source: str = "tokenizer.json") -> Tokenizer:
    """Make a tokenizer of what `Tokenizer.to_json` returned. Nothing in `content` is executed.

    Args:
        content: parsed JSON.
        source: where it comes from, for messages.

    Raises:
        TextError: a field is missing, unknown or wrong; names `source` and the field.
    """
    try:
        return _parse(content)
    except TextError as error:
        raise TextError(f"{source}: {error}") from error


def _parse(content: object) -> Tokenizer:
    if not isinstance(content, dict):
        raise TextError(f"expected a JSON object, got {type(content).__name__}")
    kind, version = content.get("type"), content.get("version")
    if version != FORMAT_VERSION:
        raise TextError(f"version: expected {FORMAT_VERSION}, got {version!r}; use the release that wrote the file")
    if not isinstance(kind, str) or kind not in _EXTRA_FIELDS:
        raise TextError(f"type: expected one of {', '.join(_EXTRA_FIELDS)}, got {kind!r}")
    expected = {"type", "version", "vocab"} | _EXTRA_FIELDS[kind]
    if set(content) != expected:
        raise TextError(f"fields: expected {sorted(expected)}, got {sorted(content)}")
    tokens = _parse_vocab(content["vocab"])
    if kind == "characters":
        return CharTokenizer(tokens)
    if kind == "phones":
        return PhoneTokenizer(_parse_lexicon(content["lexicon"]), tokens)
    return _parse_bpe(content["model"], content["sha256"], tokens)


# What each type has beside type, version and vocab.
_EXTRA_FIELDS: dict[str, frozenset[str]] = {
    "characters": frozenset(),
    "bpe": frozenset({"model", "sha256"}),
    "phones": frozenset({"lexicon"}),
}


def _parse_vocab(value: object) -> tuple[str, ...]:
    """Check the field and return the tokens after the blank."""
    if not isinstance(value, list) or not all(isinstance(token, str) for token in value):
        raise TextError("vocab: expected a list of strings")
    if value[:1] != [BLANK]:
        raise TextError(f"vocab: expected {BLANK!r} first, since id 0 is the CTC blank, got {value[:1]}")
    tokens = tuple(value[1:])
    check_tokens(tokens)
    return tokens


def _parse_lexicon(value: object) -> Lexicon | None:
    if value is None:
        return None
    if not isinstance(value, dict):
        raise TextError(f"lexicon: expected null or an object of words, got {type(value).__name__}")
    for word, ways in value.items():
        if not isinstance(ways, list) or not all(isinstance(way, str) for way in ways):
            raise TextError(f"lexicon: expected a list of strings of phones for {word!r}")
    return Lexicon({word: tuple(tuple(way.split()) for way in ways) for word, ways in value.items()})


def _parse_bpe(model: object, sha256: object, tokens: tuple[str, ...]) -> BpeTokenizer:
    if not isinstance(model, str):
        raise TextError(f"model: expected a SentencePiece model in base64, got {type(model).__name__}")
    try:
        serialized = base64.b64decode(model, validate=True)
    except ValueError as error:
        raise TextError(f"model: damaged base64: {error}") from error
    if hashlib.sha256(serialized).hexdigest() != sha256:
        raise TextError("model: damaged, its SHA-256 is not that of the field sha256")
    tokenizer = BpeTokenizer(serialized)
    if tokenizer.vocab[1:] != tokens:
        raise TextError("model: its pieces differ from vocab; one of the two fields is damaged")
    return tokenizer
