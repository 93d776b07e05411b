"""Whole training runs on a small sung corpus: they learn, stop, go on exactly, and export what they learnt."""

import json
import signal
from dataclasses import replace

import pytest
import torch
from helpers import SAMPLE_RATE, needs_real_speech, real_data, sung_corpus

import asr
from asr.cli.compose import compose_recipe
from asr.cli.train import train_stage
from asr.data.manifest import read_manifest, write_manifest
from asr.errors import ConfigError, Interrupted, ManifestError
from asr.evaluation import evaluate
from asr.experiment import build_run
from asr.training.acoustic_task import AcousticTask
from asr.training.checkpoint import average, checkpoint_number, list_checkpoints, load_checkpoint
from asr.training.loop import Trainer
from asr.training.monitor import Monitor
from asr.training.task import Validation

TEXTS = ["ab", "ba", "bad", "dab", "a bad cab", "cab", "add a cab", "abba", "dad", "a dad", "bad dad", "cab ab"]
SMALL = [
    "data=manifests",
    "text.tokenizer=char",
    "features.normalize=utterance",
    f"data.sample_rate={SAMPLE_RATE}",
    "data.test={}",
    "data.batch_seconds=4",
    "model.hidden_size=24",
    "model.num_layers=1",
    "features.num_mels=23",
    "training.epochs=3",
    "training.average_best=2",
    "optim.warmup_steps=5",
    "machine.precision=float32",
]


# What makes small data work, all of it at once.
EVERYTHING = [
    "model.num_layers=2",
    "model.dropout=0.2",
    "model.variational_dropout=true",
    "model.weight_drop=0.3",
    "model.batch_norm=true",
    "model.norm_place=input",
    "model.frontend.name=conv",
    "model.frontend.batch_norm=true",
    "augment=reverberant",
    "augment.label_smoothing=0.05",
    "augment.smoothing_prior=unigram",
    "data.sorted_epochs=1",
    "data.growing_epochs=2",
    "data.first_share=0.6",
    "optim=one_cycle",
    "optim.clipping=adaptive",
    "optim.clip_norm=0.1",
    "optim.weight_noise=0.01",
    "optim.ema_decay=0.9",
    "training.inspect_every_steps=2",
]


@pytest.fixture
def corpus(tmp_path):
    return {
        "train": sung_corpus(tmp_path, "train", TEXTS * 2, seed=1),
        "dev": sung_corpus(tmp_path, "dev", TEXTS[:4], seed=2),
    }


def configure(corpus, run_dir, *overrides):
    sets = [f"data.train=[{corpus['train']}]", f"data.dev=[{corpus['dev']}]"]
    return compose_recipe("digits", [*SMALL, *sets, f"run_dir={run_dir}", *overrides])


def losses(run_dir):
    records = [json.loads(line) for line in (run_dir / "history.jsonl").read_text().splitlines()]
    return [(r["step"], r["loss"]) for r in records if r["kind"] != "inspection"]


def weights(run_dir):
    return load_checkpoint(list_checkpoints(run_dir / "checkpoints", "resume")[-1]).tensors


def test_a_run_learns_and_leaves_what_it_promises(corpus, tmp_path):
    run_dir = tmp_path / "run"
    overrides = ["training.epochs=25", "optim.lr=0.01", "augment=none", "training.log_every_steps=1"]
    model_dir = train_stage(configure(corpus, run_dir, *overrides))
    names = {path.name for path in run_dir.iterdir()}
    assert {
        "config.json",
        "environment.json",
        "checkpoints",
        "model",
        "tensorboard",
        "curves.png",
        "history.jsonl",
    } <= names
    assert {path.name for path in model_dir.iterdir()} == {
        "config.json",
        "model.safetensors",
        "tokenizer.json",
        "README.md",
        "SHA256SUMS",
    }
    result = evaluate(asr.load_model(model_dir), read_manifest(corpus["dev"]))
    assert result.summary["cer"] < 0.2  # tones are easy
    assert len(list_checkpoints(run_dir / "checkpoints", "epoch")) == 2
    assert "WER" in (model_dir / "README.md").read_text()
    before = (model_dir / "model.safetensors").stat().st_mtime_ns
    train_stage(configure(corpus, run_dir, *overrides))  # done: nothing happens
    assert (model_dir / "model.safetensors").stat().st_mtime_ns == before


