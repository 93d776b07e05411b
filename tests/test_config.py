import json

import pytest

from asr.cli.compose import compose_recipe, recipe_names
from asr.config import Config, DecodingConfig, FeaturesConfig, ModelConfig, difference, from_json, to_json
from asr.errors import ConfigError
from asr.resources import resource_directory


def test_a_recipe_is_a_delta_over_the_schema():
    config = compose_recipe("digits", ["model.hidden_size=64", "optim.lr=0.01"])
    assert isinstance(config, Config)
    assert (config.recipe, config.run_dir, config.data.name) == ("digits", "runs/digits", "synthetic")
    assert (config.model.hidden_size, config.model.num_layers, config.optim.lr) == (64, 2, 0.01)


def test_data_of_the_command_line_wins_over_the_recipes():
    config = compose_recipe("digits", ["data=fsdd"])
    assert (config.data.name, config.data.sample_rate) == ("fsdd", 8000)
    assert config.data.train == ["data/digits-fsdd/train.jsonl"]


GROUPS = [
    (group.name, path.stem)
    for group in sorted(resource_directory("configs").iterdir())
    if group.is_dir() and group.name not in ("recipe", "cluster")  # tests/test_cluster.py
    for path in sorted(group.glob("*.yaml"))
]


@pytest.mark.parametrize(("group", "name"), GROUPS)
def test_every_config_composes(group, name):
    extra = ["augment.noise=[noise.jsonl]"] if name == "noisy" else []
    compose_recipe("digits", [f"{group}={name}", *extra, "data.train=[a]", "data.dev=[b]"])


@pytest.mark.parametrize("recipe", recipe_names())
def test_every_recipe_composes(recipe):
    config = compose_recipe(recipe, [])
    # the folder with prepare.py: of the recipe's own name, or of the corpus that it is another way to train on
    assert (resource_directory("recipes") / config.recipe / "prepare.py").is_file()
    readmes = [resource_directory("recipes") / name / "README.md" for name in (recipe, config.recipe)]
    readme = next(path for path in readmes if path.is_file())
    assert recipe in readme.read_text(encoding="utf-8")  # its own says, or its corpus's, what it is


def test_graves_features_are_123():
    from asr.builders import build_features

    config = compose_recipe("digits", ["features=graves123"])
    assert build_features(config.features, 16000).num_features == 123


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("model.hiden_size=3", "hiden_size"),
        ("optim.lr=fast", "lr"),
        ("model=nonsense", "nonsense"),
        ("model.hidden_size", "hidden_size"),
    ],
)
def test_unknown_options_and_wrong_types_are_errors(override, message):
    with pytest.raises(ConfigError, match=message):
        compose_recipe("digits", [override])


def test_unknown_recipes_name_the_known_ones():
    with pytest.raises(ConfigError, match="digits"):
        compose_recipe("digitz", [])


def test_json_round_trip():
    config = compose_recipe("digits", []).model
    assert from_json(ModelConfig, json.loads(json.dumps(to_json(config)))) == config
    decoding = compose_recipe("digits", ["decoding=beam", "decoding.hotwords=[new york]"]).decoding
    assert (decoding.name, decoding.hotwords) == ("beam", ["new york"])
    assert from_json(DecodingConfig, json.loads(json.dumps(to_json(decoding)))) == decoding


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"extra": 1}, "unknown option 'extra'"),
        ({"num_mel": 1}, "config: unknown option 'num_mel'; did you mean num_mels"),
        ({"num_mels": "80"}, "config.num_mels: expected a whole number, from 3 to 1024, got '80'"),
        ({"num_mels": True}, "num_mels: expected a whole number"),
        ({"num_mels": 2**80}, "num_mels: expected a whole number"),
        ({"name": {"_target_": "os.system"}}, "name: expected logmel or mfcc"),
        ({"name": "logmels"}, r"name: expected logmel or mfcc, got 'logmels'; did you mean logmel\?"),
        ({"num_mels": 8.5}, "num_mels: expected a whole number"),
        ({"preemphasis": float("nan")}, "preemphasis: expected a number, from 0 to 1, got nan"),
        ({"name": "mfcc", "num_mels": 5}, "num_ceps: expected no more than num_mels, 5, got 13"),
    ],
)
def test_json_from_strangers_is_checked(change, message):
    with pytest.raises(ConfigError, match=message):
        from_json(FeaturesConfig, {**to_json(FeaturesConfig()), **change})


def test_json_must_be_whole_and_an_object():
    with pytest.raises(ConfigError, match="missing"):
        from_json(FeaturesConfig, {"name": "logmel"})
    with pytest.raises(ConfigError, match="expected an object"):
        from_json(FeaturesConfig, ["logmel"])


def test_interpolations_in_json_are_text():
    values = to_json(DecodingConfig()) | {"name": "beam", "lexicon": "${oc.env:HOME}"}
    assert from_json(DecodingConfig, values).lexicon == "${oc.env:HOME}"


def test_difference_names_the_options():
    lines = difference({"a": {"b": 1, "c": 2}, "d": 3}, {"a": {"b": 1, "c": 5}, "e": 4})
    assert lines == ["a.c: 2 -> 5", "d: 3 -> (absent)", "e: (absent) -> 4"]
