"""Checkpoints: everything exact resumption needs, in one safetensors file whose name carries its checksum.

    resume-00001200-3fa94c1e.safetensors    weights, optimiser moments, state: the last two are kept
    epoch-00000007-9d0be21c.safetensors     weights after an epoch: the best few are kept, for their mean
    replay-00001234-77ab01fe.safetensors    a batch whose loss or gradient is not finite, and the weights it met

A file is written under a temporary name, synced and renamed, so a name of this form means a whole file; a later flaw
of the disk shows in the checksum, and the one before is used. Nothing is ever unpickled.
"""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from asr.errors import CheckpointError, OutputError
from asr.files import put_in_place, scratch_folder, sha256, sync_directory

CHECKSUM_DIGITS = 16
NAME = re.compile(r"(?P<kind>resume|epoch|replay)-(?P<number>\d+)-(?P<checksum>[0-9a-f]{16})\.safetensors")


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A checkpoint read back."""

    path: Path
    tensors: dict[str, Tensor]
    state: dict[str, Any]


def save_checkpoint(directory: Path, kind: str, number: int, tensors: Mapping[str, Tensor], state: Any) -> Path:
    """Write one whole checkpoint and return its path; `state` is anything JSON holds.

    Raises `OutputError` when it cannot be written: those before are untouched.
    """
    contiguous = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    try:
        _make(directory)
        with scratch_folder(directory / kind) as folder:  # what a killed run left is cleared away by the next
            temporary = folder / "new.safetensors"
            save_file(contiguous, temporary, metadata={"state": json.dumps(state)})
            path = directory / f"{kind}-{number:08d}-{sha256(temporary)[:CHECKSUM_DIGITS]}.safetensors"
            put_in_place(temporary, path)
    except (OSError, SafetensorError) as error:
        raise OutputError(
            f"no checkpoint can be written to {directory}: {error}; those before are untouched. See that the place is "
            "writable and has room; the same command then goes on from the last one"
        ) from error
    return path


def _make(directory: Path) -> None:
    if not directory.is_dir():
        directory.mkdir(parents=True, exist_ok=True)
        sync_directory(directory.parent)  # or a power cut takes the directory with all that is in it


def list_checkpoints(directory: Path, kind: str) -> list[Path]:
    """Checkpoints of a kind, oldest first."""
    if not directory.is_dir():
        return []
    found = [path for path in directory.iterdir() if (match := NAME.fullmatch(path.name)) and match["kind"] == kind]
    return sorted(found, key=lambda path: (checkpoint_number(path), path.stat().st_mtime_ns))


def checkpoint_number(path: Path) -> int:
    """The step or epoch in a checkpoint's name."""
    match = NAME.fullmatch(path.name)
    assert match is not None, path
    return int(match["number"])


def load_checkpoint(path: Path) -> Checkpoint:
    """Read a checkpoint; `CheckpointError` if its content is not what was written."""
    check_whole(path)
    try:
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  # no mapping
            state = json.loads((file.metadata() or {})["state"])
    except (OSError, SafetensorError, KeyError, ValueError) as error:
        raise CheckpointError(f"{path} cannot be read: {error}") from error
    return Checkpoint(path, tensors, state)


def read_state(path: Path) -> dict[str, Any]:
    """A checkpoint's state alone, without its tensors and unchecked; `CheckpointError` if it cannot be read."""
    try:
        with safe_open(path, framework="pt") as file:
            state: dict[str, Any] = json.loads((file.metadata() or {})["state"])
    except (OSError, SafetensorError, KeyError, ValueError) as error:
        raise CheckpointError(f"{path} cannot be read: {error}") from error
    return state


def check_whole(path: Path) -> None:
    """Raise `CheckpointError` for a file whose content is not the one its name promises."""
    match = NAME.fullmatch(path.name)
    if match is None:
        raise CheckpointError(f"{path} is not named like a checkpoint")
    try:
        checksum = sha256(path)[:CHECKSUM_DIGITS]
    except OSError as error:  # a disk that cannot give back what it took
        raise CheckpointError(f"{path} cannot be read: {error}") from error
    if checksum != match["checksum"]:
        raise CheckpointError(f"{path} is damaged: its checksum is not the one in its name")


def only_whole(paths: Sequence[Path], on_damage: Callable[[str], None]) -> list[Path]:
    """Those checkpoints that are whole; `on_damage` hears of each one that is not."""
    whole = []
    for path in paths:
        try:
            check_whole(path)
            whole.append(path)
        except CheckpointError as error:
            on_damage(str(error))
    return whole


def load_newest(directory: Path, kind: str, on_damage: Callable[[str], None]) -> Checkpoint | None:
    """The newest checkpoint that is whole; `on_damage` hears of each one that is not. None when there is none."""
    found = list_checkpoints(directory, kind)
    for number, path in reversed(list(enumerate(found))):
        try:
            return load_checkpoint(path)
        except CheckpointError as error:
            on_damage(f"{error}; {'using the one before' if number else 'there is none before: beginning anew'}")
    return None


def remove_all_but(directory: Path, kind: str, keep: Sequence[Path]) -> None:
    """Delete the checkpoints of a kind that are not listed."""
    for path in set(list_checkpoints(directory, kind)) - set(keep):
        path.unlink()


def average(paths: Sequence[Path]) -> dict[str, Tensor]:
    """The mean of several checkpoints' weights, summed in float64."""
    if not paths:
        raise CheckpointError("expected at least one checkpoint to average, got none")
    total: dict[str, Tensor] = {}
    dtypes: dict[str, torch.dtype] = {}
    for path in paths:
        for name, tensor in load_checkpoint(path).tensors.items():
            dtypes[name] = tensor.dtype
            total[name] = total[name] + tensor.double() if name in total else tensor.double()
    return {name: (tensor / len(paths)).to(dtypes[name]) for name, tensor in total.items()}


def optimizer_tensors(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """An optimiser's moments as named tensors: `optimizer.3.exp_avg`."""
    return {
        f"optimizer.{index}.{name}": value
        for index, values in optimizer.state_dict()["state"].items()
        for name, value in values.items()
        if isinstance(value, Tensor)
    }


def restore_optimizer(optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor]) -> None:
    """Put the tensors of `optimizer_tensors` back. Rates and decay come from the config, which is the same."""
    state: dict[int, dict[str, Tensor]] = {}
    for key, tensor in tensors.items():
        prefix, _, rest = key.partition(".")
        if prefix == "optimizer":
            index, _, name = rest.partition(".")
            state.setdefault(int(index), {})[name] = tensor
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
