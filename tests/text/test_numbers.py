"""Numbers in words: what leaves no doubt is spelt, what has several readings stays."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asr.errors import ConfigError
from asr.text.numbers import NumberSpeller, find_language, has_digits

SPELT = {
    "en": [
        ("In 1895 I had 3.5 dollars.", "In eighteen ninety-five I had three point five dollars."),
        ("the 1st, 2nd, 3rd, 11th and 21st", "the first, second, third, eleventh and twenty-first"),
        ("1,234 people", "one thousand two hundred thirty-four people"),
        ("agent 007", "agent zero zero seven"),
        ("1000 and 2005", "one thousand and two thousand five"),
        ("(12) it was 5.", "(twelve) it was five."),
        ("chapter 4: go; 5-year-old", "chapter four: go; five-year-old"),
        ("1 2 3", "one two three"),
        ("12345678901234567", "one two three four five six seven eight nine zero one two three four five six seven"),
    ],
    "de": [
        ("3,5 Meter und 1.234 Leute", "drei Komma fünf Meter und eintausendzweihundertvierunddreißig Leute"),
        ("im Jahr 1999.", "im Jahr neunzehnhundertneunundneunzig."),
        ("es waren 3.", "es waren drei."),
    ],
    "de-CH": [("1'234", "eintausendzweihundertvierunddreissig")],
    "fr": [
        ("le 1er, la 1re, la 2e", "le premier, la première, la deuxième"),
        ("1\u202f234", "mille deux cent trente-quatre"),
        ("3,14 et 80", "trois virgule un quatre et quatre-vingts"),
    ],
    "es": [("3º, 3ª y 21", "tercero, tercera y veintiuno")],
    "it": [("21", "ventuno")],
    "pt_BR": [("21", "vinte e um")],
    "nb": [("21", "tjueén")],
    "hi": [("२१", "इक्कीस")],
    "ja": [("3人", "三人")],
}
LEFT = {
    "en": [
        "10:30",
        "3/4",
        "10-12",
        "$5",
        "50%",
        "50 %",
        "MP3",
        "4x4",
        "1990s",
        "21th",
        "2,5",
        "1.2.3",
        "20 €",
        "-5",
        "12 345",
        "555 1234",
        "2020-05-12",
        "#1",
        "3 May",
        "May 3",
        "Sept. 11",
        "+49",
        "15½",
        "½",
        "5²",
    ],
    "de": ["am 3. Mai", "3.5", "12.5.2020", "10.30 Uhr"],
    "fr": ["3 100", "10h30"],
    "pl": ["3,5"],  # the rules have no word for the mark
    "ko": ["21명"],  # counted in one of two ways
}


@pytest.mark.parametrize(("language", "text", "words"), [(lang, *pair) for lang in SPELT for pair in SPELT[lang]])
def test_spelt(language, text, words):
    assert NumberSpeller(language)(text) == words


@pytest.mark.parametrize(("language", "text"), [(lang, text) for lang in LEFT for text in LEFT[lang]])
def test_left(language, text):
    assert NumberSpeller(language)(text) == text


@given(st.text("0123456789.,:-' aA€%\u00a0", max_size=20), st.sampled_from(["en", "de", "fr", "ja"]))
def test_what_is_spelt_once_stays(text, language):
    speller = NumberSpeller(language)
    once = speller(text)
    assert speller(once) == once or has_digits(once)
    if not has_digits(text):
        assert once == text


def test_languages():
    assert [find_language(name) for name in ("de", "de-AT", "pt-BR", "pt-PT", "zh_TW", "iw")] == [
        *("de", "de", "pt", "pt_PT", "zh", "he")
    ]
    for name in ("klingon", "../en", ""):
        with pytest.raises(ConfigError, match="expected a language whose numbers can be spelt"):
            NumberSpeller(name)
