"""What the loop trains, seen from the loop: speech in `acoustic_task.py`, text in `language_task.py`."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from torch import Tensor, nn


@dataclass(frozen=True, slots=True)
class StepLoss:
    """The loss of one batch."""

    nats: Tensor  # scalar, summed over the labels, with its graph
    num_labels: int


@dataclass(frozen=True, slots=True)
class Validation:
    """What a validation found."""

    values: dict[str, float]  # `loss` in nats a label, the task's criterion, and what else it reports
    samples: Sequence[tuple[str, str]] = ()  # a reference and what the model made of it
    notes: Sequence[str] = ()  # what the user should know


class Task(Protocol):
    """A model with its data. Plan items and batches belong to the task; the loop only hands them on.

    Whatever `plan`, `load` and `loss` do must depend on the seed, the epoch, the place in it, torch's random state,
    which the loop sets before each step, and the carried tensors alone: then resuming is exact.
    """

    criterion: str  # the validation value that chooses among epochs; the lower the better

    @property
    def model(self) -> nn.Module:
        """The module whose parameters are trained."""
        ...

    def plan(self, epoch: int) -> Sequence[Any]:
        """An item for each batch of an epoch."""
        ...

    def load(self, items: Sequence[Any]) -> Iterator[Any]:
        """The batches of plan items."""
        ...

    def loss(self, model: nn.Module, batch: Any) -> StepLoss:
        """The loss of a batch under `model`, which is the task's own as the precision in use wraps it."""
        ...

    def describe(self, batch: Any) -> str:
        """Name a batch in a message."""
        ...

    def validate(self) -> Validation:
        """The model on the validation set, without anything random."""
        ...

    def carried(self) -> dict[str, Tensor]:
        """What one step leaves to the next besides the weights: checkpoints hold it."""
        ...

    def restore(self, carried: Mapping[str, Tensor]) -> None:
        """Take up the tensors of `carried` again."""
        ...
