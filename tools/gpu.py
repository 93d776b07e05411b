"""What has to be seen on a machine with a GPU, in ten minutes: `python tools/gpu.py`, or `make gpu`.

Runs every test marked `gpu` and the benchmarks, one after the other, each in a process and under a time limit of its
own, and writes one report, which is whole after each of them. Nothing is downloaded and nothing in the environment is
changed: it runs in the Python that runs it, with the torch that is there. Packages that are missing there can be
carried as wheels in a folder, `--wheels`; what a check imports and does not find makes it `skipped`, with the name.

The exit status is 0 where nothing failed and nothing took too long, 1 otherwise, 2 where there is no GPU.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.metadata
import importlib.util
import os
import platform
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
MINUTES = 10.0
LEAST_SECONDS = 5.0  # with less left a check is not begun
OUTPUT_CHARACTERS = 6000  # of a check's output, its end, that stand in the report
NOTHING_COLLECTED = 5  # pytest's exit status


@dataclass(frozen=True, slots=True)
class Check:
    """A command and how long it may take."""

    name: str
    command: tuple[str, ...]
    limit_seconds: float


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a check ended."""

    check: Check
    state: str  # passed, failed, timed out or skipped
    reason: str
    seconds: float
    output: str


def all_checks() -> list[Check]:
    """Tests by file, so that a package missing for one leaves the others; then the benchmarks."""
    python, bench = sys.executable, str(ROOT / "tools" / "bench.py")
    files = [path for path in sorted((ROOT / "tests").rglob("test_*.py")) if "pytest.mark.gpu" in path.read_text()]
    options = ("-m", "gpu", "-n", "0", "-p", "no:cacheprovider", "--durations=5")
    tests = [
        Check(f"tests: {path.stem}", (python, "-m", "pytest", *options, str(path.relative_to(ROOT))), 120)
        for path in files
    ]
    recurrent = ("recurrent", "--device", "cuda", "--layers", "5", "--hidden", "512")
    return [
        *tests,
        Check("bench: recurrent, bf16", (python, bench, *recurrent, "--precision", "bf16"), 90),
        Check("bench: training", (python, bench, "training", "--seconds", "20", "--batches", "4"), 120),
        Check("bench: recurrent, float32", (python, bench, *recurrent, "--precision", "float32"), 90),
        Check("bench: decoding", (python, bench, "decoding"), 120),
        Check("bench: features", (python, bench, "features"), 60),
        Check("bench: scoring", (python, bench, "scoring"), 60),
    ]


def run_checks(checks: Sequence[Check], report: Path, environment: dict[str, str], seconds: float) -> list[Outcome]:
    """Run the checks in about `seconds` at most and write the report after each."""
    until = time.monotonic() + seconds
    outcomes: list[Outcome] = []
    write_report(report, outcomes, checks)
    for check in checks:
        print(f"{check.name} …", end=" ", flush=True)
        outcomes.append(run_check(check, environment, until - time.monotonic()))
        print(outcomes[-1].state, outcomes[-1].reason, flush=True)
        write_report(report, outcomes, checks)
    return outcomes


