"""Put what `asr inspect` found in several models side by side: pictures, and a table in Markdown.

    python recipes/gradients/compare.py runs/gradients/*/inspect/test-strings/figures.json -o runs/gradients

With --scales MODEL MANIFEST it also draws how far the gradients of a model reach before training when its recurrent
weights are multiplied: vanishing and exploding, out of the same weights.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from asr.builders import load_model
from asr.cli.inspect import freshly_initialized, select
from asr.errors import ConfigError
from asr.files import write_text
from asr.inspection.drawing import AFTER as AFTER_COLOR
from asr.inspection.drawing import BEFORE as BEFORE_COLOR
from asr.inspection.drawing import FLOOR, finish_reach, plot_reach, save
from asr.inspection.reach import reach
from asr.inspection.report import AFTER, BEFORE
from asr.inspection.subjects import read_subjects

SCALES = (0.5, 1.0, 1.5, 2.0, 4.0)
SCALES_SHOWN = (1e-8, 1e8)  # absolute gradients
CELLS = ("rnn_tanh", "gru", "lstm")
COLORS = {BEFORE: BEFORE_COLOR, AFTER: AFTER_COLOR}
MAX_PLACES = 10
NUM_UTTERANCES = 30


def read(paths: Sequence[Path]) -> dict[tuple[str, int], dict[str, Any]]:
    """Figures by cell and number of directions. Raises `ConfigError` for a file that has none, or two of a kind."""
    found: dict[tuple[str, int], dict[str, Any]] = {}
    for path in paths:
        try:
            figures = json.loads(path.read_text(encoding="utf-8"))
            kind = (figures["cell"], figures["directions"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ConfigError(f"{path}: expected figures.json of `asr inspect`, got {error}") from error
        if kind in found:
            raise ConfigError(
                f"{path}: expected one model of each kind, got a second {kind[0]} of {kind[1]} directions"
            )
        found[kind] = figures
    return found


def draw(found: dict[tuple[str, int], dict[str, Any]], path: Path) -> None:
    """One panel a cell and number of directions, before and after training, relative to each side's peak."""
    figure = Figure(figsize=(15, 8), layout="constrained")
    panels = figure.subplots(2, len(CELLS), sharex=True, sharey=True)
    for row, directions in enumerate((1, 2)):
        for axes, cell in zip(panels[row], CELLS):
            if (cell, directions) in found:
                draw_panel(axes, found[cell, directions])
            axes.set_title(f"{cell}, {'one direction' if directions == 1 else 'two directions'}")
    panels[0, 0].legend(loc="upper left", fontsize="small")
    figure.suptitle("how far gradients reach: |∂ log p(token at t) / ∂ x(t − k)|, relative to each side's peak")
    save(figure, path)


def draw_panel(axes: Axes, figures: dict[str, Any]) -> None:
    """Both sides before and after training."""
    for when, color in COLORS.items():
        sides = figures["reach"][when]
        for side, sign in (("past", -1), ("future", 1)):
            values = np.array(sides[side]["relative"])
            if values[1:].any():
                milliseconds = sign * np.arange(len(values)) * figures["frame_ms"]
                axes.plot(milliseconds, values, color=color, label=when if side == "past" else None)
    axes.axvline(0, color="grey", linewidth=0.8)
    axes.set(yscale="log", ylim=(FLOOR, 2), xlabel="← past    ms from the token's own frame    future →")
    axes.grid(alpha=0.3)


def table(found: dict[tuple[str, int], dict[str, Any]]) -> str:
    """Time constants and reaches, a line a model."""
    lines = [
        "| cell | directions | τ past before | τ past after | τ future before | τ future after "
        "| 90 % of the past after | 90 % of the future after |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for cell, directions in sorted(found, key=lambda kind: (CELLS.index(kind[0]), kind[1])):
        reaches = found[cell, directions]["reach"]
        taus = [milliseconds(reaches[when][s]["time_constant_ms"]) for s in ("past", "future") for when in COLORS]
        bulk = [within(reaches[AFTER][side], found[cell, directions]["frame_ms"]) for side in ("past", "future")]
        lines.append(f"| {' | '.join([cell, str(directions), *taus, *bulk])} |")
    return "\n".join(lines) + "\n"


def milliseconds(value: float | None) -> str:
    """A time constant, or a dash where there is none."""
    return "–" if value is None else f"{value:.0f} ms"


def within(side: dict[str, Any], frame_ms: float) -> str:
    """The stretch that holds 90 % of a side, or a dash where the side is empty."""
    return milliseconds(None if not any(side["relative"][1:]) else side["reach_ms"] + frame_ms)


def draw_scales(model: Path, manifest: str, seed: int, path: Path) -> None:
    """Before training, with all recurrent weights multiplied: the gradient vanishes, keeps, or explodes."""
    recognizer = load_model(model)
    frame_seconds = recognizer.samples_per_frame / recognizer.sample_rate
    subjects = read_subjects(recognizer, select(manifest, NUM_UTTERANCES), show_progress=False)
    figure = Figure(figsize=(9, 6), layout="constrained")
    axes = figure.subplots()
    for number, scale in enumerate(SCALES):
        fresh = freshly_initialized(model, recognizer, seed)
        with torch.no_grad():
            for name, parameter in fresh.encoder.named_parameters():
                if "weight_hh" in name:
                    parameter.mul_(scale)
        found = reach(fresh, subjects, frame_seconds, MAX_PLACES)
        plot_reach(axes, found, f"C{number}", f"recurrent weights × {scale:g}", is_relative=False)
        print(f"× {scale:g}: {found.sentence('past')}")
    finish_reach(axes, frame_seconds)
    axes.set_ylim(*SCALES_SHOWN)
    axes.legend(fontsize="small")
    axes.set_title("before training: |∂ log p(token at t) / ∂ x(t − k)|, mean over tokens")
    save(figure, path)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("figures", nargs="+", type=Path, help="figures.json of `asr inspect`, one for each model")
    parser.add_argument("-o", "--output-dir", type=Path, required=True)
    parser.add_argument("--scales", nargs=2, metavar=("MODEL", "MANIFEST"), help="draw scales.png, too")
    parser.add_argument("--seed", type=int, default=1, help="of the weights for --scales")
    arguments = parser.parse_args()
    found = read(arguments.figures)
    draw(found, arguments.output_dir / "reach.png")
    write_text(arguments.output_dir / "reach.md", table(found))
    print(table(found), end="")
    if arguments.scales:
        draw_scales(Path(arguments.scales[0]), arguments.scales[1], arguments.seed, arguments.output_dir / "scales.png")


if __name__ == "__main__":
    main()
