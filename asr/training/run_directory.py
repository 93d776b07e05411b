"""The directory of a run: its config, the environment it ran in, and whether it may go on there."""

import json
import os
import platform
import shlex
import subprocess
import sys
from collections.abc import Callable, Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from asr.errors import ConfigError
from asr.files import scratch_folder, write_json

CONFIG = "config.json"
# Where a run lies, what it runs on and how its results are scored may change between stopping and going on.
NOT_COMPARED = ("run_dir", "machine", "scoring")
PACKAGES = ("torch", "torchaudio", "numpy", "soundfile", "soxr", "lightning-fabric", "sentencepiece", "jiwer")

Difference = Callable[[Mapping[str, Any], Mapping[str, Any]], list[str]]


def claim(run_dir: Path, config: Mapping[str, Any], defaults: Mapping[str, Any], difference: Difference) -> None:
    """Write the config into a new run directory, or see that the one there is the same.

    An option that was not there yet when the run began counts as its default.

    Raises `ConfigError`, listing what differs, when the directory belongs to a run of another config.
    """
    path = run_dir / CONFIG
    if not _create(path, config):
        there = with_defaults(json.loads(path.read_text(encoding="utf-8")), defaults)
        lines = difference(compared(there), compared(config))
        if lines:
            listing = "\n  ".join(lines)
            raise ConfigError(
                f"{run_dir} holds a run of another config (there -> asked for):\n  {listing}\n"
                f"Choose another directory (run_dir=…, or -o), go back to that config, or delete {run_dir}."
            )


def _create(path: Path, config: Mapping[str, Any]) -> bool:
    """Write the config whole, unless there is one: of two runs that begin at the same moment only one does."""
    if path.is_file():
        return False
    path.parent.mkdir(parents=True, exist_ok=True)
    with scratch_folder(path) as folder:
        write_json(folder / CONFIG, config)
        try:
            os.link(folder / CONFIG, path)
        except FileExistsError:
            return False
        except OSError:  # a file system without links
            (folder / CONFIG).replace(path)
    return True


def with_defaults(config: Mapping[str, Any], defaults: Mapping[str, Any]) -> dict[str, Any]:
    """A nested config with the defaults of the options that it lacks.

    >>> with_defaults({"optim": {"lr": 0.1}}, {"optim": {"lr": 1.0, "weight_noise": 0.0}})
    {'optim': {'lr': 0.1, 'weight_noise': 0.0}}
    """
    filled = {**defaults, **config}
    for key, value in defaults.items():
        if isinstance(value, Mapping) and isinstance(filled[key], Mapping):
            filled[key] = with_defaults(filled[key], value)
    return filled


def compared(config: Mapping[str, Any]) -> dict[str, Any]:
    """The part of a config that decides the result.

    Options of a recipe's corpus are not compared: what they made is, by the checksums of the manifests.
    """
    part = {key: value for key, value in config.items() if key not in NOT_COMPARED}
    if "data" in part:
        part["data"] = {key: value for key, value in part["data"].items() if key != "options"}
    return part


def write_environment(run_dir: Path, device: torch.device, precision: str, num_processes: int = 1) -> None:
    """Write environment.json: what anybody needs to judge, or repeat, the figures of this run."""
    write_json(
        run_dir / "environment.json",
        {
            "command": command(),
            "commit": commit(),
            "asr": package_version("asr"),
            "python": platform.python_version(),
            "platform": platform.platform(),
            "device": torch.cuda.get_device_name(device) if device.type == "cuda" else cpu_name(),
            "threads": torch.get_num_threads(),
            "processes": num_processes,
            "precision": precision,
            "packages": {name: package_version(name) for name in PACKAGES},
        },
    )


def command() -> str:
    """The command line of this process, as one would type it."""
    return f"{Path(sys.argv[0]).name} {shlex.join(sys.argv[1:])}"


def package_version(name: str) -> str | None:
    """The installed version of a distribution."""
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def commit() -> str | None:
    """The commit of the checkout this code runs from, `+changes` when files differ from it; None outside one."""
    root = Path(__file__).resolve().parents[2]
    if not (root / ".git").exists():
        return None
    try:
        head = _git(root, "rev-parse", "HEAD").strip()
        return head + ("+changes" if _git(root, "status", "--porcelain", "--untracked-files=no").strip() else "")
    except (OSError, subprocess.SubprocessError):
        return None


def _git(root: Path, *arguments: str) -> str:
    return subprocess.run(["git", "-C", str(root), *arguments], capture_output=True, text=True, check=True).stdout


def cpu_name() -> str:
    """The processor's name, as far as the system tells."""
    listing = Path("/proc/cpuinfo")
    if listing.is_file():
        for line in listing.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
