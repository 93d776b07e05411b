"""Numbers in words, by the rules of the Unicode CLDR (package unicode-rbnf), where a text leaves no doubt.

    speller = NumberSpeller("en")
    speller("In 1895 I had 3.5 dollars, the 2nd time")  # In eighteen ninety-five I had three point five dollars, …

Spelt are whole numbers, also with thousands in groups, decimal fractions, ordinals with a suffix of their own (2nd,
1er, 3º), numbers with a leading zero (digit by digit), and four-digit numbers as years where a language reads them so.
What can be read in several ways stays as it is: dates, times, ranges, amounts of money, percentages, `MP3`, and
`3.` inside a sentence where a language writes ordinals so.
"""

from __future__ import annotations

import difflib
import re
import unicodedata
from functools import cache
from typing import Any

from asr.errors import ConfigError

# Languages that write 1,234.5; the others write 1.234,5 or 1 234,5.
POINT_LANGUAGES = frozenset(
    {"en", "zh", "yue", "ja", "ko", "he", "hi", "th", "ms", "ga", "cy", "mt"}
    | {"am", "fil", "sw", "ta", "ne", "my", "lo", "km", "chr", "zu", "ak", "ee"}
)
# Languages that say four-digit numbers in hundreds: 1895 is eighteen ninety-five.
YEAR_LANGUAGES = frozenset({"en", "de", "sv", "da", "no", "nn"})
# Languages in which a point behind a number makes it an ordinal.
ORDINAL_POINT_LANGUAGES = frozenset(
    {"de", "de_CH", "da", "no", "nn", "fi", "cs", "sk", "pl", "hu", "hr"}
    | {"sr", "sr_Latn", "bs", "sl", "et", "lv", "is", "fo", "lb", "tr", "az"}
)
# Languages that do not part words.
UNPARTED_LANGUAGES = frozenset({"zh", "zh_Hant", "yue", "yue_Hans", "ja", "th", "lo", "my", "km"})
ALIASES = {"nb": "no", "iw": "he", "in": "id", "tl": "fil", "cmn": "zh"}
# Suffixes of ordinals, and the form of the CLDR's that they stand for.
ORDINALS = {
    "en": {"st": "spellout-ordinal", "nd": "spellout-ordinal", "rd": "spellout-ordinal", "th": "spellout-ordinal"},
    "fr": {
        "er": "spellout-ordinal-masculine",
        "re": "spellout-ordinal-feminine",
        **dict.fromkeys(("e", "ème", "eme", "ième"), "spellout-ordinal-masculine"),
    },
    **{
        language: {"º": "spellout-ordinal-masculine", "ª": "spellout-ordinal-feminine"}
        for language in ("es", "it", "pt", "ca")
    },
}
# In English a number beside one of these is a day: 3 May is the third of May.
MONTHS = frozenset(
    {"January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November"}
    | {"December", "Jan", "Feb", "Mar", "Apr", "Jun", "Jul", "Aug", "Sep", "Sept", "Oct", "Nov", "Dec"}
)
LONGEST = 15  # digits of a number that is said as one; longer ones are said digit by digit

_CANDIDATE = re.compile(r"\d(?:[\d.,'’\u00a0\u202f\u2009]*\d)?")
# Punctuation to Unicode, but words to a reader, or notes that are no words: what becomes of them, a person decides.
SPOKEN = frozenset("%‰‱&＆@＠#＃*＊/／\\§¶†‡_[]{}")


def find_language(name: str) -> str:
    """The CLDR's name of a language, which may be given with a region: `de`, `pt-BR`, `zh_TW`.

    Raises `ConfigError` for one that has no rules.
    """
    known = _languages()
    wanted = name.replace("-", "_")
    base = wanted.split("_")[0].lower()
    for candidate in (wanted, f"{base}_{wanted.partition('_')[2].upper()}", base, ALIASES.get(base, "")):
        if candidate in known:
            return candidate
    near = difflib.get_close_matches(base, known, n=1)
    hint = f"; did you mean {near[0]}?" if near else ""
    raise ConfigError(
        f"expected a language whose numbers can be spelt, such as de, en, es or fr ({len(known)} are known), "
        f"got {name!r}{hint}"
    )


