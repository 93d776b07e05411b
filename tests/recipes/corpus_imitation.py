"""Imitations of corpora: synthesised audio under real file names, servers for them, and a recipe run to its end."""

import tarfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from helpers import SAMPLE_RATE, sing
from rich.console import Console

from asr.audio import write_audio
from asr.cli.closing import evaluate_stage
from asr.cli.compose import compose_recipe
from asr.cli.prepare import prepare_stage
from asr.cli.train import train_stage

# The smallest model and data flow that every recipe still goes through; a recipe's own features stay.
TINY = (
    "model.hidden_size=8",
    "model.num_layers=1",
    "model.projection_size=0",
    "augment.speeds=[1.0]",
    "training.epochs=2",  # two steps even of one batch
    "training.log_every_steps=1",
    "optim.warmup_steps=0",
    "machine.num_threads=1",
    "machine.accelerator=cpu",
    "machine.precision=float32",
)


def speak(path: Path, text: str, sample_rate: int = 16000, seed: int = 0) -> float:
    """Write an imitation of `text` being said, in the format of the path's suffix (.sph: NIST); returns its seconds."""
    letters = "".join(letter if "a" <= letter <= "z" else " " for letter in text.lower())
    waveform = sing(letters, np.random.default_rng(seed))
    num_samples = len(waveform) * sample_rate // SAMPLE_RATE
    waveform = waveform[np.arange(num_samples) * SAMPLE_RATE // sample_rate]  # samples are held: no pitch rises
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix.lower() == ".sph":
        soundfile.write(path, waveform, sample_rate, format="NIST", subtype="PCM_16")
    else:
        write_audio(path, waveform, sample_rate)
    return num_samples / sample_rate


def pack(archive: Path, root: Path, *names: str) -> Path:
    """Write a tar (compressed after its suffix) of files and folders of `root`, under their names there."""
    archive.parent.mkdir(parents=True, exist_ok=True)
    kind = {".bz2": "w:bz2", ".gz": "w:gz", ".tgz": "w:gz"}.get(archive.suffix, "w")
    with tarfile.open(archive, kind) as tar:
        for name in names:
            tar.add(root / name, arcname=name)
    return archive


def pack_evil(archive: Path) -> Path:
    """Write a tar.gz with a good file and, behind it, a symbolic link that leads out of the folder."""
    archive.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(archive, "w:gz") as tar:
        tar.addfile(tarfile.TarInfo("good.txt"))
        link = tarfile.TarInfo("LibriSpeech")
        link.type, link.linkname = tarfile.SYMTYPE, "/tmp"
        tar.addfile(link)
    return archive


@contextmanager
def serving(folder: Path) -> Iterator[str]:
    """The files of a folder at http://127.0.0.1:port; gives that address."""
    handler = type("Handler", (SimpleHTTPRequestHandler,), {"log_message": lambda *_: None})
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(handler, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def run_recipe(recipe: str, overrides: Sequence[str], directory: Path) -> dict[str, dict[str, Any]]:
    """Prepare, train for two steps or so, evaluate: what `asr run` does, in `directory`; the score of each test set."""
    places = (f"data.dir={directory / 'prepared'}", f"run_dir={directory / 'run'}")
    config = compose_recipe(recipe, [*TINY, *places, *overrides])
    assert prepare_stage(config)
    assert not prepare_stage(config), "prepared twice"
    model = train_stage(config)
    return evaluate_stage(config, model, Console(quiet=True), config.data.test)[0]
