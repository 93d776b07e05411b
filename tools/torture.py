"""Kill a training run again and again, and see that nothing is lost: `python tools/torture.py --kills 50`.

A small run is made once without a disturbance, and once more while SIGKILL strikes it at random moments: from the
start of the process to its end, and inside saves, which are recognised by their unfinished files. After each kill the
same command goes on. In the end the weights, the optimiser's moments and every loss must be those of the undisturbed
run to the bit. Where that run comes to its end before all kills are spent, another one begins.

With `--processes 2` both runs are of so many processes that torchrun starts. A random one of them is killed, and it is
torchrun that has the run go on.

Exits with 0 when all is equal; else with 1 and a last line that says what differs.
"""

from __future__ import annotations

import argparse
import importlib
import json
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from torture_victims import POLL_SECONDS, Team, TortureError, Victim

from asr.audio import write_audio
from asr.data.manifest import read_manifest, write_manifest
from asr.training.checkpoint import Checkpoint, list_checkpoints, load_checkpoint
from asr.types import Utterance

SAMPLE_RATE = 8000
LETTERS = "abcd"
NUM_TRAIN, NUM_DEV = 20, 4
SHARE_AT_SAVES = 0.6  # of the kills; the others come at any moment, start and export included
LONGEST_DELAY_SECONDS = 0.02  # after a save has begun; shorter ones are likelier
CONFIG = (
    "data.batch_seconds=4",
    "features=logmel40",
    "features.normalize=utterance",
    "augment=standard",
    "model.hidden_size=24",
    "model.num_layers=2",
    "model.dropout=0.2",
    "optim.warmup_steps=5",
    "training.average_best=2",
    "training.log_every_steps=1",
    "training.checkpoint_steps=1",
    "machine.accelerator=cpu",
    "machine.precision=float32",
    "machine.num_threads=1",
    "machine.num_workers=2",
)


@dataclass
class Tally:
    kills: int = 0
    inside_saves: int = 0
    finished_runs: int = 0
    seen: set[str] = field(default_factory=set)  # what kills left unfinished


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--manifest", type=Path, help="train on its first utterances instead of on generated tones")
    parser.add_argument("--work", type=Path, help="an empty directory for the runs, which stay; else a temporary one")
    parser.add_argument(
        "--fork", action="store_true", help="fork processes that have imported everything: starts in no time"
    )
    parser.add_argument(
        "--processes", type=int, default=1, help="train with so many by torchrun; one of them is killed"
    )
    arguments = parser.parse_args()
    if arguments.fork and arguments.processes > 1:
        parser.error("--fork is for one process: torchrun starts its own")
    if arguments.fork:
        importlib.import_module("asr.experiment")
    with tempfile.TemporaryDirectory() as temporary:
        work = (arguments.work or Path(temporary)).resolve()
        work.mkdir(parents=True, exist_ok=True)
        try:
            tally = torture(work, arguments)
        except TortureError as error:
            print(f"LOST: {error}")
            sys.exit(1)
    print(
        f"EQUAL: weights, moments and every loss, after {tally.kills} kills, {tally.inside_saves} of them inside a "
        f"save ({', '.join(sorted(tally.seen)) or 'none'}), in {tally.finished_runs} runs"
    )


def data_overrides(work: Path, arguments: argparse.Namespace) -> list[str]:
    """What to train on, and for how long."""
    if arguments.manifest is None:
        train, dev = tones(work, "train", NUM_TRAIN), tones(work, "dev", NUM_DEV)
        rate = SAMPLE_RATE
    else:
        utterances = sorted(read_manifest(arguments.manifest), key=lambda u: u.duration)[: NUM_TRAIN + NUM_DEV]
        train, dev, rate = work / "train.jsonl", work / "dev.jsonl", 16000
        write_manifest(train, utterances[NUM_DEV:])
        write_manifest(dev, utterances[:NUM_DEV])
    options = [f"data.train=[{train}]", f"data.dev=[{dev}]", f"data.sample_rate={rate}"]
    return [*options, f"training.epochs={arguments.epochs}"]


