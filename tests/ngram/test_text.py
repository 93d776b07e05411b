"""Text files to numbers: packings, line ends, vocabularies, and what is refused."""

import bz2
import gzip
import io
import lzma
import sys

import pytest
import zstandard

from asr.errors import ConfigError, TextError
from asr.ngram import text as text_module
from asr.ngram.tables import SPECIAL_WORDS
from asr.ngram.text import encode_sentences, is_plain_word, read_corpus, read_lines

ZSTANDARD = zstandard.ZstdCompressor(write_checksum=True)  # as the program `zstd` does, but the library only if asked
PACK = {"plain": bytes, "gz": gzip.compress, "bz2": bz2.compress, "xz": lzma.compress, "zst": ZSTANDARD.compress}


def sentences(corpus):
    words = " ".join(corpus.vocab[id] for id in corpus.ids)
    assert words.startswith("<s>")
    assert words.endswith("</s>")
    return [sentence.strip(" ") for sentence in words.removesuffix("</s>").removeprefix("<s>").split("</s> <s>")]


def write(tmp_path, data, name="text"):
    path = tmp_path / name
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("packing", PACK)
def test_packings_are_told_by_their_first_bytes(tmp_path, packing):
    path = write(tmp_path, PACK[packing]("die Straße\nφως\n".encode()))
    corpus = read_corpus([path])
    assert sentences(corpus) == ["die Straße", "φως"]
    assert corpus.vocab == (*SPECIAL_WORDS, "die", "Straße", "φως")
    assert (corpus.num_sentences, corpus.num_words) == (2, 3)
    assert list(read_lines([path])) == ["die Straße", "φως"]


@pytest.mark.parametrize("packing", ["gz", "bz2", "xz", "zst"])
def test_several_packed_streams_one_after_the_other(tmp_path, packing):
    path = write(tmp_path, PACK[packing](b"one t") + PACK[packing](b"wo\nthree") + b"\0" * 8)
    assert sentences(read_corpus([path])) == ["one two", "three"]


@pytest.mark.parametrize("packing", ["gz", "bz2", "xz", "zst"])
def test_packed_files_that_are_damaged(tmp_path, packing):
    whole = PACK[packing](b"so many words\n" * 100)
    with pytest.raises(TextError, match=r"text: expected a whole compressed file.*cut short"):
        read_corpus([write(tmp_path, whole[:-5])])
    broken = whole[:20] + bytes([whole[20] ^ 0xFF]) + whole[21:]
    with pytest.raises(TextError, match=r"text: expected a whole compressed file"):
        read_corpus([write(tmp_path, broken)])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"\n\\data\\\nngram 1=3\n", "an ARPA file, which is a language model already"),
        (b"mmap lm http://kheafield.com/code format version 5\n\0", "a KenLM binary"),
        (b"PK\3\4\0\0", "a zip archive"),
        (b"%PDF-1.5\n", "a PDF document"),
    ],
)
def test_other_files_are_no_texts(tmp_path, content, message):
    with pytest.raises(TextError, match=f"text: expected text, one sentence a line, got {message}"):
        read_corpus([write(tmp_path, content)])


def test_standard_input(monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(gzip.compress(b"a b\n"))))
    assert sentences(read_corpus(["-"], on_progress=lambda fraction: None)) == ["a b"]


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"a b\nc", ["a b", "c"]),  # the last line needs no end
        (b"a b\r\n\r\nc\r\n", ["a b", "", "c"]),  # an empty line is an empty sentence, as for lmplz
        (b"  a \t b\v\fc\0d \n", ["a b c d"]),
        ("\ufeffa\n\ufeffb\n".encode(), ["a", "\ufeffb"]),  # only the file's first is a mark
        ("a\u00a0b c\u2028d\u0085\n".encode(), ["a\u00a0b c\u2028d\u0085"]),  # white space is ASCII's
        (b"a<s>b </s>. \n", ["a<s>b </s>."]),  # reserved words inside words are words
    ],
)
def test_lines_and_words(tmp_path, data, expected):
    assert sentences(read_corpus([write(tmp_path, data)])) == expected


def test_files_do_not_run_into_each_other(tmp_path):
    paths = [write(tmp_path, b"a b", "1"), write(tmp_path, b"", "2"), write(tmp_path, b"b c", "3")]
    assert sentences(read_corpus(paths)) == ["a b", "b c"]


def test_blocks_end_anywhere(tmp_path, monkeypatch):
    lines = [" ".join(["wörter"] * n) for n in range(40)]
    path = write(tmp_path, "\n".join(lines).encode())
    monkeypatch.setattr("asr.ngram.compression._CHUNK_BYTES", 7)
    monkeypatch.setattr(text_module, "_BLOCK_BYTES", 50)
    assert sentences(read_corpus([path])) == lines
    with path.open("ab") as file:
        file.write(b"\nwords <unk>\n")
    with pytest.raises(TextError, match=r"text:41: .*<unk>"):
        read_corpus([path])


def test_sentences_from_memory():
    assert sentences(encode_sentences(["a b", "c\nd"])) == ["a b", "c", "d"]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"a\nb\n\xff c\n", r"text:3: expected UTF-8 text, got the byte 0xFF"),
        ("ü\n".encode("utf-16"), r"text:1: expected UTF-8"),
        (b"a\nb <s> c\n", r"text:2: expected plain words, got <s>, which is reserved"),
        (b"a</s>\n</s>\n", r"text:2: .*got </s>"),
        (b"<unk>\n", r"text:1: .*got <unk>"),
        (b"<UNK>\n", r"text:1: .*got <UNK>"),
        (b"", "got no word at all"),
        (b"\n \n", "got no word at all"),
    ],
)
def test_text_that_is_refused(tmp_path, data, message):
    with pytest.raises(TextError, match=message):
        read_corpus([write(tmp_path, data)])


def test_files_that_cannot_be_read(tmp_path):
    with pytest.raises(TextError, match=r"cannot read .*missing.*No such file"):
        read_corpus([tmp_path / "missing"], on_progress=lambda fraction: None)
    with pytest.raises(TextError, match="cannot read"):
        read_corpus([tmp_path])


def test_lone_surrogates_are_refused():
    with pytest.raises(TextError, match="sentences:2: expected UTF-8"):
        encode_sentences(["a", "\ud800"])


def test_vocab_limit_keeps_the_most_frequent_and_of_equals_the_first():
    corpus = encode_sentences(["d c b", "b a c"], vocab_limit=3)
    assert corpus.vocab == (*SPECIAL_WORDS, "d", "c", "b")
    assert sentences(corpus) == ["d c b", "b <unk> c"]
    assert encode_sentences(["a b"], vocab_limit=9).vocab == (*SPECIAL_WORDS, "a", "b")


def test_a_closed_vocabulary_keeps_its_order_and_takes_no_new_words():
    corpus = encode_sentences(["a b x", "y x"], vocabulary=["zebra", "b", "<unk>", "a", "b"])
    assert corpus.vocab == (*SPECIAL_WORDS, "zebra", "b", "a")
    assert sentences(corpus) == ["a b <unk>", "<unk> <unk>"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"vocab_limit": 0}, "vocab_limit: expected a number of words from 1, got 0"),
        ({"vocab_limit": 1, "vocabulary": ["a"]}, "either vocab_limit or vocabulary"),
        ({"vocabulary": ["a b"]}, "vocabulary: expected words .* got 'a b'"),
        ({"vocabulary": ["<UNK>"]}, "vocabulary: expected words .* got '<UNK>'"),
    ],
)
def test_vocabularies_that_make_no_sense(options, message):
    with pytest.raises(ConfigError, match=message):
        encode_sentences(["a"], **options)


@pytest.mark.parametrize(
    ("word", "expected"),
    [("straße", True), ("", False), ("a b", False), (" a", False), ("\0", False), ("\ud800", False)],
)
def test_plain_words(word, expected):
    assert is_plain_word(word) is expected


def test_progress_counts_the_bytes_of_all_files(tmp_path):
    paths = [write(tmp_path, b"a\n" * 50_000, "1"), write(tmp_path, b"b\n" * 50_000, "2")]
    fractions = []
    read_corpus(paths, on_progress=fractions.append)
    assert fractions == sorted(fractions)
    assert len(fractions) == 4  # 64 KiB pieces, two a file
    assert fractions[-1] == 1
