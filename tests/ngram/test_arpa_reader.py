import bz2
import contextlib
import gzip
import lzma
import pickle

import numpy as np
import pytest
import zstandard
from helpers import needs_real_speech, real_data
from hypothesis import example, given
from hypothesis import strategies as st

from asr.errors import LanguageModelError
from asr.ngram import blocks, compression
from asr.ngram.arpa_kernels import parse_number
from asr.ngram.arpa_reader import read_arpa
from asr.ngram.model import NgramModel, load_ngram

# Line numbers are those of the errors below. Columns are told apart by white space, of whatever kind.
GOOD = """\\data\\
ngram 1=5
ngram 2=4
ngram 3=2

\\1-grams:
-1.5\t<unk>\t0
-99\t<s>\t-0.5
-1.25\t</s>
-0.75\tb\t-0.25
-1\ta\t-0.125

\\2-grams:
-0.5\t<s> b\t-0.0625
-0.25\tb a\t0.03125
-2\ta b\t0
-0.375\ta </s>

\\3-grams:
-0.125\tb a </s>
-3\t<s> b a

\\end\\
"""


def write(folder, content, name="lm.arpa"):
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def as_dict(tables):
    """N-gram -> (log10 probability, log10 back-off)."""
    return {
        tuple(tables.vocab[word] for word in words): (float(prob), float(backoff))
        for table in tables.orders
        for words, prob, backoff in zip(table.words, table.log10_probs, table.log10_backoffs)
    }


GOOD_NGRAMS = {
    ("<unk>",): (-1.5, 0.0),
    ("<s>",): (-99.0, -0.5),
    ("</s>",): (-1.25, 0.0),
    ("b",): (-0.75, -0.25),
    ("a",): (-1.0, -0.125),
    ("<s>", "b"): (-0.5, -0.0625),
    ("b", "a"): (-0.25, 0.03125),
    ("a", "b"): (-2.0, 0.0),
    ("a", "</s>"): (-0.375, 0.0),
    ("b", "a", "</s>"): (-0.125, 0.0),
    ("<s>", "b", "a"): (-3.0, 0.0),
}


def test_tables_are_sorted_and_begin_with_the_special_words(tmp_path):
    tables = read_arpa(write(tmp_path, GOOD))
    assert tables.vocab == ("<unk>", "<s>", "</s>", "b", "a")
    # <s> b, b a, a </s>, a b by number; the file has the last two the other way round
    assert tables.orders[1].words.tolist() == [[1, 3], [3, 4], [4, 2], [4, 3]]
    assert tables.orders[1].log10_probs.tolist() == [-0.5, -0.25, -0.375, -2.0]
    assert as_dict(tables) == GOOD_NGRAMS
    assert [table.words.dtype for table in tables.orders] == [np.int32] * 3
    assert [table.log10_probs.dtype for table in tables.orders] == [np.float32] * 3


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text.replace("\n", "\r\n"),
        lambda text: text.replace("\t", " "),
        lambda text: text.replace(" a", "\ta").replace("\n", " \n"),
        lambda text: "\n" + text,  # SRILM begins so
        lambda text: "made by hand\n# 3-grams\n" + text,
        lambda text: "\ufeff" + text,
        lambda text: text.replace("\n\n", "\n"),
        lambda text: text.rstrip("\n"),
        lambda text: text + "\n\n",
        lambda text: text.replace("-3\t", "-3.0e+00\t").replace("-0.125\tb", "-1.25E-1\tb"),
        lambda text: text.replace("-3\t<s> b a\n", "-3\t<s> b a\t0\n"),  # a back-off that says nothing
        lambda text: text.replace("ngram 1=5", "ngram  1 = 5"),
        lambda text: text.replace("ngram 1=5", "ngram 1=      5"),  # SRILM's columns
        lambda text: text.replace("\n", "\n\n"),  # KenLM skips white space before a number
        lambda text: text.replace("-0.75\tb", "\n \t\r\n  -0.75\tb"),
        lambda text: text.replace("\n-", "\n  -"),
        lambda text: text.replace("-99\t<s>", "-inf\t<s>"),
        lambda text: text.replace("-99\t<s>", "-Infinity\t<s>"),
        lambda text: text.replace("-99\t<s>", "-1e99\t<s>"),
        lambda text: text.replace("<unk>\t0", "<unk>").replace("a b\t0", "a b"),  # back-offs of 0 may be left out
        lambda text: text.replace("<unk>", "<UNK>"),
    ],
)
def test_dialects(tmp_path, change):
    assert as_dict(read_arpa(write(tmp_path, change(GOOD)))) == GOOD_NGRAMS


