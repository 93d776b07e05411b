"""A language model's training run put together: texts read, units learnt, trained, exported as a model directory."""

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from lightning_fabric import Fabric
from rich.console import Console
from rich.markup import escape

from asr.builders import build_tokenizer, check_case
from asr.config import TextConfig
from asr.data.text_corpus import TextCorpus, encode_corpus
from asr.decoding.rescoring import LanguageModelScorer
from asr.errors import ConfigError, TextError
from asr.files import write_json
from asr.inspection.monitors import GradientMonitor, Watch
from asr.language_builders import build_language_model, language_model_card, language_model_files
from asr.language_config import LanguageConfig
from asr.launcher import detect_launch
from asr.model_directory import read_model, write_model
from asr.ngram.text import read_lines
from asr.options import check
from asr.progress import track
from asr.text.language_units import LanguageUnits, TokenUnits, WordUnits, units_from_json
from asr.text.normalize import normalize
from asr.text.tokenizer import load_tokenizer, tokenizer_from_json
from asr.text.tokens import Tokenizer
from asr.training.course import read_course
from asr.training.fabric import build_fabric, processes_of
from asr.training.language_task import LanguageTask
from asr.training.loop import Trainer
from asr.training.monitor import Monitor
from asr.training.run_directory import write_environment
from asr.training_builders import build_optimizer, build_schedule, loop_options, norm_limit

HELD_OUT_STREAM = 6  # of random numbers; the others are in asr/augment/streams.py, asr/data and asr/training
HELD_OUT_SHARE = 0.01
MOST_HELD_OUT = 5000  # sentences


@dataclass(frozen=True, slots=True)
class Sentences:
    """Normalised texts of a run, without empty ones."""

    train: Sequence[str]
    dev: Sequence[str]


@dataclass(frozen=True, slots=True)
class LanguageRun:
    """A trainer, and the scorer whose model it trains."""

    trainer: Trainer
    scorer: LanguageModelScorer


def train_language_model(config: LanguageConfig, run_dir: Path, console: Console) -> Path:
    """Train to the end, going on from a checkpoint if there is one; returns the model directory."""
    with Monitor(run_dir, config.training.epochs, console, is_leader=detect_launch().is_leader) as monitor:
        run = build_language_run(config, run_dir, monitor)
        with run.trainer.stopping_on_signals():
            run.trainer.fit()
        chosen = run.trainer.choose_mean()
        console.print(
            f"exporting {chosen.describe('perplexity')}: validation perplexity "
            f"{chosen.values['perplexity']:.2f} a token, {chosen.values['word_perplexity']:.1f} a word",
            highlight=False,
        )
        model_dir = run_dir / "model"
        card = language_model_card(config, run.scorer.units, chosen.values)
        if run.trainer.processes.is_leader:
            write_model(model_dir, language_model_files(config, run.scorer), card)
            run.trainer.result(chosen).write(run_dir)
        return model_dir


def build_language_run(config: LanguageConfig, run_dir: Path, monitor: Monitor) -> LanguageRun:
    """Everything a run needs, from its config. Raises `ConfigError` for one that is out of range."""
    check(config)
    console = monitor.console
    torch.manual_seed(config.seed)
    if config.machine.num_threads:
        torch.set_num_threads(config.machine.num_threads)
    fabric = build_fabric(config.machine.accelerator, config.machine.precision)
    processes = processes_of(fabric)
    if processes.is_leader:
        write_environment(run_dir, fabric.device, fabric._precision.precision, processes.world_size)
    texts = read_sentences(config, console)
    with processes.leader_first():
        units = learn_units(config, run_dir, texts.train)
    train, dev = (encode(part, units, console) for part in (texts.train, texts.dev))
    model = build_language_model(config.model, units.vocab_size)
    describe(model, units, train, dev, fabric, console)
    try:
        task = LanguageTask(
            model,
            train,
            dev,
            fabric.device,
            num_streams=config.training.num_streams,
            bptt_tokens=config.training.bptt_tokens,
            seed=config.seed,
            processes=processes,
        )
    except ValueError as error:
        raise ConfigError(f"training: {error}") from error
    course = processes.from_leader(read_course(run_dir, config.training.epochs))
    optimizer, schedule = build_optimizer(config.optim, model), build_schedule(config.optim)
    trainer = Trainer(
        fabric,
        task,
        optimizer,
        schedule,
        monitor,
        run_dir / "checkpoints",
        loop_options(config, course),
        watches=build_watches(config, model, monitor),
        processes=processes,
    )
    return LanguageRun(trainer, LanguageModelScorer(model, units, check_case(config.case)))


def build_watches(config: LanguageConfig, model: torch.nn.Module, monitor: Monitor) -> Sequence[Watch]:
    """What looks into the model while it is trained, every `training.inspect_every_steps` steps."""
    every_steps = config.training.inspect_every_steps
    if every_steps == 0:
        return ()
    return [GradientMonitor(model, norm_limit(config.optim), every_steps, monitor.inspection).watch]


def read_sentences(config: LanguageConfig, console: Console) -> Sentences:
    """Read and normalise the texts; without a validation text, hold out a part that the seed chooses."""
    texts = _read(config.texts, config)
    if config.dev:
        return Sentences(texts, _read(config.dev, config))
    num_held_out = min(MOST_HELD_OUT, max(1, round(HELD_OUT_SHARE * len(texts))))
    if len(texts) <= num_held_out:
        raise TextError(f"expected at least 2 sentences in {', '.join(config.texts)}, got {len(texts)}")
    order = np.random.default_rng((config.seed, HELD_OUT_STREAM)).permutation(len(texts))
    held_out = set(order[:num_held_out].tolist())
    console.print(
        f"no validation text given: {num_held_out} of {len(texts)} sentences, chosen by seed {config.seed}, "
        "are held out for it",
        highlight=False,
    )
    return Sentences(
        [text for number, text in enumerate(texts) if number not in held_out],
        [text for number, text in enumerate(texts) if number in held_out],
    )


def _read(paths: Sequence[str], config: LanguageConfig) -> list[str]:
    case = check_case(config.case)
    lines = track(read_lines(paths), "reading text", shown=sys.stderr.isatty())
    texts = [text for line in lines if (text := normalize(line, case))]
    if not texts:
        raise TextError(f"expected text in {', '.join(paths)}, one sentence a line, found none")
    return texts


def learn_units(config: LanguageConfig, run_dir: Path, texts: Sequence[str]) -> LanguageUnits:
    """The run's units: learnt once, then read, so that a resumed run cannot number them anew."""
    path = run_dir / "tokenizer.json"
    if path.is_file():
        return units_from_json(json.loads(path.read_text(encoding="utf-8")), str(path))
    units = build_units(config, texts)
    write_json(path, units.to_json())
    return units


def build_units(config: LanguageConfig, texts: Sequence[str]) -> LanguageUnits:
    """Learn the units from normalised sentences, or take those of a tokenizer."""
    units = ("tokenizer" if config.tokenizer else "word") if config.units == "auto" else config.units
    if config.tokenizer and units != "tokenizer":
        raise ConfigError(f"units: expected tokenizer beside tokenizer={config.tokenizer}, got {units!r}")
    match units:
        case "word":
            return WordUnits.learn(texts, config.vocab_size)
        case "char" | "bpe":
            return TokenUnits(build_tokenizer(TextConfig(tokenizer=units, vocab_size=config.vocab_size), texts))
        case "tokenizer" if config.tokenizer:
            return TokenUnits(read_tokenizer(Path(config.tokenizer), config.case))
        case "tokenizer":
            raise ConfigError("tokenizer: expected a model directory or a tokenizer.json beside units=tokenizer")
    raise ConfigError(f"units: expected auto, word, char, bpe or tokenizer, got {units!r}")


def read_tokenizer(path: Path, case: str) -> Tokenizer:
    """The tokenizer in a model directory, or in a file. A directory says its case, which must be that of the text."""
    if not path.is_dir():
        return load_tokenizer(path)
    files = read_model(path)
    if files.config.get("case") != case:
        raise ConfigError(f"case: expected {files.config.get('case')!r}, that of {path}, got {case!r}")
    return tokenizer_from_json(files.tokenizer, f"{path}/tokenizer.json")


def encode(texts: Sequence[str], units: LanguageUnits, console: Console) -> TextCorpus:
    """Encode sentences, and say what had to be left out."""
    lines = track(texts, "encoding text", shown=sys.stderr.isatty())
    encoded = encode_corpus(lines, units)
    if encoded.num_dropped:
        console.print(f"[yellow]{escape(encoded.describe_drops())}[/]", highlight=False)
    return encoded.corpus


def describe(
    model: torch.nn.Module, units: LanguageUnits, train: TextCorpus, dev: TextCorpus, fabric: Fabric, console: Console
) -> None:
    """One look at what is about to be trained."""
    num_weights = sum(parameter.numel() for parameter in model.parameters())
    console.print(
        f"{num_weights / 1e6:.2f} million weights, {units.vocab_size} units; {len(train.ids)} tokens in "
        f"{train.num_sentences} sentences to train on, {len(dev.ids)} in {dev.num_sentences} to validate on; "
        f"{fabric.device}, {fabric._precision.precision}",
        highlight=False,
    )