class StopAfter:
    """Ask a run to stop once it has made some steps, as Ctrl-C does."""

    def __init__(self, monkeypatch, steps, by=signal.SIGINT):
        original = Trainer._step

        def step(trainer, *arguments):
            original(trainer, *arguments)
            if trainer.position.step == steps:
                signal.raise_signal(by)

        monkeypatch.setattr(Trainer, "_step", step)


@pytest.mark.parametrize(
    "options", [["augment.max_time_share=0.3", "model.dropout=0.2", "model.num_layers=2"], EVERYTHING]
)
def test_a_stopped_run_goes_on_to_the_same_bit(corpus, tmp_path, monkeypatch, options):
    """Stopped in the middle of the second epoch, with dropout, speed changes and SpecAugment; and with everything."""
    overrides = ["training.log_every_steps=1", *options]
    train_stage(configure(corpus, tmp_path / "whole", *overrides))
    steps_an_epoch = len(list(losses(tmp_path / "whole"))) // 3 - 1
    with monkeypatch.context() as patch:
        StopAfter(patch, steps_an_epoch + 2)
        with pytest.raises(Interrupted, match="goes on from there"):
            train_stage(configure(corpus, tmp_path / "halves", *overrides))
    assert len(losses(tmp_path / "halves")) < len(losses(tmp_path / "whole"))
    # another number of workers, too, must not matter
    train_stage(configure(corpus, tmp_path / "halves", *overrides, "machine.num_workers=3"))
    assert losses(tmp_path / "halves") == losses(tmp_path / "whole")
    whole, halves = weights(tmp_path / "whole"), weights(tmp_path / "halves")
    assert all(torch.equal(whole[name], halves[name]) for name in whole)


@pytest.mark.skipif(not hasattr(signal, "SIGUSR2"), reason="Slurm's signals")
@pytest.mark.parametrize("has_listener", [True, False])
def test_a_warning_of_the_time_limit_is_handed_on_when_all_is_saved(corpus, tmp_path, monkeypatch, has_listener):
    """submitit listens to it, and asks Slurm to start the job again; where nobody does, the run just stops."""
    heard = []

    def requeue(*_):
        heard.append([checkpoint_number(path) for path in list_checkpoints(tmp_path / "run" / "checkpoints", "resume")])

    before = signal.signal(signal.SIGUSR2, requeue if has_listener else signal.SIG_DFL)
    try:
        StopAfter(monkeypatch, 3, signal.SIGUSR2)
        with pytest.raises(Interrupted, match="stopped after step 3"):
            train_stage(configure(corpus, tmp_path / "run"))
    finally:
        signal.signal(signal.SIGUSR2, before)
    assert heard == ([[3]] if has_listener else [])


@pytest.mark.parametrize("options", [["model.num_layers=2", "optim.weight_noise=0.01"], ["model.cell=gru"]])
def test_watching_changes_nothing(corpus, tmp_path, options):
    """Gradient norms and gates of every step are recorded, and the run is the same to the bit."""
    overrides = ["training.epochs=2", "training.log_every_steps=1", "model.dropout=0.2", *options]
    train_stage(configure(corpus, tmp_path / "alone", *overrides))
    train_stage(configure(corpus, tmp_path / "watched", *overrides, "training.inspect_every_steps=1"))
    assert losses(tmp_path / "watched") == losses(tmp_path / "alone")
    alone, watched = weights(tmp_path / "alone"), weights(tmp_path / "watched")
    assert all(torch.equal(alone[name], watched[name]) for name in alone)
    records = [json.loads(line) for line in (tmp_path / "watched" / "history.jsonl").read_text().splitlines()]
    norms = {r["step"]: r["grad_norm"] for r in records if r["kind"] == "step"}
    found = {r["step"]: r["gradient/all"] for r in records if "gradient/all" in r}
    assert found == pytest.approx(norms, rel=1e-4)  # of every step, before clipping
    assert [r["step"] for r in records if any(name.startswith("gate/") for name in r)] == list(norms)


