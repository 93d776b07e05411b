"""Optimisers and learning-rate schedules.

A schedule is a plain function of the step, and for `plateau` and `newbob` of the error rates so far: nothing in it has
to be saved but the history that the run keeps anyway.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import nn

from asr.training.course import Place


def make_optimizer(
    parameters: Iterable[nn.Parameter], name: str, *, lr: float, weight_decay: float, beta2: float, momentum: float
) -> torch.optim.Optimizer:
    """AdamW (Loshchilov & Hutter 2019), or gradient descent with momentum. Biases and norms are not decayed."""
    parameters = list(parameters)
    groups = [
        {"params": [p for p in parameters if p.dim() > 1], "weight_decay": weight_decay},
        {"params": [p for p in parameters if p.dim() <= 1], "weight_decay": 0.0},
    ]
    match name:
        case "adamw":
            return torch.optim.AdamW(groups, lr=lr, betas=(0.9, beta2))
        case "sgd":
            return torch.optim.SGD(groups, lr=lr, momentum=momentum)
    raise ValueError(f"expected optimizer adamw or sgd, got {name!r}")


SCHEDULES = ("cosine", "one_cycle", "plateau", "newbob", "constant")


@dataclass(frozen=True, slots=True)
class Schedule:
    """The learning rate: a linear warm-up, and `name` over the whole run.

    The warm-up takes `warmup_share` of the run, but no more than `warmup_steps` steps: however short a run is, it
    arrives at its rate, and a long one does not wait for it. 0 of either is none.
    A run that had ended and goes on begins again at `restart_share` of `lr` (a warm restart, Loshchilov & Hutter 2017),
    from where the rate falls to the final share along half a cosine.

    cosine: half a cosine from `lr` down to the final share of it (Loshchilov & Hutter 2017, without restarts).
    one_cycle: up from `start_lr_share` of `lr` to all of it, which `peak_share` of the run takes, and down to the
        final share, both along half a cosine (Smith & Topin 2019; the two phases of fastai and PyTorch).
    plateau: times `factor` after each `patience` epochs without a new best, down to the final share.
    newbob: constant until an epoch improves on the best by less than `threshold`, as a share of it; from then on
        times `factor` with every epoch (ICSI's QuickNet; EESEN, Miao et al. 2015), down to the final share.
    """

    name: str  # one of SCHEDULES
    lr: float
    final_lr_share: float
    warmup_share: float = 0.0
    warmup_steps: int = 0
    plateau_factor: float = 0.5
    plateau_patience: int = 2
    newbob_threshold: float = 0.005
    peak_share: float = 0.3
    start_lr_share: float = 0.04
    restart_share: float = 0.3

    def __post_init__(self) -> None:
        if self.name not in SCHEDULES:
            raise ValueError(f"expected schedule {', '.join(SCHEDULES[:-1])} or {SCHEDULES[-1]}, got {self.name!r}")
        if not 0.0 < self.peak_share < 1.0:
            raise ValueError(f"expected peak_share above 0 and below 1, got {self.peak_share}")

    def __call__(self, place: Place, error_rates: Sequence[float]) -> float:
        """The rate for the step at a place. error_rates: the validation results of the epochs so far."""
        return self.lr * self._warmth(place) * self._share(place, error_rates)

    def _warmth(self, place: Place) -> float:
        if self.warmup_steps == 0 or self.warmup_share == 0.0:
            return 1.0
        return min(1.0, max((place.step + 1) / self.warmup_steps, place.warmed / self.warmup_share))

    def _share(self, place: Place, error_rates: Sequence[float]) -> float:
        match self.name:
            case "cosine" | "one_cycle" if place.is_restarted:
                return half_cosine(max(self.restart_share, self.final_lr_share), self.final_lr_share, place.progress)
            case "cosine":
                return half_cosine(1.0, self.final_lr_share, place.progress)
            case "one_cycle":
                return self._cycle(place.progress)
            case "plateau":
                reductions = count_plateaus(error_rates, self.plateau_patience)
                return max(self.final_lr_share, self.plateau_factor**reductions)
            case "newbob":
                reductions = count_newbob(error_rates, self.newbob_threshold)
                return max(self.final_lr_share, self.plateau_factor**reductions)
        return 1.0

    def _cycle(self, progress: float) -> float:
        """The share of `lr`."""
        if progress < self.peak_share:
            return half_cosine(self.start_lr_share, 1.0, progress / self.peak_share)
        return half_cosine(1.0, self.final_lr_share, (progress - self.peak_share) / (1.0 - self.peak_share))


def half_cosine(start: float, end: float, progress: float) -> float:
    """From `start` to `end` along half a cosine, as progress goes from 0 to 1."""
    share = 0.5 * (1 + math.cos(math.pi * progress))
    return end + (start - end) * share


def count_plateaus(error_rates: Sequence[float], patience: int) -> int:
    """How often `patience` epochs in a row brought no new best; each time the count starts anew.

    >>> count_plateaus([0.5, 0.4, 0.41, 0.42, 0.39], patience=2)
    1
    """
    best, waited, plateaus = math.inf, 0, 0
    for rate in error_rates:
        if rate < best:
            best, waited = rate, 0
        else:
            waited += 1
        if waited >= patience:
            plateaus, waited = plateaus + 1, 0
    return plateaus


def count_newbob(error_rates: Sequence[float], threshold: float) -> int:
    """How many epochs there are from the first one on that improved on the best before by less than `threshold` of it.

    >>> count_newbob([0.5, 0.4, 0.399, 0.3, 0.2], threshold=0.005)
    3
    """
    best = math.inf
    for epoch, rate in enumerate(error_rates):
        if epoch > 0 and best - rate < threshold * best:
            return len(error_rates) - epoch
        best = min(best, rate)
    return 0


def set_learning_rate(optimizer: torch.optim.Optimizer, lr: float) -> None:
    """Give every parameter group the same rate."""
    for group in optimizer.param_groups:
        group["lr"] = lr
