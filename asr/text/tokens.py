"""What every tokenizer has: the interface that training and decoding see, and the checks the kinds share."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from asr.errors import TextError
from asr.files import write_json
from asr.text.normalize import describe_character

BLANK = "<blank>"
BLANK_ID = 0
SPACE = " "
FORMAT_VERSION = 1

_EXCERPT_CHARACTERS = 30  # shown before and after the place of an error


@dataclass(frozen=True, slots=True)
class TokenSpan:
    """A word and the tokens that spell it: `ids[start:end]`."""

    text: str
    start: int
    end: int


class Tokenizer(Protocol):
    """What training, decoding and language models know of a tokenizer. Implementations are immutable values."""

    @property
    def vocab(self) -> tuple[str, ...]:
        """The token of each id, as a reader of the file sees it; `vocab[0]` is the blank."""
        ...

    @property
    def surfaces(self) -> tuple[str, ...]:
        """What each id adds to the text: a leading space begins a new word, a lone space only ends the old one.

        The text of any ids is their surfaces joined, less surplus spaces. The blank's surface is empty.
        """
        ...

    @property
    def blank_id(self) -> int:
        """The id of the CTC blank, 0 for every tokenizer."""
        return BLANK_ID

    @property
    def vocab_size(self) -> int:
        """The number of ids, blank included: the size of the model's output layer."""
        return len(self.vocab)

    def encode(self, text: str) -> list[int]:
        """Return the ids of a normalised text, without blanks; raise TextError naming what has no token."""
        ...

    def unknown_symbols(self, text: str) -> tuple[str, ...]:
        """Return what `encode` would refuse in `text`, each once, in order: characters, or words for phones."""
        ...

    def to_json(self) -> dict[str, Any]:
        """Return everything the tokenizer is, as `tokenizer_from_json` reads it."""
        ...

    def decode(self, ids: Sequence[int]) -> str:
        """Return the text of ids that are free of blanks: its words with one space between.

        Raises:
            TextError: an id is the blank or out of range; names it.
        """
        return SPACE.join(span.text for span in self.split_words(ids))

    def split_words(self, ids: Sequence[int]) -> list[TokenSpan]:
        """Return the words of `decode(ids)` with the positions of their tokens. A lone space belongs to no word.

        Raises:
            TextError: an id is the blank or out of range; names it.
        """
        return _split_words(self.surfaces, ids)

    def save(self, path: str | Path) -> None:
        """Write the tokenizer as one self-contained JSON file, which `load_tokenizer` reads."""
        write_json(path, self.to_json())


def word_separator(tokenizer: Tokenizer) -> list[int]:
    """The tokens between two texts that are joined: a space where spaces are tokens, else none."""
    return [tokenizer.surfaces.index(SPACE)] if SPACE in tokenizer.surfaces else []


def header(kind: str, vocab: tuple[str, ...]) -> dict[str, Any]:
    """Return the fields that the JSON of every kind has."""
    return {"type": kind, "version": FORMAT_VERSION, "vocab": list(vocab)}


def number_tokens(tokens: tuple[str, ...]) -> dict[str, int]:
    """Return the id of each token, from 1."""
    return {token: token_id for token_id, token in enumerate(tokens, start=BLANK_ID + 1)}


def check_tokens(tokens: tuple[str, ...]) -> None:
    """Raise TextError unless `tokens`, without the blank, are some, different and not empty."""
    if not tokens:
        raise TextError("vocab: expected at least one token besides the blank, got none")
    seen = {BLANK}
    for token in tokens:
        if not token or token in seen:
            raise TextError(f"vocab: expected different tokens, none of them empty, got {token!r} more than once")
        seen.add(token)


def check_characters(characters: Iterable[str]) -> None:
    """Raise TextError on white space other than the space, control characters and lone surrogates."""
    for character in sorted(characters):
        category = unicodedata.category(character)
        if character != SPACE and (character.isspace() or category in ("Cc", "Cs")):
            raise TextError(
                f"vocab: expected characters of normalised text, got {describe_character(character)}; "
                "put texts through asr.text.normalize before training on them"
            )


def _split_words(surfaces: tuple[str, ...], ids: Sequence[int]) -> list[TokenSpan]:
    _check_ids(ids, len(surfaces))
    words: list[TokenSpan] = []
    text, start = "", 0
    for position, token_id in enumerate(ids):
        surface = surfaces[token_id]
        if surface[0] == SPACE:
            if text:
                words.append(TokenSpan(text, start, position))
            text, surface = "", surface[1:]
        if not text:
            start = position
        text += surface
    if text:
        words.append(TokenSpan(text, start, len(ids)))
    return words


def _check_ids(ids: Sequence[int], vocab_size: int) -> None:
    for position, token_id in enumerate(ids):
        if token_id == BLANK_ID:
            raise TextError(
                f"expected token ids without blanks, got the blank ({BLANK_ID}) at position {position}; "
                "collapse the path first"
            )
        if not 0 < token_id < vocab_size:
            raise TextError(f"expected token ids from 1 to {vocab_size - 1}, got {token_id} at position {position}")


def unknown_character_error(unknown: tuple[str, ...], text: str) -> TextError:
    """Return the error that names the first of the `unknown` characters and where it stands in `text`."""
    position = text.index(unknown[0])
    return TextError(
        f"expected characters of the tokenizer's alphabet, got {describe_character(unknown[0])} "
        f"at position {position} of {excerpt(text, position)}; normalise the text, or train the tokenizer on it"
    )


def excerpt(text: str, position: int) -> str:
    """Quote `text` around `position`."""
    start = max(0, position - _EXCERPT_CHARACTERS)
    end = position + _EXCERPT_CHARACTERS
    return repr("…" * (start > 0) + text[start:end] + "…" * (end < len(text)))
