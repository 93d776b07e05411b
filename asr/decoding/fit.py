"""Whether a language model fits an acoustic model: the same symbols, over words or over tokens."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from asr.errors import ConfigError, LanguageModelError
from asr.ngram.tables import SPECIAL_WORDS
from asr.text.lm_symbols import SPACE_SYMBOL, lm_symbols
from asr.text.normalize import describe_character
from asr.text.tokens import BLANK, SPACE, Tokenizer

if TYPE_CHECKING:
    from asr.ngram.model import NgramModel

NO_MODEL, WORD_MODEL, TOKEN_MODEL = 0, 1, 2
MAX_FOREIGN_SHARE = 0.1  # of a word model's probability that cannot be spelt; of tokens that a token model lacks
NAMED_SYMBOLS = 8


def model_kind(model: NgramModel, tokenizer: Tokenizer) -> int:
    """Whether the model is over the tokenizer's tokens or over words.

    Raises:
        LanguageModelError: it is over neither; names the symbols by which they differ.
    """
    entries = [word for word in model.vocab if word not in SPECIAL_WORDS]
    if BLANK in entries:
        raise LanguageModelError(
            f"the language model has the entry {BLANK}: it was made of label paths with the CTC blank; "
            "collapse them to texts first"
        )
    symbols = lm_symbols(tokenizer)[1:]
    if set(entries) <= set(symbols):
        _check_tokens(symbols, set(entries))
        return TOKEN_MODEL
    if all(len(entry) == 1 or entry == "<space>" for entry in entries):
        _raise_mismatch("entries", [entry for entry in entries if entry not in set(symbols)], tokenizer)
    _check_spelling(model, tokenizer)
    return WORD_MODEL


def _check_tokens(symbols: Sequence[str], entries: set[str]) -> None:
    missing = [symbol for symbol in symbols if symbol not in entries]
    if len(missing) > MAX_FOREIGN_SHARE * len(symbols):
        raise LanguageModelError(
            f"the language model lacks {len(missing)} of the model's {len(symbols)} tokens: {_named(missing)}; "
            "train it on more text, or with this model's tokenizer"
        )
    if SPACE_SYMBOL in missing:
        raise LanguageModelError(
            f"the language model is over tokens and lacks {SPACE_SYMBOL}: each space would cost as much as an unknown "
            "token, so that words would be written as one; train it with `asr lm train --tokenizer`"
        )


def _check_spelling(model: NgramModel, tokenizer: Tokenizer) -> None:
    words = model.vocab[len(SPECIAL_WORDS) :]
    can_write = writer(tokenizer)
    foreign = np.array([not can_write(word) for word in words])
    probabilities = np.exp(model.log_probs[1 + len(SPECIAL_WORDS) : 1 + len(model.vocab)].astype(np.float64))
    if (probabilities * foreign).sum() > MAX_FOREIGN_SHARE * probabilities.sum():
        if symbols := sorted(set("".join(words)) - set("".join(tokenizer.surfaces))):
            _raise_mismatch("words with", symbols, tokenizer)
        raise LanguageModelError(
            f"the language model is over words, and the model writes {tokenizer.vocab_size - 1} tokens that are words "
            f"by themselves, such as phones; among these are not {_named([w for w in words if not can_write(w)])}; "
            "train it on such tokens, with this model's tokenizer"
        )


def writer(tokenizer: Tokenizer) -> Callable[[str], bool]:
    """Whether a model with these tokens can write a word."""
    if tokens_are_words(tokenizer):
        return {surface.removeprefix(SPACE) for surface in tokenizer.surfaces[1:]}.__contains__
    return (set("".join(tokenizer.surfaces)) - {SPACE}).issuperset


def tokens_are_words(tokenizer: Tokenizer) -> bool:
    """Whether each token is a word by itself, as phones are."""
    return all(surface.startswith(SPACE) and surface != SPACE for surface in tokenizer.surfaces[1:])


def _raise_mismatch(what: str, symbols: Sequence[str], tokenizer: Tokenizer) -> None:
    known = set("".join(tokenizer.surfaces))
    hint = ""
    if any(symbol.isupper() and symbol.lower() in known for symbol in symbols):
        hint = "; it is in upper case: train it on lower-case text"
    elif any(symbol.islower() and symbol.upper() in known for symbol in symbols):
        hint = "; it is in lower case, and the acoustic model writes upper case"
    raise LanguageModelError(
        f"the language model has {what} symbols that the model cannot write: {_named(symbols)}{hint}"
    )


def _named(symbols: Sequence[str]) -> str:
    shown = ", ".join(describe_character(s) if len(s) == 1 else repr(s) for s in symbols[:NAMED_SYMBOLS])
    return shown + (f" and {len(symbols) - NAMED_SYMBOLS} more" if len(symbols) > NAMED_SYMBOLS else "")


def usable_words(words: Iterable[str], tokenizer: Tokenizer, source: str) -> list[str]:
    """The words that the tokens can write, in order.

    Raises:
        ConfigError: there is none; names symbols.
    """
    can_write = writer(tokenizer)
    words = [word for word in words if word]
    usable = [word for word in words if can_write(word)]
    if not usable:
        foreign = sorted(set("".join(words)) - set("".join(tokenizer.surfaces))) or words
        raise ConfigError(
            f"none of the {len(words)} words of {source} can be spelt by the model; it lacks {_named(foreign)}"
        )
    return usable
