r"""Reading ARPA files, in the dialects of KenLM and SRILM, into tables.

    \data\                          the number of n-grams of each order
    ngram 1=3
    …
    \1-grams:                       log10 probability, words, and log10 back-off where longer n-grams follow
    -1.2    word    -0.3
    …
    \end\

What KenLM reads is read as KenLM reads it: a missing back-off is 0, a missing <unk> has log10 probability -100, blank
lines mean nothing; besides, -inf is -99, as SRILM writes the logarithm of 0. A broken file raises with its line.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from asr.ngram.arpa_lines import parse_ngrams, read_counts, read_end, read_header
from asr.ngram.arpa_vocabulary import ArpaVocabulary
from asr.ngram.blocks import BlockReader, Progress
from asr.ngram.tables import UNKNOWN_ID, NgramTables, OrderTable
from asr.ngram.trie import MISSING, find_contexts, lexicographic_order

CLOSED_VOCABULARY_LOG10_PROB = -100.0  # of <unk> where the file has none


@dataclass(frozen=True, slots=True)
class _Ngrams:
    """All n-grams of one order, sorted by their words."""

    words: NDArray[np.int32]  # (M, n) ids
    numbers: NDArray[np.float32]  # (M, 2) log10 probability and log10 back-off, NaN where there is none
    lines: NDArray[np.int64]  # (M,) where each stands in the file


def read_arpa(path: str | Path, on_progress: Progress | None = None) -> NgramTables:
    """Read an ARPA file, plain or compressed by gzip, bzip2, xz or zstandard. Its n-grams may come in any order.

    Args:
        path: the file.
        on_progress: told the share of the file that is read, 0-1.

    Raises:
        LanguageModelError: the file cannot be read or is cut short, its counts differ from what follows, or a line
            makes no sense; names the line.
    """
    reader = BlockReader(path, on_progress)
    counts = read_counts(reader)
    vocabulary, unigrams = _read_unigrams(reader, counts)
    ngrams = [unigrams]
    for order in range(2, len(counts) + 1):
        read_header(reader, order, counts)
        ngrams.append(_read_ngrams(reader, order, counts, vocabulary))
        _check_contexts(reader, ngrams[-2], ngrams[-1], vocabulary)
    _check_no_backoffs(reader, ngrams[-1], vocabulary)
    read_header(reader, len(counts) + 1, counts)
    read_end(reader)
    return NgramTables(vocabulary.vocab, tuple(_table(table) for table in ngrams))


def _read_unigrams(reader: BlockReader, counts: list[int]) -> tuple[ArpaVocabulary, _Ngrams]:
    first_line = reader.line_number
    spellings: list[bytes] = []
    blocks, line_blocks = [], []
    for parsed in parse_ngrams(reader, 1, counts):
        text = parsed.text.tobytes()
        spellings += [text[start:end] for start, end in parsed.spans[:, 0].tolist()]
        blocks.append(parsed.numbers)
        line_blocks.append(parsed.lines)
    file_lines = np.concatenate(line_blocks)
    vocabulary = ArpaVocabulary(reader, spellings, file_lines)
    numbers = np.empty((len(vocabulary.vocab), 2), dtype=np.float32)
    lines = np.empty(len(numbers), dtype=np.int64)
    numbers[UNKNOWN_ID], lines[UNKNOWN_ID] = (CLOSED_VOCABULARY_LOG10_PROB, 0.0), first_line  # unless it is there
    numbers[vocabulary.ids] = np.concatenate(blocks)
    lines[vocabulary.ids] = file_lines
    words = np.arange(len(numbers), dtype=np.int32)[:, None]
    return vocabulary, _Ngrams(words, numbers, lines)


def _read_ngrams(reader: BlockReader, order: int, counts: list[int], vocabulary: ArpaVocabulary) -> _Ngrams:
    word_blocks = [np.empty((0, order), dtype=np.int32)]
    number_blocks = [np.empty((0, 2), dtype=np.float32)]
    line_blocks = [np.empty(0, dtype=np.int64)]
    for parsed in parse_ngrams(reader, order, counts):
        word_blocks.append(vocabulary.find(reader, parsed))
        number_blocks.append(parsed.numbers)
        line_blocks.append(parsed.lines)
    words, numbers, lines = np.concatenate(word_blocks), np.concatenate(number_blocks), np.concatenate(line_blocks)
    sorting = lexicographic_order(words, len(vocabulary.vocab))
    ngrams = _Ngrams(words[sorting], numbers[sorting], lines[sorting])
    again = 1 + np.flatnonzero((ngrams.words[1:] == ngrams.words[:-1]).all(axis=1))
    if len(again):
        row = again[np.argmin(ngrams.lines[again])]
        ngram, line = vocabulary.text(ngrams.words[row]), int(ngrams.lines[row])
        raise reader.error(f"expected each {order}-gram once, got {ngram} a second time", line)
    return ngrams


def _check_contexts(reader: BlockReader, shorter: _Ngrams, ngrams: _Ngrams, vocabulary: ArpaVocabulary) -> None:
    """Raise unless each n-gram less its last word is there too."""
    order = ngrams.words.shape[1]
    contexts = find_contexts(shorter.words, ngrams.words)
    if len(orphans := np.flatnonzero(contexts == MISSING)):
        row = orphans[np.argmin(ngrams.lines[orphans])]
        ngram, context = vocabulary.text(ngrams.words[row]), vocabulary.text(ngrams.words[row, :-1])
        message = f"expected {context} among the {order - 1}-grams, as {ngram} begins with it; it is not there"
        raise reader.error(message, int(ngrams.lines[row]))


def _check_no_backoffs(reader: BlockReader, longest: _Ngrams, vocabulary: ArpaVocabulary) -> None:
    """Raise if n-grams that nothing can follow have a back-off other than 0."""
    backoffs = longest.numbers[:, 1]
    if len(wrong := np.flatnonzero(~np.isnan(backoffs) & (backoffs != 0.0))):
        row = wrong[np.argmin(longest.lines[wrong])]
        ngram = vocabulary.text(longest.words[row])
        message = f"expected no back-off after {ngram}, as no n-grams are longer, got {backoffs[row]:g}"
        raise reader.error(message, int(longest.lines[row]))


def _table(ngrams: _Ngrams) -> OrderTable:
    backoffs = np.nan_to_num(ngrams.numbers[:, 1], nan=0.0)
    return OrderTable(ngrams.words, np.ascontiguousarray(ngrams.numbers[:, 0]), backoffs)
