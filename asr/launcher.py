"""Who started this process beside others, by the environment it was given: torchrun, Slurm's srun, or nobody."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from asr.errors import ConfigError

NOT_SUPPORTED = ("SUBMITIT_LOCAL_NTASKS", "OMPI_COMM_WORLD_SIZE", "PMI_SIZE")  # submitit's local tasks; MPI's


@dataclass(frozen=True, slots=True)
class Launch:
    """How many processes were started together, and which one this is."""

    launcher: Literal["torchrun", "slurm", "none"] = "none"
    rank: int = 0
    world_size: int = 1
    num_nodes: int = 1

    @property
    def processes_a_node(self) -> int:
        """How many run on each machine; on all of them as many."""
        return self.world_size // self.num_nodes

    @property
    def is_leader(self) -> bool:
        """Whether this is the process that writes files and speaks to the user."""
        return self.rank == 0


def detect_launch(environment: Mapping[str, str] = os.environ) -> Launch:
    """Read the launcher's variables; raises `ConfigError` where machines have different numbers of processes.

    A Slurm job's script itself, which is one process whatever was allocated, counts as alone: `srun` starts the rest.

    >>> detect_launch({"TORCHELASTIC_RUN_ID": "x", "RANK": "5", "WORLD_SIZE": "8", "LOCAL_WORLD_SIZE": "4"}).num_nodes
    2
    """
    if "TORCHELASTIC_RUN_ID" in environment:
        _refuse_stale_store(environment)
        rank, world_size = int(environment["RANK"]), int(environment["WORLD_SIZE"])
        return _checked("torchrun", rank, world_size, world_size / int(environment["LOCAL_WORLD_SIZE"]))
    if "SLURM_STEP_NUM_TASKS" in environment:
        rank, world_size = int(environment["SLURM_PROCID"]), int(environment["SLURM_STEP_NUM_TASKS"])
        if world_size > 1 and "SLURM_NTASKS_PER_NODE" not in environment:
            raise ConfigError("expected srun --ntasks-per-node=N, got --ntasks alone: say how many each machine has")
        return _checked("slurm", rank, world_size, int(environment["SLURM_STEP_NUM_NODES"]))
    for name in NOT_SUPPORTED:
        if int(environment.get(name, "1")) > 1:  # each would take itself for the only one, and write what all write
            raise ConfigError(f"{name} says {environment[name]} processes: expected torchrun or srun to start several")
    return Launch()


def _refuse_stale_store(environment: Mapping[str, str]) -> None:
    """Where restarts are allowed, torchrun must not keep its store across them.

    Restarted processes would find there the addresses of those that died, and wait for them (pytorch #135712).
    """
    restarts = environment.get("TORCHELASTIC_MAX_RESTARTS", "0")
    if restarts != "0" and environment.get("TORCHELASTIC_USE_AGENT_STORE") == "True":
        raise ConfigError(
            f"torchrun --max-restarts {restarts} needs TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1 in its environment, and "
            "--standalone (--rdzv-backend c10d on several machines): without them restarted processes would look for "
            "those that died"
        )


def _checked(launcher: Literal["torchrun", "slurm"], rank: int, world_size: int, num_nodes: float) -> Launch:
    if num_nodes != int(num_nodes) or world_size % int(num_nodes):
        raise ConfigError(
            f"expected as many processes on each machine, got {world_size} in all by {launcher}: give every machine "
            "the same number (torchrun --nproc-per-node, srun --ntasks-per-node)"
        )
    return Launch(launcher, rank, world_size, int(num_nodes)) if world_size > 1 else Launch()
