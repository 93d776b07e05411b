"""How far gradients reach: |∂ log p(token at t) / ∂ x(t − k)| against k.

x is the input of the recurrent stack, one vector for each of its steps. In a network with one recurrent layer the
gradient runs through k products with its Jacobian, and so falls or grows like a power of k (Hochreiter 1991, Bengio,
Simard & Frasconi 1994, Pascanu, Mikolov & Bengio 2013): exp(−k/τ), where τ is the time constant.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from asr.errors import ModelError
from asr.inspection.subjects import Place, Subject, exact_copy, logits_in_full, spread
from asr.models.acoustic import AcousticModel
from asr.progress import track
from asr.types import Seconds

Floats = NDArray[np.float64]
Side = Literal["past", "future"]

MIN_SHARE = 0.25  # of all positions: a distance to which fewer look says more about where they lie than about the model
FAINTEST = 1e-3  # of the peak: the decay is fitted down to here, where it still matters
LONGEST_SECONDS = 10.0  # a time constant above this is no decay within an utterance
BULK = 0.9  # of the sum of all gradients, within the distance that is called the reach


def gradient_norms(model: AcousticModel, features: Tensor, places: Sequence[Place]) -> Floats:
    """|∂ log p(token at frame) / ∂ x(s)| for each place and each input frame s, the Euclidean norm over x's entries.

    Args:
        model: from `exact_copy`
        features: (T, F)
        places: U tokens with their output frames

    Returns (U, T'). Each place is a row of one batch, as rows do not see each other: one backward pass for all.
    """
    length = torch.tensor([len(features)])
    with torch.no_grad():
        frames = model.frontend(features[None].to(model.output.weight.dtype), length)  # (1, T', input_size)
    inputs = frames.expand(len(places), -1, -1).clone().requires_grad_()
    log_probs = logits_in_full(model, inputs, model.frontend.num_output_frames(length).expand(len(places)))
    rows = torch.arange(len(places))
    chosen = log_probs[rows, [place.frame for place in places], [place.token for place in places]]
    (gradient,) = torch.autograd.grad(chosen.sum(), inputs)
    norms: Floats = gradient.norm(dim=-1).numpy()
    return norms


@dataclass(frozen=True, slots=True)
class Decay:
    """The line fitted to the logarithm of one side of a curve."""

    factor_per_frame: float  # what one frame more makes of the gradient; above 1 it grows
    r_squared: float  # 1: exactly exponential
    first_frame: int  # where the fit begins, and ends
    last_frame: int

    @property
    def time_constant_frames(self) -> float | None:
        """In how many frames it falls by the factor e; None where it does not fall."""
        return -1.0 / math.log(self.factor_per_frame) if 0.0 < self.factor_per_frame < 1.0 else None


@dataclass(frozen=True, slots=True, eq=False)
class Curve:
    """One side of the reach. Index k: k frames away from the token's own, which is in both sides as k = 0."""

    num_positions: NDArray[np.int64]  # (K,) how many tokens have a frame that far away
    absolute: Floats  # (K,) arithmetic mean: a token that the model is unsure of has larger gradients, and counts more
    relative: Floats  # (K,) geometric mean over its own peak: each token counts by its shape alone

    @property
    def is_zero(self) -> bool:
        """Whether nothing but the token's own frame plays a part, as towards the future of a one-directional model."""
        return not self.relative[1:].any()

    @property
    def reach_frames(self) -> int:
        """The distance of the last of the frames that together, from the token's own on, hold 90 % of the side."""
        total = np.cumsum(self.relative)
        return int(np.searchsorted(total, BULK * total[-1]))

    def decay(self) -> Decay | None:
        """The exponential nearest to the curve, by least squares on its logarithm; None where there is nothing to fit.

        From the peak down to `FAINTEST` of it. Where the peak is in the far half, the curve is one that grows, and all
        of it is fitted.
        """
        peak = int(self.relative.argmax())
        first = 0 if 2 * peak > len(self.relative) - 1 else peak
        faint = np.flatnonzero(self.relative[peak:] < FAINTEST)
        last = peak + int(faint[0]) if len(faint) else len(self.relative) - 1
        distances = np.arange(first, last + 1)
        values = self.relative[first : last + 1]
        distances, values = distances[values > 0], values[values > 0]
        if len(values) < 3:
            return None
        slope, offset = np.polyfit(distances, np.log(values), 1)
        residual = np.log(values) - (slope * distances + offset)
        spread_of_logs = float(np.square(np.log(values) - np.log(values).mean()).sum())
        r_squared = 1.0 if spread_of_logs == 0.0 else 1.0 - float(np.square(residual).sum()) / spread_of_logs
        return Decay(math.exp(slope), r_squared, first, int(distances[-1]))


@dataclass(frozen=True, slots=True, eq=False)
class Reach:
    """How far gradients reach into the past and into the future of a token."""

    past: Curve
    future: Curve
    frame_seconds: Seconds

    def side(self, side: Side) -> Curve:
        """One of the two."""
        return self.past if side == "past" else self.future

    def sentence(self, side: Side) -> str:
        """What the side's curve means."""
        return describe(self.side(side), side, self.frame_seconds)

    def to_json(self) -> dict[str, Any]:
        """The object of figures.json."""
        return {side: self._side_json(side) for side in ("past", "future")}

    def _side_json(self, side: Side) -> dict[str, Any]:
        curve = self.side(side)
        decay = None if curve.is_zero else curve.decay()
        frames = None if decay is None else decay.time_constant_frames
        return {
            "sentence": self.sentence(side),
            "time_constant_frames": frames,
            "time_constant_ms": None if frames is None else 1000 * frames * self.frame_seconds,
            "factor_per_frame": None if decay is None else decay.factor_per_frame,
            "r_squared": None if decay is None else decay.r_squared,
            "fitted_frames": None if decay is None else [decay.first_frame, decay.last_frame],
            "reach_frames": curve.reach_frames,
            "reach_ms": 1000 * curve.reach_frames * self.frame_seconds,
            "num_positions": curve.num_positions.tolist(),
            "absolute": curve.absolute.tolist(),
            "relative": curve.relative.tolist(),
        }


def describe(curve: Curve, side: Side, frame_seconds: Seconds) -> str:
    """A sentence on what a side's time constant means."""
    if curve.is_zero:
        return f"Nothing of the {side} plays a part: the model has no direction that brings it."
    decay = curve.decay()
    if decay is None:
        return f"Too few frames lie in the {side} to fit a decay."
    seconds = None if decay.time_constant_frames is None else decay.time_constant_frames * frame_seconds
    if seconds is None or seconds > LONGEST_SECONDS:
        how = "grows: the gradient explodes" if decay.factor_per_frame > 1.001 else "neither falls nor grows"
        return f"Towards the {side} the influence of a frame {how}, by {decay.factor_per_frame:.4g} a frame."
    within = curve.reach_frames + 1
    left = math.exp(max(-700.0, math.log(decay.factor_per_frame) / frame_seconds))
    return (
        f"Towards the {side} the influence of a frame falls by e every {decay.time_constant_frames:.1f} frames "
        f"({1000 * seconds:.0f} ms), and a second away {left:.1g} of it is left; "
        f"{BULK:.0%} of it lies within {within} frames ({1000 * within * frame_seconds:.0f} ms)."
    )


def reach(
    model: AcousticModel,
    subjects: Sequence[Subject],
    frame_seconds: Seconds,
    max_places: int,
    show_progress: bool = False,
) -> Reach:
    """The mean over at most `max_places` tokens of each subject.

    The tokens and their frames are the subjects' own, whatever `model` would make of them, so that a model and its
    beginnings are compared at the same places.

    Raises:
        ModelError: no subject has a token.
    """
    model = exact_copy(model)
    rows: dict[Side, list[Floats]] = {"past": [], "future": []}
    for subject in track(subjects, "gradients", shown=show_progress):
        places = spread(subject.places, max_places)
        if places:
            for place, norms in zip(places, gradient_norms(model, subject.features, places)):
                rows["past"].append(norms[place.frame :: -1])
                rows["future"].append(norms[place.frame :])
    if not rows["past"]:
        raise ModelError(
            f"expected tokens to look from, got none: the model recognises nothing in {len(subjects)} utterances"
        )
    return Reach(mean_curve(rows["past"]), mean_curve(rows["future"]), frame_seconds)


def mean_curve(rows: Sequence[Floats]) -> Curve:
    """The means of curves of unequal lengths, as far as `MIN_SHARE` of them go."""
    lengths = np.array([len(row) for row in rows])
    counts = np.array([int((lengths > k).sum()) for k in range(lengths.max())])
    size = int((counts >= max(1.0, MIN_SHARE * len(rows))).sum())
    table = np.full((len(rows), size), np.nan)
    for number, row in enumerate(rows):
        table[number, : len(row)] = row[:size]
    with np.errstate(divide="ignore"):
        logs = np.nanmean(np.log(table), axis=0)  # −inf where a gradient is exactly zero
    highest = logs.max()
    relative = np.exp(logs - highest) if np.isfinite(highest) else np.zeros(size)
    return Curve(counts[:size], np.nanmean(table, axis=0), relative)
