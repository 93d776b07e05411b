"""What a training run hears: texts read, the tokenizer learnt, utterances checked, audio cached, statistics taken.

What is learnt from the data is written into the run directory and read from there by a run that goes on.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from safetensors.torch import load_file, save_file

from asr.builders import build_tokenizer, check_case
from asr.config import Config
from asr.ctc import LabelSmoothing
from asr.data.audio_cache import AudioStore
from asr.data.dataset import SpeechDataset, load_batches
from asr.data.doctor import Requirements, Usable, usable
from asr.data.manifest import read_manifest
from asr.data.sampler import Draw, fill_batches
from asr.errors import ManifestError
from asr.features import CORPUS_NORMALIZATIONS, GlobalStatistics
from asr.files import replacing, write_json_lines
from asr.recognizer import Recognizer
from asr.text.normalize import normalize
from asr.text.tokenizer import load_tokenizer
from asr.text.tokens import Tokenizer
from asr.training_builders import BYTES_PER_GIB, build_label_smoothing, build_noise, build_reverberation
from asr.types import Utterance

NAMED_DROPS = 5  # utterances named on the screen; dropped.jsonl names them all


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


@dataclass(frozen=True, slots=True)
class TrainingData:
    """What a run trains on, augmented, and what it validates on, as it is."""

    train: SpeechDataset
    dev: SpeechDataset


def build_data(
    config: Config,
    recognizer: Recognizer,
    train: Sequence[Utterance],
    dev: Sequence[Utterance],
    run_dir: Path,
    console: Console,
) -> TrainingData:
    """Check the utterances, cache their audio, and give the recognizer's features the statistics that they need."""
    train_set = check_data(config, recognizer, train, max(config.augment.speeds))
    dev_set = check_data(config, recognizer, dev, fastest_speed=1.0)
    report_drops({"train": train_set, "dev": dev_set}, run_dir, console)
    train_store, dev_store = (fill_store(config, part, console) for part in (train_set, dev_set))
    noise = build_noise(config.augment, config.data.sample_rate, config.machine.cache_gib)
    reverberation = build_reverberation(config.augment, config.data.sample_rate, config.machine.cache_gib)
    train_data = SpeechDataset(train_store, train_set.targets, config.seed, noise, reverberation)
    if config.features.normalize in CORPUS_NORMALIZATIONS:
        set_global_statistics(recognizer, train_data, run_dir)
    return TrainingData(train_data, SpeechDataset(dev_store, dev_set.targets))


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


def smoothing(config: Config, recognizer: Recognizer, train: SpeechDataset) -> LabelSmoothing | None:
    """Label smoothing with a prior of the training set's own, where one is asked for."""
    samples = [round(utterance.duration * recognizer.sample_rate) for utterance in train.store.utterances]
    frames = [recognizer.model.frontend.num_output_frames(recognizer.features.num_frames(n)) for n in samples]
    return build_label_smoothing(config.augment, train.targets, sum(frames), recognizer.model.vocab_size)
