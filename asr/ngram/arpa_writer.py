"""Writing ARPA files, the text format in which every toolkit reads back-off n-gram models."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from asr.errors import LanguageModelError
from asr.files import replacing
from asr.ngram.compression import create_packed
from asr.ngram.tables import NgramTables, OrderTable
from asr.ngram.text import is_plain_word

_ROWS_A_BLOCK = 50_000


def write_arpa(path: str | Path, tables: NgramTables, *, on_progress: Callable[[float], None] | None = None) -> None:
    """Write a model as UTF-8 ARPA, whole or not at all; packed when the name ends in .gz, .bz2, .xz or .zst.

    The numbers have seven digits, as `lmplz` writes them. `on_progress` is told the fraction that is written.

    Raises:
        LanguageModelError: a word could not be read back (white space in it, empty, twice), or a number is not finite.
        OutputError: the file cannot be written.
    """
    path = Path(path)
    _check_vocab(tables.vocab)
    for n, table in enumerate(tables.orders, start=1):
        if not (np.isfinite(table.log10_probs).all() and np.isfinite(table.log10_backoffs).all()):
            raise LanguageModelError(f"{path}: expected finite logarithms, got others among the {n}-grams")
    num_rows = sum(len(table.words) for table in tables.orders)
    written = 0
    with replacing(path) as temporary, create_packed(temporary, path.suffix) as file:
        for block in _blocks(tables):
            file.write(block.encode())
            written += block.count("\n")
            if on_progress is not None:
                on_progress(min(1.0, written / num_rows))  # the few lines of the headings count too


def _check_vocab(vocab: tuple[str, ...]) -> None:
    for word in vocab:
        if not is_plain_word(word):
            raise LanguageModelError(f"an ARPA file can hold no empty word and no white space in one, got {word!r}")
    if len(set(vocab)) != len(vocab):
        raise LanguageModelError("expected each word once in the vocabulary of a language model, got one twice")


def _blocks(tables: NgramTables) -> Iterator[str]:
    counts = "".join(f"ngram {n}={len(table.words)}\n" for n, table in enumerate(tables.orders, start=1))
    yield f"\\data\\\n{counts}"
    for n, table in enumerate(tables.orders, start=1):
        yield f"\n\\{n}-grams:\n"
        for start in range(0, len(table.words), _ROWS_A_BLOCK):
            yield _lines(tables.vocab, table, slice(start, start + _ROWS_A_BLOCK), has_backoffs=n < tables.order)
    yield "\n\\end\\\n"


def _lines(vocab: tuple[str, ...], table: OrderTable, rows: slice, *, has_backoffs: bool) -> str:
    """The lines of some n-grams; formatted by one `map`, as ten million of them are no rarity."""
    columns = [map(vocab.__getitem__, column.tolist()) for column in table.words[rows].T]
    words = " ".join(["%s"] * len(columns))
    # adding 0.0 turns -0.0 into 0.0
    log10_probs = (table.log10_probs[rows] + 0.0).tolist()
    if not has_backoffs:
        return "".join(map(f"%.7g\t{words}\n".__mod__, zip(log10_probs, *columns)))
    log10_backoffs = (table.log10_backoffs[rows] + 0.0).tolist()
    return "".join(map(f"%.7g\t{words}\t%.7g\n".__mod__, zip(log10_probs, *columns, log10_backoffs)))