def tones(work: Path, name: str, number: int) -> Path:
    """A manifest of texts whose letters are tones."""
    rng = np.random.default_rng(len(name))
    time_seconds = np.arange(SAMPLE_RATE // 8) / SAMPLE_RATE
    utterances = []
    for index in range(number):
        letters = rng.integers(len(LETTERS), size=rng.integers(2, 8))
        waveform = np.concatenate([0.3 * np.sin(2 * np.pi * (300 + 150 * letter) * time_seconds) for letter in letters])
        path = work / "audio" / f"{name}-{index}.wav"
        path.parent.mkdir(exist_ok=True)
        write_audio(path, waveform.astype(np.float32), SAMPLE_RATE)
        text = "".join(LETTERS[letter] for letter in letters)
        utterances.append(Utterance(f"{name}-{index}", str(path), len(waveform) / SAMPLE_RATE, text))
    write_manifest(work / f"{name}.jsonl", utterances)
    return work / f"{name}.jsonl"


def torture(work: Path, arguments: argparse.Namespace) -> Tally:
    """Make the undisturbed run and the killed ones; raises `TortureError` for whatever differs."""
    options = [*CONFIG, *data_overrides(work, arguments)]
    whole = make_victim(work, "whole", options, arguments)
    began = time.monotonic()
    whole.finish()
    whole_seconds = time.monotonic() - began
    print(f"the undisturbed run took {whole_seconds:.1f} s", flush=True)
    rng, tally = np.random.default_rng(arguments.seed), Tally()
    while tally.kills < arguments.kills:
        victim = make_victim(work, f"killed-{tally.finished_runs}", options, arguments)
        try:
            while tally.kills < arguments.kills and strike(victim, rng, whole_seconds, tally):
                print(f"kill {tally.kills}, {tally.inside_saves} inside saves; {victim.place()}", flush=True)
            victim.finish()
        finally:
            victim.end()
        tally.finished_runs += 1
        compare(whole.run_dir, victim.run_dir)
    return tally


def make_victim(work: Path, name: str, options: list[str], arguments: argparse.Namespace) -> Victim:
    if arguments.processes > 1:
        return Team(work, name, options, arguments.processes)
    return Victim(work, name, options, "fork" if arguments.fork else "spawn")


def strike(victim: Victim, rng: np.random.Generator, whole_seconds: float, tally: Tally) -> bool:
    """Have the run go on, and kill it; False when it came to its end before."""
    before = victim.saves()
    victim.begin()
    if rng.random() < SHARE_AT_SAVES:
        await_save(victim, saves_let_pass=int(rng.integers(4)))
        time.sleep(LONGEST_DELAY_SECONDS * 10 ** -rng.uniform(0, 4))
    else:
        victim.wait(rng.uniform(0, whole_seconds))
    after = victim.kill()
    if after is None:
        return False
    tally.kills += 1
    left = [name for name, changed_at in after.items() if before.get(name) != changed_at]
    tally.inside_saves += bool(left)
    tally.seen |= {".tmp" if name.startswith(".tmp") else f".{name.split('.')[1]}" for name in left}
    return True


def await_save(victim: Victim, saves_let_pass: int) -> None:
    """Return in the moment in which a checkpoint or a model is being written, after some others have been."""
    known, num_seen, was_writing = victim.saves(), 0, False
    while victim.is_running():
        now = victim.saves()
        is_writing = any(known.get(name) != changed_at for name, changed_at in now.items())
        num_seen += is_writing and not was_writing
        if num_seen > saves_let_pass:
            return
        known, was_writing = now, is_writing
        time.sleep(POLL_SECONDS)


def compare(whole: Path, killed: Path) -> None:
    """Raise `TortureError` that names the first difference between two finished runs."""
    expected, found = history(whole), history(killed)
    for one, other in zip(expected, found):
        if one != other:
            raise TortureError(f"{killed.name}: history.jsonl has {other}, the undisturbed run {one}")
    if len(expected) != len(found):
        raise TortureError(f"{killed.name}: {len(found)} records in history.jsonl, expected {len(expected)}")
    one, other = final(whole), final(killed)
    if without_time(one.state) != without_time(other.state):
        raise TortureError(f"{killed.name}: its last state is {other.state}, expected {one.state}")
    differing = [name for name in one.tensors if not same_bits(one.tensors[name], other.tensors.get(name))]
    if differing or one.tensors.keys() != other.tensors.keys():
        raise TortureError(f"{killed.name}: {len(differing)} of {len(one.tensors)} tensors differ, as {differing[:1]}")
    if (whole / "model" / "model.safetensors").read_bytes() != (killed / "model" / "model.safetensors").read_bytes():
        raise TortureError(f"{killed.name}: the exported weights differ")


def same_bits(one: Any, other: Any) -> bool:
    return other is not None and one.dtype == other.dtype and one.numpy().tobytes() == other.numpy().tobytes()


def history(run_dir: Path) -> list[dict[str, Any]]:
    """The records of a run, without how long things took."""
    records = [json.loads(line) for line in (run_dir / "history.jsonl").read_text().splitlines()]
    return [without_time(record) for record in records]


def without_time(values: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if name != "seconds"}


def final(run_dir: Path) -> Checkpoint:
    return load_checkpoint(list_checkpoints(run_dir / "checkpoints", "resume")[-1])


if __name__ == "__main__":
    main()
