"""References that leave a choice, as NIST's transcripts do: alternations `{ a / b c / @ }` and optional words `(uh)`.

- An alternation is one of several texts, separated by `/`; `@` is the empty text; alternations may be nested.
- An optional word may be left out: that is correct, and counts as a correct word, as in sclite with `-D`.

A reference is then a network of words, and of all paths through it the one that costs least against the hypothesis is
what was said. The rest is sclite's: leaving an optional word out costs 2 under its costs (`Costs.omission`), more than
a correct word and less than a deletion; going through `@` costs 0.001, so that of two paths with the same errors the
one with fewer of them is taken; of alternatives that cost the same the first. How ties fall between alignments of such
a reference is sclite's rule under all costs (asr/scoring/alignment.py).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from asr.errors import ScoringError
from asr.scoring.alignment import CORRECT, DELETION, INSERTION, SUBSTITUTION, Costs

NOTHING = "@"
NOTHING_COST = 0.001
_TOKENS = re.compile(r"[{}]|[^\s{}]+")
_INSIDE = re.compile(r"/|[^/]+")  # a slash separates inside braces, with or without spaces around it


@dataclass(frozen=True, slots=True)
class Arc:
    """A word of a network with the places of the arcs that lead to it, the first alternative first."""

    word: str | None  # None: nothing is said
    before: tuple[int, ...]
    is_optional: bool = False


@dataclass(frozen=True, slots=True)
class Network:
    """What may have been said: every way from arc 0, the beginning, to one of the `last` arcs."""

    arcs: tuple[Arc, ...]  # each after those that lead to it
    last: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class OptionalWord:
    """An optional word of the chosen path: said, rightly or wrongly, or left out, which is correct."""

    word: str
    column: int  # where it stands in `operations`; of one left out, the column that it stands before
    is_left_out: bool


@dataclass(frozen=True, slots=True)
class ChosenPath:
    """The cheapest path through a network, aligned with a hypothesis."""

    words: tuple[str, ...]  # without optional words that are left out
    operations: str  # one letter for each column, see `UtteranceErrors.operations`
    optional: tuple[OptionalWord, ...] = ()  # in order


def has_marks(text: str) -> bool:
    """Whether a text has braces, parentheses or a word `@`."""
    return any(mark in text for mark in "{}()") or (NOTHING in text and NOTHING in text.split())


def parse(text: str, id: str) -> Network:
    """Read a reference with alternations and optional words.

    Raises:
        ScoringError: braces or parentheses that do not match, an alternative without a word; names the utterance.
    """
    parser = _Parser(id)
    depth = 0
    for token in _TOKENS.findall(text):
        depth += {"{": 1, "}": -1}.get(token, 0)
        for part in _INSIDE.findall(token) if depth and token not in ("{", "}") else [token]:
            parser.read(part)
    return parser.finish()


@dataclass(slots=True)
class _Alternation:
    """An alternation being read."""

    before: tuple[int, ...]  # the arcs that lead to it
    ends: list[int] = field(default_factory=list)  # the last arcs of the alternatives so far


class _Parser:
    """Makes arcs from tokens; `_before` are the arcs that lead to the next one."""

    def __init__(self, id: str) -> None:
        self._id = id
        self._arcs = [Arc(None, ())]
        self._before: tuple[int, ...] = (0,)
        self._open: list[_Alternation] = []

    def read(self, token: str) -> None:
        if token == "{":
            self._open.append(_Alternation(self._before))
        elif token == "}" and not self._open:
            raise self._error("a } without a {")
        elif token == "}":
            self._end_alternative()
            self._before = tuple(self._open.pop().ends)
        elif token == "/" and self._open:
            self._end_alternative()
        else:
            self._arcs.append(self._arc(token))
            self._before = (len(self._arcs) - 1,)

    def finish(self) -> Network:
        if self._open:
            raise self._error("a { without a }")
        return Network(tuple(self._arcs), self._before)

    def _end_alternative(self) -> None:
        alternation = self._open[-1]
        if self._before == alternation.before:
            raise self._error(f"an alternative without a word; write {NOTHING} for nothing")
        alternation.ends.extend(self._before)
        self._before = alternation.before

    def _arc(self, token: str) -> Arc:
        if token == NOTHING:
            return Arc(None, self._before)
        if not token.startswith("(") and not token.endswith(")"):
            return Arc(token, self._before)
        word = token[1:-1]
        if not (token.startswith("(") and token.endswith(")") and word.strip("()") == word != "") or word == NOTHING:
            raise self._error(f"{token}; put each optional word into parentheses of its own, such as (uh)")
        return Arc(word, self._before, is_optional=True)

    def _error(self, what: str) -> ScoringError:
        return ScoringError(
            f"expected words, alternations such as {{ a / b c / {NOTHING} }} and optional words such as (uh) in the "
            f"reference of {self._id}, got {what}"
        )


def choose(network: Network, hypothesis: Sequence[str], costs: Costs) -> ChosenPath:
    """Find the path that costs least against the words of a hypothesis."""
    import numpy as np

    from asr.scoring import alignment_kernel as kernel  # compiled code takes half a second to load

    ids: dict[str | None, int] = {None: kernel.NOTHING}
    tokens = [ids.setdefault(arc.word, len(ids)) for arc in network.arcs]
    before = [list(arc.before) for arc in network.arcs]
    columns = kernel.align_network(
        kernel.Arcs(
            tokens=np.array(tokens, np.int32),
            deletions=np.array([_deletion_cost(arc, costs) for arc in network.arcs], np.float32),
            before=np.array([place for places in before for place in places], np.int32),
            starts=np.cumsum([0, *map(len, before)], dtype=np.int64),
            last=np.array(network.last, np.int32),
        ),
        np.array([ids.get(word, len(ids)) for word in hypothesis], np.int32),
        costs.array(),
    )
    return _path([(network.arcs[arc], faces_word) for arc, faces_word in columns], hypothesis)


def _deletion_cost(arc: Arc, costs: Costs) -> float:
    if arc.word is None:
        return NOTHING_COST
    return costs.omission if arc.is_optional else costs.deletion


def _path(columns: Sequence[tuple[Arc, bool]], hypothesis: Sequence[str]) -> ChosenPath:
    words: list[str] = []
    letters: list[str] = []
    optional = []
    remaining = iter(hypothesis)
    for arc, faces_word in columns:
        said = next(remaining) if faces_word else None
        if arc.word is None:
            letters += [INSERTION] if faces_word else []
            continue
        if arc.is_optional:
            optional.append(OptionalWord(arc.word, len(letters), is_left_out=not faces_word))
            if not faces_word:
                continue
        words.append(arc.word)
        letters.append(DELETION if said is None else CORRECT if said == arc.word else SUBSTITUTION)
    return ChosenPath(tuple(words), "".join(letters), tuple(optional))


def check_plain(hypotheses: Mapping[str, Sequence[str]]) -> None:
    """Raise `ScoringError` where the words of a hypothesis have marks: what was recognised leaves no choice."""
    for id, words in hypotheses.items():
        if has_marks(" ".join(words)):
            marked = next(word for word in words if has_marks(word))
            raise ScoringError(
                f"expected plain words in the hypothesis of {id}, got {marked}: alternations and optional words are "
                "for references"
            )
