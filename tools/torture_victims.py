"""Training runs that tools/torture.py strikes at: of one process, and of several that torchrun restarts."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from multiprocessing.process import BaseProcess
from pathlib import Path

import numpy as np

from asr.training.checkpoint import list_checkpoints

POLL_SECONDS = 1e-4
ENOUGH_RESTARTS = 10_000
# torchrun's agent else keeps one store for all its restarts, and processes find the addresses of those before them
# (pytorch issue 135712).
OWN_STORE = {"TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1"}


class TortureError(Exception):
    """What was lost."""


class Victim:
    """A run directory, and the command that trains in it as one process."""

    def __init__(self, work: Path, name: str, options: list[str], start_method: str) -> None:
        self.run_dir = work / name
        self.log = work / f"{name}.log"
        self.arguments = ["train", *options, f"run_dir={self.run_dir}"]
        self.context = multiprocessing.get_context(start_method)
        self.process: BaseProcess | None = None

    def begin(self) -> None:
        """Start the run, or have it go on."""
        target, arguments = run_asr, (["asr", *self.arguments], self.log)
        self.process = self.context.Process(target=target, args=arguments)  # type: ignore[attr-defined]
        self.process.start()

    def is_running(self) -> bool:
        return self.process is not None and self.process.is_alive()

    def wait(self, seconds: float | None = None) -> None:
        """Return when the run has ended, or after that time."""
        assert self.process is not None
        self.process.join(seconds)

    def kill(self) -> dict[str, int] | None:
        """Kill; the saves that it left unfinished, or None when the run came to its end before."""
        assert self.process is not None
        self.process.kill()
        self.process.join()
        return self.saves() if self.exit_status() == -signal.SIGKILL else None

    def end(self) -> None:
        """Leave nothing running, whatever went wrong."""
        if self.is_running():
            self.kill()

    def exit_status(self) -> int | None:
        return self.process.exitcode if self.process is not None else None

    def finish(self) -> None:
        """Let the run come to its end; raises `TortureError` when it fails."""
        if not self.is_running():
            self.begin()
        self.wait()
        self.expect_success()

    def expect_success(self) -> None:
        if self.exit_status() != 0:
            said = " ".join(self.log.read_text(errors="replace").split())[-600:]
            raise TortureError(f"the run {self.run_dir.name} exits with {self.exit_status()}: {said}")

    def saves(self) -> dict[str, int]:
        """Checkpoints and models in the making, each with when it was last changed, in nanoseconds."""
        places = ((self.run_dir / "checkpoints", "."), (self.run_dir, ".model."))
        found = {}
        for directory, prefix in places:
            try:
                entries = [entry for entry in os.scandir(directory) if entry.name.startswith(prefix)]
                found |= {entry.name: entry.stat().st_mtime_ns for entry in entries}
            except FileNotFoundError:  # not there yet, or gone between the two calls
                continue
        return found

    def place(self) -> str:
        """Where the run will go on."""
        found = list_checkpoints(self.run_dir / "checkpoints", "resume")
        return f"goes on from {found[-1].name[:15]}" if found else "begins anew"


def run_asr(arguments: list[str], log: Path) -> None:
    """In a process of its own: the command line."""
    from asr.cli.main import main as asr_main

    handle = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.dup2(handle, 1)
    os.dup2(handle, 2)
    sys.argv = arguments
    asr_main()


class Team(Victim):
    """A run of several processes. One of them is killed; torchrun's agent ends the others and starts all again."""

    def __init__(self, work: Path, name: str, options: list[str], num_processes: int) -> None:
        super().__init__(work, name, options, "spawn")
        self.num_processes = num_processes
        self.rng = np.random.default_rng(num_processes)  # of which one is killed
        self.agent: subprocess.Popen[bytes] | None = None
        self.members: set[int] = set()  # process ids, as far as they were seen

    def begin(self) -> None:
        """Start the run if it is not running; return when all its processes are there."""
        if not self.is_running():
            torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--monitor-interval", "0.1"]
            size = ["--nproc-per-node", str(self.num_processes), "--max-restarts", str(ENOUGH_RESTARTS)]
            with self.log.open("ab") as log:
                command = [*torchrun, *size, "-m", "asr", *self.arguments]
                self.agent = subprocess.Popen(command, stdout=log, stderr=log, env={**os.environ, **OWN_STORE})
        while self.is_running() and len(self.alive() - self.members) < self.num_processes:
            time.sleep(POLL_SECONDS)
        self.members = self.alive()

    def alive(self) -> set[int]:
        """The agent's children that run Python's `asr`."""
        assert self.agent is not None
        try:
            children = Path(f"/proc/{self.agent.pid}/task/{self.agent.pid}/children").read_text().split()
            return {int(child) for child in children if b"\0asr\0" in Path(f"/proc/{child}/cmdline").read_bytes()}
        except (FileNotFoundError, ProcessLookupError):  # gone between the two calls
            return set()

    def is_running(self) -> bool:
        return self.agent is not None and self.agent.poll() is None

    def wait(self, seconds: float | None = None) -> None:
        assert self.agent is not None
        try:
            self.agent.wait(seconds)
        except subprocess.TimeoutExpired:
            return

    def kill(self) -> dict[str, int] | None:
        """Kill one of the processes, and wait for all to be replaced; None when the run came to its end instead."""
        struck = self.alive()
        if struck:
            os.kill(int(self.rng.choice(sorted(struck))), signal.SIGKILL)
        saves = self.saves()
        while self.is_running() and self.alive() & struck:
            time.sleep(POLL_SECONDS)
        return saves if self.is_running() else None

    def exit_status(self) -> int | None:
        return self.agent.returncode if self.agent is not None else None

    def end(self) -> None:
        if self.is_running():
            assert self.agent is not None
            self.agent.terminate()  # it ends its processes, which killed it could not
            self.agent.wait()