def test_a_resumed_run_has_the_same_inspections(corpus, tmp_path, monkeypatch):
    overrides = ["training.epochs=2", "training.checkpoint_steps=2", "training.inspect_every_steps=1"]

    def inspections(run_dir):
        records = [json.loads(line) for line in (run_dir / "history.jsonl").read_text().splitlines()]
        return [record for record in records if record["kind"] == "inspection"]

    train_stage(configure(corpus, tmp_path / "whole", *overrides))
    step = Trainer._step

    def killed(trainer, *arguments):
        step(trainer, *arguments)
        if trainer.position.step == 4:  # the checkpoint is that of two steps
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "_step", killed)
        with pytest.raises(KeyboardInterrupt):
            train_stage(configure(corpus, tmp_path / "halves", *overrides))
    assert {record["step"] for record in inspections(tmp_path / "halves")} == {0, 1, 2, 3}
    train_stage(configure(corpus, tmp_path / "halves", *overrides))
    assert inspections(tmp_path / "halves") == inspections(tmp_path / "whole")


@pytest.mark.parametrize(
    ("option", "least"), [("log_every_steps", 1), ("checkpoint_steps", 0), ("inspect_every_steps", 0)]
)
def test_numbers_of_steps_that_make_no_sense(corpus, tmp_path, option, least):
    with pytest.raises(
        ConfigError, match=rf"training\.{option}: expected a whole number, {least} or more, got {least - 1}"
    ):
        train_stage(configure(corpus, tmp_path / "run", f"training.{option}={least - 1}"))


def test_the_exported_mean_is_the_one_that_validates_best(corpus, tmp_path):
    """Whichever of the two candidates that is."""
    with Monitor(tmp_path, 1) as monitor:
        (tmp_path / "run").mkdir()
        config = configure(corpus, tmp_path / "run", "training.criterion=loss")
        trainer = build_run(config, tmp_path / "run", monitor).trainer
        trainer.fit()
        chosen = trainer.choose_mean()
        losses = {}
        for number in (1, 2):
            trainer.task.model.load_state_dict(average(trainer.best_checkpoints()[:number]))
            losses[number] = trainer.task.validate().values["loss"]
    assert chosen.values["loss"] == min(losses.values())
    assert len(chosen.checkpoints) == min(losses, key=losses.__getitem__)


# The first says nothing, the third says more that is right than the second, the second has the lowest loss.
WEAK = [
    {"wer": 1.0, "cer": 1.0, "loss": 2.0, "said_share": 0.0},
    {"wer": 1.04, "cer": 0.7, "loss": 1.0, "said_share": 0.6},
    {"wer": 1.05, "cer": 0.66, "loss": 3.0, "said_share": 0.5},
]
STRONG = [
    {"wer": 0.1, "cer": 0.06, "loss": 3.0, "said_share": 1.0},
    {"wer": 0.3, "cer": 0.05, "loss": 1.0, "said_share": 1.0},
    {"wer": 0.2, "cer": 0.04, "loss": 2.0, "said_share": 1.0},
]


def validating(monkeypatch, values):
    """Let the next validations find these values."""
    values = iter(values)
    monkeypatch.setattr(AcousticTask, "validate", lambda task: Validation({"blank_share": 0.5} | next(values)))


@pytest.mark.parametrize(
    ("values", "criterion", "best"),
    [
        (WEAK, "cer", [2, 1, 0]),
        (WEAK, "wer", [1, 2, 0]),
        (WEAK, "loss", [1, 2, 0]),
        (STRONG, "cer", [2, 1, 0]),
        (STRONG, "wer", [0, 2, 1]),
        (STRONG, "loss", [1, 2, 0]),
    ],
)
def test_the_criterion_chooses_among_epochs(corpus, tmp_path, monkeypatch, values, criterion, best):
    validating(monkeypatch, values)
    (tmp_path / "run").mkdir()
    overrides = [f"training.criterion={criterion}", "training.epochs=3", "training.average_best=3"]
    with Monitor(tmp_path, 3) as monitor:
        trainer = build_run(configure(corpus, tmp_path / "run", *overrides), tmp_path / "run", monitor).trainer
        trainer.fit()
    assert [checkpoint_number(path) for path in trainer.best_checkpoints()] == best


