"""Bytes -> text in UTF-8, with a fault that names the line and the encoding that came instead."""

from __future__ import annotations

import codecs
import re

CONVERT = "convert the file to UTF-8"
_UTF16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
_UTF32 = (codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE)


# How files begin that are no text, and what to do with them.
_NO_TEXT = {
    b"PK\x03\x04": "a ZIP archive, as Excel's .xlsx is; save the table as CSV",
    b"\xd0\xcf\x11\xe0": "an Office document, as Excel's .xls is; save the table as CSV",
    b"\x1f\x8b": "a gzip archive; unpack it (gunzip)",
    b"BZh91AY&SY": "a bzip2 archive; unpack it (bunzip2)",
    b"\xfd7zXZ\x00": "an xz archive; unpack it (unxz)",
    b"PAR1\x15": "a Parquet file; write the table as CSV (pandas: read_parquet(…).to_csv(…))",
}


class EncodingFaultError(Exception):
    """What is wrong with the bytes of a text file, before its name is known.

    Attributes:
        number: of the line, from 1.
    """

    def __init__(self, number: int, message: str) -> None:
        super().__init__(message)
        self.number = number


def foreign_encoding(data: bytes) -> str | None:
    """The name of the encoding whose byte-order mark stands in front, if it is not UTF-8's."""
    for marks, name in ((_UTF32, "UTF-32"), (_UTF16, "UTF-16")):  # a mark of UTF-16 begins one of UTF-32
        if data.startswith(marks):
            return name
    return None


def decode(data: bytes) -> str:
    """Decode UTF-8 with or without a byte-order mark.

    Raises `EncodingFaultError` for other bytes; UTF-16 and UTF-32, archives and documents are called by name.

    >>> decode("\\ufeffgrün".encode())
    'grün'
    """
    if kind := next((kind for start, kind in _NO_TEXT.items() if data.startswith(start)), None):
        raise EncodingFaultError(1, f"expected text in UTF-8, got {kind}")
    if name := foreign_encoding(data):
        raise EncodingFaultError(
            1, f"expected UTF-8, got {name} (byte 0x{data[0]:02x}); {CONVERT} (iconv -f {name} -t UTF-8)"
        )
    data = data.removeprefix(codecs.BOM_UTF8)
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        number = data.count(b"\n", 0, error.start) + 1
        column = error.start - data.rfind(b"\n", 0, error.start)
        raise EncodingFaultError(
            number, f"expected UTF-8, got byte 0x{data[error.start]:02x} at byte {column} of the line; {CONVERT}"
        ) from error
    if "\0" in text:
        number = text.count("\n", 0, text.index("\0")) + 1
        raise EncodingFaultError(
            number, f"expected lines of text in UTF-8, got a NUL, as UTF-16 has them; {CONVERT} (iconv -f UTF-16 …)"
        )
    return text


def decode_lines(data: bytes) -> list[str]:
    """The lines of a text in UTF-8, without their ends: LF or CRLF.

    Raises `EncodingFaultError` as `decode`, and for a carriage return inside a line: alone it ends none.
    """
    text = decode(data).replace("\r\n", "\n")
    if stray := re.search("\r", text):
        raise EncodingFaultError(
            text.count("\n", 0, stray.start()) + 1,
            "expected lines that end with LF or CRLF, got a carriage return without a line feed; convert the file",
        )
    # Split at line feeds alone: U+2028 and its like may stand inside a text.
    return text.removesuffix("\n").split("\n") if text else []
