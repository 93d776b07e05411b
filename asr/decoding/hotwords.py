"""Hotwords: phrases that get a boost wherever they occur as whole words (Aho & Corasick 1975).

The boost of a phrase is credited little by little while it is being spelt, so that it survives pruning, and taken back
when the spelling turns elsewhere. What remains in a final score are the boosts of the phrases that are there.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from asr.decoding.fit import tokens_are_words
from asr.errors import ConfigError
from asr.text.normalize import normalize
from asr.text.tokens import SPACE, Tokenizer


@dataclass(frozen=True, slots=True)
class HotwordTable:
    """An automaton over tokens. State 0 is the beginning of an utterance."""

    next_states: NDArray[np.int32]  # (states, V)
    gains: NDArray[np.float64]  # (states, V) what a token adds to the score, for a boost of 1
    final_gains: NDArray[np.float64]  # (states,) what the end of the utterance adds


def hotword_table(phrases: Sequence[str], tokenizer: Tokenizer) -> HotwordTable:
    """Build the automaton of some phrases; each word of a phrase counts 1.

    Raises:
        ConfigError: a phrase is empty or cannot be spelt by the model; names the symbols.
    """
    automaton = _Automaton()
    for phrase in phrases:
        automaton.add(SPACE + as_written(phrase, tokenizer) + SPACE, weight=len(phrase.split()))
    automaton.link()
    return automaton.compile(tokenizer.surfaces)


def as_written(phrase: str, tokenizer: Tokenizer) -> str:
    """A phrase as the model writes it: itself without surplus spaces, or for phones its first pronunciation.

    Raises:
        ConfigError: it is empty or cannot be spelt by the model; names the symbols.
    """
    text = SPACE.join(phrase.split())
    if not text:
        raise ConfigError("hotwords: expected words, got an empty phrase")
    if unknown := tokenizer.unknown_symbols(text):
        others = (normalize(text, "lower"), normalize(text, "upper"))
        hint = next((f"; did you mean {other!r}?" for other in others if not tokenizer.unknown_symbols(other)), "")
        raise ConfigError(
            f"hotwords: {phrase!r} has {', '.join(map(repr, unknown))}, which the model cannot write{hint}"
        )
    return tokenizer.decode(tokenizer.encode(text)) if tokens_are_words(tokenizer) else text


class _Automaton:
    """Over characters. A phrase is spelt with a space at both ends, an utterance begins after one."""

    def __init__(self) -> None:
        self.children: list[dict[str, int]] = [{}]
        self.credits = [0.0]  # while a phrase is being spelt
        self.completed = [0.0]  # weights of the phrases that end here
        self.failures = [0]
        self.begin = self._child(0, SPACE)

    def _child(self, state: int, character: str) -> int:
        if character not in self.children[state]:
            self.children[state][character] = len(self.children)
            self.children.append({})
            self.credits.append(0.0)
            self.completed.append(0.0)
            self.failures.append(0)
        return self.children[state][character]

    def add(self, pattern: str, weight: float) -> None:
        """Add a phrase with its two spaces; the same one twice counts once."""
        state = 0
        for depth, character in enumerate(pattern):
            state = self._child(state, character)
            if depth < len(pattern) - 1:
                self.credits[state] = max(self.credits[state], weight * depth / (len(pattern) - 1))
        self.completed[state] = weight

    def link(self) -> None:
        """Set the failure links, breadth first: the longest proper suffix that begins a phrase."""
        queue = deque(self.children[0].values())
        while queue:
            state = queue.popleft()
            for character, child in self.children[state].items():
                self.failures[child] = self.step(self.failures[state], character)
                queue.append(child)
            failure = self.failures[state]
            self.completed[state] += self.completed[failure]
            self.credits[state] = max(self.credits[state], self.credits[failure])

    def step(self, state: int, character: str) -> int:
        """The longest beginning of a phrase that the text ends with after one more character."""
        while state and character not in self.children[state]:
            state = self.failures[state]
        return self.children[state].get(character, 0)

    def compile(self, surfaces: Sequence[str]) -> HotwordTable:
        """Tabulate what each token does in each state; states are renumbered so that 0 is the beginning."""
        swap = {0: self.begin, self.begin: 0}
        num_states = len(self.children)
        next_states = np.zeros((num_states, len(surfaces)), np.int32)
        gains = np.zeros((num_states, len(surfaces)))
        final_gains = np.zeros(num_states)
        at_boundary = self._states_after_space()
        for state in range(num_states):
            row = swap.get(state, state)
            for token, surface in enumerate(surfaces):
                end, completed = self._walk(state, surface, at_boundary)
                next_states[row, token] = swap.get(end, end)
                gains[row, token] = completed + self.credits[end] - self.credits[state]
            end, completed = self._walk(state, SPACE, at_boundary)
            final_gains[row] = completed - self.credits[state]
        return HotwordTable(next_states, gains, final_gains)

    def _states_after_space(self) -> set[int]:
        """The states that a space leads to: another space changes nothing there."""
        return {row[SPACE] for row in self.children if SPACE in row}

    def _walk(self, state: int, surface: str, at_boundary: set[int]) -> tuple[int, float]:
        completed = 0.0
        for character in surface:
            if character == SPACE and state in at_boundary:
                continue
            state = self.step(state, character)
            completed += self.completed[state]
        return state, completed
