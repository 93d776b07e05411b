"""Words that look alike and are other characters: what a raw score counts as errors, and a reader cannot see."""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from asr.errors import TextError
from asr.text.normalize import normalize


@dataclass(frozen=True, slots=True)
class FormDifferences:
    """The words of references that hypotheses have in another Unicode form, and the first of them."""

    num_words: int
    reference: str = ""
    hypothesis: str = ""

    def __str__(self) -> str:
        """A note for the user, in one line."""
        one = self.num_words == 1
        return (
            f"{self.num_words:,} word{'' if one else 's'} differ{'s' if one else ''} in Unicode form only and "
            f"count{'s' if one else ''} as {'an error' if one else 'errors'}: {_first_difference(self)}; "
            "--normalize basic compares them in one form"
        )


def form_differences(references: Mapping[str, str], hypotheses: Mapping[str, str]) -> FormDifferences:
    """Count the words that would be equal in the form that `asr.text.normalize` gives them: NFC, plain apostrophes.

    Both are texts by utterance id. A word counts when the other side of its utterance has it in another form, and
    nowhere in the same.

    >>> form_differences({"u": "café au lait"}, {"u": "cafe\\u0301 au lait"}).num_words
    1
    """
    num_words = 0
    first: tuple[str, str] | None = None
    for id, reference in references.items():
        for pair in _pairs(reference, hypotheses[id]):
            num_words += 1
            first = first or pair
    return FormDifferences(num_words, *(first or ()))


def _pairs(reference: str, hypothesis: str) -> Iterator[tuple[str, str]]:
    if reference == hypothesis or (reference.isascii() and hypothesis.isascii()):
        return
    said, recognised = Counter(reference.split()), Counter(hypothesis.split())
    others: dict[str, list[str]] = {}
    for word in (recognised - said).elements():
        others.setdefault(_form(word), []).append(word)
    for word in (said - recognised).elements():
        if found := others.get(_form(word)):
            yield word, found.pop(0)


def _form(word: str) -> str:
    try:
        return normalize(word, "keep")
    except TextError:  # half a surrogate pair, from an escape in JSON: there is no other form of it
        return word


def _first_difference(differences: FormDifferences) -> str:
    word, other = differences.reference, differences.hypothesis
    if unicodedata.normalize("NFC", word) == unicodedata.normalize("NFC", other):
        kinds = ["composed (NFC)" if unicodedata.is_normalized("NFC", text) else "decomposed" for text in (word, other)]
        return f"{word!r} is {kinds[0]} in the reference, {kinds[1]} in the hypothesis"
    at = next((i for i, (a, b) in enumerate(zip(word, other)) if a != b), min(len(word), len(other)))
    here, there = (f"U+{ord(text[at]):04X}" if at < len(text) else "the end" for text in (word, other))
    return f"{word!r} has {here} in the reference where the hypothesis has {there}"
