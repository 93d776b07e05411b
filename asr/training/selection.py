"""Which of a run's epochs are exported: the best by the criterion, and as many of them as do best together."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from asr.processes import ALONE, Processes
from asr.training.checkpoint import average, checkpoint_number, list_checkpoints, only_whole
from asr.training.position import Position
from asr.training.task import Task


@dataclass(frozen=True, slots=True)
class ChosenMean:
    """Checkpoints whose mean is to be exported, and how it does on the validation set."""

    checkpoints: list[Path]  # none: the weights as they were after the last epoch
    values: dict[str, float]

    def describe(self) -> str:
        """Which epochs these are."""
        epochs = sorted(checkpoint_number(path) + 1 for path in self.checkpoints)
        if not epochs:
            return "last epoch"
        return f"mean of the epochs {', '.join(map(str, epochs))}" if len(epochs) > 1 else f"epoch {epochs[0]}"


def best_epochs(directory: Path, position: Position, number: int) -> list[Path]:
    """Weights of the best epochs by the criterion, best first; of two equals the one of lower loss.

    Epochs that lie ahead of `position`, because the run fell back behind them, do not count: they will come again.
    """
    by_epoch = {checkpoint_number(path): path for path in list_checkpoints(directory, "epoch")}
    done = [epoch for epoch in by_epoch if epoch < len(position.error_rates)]
    ranked = sorted(done, key=lambda epoch: (position.error_rates[epoch], position.losses[epoch]))
    return [by_epoch[epoch] for epoch in ranked[:number]]


def choose_mean(
    task: Task, best: Sequence[Path], note: Callable[[str], None], processes: Processes = ALONE
) -> ChosenMean:
    """Load the mean of the best epochs: of as many as give the lowest validation loss.

    The mean of neighbours in a flat valley beats each of them (Izmailov et al. 2018). Where a short run is still on
    its way down, the mean lies behind the best epoch instead. The loss decides, because the error rates of such
    candidates differ by a few words, which is chance. Damaged checkpoints are named and left out; when none is left,
    the weights that `task`'s model has, those after the last epoch, are taken.
    """
    found = only_whole(best, lambda message: note(f"{message}; this epoch is left out")) if processes.is_leader else []
    whole = processes.from_leader(found)
    candidates = [_mean(task, whole[:number]) for number in range(1, len(whole) + 1)]
    if not candidates:
        note("no checkpoint of a good epoch is whole: the weights after the last epoch are taken")
        return ChosenMean([], task.validate().values)
    chosen = min(candidates, key=lambda candidate: candidate.values["loss"])
    task.model.load_state_dict(average(chosen.checkpoints))
    return chosen


def _mean(task: Task, checkpoints: list[Path]) -> ChosenMean:
    task.model.load_state_dict(average(checkpoints))
    return ChosenMean(checkpoints, task.validate().values)
