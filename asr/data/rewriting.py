"""The texts of a manifest, rewritten as `asr.text.written` says, each in its own language."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from asr.data.manifest import Line
from asr.errors import ConfigError, ManifestError, TextError
from asr.text.numbers import find_language, has_digits
from asr.text.written import Rewritten, Rules, rewrite
from asr.types import Utterance

SHOWN = 60  # characters of a text in a message


@dataclass(frozen=True, slots=True)
class Change:
    """An utterance before and after."""

    line: Line  # as it was
    rewritten: Rewritten

    @property
    def utterance(self) -> Utterance:
        """The utterance as it is now."""
        return replace(self.line.utterance, text=self.rewritten.text)

    @property
    def is_changed(self) -> bool:
        """Whether its text is another."""
        return self.rewritten.text != self.line.utterance.text

    @property
    def is_emptied(self) -> bool:
        """Whether nothing of its text is left."""
        return bool(self.line.utterance.text.strip()) and not self.rewritten.text


def rewrite_texts(lines: Sequence[Line], rules: Rules, lang: str | None = None) -> list[Change]:
    """Rewrite the texts of a manifest.

    Args:
        lines: of the manifest.
        rules: for case, punctuation and digits.
        lang: the language of utterances that name none; needed where such a one has digits that are to be spelt.

    Raises:
        ConfigError: a text has digits and no language, or one whose numbers cannot be spelt; names the line.
        ManifestError: a text is no Unicode; names the line.
    """
    if rules.digits == "spell":
        _check_languages(lines, lang)
    changes = []
    for line in lines:
        try:
            changes.append(Change(line, rewrite(line.utterance.text, rules, line.utterance.lang or lang)))
        except TextError as error:
            raise ManifestError(f"{line.place}: {error}") from error
    return changes


def _check_languages(lines: Sequence[Line], lang: str | None) -> None:
    with_digits = [line for line in lines if has_digits(line.utterance.text)]
    unknown = [line for line in with_digits if not (line.utterance.lang or lang)]
    if unknown:
        first = unknown[0]
        raise ConfigError(
            f"{first.place}: expected a language to spell digits in, got none for {len(unknown):,} of {len(lines):,} "
            f"texts, such as {first.utterance.text[:SHOWN]!r}; say --lang en (or de, fr …), or --digits keep"
        )
    for line in with_digits:
        try:
            find_language(line.utterance.lang or lang or "")
        except ConfigError as error:
            raise ConfigError(f"{line.place}: {error}; --digits keep leaves them as they are") from error
