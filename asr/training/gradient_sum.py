"""The sum of the gradients of processes that train together, taken while the backward pass still runs.

What torch's DistributedDataParallel does, but for three things. Buckets follow from the parameters alone and never
change, so that the order of summation, and with it every bit of the result, is the same after a restart; a process that
has no part of a batch takes part with zeros; and sums stay sums, as the loss is divided by the labels of all.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch import distributed as dist

from asr.processes import Processes

BUCKET_BYTES = 25 * 2**20  # as DistributedDataParallel's: large enough for the network, small enough to begin early


@dataclass
class Bucket:
    """Parameters whose gradients travel together."""

    parameters: list[nn.Parameter] = field(default_factory=list)
    num_missing: int = 0  # gradients that the backward pass has not finished
    summed: Tensor | None = None
    work: dist.Work | None = None

    @property
    def num_bytes(self) -> int:
        """What they weigh."""
        return sum(parameter.numel() * parameter.element_size() for parameter in self.parameters)


class GradientSum:
    """Gives all processes the sum of their gradients. Alone it does nothing.

    Between `begin` and `finish` lies the backward pass that completes the gradients, if there is one.
    """

    def __init__(
        self, parameters: Iterable[nn.Parameter], processes: Processes, bucket_bytes: int = BUCKET_BYTES
    ) -> None:
        self.processes = processes
        trained = [parameter for parameter in parameters if parameter.requires_grad]
        # The last layers' gradients are there first.
        self.buckets = [] if processes.is_alone else fill_buckets(trained[::-1], bucket_bytes)
        self._bucket_of = {parameter: bucket for bucket in self.buckets for parameter in bucket.parameters}
        self._num_sent: int | None = None  # buckets on their way; None outside begin and finish
        for parameter in self._bucket_of:
            parameter.register_post_accumulate_grad_hook(self._arrived)  # type: ignore[no-untyped-call]

    def begin(self) -> None:
        """The next backward pass completes the gradients: send them as they come."""
        self._num_sent = 0
        for bucket in self.buckets:
            bucket.num_missing = len(bucket.parameters)

    def finish(self, nats: Tensor) -> Tensor:
        """Wait until every parameter's gradient is the sum; returns the sum of `nats`, a scalar."""
        if self.processes.is_alone:
            return nats
        assert self._num_sent is not None, "begin comes first"
        for bucket in self.buckets[self._num_sent :]:
            _send(bucket)
        dist.all_reduce(nats)
        for bucket in self.buckets:
            _receive(bucket)
        self._num_sent = None
        return nats

    def _arrived(self, parameter: Tensor) -> None:
        if self._num_sent is None:
            return
        self._bucket_of[parameter].num_missing -= 1  # type: ignore[index]
        # In one order in all processes, or they would wait for each other.
        while self._num_sent < len(self.buckets) and self.buckets[self._num_sent].num_missing == 0:
            _send(self.buckets[self._num_sent])
            self._num_sent += 1


def fill_buckets(parameters: Iterable[nn.Parameter], bucket_bytes: int) -> list[Bucket]:
    """Parameters in order, as many a bucket as `bucket_bytes` allow and at least one, of one type each."""
    buckets: list[Bucket] = []
    for parameter in parameters:
        size = parameter.numel() * parameter.element_size()
        is_full = not buckets or buckets[-1].num_bytes + size > bucket_bytes
        if is_full or buckets[-1].parameters[0].dtype != parameter.dtype:
            buckets.append(Bucket())
        buckets[-1].parameters.append(parameter)
    return buckets


def _send(bucket: Bucket) -> None:
    """Begin to add up the bucket's gradients; one that is not there counts as zero."""
    gradients = [torch.zeros_like(p) if p.grad is None else p.grad for p in bucket.parameters]
    bucket.summed = torch.cat([gradient.reshape(-1) for gradient in gradients])
    bucket.work = dist.all_reduce(bucket.summed, async_op=True)


def _receive(bucket: Bucket) -> None:
    """Wait for the sum, and make it the parameters' gradients."""
    assert bucket.work is not None
    assert bucket.summed is not None
    bucket.work.wait()
    pieces = torch.split(bucket.summed, [parameter.numel() for parameter in bucket.parameters])
    for parameter, piece in zip(bucket.parameters, pieces, strict=True):
        parameter.grad = piece.view_as(parameter)
    bucket.summed, bucket.work = None, None
