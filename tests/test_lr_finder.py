"""The learning-rate range test: its arithmetic by hand, and on whole runs that it must leave as they were."""

import io
import json
import math
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console
from test_training import configure, corpus, weights  # noqa: F401  # a fixture
from typer.testing import CliRunner

from asr.cli.main import app
from asr.cli.train import train_stage
from asr.errors import AsrError, ConfigError, OutputError
from asr.experiment import build_run
from asr.lr_search import find_learning_rate, first_epoch, make_empty, report, steps
from asr.training import monitor
from asr.training.lr_finder import (
    SMOOTHED_DEVIATION,
    RangeTest,
    deviation,
    geometric_rates,
    range_test,
    running_mean,
    smooth,
    suggest,
)
from asr.training.monitor import Monitor


def replayed(losses):
    """A step that has these losses, one after the other."""
    waiting = iter(losses)
    return lambda _: next(waiting)


# ---- arithmetic ------------------------------------------------------------------------------------------------------


def test_rates_grow_by_one_factor():
    rates = geometric_rates(1e-6, 1.0, 100)
    assert (len(rates), rates[0]) == (100, 1e-6)
    assert rates[-1] == pytest.approx(1.0)
    assert np.diff(np.log(rates)) == pytest.approx([math.log(1e6) / 99] * 99)


@pytest.mark.parametrize(
    ("first", "last", "num_steps"), [(0.0, 1.0, 50), (1.0, 1.0, 50), (1e-3, math.inf, 50), (math.nan, 1.0, 50)]
)
def test_rates_that_make_no_sense(first, last, num_steps):
    with pytest.raises(ValueError, match="expected rates above 0, the last above the first"):
        geometric_rates(first, last, num_steps)


def test_a_curve_needs_steps():
    with pytest.raises(ValueError, match="at least 20 steps, got 19"):
        geometric_rates(1e-6, 1.0, 19)


def test_running_mean_by_hand():
    # m: 0.2·4 = 0.8; 0.8·0.8 + 0.2·2 = 1.04; 0.8·1.04 + 0.2·2 = 1.232; over 1 - 0.8ⁱ = 0.2, 0.36, 0.488
    assert running_mean([4.0, 2.0, 2.0], 0.8) == pytest.approx([4.0, 1.04 / 0.36, 1.232 / 0.488])
    assert running_mean([3.0] * 20) == pytest.approx([3.0] * 20)  # corrected: no memory of the zero before


def test_smoothing_comes_not_late():
    """A step in the middle stays in the middle: what is before it rises as much as what is behind it is held back."""
    smoothed = smooth([0.0] * 40 + [1.0] * 40)
    assert smoothed[39] < 0.5 < smoothed[40]
    assert smoothed[30:40] == pytest.approx(1 - smoothed[40:50][::-1], abs=1e-3)
    assert running_mean([0.0] * 40 + [1.0] * 40)[42] < 0.5  # as running means alone do


def test_the_loss_is_smoothed_by_its_logarithm():
    assert RangeTest([1.0, 2.0], [math.e**4, math.e**2], None).smoothed == pytest.approx(np.exp(smooth([4.0, 2.0])))


def test_gradient_descent_on_a_parabola_explodes_above_two_over_its_curvature():
    """f = λ w² / 2 + 1: w is multiplied by 1 - lr λ, which is smaller than 1 in size as long as lr < 2 / λ."""
    curvature, weight = 4.0, 10.0

    def step(rate):
        nonlocal weight
        loss = 0.5 * curvature * weight**2 + 1.0
        weight *= 1 - rate * curvature
        return loss

    rates = geometric_rates(1e-4, 100.0, 200)
    found = range_test(step, rates)
    stable = [loss for rate, loss in zip(found.rates, found.losses) if rate < 2 / curvature]
    assert stable == sorted(stable, reverse=True)
    assert 2 / curvature < found.exploded_at < rates[-1]
    suggestion = suggest(found)
    assert 0 < suggestion.steepest < 2 / curvature
    assert suggestion.steepest < suggestion.minimum
    assert suggestion.below_minimum == pytest.approx(suggestion.minimum / 10)
    assert suggestion.below_minimum < 2 / curvature


def test_suggestions_by_hand():
    """ln loss is 3 up to rate 1e-4, falls as a cosine to 0 at 1e-2 and rises to 2 from there: steepest half-way."""
    rates = np.array(geometric_rates(1e-6, 1.0, 121))  # 20 steps make a power of ten
    decades = np.log10(rates)
    falling = 1.5 + 1.5 * np.cos(np.pi * np.clip((decades + 4) / 2, 0, 1))
    losses = np.exp(falling + np.clip(decades + 2, 0, None))
    suggestion = suggest(RangeTest(rates.tolist(), losses.tolist(), None))
    assert math.log10(suggestion.steepest) == pytest.approx(-3.0, abs=0.06)
    assert math.log10(suggestion.minimum) == pytest.approx(-2.0, abs=0.15)


