"""Device, precision and processes: what a run computes on, through Lightning Fabric."""

from __future__ import annotations

import logging
import os
from datetime import timedelta

import torch
from lightning_fabric import Fabric
from lightning_fabric.plugins.environments.slurm import SLURMEnvironment
from lightning_fabric.plugins.environments.torchelastic import TorchElasticEnvironment
from lightning_fabric.strategies.ddp import DDPStrategy

from asr.data.ahead import MAX_THREADS, num_cores
from asr.errors import ConfigError
from asr.launcher import Launch, detect_launch
from asr.processes import ALONE, Processes

# Others wait while the leader looks through a new corpus; that a process has died, the launcher notices at once.
LONGEST_WAIT = timedelta(hours=4)


class SideBySide(DDPStrategy):
    """Processes that each have the whole model. Their gradients are summed by `GradientSum`, so nothing is wrapped."""

    def setup_module(self, module: torch.nn.Module) -> torch.nn.Module:  # type: ignore[override]
        """The module as it is."""
        return module


def refuse_missing_device(accelerator: str) -> None:
    """Raise `ConfigError` where a GPU is asked for and none is there."""
    if accelerator == "cuda" and not torch.cuda.is_available():
        raise ConfigError("machine.accelerator: expected a CUDA device, found none; use machine.accelerator=cpu")


def build_fabric(accelerator: str, precision: str, launch: Launch | None = None) -> Fabric:
    """Device and precision; `auto` takes a GPU, and bfloat16, where there are such.

    launch: how the process was started, by default what the environment says. Where torchrun or srun started several,
    it waits for the others.
    """
    if accelerator not in ("auto", "cpu", "cuda"):
        raise ConfigError(f"machine.accelerator: expected auto, cpu or cuda, got {accelerator!r}")
    refuse_missing_device(accelerator)
    on_gpu = accelerator != "cpu" and torch.cuda.is_available()
    match precision:
        case "auto":
            has_bf16 = torch.cuda.is_bf16_supported() if on_gpu else cpu_has_bf16()
            fabric_precision = "bf16-mixed" if has_bf16 else "32-true"
        case "bf16":
            fabric_precision = "bf16-mixed"
        case "float32":
            fabric_precision = "32-true"
        case unknown:
            raise ConfigError(f"machine.precision: expected auto, float32 or bf16, got {unknown!r}")
    # oneDNN keeps compiled code for each shape of a batch, a thousand of them by default: hundreds of megabytes
    os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "32")
    logging.getLogger("lightning_fabric").setLevel(logging.WARNING)  # it would announce the precision, as we do
    launch = launch or detect_launch()
    if launch.launcher == "none":
        return Fabric(accelerator="cuda" if on_gpu else "cpu", devices=1, precision=fabric_precision)  # type: ignore[arg-type]
    if on_gpu and torch.cuda.device_count() < launch.processes_a_node:
        raise ConfigError(
            f"expected a GPU for each of the {launch.processes_a_node} processes on this machine, each of which has to "
            f"see all of them; found {torch.cuda.device_count()}"
        )
    environment = TorchElasticEnvironment() if launch.launcher == "torchrun" else SLURMEnvironment(auto_requeue=False)
    fabric = Fabric(
        accelerator="cuda" if on_gpu else "cpu",
        devices=launch.processes_a_node,
        num_nodes=launch.num_nodes,
        strategy=SideBySide(timeout=LONGEST_WAIT),
        precision=fabric_precision,  # type: ignore[arg-type]
        plugins=[environment],
    )
    fabric.launch()
    return fabric


def meet(device: str) -> Processes:
    """Join the processes that were launched together, where there are any, for work in float32 on `device`."""
    return processes_of(build_fabric(device, "float32")) if detect_launch().launcher != "none" else ALONE


def loading_threads(asked: int, device: torch.device, launch: Launch) -> int:
    """How many threads load ahead: what is asked for, or for -1 one for each core that would have nothing to do.

    Beside a GPU those are all; where the processor computes on all of its cores there is none left, and a batch is
    loaded by all threads between two steps.
    """
    if asked >= 0:
        return asked
    cores = num_cores() // launch.processes_a_node
    spare = cores if device.type == "cuda" else cores - torch.get_num_threads()
    return min(MAX_THREADS, max(1 if device.type == "cuda" else 0, spare))


def processes_of(fabric: Fabric) -> Processes:
    """This process among those that Fabric has brought together."""
    return ALONE if fabric.world_size == 1 else Processes(fabric.global_rank, fabric.world_size, fabric.device)


def cpu_has_bf16() -> bool:
    """Whether the processor has units of its own for matrices of bfloat16, AMX.

    AVX512-BF16 is not enough: on an AMD EPYC that has it, a step of 4 x 320 took 0.95 of float32's time, one of
    3 x 192, whose matrices are small, 1.3 of it.
    """
    return bool(torch.cpu._is_amx_tile_supported())
