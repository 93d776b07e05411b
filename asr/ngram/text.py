"""Text to train language models on, as one long array of word numbers."""

from __future__ import annotations

import codecs
import itertools
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from asr.errors import ConfigError, TextError
from asr.ngram.compression import byte_counter, read_blocks, source_name
from asr.ngram.foreign_files import HEAD_BYTES, foreign_file
from asr.ngram.tables import BEGIN, BEGIN_ID, END, END_ID, SPECIAL_WORDS, UNKNOWN_ID

_UNKNOWN_ALIAS = "<UNK>"  # KenLM reads it in an ARPA file as <unk>, which so would be there twice
_RESERVED = tuple(word.encode() for word in (*SPECIAL_WORDS, _UNKNOWN_ALIAS))
_BOUNDARY = f" {END} {BEGIN} ".encode()
_ARPA_START = b"\\data\\"
_BLOCK_BYTES = 1 << 22
_SENTENCES_A_BLOCK = 10_000


@dataclass(frozen=True, slots=True)
class Corpus:
    """A text in numbers."""

    vocab: tuple[str, ...]  # begins with <unk>, <s>, </s>; then in the order of first appearance
    ids: NDArray[np.int32]  # (L,) the sentences one after the other, each with its <s> and </s>

    @property
    def num_sentences(self) -> int:
        """How often </s> comes."""
        return int(np.count_nonzero(self.ids == END_ID))

    @property
    def num_words(self) -> int:
        """The running words, <s> and </s> not counted."""
        return len(self.ids) - 2 * self.num_sentences


def read_corpus(
    paths: Iterable[str | Path],
    *,
    vocab_limit: int | None = None,
    vocabulary: Iterable[str] | None = None,
    on_progress: Callable[[float], None] | None = None,
) -> Corpus:
    """Read UTF-8 text files, one sentence a line; plain, gzip, bzip2, xz or Zstandard; `-` is standard input.

    Words are what ASCII white space separates, and an empty line is an empty sentence, as for KenLM. `vocab_limit`
    keeps the most frequent words, of equals the first seen; `vocabulary` keeps the words it names and no other, seen
    or not. Any other word becomes <unk>, which is then counted like a word. `on_progress` is told the fraction that is
    read; of standard input, nothing.

    Raises:
        TextError: a file cannot be read, is damaged or not UTF-8 or holds a reserved word (<s>, </s>, <unk>, <UNK>);
            names file and line. There is no word at all.
        ConfigError: `vocab_limit` or `vocabulary` makes no sense.
    """
    paths = list(paths)
    count_bytes = byte_counter(paths, on_progress)
    blocks = itertools.chain.from_iterable(_line_blocks(path, count_bytes) for path in paths)
    return _encode(blocks, vocab_limit, vocabulary, ", ".join(map(source_name, paths)))


def encode_sentences(
    sentences: Iterable[str], *, vocab_limit: int | None = None, vocabulary: Iterable[str] | None = None
) -> Corpus:
    """Do what `read_corpus` does, with sentences from memory; a string of several lines is several sentences."""
    return _encode(_sentence_blocks(sentences), vocab_limit, vocabulary, "sentences")


def read_lines(paths: Iterable[str | Path]) -> Iterator[str]:
    """Yield the lines of the files that `read_corpus` reads, without their ends, for texts that need work first.

    Raises:
        TextError: a file cannot be read, is damaged or not UTF-8; names file and line.
    """
    for path in paths:
        for block in _line_blocks(path, lambda _: None):
            yield from block.data.decode().removesuffix("\n").split("\n")


def split_words(line: str) -> list[str]:
    """The words of a line: as in training, only ASCII white space separates them."""
    return [word.decode() for word in _split(line.encode())]


def is_plain_word(word: str) -> bool:
    """Whether a word comes back as one word from a text or an ARPA file that it is written to."""
    try:
        data = word.encode()
    except UnicodeEncodeError:  # a lone surrogate
        return False
    return data.split() == [data] and b"\0" not in data


def _split(data: bytes) -> list[bytes]:
    return data.replace(b"\0", b" ").split()  # KenLM takes NUL for white space too


@dataclass(frozen=True, slots=True)
class _LineBlock:
    """Whole lines of valid UTF-8, each with its newline."""

    source: str
    first_line: int  # counted from 1
    data: bytes


def _line_blocks(path: str | Path, on_bytes: Callable[[int], None]) -> Iterator[_LineBlock]:
    source = source_name(path)
    line = 1
    for number, data in enumerate(_whole_lines(read_blocks(path, on_bytes))):
        if number == 0:
            _check_kind(data[:HEAD_BYTES], source)
            data = data.removeprefix(codecs.BOM_UTF8)
        yield _checked_block(_LineBlock(source, line, data))
        line += data.count(b"\n")


def _check_kind(head: bytes, source: str) -> None:
    kind = foreign_file(head)
    if head.removeprefix(codecs.BOM_UTF8).lstrip().startswith(_ARPA_START):
        kind = "an ARPA file, which is a language model already: `asr lm compile` makes it quick to load"
    if kind:
        raise TextError(f"{source}: expected text, one sentence a line, got {kind}")


