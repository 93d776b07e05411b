"""What the loop trains, seen from the loop: speech in `acoustic_task.py`, text in `language_task.py`."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from torch import Tensor, nn


@dataclass(frozen=True, slots=True)
class Step:
    """The work of one optimiser step: this process's share of a plan item."""

    parts: Sequence[Any]  # batches, computed one after the other; none where the other processes have it all
    num_labels: int  # of the whole item, the other processes' included


@dataclass(frozen=True, slots=True)
class Validation:
    """What a validation found."""

    values: dict[str, float]  # `loss` in nats a label, the task's criterion, and what else it reports
    samples: Sequence[tuple[str, str]] = ()  # a reference and what the model made of it
    notes: Sequence[str] = ()  # what the user should know


class Task(Protocol):
    """A model with its data. Plan items and batches belong to the task; the loop only hands them on.

    A plan item is a step's whole batch, the same in all processes that train together. Each computes its share of it,
    if need be in several parts that are summed up: what a step does to the weights depends on neither.

    Whatever `plan`, `load` and `loss` do must depend on the seed, the epoch, the place in it, torch's random state,
    which the loop sets before each step, and the carried tensors alone: then resuming is exact.
    """

    criterion: str  # the validation value that chooses among epochs; the lower the better

    @property
    def model(self) -> nn.Module:
        """The module whose parameters are trained."""
        ...

    def plan(self, epoch: int) -> Sequence[Any]:
        """An item for each step of an epoch."""
        ...

    def load(self, items: Sequence[Any]) -> Iterator[Step]:
        """This process's share of plan items."""
        ...

    def load_whole(self, item: Any) -> Any:
        """A plan item as one batch."""
        ...

    def loss(self, model: nn.Module, batch: Any) -> Tensor:
        """The loss of a batch in nats, summed over its labels: a scalar with its graph.

        model: the task's own as the precision in use wraps it.
        """
        ...

    def describe(self, item: Any) -> str:
        """Name a plan item in a message."""
        ...

    def validate(self) -> Validation:
        """The model on the validation set, without anything random. The processes share the work and agree."""
        ...

    def carried(self) -> dict[str, Tensor]:
        """What one step leaves to the next besides the weights: checkpoints hold it."""
        ...

    def restore(self, carried: Mapping[str, Tensor]) -> None:
        """Take up the tensors of `carried` again."""
        ...
