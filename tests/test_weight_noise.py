"""Weight noise (Graves 2013): its arithmetic, its place in a run; and runs that start from another model's weights."""

import contextlib
import shutil

import pytest
import torch
from helpers import sung_corpus
from test_training import TEXTS, StopAfter, configure, losses, weights
from torch import nn

import asr
from asr.cli.train import train_stage
from asr.errors import ConfigError, Interrupted
from asr.experiment import build_run
from asr.training.monitor import Monitor
from asr.training.weight_noise import WeightNoise

pytestmark = pytest.mark.usefixtures("no_curves")

NOISY = ("training.log_every_steps=1", "training.epochs=2", "optim.weight_noise=0.05")


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    directory = tmp_path_factory.mktemp("corpus")
    return {
        "train": sung_corpus(directory, "train", TEXTS * 2, seed=1),
        "dev": sung_corpus(directory, "dev", TEXTS[:4], seed=2),
    }


def flat(model):
    return torch.cat([parameter.detach().flatten() for parameter in model.parameters()])


def test_the_gradient_is_that_of_the_noisy_weight_and_the_clean_one_moves():
    """Of w² at w + n it is 2 (w + n), and plain descent goes from w to w − 0.1 · 2 (w + n)."""
    model = nn.Linear(1, 1, bias=False)
    nn.init.constant_(model.weight, 3.0)
    noise = WeightNoise(model, 0.5, seed=1)
    with noise.added(step=0):
        n = model.weight.item() - 3.0
        (model.weight**2).sum().backward()
    assert n != 0
    assert model.weight.item() == 3.0
    assert model.weight.grad.item() == pytest.approx(2 * (3.0 + n))
    torch.optim.SGD(model.parameters(), lr=0.1).step()
    assert model.weight.item() == pytest.approx(3.0 - 0.1 * 2 * (3.0 + n))


def test_the_weights_come_back_to_the_bit():
    """w + n − n would not: 1e-8 + 1 − 1 is 0 in float32."""
    model = nn.Linear(50, 50)
    nn.init.normal_(model.weight, std=1e-8)
    before = flat(model)
    noise = WeightNoise(model, 1.0, seed=1)
    with contextlib.suppress(MemoryError), noise.added(step=3):
        assert not torch.equal(flat(model), before)
        raise MemoryError
    assert torch.equal(flat(model), before)


def test_the_noise_is_gaussian_and_a_function_of_seed_and_step():
    model = nn.Linear(300, 300)
    nn.init.zeros_(model.weight)

    def drawn(seed, step):
        with WeightNoise(model, 0.075, seed).added(step):
            return model.weight.detach().clone()

    torch.manual_seed(0)
    noise = drawn(1, 7)
    # 90,000 draws: the standard error of the mean is 0.075 / 300, of the deviation 0.075 / √180,000
    assert float(noise.mean()) == pytest.approx(0.0, abs=5 * 0.00025)
    assert float(noise.std()) == pytest.approx(0.075, abs=5 * 0.00018)
    assert float((noise.abs() < 0.075).float().mean()) == pytest.approx(0.6827, abs=0.01)
    torch.manual_seed(99)  # torch's own random state plays no part
    assert torch.equal(drawn(1, 7), noise)
    assert not torch.equal(drawn(1, 8), noise)
    assert not torch.equal(drawn(2, 7), noise)


def test_an_lstm_gets_the_noise_of_one_bias():
    """PyTorch adds two biases where the paper has one: noise on both would have √2 times the deviation."""
    model = nn.LSTM(3, 4)
    before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    with WeightNoise(model, 0.1, seed=1).added(step=0):
        changed = {name for name, parameter in model.named_parameters() if not torch.equal(parameter, before[name])}
    assert changed == {"weight_ih_l0", "weight_hh_l0", "bias_ih_l0"}


@pytest.mark.parametrize("deviation", ["-0.1", "inf"])
def test_a_deviation_that_makes_no_sense(corpus, tmp_path, deviation):
    (tmp_path / "run").mkdir()
    with (
        Monitor(tmp_path, 1) as monitor,
        pytest.raises(ConfigError, match=r"optim\.weight_noise: expected a number, from 0 to 1000"),
    ):
        build_run(configure(corpus, tmp_path / "run", f"optim.weight_noise={deviation}"), tmp_path / "run", monitor)


