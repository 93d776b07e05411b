import pytest
from hypothesis import given
from hypothesis import strategies as st

from asr.errors import ScoringError
from asr.scoring.normalizers import basic_normalize, normalizer


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", ""),
        ("Hello, world!", "hello world"),
        ("mother-in-law’s", "mother in law's"),
        ("'tis the players' rock 'n' roll", "tis the players rock n roll"),
        ("Ｆｕｌｌ　ｗｉｄｔｈ ﬁne", "full width fine"),
        ("Straße STRASSE", "strasse strasse"),
        ("नमस्ते, दुनिया।", "नमस्ते दुनिया"),  # whisper's own would drop the vowel signs
        ("a\u0301b á", "áb á"),
        ("五十円。", "五十円"),
        ("$5 + 20 €", "5 20"),
    ],
)
def test_basic(text, expected):
    assert basic_normalize(text) == expected


@given(st.text())
def test_basic_changes_nothing_twice(text):
    once = basic_normalize(text.encode("utf-8", "ignore").decode())
    assert basic_normalize(once) == once


def test_english_knows_numbers_contractions_and_british_spellings():
    english = normalizer("english")
    assert english("Hmm, I won't pay Mr. Smith's twenty-five colours") == "i will not pay mister smith is 25 colors"


def test_unknown_names_are_refused():
    with pytest.raises(ScoringError, match="basic, english, got 'whisper'"):
        normalizer("whisper")