@pytest.mark.parametrize(
    ("means", "chosen"),
    [
        (WEAK, [3]),  # its loss is the highest, but nothing comes near its CER
        ([STRONG[2], WEAK[0], STRONG[1] | {"cer": 0.0415}], [1, 2, 3]),  # a hair worse by CER, with half the loss
        ([WEAK[0], WEAK[0] | {"loss": 1.9}, WEAK[0]], [2, 3]),  # none says anything
    ],
)
def test_a_mean_that_says_less_is_not_exported_for_its_loss(corpus, tmp_path, monkeypatch, means, chosen):
    (tmp_path / "run").mkdir()
    means = means if means is not WEAK else WEAK[::-1]
    with Monitor(tmp_path, 3) as monitor:
        config = configure(corpus, tmp_path / "run", "training.average_best=3", "training.criterion=cer")
        trainer = build_run(config, tmp_path / "run", monitor).trainer
        with monkeypatch.context() as patch:
            validating(patch, WEAK)  # best last
            trainer.fit()
        validating(monkeypatch, means)
        exported = trainer.choose_mean()
    assert exported.epochs == chosen
    assert exported.describe("cer").endswith("the best by CER")


def test_an_unknown_criterion_is_refused(corpus, tmp_path):
    with pytest.raises(ConfigError, match="cer, wer or loss, got 'accuracy'"):
        train_stage(configure(corpus, tmp_path / "run", "training.criterion=accuracy"))


def test_another_seed_is_another_run(corpus, tmp_path):
    train_stage(configure(corpus, tmp_path / "a", "training.epochs=1"))
    train_stage(configure(corpus, tmp_path / "b", "training.epochs=1", "seed=2"))
    assert losses(tmp_path / "a") != losses(tmp_path / "b")


def test_another_config_or_other_data_in_the_same_directory(corpus, tmp_path):
    train_stage(configure(corpus, tmp_path / "run", "training.epochs=1"))
    with pytest.raises(ConfigError, match=r"optim\.lr"):
        train_stage(configure(corpus, tmp_path / "run", "training.epochs=1", "optim.lr=0.5"))
    write_manifest(corpus["train"], read_manifest(corpus["train"])[:-1])
    with pytest.raises(ConfigError, match=r"data\.train: .*train\.jsonl as it was -> as it is now"):
        train_stage(configure(corpus, tmp_path / "run", "training.epochs=1"))


def test_an_option_that_a_run_began_without_counts_as_its_default(corpus, tmp_path):
    train_stage(configure(corpus, tmp_path / "run", "training.epochs=1"))
    path = tmp_path / "run" / "config.json"
    config = json.loads(path.read_text())
    del config["optim"]["weight_noise"], config["scoring"]
    path.write_text(json.dumps(config))
    train_stage(configure(corpus, tmp_path / "run", "training.epochs=1"))
    with pytest.raises(ConfigError, match=r"optim\.weight_noise: 0\.0 -> 0\.1"):
        train_stage(configure(corpus, tmp_path / "run", "training.epochs=1", "optim.weight_noise=0.1"))


def test_a_run_goes_on_without_the_options_that_its_corpus_was_prepared_with(corpus, tmp_path):
    """They say where the corpus was found; what they made of it is compared by the manifests' checksums."""
    train_stage(configure(corpus, tmp_path / "run", "training.epochs=1", "+data.options.corpus_dir=/corpora"))
    train_stage(configure(corpus, tmp_path / "run", "training.epochs=1"))


def test_utterances_that_cannot_be_aligned_are_dropped_and_named(corpus, tmp_path, capsys):
    utterances = read_manifest(corpus["train"])
    utterances[0] = replace(utterances[0], text="abc " * 40)
    write_manifest(corpus["train"], utterances)
    train_stage(configure(corpus, tmp_path / "run", "training.epochs=1"))
    assert "train-0" in capsys.readouterr().out
    (dropped,) = map(json.loads, (tmp_path / "run" / "dropped.jsonl").read_text().splitlines())
    assert (dropped["set"], dropped["id"], dropped["code"]) == ("train", "train-0", "unalignable")


