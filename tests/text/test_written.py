"""Written texts as they are spoken: by hand, and what holds for any."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asr.errors import ConfigError, TextError
from asr.text.written import Rewritten, Rules, features, rewrite

SPOKEN = [
    ("en", "“Don’t—stop!” On the 2nd of May…", "don't stop on the second of may"),
    ("en", "'Twas the dogs' well-known (loud) bark; Mr. O'Neil said: “ok”", None),
    ("fr", "L’homme, est-ce « oui » ? 21 ans", "l'homme est ce oui vingt et un ans"),
    ("de", "E-Mail: „3,5 Meter“!", "e mail drei komma fünf meter"),
    ("es", "¿Qué? ¡No!", "qué no"),
    ("en", "u\u0308ber cafe\u0301 a\u00a0b", "über café a b"),
    ("hi", "नमस्ते, आप कैसे हैं?", "नमस्ते आप कैसे हैं"),
    ("en", "...", ""),
]


@pytest.mark.parametrize(("lang", "text", "spoken"), SPOKEN)
def test_spoken(lang, text, spoken):
    spoken = "twas the dogs well known loud bark mr o'neil said ok" if spoken is None else spoken
    assert rewrite(text, Rules(), lang) == Rewritten(spoken)


@pytest.mark.parametrize(
    ("text", "spoken", "left"),
    [
        ("At 10:30, I paid $5!", "at 10:30 i paid $5", ("10:30", "$5")),
        ("50% [laughter] <unk> rock & roll.", "50% [laughter] <unk> rock & roll", ("50%", "[laughter]", "<unk>", "&")),
        ("minus -5.", "minus -5", ("-5",)),
        ("15½ miles, ½ a day", "15½ miles ½ a day", ("15½", "½")),
    ],
)
def test_what_has_several_readings_is_kept_and_named(text, spoken, left):
    assert rewrite(text, Rules(), "en") == Rewritten(spoken, left)


def test_each_rule_alone():
    text = "“Don’t—stop,” he said: 3 «times»…"
    assert rewrite(text, Rules("keep", "keep", "keep")).text == '"Don\'t-stop," he said: 3 "times"...'
    assert rewrite(text, Rules("upper", "keep", "keep")).text == '"DON\'T-STOP," HE SAID: 3 "TIMES"...'
    assert rewrite(text, Rules("keep", "remove", "keep")).text == "Don't stop he said 3 times"
    assert rewrite(text, Rules("keep", "keep", "spell"), "en").text == '"Don\'t-stop," he said: three "times"...'


def test_digits_need_a_language():
    with pytest.raises(ConfigError, match="expected a language to spell digits in"):
        rewrite("3", Rules())
    assert rewrite("three", Rules()).text == "three"
    with pytest.raises(TextError, match="surrogate"):
        rewrite("\ud800", Rules())


@given(st.text("abÉß 'ʼ’“”-–.,;!?3%€[\u0301\u00ad\u3000", max_size=24), st.sampled_from(["remove", "keep"]))
def test_twice_is_as_once(text, punctuation):
    rules = Rules(punctuation=punctuation)
    once = rewrite(text, rules, "en")
    assert rewrite(once.text, rules, "en") == once
    if punctuation == "remove" and not once.left:
        assert not features(once.text)


def test_features():
    assert features("it's fine") == features("’twas") == {}
    assert features("It’s 5 o'clock.") == {"digits": 5, "punctuation": 14}
    assert features("50 €") == {"digits": 0, "signs": 3}
    assert features("well-known -- 50") == {"punctuation": 4, "digits": 14}
