"""The time left of a run, by a clock that is set by hand."""

import pytest

from asr.training.monitor import epoch_line
from asr.training.time_left import TimeLeft, clock_time


class Clock:
    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


def test_batches_and_validations_of_all_epochs_count():
    """3 epochs of 4 batches of 2 s, each validated in 5 s: 39 s in all."""
    clock = Clock()
    left = TimeLeft(3, clock)
    left.start_epoch(0, num_batches=4, done=0)
    assert left.seconds() is None
    found = []
    for _ in range(4):
        clock.now += 2
        left.advance()
        found.append(left.seconds())
    assert found == [22, 20, 18, 16]  # what a validation takes is not known yet
    clock.now += 5
    left.end_epoch()
    left.start_epoch(1, num_batches=4, done=0)
    assert left.seconds() == 8 * 2 + 2 * 5
    clock.now += 2
    left.advance()
    assert left.seconds() == 7 * 2 + 2 * 5


def test_a_run_that_goes_on_counts_what_is_left_of_its_epoch():
    clock = Clock()
    left = TimeLeft(2, clock)
    left.start_epoch(1, num_batches=10, done=6)
    clock.now += 3
    left.advance()
    assert left.seconds() == 3 * 3


@pytest.mark.parametrize(
    ("seconds", "shown"), [(0.2, "0 s"), (59.4, "59 s"), (60, "1:00 min"), (3599, "59:59 min"), (36061, "10:01 h")]
)
def test_times_are_readable(seconds, shown):
    assert clock_time(seconds) == shown


def test_an_epoch_is_one_line():
    values = {"train_loss": 1.5, "loss": 1.25, "wer": 0.5, "cer": 0.125, "blank_share": 0.9, "seconds": 61.0}
    line = "epoch  3/30  loss 1.500  dev 1.250  WER  50.00%  CER  12.50%  1:01 min"
    assert epoch_line(3, 30, values, is_best=False) == line
    assert epoch_line(3, 30, values | {"blank_share": 1.0}, is_best=True) == f"{line}  all blank  [green]best[/]"
