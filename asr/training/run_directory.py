"""The directory of a run: what anybody needs to judge or repeat its figures."""

import platform
import shlex
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch

from asr.files import write_json

CONFIG = "config.json"
PACKAGES = ("torch", "torchaudio", "numpy", "soundfile", "soxr", "lightning-fabric", "sentencepiece", "jiwer")


def write_environment(run_dir: Path, device: torch.device, precision: str, num_processes: int = 1) -> None:
    """Write environment.json: what anybody needs to judge, or repeat, the figures of this run."""
    write_json(
        run_dir / "environment.json",
        {
            "command": command(),
            "commit": commit(),
            "asr": package_version("blstm-asr"),
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
