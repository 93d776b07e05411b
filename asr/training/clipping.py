"""Gradient clipping: what keeps one exploding gradient from undoing the training so far."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

SMALLEST_NORM = 1e-3  # of a unit's weights, Brock et al.'s ε: weights that begin at zero must be able to move


@dataclass(frozen=True, slots=True)
class Clipping:
    """How gradients are limited between the backward pass and the optimiser's step.

    norm: all gradients together are scaled to a norm of at most `limit` (Pascanu, Mikolov & Bengio 2013).
    value: every component is cut off at ±`limit` (Mikolov 2012).
    adaptive: a unit's gradient, a row of a matrix or a whole vector, has at most `limit` times the norm of the unit's
        own weights (Brock, De, Smith & Simonyan 2021).
    """

    name: str  # norm | value | adaptive
    limit: float

    def __post_init__(self) -> None:
        if self.name not in ("norm", "value", "adaptive"):
            raise ValueError(f"expected clipping norm, value or adaptive, got {self.name!r}")
        if not self.limit > 0:
            raise ValueError(f"expected a limit above 0, got {self.limit}")

    def __call__(self, parameters: Iterable[nn.Parameter]) -> Tensor:
        """Clip the gradients in place; returns the norm they all had together before, a scalar on their device.

        A gradient that is not finite has a norm that is not: the step is then to be skipped.
        """
        parameters = [parameter for parameter in parameters if parameter.grad is not None]
        if self.name == "norm":
            return nn.utils.clip_grad_norm_(parameters, self.limit)
        gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
        norm = nn.utils.get_total_norm(gradients)
        if self.name == "value":
            nn.utils.clip_grad_value_(parameters, self.limit)
            return norm
        for parameter, gradient in zip(parameters, gradients, strict=True):
            limit = self.limit * unit_norms(parameter.detach()).clamp(min=SMALLEST_NORM)
            gradient.mul_((limit / unit_norms(gradient).clamp(min=torch.finfo(gradient.dtype).tiny)).clamp(max=1.0))
        return norm


def unit_norms(tensor: Tensor) -> Tensor:
    """Norms that broadcast against `tensor`: of each row (first index), or of the whole vector."""
    axes = tuple(range(1, tensor.dim())) if tensor.dim() > 1 else None
    norms: Tensor = torch.linalg.vector_norm(tensor, dim=axes, keepdim=True)
    return norms
