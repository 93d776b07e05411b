"""A training run put together: data checked, objects built, trained, and exported as a model directory."""

import logging
import math
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import torch
from lightning_fabric import Fabric
from rich.console import Console
from rich.markup import escape
from safetensors.torch import load_file, save_file

from asr.builders import (
    BYTES_PER_GIB,
    build_noise,
    build_optimizer,
    build_recognizer,
    build_schedule,
    build_spec_augment,
    build_tokenizer,
    check_case,
    load_model,
    model_files,
)
from asr.config import Config, DecodingConfig, difference, to_json
from asr.data.audio_cache import AudioStore
from asr.data.dataset import SpeechDataset, load_batches
from asr.data.doctor import Requirements, Usable, usable
from asr.data.manifest import read_manifest
from asr.data.sampler import Draw, fill_batches
from asr.errors import ConfigError, ManifestError
from asr.features import CORPUS_NORMALIZATIONS, GlobalStatistics
from asr.files import replacing, write_json_lines
from asr.language_config import LanguageConfig
from asr.model_card import model_card
from asr.model_directory import read_config, write_model
from asr.recognizer import Recognizer
from asr.text.normalize import normalize
from asr.text.tokenizer import load_tokenizer
from asr.text.tokens import Tokenizer
from asr.training.acoustic_task import AcousticOptions, AcousticTask
from asr.training.loop import LoopOptions, Trainer
from asr.training.monitor import Monitor
from asr.training.run_directory import write_environment
from asr.types import Utterance

NAMED_DROPS = 5  # utterances named on the screen; dropped.jsonl names them all
NAMED_TOKENS = 5  # in which two models differ
FREE_TO_DIFFER = ("dropout", "initialization")  # between a model and the one whose weights it starts from


def train(config: Config, run_dir: Path, console: Console) -> Path:
    """Train to the end, going on from a checkpoint if there is one; returns the model directory."""
    with Monitor(run_dir, config.training.epochs, console) as monitor:
        run = build_run(config, run_dir, monitor)
        with run.trainer.stopping_on_signals():
            run.trainer.fit()
        return export(config, run_dir, run, console)


@dataclass(frozen=True, slots=True)
class Run:
    """A trainer, and the recognizer whose model it trains."""

    trainer: Trainer
    recognizer: Recognizer


def export(config: Config, run_dir: Path, run: Run, console: Console) -> Path:
    """Write the best mean of checkpoints as a model directory, with its validation figures on the card."""
    chosen = run.trainer.choose_mean()
    wer = chosen.values["wer"]
    console.print(f"exporting the {chosen.describe()}: validation WER {100 * wer:.2f}%", highlight=False)
    model_dir = run_dir / "model"
    write_model(model_dir, model_files(config, run.recognizer), model_card(config, {"dev": chosen.values}))
    return model_dir


def build_run(config: Config, run_dir: Path, monitor: Monitor) -> Run:
    """Everything a run needs, from its config."""
    console = monitor.console
    torch.manual_seed(config.seed)
    if config.machine.num_threads:
        torch.set_num_threads(config.machine.num_threads)
    fabric = build_fabric(config.machine.accelerator, config.machine.precision)
    write_environment(run_dir, fabric.device, fabric._precision.precision)
    train_texts, dev_texts = read_texts(config.data.train, config), read_texts(config.data.dev, config)
    recognizer = build_recognizer(
        config.features,
        config.model,
        config.decoding,
        sample_rate=config.data.sample_rate,
        case=check_case(config.text.case),
        tokenizer=learn_tokenizer(config, run_dir, train_texts),
    )
    train_set = check_data(config, recognizer, train_texts, max(config.augment.speeds))
    dev_set = check_data(config, recognizer, dev_texts, fastest_speed=1.0)
    report_drops({"train": train_set, "dev": dev_set}, run_dir, console)
    stores = {name: fill_store(config, part, console) for name, part in (("train", train_set), ("dev", dev_set))}
    noise = build_noise(config.augment, config.data.sample_rate, config.machine.cache_gib)
    train_data = SpeechDataset(stores["train"], train_set.targets, config.seed, noise)
    if config.features.normalize in CORPUS_NORMALIZATIONS:
        set_global_statistics(recognizer, train_data, run_dir)
    describe(recognizer, train_set, dev_set, fabric, console)
    task = AcousticTask(
        recognizer,
        build_spec_augment(config.augment),
        train_data,
        SpeechDataset(stores["dev"], dev_set.targets),
        fabric.device,
        task_options(config),
    )
    optimizer, schedule = build_optimizer(config.optim, recognizer.model), build_schedule(config.optim)
    trainer = Trainer(
        fabric,
        task,
        optimizer,
        schedule,
        monitor,
        run_dir / "checkpoints",
        loop_options(config),
        partial(load_initial_model, config, recognizer, console) if config.training.initial_model else None,
    )
    return Run(trainer, recognizer)


