"""Files that are given for a language model or a text and are neither: what they are, and what to do instead."""

from __future__ import annotations

import re
from collections.abc import Callable

HEAD_BYTES = 1 << 12  # of a file that are looked at

_UNPACK = "unpack it, or pack it anew with gzip, bzip2, xz or zstandard"
_ARPA = "give the ARPA file it was made from"
_NEURAL = "`asr lm train` makes n-gram models, and recurrent ones for --rescoring-model"

# The first bytes of a file -> what it is, and what to do.
_BEGINNINGS: tuple[tuple[bytes, str, str], ...] = (
    (b"mmap lm http://kheafield.com/code incomplete", "a KenLM binary that was never finished", _ARPA),
    (b"mmap lm http", "a KenLM binary", _ARPA),
    (b"blmt ", "an IRSTLM binary", "give the ARPA file it was made from, or write one: compile-lm --text=yes"),
    (
        b"Qblmt ",
        "a quantised IRSTLM binary",
        "give the ARPA file it was made from, or write one: compile-lm --text=yes",
    ),
    (b"iARPA", "an iARPA file of IRSTLM", "write ARPA: compile-lm --text=yes"),
    (b"SRILM_BINARY_NGRAM", "an SRILM binary", "write ARPA: ngram -lm FILE -write-lm FILE.arpa"),
    (b"SRILM_BINARY_COUNTS", "binary n-gram counts of SRILM", "make a model: ngram-count -read FILE -lm FILE.arpa"),
    (b"Trie Language Model", "a PocketSphinx binary", "write ARPA: sphinx_lm_convert -i FILE -o FILE.arpa"),
    (b"\x10\x00\x00\x00Darpa Trigram LM", "a Sphinx DMP file", "write ARPA: sphinx_lm_convert -i FILE -o FILE.arpa"),
    (b"\x11\x00\x00\x00Darpa Trigram LM", "a Sphinx DMP file", "write ARPA: sphinx_lm_convert -i FILE -o FILE.arpa"),
    (b"\xd6\xfd\xb2\x7e", "an OpenFst binary", "give the ARPA file it was made from (Kaldi: before arpa2fst)"),
    (b"\0B<ConstArpaLm>", "a Kaldi ConstArpaLm", "give the ARPA file it was made from"),
    (b"\0B", "a Kaldi binary", "give an ARPA file"),
    (b"PK\x03\x04", "a zip archive, as PyTorch and NumPy make them too", "unpack it if it holds an ARPA file"),
    (b"\x28\xb5\x2f\xfd", "a file that is packed twice", _UNPACK),
    (b"\x1f\x8b", "a file that is packed twice", _UNPACK),
    (b"BZh", "a file that is packed twice", _UNPACK),
    (b"\xfd7zXZ\0", "a file that is packed twice", _UNPACK),
    (b"\x1f\x9d", "a file packed by compress (.Z)", _UNPACK),
    (b"\x04\x22\x4d\x18", "a file packed by lz4", _UNPACK),
    (b"\x5d\x00\x00", "a file packed by lzma's old format (.lzma)", _UNPACK),
    (b"LZIP\x01", "a file packed by lzip", _UNPACK),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive", _UNPACK),
    (b"Rar!\x1a\x07", "a RAR archive", _UNPACK),
    (b"\x93NUMPY", "a NumPy array", "give an ARPA file"),
    (b"\x89HDF\r\n\x1a\n", "an HDF5 file", "give an ARPA file"),
    (b"SQLite format 3\0", "an SQLite database", "give an ARPA file"),
    (b"PAR1\x15", "a Parquet table", "export its text, one sentence a line"),
    (b"GGUF\x03\0\0\0", "a GGUF model", _NEURAL),
    (b"%PDF-", "a PDF document", "give plain text, one sentence a line"),
    (b"\x7fELF", "a program", "give an ARPA file"),
    (b"version https://git-lfs.github.com/spec", "a pointer of Git LFS, without the file", "fetch it: git lfs pull"),
)


def foreign_file(head: bytes) -> str | None:
    """What a file with these first bytes is, and after a colon what to do; None of what may be ARPA or text.

    head: the unpacked file's first `HEAD_BYTES`, or all of it.
    """
    for beginning, name, advice in _BEGINNINGS:
        if head.startswith(beginning):
            return f"{name}: {advice}"
    if re.match(rb"\x80[\x02-\x05][^\n]", head):
        return f"a Python pickle, such as an old PyTorch checkpoint: {_NEURAL}"
    if head[4:9] == b"\0\0\0\0{":
        return f"a safetensors file: {_NEURAL}"
    if head[257:262] == b"ustar":
        return "a tar archive: unpack it"
    if re.match(rb"\s*<(!doctype html|html|head|\?xml)", head, re.IGNORECASE):
        return "a web page or XML: the download may have failed; look into the file"
    return None


def binary_file(head: bytes) -> str | None:
    """What a file with these first bytes is where text has no NUL; None of one without any."""
    if b"\0" not in head:
        return None
    for encoding, name in ((head[::2], "big-endian"), (head[1::2], "little-endian")):
        if encoding.count(0) > len(encoding) // 2:
            return f"text in UTF-16 ({name}): convert the file to UTF-8"
    return "a binary file of a kind that is not known here: give an ARPA file"


# ---- what is text, but no ARPA file --------------------------------------------------------------------------------


def _is_counts(lines: list[str]) -> bool:
    return all(re.fullmatch(r"\S+( \S+)*\t\d+", line) for line in lines)


def _is_fst(lines: list[str]) -> bool:
    return all(re.fullmatch(r"\d+(\s+\d+\s+\S+\s+\S+)?(\s+[-\d.eE+]+)?", line) for line in lines)


_TEXTS: tuple[tuple[Callable[[list[str]], bool], str], ...] = (
    (_is_counts, "n-gram counts: make a model of them (SRILM: ngram-count -read FILE -lm FILE.arpa)"),
    (_is_fst, "a transducer as text: give the ARPA file it was made from"),
    (lambda lines: lines[0].startswith("{"), "JSON: give an ARPA file"),
    (lambda lines: lines[0].startswith("ngram "), "counts without the line \\data\\ before them: add that line"),
)


def foreign_text(lines: list[str]) -> str:
    """What a text without `\\data\\` may be, and what to do. lines: its first ones that are not blank, at least one."""
    for fits, description in _TEXTS:
        if fits(lines):
            return description
    return "another text: `asr lm train` makes a language model of text"
