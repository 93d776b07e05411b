"""Processes that train together: which part of the work is this one's, and what they tell each other.

What is computed does not depend on how many there are: a step's batch is dealt out among them, and so are the
utterances of a validation. The first process, the leader, is the one that writes and speaks.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor
from torch import distributed as dist

T = TypeVar("T")

CPU = torch.device("cpu")


@dataclass(frozen=True, slots=True)
class Processes:
    """This process among those that train together; alone by default.

    All of them must call the methods that exchange something, in the same order.
    """

    rank: int = 0
    world_size: int = 1
    device: torch.device = CPU  # where what is exchanged has to lie for the backend in use

    @property
    def is_leader(self) -> bool:
        """Whether this process writes files and speaks to the user."""
        return self.rank == 0

    @property
    def is_alone(self) -> bool:
        """Whether there are no others."""
        return self.world_size == 1

    def share(self, items: Sequence[T]) -> list[T]:
        """Every `world_size`-th item is this process's: of items in order of size all get alike.

        >>> Processes(rank=1, world_size=2).share([10, 11, 12, 13, 14])
        [11, 13]
        """
        return list(items[self.rank :: self.world_size])

    def gather(self, items: Sequence[T]) -> list[T]:
        """The items of all processes, which each have what `share` gave them, in their first order."""
        if self.is_alone:
            return list(items)
        parts: list[list[T]] = [[] for _ in range(self.world_size)]
        dist.all_gather_object(parts, list(items))
        return [parts[place % self.world_size][place // self.world_size] for place in range(sum(map(len, parts)))]

    def any(self, flag: bool) -> bool:
        """Whether it is so in any of the processes."""
        if self.is_alone:
            return flag
        votes = torch.tensor([int(flag)], device=self.device)
        dist.all_reduce(votes)
        return bool(votes.item())

    def from_leader(self, value: T) -> T:
        """The leader's value; what the others hand in is ignored."""
        if self.is_alone:
            return value
        values = [value]
        dist.broadcast_object_list(values, src=0, device=self.device)
        return values[0]

    def copy_from_leader(self, tensors: Sequence[Tensor]) -> None:
        """Give tensors, in place, the values that they have in the leader."""
        if not self.is_alone:
            for tensor in tensors:
                dist.broadcast(tensor.detach(), src=0)

    @contextmanager
    def leader_first(self) -> Iterator[None]:
        """The leader passes the block first; the others once it is through, and find what it wrote."""
        if not self.is_leader:
            dist.barrier()
        yield
        if self.is_leader and not self.is_alone:
            dist.barrier()


ALONE = Processes()
