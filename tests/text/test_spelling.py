"""Texts as people write them, spelt as far as a model can."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asr.errors import TextError
from asr.text.lexicon import Lexicon
from asr.text.spelling import BRIDGE, spoken_text
from asr.text.tokenizer import BpeTokenizer, CharTokenizer, PhoneTokenizer

TEXTS = ["six eight one four five", "twenty one two", "don't"]
CHARACTERS = CharTokenizer.train(TEXTS)
PIECES = BpeTokenizer.train(TEXTS * 10, vocab_size=24)
WORDS = PhoneTokenizer(None, ("one", "two", "four", "five", "six", "eight", "twenty", "don't"))
PHONES = PhoneTokenizer.from_lexicon(Lexicon({word: (tuple(word.upper()),) for word in " ".join(TEXTS).split()}))
TOKENIZERS = [CHARACTERS, PIECES, WORDS, PHONES]


def words(text: str, tokenizer=CHARACTERS) -> list[tuple[str, str]]:
    """Each word as written and as spelt; `*` for a bridge, `` for nothing said."""
    return [
        (word.written, word.text if word.is_spelt else "*" if word.tokens else "")
        for word in spoken_text(text, "lower", tokenizer).words
    ]


@pytest.mark.parametrize("tokenizer", TOKENIZERS)
@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("six 8 one", [("six", "six"), ("8", "*"), ("one", "one")]),
        (
            "Six, eight. One four -- five!",
            [("Six,", "six"), ("eight.", "eight"), ("One", "one"), ("four", "four"), ("--", ""), ("five!", "five")],
        ),
        (
            "“Six” (eight) [one]… ¿four?",
            [("“Six”", "six"), ("(eight)", "eight"), ("[one]…", "one"), ("¿four?", "four")],
        ),
        (
            "twenty-one six—two one/two",
            [*zip(["twenty-", "one", "six—", "two", "one/", "two"], ["twenty", "one", "six", "two", "one", "two"])],
        ),
        (
            "one...two, 24/7 10:30 3.5 5%",
            [("one...", "one"), ("two,", "two"), *((w, "*") for w in ("24/7", "10:30", "3.5", "5%"))],
        ),
        ("one & two + $ five", [("one", "one"), ("&", "*"), ("two", "two"), ("+", "*"), ("$", "*"), ("five", "five")]),
        (
            "one café шесть 六 ☺ two",
            [("one", "one"), ("café", "*"), ("шесть", "*"), ("六", "*"), ("☺", ""), ("two", "two")],
        ),
        ("DON’T", [("DON’T", "don't")]),
        ("", []),
        ("  \u200b \n", []),
        ("– ... !", [("–", ""), ("...", ""), ("!", "")]),
    ],
)
def test_what_is_said_is_spelt_and_what_cannot_be_is_bridged(tokenizer, text, expected):
    assert words(text, tokenizer) == expected


@pytest.mark.parametrize("tokenizer", TOKENIZERS)
def test_tokens_are_those_of_the_text_where_all_can_be_spelt(tokenizer):
    for text in TEXTS:
        assert list(spoken_text(text, "lower", tokenizer).tokens) == tokenizer.encode(text)


@pytest.mark.parametrize("tokenizer", TOKENIZERS)
def test_each_span_is_its_word(tokenizer):
    spoken = spoken_text("Two -- 8 9, don't; ¡Six!", "lower", tokenizer)
    assert [span.text for span in spoken.spans] == ["two", "8", "9", "don't", "six"]
    for word, span in zip(spoken.said, spoken.spans):
        tokens = spoken.tokens[span.start : span.end]
        if word.is_spelt:
            assert tokenizer.encode(word.text)[-len(tokens) :] == list(tokens)
            assert tokenizer.surfaces[tokens[0]] != " "  # the space before a word is none of its sounds
        else:
            assert tokens == (BRIDGE,)
    assert spoken.unspelt == ("--", "8", "9")


def test_punctuation_that_the_model_has_tokens_for_is_spelt():
    tokenizer = CharTokenizer.train(["well-known, one."])
    assert words("well-known, one.", tokenizer) == [("well-known,", "well-known,"), ("one.", "one.")]


@pytest.mark.parametrize("tokenizer", TOKENIZERS)
def test_a_text_of_which_nothing_can_be_spelt_names_what_it_lacks(tokenizer):
    with pytest.raises(TextError, match="no word of the text can be spelt: the model has no tokens for '8'"):
        spoken_text("8 -- 8", "lower", tokenizer)


@given(st.text(st.sampled_from("one -–.,'8é\u0301$&\u200b\n\u00ad’"), max_size=20))
def test_any_text(text):
    try:
        spoken = spoken_text(text, "lower", CHARACTERS)
    except TextError:
        return
    assert len(spoken.said) == len(spoken.spans)
    assert all(span.start < span.end for span in spoken.spans)
    assert all(len(word.text.split()) == 1 for word in spoken.words)  # a field of a CTM
    assert set(spoken.tokens) <= {BRIDGE, *range(1, CHARACTERS.vocab_size)}
