"""Hints follow from what a run has seen: on histories of real runs, epoch by epoch."""

import json
from itertools import groupby
from pathlib import Path

import pytest

from asr.training.hints import Seen, advise
from asr.training.monitor import Monitor

HISTORIES = Path(__file__).parent / "histories"


def seen(name, num_epochs):
    """The first epochs of a history."""
    history = json.loads((HISTORIES / f"{name}.json").read_text())
    epochs = history["epochs"][:num_epochs]
    steps = [step for step in history["steps"] if step["epoch"] <= epochs[-1]["epoch"]]
    return Seen(epochs, steps, history["num_epochs"], history["lr"])


def kinds(name):
    """What is seen from which epoch on."""
    length = len(json.loads((HISTORIES / f"{name}.json").read_text())["epochs"])
    hints = [advise(seen(name, number)) for number in range(1, length + 1)]
    numbered = enumerate((hint.kind if hint is not None else "" for hint in hints), start=1)
    return [(next(group)[0], kind) for kind, group in groupby(numbered, key=lambda pair: pair[1])]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("endless_warm_up", [(1, ""), (9, "warm-up")]),
        ("few_steps", [(1, ""), (4, "too few steps")]),
        ("rate_too_low", [(1, ""), (3, "hardly falls")]),
        ("rate_too_high", [(1, ""), (3, "exploded"), (5, ""), (6, "silent and learning"), (7, "")]),
        ("stuck", [(1, ""), (3, "silent and learning"), (17, "silent and stuck")]),
        ("by_heart", [(1, ""), (3, "silent and learning"), (8, ""), (24, "overfits")]),
    ],
)
def test_what_a_real_run_is_told(name, expected):
    assert kinds(name) == expected


def test_a_run_whose_warm_up_never_ended_is_not_told_to_lower_its_rate():
    hint = advise(seen("endless_warm_up", 15))
    assert "has only come to 0.00026 of optim.lr=0.001, so do not lower it" in hint.text
    assert "optim.warmup_share" in hint.text
    assert "8 epochs, 75 steps" in hint.text


def test_a_rate_that_is_too_high_is_named_with_what_it_did():
    text = advise(seen("rate_too_high", 4)).text
    assert "the training loss rose from 11.70 to 25.90" in text
    assert "lower optim.lr" in text


def test_steps_that_are_not_finite_come_first():
    run = seen("by_heart", 5)
    epochs = [*run.epochs[:-1], {**run.epochs[-1], "skipped_steps": 9}]
    assert advise(Seen(epochs, run.steps, 30, run.peak_lr)).text.startswith("9 of the epoch's 22 steps were not finite")


def test_a_model_that_stays_silent_where_nothing_falls_any_more_is_told_to_look_at_its_data():
    text = advise(seen("stuck", 17)).text
    assert "for 16 epochs, 1020 steps" in text
    assert "asr check" in text


def test_a_hint_that_stays_is_not_said_after_each_epoch(tmp_path, capsys):
    history = json.loads((HISTORIES / "endless_warm_up.json").read_text())
    with Monitor(tmp_path, history["num_epochs"]) as monitor:
        monitor.resume(0, 0)
        said = []
        for epoch in history["epochs"]:
            values = {**epoch, "wer": 1.0, "seconds": 1.0}
            del values["epoch"], values["step"]
            monitor.epoch(epoch["step"], epoch["epoch"], values, is_best=False)
            monitor.advise(history["num_epochs"], history["lr"])
            if "next to nothing" in capsys.readouterr().out:
                said.append(epoch["epoch"] + 1)
    assert said == [9, 15]
