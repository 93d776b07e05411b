"""What a validation found, as figures by name: of the whole set, and of each of several sets that it is made of.

A figure of one set has its name behind a slash, as in `wer/dev-clean`. A rate without reference words has no value: the
figure is not there, and `words` is 0.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from asr.scoring.errors import Score

WHOLE = "dev"  # what all sets together are called
RATES = ("wer", "cer")
COUNTS = ("words", "utterances", "left_out")


@dataclass(frozen=True, slots=True)
class DevSet:
    """One of the sets that a run validates on."""

    name: str
    ids: frozenset[str]  # of its utterances that can be heard
    num_utterances: int  # those too that cannot


def error_figures(result: Score, sets: Sequence[DevSet]) -> dict[str, float]:
    """The error rates and counts of all utterances together, and of each set where there are several.

    words: of the references; utterances: that were scored; left_out: of the sets, those that could not be heard.
    """
    values = _figures(result, sum(part.num_utterances for part in sets))
    if len(sets) > 1:
        for part in sets:
            scored = Score(tuple(u for u in result.utterances if u.id in part.ids), result.costs)
            values |= {f"{name}/{part.name}": value for name, value in _figures(scored, part.num_utterances).items()}
    return values


def _figures(result: Score, num_utterances: int) -> dict[str, float]:
    scored, words = len(result.utterances), result.words.reference_length
    rates = {"wer": result.wer, "cer": result.cer} if words else {}
    return {**rates, "words": words, "utterances": scored, "left_out": num_utterances - scored}


def set_names(values: Mapping[str, Any]) -> list[str]:
    """The sets of which there are figures of their own; none where there is one set."""
    return [name.partition("/")[2] for name in values if name.startswith("utterances/")]


def figures_of(values: Mapping[str, Any], name: str) -> dict[str, Any]:
    """The rates and counts of one set, under their plain names; a rate of a set without words is None.

    >>> figures_of({"wer": 0.5, "wer/a": 0.25, "words/a": 4}, "a")
    {'wer': 0.25, 'cer': None, 'words': 4}
    """
    found: dict[str, Any] = {rate: values.get(f"{rate}/{name}") for rate in RATES}
    return found | {count: values[f"{count}/{name}"] for count in COUNTS if f"{count}/{name}" in values}


def figures_by_set(values: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """The rates and counts of the whole, as `dev`, and of each of several sets, as `dev: NAME`."""
    whole: dict[str, Any] = {rate: values.get(rate) for rate in RATES}
    whole |= {count: values[count] for count in COUNTS if count in values}
    return {WHOLE: whole} | {f"{WHOLE}: {name}": figures_of(values, name) for name in set_names(values)}


def describe_rates(values: Mapping[str, Any]) -> str:
    """The rates in words.

    >>> describe_rates({"wer": 0.25, "cer": 0.1})
    'WER 25.00%, CER 10.00%'
    """
    if values.get("wer") is None:
        return "no words to count errors of"
    return f"WER {values['wer']:.2%}, CER {values['cer']:.2%}"


def describe_parts(values: Mapping[str, Any]) -> str:
    """The word error rates of several sets, shortly; empty where there is one set.

    >>> describe_parts({"wer": 0.5, "wer/clean": 0.25, "utterances/clean": 4, "utterances/noise": 2})
    'WER clean 25.0%, noise no words'
    """
    rates = {name: figures_of(values, name)["wer"] for name in set_names(values)}
    shown = [f"{name} {'no words' if rate is None else f'{rate:.1%}'}" for name, rate in rates.items()]
    return f"WER {', '.join(shown)}" if shown else ""
