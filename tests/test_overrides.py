"""What a user types after `asr train`: read, checked and explained, without a word of Hydra's."""

import shutil
from functools import cache

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser

from asr.cli.compose import acoustic_space, compose_recipe
from asr.cli.overrides import quoted, read_overrides
from asr.config import to_json
from asr.errors import ConfigError
from asr.options import difference
from asr.resources import resource_directory

DATA = ["data.train=[t.jsonl]", "data.dev=[d.jsonl]", "model=blstm_4x320", "augment=none"]
FOREIGN = ("Hydra", "hydra", "omegaconf", "override", "Override", "mismatched", "token", "struct", "full_key", "\n")


def changes(*overrides):
    """What overrides change in the config of one's own manifests."""
    after = compose_recipe("custom", [*DATA, *overrides])
    return difference(unchanged(), to_json(after))


@cache
def unchanged():
    return to_json(compose_recipe("custom", DATA))


@pytest.mark.parametrize(
    ("override", "changed"),
    [
        ("optim.lr=1e-2", ["optim.lr: 0.001 -> 0.01"]),
        ("+optim.lr=1", ["optim.lr: 0.001 -> 1.0"]),
        ("++optim.lr=1", ["optim.lr: 0.001 -> 1.0"]),
        ("training.epochs=1e2", ["training.epochs: 40 -> 100"]),
        ("model.layer_norm=True", ["model.layer_norm: False -> True"]),
        ("run_dir=007", ["run_dir: runs/custom -> 007"]),
        ("run_dir=1e3", ["run_dir: runs/custom -> 1e3"]),
        ("run_dir=true", ["run_dir: runs/custom -> true"]),
        ("run_dir='a b=c'", ["run_dir: runs/custom -> a b=c"]),
        ("run_dir=${recipe}-${seed}", ["run_dir: runs/custom -> custom-1"]),
        ("data.train=own.jsonl", ["data.train: ['t.jsonl'] -> ['own.jsonl']"]),
        ("data.train=7.jsonl", ["data.train: ['t.jsonl'] -> ['7.jsonl']"]),
        ("data.train=[a.jsonl,b.jsonl]", ["data.train: ['t.jsonl'] -> ['a.jsonl', 'b.jsonl']"]),
        ("data.train=/home/jörg/t.jsonl", ["data.train: ['t.jsonl'] -> ['/home/jörg/t.jsonl']"]),
        ("data.train=[~/t.jsonl,C#/ü.jsonl]", ["data.train: ['t.jsonl'] -> ['~/t.jsonl', 'C#/ü.jsonl']"]),
        ("data.train=${data.dev}", ["data.train: ['t.jsonl'] -> ['d.jsonl']"]),
        ("augment.speeds=1.1", ["augment.speeds: [1.0] -> [1.1]"]),
        ("augment.speeds=[0.9,1]", ["augment.speeds: [1.0] -> [0.9, 1.0]"]),
        ("data.test.mine=x.jsonl", ["data.test.mine: (absent) -> x.jsonl"]),
        ("+data.test.mine=x.jsonl", ["data.test.mine: (absent) -> x.jsonl"]),
        ("data.test={mine:x.jsonl}", ["data.test.mine: (absent) -> x.jsonl"]),
        ("data.options.size=3", ["data.options.size: (absent) -> 3"]),
        ("+data.options.parts=[a,b]", ["data.options.parts: (absent) -> ['a', 'b']"]),
        ("+optim=graves", None),
        ("optim.lr=choice(0.5)", ["optim.lr: 0.001 -> 0.5"]),
    ],
)
def test_what_is_meant_is_understood(override, changed):
    found = changes(override)
    assert found == changed if changed is not None else found


def test_the_later_of_two_counts():
    assert changes("optim.lr=1", "optim.lr=2", "optim=graves", "optim=adamw") == ["optim.lr: 0.001 -> 2.0"]


