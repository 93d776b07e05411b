"""Do confidences mean what they say? Cross entropy, reliability, and the temperature that mends them.

A confidence of 0.8 is calibrated when eight in ten of such words are right. Words are right or wrong by the alignment
of hypothesis and reference (asr/scoring/errors.py): correct ones are right, substitutions and insertions wrong.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from asr.decoding.alignment import TokenRuns
from asr.errors import ScoringError
from asr.files import replacing
from asr.scoring.errors import CORRECT, DELETION, UtteranceErrors
from asr.text.tokens import TokenSpan

NUM_BINS = 10
# A wrong word with a confidence of 1 would cost infinitely many bits.
MIN_PROBABILITY = 1e-6
MIN_TEMPERATURE, MAX_TEMPERATURE = 0.05, 50.0
_GRID_POINTS = 41
_GOLDEN = (math.sqrt(5) - 1) / 2
_LOG_TOLERANCE = 1e-4  # of the temperature: four digits

Floats = NDArray[np.floating[Any]]
Bools = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class WordEvidence:
    """Everything that the confidences of some hypothesis words depend on, at any temperature."""

    log_probs: NDArray[np.float32]  # (N, V): the frames of the words' token runs, one after another
    labels: NDArray[np.int64]  # (N,): each frame's token
    run_starts: NDArray[np.int64]  # (R,): where each token's frames begin
    word_starts: NDArray[np.int64]  # (W,): where each word's runs begin
    is_correct: Bools  # (W,)

    def confidences(self, temperature: float) -> NDArray[np.float64]:
        """(W,) confidences as asr/decoding/alignment.py defines them."""
        if len(self.word_starts) == 0:
            return np.zeros(0)
        scaled = self.log_probs / np.float32(temperature)
        highest = scaled.max(axis=1, keepdims=True)
        totals = highest[:, 0] + np.log(np.exp(scaled - highest).sum(axis=1))
        own = scaled[np.arange(len(scaled)), self.labels] - totals
        runs = np.maximum.reduceat(own, self.run_starts).astype(np.float64)
        return np.minimum(np.exp(np.add.reduceat(runs, self.word_starts)), 1.0)


def word_evidence(
    log_probs: NDArray[np.float32], runs: TokenRuns, spans: Sequence[TokenSpan], errors: UtteranceErrors
) -> WordEvidence:
    """The evidence of one utterance: (T, V) log-probabilities, its aligned tokens, their words, and what was wrong.

    Raises:
        ScoringError: the words are not those that were scored.
    """
    is_correct = [letter == CORRECT for letter in errors.operations if letter != DELETION]
    if len(is_correct) != len(spans):
        raise ScoringError(
            f"expected the {len(is_correct)} words that were scored, got {len(spans)} in the tokens of {errors.id}"
        )
    used = [run for span in spans for run in range(span.start, span.end)]
    lengths = (runs.ends - runs.starts)[used]
    frames = [np.arange(runs.starts[run], runs.ends[run]) for run in used]
    return WordEvidence(
        log_probs=log_probs[np.concatenate([np.zeros(0, dtype=np.int64), *frames])],
        labels=np.repeat(runs.tokens[used], lengths),
        run_starts=_starts(lengths),
        word_starts=_starts(np.array([span.end - span.start for span in spans], dtype=np.int64)),
        is_correct=np.array(is_correct, dtype=np.bool_),
    )


def join(parts: Sequence[WordEvidence]) -> WordEvidence:
    """The evidence of several utterances as one. Raises `ScoringError` for none, or none with words."""
    if not any(len(part.is_correct) for part in parts):
        raise ScoringError("expected hypotheses with words to calibrate on, got none: the model recognises nothing")
    frames = _starts(np.array([len(part.labels) for part in parts]))
    runs = _starts(np.array([len(part.run_starts) for part in parts]))
    return WordEvidence(
        log_probs=np.concatenate([part.log_probs for part in parts]),
        labels=np.concatenate([part.labels for part in parts]),
        run_starts=np.concatenate([part.run_starts + first for part, first in zip(parts, frames)]),
        word_starts=np.concatenate([part.word_starts + first for part, first in zip(parts, runs)]),
        is_correct=np.concatenate([part.is_correct for part in parts]),
    )


def _starts(lengths: NDArray[np.integer[Any]]) -> NDArray[np.int64]:
    """Where each of some stretches begins when they lie one after another."""
    return np.cumsum(lengths, dtype=np.int64) - lengths


# ---- measures --------------------------------------------------------------------------------------------------------


def cross_entropy(confidences: Floats, is_correct: Bools) -> float:
    """Bits a word that the confidences leave open about which words are right. Raises `ScoringError` for no words."""
    if len(confidences) == 0:
        raise ScoringError("expected the confidences of some words, got none")
    right = np.clip(np.where(is_correct, confidences, 1.0 - confidences), MIN_PROBABILITY, 1.0)
    return float(-np.log2(right).mean())


def normalized_cross_entropy(confidences: Floats, is_correct: Bools) -> float:
    """NIST's measure of word confidences: 1 − H(confidences) / H(the share of right words as everyone's confidence).

    1 is perfect, 0 says as much as the word error rate alone, below 0 is worse than that (Siu & Gish 1999). A
    probability counts as `MIN_PROBABILITY` at least.

    Raises:
        ScoringError: there are no words, or all are right or all wrong: nothing is open then.
    """
    num_right = int(np.count_nonzero(is_correct))
    if num_right in (0, len(is_correct)):
        what = "right" if num_right else "wrong"
        raise ScoringError(
            f"all {len(is_correct)} recognised words are {what}, which leaves nothing for a confidence to tell; "
            "calibrate on a set where some are right and some wrong"
        )
    base = np.full(len(is_correct), num_right / len(is_correct))
    return 1.0 - cross_entropy(confidences, is_correct) / cross_entropy(base, is_correct)


@dataclass(frozen=True, slots=True)
class ReliabilityBin:
    """The words whose confidence is in [low, high), 1 included in the last bin; the means of no words are None."""

    low: float
    high: float
    num_words: int
    mean_confidence: float | None
    share_correct: float | None


def reliability_bins(confidences: Floats, is_correct: Bools, num_bins: int = NUM_BINS) -> list[ReliabilityBin]:
    """Words by confidence, in bins of equal width."""
    index = np.minimum((np.asarray(confidences) * num_bins).astype(np.int64), num_bins - 1)
    bins = []
    for number in range(num_bins):
        inside = index == number
        count = int(np.count_nonzero(inside))
        means = (float(confidences[inside].mean()), float(is_correct[inside].mean())) if count else (None, None)
        bins.append(ReliabilityBin(number / num_bins, (number + 1) / num_bins, count, *means))
    return bins


def expected_calibration_error(bins: Sequence[ReliabilityBin]) -> float:
    """The mean distance of confidence and share of right words, over words (Naeini et al. 2015); 0 for no words."""
    gaps = [b.num_words * abs(b.mean_confidence - b.share_correct) for b in bins if b.num_words]  # type: ignore[operator]
    return float(sum(gaps) / max(1, sum(b.num_words for b in bins)))


# ---- the temperature -------------------------------------------------------------------------------------------------


def fit_temperature(confidences_at: Callable[[float], Floats], is_correct: Bools) -> float:
    """The temperature with the smallest cross entropy: a grid for the valley, golden sections for its floor.

    confidences_at: temperature -> (W,) confidences.

    Raises:
        ScoringError: as `normalized_cross_entropy`.
    """
    normalized_cross_entropy(confidences_at(1.0), is_correct)  # raises where nothing can be fitted

    def loss(log_temperature: float) -> float:
        return cross_entropy(confidences_at(math.exp(log_temperature)), is_correct)

    grid = np.linspace(math.log(MIN_TEMPERATURE), math.log(MAX_TEMPERATURE), _GRID_POINTS)
    best = int(np.argmin([loss(float(point)) for point in grid]))
    low, high = float(grid[max(0, best - 1)]), float(grid[min(len(grid) - 1, best + 1)])
    return math.exp(_golden_section(loss, low, high))


def _golden_section(function: Callable[[float], float], low: float, high: float) -> float:
    """The place of a minimum between `low` and `high` (Kiefer 1953)."""
    left, right = high - _GOLDEN * (high - low), low + _GOLDEN * (high - low)
    at_left, at_right = function(left), function(right)
    while high - low > _LOG_TOLERANCE:
        if at_left <= at_right:
            high, right, at_right = right, left, at_left
            left = high - _GOLDEN * (high - low)
            at_left = function(left)
        else:
            low, left, at_left = left, right, at_right
            right = low + _GOLDEN * (high - low)
            at_right = function(right)
    return (low + high) / 2


# ---- the report ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Quality:
    """How good the confidences of some words are."""

    temperature: float
    nce: float
    ece: float
    bins: tuple[ReliabilityBin, ...]

    @classmethod
    def of(cls, evidence: WordEvidence, temperature: float) -> Quality:
        """Measure the confidences at a temperature."""
        confidences = evidence.confidences(temperature)
        bins = tuple(reliability_bins(confidences, evidence.is_correct))
        nce = normalized_cross_entropy(confidences, evidence.is_correct)
        return cls(temperature, nce, expected_calibration_error(bins), bins)


@dataclass(frozen=True)
class Calibration:
    """What fitting the temperature did to the confidences of a set's words."""

    num_words: int
    num_correct: int
    before: Quality  # at temperature 1
    after: Quality

    @classmethod
    def fit(cls, evidence: WordEvidence) -> Calibration:
        """Fit the temperature. Raises `ScoringError` where nothing can be fitted."""
        temperature = fit_temperature(evidence.confidences, evidence.is_correct)
        return cls(
            num_words=len(evidence.is_correct),
            num_correct=int(np.count_nonzero(evidence.is_correct)),
            before=Quality.of(evidence, 1.0),
            after=Quality.of(evidence, temperature),
        )

    def to_json(self) -> dict[str, Any]:
        """The object of calibration.json."""
        return {"confidence_temperature": self.after.temperature, **asdict(self)}


def draw_reliability(calibration: Calibration, path: Path, title: str) -> None:
    """Draw the share of right words against their confidence, and how many words there are, as PNG."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 7.5), layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=[3, 1])
    above.plot([0, 1], [0, 1], color="grey", linestyle="--", linewidth=1, label="perfect")
    for quality, name, color in ((calibration.before, "before", "C1"), (calibration.after, "after", "C0")):
        filled = [b for b in quality.bins if b.num_words]
        label = f"{name}: T = {quality.temperature:.2f}, NCE {quality.nce:.3f}, ECE {quality.ece:.3f}"
        means = [b.mean_confidence for b in filled]
        above.plot(means, [b.share_correct for b in filled], color=color, marker="o", label=label)
        edges = [b.low for b in quality.bins] + [1.0]
        below.stairs([b.num_words for b in quality.bins], edges, color=color, linewidth=1.5)
    above.set(title=title, ylabel="share of right words", xlim=(0, 1), ylim=(0, 1))
    above.legend(loc="best", fontsize="small")
    below.set(xlabel="confidence", ylabel="words", ylim=(0, None))
    for axis in (above, below):
        axis.grid(alpha=0.3)
    with replacing(path) as temporary:
        figure.savefig(temporary, format="png", dpi=110)