@pytest.mark.parametrize("compress", [gzip.compress, bz2.compress, lzma.compress, zstandard.ZstdCompressor().compress])
def test_compression_is_told_from_the_content(tmp_path, compress):
    assert as_dict(read_arpa(write(tmp_path, compress(GOOD.encode())))) == GOOD_NGRAMS


def test_closed_vocabulary_gets_what_kenlm_gives_it(tmp_path):
    closed = GOOD.replace("-1.5\t<unk>\t0\n", "").replace("ngram 1=5", "ngram 1=4")
    assert as_dict(read_arpa(write(tmp_path, closed))) == GOOD_NGRAMS | {("<unk>",): (-100.0, 0.0)}


def test_missing_backoffs_are_0_as_for_kenlm(tmp_path):
    """Also after words that longer n-grams begin with."""
    bare = GOOD.replace("<s>\t-0.5", "<s>").replace("b a\t0.03125", "b a")
    expected = GOOD_NGRAMS | {("<s>",): (-99.0, 0.0), ("b", "a"): (-0.25, 0.0)}
    assert as_dict(read_arpa(write(tmp_path, bare))) == expected
    # log10 p(b a b </s>) = <s> b + <s> b a + (b a without back-off) a b + (b without </s>) back-off -0.25 + </s>
    model = NgramModel.from_tables(read_arpa(write(tmp_path, bare)))
    expected_log10 = [-0.5, -3.0, -2.0, -0.25 - 1.25]
    assert (model.score("b a b") / np.log(10)).tolist() == pytest.approx(expected_log10, abs=1e-6)


def test_ngrams_with_the_other_unknown(tmp_path):
    text = GOOD.replace("<unk>", "<UNK>").replace("a b\t0", "a <UNK>\t0")
    assert ("a", "<unk>") in as_dict(read_arpa(write(tmp_path, text)))


def test_an_order_may_be_empty(tmp_path):
    start, end = GOOD.index("-0.125\tb a </s>"), GOOD.index("\n\\end\\")
    tables = read_arpa(write(tmp_path, (GOOD[:start] + GOOD[end:]).replace("ngram 3=2", "ngram 3=0")))
    assert tables.orders[2].words.shape == (0, 3)


def test_any_script(tmp_path):
    text = GOOD.replace("\tb", "\tἀβ").replace(" b", " ἀβ")
    assert ("<s>", "ἀβ", "a") in as_dict(read_arpa(write(tmp_path, text)))


def test_blocks_may_end_anywhere(tmp_path, monkeypatch):
    path = write(tmp_path, GOOD)
    monkeypatch.setattr(blocks, "BLOCK_BYTES", 24)
    for chunk_bytes in range(1, 24):
        monkeypatch.setattr(compression, "_CHUNK_BYTES", chunk_bytes)
        assert as_dict(read_arpa(path)) == GOOD_NGRAMS


def test_progress_ends_at_one(tmp_path):
    shares = []
    read_arpa(write(tmp_path, GOOD), shares.append)
    assert shares[-1] == 1.0