def build_fabric(accelerator: str, precision: str) -> Fabric:
    """Device and precision; `auto` takes a GPU, and bfloat16, where there are such."""
    if accelerator not in ("auto", "cpu", "cuda"):
        raise ConfigError(f"machine.accelerator: expected auto, cpu or cuda, got {accelerator!r}")
    if accelerator == "cuda" and not torch.cuda.is_available():
        raise ConfigError("machine.accelerator: expected a CUDA device, found none; use machine.accelerator=cpu")
    on_gpu = accelerator != "cpu" and torch.cuda.is_available()
    match precision:
        case "auto":
            has_bf16 = torch.cuda.is_bf16_supported() if on_gpu else cpu_has_bf16()
            fabric_precision = "bf16-mixed" if has_bf16 else "32-true"
        case "bf16":
            fabric_precision = "bf16-mixed"
        case "float32":
            fabric_precision = "32-true"
        case unknown:
            raise ConfigError(f"machine.precision: expected auto, float32 or bf16, got {unknown!r}")
    logging.getLogger("lightning_fabric").setLevel(logging.WARNING)  # it would announce the precision, as we do
    return Fabric(accelerator="cuda" if on_gpu else "cpu", devices=1, precision=fabric_precision)  # type: ignore[arg-type]


def cpu_has_bf16() -> bool:
    """Whether the processor multiplies bfloat16 matrices itself; emulated, they would be slower than float32."""
    return bool(torch.cpu._is_amx_tile_supported() or torch.cpu._is_avx512_bf16_supported())


def read_texts(manifests: Sequence[str], config: Config) -> list[Utterance]:
    """All utterances of several manifests, texts normalised, ids unique among them."""
    case = check_case(config.text.case)
    utterances = [replace(u, text=normalize(u.text, case)) for manifest in manifests for u in read_manifest(manifest)]
    repeated = [id for id, count in Counter(u.id for u in utterances).items() if count > 1]
    if repeated:
        raise ManifestError(f"the id {repeated[0]!r} occurs more than once in {', '.join(manifests)}")
    if not utterances:
        raise ManifestError(f"expected utterances in {', '.join(manifests)}, found none")
    return utterances


def learn_tokenizer(config: Config, run_dir: Path, utterances: Sequence[Utterance]) -> Tokenizer:
    """The run's tokenizer: learnt once, then read, so that a resumed run cannot number tokens anew."""
    path = run_dir / "tokenizer.json"
    if path.is_file():
        return load_tokenizer(path)
    tokenizer = build_tokenizer(config.text, (u.text for u in utterances))
    tokenizer.save(path)
    return tokenizer


def check_data(config: Config, recognizer: Recognizer, utterances: Sequence[Utterance], fastest_speed: float) -> Usable:
    """What can be trained on, by the manifest doctor's cheap part."""
    requirements = Requirements(
        recognizer.tokenizer,
        lambda samples: recognizer.model.frontend.num_output_frames(recognizer.features.num_frames(samples)),
        recognizer.sample_rate,
        fastest_speed,
    )
    found = usable(
        utterances,
        requirements,
        min_duration=config.data.min_duration_seconds,
        max_duration=config.data.max_duration_seconds,
    )
    if not found.kept:
        raise ManifestError(f"none of {len(utterances)} utterances can be used; the first: {found.dropped[0].message}")
    return found


def report_drops(sets: dict[str, Usable], run_dir: Path, console: Console) -> None:
    """Say what is left out and why, briefly here and wholly in dropped.jsonl."""
    findings = [(name, finding) for name, part in sets.items() for finding in part.dropped]
    write_json_lines(run_dir / "dropped.jsonl", [{"set": name, **f.to_json()} for name, f in findings])
    if not findings:
        return
    counts = ", ".join(f"{n} {code}" for code, n in Counter(f.code for _, f in findings).most_common())
    console.print(f"[yellow]left out: {counts}[/] (all of them in {run_dir / 'dropped.jsonl'})", highlight=False)
    for name, finding in findings[:NAMED_DROPS]:
        console.print(f"  {name} {escape(finding.utterance_id)}: {escape(finding.message)}", highlight=False)


def fill_store(config: Config, part: Usable, console: Console) -> AudioStore:
    """The audio of a set, cached when it fits the budget."""
    store = AudioStore(part.kept, config.data.sample_rate)
    budget = int(config.machine.cache_gib * BYTES_PER_GIB)
    if not store.fill(budget, num_threads=os.cpu_count() or 1, show_progress=console.is_terminal):
        console.print(
            f"decoded audio needs {store.expected_bytes() / BYTES_PER_GIB:.1f} GiB, machine.cache_gib allows "
            f"{config.machine.cache_gib:g}: files are read as they are needed"
        )
    return store