def run_check(check: Check, environment: dict[str, str], seconds_left: float) -> Outcome:
    """Run one check, and end it with all that it started where it takes longer than its limit or what is left."""
    if seconds_left < LEAST_SECONDS:
        return Outcome(check, "skipped", "no time left", 0.0, "")
    limit = min(check.limit_seconds, seconds_left)
    began = time.monotonic()
    with tempfile.TemporaryFile() as file:
        process = subprocess.Popen(
            check.command,
            cwd=ROOT,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            status: int | None = process.wait(limit)
        except subprocess.TimeoutExpired:
            status = None
        finally:
            end_group(process)
        taken = time.monotonic() - began
        file.seek(0)
        output = file.read().decode("utf-8", errors="replace")
    state, reason = judge(status, output, limit)
    return Outcome(check, state, reason, taken, output[-OUTPUT_CHARACTERS:])


def end_group(process: subprocess.Popen[bytes]) -> None:
    """End a process and what it started."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def judge(status: int | None, output: str, limit: float) -> tuple[str, str]:
    """State and reason of a command's exit status; None is that of a command that was stopped."""
    if status is None:
        return "timed out", f"after {limit:.0f} s"
    if status == NOTHING_COLLECTED or re.search(r"^\d+ skipped\b(?!.*passed)", output, re.MULTILINE):
        return "skipped", "no test of it can run here"
    if status == 0:
        return "passed", ""
    missing = {name.split(".")[0] for name in re.findall(r"No module named '([\w.]+)'", output)}
    missing = {name for name in missing if name != "asr" and importlib.util.find_spec(name) is None}
    if missing:
        return "skipped", f"missing package: {', '.join(sorted(missing))}"
    return "failed", f"exit status {status}"


def write_report(path: Path, outcomes: Sequence[Outcome], checks: Sequence[Check]) -> None:
    """Write everything known so far, as Markdown."""
    rows = [
        f"| {o.check.name} | {o.state} | {o.reason} | {o.seconds:.1f} | {o.check.limit_seconds:g} |" for o in outcomes
    ]
    rows += [f"| {check.name} | not run yet | | | {check.limit_seconds:g} |" for check in checks[len(outcomes) :]]
    parts = [
        "# GPU report",
        "\n".join(f"- {name}: {value}" for name, value in machine().items()),
        "\n".join(["| check | state | reason | seconds | limit |", "|---|---|---|---|---|", *rows]),
    ]
    for outcome in outcomes:
        command = " ".join(outcome.check.command[1:])
        parts.append(f"## {outcome.check.name}: {outcome.state}\n\n`{command}`\n\n````\n{outcome.output.strip()}\n````")
    temporary = path.with_name(path.name + ".part")
    temporary.write_text("\n\n".join(parts) + "\n", encoding="utf-8")
    temporary.replace(path)


def machine() -> dict[str, str]:
    """What the figures hold for."""
    import torch

    found = {
        "GPU": torch.cuda.get_device_name() if torch.cuda.is_available() else "none",
        "torch": f"{torch.__version__}, CUDA {torch.version.cuda}, cuDNN {torch.backends.cudnn.version()}",
        "Python": platform.python_version(),
        "cores": str(os.cpu_count()),
        "platform": platform.platform(),
    }
    try:
        git = ["git", "describe", "--always", "--dirty"]
        found["commit"] = subprocess.run(git, cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        pass
    return found


def install_missing(wheels: Path, target: Path) -> list[str]:
    """Install those wheels into a folder of their own whose distributions are missing here; their names."""
    if not wheels.is_dir():
        raise SystemExit(f"--wheels: expected a folder of wheels, got {wheels}")
    here = {normalized(each.name) for each in importlib.metadata.distributions() if each.name}
    missing = [path for path in sorted(wheels.glob("*.whl")) if normalized(path.name.split("-")[0]) not in here]
    if missing:
        pip = (sys.executable, "-m", "pip", "install", "--quiet", "--no-index", "--no-deps", "--target", str(target))
        subprocess.run([*pip, *map(str, missing)], check=True)
    return [path.name.split("-")[0] for path in missing]


def normalized(distribution: str) -> str:
    return re.sub(r"[-_.]+", "-", distribution).lower()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-o", "--output", type=Path, default=Path("gpu-report.md"), help="default gpu-report.md")
    parser.add_argument("--wheels", type=Path, help="a folder of wheels, of which the missing packages are taken")
    parser.add_argument("--minutes", type=float, default=MINUTES, help=f"for all checks together; default {MINUTES:g}")
    parser.add_argument("--only", metavar="TEXT", help="only checks whose name holds this")
    parser.add_argument("--any-device", action="store_true", help="run where there is no GPU, too")
    arguments = parser.parse_args()
    import torch

    if not torch.cuda.is_available() and not arguments.any_device:
        print("expected a GPU that PyTorch can use, found none; --any-device runs what can run here", file=sys.stderr)
        return 2
    checks = [check for check in all_checks() if (arguments.only or "") in check.name]
    if not checks:
        parser.error(
            f"--only: expected part of a name of {', '.join(c.name for c in all_checks())}, got {arguments.only}"
        )
    with tempfile.TemporaryDirectory() as folder:
        if arguments.wheels:
            print("from wheels:", ", ".join(install_missing(arguments.wheels, Path(folder))) or "nothing is missing")
        sys.path.append(folder)  # for `find_spec`
        paths = [str(ROOT), folder, os.environ.get("PYTHONPATH", "")]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))}
        outcomes = run_checks(checks, arguments.output, environment, 60 * arguments.minutes)
    print(f"report: {arguments.output}")
    return 1 if {outcome.state for outcome in outcomes} & {"failed", "timed out"} else 0


if __name__ == "__main__":
    sys.exit(main())