def test_a_recipe_needs_no_plus():
    (given,) = read_overrides(["recipe=digits"], acoustic_space())
    assert given.texts() == ["+recipe=digits"]


def test_a_test_set_can_be_taken_away():
    assert list(compose_recipe("digits", ["~data.test.singles"]).data.test) == ["strings"]


WRONG = [
    ("a=b", "a: unknown option"),
    ("model.hiden_size=3", "model.hiden_size: unknown option; did you mean model.hidden_size?"),
    ("hidden_size=3", "hidden_size: unknown option; did you mean model.hidden_size?"),
    ("epochs=5", "epochs: unknown option; did you mean training.epochs?"),
    ("optim/lr=3", "optim/lr: unknown option; did you mean optim"),
    ("optim.lr.x=3", "optim.lr.x: unknown option; did you mean optim.lr?"),
    ("feature=logmel40", "feature: unknown option; did you mean features?"),
    ("model@a=lstm_4x512", "model@a: unknown option; did you mean model?"),
    ("optim.=3", "optim.: unknown option"),
    ("a..b=3", "a..b: unknown option"),
    ("train.jsonl", "expected KEY=VALUE, such as data.train=[train.jsonl], got 'train.jsonl'"),
    ("=3", "expected KEY=VALUE, such as data.train=[train.jsonl], got '=3'"),
    ("optim.lr", "optim.lr: expected a value, optim.lr=VALUE without spaces around =, got none"),
    ("optim.lr =3", "optim.lr: expected no space around =, got 'optim.lr =3'"),
    ("model=blstm_9x", "model: expected auto, awd_blstm_4x320, bgru_4x320"),
    ("model=lstm_4x51", "model: expected auto, awd_blstm_4x320, bgru_4x320"),
    ("features=mfcc", "features: expected graves123, logmel40, logmel80 or mfcc39, got 'mfcc'; did you mean mfcc39?"),
    (
        "features=deltas",
        "features: expected graves123, logmel40, logmel80 or mfcc39, got 'deltas'; features.deltas=VALUE",
    ),
    ("model={cell:gru}", "model: expected auto, awd_blstm_4x320"),
    ("model=glob(zzz*)", "model: expected a glob that matches among auto, awd_blstm_4x320"),
    ("text=upper", "text: expected one of its options, such as text.case=VALUE, got 'upper'"),
    ("text={case:upper}", "text: expected one of its options, such as text.case=VALUE, got '{case:upper}'"),
    ("optim.lr=fast", "optim.lr: expected a number, above 0 and up to 1000, got 'fast'"),
    ("optim.lr=", "optim.lr: expected a number, above 0 and up to 1000, got ''"),
    ("optim.lr=null", "optim.lr: expected a number, above 0 and up to 1000, got null"),
    ("optim.lr=nan", "optim.lr: expected a number, above 0 and up to 1000, got nan"),
    ("optim.lr=1e400", "optim.lr: expected a number, above 0 and up to 1000, got inf"),
    ("training.epochs=2.5", "training.epochs: expected a whole number, 1 or more, got 2.5"),
    ("seed=true", "seed: expected a whole number, from 0 to 4294967295, got true"),
    ("model.layer_norm=yes", "model.layer_norm: expected true or false, got 'yes'"),
    ("model.cell=LSTM", "model.cell: expected rnn_tanh, gru or lstm, got 'LSTM'; did you mean lstm?"),
    ("model.cell=[lstm]", 'model.cell: expected rnn_tanh, gru or lstm, got ["lstm"]'),
    ("run_dir=", "run_dir: expected a text that is not empty, got ''"),
    ("data.train=[]", "data.train: expected a list of texts that is not empty, got []"),
    ("data.train=''", "data.train: expected a list of texts that is not empty, got ''"),
    (
        "augment.speeds=[a]",
        "augment.speeds: expected a list of numbers that is not empty, each from 0.1 to 10, got 'a'",
    ),
    ("augment.speeds=[0]", "augment.speeds: expected a list of numbers that is not empty, each from 0.1 to 10, got 0"),
    ("data.test=x.jsonl", "data.test: expected a name in it, data.test.NAME=x.jsonl, got 'x.jsonl'"),
    ("data.test.a b=x", "data.test.a b: expected a name of letters a-z, digits, - and _, a letter first, got 'a b'"),
    ("data.test.a.b=x", "data.test.a.b: unknown option; did you mean data.test?"),
    ("data.test={a:{b:c}}", "data.test.a: expected a text that is not empty"),
    ("~data.test.nix", "~data.test.nix: expected a name that is there"),
    ("~optim.lr", "~optim.lr: expected ~ before a name in data.test or data.options, such as ~data.test.NAME"),
    (
        "optim.lr=1e-3,2e-3",
        "optim.lr: expected one value, got 2, 0.001,0.002; -m (of asr train and asr run) trains once with each; a text",
    ),
    (
        "data.train=a.jsonl,b.jsonl",
        "data.train: expected one value, got 2, a.jsonl,b.jsonl; -m (of asr train and asr run) trains once with each; "
        "data.train=[a.jsonl,b.jsonl] takes all of them",
    ),
    ("optim.lr=range(3,1)", "optim.lr: expected at least one value, got a range without any"),
    ("optim.lr=interval(0,1)", "optim.lr: expected values to train with, such as optim.lr=1,2"),
    (
        "training.initial_model=runs/lr=1/model",
        "training.initial_model: quote the value runs/lr=1/model, and that from the shell: "
        "'training.initial_model=\"runs/lr=1/model\"'",
    ),
    (
        "data.train=[a=b.jsonl]",
        "data.train: quote the value [a=b.jsonl], and that from the shell: 'data.train=[\"a=b.jsonl\"]'",
    ),
    ("run_dir=a(b)", "run_dir: quote the value a(b)"),
    ("data.train=[t.jsonl", "data.train: expected brackets in pairs, got '[t.jsonl'"),
    ("run_dir=it's", 'run_dir: expected quotation marks in pairs, got "it\'s"'),
    ("data.train=[a,,b]", "data.train: expected a value at each side of a comma, got '[a,,b]'"),
    (
        "run_dir='${optim.lrr}'",
        "run_dir: expected ${OPTION} of an option there is, got ${optim.lrr}; did you mean optim.lr?",
    ),
    ("run_dir='${optim.lr'", "run_dir: expected references such as ${model.cell}, got one that cannot be read"),
    ("run_dir='${env:HOME}'", "run_dir: expected ${OPTION}, ${oc.env:NAME} or ${now:FORMAT}, got ${env:…}"),
    ("run_dir=${oc.env:NOT_SET_AT_ALL}", "run_dir: expected the environment variable NOT_SET_AT_ALL, which is not set"),
    ("run_dir='${run_dir}'", "run_dir: expected references such as ${model.cell}, got one that leads nowhere"),
    (
        "model.dropout=${model.cell}",
        "model.dropout: expected a number, 0 or more and below 1, got a reference to something",
    ),
    ("augment=noisy", "augment.noise: expected manifests"),
]