def test_the_fewest_steps_are_enough():
    rates = geometric_rates(1e-4, 1.0, 20)
    losses = [8.1, 8.0, 8.2, 7.9, 8.0, 7.8, 7.5, 7.0, 5.0, 3.0, 1.5, 1.0, 0.9, 0.8, 0.8, 0.9, 1.0, 1.5, 3.0, 8.0]
    suggestion = suggest(RangeTest(rates, losses, None))
    assert rates[7] <= suggestion.steepest <= rates[10]
    assert rates[12] <= suggestion.minimum <= rates[16]


def test_a_flat_valley_has_its_minimum_at_its_beginning():
    """Noise of 10 % around a loss that falls from 1e-4 to 1e-3 and stays: its lowest is anywhere from there on."""
    rates, rng = geometric_rates(1e-6, 1.0, 121), np.random.default_rng(2)
    falling = 2.0 * np.clip(-3 - np.log10(rates), 0, 1)
    tests = [RangeTest(rates, np.exp(falling + 0.1 * rng.standard_normal(121)).tolist(), None) for _ in range(25)]
    assert np.median([rates[np.argmin(test.smoothed)] for test in tests]) > 0.02
    assert 5e-4 < np.median([suggest(test).minimum for test in tests]) < 0.01


def test_the_weights_of_smoothing_have_the_deviation_that_is_counted_with():
    impulse = np.zeros(201)
    impulse[100] = 1.0
    assert math.sqrt((smooth(impulse) ** 2).sum()) == pytest.approx(SMOOTHED_DEVIATION, abs=0.005)
    assert deviation(np.random.default_rng(0).standard_normal(100_000)) == pytest.approx(1.0, abs=0.02)


def test_what_falls_after_the_minimum_does_not_count():
    rates = geometric_rates(1e-4, 1.0, 81)
    losses = [*np.geomspace(10, 1, 40), *[1.0] * 10, *[4.0] * 15, *[2.0] * 16]
    assert np.argmin(np.diff(losses)) == 64
    assert suggest(RangeTest(rates, losses, None)).steepest < rates[40]


def test_the_test_ends_when_the_loss_explodes():
    rates = geometric_rates(1e-3, 1.0, 20)
    assert range_test(replayed([2.0] * 20), rates).exploded_at is None
    # ln 2, ln 2, then ln 1e9: the mean is (0.8·0.36·0.693 + 0.2·20.7) / 0.488 = 8.9, over 0.693 + ln 4
    found = range_test(replayed([2.0, 2.0, 1e9]), rates)
    assert (found.exploded_at, len(found.losses)) == (rates[2], 3)
    found = range_test(replayed([2.0, 2.0, math.nan]), rates)
    assert (found.exploded_at, found.losses) == (rates[2], [2.0, 2.0])


def test_a_loss_of_zero_has_a_place():
    assert range_test(replayed([2.0, 0.0, 0.0]), [0.1, 0.2, 0.3]).exploded_at is None


def test_a_loss_that_only_differs_from_batch_to_batch_is_not_falling():
    rates, rng = geometric_rates(1e-6, 1.0, 100), np.random.default_rng(0)
    for _ in range(20):
        losses = (30 * np.exp(0.2 * rng.standard_normal(100))).tolist()
        with pytest.raises(ValueError, match=r"expected a loss that falls, got one of \d+\.\d+ nats a label"):
            suggest(RangeTest(rates, losses, None))
    with pytest.raises(ValueError, match="expected a loss that falls"):
        suggest(RangeTest(rates, [3.0] * 100, None))
    with pytest.raises(ValueError, match="explodes after 4 steps"):
        suggest(RangeTest(rates[:4], [3.0] * 4, rates[4]))


def test_noise_does_not_move_the_steepest_rate():
    rates, rng = geometric_rates(1e-6, 1.0, 121), np.random.default_rng(1)
    falling = 1.5 * np.cos(np.pi * np.clip((np.log10(rates) + 4) / 2, 0, 1))
    for _ in range(20):
        losses = np.exp(falling + 0.2 * rng.standard_normal(121)).tolist()
        assert math.log10(suggest(RangeTest(rates, losses, None)).steepest) == pytest.approx(-3.0, abs=0.8)


# ---- runs ------------------------------------------------------------------------------------------------------------


QUICK = ["training.epochs=1", "model.hidden_size=16", "data.batch_seconds=8"]


@pytest.fixture(autouse=True)
def _no_curves(monkeypatch):
    monkeypatch.setattr(monitor, "draw_curves", lambda *_: None)  # takes longer than these runs


def search(config, rates):
    find_learning_rate(config, Path(config.run_dir), rates, Console(quiet=True))
    return json.loads((Path(config.run_dir) / "lr_finder" / "lr_finder.json").read_text())


def files(directory):
    return {path: path.stat().st_mtime_ns for path in directory.rglob("*") if path.is_file()}