def test_nothing_usable_is_an_error(corpus, tmp_path):
    write_manifest(corpus["train"], [replace(u, text="abc " * 40) for u in read_manifest(corpus["train"])])
    with pytest.raises(ManifestError, match="none of 24 utterances can be used"):
        train_stage(configure(corpus, tmp_path / "run"))


def test_a_missing_manifest_is_named(corpus, tmp_path):
    with pytest.raises(ManifestError, match=r"nowhere\.jsonl"):
        train_stage(configure({**corpus, "train": "nowhere.jsonl"}, tmp_path / "run"))


def test_a_damaged_newest_checkpoint_falls_back(corpus, tmp_path, monkeypatch, capsys):
    overrides = ["training.log_every_steps=1", "training.epochs=2"]
    train_stage(configure(corpus, tmp_path / "whole", *overrides))
    steps = losses(tmp_path / "whole")[-1][0]
    with monkeypatch.context() as patch:
        StopAfter(patch, steps - 1)
        with pytest.raises(Interrupted):
            train_stage(configure(corpus, tmp_path / "run", *overrides))
    newest = list_checkpoints(tmp_path / "run" / "checkpoints", "resume")[-1]
    newest.write_bytes(newest.read_bytes()[:-7])
    train_stage(configure(corpus, tmp_path / "run", *overrides))
    assert "using the one before" in capsys.readouterr().out
    assert losses(tmp_path / "run") == losses(tmp_path / "whole")


def test_early_stopping(corpus, tmp_path):
    # nothing is learnt at this rate: the error rate never improves after the first epoch
    train_stage(configure(corpus, tmp_path / "run", "training.epochs=9", "training.patience=2", "optim.lr=1e-9"))
    epochs = [line for line in (tmp_path / "run" / "history.jsonl").read_text().splitlines() if '"epoch", ' in line]
    assert len(epochs) == 3


@pytest.mark.parametrize(
    "overrides",
    [
        ["model.cell=gru", "model.merge=sum", "model.frontend.name=conv"],
        [
            "model.cell=rnn_tanh",
            "model.bidirectional=false",
            "optim=graves",
            "features=graves123",
            "features.num_mels=23",
        ],
        ["model.layer_norm=true", "model.residual=true", "model.projection_size=16", "optim=adamw_plateau"],
        ["text.tokenizer=bpe", "text.vocab_size=12", "features=mfcc39", "machine.precision=bf16"],
        ["augment=noisy", "augment.noise=[NOISE]", "machine.cache_gib=0"],
        EVERYTHING,
    ],
)
def test_every_choice_trains_and_evaluates(corpus, tmp_path, overrides):
    overrides = [override.replace("NOISE", str(corpus["dev"])) for override in overrides]
    model_dir = train_stage(configure(corpus, tmp_path / "run", "training.epochs=1", *overrides))
    result = evaluate(asr.load_model(model_dir), read_manifest(corpus["dev"]))
    assert result.summary["utterances"] == 4


@needs_real_speech
def test_four_real_utterances_are_learnt_by_heart(tmp_path):
    """A model, loss or label that is wrong anywhere cannot bring this to zero."""
    chosen = [u for u in read_manifest(real_data() / "librispeech-dev.jsonl") if u.duration < 4][:4]
    manifest = tmp_path / "four.jsonl"
    write_manifest(manifest, chosen)
    overrides = [
        "data=manifests",
        "data.test={}",
        "model.hidden_size=96",
        "model.dropout=0",
        "augment=none",
        "training.epochs=110",
        "training.average_best=1",
        "optim.lr=5e-3",
        "optim.schedule=constant",
        "optim.warmup_steps=10",
        "machine.precision=float32",
        "data.sample_rate=16000",
    ]
    model_dir = train_stage(configure({"train": manifest, "dev": manifest}, tmp_path / "run", *overrides))
    assert evaluate(asr.load_model(model_dir), chosen).summary["cer"] == 0.0
