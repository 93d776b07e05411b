"""The forward and backward passes of a step, as a function of (weights, batch, seed, step)."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, ExitStack

import numpy as np
import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from asr.processes import ALONE, Processes
from asr.training.gradient_sum import GradientSum
from asr.training.task import Step, Task
from asr.training.weight_noise import WeightNoise

STEP_STREAM = 4  # of random numbers; the others are in asr/augment/streams.py and asr/data
MOST_PARTS = 2**20  # of a process's share: tells the random numbers of parts and processes apart


class Gradients:
    """Gives the parameters of a task's model the gradient of a step, summed over its parts and over processes.

    model: the task's, as Fabric has set it up for the precision in use; weight_noise: standard deviation, 0 for none.
    """

    def __init__(
        self,
        fabric: Fabric,
        task: Task,
        model: nn.Module,
        seed: int,
        weight_noise: float = 0.0,
        processes: Processes = ALONE,
    ) -> None:
        self.fabric = fabric
        self.task = task
        self.model = model
        self.seed = seed
        self.weight_noise = WeightNoise(task.model, weight_noise, seed) if weight_noise else None
        self.processes = processes
        self.sum = GradientSum(task.model.parameters(), processes)

    def __call__(self, work: Step, step: int, watches: Sequence[AbstractContextManager[None]] = ()) -> Tensor:
        """Set the gradient of the mean loss a label; returns the whole step's loss in nats, a float64 scalar.

        `step` decides weight noise, and with the process and the part dropout. The watches are put around all passes,
        where the weights are those that the gradient is taken at, and end when it is complete.
        """
        nats = torch.zeros((), dtype=torch.float64, device=self.fabric.device)
        with ExitStack() as around:
            if self.weight_noise:
                around.enter_context(self.weight_noise.added(step))
            for watch in watches:
                around.enter_context(watch)
            for number, part in enumerate(work.parts):
                if number == len(work.parts) - 1:
                    self.sum.begin()
                nats += self.passes(part, work.num_labels, step, number)
            if not work.parts:
                self.sum.begin()
                self._clear()
            return self.sum.finish(nats)

    def _clear(self) -> None:
        """Zero gradients: what a process has of which no utterance is in the batch, alone or with others."""
        for parameter in self.task.model.parameters():
            if parameter.requires_grad:
                parameter.grad = torch.zeros_like(parameter)

    def passes(self, part: object, num_labels: int, step: int, number: int = 0) -> Tensor:
        """Add the gradient of one part, in this process alone; returns its loss in nats."""
        place = self.processes.rank * MOST_PARTS + number
        torch.manual_seed(int(np.random.SeedSequence((self.seed, step, STEP_STREAM, place)).generate_state(1)[0]))
        nats = self.task.loss(self.model, part)
        self.fabric.backward(nats / max(1, num_labels))
        return nats.detach()
