"""Monitors that look into a model while it is trained, every so many steps.

The loop knows of them one thing: `watch(step, epoch)` is put around the forward and the backward pass of a step.
On all other steps that costs nothing, and on a watched one a single copy from the device.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

import torch
from torch import Tensor, nn

from asr.inspection.gates import recorded, use_of_gates
from asr.models.acoustic import AcousticModel
from asr.models.recurrent import RecurrentLayer

Record = Callable[[int, int, dict[str, float]], None]  # step, epoch, figures by name: history and TensorBoard
Watch = Callable[[int, int], AbstractContextManager[None]]  # step, epoch: what the loop puts around a step's passes

ALL = "all"  # the norm of the whole gradient, beside those of the layers
GRADIENT, CLIP_SCALE, GATE = "gradient/", "clip_scale", "gate/"
_CLIP_EPSILON = 1e-6  # that of torch.nn.utils.clip_grad_norm_


def layer_of(parameter: str) -> str:
    """The layer that a parameter's gradient is counted with.

    >>> [layer_of(name) for name in ("encoder.layers.0.forward_rnn.weight_ih_l0", "output.bias")]
    ['layer 1', 'output']
    """
    numbered = re.search(r"\blayers\.(\d+)\.", parameter)
    return f"layer {int(numbered[1]) + 1}" if numbered else parameter.split(".")[0]


def gradient_norms_by_layer(model: nn.Module) -> dict[str, float]:
    """The Euclidean norm of each layer's gradient, and of `ALL` together; parameters without one are left out."""
    squares: dict[str, list[Tensor]] = {}
    for name, parameter in model.named_parameters():
        if parameter.grad is not None:
            squares.setdefault(layer_of(name), []).append(parameter.grad.detach().float().square().sum())
    if not squares:
        return {}
    sums = torch.stack([torch.stack(parts).sum() for parts in squares.values()]).tolist()  # one copy from the device
    norms = {name: math.sqrt(value) for name, value in zip(squares, sums)}
    return {**norms, ALL: math.sqrt(sum(sums))}


def clip_scale(norm: float, clip_norm: float) -> float:
    """What clipping multiplies a gradient of this norm with (Pascanu, Mikolov & Bengio 2013)."""
    return min(1.0, clip_norm / (norm + _CLIP_EPSILON))


def training_watches(model: AcousticModel, clip_norm: float, every_steps: int, record: Record) -> list[Watch]:
    """The monitors of a training, for the loop. With weight drop the gates are left out: see `GateMonitor`."""
    watches: list[Watch] = [GradientMonitor(model, clip_norm, every_steps, record).watch]
    if not _drops_weights(model):
        watches.append(GateMonitor(model, every_steps, record).watch)
    return watches


class GradientMonitor:
    """Records the gradient's norm by layer before clipping, and what clipping by the norm multiplies it with.

    Args:
        model: whose gradients
        clip_norm: the loop's; infinite where it clips in another way, which is no multiplication: then there is none
        every_steps: how often
        record: where the figures go

    A step whose gradient is not finite is left out: the loop names it.
    """

    def __init__(self, model: nn.Module, clip_norm: float, every_steps: int, record: Record) -> None:
        self.model = model
        self.clip_norm = clip_norm
        self.every_steps = _checked(every_steps)
        self.record = record

    @contextmanager
    def watch(self, step: int, epoch: int) -> Iterator[None]:
        """Around forward and backward pass; the gradient is there, unclipped, when the block ends."""
        yield
        if step % self.every_steps == 0:
            norms = gradient_norms_by_layer(self.model)
            if norms and math.isfinite(norms[ALL]):
                figures = {f"{GRADIENT}{name}": norm for name, norm in norms.items()}
                if math.isfinite(self.clip_norm):
                    figures[CLIP_SCALE] = clip_scale(norms[ALL], self.clip_norm)
                self.record(step, epoch, figures)


class GateMonitor:
    """Records which share of each gate's activations on the step's own batch is saturated, by layer and direction.

    Gates are recomputed in float32, exactly where the step is in float32 too. Raises `ValueError` for a model with
    weight drop, whose gates came of weights that nobody keeps.
    """

    def __init__(self, model: AcousticModel, every_steps: int, record: Record) -> None:
        if _drops_weights(model):
            raise ValueError("expected a model without weight drop, whose gates can be recomputed")
        self.model = model
        self.every_steps = _checked(every_steps)
        self.record = record

    @contextmanager
    def watch(self, step: int, epoch: int) -> Iterator[None]:
        """Around forward and backward pass."""
        if step % self.every_steps:
            yield
            return
        with recorded(self.model.encoder) as records:
            yield
        figures: dict[str, float] = {}
        for use in use_of_gates(records):
            name = f"{GATE}{use.layer}/{use.gate}"
            figures |= {f"{name}/low": use.share_low, f"{name}/high": use.share_high}
        if all(map(math.isfinite, figures.values())):
            self.record(step, epoch, figures)


def _drops_weights(model: AcousticModel) -> bool:
    return any(isinstance(layer, RecurrentLayer) and layer.weight_drop > 0 for layer in model.encoder.layers)


def _checked(every_steps: int) -> int:
    if every_steps < 1:
        raise ValueError(f"expected every_steps of at least 1, got {every_steps}")
    return every_steps
