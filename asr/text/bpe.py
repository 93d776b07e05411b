"""Sub-word tokens learnt by SentencePiece."""

# ruff: noqa: D102  (public methods are documented once, by the protocol)

from __future__ import annotations

import base64
import hashlib
import io
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

import sentencepiece

from asr.errors import ConfigError, TextError
from asr.text.tokens import (
    BLANK,
    BLANK_ID,
    SPACE,
    Tokenizer,
    check_characters,
    check_tokens,
    header,
    unknown_character_error,
)

_META_SPACE = "\u2581"  # ▁ stands for the space before a word in SentencePiece's pieces
# SentencePiece would read the first as a space, and it skips training texts that contain the second (▅).
_RESERVED = frozenset((_META_SPACE, "\u2585"))
# SentencePiece's own default, fixed because the unigram sums are split by thread and so depend on the number.
_NUM_THREADS = 16
_MAX_SENTENCE_BYTES = 1 << 30  # the most SentencePiece takes; longer texts it would skip without a word
_TOO_LARGE = re.compile(r"Vocabulary size too high .* value <= (?P<limit>\d+)")


@dataclass(frozen=True)
class BpeTokenizer(Tokenizer):
    """Pieces of words learnt by SentencePiece: byte-pair encoding or unigram (Sennrich 2016, Kudo 2018).

    SentencePiece's ids are used as they are: its unknown token has id 0, where the blank goes, since a character that
    training did not see raises instead.

    Args:
        model: a serialized SentencePiece model as `train` makes it.

    Raises:
        TextError: the model cannot be parsed, or has control tokens or pieces of several words.
    """

    model: bytes = field(repr=False)

    def __post_init__(self) -> None:
        if not self.model:  # SentencePiece takes this for "load later"
            raise TextError("model: expected a SentencePiece model, got no bytes")
        processor = self._processor
        if processor.unk_id() != BLANK_ID or processor.vocab_size() < 2:
            raise TextError("model: expected a SentencePiece model whose id 0 is the unknown token")
        for token_id, piece in enumerate(self.vocab[1:], start=1):
            if processor.is_control(token_id) or processor.is_byte(token_id) or _META_SPACE in piece[1:]:
                raise TextError(
                    f"model: expected pieces of one word each and no control tokens, got {piece!r} (id {token_id}); "
                    "use BpeTokenizer.train"
                )
        check_tokens(self.vocab[1:])
        if any(BLANK_ID in processor.encode(character) for character in self._alphabet):
            raise TextError("model: expected a model that can spell each of its characters; use BpeTokenizer.train")

    @classmethod
    def train(cls, texts: Iterable[str], vocab_size: int, algorithm: Literal["bpe", "unigram"] = "bpe") -> BpeTokenizer:
        """Learn `vocab_size` tokens, blank included, from normalised texts; the same texts give the same tokens.

        Every character of the texts gets a token of its own besides, so none of them is unknown afterwards.

        Raises:
            TextError: no text, a character that SentencePiece reserves, or a `vocab_size` these texts do not allow.
            ConfigError: the algorithm is unknown.
        """
        if algorithm not in ("bpe", "unigram"):
            raise ConfigError(f"algorithm: expected 'bpe' or 'unigram', got {algorithm!r}")
        lines = list(texts)
        _check_training(lines, vocab_size)
        return cls(_train(lines, vocab_size, algorithm))

    @cached_property
    def vocab(self) -> tuple[str, ...]:
        processor = self._processor
        try:
            return (BLANK, *(processor.id_to_piece(i) for i in range(1, processor.vocab_size())))
        except UnicodeDecodeError as error:
            raise TextError("model: its pieces are not UTF-8, the model is damaged") from error

    @cached_property
    def surfaces(self) -> tuple[str, ...]:
        return ("", *(piece.replace(_META_SPACE, SPACE) for piece in self.vocab[1:]))

    def encode(self, text: str) -> list[int]:
        if not self._alphabet.issuperset(text):
            raise unknown_character_error(self.unknown_symbols(text), text)
        ids: list[int] = self._processor.encode(text)
        return ids

    def unknown_symbols(self, text: str) -> tuple[str, ...]:
        known = self._alphabet
        return tuple(dict.fromkeys(character for character in text if character not in known))

    def to_json(self) -> dict[str, Any]:
        model = base64.b64encode(self.model).decode("ascii")
        return {**header("bpe", self.vocab), "model": model, "sha256": hashlib.sha256(self.model).hexdigest()}

    def __getstate__(self) -> dict[str, bytes]:
        return {"model": self.model}  # data loader workers parse it again, which is quicker than shipping the rest

    @cached_property
    def _alphabet(self) -> frozenset[str]:
        return frozenset(piece for piece in self.vocab if len(piece) == 1) - {_META_SPACE} | {SPACE}

    @cached_property
    def _processor(self) -> Any:
        try:
            return sentencepiece.SentencePieceProcessor(model_proto=self.model)
        except RuntimeError as error:
            raise TextError("model: not a SentencePiece model, or a damaged one") from error


def _check_training(lines: list[str], vocab_size: int) -> None:
    characters = set().union(*lines)
    if characters <= {SPACE}:
        raise TextError("expected texts to learn pieces from, got no character but spaces")
    check_characters(characters)
    reserved = sorted(characters & _RESERVED)
    if reserved:
        raise TextError(f"expected texts without characters that SentencePiece reserves, got {reserved}")
    # The blank, the space before a word, and each character are tokens before anything is learnt.
    smallest = len(characters - {SPACE}) + 2
    if vocab_size < smallest:
        raise TextError(f"vocab_size: expected at least {smallest} for the characters of these texts, got {vocab_size}")


def _train(lines: list[str], vocab_size: int, algorithm: str) -> bytes:
    model = io.BytesIO()
    try:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(lines),
            model_writer=model,
            model_type=algorithm,
            vocab_size=vocab_size,
            character_coverage=1.0,
            normalization_rule_name="identity",  # the texts are normalised, and decode(encode(x)) must be x
            max_sentence_length=_MAX_SENTENCE_BYTES,
            unk_id=BLANK_ID,
            bos_id=-1,
            eos_id=-1,
            pad_id=-1,
            num_threads=_NUM_THREADS,
            minloglevel=2,  # errors only; they are raised as well
        )
    except RuntimeError as error:
        too_large = _TOO_LARGE.search(str(error))
        if too_large is None:
            raise TextError(f"SentencePiece could not learn {vocab_size} {algorithm} tokens: {error}") from error
        raise TextError(
            f"vocab_size: expected at most {too_large['limit']} for these texts ({algorithm}), got {vocab_size}; "
            "lower it or train on more text"
        ) from error
    return model.getvalue()
