"""Imitations of corpora: synthesised audio under real file names, and a recipe run on it to its end."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from helpers import SAMPLE_RATE, sing
from rich.console import Console

from asr.audio import write_audio
from asr.cli.compose import compose_recipe
from asr.cli.prepare import prepare_stage
from asr.cli.run import evaluate_stage
from asr.cli.train import train_stage

# The smallest model and data flow that every recipe still goes through; a recipe's own features stay.
TINY = (
    "model.hidden_size=8",
    "model.num_layers=1",
    "model.projection_size=0",
    "augment.speeds=[1.0]",
    "training.epochs=1",
    "training.log_every_steps=1",
    "optim.warmup_steps=0",
    "machine.num_threads=1",
    "machine.accelerator=cpu",
    "machine.precision=float32",
)


def speak(path: Path, text: str, sample_rate: int = 16000, seed: int = 0) -> float:
    """Write an imitation of `text` being said, in the format of the path's suffix; returns its seconds."""
    letters = "".join(letter if "a" <= letter <= "z" else " " for letter in text.lower())
    waveform = sing(letters, np.random.default_rng(seed))
    repeats = sample_rate // SAMPLE_RATE  # the pitch rises by nothing: samples are held
    waveform = np.repeat(waveform, repeats)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_audio(path, waveform, SAMPLE_RATE * repeats)
    return len(waveform) / (SAMPLE_RATE * repeats)


def run_recipe(recipe: str, overrides: Sequence[str], directory: Path) -> dict[str, dict[str, Any]]:
    """Prepare, train for two steps or so, evaluate: what `asr run` does, in `directory`; the score of each test set."""
    places = (f"data.dir={directory / 'prepared'}", f"run_dir={directory / 'run'}")
    config = compose_recipe(recipe, [*TINY, *places, *overrides])
    assert prepare_stage(config)
    assert not prepare_stage(config), "prepared twice"
    model = train_stage(config)
    return evaluate_stage(config, model, Console(quiet=True))
