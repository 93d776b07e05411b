"""ARPA files: the text that is written, packed or not, and what cannot be written."""

import gzip
import lzma

import numpy as np
import pytest
import zstandard

from asr.errors import LanguageModelError, OutputError
from asr.ngram import arpa_writer
from asr.ngram.arpa_writer import write_arpa
from asr.ngram.tables import SPECIAL_WORDS, NgramTables, OrderTable

EXPECTED = """\\data\\
ngram 1=5
ngram 2=2

\\1-grams:
-99\t<unk>\t0
0\t<s>\t-0.30103
-0.5\t</s>\t0
-0.5\tΣoφός\t-0.1234567
-1.25\tд'ж\t-2e-08

\\2-grams:
-0.3333333\t<s> Σoφός
-0.25\tΣoφός </s>

\\end\\
"""


def table(words, log10_probs, log10_backoffs):
    return OrderTable(
        np.array(words, np.int32), np.array(log10_probs, np.float32), np.array(log10_backoffs, np.float32)
    )


def small_model(words=("Σoφός", "д'ж")):
    unigrams = table([[0], [1], [2], [3], [4]], [-99, 0, -0.5, -0.5, -1.25], [-0.0, -0.30103, 0, -0.1234567, -2e-8])
    return NgramTables((*SPECIAL_WORDS, *words), (unigrams, table([[1, 3], [3, 2]], [-1 / 3, -0.25], [0, 0])))


@pytest.mark.parametrize(
    ("name", "unpack"),
    [
        ("model.arpa", bytes),
        ("model.arpa.gz", gzip.decompress),
        ("model.arpa.xz", lzma.decompress),
        ("model.arpa.zst", lambda data: zstandard.ZstdDecompressor().stream_reader(data).read()),
    ],
)
def test_the_text(tmp_path, name, unpack):
    write_arpa(tmp_path / name, small_model())
    assert unpack((tmp_path / name).read_bytes()).decode() == EXPECTED


def test_blocks_join_without_a_seam(tmp_path, monkeypatch):
    monkeypatch.setattr(arpa_writer, "_ROWS_A_BLOCK", 2)
    fractions = []
    write_arpa(tmp_path / "model.arpa", small_model(), on_progress=fractions.append)
    assert (tmp_path / "model.arpa").read_text(encoding="utf-8") == EXPECTED
    assert fractions == sorted(fractions)
    assert fractions[-1] == 1


def test_unigrams_alone_have_no_back_offs(tmp_path):
    model = small_model()
    write_arpa(tmp_path / "model.arpa", NgramTables(model.vocab, model.orders[:1]))
    assert "\n0\t<s>\n-0.5\t</s>\n" in (tmp_path / "model.arpa").read_text(encoding="utf-8")


@pytest.mark.parametrize("word", ["a b", "", "tab\t", "\ud800", "nul\0"])
def test_words_that_cannot_be_read_back(tmp_path, word):
    with pytest.raises(LanguageModelError, match="no empty word and no white space"):
        write_arpa(tmp_path / "model.arpa", small_model(("x", word)))
    assert list(tmp_path.iterdir()) == []


def test_a_word_twice(tmp_path):
    with pytest.raises(LanguageModelError, match="each word once"):
        write_arpa(tmp_path / "model.arpa", small_model(("x", "x")))


def test_numbers_that_are_none(tmp_path):
    model = small_model()
    model.orders[1].log10_probs[0] = -np.inf
    with pytest.raises(LanguageModelError, match="finite logarithms, got others among the 2-grams"):
        write_arpa(tmp_path / "model.arpa", model)


def test_an_old_file_stays_when_writing_fails(tmp_path):
    path = tmp_path / "model.arpa"
    path.write_text("old")

    def fail(fraction):
        raise OSError("disk full")

    with pytest.raises(OutputError, match="disk full"):
        write_arpa(path, small_model(), on_progress=fail)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]
