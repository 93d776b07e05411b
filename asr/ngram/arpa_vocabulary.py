"""The words of an ARPA file: their ids, and a fast way from the bytes of longer n-grams to them."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from asr.ngram.arpa_kernels import EMPTY, fill_slots, find_words
from asr.ngram.arpa_lines import ParsedLines
from asr.ngram.blocks import BlockReader
from asr.ngram.tables import BEGIN, END, SPECIAL_WORDS, UNKNOWN

OTHER_UNKNOWN = "<UNK>"  # KenLM takes it for <unk>
SLOTS_PER_WORD = 2


class ArpaVocabulary:
    """Words in the order of the tables: <unk>, <s>, </s>, then that of the file.

    Args:
        reader: for errors; at the end of the unigrams.
        spellings: each unigram as the file has it.
        lines: (M,) where each stands in the file.

    Raises:
        LanguageModelError: a word is there twice, or <s> or </s> is not.
    """

    def __init__(self, reader: BlockReader, spellings: list[bytes], lines: NDArray[np.int64]) -> None:
        words = [spelling.decode("utf-8") for spelling in spellings]
        words = [UNKNOWN if word == OTHER_UNKNOWN else word for word in words]
        self._check(reader, words, lines)
        self.has_unknown = UNKNOWN in words
        special = set(SPECIAL_WORDS)
        self.vocab = (*SPECIAL_WORDS, *(word for word in words if word not in special))
        number = {word: word_id for word_id, word in enumerate(self.vocab)}
        self.ids = np.array([number[word] for word in words], dtype=np.int32)  # of each unigram of the file
        self._bytes = np.frombuffer(b"".join(spellings), dtype=np.uint8)
        self._offsets = np.cumsum([0, *map(len, spellings)], dtype=np.int64)
        self._slots = np.full(1 << (SLOTS_PER_WORD * len(words)).bit_length(), EMPTY, dtype=np.int32)
        fill_slots(self._bytes, self._offsets, self._slots)

    def find(self, reader: BlockReader, parsed: ParsedLines) -> NDArray[np.int32]:
        """The ids of all words of n-gram lines, (M, n); LanguageModelError for one that is no unigram."""
        rows: NDArray[np.int32] = find_words(parsed.text, parsed.spans, self._bytes, self._offsets, self._slots)
        if (rows == EMPTY).any():
            row, column = np.argwhere(rows == EMPTY)[0]
            start, end = parsed.spans[row, column]
            word = parsed.text[start:end].tobytes().decode("utf-8")
            line = int(parsed.lines[row])
            raise reader.error(f"expected words that are among the 1-grams, got {word!r}, which is not", line)
        return self.ids[rows]

    def text(self, words: NDArray[np.int32]) -> str:
        """An n-gram as it is written, quoted."""
        return repr(" ".join(self.vocab[word] for word in words))

    @staticmethod
    def _check(reader: BlockReader, words: list[str], lines: NDArray[np.int64]) -> None:
        if len(set(words)) < len(words):
            by_word = sorted(zip(words, lines.tolist()))
            again = [(line, word) for (before, _), (word, line) in pairwise(by_word) if word == before]
            line, word = min(again)
            raise reader.error(f"expected each word once among the 1-grams, got {word!r} a second time", line)
        for marker in (BEGIN, END):
            if marker not in words:
                raise reader.error(
                    f"expected {marker} among the 1-grams before this line, as sentences begin with {BEGIN} and end "
                    f"with {END}; add it, or estimate the model from sentences"
                )
