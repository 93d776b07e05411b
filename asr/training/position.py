"""Where a run is, and the checkpoints from which it goes on."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from asr.processes import ALONE, Processes
from asr.training.checkpoint import (
    list_checkpoints,
    load_checkpoint,
    load_newest,
    optimizer_tensors,
    remove_all_but,
    restore_optimizer,
    save_checkpoint,
)
from asr.training.ema import WeightAverage
from asr.training.task import Task

KEPT_RESUME_CHECKPOINTS = 2


@dataclass
class Position:
    """Where a run is; with the weights, the optimiser's moments and the task's tensors, all of a checkpoint."""

    epoch: int = 0
    batch: int = 0  # in the epoch
    step: int = 0  # optimiser steps since the beginning
    epoch_loss: float = 0.0  # nats, summed over the epoch so far
    epoch_labels: int = 0
    epoch_lr: float = 0.0  # the highest learning rate of the epoch so far
    skipped_steps: int = 0
    seconds: float = 0.0  # that the run has taken so far
    nonfinite_in_a_row: int = 0  # steps skipped since the last one that was not
    error_rates: list[float] = field(default_factory=list)  # of each epoch: what ranks it, see `selection.ranked`
    losses: list[float] = field(default_factory=list)  # validation loss of each epoch


def save_position(
    directory: Path,
    position: Position,
    task: Task,
    carried: Mapping[str, Tensor],
    optimizer: torch.optim.Optimizer,
    average: WeightAverage | None = None,
) -> None:
    """Write what exact resumption needs; the last two such checkpoints are kept.

    carried: what `task.carried` gave, for which all processes are needed.
    """
    tensors = with_prefix("model.", task.model.state_dict())
    tensors |= optimizer_tensors(optimizer)
    tensors |= with_prefix("carried.", carried)
    tensors |= with_prefix("average.", average.state()) if average is not None else {}
    save_checkpoint(directory, "resume", position.step, tensors, asdict(position))
    remove_all_but(directory, "resume", list_checkpoints(directory, "resume")[-KEPT_RESUME_CHECKPOINTS:])


def restore_position(
    directory: Path,
    task: Task,
    optimizer: torch.optim.Optimizer,
    note: Callable[[str], None],
    average: WeightAverage | None = None,
    processes: Processes = ALONE,
) -> Position | None:
    """Take up the newest whole checkpoint; `note` hears of damaged ones. None when there is none."""
    checkpoint = load_newest(directory, "resume", on_damage=note) if processes.is_leader else None
    path = processes.from_leader(checkpoint.path if checkpoint is not None else None)
    if path is None:
        return None
    checkpoint = checkpoint or load_checkpoint(path)
    task.model.load_state_dict(without_prefix("model.", checkpoint.tensors))
    restore_optimizer(optimizer, checkpoint.tensors)
    task.restore(without_prefix("carried.", checkpoint.tensors))
    if average is not None:
        average.restore(without_prefix("average.", checkpoint.tensors))
    return Position(**checkpoint.state)


def with_prefix(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Named tensors as one part of a checkpoint."""
    return {f"{prefix}{name}": tensor for name, tensor in tensors.items()}


def without_prefix(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """One part of a checkpoint, under its own names."""
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
