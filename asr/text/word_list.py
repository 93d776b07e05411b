"""Lists of words and phrases: text files, one a line."""

from __future__ import annotations

from pathlib import Path

from asr.errors import TextError


def read_phrases(path: str | Path) -> list[str]:
    """The lines of a text file without surplus white space and empty ones.

    Raises:
        TextError: the file cannot be read, is not UTF-8 (names the line) or holds nothing.
    """
    try:
        text = Path(path).read_text(encoding="utf-8-sig")
    except OSError as error:
        raise TextError(f"{path}: cannot read the list of words: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise TextError(f"{path}:{line}: expected a list of words in UTF-8: {error}") from error
    phrases = [" ".join(line.split()) for line in text.split("\n") if line.strip()]
    if not phrases:
        raise TextError(f"{path}: expected a word on each line, found none")
    return phrases


def read_word_list(path: str | Path) -> list[str]:
    """The first column of a text file; what follows the first white space is ignored. Raises as `read_phrases`."""
    return [phrase.split()[0] for phrase in read_phrases(path)]