class NumberSpeller:
    """Spells out the numbers of texts in one language.

    language: as of `find_language`.

    Raises `ConfigError` for a language without rules.
    """

    def __init__(self, language: str) -> None:
        self.language = find_language(language)
        self._engine = _engine(self.language)
        base = self.language.split("_")[0]
        self._has_point = base in POINT_LANGUAGES
        self._ordinals = ORDINALS.get(base, {})
        self._says_years = base in YEAR_LANGUAGES
        self._is_unparted = self.language in UNPARTED_LANGUAGES
        self._decimal, group = (".", ",") if self._has_point else (",", ".")
        self._grouped = re.compile(rf"\d{{1,3}}(?:([{re.escape(group)}'’\u00a0\u202f\u2009])\d{{3}})(?:\1\d{{3}})*")

    def __call__(self, text: str) -> str:
        """The text with its numbers in words, where there is no doubt."""
        spelt, end = [], 0
        for match in _CANDIDATE.finditer(text):
            stop = match.end()
            suffix = self._suffix(text, stop)
            words = self._spell(match[0], suffix) if self._stands_alone(text, match.start(), stop, suffix) else None
            if words is not None:
                spelt += [text[end : match.start()], words]
                end = stop + len(suffix)
        return "".join([*spelt, text[end:]])

    def _suffix(self, text: str, stop: int) -> str:
        """The suffix of an ordinal that begins at `stop`; empty where there is none."""
        letters = re.compile(r"[^\W\d_]*|[ºª]").match(text, stop)
        assert letters is not None
        return letters[0] if letters[0].lower() in self._ordinals else ""

    def _stands_alone(self, text: str, start: int, stop: int, suffix: str) -> bool:
        """Whether what is around a number leaves it nothing but a number."""
        before, after = text[:start], text[stop + len(suffix) :]
        if is_figure(before[-1:]) or is_figure(after[:1]):
            return False
        if not self._is_unparted and (before[-1:].isalpha() or after[:1].isalpha()):
            return False
        if before.endswith(("_", "-", "+")) or re.search(r"\d:$", before):
            return False
        if is_sign(before.rstrip()[-1:]) or is_sign(after.lstrip()[:1]):
            return False
        if re.match(r"[-.,:/]\d", after) or after[:1] == "_":
            return False
        has_neighbour = re.match(r" \d", after) or re.search(r"\d $", before)  # 12 345, a telephone number
        is_long = stop - start > 1 or re.match(r" \d\d", after) or re.search(r"\d\d $", before)
        if has_neighbour and is_long:
            return False
        if self.language.startswith("en") and not suffix and stop - start <= 2 and _is_beside_month(before, after):
            return False
        is_followed = re.match(r"\.\s+\S", after) is not None
        return not (is_followed and not suffix and self.language in ORDINAL_POINT_LANGUAGES)

    def _spell(self, written: str, suffix: str) -> str | None:
        """A number in words; None where it is not certain which number it is."""
        whole, mark, fraction = written.partition(self._decimal)
        grouped = self._grouped.fullmatch(whole)
        if grouped:
            whole = whole.replace(grouped[1], "")
        if not whole.isdecimal() or (mark and not fraction.isdecimal()):
            return None
        if suffix:
            return None if mark else self._ordinal(int(whole), suffix)
        if mark:
            return self._with_fraction(whole, fraction)
        if len(whole) > LONGEST or (whole[0] == "0" and len(whole) > 1):
            return self._digits(whole)
        number = int(whole)
        if self._says_years and not grouped and len(whole) == 4 and self._is_said_in_hundreds(number):
            return self._say(number, "YEAR")
        return self._say(number, "CARDINAL")

    def _is_said_in_hundreds(self, number: int) -> bool:
        return 1100 <= number <= 1999 or (self.language.startswith("en") and 2010 <= number <= 2099)

    def _ordinal(self, number: int, suffix: str) -> str | None:
        if self.language.startswith("en") and suffix.lower() != _english_suffix(number):
            return None
        form = self._ordinals[suffix.lower()]
        forms = self._engine.format_number(number, _purpose("ORDINAL")).text_by_ruleset
        return str(forms[form]) if form in forms else None

    def _with_fraction(self, whole: str, fraction: str) -> str | None:
        """Whole part, the word for the mark, digit after digit; None where the rules give no such word."""
        three, five = self._say(3, "CARDINAL"), self._say(5, "CARDINAL")
        sample = self._engine.format_number("3.5", _purpose("CARDINAL")).text
        if not (sample.startswith(three) and sample.endswith(five)):
            return None
        mark = sample[len(three) : len(sample) - len(five)]
        return f"{self._say(int(whole), 'CARDINAL')}{mark}{self._digits(fraction)}"

    def _digits(self, digits: str) -> str:
        blank = "" if self._is_unparted else " "
        return blank.join(self._say(int(digit), "CARDINAL") for digit in digits)

    def _say(self, number: int, purpose: str) -> str:
        return str(self._engine.format_number(number, _purpose(purpose)).text)


def is_sign(character: str) -> bool:
    """Whether a character is said as a word, or marks a note: `%`, `€`, `+`, `[`; False for the empty string."""
    return character in SPOKEN or (character != "" and unicodedata.category(character)[0] == "S")


def has_digits(text: str) -> bool:
    """Whether a text has digits of any script, or characters such as `½`."""
    return any(map(is_figure, text))


def is_figure(character: str) -> bool:
    """Whether a character is a digit, or a number in one such as `½` and `²`; False for the empty string."""
    return character.isdecimal() or (
        character != "" and not character.isascii() and unicodedata.category(character) == "No"
    )


def _is_beside_month(before: str, after: str) -> bool:
    last, following = re.search(r"([^\W\d_]+)\.? $", before), re.match(r" ([^\W\d_]+)", after)
    return any(match is not None and match[1] in MONTHS for match in (last, following))


def _english_suffix(number: int) -> str:
    if number % 100 in (11, 12, 13):
        return "th"
    return {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")


@cache
def _languages() -> frozenset[str]:
    from unicode_rbnf import RbnfEngine

    return frozenset(RbnfEngine.get_supported_languages())


@cache
def _engine(language: str) -> Any:
    from unicode_rbnf import RbnfEngine

    return RbnfEngine.for_language(language)


def _purpose(name: str) -> Any:
    from unicode_rbnf import FormatPurpose

    return FormatPurpose[name]