ERRORS = [
    ("", "", r":1: expected \\data\\ .* an empty file"),
    ("\\data\\", "\\dota\\", r":1: expected \\data\\ .*got '\\\\dota"),
    ("ngram 1=5", "ngram 1=6", r":13: expected 6 1-grams, as \\data\\ says, got 5 .*then '\\\\2-grams:'"),
    ("ngram 1=5", "ngram 1=4", r":11: expected \\2-grams: after 4 1-grams.*got '-1\\ta\\t-0\.125'"),
    ("ngram 2=4", "ngram 2=5", r":19: expected 5 2-grams"),
    ("ngram 3=2", "ngram 3=3", r":23: expected 3 3-grams"),
    ("ngram 3=2", "ngram 3=1", r":21: expected \\end\\ after 1 3-grams"),
    ("ngram 2=4\n", "", r":3: expected `ngram 2=` and a count"),
    ("ngram 2=4", "ngram 2=four", r":3: expected `ngram 2=`.*'ngram 2=four'"),
    ("ngram 1=5", "ngram 1=0", r":6: expected `ngram 1=` and a count above 0"),
    ("ngram 1=5\nngram 2=4\nngram 3=2\n", "", r":3: expected `ngram 1=` and a count"),
    ("\\3-grams:", "\\4-grams:", r":19: expected \\3-grams: after 4 2-grams.*got '\\\\4-grams:'"),
    ("\n\\end\\\n", "", r":22: the file is cut short: expected \\end\\"),
    ("-3\t<s> b a\n\n\\end\\\n", "", r":21: the file is cut short: expected 2 3-grams, got 1"),
    ("\n\\2-grams:\n", "\n", r":13: expected \\2-grams: after 5 1-grams"),
    ("\\end\\\n", "\\end\\\nmore\n", r":24: expected nothing after \\end\\, got 'more'"),
    ("-0.5\t<s> b\t", "-0.5\t<s>\t", r":14: expected words that .* got '-0\.0625'"),
    ("-2\ta b\t0", "-2\ta b a\t0", r":16: expected a log10 probability, 2 words and"),
    ("-2\ta b\t0", "-2\ta", r":16: expected a log10 probability, 2 words and"),
    ("-3\t<s> b a", "-3\t<s> b a b a", r":21: expected a log10 probability, 3 words and nothing else"),
    ("-3\t<s> b a", "-3\t<s> b a\t-0.5", r":21: expected no back-off after '<s> b a'.*got -0\.5"),
    ("-2\ta b", "-2x\ta b", r":16: expected a number of at most 0 .*'-2x\\ta b\\t0'"),
    ("-2\ta b", "nan\ta b", r":16: expected a number of at most 0"),
    ("-2\ta b", "inf\ta b", r":16: expected a number of at most 0 .*-99 or -inf"),
    ("-2\ta b", "1e99\ta b", r":16: expected a number of at most 0"),
    ("-2\ta b", "-info\ta b", r":16: expected a number of at most 0"),
    ("a b\t0", "a b\t-inf", r":16: expected a number after 2 words as log10 back-off"),
    ("-2\ta b\t0", "\n\n-2\ta c\t0", r":18: expected words that are among the 1-grams, got 'c'"),
    ("\n-1\ta\t-0.125", "\n\n\n-1\tb\t-0.125", r":13: expected each word once .*got 'b' a second time"),
    ("-2\ta b\t0", "\n-2\tb a\t0", r":17: expected each 2-gram once, got 'b a' a second time"),
    ("-2\ta b", "0.5\ta b", r":16: expected a number of at most 0"),
    ("a b\t0", "a b\tnan", r":16: expected a number after 2 words as log10 back-off"),
    ("a b\t0", "a b\t1e60", r":16: expected a number after 2 words"),
    ("-2\ta b\t0", "-2\ta c\t0", r":16: expected words that are among the 1-grams, got 'c'"),
    ("-2\ta b\t0", "-2\tb a\t0", r":16: expected each 2-gram once, got 'b a' a second time"),
    ("-1\ta\t-0.125", "-1\tb\t-0.125", r":11: expected each word once .*got 'b' a second time"),
    ("-0.75\tb\t", "-0.75\t<UNK>\t", r":10: expected each word once .*got '<unk>' a second time"),
    ("\t<s>\t", "\tS\t", r":12: expected <s> among the 1-grams"),
    ("\t</s>\n", "\tE\n", r":12: expected </s> among the 1-grams"),
    ("-3\t<s> b a", "-3\t<s> a b", r":21: expected '<s> a' among the 2-grams, as '<s> a b' begins with it"),
]


@pytest.mark.parametrize(("old", "new", "message"), ERRORS)
def test_errors_name_the_line(tmp_path, old, new, message):
    broken = GOOD.replace(old, new, 1) if old else ""
    assert broken != GOOD
    with pytest.raises(LanguageModelError, match=r"lm\.arpa" + message):
        read_arpa(write(tmp_path, broken))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (GOOD.replace("b", "é").encode("latin-1"), r":10: expected UTF-8, got the byte 0xE9"),
        (GOOD.encode("utf-16"), r":1: expected UTF-8, got UTF-16"),
        (gzip.compress(GOOD.encode())[:-12], r":\d+: the file breaks some lines later: .*cut short"),
        (bz2.compress(GOOD.encode())[:-9], r":\d+: the file breaks some lines later: .*cut short"),
        (bz2.compress(GOOD.encode())[:-9] + b"\0" * 9, r":\d+: the file breaks some lines later"),
        (lzma.compress(GOOD.encode())[:-20], r":\d+: the file breaks some lines later"),
        (zstandard.ZstdCompressor().compress(GOOD.encode())[:-9], r":\d+: the file breaks some lines later"),
        (b"a" * 3000, r":1: expected lines of a few words, got one of more than 1000 bytes"),
    ],
)
def test_damaged_files(tmp_path, monkeypatch, content, message):
    monkeypatch.setattr(blocks, "BLOCK_BYTES", 1000)
    with pytest.raises(LanguageModelError, match=r"lm\.arpa" + message):
        read_arpa(write(tmp_path, content))


