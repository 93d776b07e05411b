"""Batch normalisation of padded sequences."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import torch
from torch import Tensor, nn

from asr.models.masking import zero_padding


class SequenceBatchNorm(nn.Module):
    """Sequence-wise batch norm (Laurent et al. 2016; Deep Speech 2, Amodei et al. 2016), masked by length.

    In training a feature has the mean and variance of all valid frames of the batch; in evaluation the running ones,
    so that an utterance's result depends on no other. Padding enters no statistic. Processes that train together
    share their sums, and so normalise as one process with the whole batch would.

    Running statistics are buffers, which weights files and checkpoints hold. A batch that is not finite leaves them
    alone: the loop skips its step, and they must not remember it either.
    """

    MOMENTUM = 0.1
    EPSILON = 1e-5

    running_mean: Tensor
    running_var: Tensor

    def __init__(self, num_features: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(num_features))
        self.bias = nn.Parameter(torch.zeros(num_features))
        self.register_buffer("running_mean", torch.zeros(num_features))
        self.register_buffer("running_var", torch.ones(num_features))

    def forward(self, frames: Tensor, lengths: Tensor) -> Tensor:
        """(B, T, …, F) -> the same shape and type, computed in float32; statistics over all axes but the last."""
        values = zero_padding(frames.float(), lengths)
        mean, variance = self.running_mean, self.running_var
        if self.training:
            mean, variance = self._batch_statistics(values, lengths)
        scale = self.weight * torch.rsqrt(variance + self.EPSILON)
        return ((values - mean) * scale + self.bias).to(frames.dtype)

    def _batch_statistics(self, values: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and biased variance, both (F,); the running statistics take their share of them."""
        axes = tuple(range(values.dim() - 1))
        inner_size = math.prod(values.shape[2:-1])  # places of a frame that share a feature's statistics
        count = lengths.clamp(max=values.shape[1]).sum()[None] * inner_size
        sums = summed_over_processes(torch.cat((values.sum(axes), count.to(values))))
        count = sums[-1].detach()
        mean = sums[:-1] / count.clamp(min=1)
        squares = zero_padding((values - mean).square(), lengths).sum(axes)
        variance = summed_over_processes(squares) / count.clamp(min=1)
        self._remember(mean.detach(), variance.detach() * count / (count - 1).clamp(min=1), count)
        return mean, variance

    @torch.no_grad()
    def _remember(self, mean: Tensor, unbiased_variance: Tensor, count: Tensor) -> None:
        """Move the running statistics towards a batch's, without waiting for the device."""
        usable = (count > 0) & mean.isfinite().all() & unbiased_variance.isfinite().all()
        for running, new in ((self.running_mean, mean), (self.running_var, unbiased_variance)):
            running.copy_(torch.where(usable, torch.lerp(running, new, self.MOMENTUM), running))


_apart: ContextVar[bool] = ContextVar("_apart", default=False)


@contextmanager
def statistics_of_this_process() -> Iterator[None]:
    """Inside the block batch norm waits for no other process: one that runs out of memory leaves none hanging."""
    token = _apart.set(True)
    try:
        yield
    finally:
        _apart.reset(token)


def summed_over_processes(tensor: Tensor) -> Tensor:
    """The sum over all processes that train together, with its gradient; alone, the tensor itself."""
    if _apart.get():
        return tensor
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        from torch.distributed.nn import all_reduce

        summed: Tensor = all_reduce(tensor)  # type: ignore[no-untyped-call]
        return summed
    return tensor
