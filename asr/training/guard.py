"""Steps whose loss or gradient is not finite are left out, and that is decided where they are computed.

The optimisers' fused kernels do nothing when `found_inf` is 1; so a bad step leaves weights and moments as they were,
and nobody has to wait for the device to know. The host reads back what the steps came to every so often.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class StepInfo:
    """What the host knows of a step when it is queued."""

    step: int
    batch: int  # in the epoch
    num_labels: int
    lr: float


@dataclass(frozen=True, slots=True)
class StepOutcome:
    """What a step came to."""

    info: StepInfo
    nats: float  # summed over the labels
    grad_norm: float  # before clipping
    was_applied: bool

    @property
    def values(self) -> dict[str, float]:
        """The figures that are recorded: the loss is in nats a label."""
        return {"loss": self.nats / max(1, self.info.num_labels), "lr": self.info.lr, "grad_norm": self.grad_norm}


class StepGuard:
    """Lets `optimizer` make the steps whose loss and gradient are finite, and no other.

    After `patience` bad steps in a row it lets none through, finite or not: the weights stay those that the last of
    them had, however late the host looks. The count is a tensor, and part of what a checkpoint has to hold.

    Raises `ValueError` for an optimiser without such a kernel.
    """

    def __init__(self, optimizer: torch.optim.Optimizer, patience: int, device: torch.device) -> None:
        if not isinstance(optimizer, (torch.optim.Adam, torch.optim.SGD)):  # AdamW is an Adam
            raise ValueError(f"expected AdamW, Adam or SGD, which can skip a step, got {type(optimizer).__name__}")
        for group in optimizer.param_groups:
            group["fused"], group["foreach"] = True, False  # only the fused kernels look at `found_inf`
        if isinstance(optimizer, torch.optim.SGD):
            _start_momentum(optimizer)
        self.optimizer = optimizer
        self.patience = patience
        self.in_a_row = torch.zeros((), dtype=torch.int64, device=device)  # steps that were not applied
        self._queued: list[tuple[StepInfo, Tensor]] = []

    def judge(self, info: StepInfo, nats: Tensor, grad_norm: Tensor) -> Tensor:
        """Decide, on the device, whether the step that comes next is applied. The only place where that is decided.

        nats, grad_norm: of all processes together, so that all decide alike. Returns a bool scalar on the device.
        """
        is_finite = torch.isfinite(nats) & torch.isfinite(grad_norm)
        applied = is_finite & (self.in_a_row < self.patience)
        self.in_a_row = torch.where(applied, 0, self.in_a_row + 1)
        self.optimizer.found_inf = (~applied).float()  # type: ignore[union-attr]
        self._queued.append((info, torch.stack([nats.detach().double(), grad_norm.double(), applied.double()])))
        return applied

    def read(self) -> list[StepOutcome]:
        """What the steps since the last reading came to, oldest first; waits for the device."""
        if not self._queued:
            return []
        rows = torch.stack([values for _, values in self._queued]).tolist()
        outcomes = [StepOutcome(info, nats, norm, bool(ok)) for (info, _), (nats, norm, ok) in zip(self._queued, rows)]
        self._queued.clear()
        return outcomes

    def restore(self, in_a_row: int) -> None:
        """Take up the count that a checkpoint holds."""
        self.in_a_row.fill_(in_a_row)


def _start_momentum(optimizer: torch.optim.SGD) -> None:
    """Begin with zero velocities, which is the same: the kernel would leave those of a skipped first step unset."""
    for group in optimizer.param_groups:
        for parameter in group["params"] if group["momentum"] else ():
            optimizer.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter)