def test_a_run_is_the_same_with_and_without_a_search(corpus, tmp_path):  # noqa: F811
    train_stage(configure(corpus, tmp_path / "without", *QUICK))
    config = configure(corpus, tmp_path / "with", *QUICK)
    found = search(config, geometric_rates(1e-5, 3.0, 40))
    assert [path.name for path in (tmp_path / "with").iterdir()] == ["lr_finder"]
    assert {path.name for path in (tmp_path / "with" / "lr_finder").iterdir()} == {"lr_finder.json", "lr_finder.png"}
    assert 1e-5 < found["steepest_lr"] <= found["minimum_lr"] <= 3.0
    assert found["below_minimum_lr"] == pytest.approx(found["minimum_lr"] / 10)
    assert len(found["lr"]) == len(found["loss"]) == len(found["smoothed_loss"])
    train_stage(config)
    there, here = weights(tmp_path / "without"), weights(tmp_path / "with")
    assert there.keys() == here.keys()
    assert all(bool((there[key] == here[key]).all()) for key in there)

    before = files(tmp_path / "with")
    search(configure(corpus, tmp_path / "with", *QUICK, "optim.name=sgd"), geometric_rates(1e-4, 10.0, 40))
    after = files(tmp_path / "with")
    assert after.keys() == before.keys()
    assert {path.name for path in before if before[path] != after[path]} == {"lr_finder.json", "lr_finder.png"}


def test_its_first_steps_are_the_runs_own(corpus, tmp_path):  # noqa: F811
    """With rates that do nothing, the losses are those of a run that learns nothing."""
    options = [*QUICK, "training.log_every_steps=1"]
    still = ["optim.lr=1e-30", "optim.schedule=constant", "optim.warmup_steps=0"]
    train_stage(configure(corpus, tmp_path / "run", *options, *still))
    history = [json.loads(line) for line in (tmp_path / "run" / "history.jsonl").read_text().splitlines()]
    own = [record["loss"] for record in history if record["kind"] == "step"]
    config = configure(corpus, tmp_path / "other", *options)
    with pytest.raises(AsrError, match=r"no learning rate can be suggested: .*lr_finder\.png.*--lr-from"):
        search(config, geometric_rates(1e-31, 1e-30, 20))
    found = json.loads((tmp_path / "other" / "lr_finder" / "lr_finder.json").read_text())
    assert found["loss"][: len(own)] == own
    assert found["steepest_lr"] is found["below_minimum_lr"] is found["minimum_lr"] is None


def test_steps_go_on_through_epochs(corpus, tmp_path):  # noqa: F811
    config = configure(corpus, tmp_path / "run", "data.sorted_epochs=1", "data.growing_epochs=2")
    assert first_epoch(config) == 2
    (tmp_path / "run").mkdir()
    task = build_run(config, tmp_path / "run", Monitor(tmp_path / "run", 1, Console(quiet=True))).trainer.task
    an_epoch = len(task.plan(2))
    ids = [work.parts[0].ids for work in steps(task, 2, an_epoch + 2)]
    planned = [*task.load(task.plan(2)), *task.load(task.plan(3)[:2])]
    assert ids == [work.parts[0].ids for work in planned]


def test_a_directory_that_cannot_be_written(corpus, tmp_path):  # noqa: F811
    (tmp_path / "file").write_text("no directory")
    with pytest.raises(OutputError, match=r"lr_finder/build cannot be written: Not a directory; choose another"):
        search(configure(corpus, tmp_path / "file", *QUICK), geometric_rates(1e-5, 1.0, 20))


def test_what_a_killed_search_left_is_cleared_away(tmp_path):
    (tmp_path / "build").mkdir()
    (tmp_path / "build" / "tokenizer.json").write_text("of another config")
    make_empty(tmp_path / "build")
    assert list((tmp_path / "build").iterdir()) == []


def test_the_report_says_what_to_type(tmp_path):
    console = Console(record=True, width=60, file=io.StringIO())
    rates = geometric_rates(1e-6, 1.0, 121)
    falling = np.exp(1.5 * np.cos(np.pi * np.clip((np.log10(rates) + 4) / 2, 0, 1))).tolist()
    report(RangeTest(rates, [*falling[:-30], *[9.0] * 30], None), 3e-3, tmp_path, console)
    said = console.export_text()
    assert "fastest at            optim.lr=0.001\n" in said
    assert "minimum   optim.lr=0.0" in said
    assert "the config has                       optim.lr=0.003" in said
    assert "raise --lr-to" not in said
    assert (tmp_path / "lr_finder.png").read_bytes()[:4] == b"\x89PNG"
    report(RangeTest(rates[:60], falling[:60], None), 3e-3, tmp_path, console)
    assert "the loss still fell at 0.00" in console.export_text()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--lr-to", "0.1"], "expected --lr-from, --lr-to and --lr-steps beside --find-lr"),
        (["--find-lr", "--lr-from", "2"], "--lr-from, --lr-to, --lr-steps: expected rates above 0"),
        (["--find-lr", "--lr-steps", "3"], "expected at least 20 steps, got 3"),
        (["--find-lr", "--replay", "x.safetensors"], "expected nothing beside --replay, got --find-lr"),
    ],
)
def test_options_that_make_no_sense(options, message):
    result = CliRunner().invoke(app, ["train", "+recipe=digits", *options])
    assert isinstance(result.exception, ConfigError)
    assert message.split(", got")[0] in str(result.exception)
