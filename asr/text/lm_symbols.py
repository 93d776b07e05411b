"""How a tokenizer's tokens are written in a language model over tokens."""

from __future__ import annotations

from asr.text.tokens import SPACE, Tokenizer

SPACE_SYMBOL = "<space>"
WORD_MARK = "▁"  # SentencePiece's mark of a word's beginning


def lm_symbols(tokenizer: Tokenizer) -> list[str]:
    """The name of each token without white space, which ARPA files could not hold; the blank's comes first.

    A lone space is `<space>`; inside longer tokens a space is written `▁`.
    """
    return [SPACE_SYMBOL if token == SPACE else token.replace(SPACE, WORD_MARK) for token in tokenizer.vocab]