@pytest.mark.parametrize(("override", "message"), WRONG)
def test_what_is_wrong_is_explained(override, message):
    with pytest.raises(ConfigError) as raised:
        changes(override)
    assert str(raised.value).startswith(message)
    said = str(raised.value).replace(override, "")
    assert not [word for word in FOREIGN if word in said]


@pytest.mark.parametrize(
    ("override", "message"),
    [
        (
            "hydra.run.dir=x",
            r"^hydra\.run\.dir: expected hydra\.sweep\.dir, hydra/launcher or an option of hydra\.launcher",
        ),
        ("hydra/launcher=nowhere", "^hydra/launcher: expected basic.*, got 'nowhere'"),
        ("hydra.launcher.jobs=3", r"^hydra\.launcher\.jobs: unknown option"),
        ("hydra=x", "^hydra: unknown option"),
    ],
)
def test_hydras_own_options(override, message):
    with pytest.raises(ConfigError, match=message):
        changes(override)


def test_what_is_missing_is_asked_for():
    with pytest.raises(ConfigError, match=r"^data\.train: expected manifests, data\.train=\[FILE\.jsonl\], got none$"):
        compose_recipe("custom", [])


@pytest.mark.parametrize(
    ("recipe", "overrides", "message"),
    [
        ("digitz", [], "^expected a recipe, one of custom, an4.*; got 'digitz'; did you mean digits?"),
        ("data.train=t.jsonl", [], "; for manifests of your own: custom data.train=t.jsonl$"),
        ("digits", ["+recipe=yesno"], r"^expected one recipe, got digits and \+recipe=yesno"),
    ],
)
def test_recipes(recipe, overrides, message):
    with pytest.raises(ConfigError, match=message):
        compose_recipe(recipe, overrides)