def test_a_run_without_noise_has_nothing_to_do_with_it(corpus, tmp_path):
    (tmp_path / "run").mkdir()
    with Monitor(tmp_path, 1) as monitor:
        trainer = build_run(configure(corpus, tmp_path / "run"), tmp_path / "run", monitor).trainer
        assert trainer.gradients.weight_noise is None


def test_a_noisy_run_goes_on_to_the_same_bit(corpus, tmp_path, monkeypatch):
    train_stage(configure(corpus, tmp_path / "whole", *NOISY))
    with monkeypatch.context() as patch:
        StopAfter(patch, 3)
        with pytest.raises(Interrupted):
            train_stage(configure(corpus, tmp_path / "halves", *NOISY))
    train_stage(configure(corpus, tmp_path / "halves", *NOISY))
    assert losses(tmp_path / "halves") == losses(tmp_path / "whole")
    whole, halves = weights(tmp_path / "whole"), weights(tmp_path / "halves")
    assert all(torch.equal(whole[name], halves[name]) for name in whole)


def test_training_is_with_noise_and_validation_without(corpus, tmp_path):
    """The first step's loss is another one; that of validation is the loss of the weights which the epoch left."""
    for name, deviation in (("noisy", 1), ("clean", 0)):
        run_dir = tmp_path / name
        run_dir.mkdir()
        config = configure(corpus, run_dir, *NOISY, "training.epochs=1", f"optim.weight_noise={deviation}")
        with Monitor(run_dir, 1) as monitor:
            trainer = build_run(config, run_dir, monitor).trainer
            trainer.fit()
            assert trainer.task.validate().values["loss"] == trainer.position.losses[0]
    assert losses(tmp_path / "noisy")[0] != losses(tmp_path / "clean")[0]


# ---- weights to start from ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def first(corpus, tmp_path_factory):
    """The model of a first stage."""
    return train_stage(configure(corpus, tmp_path_factory.mktemp("first"), "training.epochs=1"))


def test_a_run_starts_from_the_weights_of_another(corpus, first, tmp_path):
    """At a rate of next to nothing it never leaves them. Dropout may be another."""
    overrides = ["training.epochs=1", "optim.lr=1e-30", "model.dropout=0.4", f"training.initial_model={first}"]
    second = train_stage(configure(corpus, tmp_path / "second", *overrides))
    before, after = (asr.load_model(path).model.state_dict() for path in (first, second))
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_only_the_start_of_a_run_reads_the_other_model(corpus, first, tmp_path, monkeypatch):
    model = shutil.copytree(first, tmp_path / "model")
    overrides = [*NOISY, "training.epochs=1", f"training.initial_model={model}"]
    train_stage(configure(corpus, tmp_path / "whole", *overrides))
    with monkeypatch.context() as patch:
        StopAfter(patch, 2)
        with pytest.raises(Interrupted):
            train_stage(configure(corpus, tmp_path / "halves", *overrides))
    shutil.rmtree(model)
    train_stage(configure(corpus, tmp_path / "halves", *overrides))
    assert losses(tmp_path / "halves") == losses(tmp_path / "whole")


@pytest.mark.parametrize(
    ("override", "named"),
    [
        ("model.hidden_size=25", r"model\.hidden_size: 24 -> 25"),
        ("features.num_mels=24", r"features\.num_mels: 23 -> 24"),
        ("model.residual=true", r"model\.residual: False -> True"),  # the same weights, of another meaning
        ("text.case=upper", r"case: lower -> upper\n  tokens: 6 -> 6; only there 'a', 'b', 'c', 'd'; only here 'A'"),
    ],
)
def test_another_model_than_the_config_asks_for(corpus, first, tmp_path, override, named):
    with pytest.raises(ConfigError, match=named):
        train_stage(configure(corpus, tmp_path / "second", f"training.initial_model={first}", override))


def test_no_model_to_start_from(corpus, tmp_path):
    with pytest.raises(ConfigError, match=r"training\.initial_model: expected a model directory at .*nowhere"):
        train_stage(configure(corpus, tmp_path / "run", f"training.initial_model={tmp_path / 'nowhere'}"))
