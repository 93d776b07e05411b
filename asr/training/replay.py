"""A batch whose loss or gradient was not finite: saved with the weights it met, and looked into afterwards.

What is not finite spreads: one infinite weight makes every later layer NaN, and on the way back every gradient. So
what counts is where it begins, in the order in which things are computed.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from asr.errors import CheckpointError
from asr.training.checkpoint import load_checkpoint, save_checkpoint
from asr.training.gradients import Gradients
from asr.training.position import with_prefix, without_prefix
from asr.training.task import Step


@dataclass(frozen=True, slots=True)
class SavedBatch:
    """What `save_batch` wrote."""

    step: int
    num_labels: int
    tensors: dict[str, Tensor]  # the batch's fields
    values: dict[str, Any]  # its other fields, as JSON has them
    weights: dict[str, Tensor]


def save_batch(directory: Path, step: int, batch: Any, num_labels: int, model: nn.Module) -> Path:
    """Write a batch, which is a dataclass, with the model's weights, as one file with a checksum; returns its path."""
    content = {field.name: getattr(batch, field.name) for field in dataclasses.fields(batch)}
    arrays = {name: torch.from_numpy(value) for name, value in content.items() if isinstance(value, np.ndarray)}
    tensors = arrays | {name: value for name, value in content.items() if isinstance(value, Tensor)}
    values = {name: value for name, value in content.items() if name not in tensors}
    state = {"step": step, "num_labels": num_labels, "kind": type(batch).__name__, "values": values}
    both = with_prefix("batch.", tensors) | with_prefix("model.", model.state_dict())
    return save_checkpoint(directory, "replay", step, both, state)


def load_batch(path: Path, kind: str) -> SavedBatch:
    """Read a file of `save_batch` whose batch was of the class named `kind`.

    Raises `CheckpointError` for a damaged file, and for any other.
    """
    if not path.is_file():
        raise CheckpointError(
            f"expected a batch that a run saved, such as RUN/checkpoints/replay-….safetensors, at {path}"
        )
    saved = load_checkpoint(path)
    found = saved.state.get("kind", "another checkpoint") if isinstance(saved.state, Mapping) else "something else"
    if found != kind:
        raise CheckpointError(f"{path}: expected a saved {kind}, got {found}; its name begins with replay-")
    return SavedBatch(
        saved.state["step"],
        saved.state["num_labels"],
        without_prefix("batch.", saved.tensors),
        saved.state["values"],
        without_prefix("model.", saved.tensors),
    )


@dataclass(frozen=True, slots=True)
class NonFinite:
    """Something computed that holds NaN or infinity."""

    where: str  # the layer or weight by its name in the model, or `loss`
    what: str  # weight | output | loss | gradient of output | gradient
    num_nonfinite: int
    num_values: int

    def __str__(self) -> str:
        share = "" if self.num_values == 1 else f" in {self.num_nonfinite} of {self.num_values} values"
        return f"{self.what} of {self.where}: not finite{share}"


def find_nonfinite(gradients: Gradients, batch: Any, num_labels: int, step: int) -> list[NonFinite]:
    """Compute a batch's gradient as in `step`; what of it is not finite, in the order of computing.

    Weights come first, then layers' outputs from the first to the last, the loss, the outputs' gradients from the
    last layer to the first, and the weights' gradients. Empty when all is well.
    """
    model = gradients.task.model
    model.train()
    found: list[NonFinite] = []
    for name, parameter in model.named_parameters():
        _look(found, name, "weight", parameter)
    with _watched(model, found):
        nats = gradients(Step([batch], num_labels), step)
    forward = [entry for entry in found if entry.what != "gradient of output"]
    backward = [entry for entry in found if entry.what == "gradient of output"]
    _look(forward, "the batch", "loss", nats)
    for name, parameter in model.named_parameters():
        if parameter.grad is not None:
            _look(backward, name, "gradient", parameter.grad)
    model.zero_grad(set_to_none=True)
    return forward + backward


@contextmanager
def _watched(model: nn.Module, found: list[NonFinite]) -> Iterator[None]:
    """Inside the block, the outputs of modules without parts, and their gradients, are looked at as they come."""

    def watch(name: str) -> Any:
        def hook(_module: nn.Module, _inputs: Any, output: Any) -> None:
            tensor = output if isinstance(output, Tensor) else output[0]  # recurrent layers give their state besides
            _look(found, name, "output", tensor)
            if tensor.requires_grad:
                tensor.register_hook(lambda gradient: _look(found, name, "gradient of output", gradient))

        return hook

    leaves = [(name, module) for name, module in model.named_modules() if next(module.children(), None) is None]
    handles = [module.register_forward_hook(watch(name)) for name, module in leaves]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _look(found: list[NonFinite], where: str, what: str, tensor: Tensor) -> None:
    num_nonfinite = int((~torch.isfinite(tensor.detach())).sum())
    if num_nonfinite:
        found.append(NonFinite(where, what, num_nonfinite, tensor.numel()))
