"""The forward and backward pass of a step, as a function of (weights, batch, seed, step)."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, ExitStack
from typing import Any

import numpy as np
import torch
from lightning_fabric import Fabric
from torch import nn

from asr.training.task import StepLoss, Task
from asr.training.weight_noise import WeightNoise

STEP_STREAM = 4  # of random numbers; the others are in asr/augment/streams.py and asr/data


class Gradients:
    """Gives the parameters of a task's model the gradient of a batch.

    model: the task's, as Fabric has set it up for the precision in use; weight_noise: standard deviation, 0 for none.
    """

    def __init__(self, fabric: Fabric, task: Task, model: nn.Module, seed: int, weight_noise: float = 0.0) -> None:
        self.fabric = fabric
        self.task = task
        self.model = model
        self.seed = seed
        self.weight_noise = WeightNoise(task.model, weight_noise, seed) if weight_noise else None

    def __call__(self, batch: Any, step: int, watches: Sequence[AbstractContextManager[None]] = ()) -> StepLoss:
        """Add the gradient of the mean loss a label; returns the loss. `step` decides dropout and weight noise.

        The watches are put around both passes, where the weights are those that the gradient is taken at.
        """
        torch.manual_seed(int(np.random.SeedSequence((self.seed, step, STEP_STREAM)).generate_state(1)[0]))
        with ExitStack() as around:
            if self.weight_noise:
                around.enter_context(self.weight_noise.added(step))
            for watch in watches:
                around.enter_context(watch)
            loss = self.task.loss(self.model, batch)
            self.fabric.backward(loss.nats / max(1, loss.num_labels))
        return loss
