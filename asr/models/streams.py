"""Two independent computations at a time on a GPU."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import cache
from typing import NamedTuple

import torch
from torch import Tensor


class Pair(NamedTuple):
    """The results of two computations."""

    first: Tensor
    second: Tensor


def side_by_side(
    first: Callable[[], Tensor], second: Callable[[], Tensor], inputs: Sequence[Tensor], parameters: Iterable[Tensor]
) -> Pair:
    """Both results; on a GPU, `second` is queued on a stream of its own and may run while `first` does.

    A recurrent layer is thousands of small kernels one after the other, each of which leaves most of a GPU idle. What
    comes after this call waits for both. Autograd runs each backward pass on the stream of its forward pass, and lets
    one stream wait for the other where a gradient crosses; so the backward passes overlap as well.

    inputs, parameters: what `second` reads; the inputs lie on the device that decides.
    """
    device = inputs[0].device
    if device.type != "cuda":
        return Pair(first(), second())
    return fork_and_join(first, second, inputs, parameters, torch.cuda.current_stream(device), _side_stream(device))


def fork_and_join(
    first: Callable[[], Tensor],
    second: Callable[[], Tensor],
    inputs: Iterable[Tensor],
    parameters: Iterable[Tensor],
    main: torch.cuda.Stream,
    side: torch.cuda.Stream,
) -> Pair:
    """`side_by_side` on two given streams, of which `main` is the current one."""
    # A parameter's gradient comes together on the stream where the parameter was first used: this one. Whoever takes
    # gradients during the backward pass, to sum them over processes for instance, need not know of the other.
    first_uses = [parameter.view_as(parameter) for parameter in parameters]
    side.wait_stream(main)  # for the inputs, and before `first` is queued
    result = first()
    with torch.cuda.stream(side):
        beside = second()
    main.wait_stream(side)
    # Memory goes back to the stream it was made on, which must not use it again while the other one reads it.
    for tensor in inputs:
        tensor.record_stream(side)
    beside.record_stream(main)
    del first_uses  # the graph of `second` now holds what they have begun
    return Pair(result, beside)


@cache
def _side_stream(device: torch.device) -> torch.cuda.Stream:
    """One for each device."""
    torch.autograd.graph.set_warn_on_accumulate_grad_stream_mismatch(False)  # it is on purpose, see above
    return torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