def _whole_lines(blocks: Iterable[bytes]) -> Iterator[bytes]:
    """Cut a stream of bytes anew, into blocks of whole lines; the last line gets a newline if it has none."""
    parts: list[bytes] = []
    size = 0
    for block in blocks:
        parts.append(block)
        size += len(block)
        if size >= _BLOCK_BYTES and b"\n" in block:
            head, newline, tail = b"".join(parts).rpartition(b"\n")
            yield head + newline
            parts, size = [tail], len(tail)
    rest = b"".join(parts)
    if rest:
        yield rest if rest.endswith(b"\n") else rest + b"\n"


def _sentence_blocks(sentences: Iterable[str]) -> Iterator[_LineBlock]:
    remaining = iter(sentences)
    line = 1
    while batch := list(itertools.islice(remaining, _SENTENCES_A_BLOCK)):
        # a lone surrogate passes here and is found, with its line, by the check that files go through
        data = "".join(f"{sentence}\n" for sentence in batch).encode(errors="surrogatepass")
        yield _checked_block(_LineBlock("sentences", line, data))
        line += data.count(b"\n")


def _checked_block(block: _LineBlock) -> _LineBlock:
    try:
        block.data.decode()
    except UnicodeDecodeError as error:
        line = block.first_line + block.data.count(b"\n", 0, error.start)
        raise TextError(
            f"{block.source}:{line}: expected UTF-8 text, got the byte 0x{block.data[error.start]:02X} "
            f"({error.reason}); convert the file, for example with iconv"
        ) from None
    return block


def _encode(
    blocks: Iterable[_LineBlock], vocab_limit: int | None, vocabulary: Iterable[str] | None, source: str
) -> Corpus:
    if vocab_limit is not None and vocabulary is not None:
        raise ConfigError("expected either vocab_limit or vocabulary, got both; a list of words is a limit by itself")
    if vocab_limit is not None and vocab_limit < 1:
        raise ConfigError(f"vocab_limit: expected a number of words from 1, got {vocab_limit}")
    numbers = _open_vocabulary() if vocabulary is None else _closed_vocabulary(vocabulary)
    closed_size = len(numbers)
    ids = _number_words(blocks, numbers)
    # a closed vocabulary's numbers also hold the unknown words that were met, after its own
    words = list(numbers)[: len(numbers) if vocabulary is None else closed_size]
    corpus = Corpus(tuple(word.decode() for word in words), ids)
    if corpus.num_words == 0:
        raise TextError(
            f"{source}: expected text with one sentence a line, words separated by spaces; got no word at all"
        )
    return corpus if vocab_limit is None else _limited(corpus, vocab_limit)


def _open_vocabulary() -> defaultdict[bytes, int]:
    special = {word.encode(): number for number, word in enumerate(SPECIAL_WORDS)}
    return defaultdict(itertools.count(len(special)).__next__, special)


def _closed_vocabulary(vocabulary: Iterable[str]) -> defaultdict[bytes, int]:
    words = list(vocabulary)
    for word in words:
        if not is_plain_word(word) or word == _UNKNOWN_ALIAS:
            raise ConfigError(f"vocabulary: expected words of UTF-8 text without white space, got {word!r}")
    unique = dict.fromkeys((*SPECIAL_WORDS, *words))
    return defaultdict(lambda: UNKNOWN_ID, {word.encode(): number for number, word in enumerate(unique)})


def _number_words(blocks: Iterable[_LineBlock], numbers: defaultdict[bytes, int]) -> NDArray[np.int32]:
    """The ids of all words, each sentence between <s> and </s>; new words enter `numbers` as it says."""
    number_of = numbers.__getitem__
    pieces = [np.array([BEGIN_ID], np.int32)]
    for block in blocks:
        _refuse_reserved_words(block)
        words = _split(block.data.replace(b"\n", _BOUNDARY))
        pieces.append(np.fromiter(map(number_of, words), np.int32, len(words)))
    return np.concatenate(pieces)[:-1]  # the last newline began a sentence that never came


def _refuse_reserved_words(block: _LineBlock) -> None:
    if not any(word in block.data for word in _RESERVED):
        return
    for number, line in enumerate(block.data.split(b"\n"), block.first_line):
        for word in _split(line):
            if word in _RESERVED:
                raise TextError(
                    f"{block.source}:{number}: expected plain words, got {word.decode()}, which is reserved for the "
                    "language model's own use; remove it (sentences are marked by their lines)"
                )


def _limited(corpus: Corpus, vocab_limit: int) -> Corpus:
    num_special = len(SPECIAL_WORDS)
    counts = np.bincount(corpus.ids, minlength=len(corpus.vocab))[num_special:]
    most_frequent = np.argsort(-counts, kind="stable")[:vocab_limit]
    kept = np.concatenate([np.arange(num_special), num_special + np.sort(most_frequent)])
    new_ids = np.full(len(corpus.vocab), UNKNOWN_ID, np.int32)
    new_ids[kept] = np.arange(len(kept), dtype=np.int32)
    return Corpus(tuple(corpus.vocab[old] for old in kept.tolist()), new_ids[corpus.ids])
