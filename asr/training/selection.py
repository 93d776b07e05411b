"""Which of a run's epochs are exported: the best by the criterion, and as many of them as do best together.

The character error rate orders weak models as a reader would: of two whose words are nearly all wrong, the one that
spells more of them. Word error rates do not: a model that says nothing has 100 %, one that says something often more.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from asr.processes import ALONE, Processes
from asr.training.checkpoint import average, checkpoint_number, list_checkpoints, only_whole
from asr.training.position import Position
from asr.training.task import Task

SILENT = 1000.0  # above every error rate and loss, see `ranked`
ERROR_RATES = ("cer", "wer")
HOPELESS = 0.9  # an error rate from which on it tells nothing
FALLS_BY = 0.005  # of the lowest loss before
CLOSE = 1.05  # error rates that differ by less than a twentieth differ by chance


def ranked(values: Mapping[str, float], criterion: str) -> float:
    """The figure by which models are ranked, the lower the better: the criterion.

    A model that says nothing has a figure above that of each one that says something, which falls with its loss.

    >>> ranked({"cer": 0.66, "loss": 3.0, "said_share": 0.5}, "cer")
    0.66
    >>> ranked({"cer": 1.0, "loss": 3.0, "said_share": 0.0}, "cer")
    4000.0
    """
    if values.get("said_share", 1.0) > 0.0:
        return values[criterion]
    return SILENT * (1.0 + values["loss"])


def judged(figures: Sequence[float], losses: Sequence[float], criterion: str) -> list[float]:
    """The figures by which it is told whether a run still improves: those since it left the beginning behind.

    While nearly everything that a model says is wrong, or it says nothing, its error rate tells nothing: at first it
    stands still or rises. There a run improves while its loss falls, and no epoch up to the last of that kind counts.

    figures, losses: of each epoch, as `ranked` gives them, and on the validation set.

    >>> judged([0.94, 4000.0, 3900.0, 3890.0], [6.9, 3.0, 2.9, 2.895], "cer")
    [3890.0]
    >>> judged([0.94, 0.5, 0.4], [6.9, 3.0, 2.9], "cer")
    [0.94, 0.5, 0.4]
    """
    start, lowest = 0, math.inf
    for epoch, (figure, loss) in enumerate(zip(figures, losses)):
        if criterion in ERROR_RATES and epoch and figure >= HOPELESS and loss < (1 - FALLS_BY) * lowest:
            start = epoch + 1
        lowest = min(lowest, loss)
    return list(figures[start:])


@dataclass(frozen=True, slots=True)
class ChosenMean:
    """Checkpoints whose mean is to be exported, and how it does on the validation set."""

    checkpoints: list[Path]  # none: the weights as they were after the last epoch
    values: dict[str, float]

    @property
    def epochs(self) -> list[int]:
        """The epochs that are in it, from 1; none: the weights as they were after the last one."""
        return sorted(checkpoint_number(path) + 1 for path in self.checkpoints)

    def describe(self, criterion: str) -> str:
        """Which epochs these are, and why."""
        name = criterion.upper() if criterion in ("cer", "wer") else criterion
        match self.epochs:
            case []:
                return "the weights after the last epoch"
            case [epoch]:
                return f"epoch {epoch}, the best by {name}"
            case epochs:
                return f"the mean of epochs {', '.join(map(str, epochs))}, the best by {name}"


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
    """Load the mean of the best epochs: of as many as do best together.

    The mean of neighbours in a flat valley beats each of them (Izmailov et al. 2018). Where a short run is still on
    its way down, the mean lies behind the best epoch instead. Among candidates whose criterion is close to the lowest,
    where a few words decide, which is chance, the loss chooses. Damaged checkpoints are named and left out; when none
    is left, the weights that `task`'s model has, those after the last epoch, are taken.
    """
    found = only_whole(best, lambda message: note(f"{message}; this epoch is left out")) if processes.is_leader else []
    whole = processes.from_leader(found)
    candidates = [_mean(task, whole[:number]) for number in range(1, len(whole) + 1)]
    if not candidates:
        note("no checkpoint of a good epoch is whole: the weights after the last epoch are taken")
        return ChosenMean([], task.validate().values)
    figures = [ranked(candidate.values, task.criterion) for candidate in candidates]
    close = [candidate for candidate, figure in zip(candidates, figures) if figure <= CLOSE * min(figures)]
    chosen = min(close, key=lambda candidate: candidate.values["loss"])
    task.model.load_state_dict(average(chosen.checkpoints))
    return chosen


def _mean(task: Task, checkpoints: list[Path]) -> ChosenMean:
    task.model.load_state_dict(average(checkpoints))
    return ChosenMean(checkpoints, task.validate().values)
