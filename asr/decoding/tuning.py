"""Finding a decoder's weights on a development set whose log-probabilities are there already."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from torch import Tensor

from asr.emissions import EmissionTable
from asr.errors import ConfigError
from asr.scoring.errors import Score, score
from asr.types import Hypothesis

METRICS = ("wer", "cer")
BATCH_FRAMES = 10_000  # padded, decoded together: some minutes of speech
DECIMALS = 3  # of weights: what is printed is what was tried
CELLS = 6  # of the surface's table, in each direction


class Search(Protocol):
    """What a decoder has to do here; see asr.recognizer.Decoder."""

    def decode(self, log_probs: Tensor, lengths: Tensor, ids: Sequence[str]) -> list[Hypothesis]:
        """(B, T, V) log-probabilities and (B,) lengths -> one hypothesis for each utterance."""
        ...


@dataclass(frozen=True, slots=True)
class Range:
    """The values that are tried, both ends among them."""

    low: float
    high: float

    def __post_init__(self) -> None:
        if not (math.isfinite(self.low) and math.isfinite(self.high) and self.low < self.high):
            raise ConfigError(f"expected a range from a smaller to a larger number, got {self.low:g} to {self.high:g}")

    def cell(self, value: float) -> int:
        """Which of `CELLS` equal parts holds `value`."""
        return min(CELLS - 1, int(CELLS * (value - self.low) / (self.high - self.low)))

    def centers(self) -> list[float]:
        """The middle of each part."""
        return [self.low + (self.high - self.low) * (cell + 0.5) / CELLS for cell in range(CELLS)]


@dataclass(frozen=True, slots=True)
class Trial:
    """Weights that were tried, and the error rates they gave, as fractions."""

    lm_weight: float
    word_bonus: float
    wer: float
    cer: float

    def rank(self, metric: str) -> tuple[float, ...]:
        """Smaller is better; of trials that differ by chance only, the one that trusts the language model less."""
        rates = {"wer": (self.wer, self.cer), "cer": (self.cer, self.wer)}[metric]
        return (*rates, self.lm_weight, abs(self.word_bonus))


def decode_table(decoder: Search, table: EmissionTable) -> dict[str, Hypothesis]:
    """A hypothesis for each utterance of a table."""
    found: dict[str, Hypothesis] = {}
    for batch in table.batches(BATCH_FRAMES):
        found.update(zip(batch.ids, decoder.decode(batch.log_probs, batch.lengths, batch.ids), strict=True))
    return {id: found[id] for id in table.ids}


def score_table(decoder: Search, table: EmissionTable) -> Score:
    """Decode a table and score it against its references."""
    return score(table.references, {id: found.text for id, found in decode_table(decoder, table).items()})


def search_weights(
    evaluate: Callable[[float, float], Score],
    *,
    lm_weights: Range,
    word_bonuses: Range,
    num_trials: int,
    metric: str = "wer",
    seed: int = 1,
) -> Iterator[Trial]:
    """Try weights with the tree-structured Parzen estimator (Bergstra et al. 2011), yielding each trial as it ends.

    The same seed tries the same weights. The middle of both ranges comes first.

    Args:
        evaluate: (lm_weight, word_bonus) -> the scored set
        lm_weights: tried values
        word_bonuses: tried values
        num_trials: how many
        metric: what is to be low, one of `METRICS`
        seed: of the search

    Raises:
        ConfigError: optuna is not installed, the metric is unknown, or the set has no reference words.
    """
    if metric not in METRICS:
        raise ConfigError(f"--metric: expected {' or '.join(METRICS)}, got {metric!r}")
    optuna = _optuna()
    study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=seed))
    study.enqueue_trial(
        {"lm_weight": (lm_weights.low + lm_weights.high) / 2, "word_bonus": (word_bonuses.low + word_bonuses.high) / 2}
    )
    for _ in range(num_trials):
        asked = study.ask()
        lm_weight = round(asked.suggest_float("lm_weight", lm_weights.low, lm_weights.high), DECIMALS)
        word_bonus = round(asked.suggest_float("word_bonus", word_bonuses.low, word_bonuses.high), DECIMALS)
        lm_weight = max(lm_weight, 10**-DECIMALS)  # zero would be no language model
        trial = as_trial(lm_weight, word_bonus, evaluate(lm_weight, word_bonus))
        study.tell(asked, trial.rank(metric)[0])
        yield trial


def as_trial(lm_weight: float, word_bonus: float, scored: Score) -> Trial:
    """The trial with its rates, which must be finite."""
    if scored.words.reference_length == 0:
        raise ConfigError("expected references with words to tune on, got none; does the manifest have texts?")
    return Trial(lm_weight, word_bonus, scored.wer, scored.cer)


def best(trials: Sequence[Trial], metric: str) -> Trial:
    """The trial to take."""
    return min(trials, key=lambda trial: trial.rank(metric))


def surface(trials: Sequence[Trial], lm_weights: Range, word_bonuses: Range, metric: str) -> list[list[float | None]]:
    """The lowest rate in each cell, None where nothing was tried: rows by lm_weight, columns by word_bonus."""
    cells: list[list[float | None]] = [[None] * CELLS for _ in range(CELLS)]
    for trial in trials:
        row, column = lm_weights.cell(trial.lm_weight), word_bonuses.cell(trial.word_bonus)
        rate, lowest = getattr(trial, metric), cells[row][column]
        cells[row][column] = rate if lowest is None else min(lowest, rate)
    return cells


def is_test_set(name: str | Path) -> bool:
    """Whether a file's name says that it is a test set: `test` is one of its words.

    >>> is_test_set("data/librispeech-test.jsonl"), is_test_set("contest.jsonl")
    (True, False)
    """
    words = re.split(r"[-_.\s]", Path(name).name.lower())
    return any(re.fullmatch(r"tests?\d*|testset", word) for word in words)


def _optuna() -> Any:
    try:
        import optuna
    except ImportError as error:
        raise ConfigError("tuning needs optuna: pip install 'blstm-asr[tune]'") from error
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna
