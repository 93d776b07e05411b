"""Trains side by side in forked processes: a script, because forking is safe only before anything was computed.

    python several_processes.py JOBS.json

A job has a kind, a number of processes (world_size), a log and overrides; jobs are done one after the other, and the
exit status of each, 0 or 1, is printed. Kinds: acoustic; stopped: acoustic, but the second process hears a signal after
five steps; damaged: acoustic; unheard: acoustic, where the data is too large to be listened to before; language;
evaluate, with the command's arguments. Processes find each other as those of torchrun do.
"""

import json
import os
import signal
import socket
import sys
from pathlib import Path

import torch

import asr.experiment  # imported once, before the processes part
import asr.language_experiment  # noqa: F401
from asr import training_data
from asr.cli.compose import compose_recipe
from asr.cli.lm_recurrent import compose_language
from asr.cli.main import app
from asr.cli.train import train_stage
from asr.training import monitor
from asr.training.loop import Trainer


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def train(kind: str, overrides: list[str]) -> None:
    torch.set_num_threads(1)
    if kind == "stopped" and os.environ["RANK"] == "1":
        stop_after(5)
    if kind == "unheard":
        training_data.HEARD_HOURS = 0.0
    if kind == "evaluate":
        app(["evaluate", *overrides], standalone_mode=False)
        return
    if kind != "language":
        train_stage(compose_recipe("digits", overrides))
        return
    from rich.console import Console

    from asr.language_experiment import train_language_model

    text, run_dir = Path(overrides[0]), Path(overrides[1])
    run_dir.mkdir(exist_ok=True)
    train_language_model(compose_language([text], [text], run_dir, overrides[2:]), run_dir, Console(quiet=True))


def stop_after(steps: int) -> None:
    original = Trainer._step

    def step(trainer, *arguments):
        original(trainer, *arguments)
        if trainer.position.step == steps:
            signal.raise_signal(signal.SIGTERM)

    Trainer._step = step


def run(kind: str, world_size: int, log: str, overrides: list[str]) -> int:
    os.environ |= {"TORCHELASTIC_RUN_ID": "test", "WORLD_SIZE": str(world_size), "LOCAL_WORLD_SIZE": str(world_size)}
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port())}
    children = []
    for rank in range(world_size):
        child = os.fork()
        if child == 0:
            os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank)}
            run_child(kind, log, overrides)
        children.append(child)
    failed = 0
    while children:  # as torchrun: one that fails ends all
        child, status = os.wait()
        children.remove(child)
        if status and not failed:
            failed = 1
            for other in children:
                os.kill(other, signal.SIGKILL)
    return failed


def run_child(kind: str, log: str, overrides: list[str]) -> None:
    said = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(said, 1)
    os.dup2(said, 2)
    try:
        train(kind, overrides)
        status = 0
    except BaseException as error:
        print(f"{type(error).__name__}: {error}")
        status = 1
    sys.stdout.flush()
    os._exit(status)


if __name__ == "__main__":
    monitor.draw_curves = lambda *_: None  # takes longer than these runs
    for job in json.loads(Path(sys.argv[1]).read_text()):
        print(run(**job), flush=True)
