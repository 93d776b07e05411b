"""The rule of `model=auto`: what it says, and what of it a user or a run that goes on has said otherwise."""

import math
from dataclasses import fields

import pytest

from asr.cli.compose import compose_recipe
from asr.config import Config
from asr.errors import ConfigError
from asr.fitting import ANCHORS, OPTIONS, Fit, fit, fit_to_data, not_overridden
from asr.options import check

DATA = ["data.train=[train.jsonl]", "data.dev=[dev.jsonl]", "run_dir=runs/mine"]


def test_at_the_anchors_it_says_what_was_tried():
    for hours, tried in ANCHORS:
        assert fit(hours) == tried


def test_between_two_anchors_by_hand():
    """Halfway between one and two hours, in the logarithm: the geometric mean of both."""
    found = fit(math.sqrt(2.0))
    assert found.hidden_size == 224  # √(224 · 256) = 239.5, to the next multiple of 32
    assert found.batch_seconds == 40  # √(30 · 50) = 38.7, to the next multiple of 5
    assert found.epochs == round(math.sqrt(50 * 45))


@pytest.mark.parametrize("hours", [0.0, 0.01, 0.1, 0.5, 3.0, 20.0, 99.0, 100.0, 1e6])
def test_every_amount_gives_a_config_in_range(hours):
    config = Config(fit=list(OPTIONS.values()))
    config.run_dir, config.data.train, config.data.dev = "r", ["t"], ["d"]
    said = fit_to_data(config, hours)
    check(config)
    assert all(name in said for name in OPTIONS.values())
    assert isinstance(config.model.hidden_size, int)
    assert isinstance(config.training.epochs, int)


def test_more_speech_never_means_a_smaller_model_or_smaller_batches():
    found = [fit(10 ** (step / 20)) for step in range(-24, 44)]
    for name in ("num_layers", "hidden_size", "batch_seconds"):
        values = [getattr(each, name) for each in found]
        assert values == sorted(values)
    for name in ("dropout", "lr", "epochs"):
        values = [getattr(each, name) for each in found]
        assert values == sorted(values, reverse=True)


def test_the_default_fits_everything_and_a_recipe_nothing():
    assert compose_recipe("custom", DATA).fit == list(OPTIONS.values())
    assert compose_recipe("digits", []).fit == []
    assert compose_recipe("custom", [*DATA, "model=blstm_3x256"]).fit == []


@pytest.mark.parametrize(
    ("override", "kept"),
    [
        ("training.epochs=7", "training.epochs"),
        ("optim.lr=0.01", "optim.lr"),
        ("optim=one_cycle", "optim.lr"),
        ("model.num_layers=2", "model.num_layers"),
        ("data.batch_seconds=33", "data.batch_seconds"),
    ],
)
def test_what_is_set_stays_as_it_is_set(override, kept):
    config = compose_recipe("custom", [*DATA, override])
    assert config.fit == [name for name in OPTIONS.values() if name != kept]
    section, option = kept.split(".")
    before = getattr(getattr(config, section), option)
    fit_to_data(config, 0.2)
    assert getattr(getattr(config, section), option) == before


def test_auto_may_be_said_and_does_not_count_as_set():
    assert compose_recipe("digits", ["model=auto", "model.num_layers=2"]).fit == [
        name for name in OPTIONS.values() if name != "model.num_layers"
    ]
    assert not_overridden(["model.num_layers"], ["model=auto"]) == ["model.num_layers"]


def test_a_run_that_goes_on_keeps_what_it_was_begun_with():
    config = Config(fit=["model.hidden_size", "optim.lr"])
    said = fit_to_data(config, 5.0, recorded={"model": {"hidden_size": 111}, "optim": {"lr": 0.007}})
    assert (config.model.hidden_size, config.optim.lr) == (111, 0.007)
    assert said == "fitted as the run was begun: model.hidden_size=111 optim.lr=0.007"


def test_nothing_to_fit_says_nothing():
    assert fit_to_data(Config(), 1.0) is None


def test_a_name_that_the_rule_does_not_know():
    with pytest.raises(ConfigError, match=r"fit: expected options .* got 'optim\.rl'; did you mean optim\.lr\?"):
        fit_to_data(Config(fit=["optim.rl"]), 1.0)


def test_every_field_of_the_rule_has_an_option():
    assert [each.name for each in fields(Fit)] == list(OPTIONS)
