"""The pictures of `asr inspect`."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from asr.files import replacing
from asr.inspection.gates import GateUse
from asr.inspection.monitors import ALL, CLIP_SCALE, GRADIENT
from asr.inspection.reach import Curve, Reach, Side
from asr.inspection.saliency import WordSaliency
from asr.inspection.subjects import Subject
from asr.report.figures import plot_posteriors
from asr.text.tokens import SPACE
from asr.types import Seconds

DPI = 110
BEFORE, AFTER = "#d9822b", "#3d7fe0"
CLOSED, BETWEEN, OPEN = "#b5483a", "#d5d8dd", "#3d7fe0"
FLOOR = 1e-6  # of the peak: the relative picture ends there
LETTERS_PER_INCH = 11  # of a heading
WORDS_SHOWN = 6  # one map each; figures.json has all
DECADES = 12  # of the absolute picture
CROP_SECONDS = 0.5  # to either side of a word, in the picture of its map
TICKS_HZ = (500, 1000, 2000, 4000, 8000)
MAP_STEEPNESS = 0.5  # maps are drawn as map ** 0.5, so that what is weak is still seen


def save(figure: Figure, path: Path) -> None:
    """Write a figure as PNG, whole or not at all."""
    with replacing(path) as temporary:
        figure.savefig(temporary, format="png", dpi=DPI)


# ---- reach -----------------------------------------------------------------------------------------------------------


def draw_reach(curves: Mapping[str, Reach], path: Path, title: str) -> None:
    """Draw the reach of a model, or of several, absolute and relative; what is said of the last stands below."""
    figure = Figure(figsize=(13, 6), layout="constrained")
    left, right = figure.subplots(1, 2)
    for (name, reach), color in zip(curves.items(), (BEFORE, AFTER)):
        plot_reach(left, reach, color, name, is_relative=False)
        plot_reach(right, reach, color, name, is_relative=True)
    left.set(title="absolute: |∂ log p(token at t) / ∂ x(t − k)|, mean over tokens")
    right.set(title="relative to the peak of each side, with the exponential fitted to it", ylim=(FLOOR, 3))
    for axes in (left, right):
        finish_reach(axes, next(iter(curves.values())).frame_seconds)
        axes.legend(loc="upper left", fontsize="small")
    last, reach = list(curves.items())[-1]
    sentences = "\n".join(f"{last}: {reach.sentence(side)}" for side in ("past", "future"))
    figure.suptitle(title)
    figure.supxlabel(sentences, fontsize="medium")
    save(figure, path)


def plot_reach(axes: Axes, reach: Reach, color: str, label: str, *, is_relative: bool) -> None:
    """Both sides of a reach over time: the past on the left, the future on the right."""
    sides: tuple[tuple[Side, int], ...] = (("past", -1), ("future", 1))
    for side, sign in sides:
        curve = reach.side(side)
        if curve.is_zero:
            continue
        values = curve.relative if is_relative else curve.absolute
        shown = np.where(values > 0, values, np.nan)
        axes.plot(sign * np.arange(len(values)), shown, color=color, label=label if side == "past" else None)
        if is_relative:
            _plot_fit(axes, curve, sign, color)


def _plot_fit(axes: Axes, curve: Curve, sign: int, color: str) -> None:
    decay = curve.decay()
    if decay is None:
        return
    distances = np.arange(decay.first_frame, decay.last_frame + 1)
    inside = curve.relative[distances]
    line = distances * np.log(decay.factor_per_frame)
    # least squares on the logarithm: the line goes through the mean of the points
    offset = np.log(inside[inside > 0]).mean() - line[inside > 0].mean()
    axes.plot(sign * distances, np.exp(line + offset), color=color, linestyle=":", linewidth=1.2)


def finish_reach(axes: Axes, frame_seconds: Seconds) -> None:
    """Logarithmic height, and time in milliseconds along the top."""
    axes.set_yscale("log")
    low, high = axes.get_ylim()
    axes.set_ylim(max(low, high / 10.0**DECADES), high)
    axes.axvline(0, color="grey", linewidth=0.8)
    axes.set_xlabel("← past    frames from the token's own    future →")

    def to_ms(frames: Any) -> Any:
        return 1000 * frame_seconds * frames

    def to_frames(milliseconds: Any) -> Any:
        return milliseconds / (1000 * frame_seconds)

    top = axes.secondary_xaxis("top", functions=(to_ms, to_frames))
    top.tick_params(labelsize="x-small")
    top.set_xlabel("ms", fontsize="x-small")
    axes.grid(alpha=0.3)


# ---- gates -----------------------------------------------------------------------------------------------------------


def draw_gates(uses: Mapping[str, Sequence[GateUse]], path: Path, title: str) -> None:
    """Draw how much of the time each gate is shut, open and between, a panel for each of the named models."""
    rows = max(map(len, uses.values()))
    figure = Figure(figsize=(6.5 * len(uses), 1.8 + 0.32 * rows), layout="constrained")
    panels = figure.subplots(1, len(uses), sharey=True, squeeze=False)[0]
    for axes, (name, listed) in zip(panels, uses.items()):
        places = np.arange(len(listed))
        low, high = (np.array([getattr(use, field) for use in listed]) for field in ("share_low", "share_high"))
        axes.barh(places, low, color=CLOSED, label="lowest tenth of its range")
        axes.barh(places, 1 - low - high, left=low, color=BETWEEN, label="between")
        axes.barh(places, high, left=1 - high, color=OPEN, label="highest tenth")
        for place, use in zip(places, listed):
            axes.text(
                0.5 * (1 + use.share_low - use.share_high), place, _memory(use), ha="center", va="center", fontsize=7
            )
        axes.set(title=name, xlim=(0, 1), xlabel="share of units and frames")
        axes.set_yticks(places, [f"{use.layer}: {use.gate}" for use in listed])
    panels[0].invert_yaxis()
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=3, fontsize="small")
    figure.suptitle(title)
    save(figure, path)


def _memory(use: GateUse) -> str:
    return f"keeps {use.memory_frames[1]:.1f} frames" if use.memory_frames else ""


# ---- gradients through training --------------------------------------------------------------------------------------


def draw_gradients(records: Sequence[Mapping[str, Any]], path: Path, title: str) -> None:
    """Draw the gradient's norm by layer against the step, as it was and as it was clipped.

    records: of a `GradientMonitor`, from history.jsonl.
    """
    figure = Figure(figsize=(13, 5), layout="constrained")
    left, right = figure.subplots(1, 2, sharex=True, sharey=True)
    steps = np.array([record["step"] for record in records])
    scales = np.array([record.get(CLIP_SCALE, 1.0) for record in records])
    for name in [key.removeprefix(GRADIENT) for key in records[0] if key.startswith(GRADIENT)]:
        norms = np.array([record[GRADIENT + name] for record in records])
        style = {"color": "black", "linewidth": 1.4} if name == ALL else {"alpha": 0.8, "linewidth": 1.0}
        left.plot(steps, norms, label=name, **style)
        right.plot(steps, norms * scales, label=name, **style)
    left.set(title="before clipping", ylabel="norm of the gradient", xlabel="step", yscale="log")
    right.set(title="after clipping by the norm", xlabel="step")
    for axes in (left, right):
        axes.grid(alpha=0.3)
    left.legend(fontsize="small")
    figure.suptitle(title)
    save(figure, path)


# ---- one utterance ---------------------------------------------------------------------------------------------------


def draw_utterance(subject: Subject, token_names: Sequence[str], frame_seconds: Seconds, path: Path) -> None:
    """Draw the features over the posteriors, with the tokens where the best path has them."""
    figure = Figure(figsize=(_width(subject.duration), 5.5), layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=[1, 1])
    _show_features(above, subject)
    plot_posteriors(below, subject.posteriors, subject.runs, frame_seconds)
    for place in subject.places:
        name = token_names[place.token]
        middle = (place.frame + 0.5) * frame_seconds
        below.annotate("␣" if name == SPACE else name, (middle, 1.03), ha="center", va="bottom", fontsize="small")
        for axes in (above, below):
            axes.axvline(middle, color="#8a8f98", linewidth=0.6, linestyle=":")
    below.set(ylim=(0, 1.18), xlim=(0, subject.duration), xlabel="seconds", ylabel="posterior probability")
    figure.suptitle(_heading(subject))
    save(figure, path)


def draw_saliency(subject: Subject, words: Sequence[WordSaliency], frame_seconds: Seconds, path: Path) -> None:
    """Draw the features, which times each word depends on, and the words' maps over time and frequency."""
    figure = Figure(figsize=(_width(subject.duration), 7.5 + 0.3 * len(words)), layout="constrained")
    halves: Any = figure.subfigures(2, 1, height_ratios=[2.6 + 0.3 * len(words), 4.5])
    above, below = halves
    features, times = above.subplots(2, 1, sharex=True, height_ratios=[2.0, 0.4 + 0.3 * len(words)])
    _show_features(features, subject)
    _show_times(times, subject, words, frame_seconds)
    shown = words[:WORDS_SHOWN]
    for column, (word, panels) in enumerate(zip(shown, below.subplots(2, len(shown), squeeze=False).T)):
        for axes, rows, cmap in zip(panels, (subject.features.numpy(), word.map**MAP_STEEPNESS), ("viridis", "magma")):
            _show(axes, rows, subject, cmap)
            for frame in (word.start_frame, word.end_frame):
                axes.axvline(frame * frame_seconds, color="white", linewidth=1.0)
            middle = 0.5 * (word.start_frame + word.end_frame) * frame_seconds
            axes.set_xlim(middle - CROP_SECONDS, middle + CROP_SECONDS)
            if column:
                axes.set_yticklabels([])
                axes.set_ylabel("")
        panels[0].set_title(word.text)
        panels[1].set_xlabel("seconds")
    below.suptitle("words: their features, and below what in them the word depends on", fontsize="small")
    figure.suptitle(_heading(subject))
    save(figure, path)