@pytest.mark.parametrize(
    "text", ["a", "it's", r"C:\new", "ends in \\", r"\'", "a\\\\'b", 'say "x"', "lr=1,2 [3]", "ü", "  "]
)
def test_quoted_texts_are_read_back(text):
    assert OverridesParser.create().parse_override(f"key={quoted(text)}").value() == text


def test_values_of_a_sweep_are_checked_one_by_one():
    from dataclasses import replace

    space = replace(acoustic_space(), takes_several=True)
    (given,) = read_overrides(["optim.lr=1e-3,2e-3"], space)
    assert given.texts() == ["optim.lr=0.001", "optim.lr=0.002"]
    (given,) = read_overrides(["model=glob(blstm_?x*)"], space)
    assert given.texts() == ["model=blstm_2x128", "model=blstm_3x256", "model=blstm_4x320", "model=blstm_5x512"]
    with pytest.raises(ConfigError, match=r"^optim\.lr: expected a number, above 0 and up to 1000, got 0$"):
        read_overrides(["optim.lr=1e-3,0"], space)
    with pytest.raises(ConfigError, match=r"^model: expected .*, got 'x'$"):
        read_overrides(["model=blstm_2x128,x"], space)


# ---- files of configs/ ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            "hiden_size: 3\n",
            "configs/model/own.yaml: model.hiden_size: unknown option; did you mean model.hidden_size?",
        ),
        (
            "hidden_size: many\n",
            "configs/model/own.yaml: model.hidden_size: expected a whole number, from 1 to 16384, got 'many'",
        ),
        ("hidden_size: -3\n", "model.hidden_size: expected a whole number, from 1 to 16384, got -3"),
        ("hidden_size: ${nix}\n", "model.hidden_size: expected ${OPTION} of an option there is, got ${nix}"),
        ("defaults:\n  - nowhere\n", "configs/model/own.yaml: expected defaults that are there, got model/nowhere"),
        ("frontend: conv\n", "configs/model/own.yaml: expected options by name, such as `hidden_size: 320`"),
        ("- a\n- b\n", "configs/model/own.yaml: expected options by name"),
        ("cell: [lstm\n", "model/own.yaml:2: expected YAML, KEY: VALUE on each line"),
        (b"cell: \xff\n", "configs: expected YAML in UTF-8"),
    ],
)
def test_files_of_ones_own_are_explained(tmp_path, monkeypatch, content, message):
    shutil.copytree(resource_directory("configs"), tmp_path / "configs")
    own = tmp_path / "configs" / "model" / "own.yaml"
    own.write_bytes(content if isinstance(content, bytes) else content.encode())
    monkeypatch.setattr("asr.cli.compose.resource_directory", lambda name: tmp_path / name)
    with pytest.raises(ConfigError) as raised:
        compose_recipe("custom", [*DATA, "model=own"])
    assert str(raised.value).replace(f"{tmp_path / 'configs'}/", "").startswith(message)
    assert not [word for word in FOREIGN if word in str(raised.value)]
