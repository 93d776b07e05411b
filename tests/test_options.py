"""Every option has a range, which is checked before anything is read or written."""

import dataclasses
import math
import typing

import pytest

from asr.augment.reverberation import SHORTEST_RT60_SECONDS
from asr.config import Config, OptimConfig, from_json, to_json
from asr.errors import ConfigError
from asr.features.filterbank import FEATURE_NAMES, NORMALIZE_NAMES
from asr.features.kaldi import WINDOW_NAMES
from asr.language_config import LanguageConfig
from asr.options import ALLOWED, Allowed, check, check_option, default_of, option
from asr.scoring.assessment import ALIGNMENTS, UNITS
from asr.scoring.normalizers import NAMES as NORMALIZERS
from asr.text.normalize import Case
from asr.training.acoustic_task import CRITERIA
from asr.training.optim import SCHEDULES


def made(schema):
    """A config that is whole, with every path that must be given."""
    given = {"train": ["t.jsonl"], "dev": ["d.jsonl"]}
    if schema is Config:
        config = Config(run_dir="r")
        config.data.train, config.data.dev = given["train"], given["dev"]
        return config
    return LanguageConfig(run_dir="r", texts=["t.txt"])


def options(schema, prefix=""):
    """Dotted name, type and range of every option, of nested configs too."""
    hints = typing.get_type_hints(schema)
    for field in dataclasses.fields(schema):
        if dataclasses.is_dataclass(hints[field.name]):
            yield from options(hints[field.name], f"{prefix}{field.name}.")
        else:
            yield f"{prefix}{field.name}", hints[field.name], field.metadata.get(ALLOWED)


EVERY = [(schema, *each) for schema in (Config, LanguageConfig) for each in options(schema)]
NUMBERS = [
    (schema, name, hint, allowed)
    for schema, name, hint, allowed in EVERY
    if hint in (int, float, list[int], list[float])
]


def put(config, name, value):
    *sections, last = name.split(".")
    for section in sections:
        config = getattr(config, section)
    setattr(config, last, value)


def test_the_walk_sees_them_all():
    names = [name for _, name, _, _ in EVERY]
    assert len(names) > 130
    assert {"seed", "model.frontend.time_strides", "machine.cache_gib", "training.bptt_tokens"} <= set(names)


@pytest.mark.parametrize(
    ("schema", "name", "hint", "allowed"), EVERY, ids=lambda value: getattr(value, "__name__", None)
)
def test_every_option_says_what_it_takes(schema, name, hint, allowed):
    assert allowed is not None, f"{schema.__name__}.{name} is not made by asr.options.option"
    if hint in (int, float, list[int], list[float]):
        assert allowed.range(), f"{schema.__name__}.{name} has no range"


def outside(hint, allowed):
    """Values just out of range, and for real numbers those that are none."""
    kind = typing.get_args(hint)[0] if typing.get_args(hint) else hint
    step = 1 if kind is int else 1e-6 * max(1.0, abs(allowed.at_least or allowed.at_most or 0.0))
    wrong = [] if allowed.at_least is None else [allowed.at_least - step]
    wrong += [] if allowed.at_most is None else [allowed.at_most + step]
    wrong += [limit for limit in (allowed.above, allowed.below) if limit is not None]
    return [kind(value) for value in wrong] + ([math.nan, math.inf, -math.inf] if kind is float else [])


@pytest.mark.parametrize(
    ("schema", "name", "hint", "allowed"), NUMBERS, ids=lambda value: getattr(value, "__name__", None)
)
def test_numbers_out_of_range_are_refused_by_name(schema, name, hint, allowed):
    is_list = typing.get_origin(hint) is list
    assert outside(hint, allowed)
    for value in outside(hint, allowed):
        config = made(schema)
        put(config, name, [value] if is_list else value)
        with pytest.raises(ConfigError, match=f"^{name}: expected a ") as raised:
            check(config)
        assert "\n" not in str(raised.value)
        with pytest.raises(ConfigError, match=rf"^here\.{name}: expected a "):
            from_json(schema, to_json(config), "here")


