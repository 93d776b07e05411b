"""One spelling for one text: Unicode form, white space, apostrophes and case.

Transcripts come from many hands. The same word may be written composed or decomposed, with a typewriter apostrophe
or a typographic one, beside a no-break space or a soft hyphen; a model that sees these as different characters learns
them as different sounds. Everything that is compared or tokenized goes through `normalize` first.
"""

from __future__ import annotations

import re
import unicodedata
from typing import Literal

from asr.errors import ConfigError, TextError

Case = Literal["lower", "upper", "keep"]

# Everything keyboards, word processors and OCR put where an apostrophe belongs: the quotation marks ‘ ’ ‛, the
# letters ʼ ʻ ʽ ꞌ Ꞌ, prime, acute and grave accent, full width, Armenian, Greek koronis, heavy ornaments.
_APOSTROPHES = frozenset("'‘’‛ʼʻʽꞋꞌ′´`＇՚\u1fbd❛❜")
_DIGRAPH_APOSTROPHES = {"ŉ": "'n"}  # deprecated in Unicode in favour of the two characters; its upper case has a ʼ
# Not white space to Python: their Unicode category is Cf. Both are called a space and stand where one was meant.
_ZERO_WIDTH_SPACES = frozenset("\u200b\ufeff")
_JOINER_RUN = re.compile("[\u200c\u200d]+")  # zero-width non-joiner and joiner
_VIRAMA_CLASS = 9  # canonical combining class


def normalize(text: str, case: Case = "lower") -> str:
    """Return `text` in the one form that tokenizers, scoring and language models expect.

    The result is in Unicode form NFC; every apostrophe is ``'``; every run of Unicode white space (no-break, thin and
    zero-width spaces, line separators, tabs) is one space, with none at the ends; control and format characters (soft
    hyphen, direction marks) are gone. Of these the zero-width joiner and non-joiner stay where they are part of the
    spelling of Arabic and Indic scripts. Punctuation and digits stay. Applying the function twice changes nothing.

    Case follows Unicode's language-independent mapping: ``ΟΔΟΣ`` becomes ``οδος`` with a final sigma, ``ß`` stays in
    lower case and becomes ``SS`` in upper case. Turkish is out of scope: ``I`` becomes ``i``, and ``İ`` becomes ``i``
    with a combining dot.

    Raises:
        ConfigError: `case` is none of "lower", "upper", "keep".
        TextError: `text` has a lone surrogate, which no file can hold.

    >>> normalize("Don’t\\u00a0 STOP\\n")
    "don't stop"
    """
    text = unicodedata.normalize("NFC", text).translate(_CLEAN)
    text = unicodedata.normalize("NFC", _map_case(text, case))
    # split(" ") and not split(): all other white space is a space by now.
    return " ".join(word for word in _drop_idle_joiners(text).split(" ") if word)


def describe_character(character: str) -> str:
    """Name a character for a message, so that look-alikes and invisible ones can be told apart.

    >>> describe_character("é")
    "'é' (U+00E9 LATIN SMALL LETTER E WITH ACUTE)"
    """
    name = unicodedata.name(character, "unnamed")
    return f"{character!r} (U+{ord(character):04X} {name})"


def _map_case(text: str, case: Case) -> str:
    if case == "lower":
        return text.lower()
    if case == "upper":
        return text.upper()
    if case == "keep":
        return text
    raise ConfigError(f"case: expected 'lower', 'upper' or 'keep', got {case!r}")


class _CleanTable(dict[int, str]):
    """A table for `str.translate`, filled as characters are met: Unicode has a million, a corpus a hundred."""

    def __missing__(self, code_point: int) -> str:
        self[code_point] = replacement = _clean(chr(code_point))
        return replacement


_CLEAN = _CleanTable()


def _clean(character: str) -> str:
    if character in _APOSTROPHES:
        return "'"
    if character in _DIGRAPH_APOSTROPHES:
        return _DIGRAPH_APOSTROPHES[character]
    if character.isspace() or character in _ZERO_WIDTH_SPACES:
        return " "
    category = unicodedata.category(character)
    if category == "Cs":
        raise TextError(
            f"expected Unicode text, got the lone surrogate U+{ord(character):04X}: "
            "the text was decoded wrongly; read its file as UTF-8"
        )
    is_control = category in ("Cc", "Cf") and not _JOINER_RUN.match(character)
    return "" if is_control else character


def _drop_idle_joiners(text: str) -> str:
    """Remove joiners where they change no letter. `text` is and stays in NFC.

    Removing one may let the marks around it change places, and so leave another one idle: hence the loop. Each round
    that changes anything removes a joiner, so it ends; nearly every text has none and leaves at once.
    """
    while _JOINER_RUN.search(text):
        kept = unicodedata.normalize("NFC", _JOINER_RUN.sub(_keep_joiner_that_spells, text))
        if kept == text:
            break
        text = kept
    return text


def _keep_joiner_that_spells(run: re.Match[str]) -> str:
    """Keep one joiner beside a virama or between Arabic letters: much as RFC 5892, appendix A.1 and A.2, has it."""
    before = run.string[max(0, run.start() - 1) : run.start()]
    after = run.string[run.end() : run.end() + 1]
    if before in ("", " ") or after in ("", " "):  # the edge of a word: nothing to join
        return ""
    beside_virama = _VIRAMA_CLASS in (unicodedata.combining(before), unicodedata.combining(after))
    between_arabic = unicodedata.bidirectional(before) == unicodedata.bidirectional(after) == "AL"
    return run[0][0] if beside_virama or between_arabic else ""
