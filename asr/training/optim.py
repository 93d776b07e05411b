"""Optimisers and learning-rate schedules.

A schedule is a plain function of the step, and for `plateau` of the word error rates so far: nothing in it has to be
saved but the history that the run keeps anyway.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import nn


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


@dataclass(frozen=True, slots=True)
class Schedule:
    """The learning rate: linear warm-up over the first steps, and `name` over the whole run."""

    name: str  # cosine | plateau | constant
    lr: float
    warmup_steps: int
    final_lr_share: float
    plateau_factor: float = 0.5
    plateau_patience: int = 2

    def __post_init__(self) -> None:
        if self.name not in ("cosine", "plateau", "constant"):
            raise ValueError(f"expected schedule cosine, plateau or constant, got {self.name!r}")

    def __call__(self, step: int, progress: float, error_rates: Sequence[float]) -> float:
        """The rate for step 0, 1, …

        progress: the share of the run that is done, 0-1; error_rates: the validation results of the epochs so far.
        """
        warmth = min(1.0, (step + 1) / self.warmup_steps) if self.warmup_steps else 1.0
        match self.name:
            case "cosine":  # Loshchilov & Hutter 2017, without restarts
                share = 0.5 * (1 + math.cos(math.pi * progress))
                return self.lr * warmth * (self.final_lr_share + (1 - self.final_lr_share) * share)
            case "plateau":
                reductions = count_plateaus(error_rates, self.plateau_patience)
                return self.lr * warmth * max(self.final_lr_share, self.plateau_factor**reductions)
        return self.lr * warmth


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


def set_learning_rate(optimizer: torch.optim.Optimizer, lr: float) -> None:
    """Give every parameter group the same rate."""
    for group in optimizer.param_groups:
        group["lr"] = lr
