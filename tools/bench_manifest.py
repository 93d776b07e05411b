"""Ten million lines: a manifest made up, indexed, opened again, read here and there, and an epoch of it planned.

Each step is a process of its own; memory is the most that it had resident beyond an interpreter with the same imports.
The manifest takes 1.9 GB, its index 0.4 GB, for as long as this runs, in the folder that TMPDIR names.
"""

from __future__ import annotations

import json
import multiprocessing
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

LINES = 10_000_000
READ = 20_000  # lines, at random
CHUNK = 100_000
WORDS = ("the", "of", "and", "to", "in", "that", "it", "was", "he", "his", "with", "as", "for", "had", "is", "not")
BATCH_SECONDS = 600.0
KIB_PER_MIB = 1024


def run() -> dict[str, float]:
    with tempfile.TemporaryDirectory() as folder:
        figures: dict[str, float] = {}
        for named in (True, False):  # lines with ids, and NeMo's usual ones without
            manifest = make_manifest(Path(folder), named)
            kind = "" if named else "no_ids_"
            open_index(make_small(Path(folder)))  # compiles, once for a machine
            for name, step in (("first_open", open_index), ("second_open", open_index), ("reading", read_lines)):
                figures |= {f"{kind}{name}_{unit}": figure for unit, figure in in_a_process(step, manifest).items()}
            if named:
                figures |= {f"plan_epoch_{unit}": value for unit, value in in_a_process(plan, manifest).items()}
                figures["manifest_bytes"] = float(manifest.stat().st_size)
            manifest.unlink()
        return figures


def make_manifest(folder: Path, named: bool, lines: int = LINES) -> Path:
    path = folder / f"{'named' if named else 'nameless'}-{lines}.jsonl"
    rng = np.random.default_rng(0)
    texts = [" ".join(rng.choice(WORDS, rng.integers(8, 30))) for _ in range(1000)]
    seconds = np.round(rng.lognormal(1.8, 0.6, 10_007), 3).tolist()
    with path.open("w") as file:
        for start in range(0, lines, CHUNK):
            rows = []
            for n in range(start, min(lines, start + CHUNK)):
                name = f"{n % 9973}-{n:08d}"
                row = {"id": name} if named else {}
                row |= {"audio_filepath": f"audio/{n % 9973}/{name}.flac", "duration": seconds[n % len(seconds)]}
                rows.append(json.dumps(row | {"text": texts[n % 1000], "speaker": f"s{n % 9973}"}) + "\n")
            file.write("".join(rows))
    return path


def make_small(folder: Path) -> Path:
    return make_manifest(folder, named=False, lines=10)


def open_index(path: Path) -> dict[str, float]:
    from asr.data.manifest_index import ManifestIndex

    started = time.perf_counter()
    index = ManifestIndex.open(path)
    return {"seconds": time.perf_counter() - started, "lines": float(len(index))}


def read_lines(path: Path) -> dict[str, float]:
    from asr.data.manifest_index import ManifestIndex

    index = ManifestIndex.open(path)
    wanted = np.random.default_rng(1).integers(0, len(index), READ).tolist()
    started = time.perf_counter()
    for line in wanted:
        index[line]
    return {"lines_per_second": READ / (time.perf_counter() - started)}


def plan(path: Path) -> dict[str, float]:
    from asr.data.manifest_index import ManifestIndex
    from asr.data.sampler import plan_epoch

    durations = ManifestIndex.open(path).durations
    started = time.perf_counter()
    batches = plan_epoch(durations, BATCH_SECONDS, seed=1, epoch=3)
    return {"seconds": time.perf_counter() - started, "batches": float(len(batches))}


def in_a_process(step: Callable[[Path], dict[str, float]], path: Path) -> dict[str, float]:
    """What a step finds in a fresh interpreter, and the memory that it took there."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(measured, (step, path))


def measured(step: Callable[[Path], dict[str, float]], path: Path) -> dict[str, float]:
    import asr.data.manifest_index
    import asr.data.sampler  # noqa: F401

    before = peak_mib()
    figures = step(path)
    return figures | {"mib": peak_mib() - before}


def peak_mib() -> float:
    """Of this process alone; getrusage would start from its parent's. Linux."""
    (line,) = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM")]
    return int(line.split()[1]) / KIB_PER_MIB


if __name__ == "__main__":
    for name, figure in run().items():
        print(f"{name:>40}  {figure:,.3f}")