KENLM = b"mmap lm http://kheafield.com/code format version 5\n\0" + bytes(300)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (KENLM, "a KenLM binary: give the ARPA file it was made from"),
        (gzip.compress(KENLM), "a KenLM binary: give the ARPA file it was made from"),
        (bz2.compress(KENLM), "a KenLM binary"),
        (KENLM.replace(b"format version 5", b"incomplete"), "a KenLM binary that was never finished"),
        (b"blmt 3 10 20 30\n", "an IRSTLM binary.*compile-lm"),
        (b"iARPA\n\n\\data\\\nngram 1= 3\n", "an iARPA file of IRSTLM: write ARPA"),
        (b"SRILM_BINARY_NGRAM_001\n", "an SRILM binary: write ARPA"),
        (b"Trie Language Model" + bytes(9), "a PocketSphinx binary"),
        (b"\xd6\xfd\xb2\x7e\x06\0\0\0vector", "an OpenFst binary"),
        (b"\0B<ConstArpaLm> \4", "a Kaldi ConstArpaLm"),
        (b"PK\3\4" + bytes(50), "a zip archive, as PyTorch and NumPy make them too"),
        (pickle.dumps({"weights": 1}), "a Python pickle"),
        (gzip.compress(gzip.compress(GOOD.encode())), "a file that is packed twice"),
        (b"\x04\x22\x4d\x18" + bytes(9), "a file packed by lz4: unpack it"),
        (b"\x93NUMPY\1\0", "a NumPy array"),
        (b"RIFF\x24\0\0\0WAVEfmt ", "a binary file of a kind that is not known here"),
        (GOOD.encode("utf-16-le"), r"text in UTF-16 \(little-endian\): convert the file"),
        (GOOD.encode("utf-16-be"), r"text in UTF-16 \(big-endian\): convert the file"),
        (b"\n<!DOCTYPE html>\n<html>", "a web page or XML: the download may have failed"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\n", "a pointer of Git LFS.*git lfs pull"),
        (b"the cat sat\ta 2\nthe cat\t3\ncat\t4\n", r":1: expected \\data\\ .*looks like another text: `asr lm train`"),
        (b"the cat\t3\nthe\t4\n", r":1: expected \\data\\ .*looks like n-gram counts"),
        (b"0 1 a a 0.5\n1 0.25\n", r":1: expected \\data\\ .*looks like a transducer"),
        (b'{"format": 1}\n', r":1: expected \\data\\ .*looks like JSON"),
        (b"ngram 1=5\n", r":1: expected \\data\\ .*counts without the line"),
    ],
)
def test_other_files_are_named(tmp_path, content, message):
    with pytest.raises(LanguageModelError, match=r"lm\.arpa.*" + message):
        load_ngram(write(tmp_path, content))


def test_a_directory_is_named(tmp_path):
    with pytest.raises(LanguageModelError, match="got a directory; a recurrent language model"):
        load_ngram(tmp_path)


def test_missing_file(tmp_path):
    with pytest.raises(LanguageModelError, match=r"cannot read .*none\.arpa: No such file"):
        read_arpa(tmp_path / "none.arpa")


@given(cut=st.integers(0, len(GOOD) - 3), byte=st.binary(min_size=0, max_size=2))
def test_no_damage_goes_unseen_or_crashes(tmp_path_factory, cut, byte):
    """Cut anywhere a file is refused; with bytes put in it is refused or read."""
    folder = tmp_path_factory.mktemp("arpa")
    content = GOOD.encode()
    with pytest.raises(LanguageModelError, match=r"lm\.arpa:\d+: "):
        read_arpa(write(folder, content[:cut]))
    with contextlib.suppress(LanguageModelError):
        read_arpa(write(folder, content[:cut] + byte + content[cut:]))


@example(1.2345e-17)  # more zeros than digits are kept
@given(st.floats(allow_nan=False, allow_infinity=False, width=32))
def test_numbers_are_read_to_float32(value):
    for text in (repr(value), f"{value:.7g}", f"{value:.9e}", f"{value:.20f}"):
        raw = np.frombuffer(text.encode(), dtype=np.uint8)
        with np.errstate(over="ignore"):
            assert np.float32(parse_number(raw, 0, len(raw))) == pytest.approx(np.float32(text), rel=2e-7, abs=2e-45)


@pytest.mark.parametrize(
    "text", ["", "-", "+", ".", "e5", "1e", "1e+", "1e5.", "1.2.3", "--1", "1_0", "0x1", "inf", "NaN"]
)
def test_what_is_no_number(text):
    raw = np.frombuffer(text.encode() + b" ", dtype=np.uint8)
    assert np.isnan(parse_number(raw, 0, len(text)))


@needs_real_speech
def test_kenlms_files():
    tables = read_arpa(real_data() / "golden" / "lm" / "kn4.arpa.xz")
    assert [len(table.words) for table in tables.orders] == [13088, 62803, 91306, 92240]
    spoke = tables.vocab.index("spoke")
    # -3.7033513	spoke	-0.17214791
    assert float(tables.orders[0].log10_probs[spoke]) == pytest.approx(-3.7033513, abs=1e-7)
    assert float(tables.orders[0].log10_backoffs[spoke]) == pytest.approx(-0.17214791, abs=1e-8)
