"""An exponential moving average of the weights, which is validated and exported in their place.

Polyak & Juditsky 1992: the average of a run's weights is a better estimate than the last of them. The decay grows with
the number of updates, min(d, (1 + n) / (10 + n)), so that the random beginning is soon forgotten (TensorFlow's rule).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn


class WeightAverage:
    """The average of a model's weights over its optimiser steps, ā ← d ā + (1 - d) w, in float32.

    Buffers, such as the running statistics of batch norm, are averages already and stay the model's own.

    Raises `ValueError` when `decay` is not above 0 and below 1.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        if not 0.0 < decay < 1.0:
            raise ValueError(f"expected a decay above 0 and below 1, got {decay}")
        self.names = [name for name, _ in model.named_parameters()]
        self.weights = [parameter for _, parameter in model.named_parameters()]
        self.decay = decay
        self.start()

    @torch.no_grad()
    def start(self) -> None:
        """Begin at the weights as they are now."""
        self.average = [weight.detach().float().clone() for weight in self.weights]
        self.num_updates = torch.zeros((), dtype=torch.int64, device=self.average[0].device)

    @torch.no_grad()
    def update(self, applied: Tensor) -> None:
        """Move towards the weights after a step; applied: (), bool on the device: a skipped step does not count."""
        decay = ((1 + self.num_updates) / (10 + self.num_updates)).clamp(max=self.decay)
        share = torch.where(applied, 1 - decay, 0.0).float()
        difference = torch._foreach_sub([weight.float() for weight in self.weights], self.average)
        torch._foreach_mul_(difference, share)
        torch._foreach_add_(self.average, difference)
        self.num_updates += applied

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """Inside the block the model has the average; after it its own weights, to the bit."""
        own = [weight.detach().clone() for weight in self.weights]
        self._put(self.average)
        try:
            yield
        finally:
            self._put(own)

    @torch.no_grad()
    def _put(self, values: list[Tensor]) -> None:
        for weight, value in zip(self.weights, values, strict=True):
            weight.copy_(value)

    def state(self) -> dict[str, Tensor]:
        """What a checkpoint has to hold."""
        return dict(zip(self.names, self.average, strict=True)) | {"num_updates": self.num_updates}

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Take up `state` again."""
        for average, name in zip(self.average, self.names, strict=True):
            average.copy_(state[name])
        self.num_updates.copy_(state["num_updates"])
