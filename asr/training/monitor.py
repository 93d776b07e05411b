"""What a person sees of a run: a live progress bar, one line an epoch, TensorBoard, history.jsonl and curves.png."""

import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from torch.utils.tensorboard import SummaryWriter

from asr.errors import OutputError
from asr.files import replacing, write_text
from asr.training.dev_figures import describe_parts
from asr.training.hints import Seen, advise
from asr.training.time_left import TimeLeft, clock_time

HISTORY = "history.jsonl"
ORDER = {"step": "step", "epoch": "epoch", "inspection": "step"}  # kind of record -> what says whether it came before
# Validation figures in an epoch's line, where the task has them.
COLUMNS = {
    "wer": "WER {:7.2%}",
    "cer": "CER {:7.2%}",
    "perplexity": "perplexity {:8.3f}",
    "word_perplexity": "a word {:8.2f}",
}
ALL_BLANK = 0.999  # of the frames
SECONDS_BETWEEN_DRAWINGS = 30.0  # drawing takes half a second: too much for epochs of one


class Monitor:
    """Records steps and epochs of one run directory. `resume` forgets what came after the checkpoint.

    is_leader: whether this process writes: of several that train together one does. Raises `OutputError` where the
    history cannot be written.
    """

    def __init__(
        self, run_dir: Path, num_epochs: int, console: Console | None = None, *, is_leader: bool = True
    ) -> None:
        self.run_dir = run_dir
        self.num_epochs = num_epochs
        self.is_leader = is_leader
        self.console = console or Console()
        self.records: list[dict[str, Any]] = []
        self._drawn_at = time.monotonic()
        self._bar: Progress | None = None
        self._time_left = TimeLeft(num_epochs)
        self._last_hint = ""
        self._writer: SummaryWriter | None = None

    def resume(self, step: int, epoch: int) -> None:
        """Take up the history where `step` and `epoch` come next; what was recorded of them will be recorded anew."""
        if not self.is_leader:
            return
        path = self.run_dir / HISTORY
        lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
        next_up = {"step": step, "epoch": epoch}
        records = [record for record in map(_record, lines) if record is not None]
        self.records = [r for r in records if _place(r) < next_up[ORDER[r["kind"]]]]
        write_text(path, "".join(json.dumps(record) + "\n" for record in self.records))
        self._writer = SummaryWriter(str(self.run_dir / "tensorboard"), purge_step=step)

    def __enter__(self) -> "Monitor":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop_bar()
        if self.is_leader:
            draw_curves(self.records, self.run_dir / "curves.png")
        if self._writer is not None:
            self._writer.close()

    def start_epoch(self, epoch: int, num_batches: int, done: int) -> None:
        """Show the bar of an epoch of which `done` batches were trained before."""
        self._bar = Progress(
            TextColumn("epoch {task.fields[place]}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("loss {task.fields[loss]}"),
            TextColumn("run ends in {task.fields[left]}"),
            console=self.console,
            transient=True,
            disable=not self.console.is_terminal,  # there a bar would leave an empty line
        )
        self._time_left.start_epoch(epoch, num_batches, done)
        places = f"{epoch + 1}/{self.num_epochs}"
        self._bar.add_task("", total=num_batches, completed=done, place=places, loss="…", left=self._left())
        self._bar.start()

    def advance(self) -> None:
        """One batch more."""
        if self._bar is not None:
            self._time_left.advance()
            self._bar.update(self._bar.task_ids[0], advance=1, left=self._left())

    def _left(self) -> str:
        return clock_time(self._time_left.seconds())

    def step(self, step: int, epoch: int, values: dict[str, float]) -> None:
        """Record training figures: loss (nats a label), lr, grad_norm."""
        if self._bar is not None:
            self._bar.update(self._bar.task_ids[0], loss=f"{values['loss']:.3f}")
        self._record({"kind": "step", "step": step, "epoch": epoch, **values}, prefix="train")

    def inspection(self, step: int, epoch: int, values: dict[str, float]) -> None:
        """Record what a look inside the model found in a step."""
        self._record({"kind": "inspection", "step": step, "epoch": epoch, **values}, prefix="inspection")

    def epoch(self, step: int, epoch: int, values: dict[str, float], is_best: bool) -> None:
        """Record validation figures, print the epoch's line, and redraw the curves now and then."""
        self._stop_bar()
        self._time_left.end_epoch()
        self._record({"kind": "epoch", "step": step, "epoch": epoch, **values}, prefix="dev")
        line = epoch_line(epoch + 1, self.num_epochs, values, is_best)
        self.console.print(line, highlight=False, soft_wrap=True)
        if self.is_leader and time.monotonic() - self._drawn_at > SECONDS_BETWEEN_DRAWINGS:
            draw_curves(self.records, self.run_dir / "curves.png")
            self._drawn_at = time.monotonic()

    def advise(self, num_epochs: int, peak_lr: float) -> None:
        """Say what the history tells of a run that does not learn: when that is new, and now and then again."""
        epochs, steps = ([r for r in self.records if r["kind"] == kind] for kind in ("epoch", "step"))
        if not epochs:  # the first process has them
            return
        hint = advise(Seen(epochs, steps, num_epochs, peak_lr))
        if hint is not None and (hint.kind != self._last_hint or shows_samples(epochs[-1]["epoch"] + 1, num_epochs)):
            self.note(f"  [yellow]{escape(hint.text)}[/]")
        self._last_hint = hint.kind if hint is not None else ""

    def samples(self, pairs: Sequence[tuple[str, str]]) -> None:
        """Show references with what the model made of them."""
        for reference, hypothesis in pairs:
            lines = f"    [dim]ref[/] {escape(reference)}\n    [dim]hyp[/] {escape(hypothesis) or '[dim](nothing)[/]'}"
            self.console.print(lines, highlight=False, soft_wrap=True)

    def note(self, message: str) -> None:
        """Tell the user something, above the bar."""
        self.console.print(message, highlight=False, soft_wrap=True)

    def _record(self, record: dict[str, Any], prefix: str) -> None:
        if not self.is_leader:
            return
        self.records.append(record)
        try:
            with (self.run_dir / HISTORY).open("a", encoding="utf-8") as file:
                file.write(json.dumps(record) + "\n")
            if self._writer is not None:
                for name in record.keys() - {"kind", "step", "epoch"}:
                    self._writer.add_scalar(f"{prefix}/{name}", record[name], record["step"])
        except OSError as error:
            raise OutputError(
                f"the history in {self.run_dir} cannot be written: {error.strerror or error}; checkpoints are "
                "untouched. See that there is room; the same command then goes on from the last one"
            ) from error

    def _stop_bar(self) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = None


def _record(line: str) -> dict[str, Any] | None:
    """A record of a kind that is known; None for the last line of a run that was killed while it wrote."""
    try:
        record = json.loads(line)
    except ValueError:
        return None
    return record if isinstance(record, dict) and record.get("kind") in ORDER else None


def _place(record: Mapping[str, Any]) -> int:
    place: int = record[ORDER[record["kind"]]]
    return place


def epoch_line(epoch: int, num_epochs: int, values: dict[str, float], is_best: bool) -> str:
    """One epoch in one line."""
    columns = [f"epoch {epoch:{len(str(num_epochs))}d}/{num_epochs}"]
    columns += [f"loss {values['train_loss']:.3f}  dev {values['loss']:.3f}"]
    columns += [form.format(values[name]) for name, form in COLUMNS.items() if name in values]
    columns += [f"({parts})"] if (parts := describe_parts(values)) else []
    columns += ["no words"] if values.get("words") == 0 else []
    columns += [clock_time(values["seconds"])]
    columns += ["all blank"] if values.get("blank_share", 0.0) > ALL_BLANK else []
    columns += ["[green]best[/]"] if is_best else []
    return "  ".join(columns)


def shows_samples(epoch: int, num_epochs: int) -> bool:
    """Whether samples are shown after an epoch, from 1: after 1, 2, 4, 8, … and the last one.

    >>> [epoch for epoch in range(1, 31) if shows_samples(epoch, 30)]
    [1, 2, 4, 8, 16, 30]
    """
    return epoch & (epoch - 1) == 0 or epoch == num_epochs


def draw_curves(records: Sequence[dict[str, Any]], path: Path) -> None:
    """Draw loss, validation figures, learning rate and gradient norm against the step."""
    steps = [record for record in records if record["kind"] == "step"]
    epochs = [record for record in records if record["kind"] == "epoch"]
    from matplotlib.figure import Figure  # takes a second, which the first step need not wait for

    figure = Figure(figsize=(11, 7), layout="constrained")
    axes = figure.subplots(2, 2, sharex=True)
    _plot(axes[0, 0], steps, "loss", "training", scale=1.0, alpha=0.35)
    _plot(axes[0, 0], epochs, "train_loss", "training, mean of the epoch", scale=1.0)
    _plot(axes[0, 0], epochs, "loss", "validation", scale=1.0)
    axes[0, 0].set(title="loss (nats a label)", yscale="log")
    axes[0, 0].legend()
    _plot_criterion(axes[0, 1], epochs)
    _plot(axes[1, 0], steps, "lr", "", scale=1.0)
    axes[1, 0].set(title="learning rate", xlabel="step", ylim=(0, None))
    _plot(axes[1, 1], steps, "grad_norm", "", scale=1.0)
    axes[1, 1].set(title="gradient norm before clipping", xlabel="step", yscale="log")
    for axis in axes.flat:
        axis.grid(alpha=0.3)
    with replacing(path) as temporary:
        figure.savefig(temporary, format="png", dpi=110)


def _plot_criterion(axis: Any, epochs: Sequence[dict[str, Any]]) -> None:
    """Error rates of an acoustic model, perplexity of a language model."""
    if any("perplexity" in record for record in epochs):
        _plot(axis, epochs, "perplexity", "a token", scale=1.0)
        axis.set(title="validation perplexity", yscale="log")
    else:
        _plot(axis, epochs, "wer", "words", scale=100.0)
        _plot(axis, epochs, "cer", "characters", scale=100.0)
        axis.set(title="validation error rate (%)", ylim=(0, None))
    axis.legend()


def _plot(
    axis: Any, records: Sequence[dict[str, Any]], name: str, label: str, scale: float, alpha: float = 1.0
) -> None:
    records = [record for record in records if name in record]  # a set without words has no error rate
    marker = "o" if 0 < len(records) < 3 else None  # one point makes no line
    axis.plot(
        [record["step"] for record in records],
        [scale * record[name] for record in records],
        label=label,
        alpha=alpha,
        marker=marker,
    )
