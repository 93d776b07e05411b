"""What `asr tune` shows: tables, the picture of the surface, and the note on the model's card."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.table import Table

    from asr.decoding.tuning import Range, Trial
    from asr.emissions import EmissionTable
    from asr.scoring.errors import Score

CONTOUR_SHARE = 0.8  # of the trials, the better ones, share the colours


def comparison_table(baselines: Mapping[str, "Score"], best: "Trial") -> "Table":
    """Error rates without and with the language model."""
    from rich import box
    from rich.table import Table

    table = Table("", box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for column in ("WER %", "CER %", "lm_weight", "word_bonus"):
        table.add_column(column, justify="right")
    for name, score in baselines.items():
        table.add_row(name, f"{100 * score.wer:.2f}", f"{100 * score.cer:.2f}", "", "")
    rates = (f"{100 * best.wer:.2f}", f"{100 * best.cer:.2f}")
    table.add_row("with the language model", *rates, f"{best.lm_weight:.3f}", f"{best.word_bonus:.3f}", style="bold")
    return table


def surface_table(trials: Sequence["Trial"], lm_weights: "Range", word_bonuses: "Range", metric: str) -> "Table":
    """The lowest error rate of each cell of weights, the lowest of all in bold."""
    from rich import box
    from rich.table import Table

    from asr.decoding.tuning import surface

    cells = surface(trials, lm_weights, word_bonuses, metric)
    lowest = min(rate for row in cells for rate in row if rate is not None)
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for heading in ["", *(f"{center:.2f}" for center in word_bonuses.centers())]:
        table.add_column(heading, justify="right")
    for center, row in zip(lm_weights.centers(), cells):
        table.add_row(f"[dim]{center:.2f}[/]", *(_cell(rate, lowest) for rate in row))
    return table


def _cell(rate: float | None, lowest: float) -> str:
    if rate is None:
        return "[dim]–[/]"
    return f"[bold]{100 * rate:.2f}[/]" if rate == lowest else f"{100 * rate:.2f}"


def draw_surface(trials: Sequence["Trial"], metric: str, path: Path) -> None:
    """Draw the error rate over both weights, a dot for each trial and a star on the best."""
    import numpy as np
    from matplotlib.figure import Figure

    from asr.decoding.tuning import best
    from asr.files import replacing

    points = np.array([(trial.lm_weight, trial.word_bonus) for trial in trials])
    rates = 100 * np.array([getattr(trial, metric) for trial in trials])
    figure = Figure(figsize=(8, 6.5), layout="constrained")
    axis = figure.subplots()
    # Far from the valley rates are several times as high: those would take all the colours.
    highest = np.quantile(rates, CONTOUR_SHARE)
    in_a_plane = np.linalg.matrix_rank(points - points[0]) == 2  # points on a line have no triangles between them
    if in_a_plane and highest > rates.min():
        filled = axis.tricontourf(points[:, 0], points[:, 1], np.minimum(rates, highest), levels=14, cmap="viridis")
        figure.colorbar(filled, ax=axis, label=f"{metric.upper()} (%); from {highest:.2f} on all is one colour")
    axis.plot(points[:, 0], points[:, 1], "o", color="white", markeredgecolor="black", markersize=4, label="trials")
    chosen = best(trials, metric)
    label = f"best: {100 * getattr(chosen, metric):.2f} % at ({chosen.lm_weight:.2f}, {chosen.word_bonus:.2f})"
    axis.plot(
        chosen.lm_weight, chosen.word_bonus, "*", color="red", markeredgecolor="white", markersize=18, label=label
    )
    axis.use_sticky_edges = False
    axis.margins(0.05)
    axis.set(xlabel="lm_weight", ylabel="word_bonus", title=f"{metric.upper()} over the weights")
    figure.legend(loc="outside lower center", ncols=2)
    with replacing(path) as temporary:
        figure.savefig(temporary, format="png", dpi=110)


def card_note(
    baselines: Mapping[str, "Score"], best: "Trial", lm: Path | None, source: Path, table: "EmissionTable"
) -> str:
    """What the model's card says of the tuning."""
    from asr.decoding.tuning import is_test_set
    from asr.training.run_directory import command

    name = table.source or source.name
    rates = ", ".join(f"{label} {100 * score.wer:.2f} %" for label, score in baselines.items())
    model = f"the language model `{lm.name}`" if lm is not None else "its language model"
    note = (
        f"Decoding with {model} was tuned by `{command()}` on `{name}` ({len(table.ids)} utterances): "
        f"lm_weight {best.lm_weight:.3f}, word_bonus {best.word_bonus:.3f}. Word error rate there: {rates}, "
        f"with the language model {100 * best.wer:.2f} %, which flatters."
    )
    if is_test_set(source) or is_test_set(name):
        note += f" **`{name}` is a test set by its name: figures on it are no longer independent.**"
    return note