@pytest.mark.parametrize("schema", [Config, LanguageConfig])
def test_defaults_are_in_range(schema):
    check(made(schema))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"augment.speeds": [0.0]},
            "augment.speeds: expected a list of numbers that is not empty, each from 0.1 to 10, got 0",
        ),
        ({"augment.speeds": []}, "augment.speeds: expected a list"),
        ({"seed": -1}, "seed: expected a whole number, from 0 to 4294967295, got -1"),
        ({"optim.lr": 0.0}, "optim.lr: expected a number, above 0 and up to 1000, got 0"),
        ({"data.train": []}, "data.train: expected a list of texts that is not empty"),
        ({"data.train": ["a", ""]}, "data.train: expected a list of texts that is not empty, got '' in"),
        ({"run_dir": ""}, "run_dir: expected a text that is not empty, got ''"),
        ({"data.test": {"a/b": "m"}}, "data.test: expected names of sets that can name a folder, got 'a/b'"),
        ({"data.test": {"..": "m"}}, "data.test: expected names"),
        ({"data.test": {"a": ""}}, "data.test.a: expected a text that is not empty"),
        ({"model.cell": "lsmt"}, "model.cell: expected rnn_tanh, gru or lstm, got 'lsmt'; did you mean lstm?"),
        ({"model.cell": "LSTM"}, "model.cell: expected rnn_tanh, gru or lstm, got 'LSTM'; did you mean lstm?"),
        (
            {"scoring.normalizers": ["basics"]},
            "scoring.normalizers: expected a list of texts, each basic or english, got 'basics'",
        ),
        (
            {"data.min_duration_seconds": 40.0},
            "data.min_duration_seconds: expected no more than max_duration_seconds, 35, got 40",
        ),
        ({"augment.min_snr_db": 40.0}, "augment.min_snr_db: expected no more than max_snr_db, 30, got 40"),
        ({"augment.min_rt60_seconds": 2.0}, "augment.min_rt60_seconds: expected no more"),
        ({"augment.min_direct_db": 20.0}, "augment.min_direct_db: expected no more"),
        (
            {"augment.noise_probability": 0.5},
            "augment.noise: expected manifests beside noise_probability=0.5, got none",
        ),
        ({"model.frontend.stride": 4}, "model.frontend.stride: expected no more than stack, 3,"),
        (
            {"model.frontend.name": "conv", "model.frontend.time_strides": [2]},
            "model.frontend.time_strides: expected one for each of 2 channels [32, 32], got [2]",
        ),
        (
            {"model.layer_norm": True, "model.batch_norm": True},
            "model.batch_norm: expected false beside layer_norm=true",
        ),
        ({"model.norm_place": "input"}, "model.norm_place: expected layer_norm=true or batch_norm=true"),
        ({"features.high_freq": 9000.0}, "features.high_freq: expected no more than half of data.sample_rate, 8000"),
        ({"features.low_freq": 9000.0}, "features.low_freq: expected no more than half"),
        (
            {"features.low_freq": 400.0, "features.high_freq": 300.0},
            "features.low_freq: expected no more than high_freq",
        ),
        ({"features.high_freq": -7990.0}, "features.high_freq: expected to leave frequencies above low_freq, 20 Hz"),
        (
            {"features.frame_shift_ms": 30.0},
            "features.frame_shift_ms: expected no more than frame_length_ms, 25, got 30",
        ),
        ({"features.frame_shift_ms": 0.01}, "features.frame_shift_ms: expected at least a sample"),
        ({"text.lexicon": "words.txt"}, "text.lexicon: expected none beside tokenizer=char, got 'words.txt'"),
        ({"decoding.nbest": 3}, "decoding.nbest: expected 1 beside name=greedy"),
        ({"decoding.name": "beam", "decoding.nbest": 200}, "decoding.nbest: expected no more than beam_width, 100"),
        (
            {"scoring.folding": "timit39", "scoring.normalizers": ["basic"]},
            "scoring.normalizers: expected none beside folding",
        ),
        ({"scoring.folding": "timit39", "scoring.unit": "character"}, "scoring.unit: expected word beside folding"),
    ],
)
def test_what_is_wrong_is_named_with_what_was_expected(changes, message):
    config = made(Config)
    for name, value in changes.items():
        put(config, name, value)
    with pytest.raises(ConfigError) as raised:
        check(config)
    assert str(raised.value).startswith(message)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"model.tied": True},
            "model.tied: expected embedding_size and hidden_size alike beside true, got 256 and 512",
        ),
        ({"units": "tokenizer"}, "tokenizer: expected a model directory or a tokenizer.json beside units=tokenizer"),
        ({"units": "word", "tokenizer": "m"}, "units: expected tokenizer beside tokenizer=m, got 'word'"),
        ({"optim.plateau_factor": 2.0}, "optim.plateau_factor: expected a number, above 0 and below 1, got 2"),
    ],
)
def test_language_models_too(changes, message):
    config = made(LanguageConfig)
    for name, value in changes.items():
        put(config, name, value)
    with pytest.raises(ConfigError) as raised:
        check(config)
    assert str(raised.value).startswith(message)


