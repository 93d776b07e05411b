import sys
import unicodedata

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from asr.errors import ConfigError, TextError
from asr.text.normalize import describe_character, normalize

VIRAMA = "\u094d"  # of Devanagari


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Hello  World", "hello world"),
        ("  a\tb\r\nc ", "a b c"),
        ("cafe\u0301", "caf\u00e9"),  # NFD to NFC
        ("\u212bngstro\u0308m", "\u00e5ngstr\u00f6m"),  # the Ångström sign is a letter
        ("a\u00a0b\u202fc\u2009d\u3000e", "a b c d e"),  # no-break, narrow no-break, thin, ideographic
        ("a\u2028b\u2029c\x85d\x1ce", "a b c d e"),  # line, paragraph, next-line and file separators
        ("a\u200bb", "a b"),  # zero-width space
        ("\ufeffa\ufeffb", "a b"),  # byte-order marks, as joining files leaves them
        ("don\u2019t don\u2018t don\u02bct don`t don\u00b4t don\uff07t don\u2032t", " ".join(["don't"] * 7)),
        ("\u0149", "'n"),
        ("co\u00adop\u200eer\x00ate\x7f", "cooperate"),  # soft hyphen, direction mark, NUL, DEL
        ("ΟΔΟΣ ΣΑΣ", "οδος σας"),
        ("Straße STRASSE", "straße strasse"),
        ("Was? Ja - 3,5.", "was? ja - 3,5."),  # punctuation and digits stay
        ("“quoted”", "“quoted”"),  # double quotation marks are no apostrophes
        ("客観的 그는", "客観的 그는"),
        ("", ""),
        (" \u200b\u200d", ""),
    ],
)
def test_lower_case_table(text, expected):
    assert normalize(text) == expected


def test_upper_and_keep():
    assert normalize("straße ΐ ŉ don’t", case="upper") == "STRASSE Ϊ́ 'N DON'T"
    assert normalize("Straße  Don’t", case="keep") == "Straße Don't"


def test_unknown_case_is_an_error():
    with pytest.raises(ConfigError, match="'lower', 'upper' or 'keep', got 'title'"):
        normalize("a", case="title")


def test_lone_surrogate_is_an_error():
    with pytest.raises(TextError, match=r"U\+D83D"):
        normalize("a\ud83d")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("می\u200cخواهم", "می\u200cخواهم"),  # Persian spelling
        ("می\u200c\u200c\u200dخواهم", "می\u200cخواهم"),
        ("می\u200c خواهم\u200c", "می خواهم"),  # beside a space it joins nothing
        (f"क{VIRAMA}\u200dष", f"क{VIRAMA}\u200dष"),  # half form
        (f"a\u200b\u200c{VIRAMA}\u200c\u200b", f"a {VIRAMA}"),
        ("wo\u200drd wo\u200crd", "word word"),
    ],
)
def test_joiners_stay_only_where_they_spell(text, expected):
    assert normalize(text) == expected


@pytest.fixture(scope="module")
def assigned():
    """Every character that Unicode has given a meaning, surrogates and private use left out."""
    characters = map(chr, range(sys.maxunicode + 1))
    found = [c for c in characters if unicodedata.category(c) not in ("Cs", "Co", "Cn")]
    assert len(found) > 140_000
    return found


@pytest.mark.parametrize("case", ["lower", "upper", "keep"])
def test_every_character_of_unicode(case, assigned):
    """Twice is the same as once, and nothing that should be gone is left."""
    once = normalize(" ".join(f"a{c}b" for c in assigned), case)
    assert normalize(once, case) == once
    assert {c for c in set(once) if c.isspace()} == {" "}
    assert {unicodedata.category(c) for c in set(once)}.isdisjoint({"Cc", "Cf", "Zl", "Zp"})


# Marks that change places, joiners, viramas and nuktas beside each other are where idempotence is hard.
TANGLES = st.text(st.sampled_from(f"aΣİßŉक{VIRAMA}\u093c\u0301\u0323\u0345\u200c\u200d\u00ad\u200b ’می"), max_size=12)


@settings(deadline=None)  # how long an example takes is the machine's affair
@given(text=st.one_of(st.text(), TANGLES), case=st.sampled_from(["lower", "upper", "keep"]))
@example(text=f"क{VIRAMA}\u00ad\u093c\u200da", case="lower")
@example(text=f"a\u0301\u200d\u093c{VIRAMA}\u200db", case="lower")
def test_normalized_text_is_a_fixed_point(text, case):
    once = normalize(text, case)
    assert normalize(once, case) == once
    assert unicodedata.is_normalized("NFC", once)
    assert once == " ".join(once.split())
    assert normalize(unicodedata.normalize("NFD", once), case) == once


def test_describe_character():
    assert describe_character("\u0301") == "'\u0301' (U+0301 COMBINING ACUTE ACCENT)"
    assert describe_character("\x07") == "'\\x07' (U+0007 unnamed)"
