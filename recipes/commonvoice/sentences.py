"""Sentences as people wrote them, made what is heard: the same rules for every language."""

from __future__ import annotations

import re
import unicodedata

from asr.text.normalize import normalize

# Between letters these belong to the word (Unicode's word boundaries, UAX 29, MidLetter): apostrophe, middle dot of
# Catalan, geresh and gershayim of Hebrew.
INSIDE_WORDS = frozenset("'·\u05f3\u05f4")
# Armenian marks of intonation stand inside a word, after its vowel, and part nothing.
INTONATION = str.maketrans("", "", "\u055b\u055c\u055e")
QUOTED = re.compile(r'"((?:[^"]|"")*)"')  # a sentence that was written as a cell of a CSV file


def spoken(sentence: str, keep_punctuation: bool) -> str:
    """A sentence without the marks that nobody hears; case stays, which is a matter of `text.case`.

    Punctuation and symbols become spaces, except for apostrophes and their like between letters; with
    `keep_punctuation` they stay. The result is in NFC, with single spaces.

    >>> spoken('"„L’été“, dit-il – ""voilà""!"', keep_punctuation=False)
    "L'été dit il voilà"
    """
    if match := QUOTED.fullmatch(sentence.strip()):
        sentence = match[1].replace('""', '"')
    text = normalize(sentence, "keep")
    if keep_punctuation:
        return text
    text = text.translate(INTONATION)
    marks = [_mark(text, index) for index in range(len(text))]
    return normalize("".join(marks), "keep")


def _mark(text: str, index: int) -> str:
    character = text[index]
    if unicodedata.category(character)[0] not in "PS":
        return character
    between_letters = text[index - 1 : index].isalpha() and text[index + 1 : index + 2].isalpha()
    return character if character in INSIDE_WORDS and between_letters else " "