def choices(schema, name):
    (found,) = (allowed.choices for _, each, _, allowed in EVERY if _ is schema and each == name)
    return found


def test_the_choices_are_those_of_the_code_below():
    found = {name: allowed.choices for schema, name, _, allowed in EVERY if schema is Config and allowed.choices}
    assert set(found["features.name"]) == set(FEATURE_NAMES)
    assert set(found["features.window"]) == set(WINDOW_NAMES)
    assert set(found["features.normalize"]) == set(NORMALIZE_NAMES)
    assert set(found["optim.schedule"]) == set(SCHEDULES)
    assert set(found["training.criterion"]) == set(CRITERIA)
    assert set(found["scoring.alignment"]) == set(ALIGNMENTS)
    assert set(found["scoring.unit"]) == set(UNITS)
    assert set(found["scoring.normalizers"]) == set(NORMALIZERS)
    assert set(found["text.case"]) == set(typing.get_args(Case))
    limits = {name: allowed for schema, name, _, allowed in EVERY if schema is Config}
    assert limits["augment.min_rt60_seconds"].at_least == SHORTEST_RT60_SECONDS


def test_an_option_alone():
    assert check_option(OptimConfig, "lr", 1, "here") == 1.0
    with pytest.raises(ConfigError, match=r"^here: expected a number, above 0"):
        check_option(OptimConfig, "lr", "1", "here")


def test_defaults_of_lists_are_not_shared():
    assert made(Config).augment.speeds is not made(Config).augment.speeds


def test_an_inherited_option_keeps_its_range():
    @dataclasses.dataclass
    class Faster(OptimConfig):
        lr: float = default_of(OptimConfig, "lr", 1.0)

    check(Faster())
    with pytest.raises(ConfigError, match=r"^lr: expected a number, above 0 and up to 1000, got -1"):
        check(Faster(lr=-1.0))


@pytest.mark.parametrize(
    ("allowed", "words"),
    [
        (Allowed(at_least=0), "0 or more"),
        (Allowed(at_least=0, below=1), "0 or more and below 1"),
        (Allowed(above=0), "above 0"),
        (Allowed(above=0, at_most=1), "above 0 and up to 1"),
        (Allowed(at_most=0), "0 or less"),
        (Allowed(below=3), "below 3"),
        (Allowed(at_least=0, at_most=384_000), "from 0 to 384000"),
        (Allowed(), ""),
    ],
)
def test_ranges_in_words(allowed, words):
    assert allowed.range() == words


def test_a_field_made_by_hand_is_still_an_option():
    @dataclasses.dataclass
    class Small:
        size: int = option(3, at_least=1)
        plain: int = 4

    check(Small())
    with pytest.raises(ConfigError, match=r"^size: expected a whole number, 1 or more, got 0"):
        check(Small(size=0))


@pytest.mark.parametrize(("section", "name", "value"), [("optim", "ema_decay", 1.0), ("machine", "num_workers", -2)])
def test_a_config_made_in_python_is_checked_when_a_run_is_built(tmp_path, section, name, value):
    from asr.cli.compose import compose_recipe
    from asr.experiment import build_run
    from asr.training.monitor import Monitor

    config = compose_recipe("digits", [f"run_dir={tmp_path}"])
    setattr(getattr(config, section), name, value)
    with Monitor(tmp_path, 1) as monitor, pytest.raises(ConfigError, match=rf"^{section}\.{name}: expected"):
        build_run(config, tmp_path, monitor)
    assert not (tmp_path / "environment.json").exists()