def _show_times(axes: Axes, subject: Subject, words: Sequence[WordSaliency], frame_seconds: Seconds) -> None:
    over_time = np.stack([word.map.sum(axis=1) for word in words])
    over_time = over_time / np.maximum(over_time.max(axis=1, keepdims=True), np.finfo(np.float64).tiny)
    edges = (0.0, _rows_end(subject), len(words) - 0.5, -0.5)
    axes.imshow(over_time**MAP_STEEPNESS, aspect="auto", extent=edges, cmap="magma", interpolation="nearest")
    axes.set_yticks(range(len(words)), [word.text for word in words])
    axes.set_title("which times each word depends on; white: where CTC writes it", fontsize="small", loc="left")
    for number, word in enumerate(words):
        for frame in (word.start_frame, word.end_frame):
            axes.plot([frame * frame_seconds] * 2, [number - 0.5, number + 0.5], color="white", linewidth=1.0)
    axes.set(xlabel="seconds", xlim=(0, subject.duration))


def _show_features(axes: Axes, subject: Subject) -> None:
    _show(axes, subject.features.numpy(), subject, "viridis")
    axes.set_title("features, as the model sees them", fontsize="small", loc="left")


def _show(axes: Axes, rows: Any, subject: Subject, cmap: str) -> None:
    """(T, F) over time, the first feature at the bottom; log-mel features are named by their frequencies."""
    extent = (0.0, _rows_end(subject), -0.5, rows.shape[1] - 0.5)
    axes.imshow(rows.T, aspect="auto", origin="lower", extent=extent, cmap=cmap, interpolation="nearest")
    if subject.mel_hz is None:
        axes.set_ylabel("feature")
        return
    shown = [hertz for hertz in TICKS_HZ if hertz <= subject.mel_hz[-1]]
    axes.set_yticks(np.interp(shown, subject.mel_hz, np.arange(len(subject.mel_hz))), [f"{h / 1000:g}" for h in shown])
    axes.set_ylabel("kHz")


def _rows_end(subject: Subject) -> Seconds:
    """Where the last feature frame ends on the axis of time, counting each as one shift long."""
    return len(subject.features) * subject.row_seconds


def _width(duration: Seconds) -> float:
    return min(max(3.0 * duration, 11.0), 24.0)


def _heading(subject: Subject) -> str:
    lines = [subject.utterance.id, f"hypothesis: {subject.text}"]
    if subject.utterance.text:
        lines.append(f"reference: {subject.utterance.text}")
    return "\n".join(textwrap.fill(line, int(LETTERS_PER_INCH * _width(subject.duration))) for line in lines)