def set_global_statistics(recognizer: Recognizer, data: SpeechDataset, run_dir: Path) -> None:
    """Mean and deviation of the training set's features, computed once for a run."""
    path = run_dir / "features.safetensors"
    if not path.is_file():
        durations = [u.duration for u in data.store.utterances]
        plan = [[Draw(i, 0) for i in batch] for batch in fill_batches(durations, range(len(durations)), budget=300.0)]
        statistics = GlobalStatistics(recognizer.features.num_features)
        for batch in load_batches(SpeechDataset(data.store, data.targets), plan, num_workers=1):
            statistics.update(*recognizer.features.unnormalized(batch.waveforms, batch.waveform_lengths))
        recognizer.features.set_statistics(statistics.finish())
        with replacing(path) as temporary:
            save_file(recognizer.features.state_dict(), temporary)
    recognizer.features.load_state_dict(load_file(path))


def load_initial_model(config: Config, recognizer: Recognizer, console: Console) -> None:
    """Put the weights of `training.initial_model` into the recognizer's model; features stay as this run's data say.

    Raises `ModelError` when the directory is damaged, `ConfigError` that lists what differs when its weights mean
    something else than this run's would: another architecture, other features or other tokens.
    """
    path = Path(config.training.initial_model)
    initial = load_model(path, decoding=DecodingConfig())
    described = read_config(path)
    parts = ("sample_rate", "case", "features", "model")
    ours = {"sample_rate": config.data.sample_rate, "case": config.text.case}
    ours |= {"features": to_json(config.features), "model": to_json(config.model)}
    lines = difference({part: described[part] for part in parts}, ours)
    lines = [line for line in lines if not line.startswith(tuple(f"model.{name}:" for name in FREE_TO_DIFFER))]
    lines += token_difference(initial.tokenizer, recognizer.tokenizer)
    if lines:
        listing = "\n  ".join(lines)
        raise ConfigError(
            f"training.initial_model: the weights of {path} cannot start this run, which differs in (there -> here):\n"
            f"  {listing}\nGo back to that config, or start from another model."
        )
    recognizer.model.load_state_dict(initial.model.state_dict())
    console.print(f"starting from the weights of {path}", highlight=False)


def token_difference(there: Tokenizer, here: Tokenizer) -> list[str]:
    """In which tokens two tokenizers differ, in a line; none when they number the same tokens alike."""
    if there.vocab == here.vocab:
        return []
    lost, new = ([t for t in one.vocab if t not in other.vocab] for one, other in ((there, here), (here, there)))
    if not lost and not new:
        return ["tokens: the same in another order"]
    named = [
        f"only {where} {', '.join(map(repr, some[:NAMED_TOKENS]))}"
        for where, some in (("there", lost), ("here", new))
        if some
    ]
    return [f"tokens: {len(there.vocab)} -> {len(here.vocab)}; {'; '.join(named)}"]


def describe(recognizer: Recognizer, train: Usable, dev: Usable, fabric: Fabric, console: Console) -> None:
    """One look at what is about to be trained."""
    num_weights = sum(parameter.numel() for parameter in recognizer.model.parameters())
    hours = {name: sum(u.duration for u in part.kept) / 3600 for name, part in (("train", train), ("dev", dev))}
    console.print(
        f"{num_weights / 1e6:.2f} million weights, {recognizer.tokenizer.vocab_size} tokens, "
        f"{recognizer.features.num_features} features; {hours['train']:.2f} h in {len(train.kept)} utterances "
        f"to train on, {hours['dev']:.2f} h in {len(dev.kept)} to validate on; "
        f"{fabric.device}, {fabric._precision.precision}",
        highlight=False,
    )


def task_options(config: Config) -> AcousticOptions:
    """The task's share of the config."""
    return AcousticOptions(
        seed=config.seed,
        batch_seconds=config.data.batch_seconds,
        speeds=config.augment.speeds,
        num_samples=config.training.num_samples,
        num_workers=config.machine.num_workers,
        criterion=config.training.criterion,
    )


def loop_options(config: Config | LanguageConfig) -> LoopOptions:
    """The loop's share of a config, of acoustic models and language models alike."""
    training = config.training
    if not 0 <= config.optim.weight_noise < math.inf:
        raise ConfigError(
            f"optim.weight_noise: expected a finite deviation of 0 or more, got {config.optim.weight_noise}"
        )
    return LoopOptions(
        seed=config.seed,
        epochs=training.epochs,
        clip_norm=config.optim.clip_norm,
        patience=training.patience,
        average_best=training.average_best,
        checkpoint_minutes=training.checkpoint_minutes,
        log_every_steps=training.log_every_steps,
        nonfinite_patience=training.nonfinite_patience,
        weight_noise=config.optim.weight_noise,
    )
