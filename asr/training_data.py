"""What a training run hears: corpora opened, the tokenizer learnt, utterances checked, audio cached, statistics taken.

What is learnt from the data is written into the run directory by the leader among the processes, and read from there
by the others and by a run that goes on.
"""

from __future__ import annotations

import json
import math
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import BinaryIO

import numpy as np
import torch
from rich.console import Console
from rich.markup import escape
from safetensors.torch import load_file, save_file

from asr.builders import build_tokenizer, check_case
from asr.config import Config, to_json
from asr.ctc import LabelSmoothing
from asr.data.ahead import num_usable_cores
from asr.data.audio_cache import AudioStore
from asr.data.corpus import Corpus
from asr.data.dataset import EncodedTexts, SpeechDataset, load_batches
from asr.data.doctor import Requirements
from asr.data.findings import Finding
from asr.data.sampler import Draw, fill_batches
from asr.data.usable import NAMED_DROPS, Limits, Usable, find_usable, read_usable, write_usable
from asr.errors import ManifestError
from asr.features import CORPUS_NORMALIZATIONS, GlobalStatistics
from asr.files import replacing
from asr.launcher import detect_launch
from asr.processes import ALONE, Processes
from asr.progress import track
from asr.recognizer import Recognizer
from asr.text.tokenizer import load_tokenizer
from asr.text.tokens import Tokenizer, word_separator
from asr.training_builders import BYTES_PER_GIB, build_label_smoothing, build_noise, build_reverberation
from asr.types import Utterance

STATISTICS_HOURS = 100.0  # of audio, at most, that mean and deviation of features are taken from
STATISTICS_BATCH_SECONDS = 300.0
SECONDS_PER_HOUR = 3600.0
CHUNK = 1 << 16  # utterances that are counted at a time
SILENT = Console(quiet=True, force_terminal=False)  # what all processes but the leader speak to


def open_corpus(addresses: Sequence[str], config: Config, processes: Processes = ALONE) -> Corpus:
    """The utterances of manifests and shard sets, texts normalised; the leader makes the indexes that are missing."""
    case = check_case(config.text.case)
    with processes.leader_first():
        return Corpus.open(addresses, config.data.sample_rate, case, show_progress=_shows_bars(processes))


def learn_tokenizer(
    config: Config, run_dir: Path, utterances: Sequence[Utterance], processes: Processes = ALONE
) -> Tokenizer:
    """The run's tokenizer: learnt once, then read, so that a resumed run cannot number tokens anew."""
    path = run_dir / "tokenizer.json"
    with processes.leader_first():
        if not path.is_file():
            bar = track(utterances, "reading texts", total=len(utterances), shown=_shows_bars(processes))
            build_tokenizer(config.text, (utterance.text for utterance in bar)).save(path)
    return load_tokenizer(path)


@dataclass(frozen=True, slots=True)
class TrainingData:
    """What a run trains on, augmented, and what it validates on, as it is."""

    train: SpeechDataset
    dev: SpeechDataset


def build_data(
    config: Config,
    recognizer: Recognizer,
    train: Corpus,
    dev: Corpus,
    run_dir: Path,
    console: Console,
    processes: Processes = ALONE,
) -> TrainingData:
    """Check the utterances, cache their audio, and give the recognizer's features the statistics that they need.

    Each process caches all audio, because every epoch deals it out anew: machine.cache_gib is for one process.
    """
    console = console if processes.is_leader else SILENT
    with processes.leader_first():
        sets = check_data(config, recognizer, {"train": train, "dev": dev}, run_dir, _shows_bars(processes))
    report_drops(sets, run_dir, console)
    train_data = make_dataset(config, recognizer, train, sets["train"], console)
    dev_data = make_dataset(config, recognizer, dev, sets["dev"], console)
    if config.features.normalize in CORPUS_NORMALIZATIONS:
        with processes.leader_first():
            set_global_statistics(config, recognizer, train_data, run_dir, console)
    train_data.noise = build_noise(config.augment, config.data.sample_rate, config.machine.cache_gib)
    train_data.reverberation = build_reverberation(config.augment, config.data.sample_rate, config.machine.cache_gib)
    return TrainingData(train_data, dev_data)


def check_data(
    config: Config, recognizer: Recognizer, corpora: Mapping[str, Corpus], run_dir: Path, show_progress: bool
) -> dict[str, Usable]:
    """What of each corpus can be trained on: found once, then read from usable.safetensors.

    Speed perturbation, which shortens utterances, is for the set named train. What is left out goes to dropped.jsonl.
    """
    path, key = run_dir / "usable.safetensors", usable_key(config, corpora)
    found = read_usable(path, key)
    if found is not None:
        return found
    limits = Limits(config.data.min_duration_seconds, config.data.max_duration_seconds)
    with replacing(run_dir / "dropped.jsonl") as temporary, temporary.open("wb") as dropped:
        sets = {}
        for name, corpus in corpora.items():
            corpus.refuse_repeats()
            fastest_speed = max(config.augment.speeds) if name == "train" else 1.0
            needed = requirements(recognizer, fastest_speed)
            note = partial(write_drop, dropped, name)
            sets[name] = find_usable(corpus, needed, limits, note, show_progress=show_progress)
            if not len(sets[name].rows):
                _, first = sets[name].first_drops[0]
                raise ManifestError(f"none of {len(corpus)} utterances can be used; the first: {first}")
    write_usable(path, sets, key)
    return sets


def usable_key(config: Config, corpora: Mapping[str, Corpus]) -> str:
    """What decides which utterances are usable, as text."""
    parts = {
        "manifests": {name: corpus.checksums for name, corpus in corpora.items()},
        "limits": [config.data.min_duration_seconds, config.data.max_duration_seconds],
        "sample_rate": config.data.sample_rate,
        "speeds": list(config.augment.speeds),
        **{part: to_json(getattr(config, part)) for part in ("text", "features", "model")},
    }
    return json.dumps(parts, sort_keys=True)


def requirements(recognizer: Recognizer, fastest_speed: float) -> Requirements:
    """What a model needs of an utterance."""
    return Requirements(
        recognizer.tokenizer,
        lambda samples: recognizer.model.frontend.num_output_frames(recognizer.features.num_frames(samples)),
        recognizer.sample_rate,
        fastest_speed,
    )


def write_drop(file: BinaryIO, name: str, finding: Finding) -> None:
    """A line for an utterance of a set that is left out. They may be millions: none is kept in memory."""
    line = json.dumps({"set": name, **finding.to_json()}, ensure_ascii=False)
    file.write(line.encode("utf-8", "backslashreplace") + b"\n")


def report_drops(sets: Mapping[str, Usable], run_dir: Path, console: Console) -> None:
    """Say briefly what is left out and why."""
    drops = sum((Counter(part.drop_counts) for part in sets.values()), Counter[str]())
    if not drops:
        return
    counts = ", ".join(f"{n} {code}" for code, n in drops.most_common())
    console.print(f"[yellow]left out: {counts}[/] (all of them in {run_dir / 'dropped.jsonl'})", highlight=False)
    named = [(name, *drop) for name, part in sets.items() for drop in part.first_drops]
    for name, utterance_id, message in named[:NAMED_DROPS]:
        console.print(f"  {name} {escape(utterance_id)}: {escape(message)}", highlight=False)


def make_dataset(
    config: Config, recognizer: Recognizer, corpus: Corpus, found: Usable, console: Console
) -> SpeechDataset:
    """The usable part of a corpus, its audio cached when that fits the budget; nothing is augmented."""
    kept = corpus.select(found.rows, found.durations)
    store = AudioStore(kept, config.data.sample_rate, kept.decode, kept.durations)
    budget, processes_a_node = int(config.machine.cache_gib * BYTES_PER_GIB), detect_launch().processes_a_node
    if not store.fill(
        budget, num_threads=max(1, num_usable_cores() // processes_a_node), show_progress=console.is_terminal
    ):
        console.print(
            f"decoded audio needs {store.expected_bytes() / BYTES_PER_GIB:.1f} GiB, machine.cache_gib allows "
            f"{config.machine.cache_gib:g}: it is read as it is needed"
        )
    return SpeechDataset(
        store,
        EncodedTexts(kept, recognizer.tokenizer),
        config.seed,
        durations=kept.durations,
        num_labels=found.num_labels,
        label_counts=found.label_counts,
        separator=word_separator(recognizer.tokenizer),
    )


def set_global_statistics(
    config: Config, recognizer: Recognizer, data: SpeechDataset, run_dir: Path, console: Console
) -> None:
    """Mean and deviation of the training set's features, computed once for a run.

    Of more than `STATISTICS_HOURS` of audio, utterances evenly spaced over the set stand for the others.
    """
    path = run_dir / "features.safetensors"
    if not path.is_file():
        hours = float(data.durations.sum()) / SECONDS_PER_HOUR
        rows = np.arange(0, len(data), max(1, math.ceil(hours / STATISTICS_HOURS)))
        if len(rows) < len(data):
            console.print(f"statistics of features: from {len(rows)} of {len(data)} utterances", highlight=False)
        batches = fill_batches(data.durations, rows, budget=STATISTICS_BATCH_SECONDS)
        plan = [[Draw(index, epoch=0) for index in batch] for batch in batches]
        statistics = GlobalStatistics(recognizer.features.num_features)
        loaded = load_batches(data, plan, max(1, config.machine.num_workers))
        for batch in track(loaded, "statistics of features", total=len(plan), shown=console.is_terminal):
            frames = recognizer.features.unnormalized(batch.waveforms, batch.waveform_lengths)
            statistics.update(frames.features, frames.speech_weights)
        recognizer.features.set_statistics(statistics.finish())
        with replacing(path) as temporary:
            save_file(recognizer.features.state_dict(), temporary)
    recognizer.features.load_state_dict(load_file(path))


def smoothing(config: Config, recognizer: Recognizer, train: SpeechDataset) -> LabelSmoothing | None:
    """Label smoothing with a prior of the training set's own, where one is asked for."""
    num_frames = 0
    for start in range(0, len(train), CHUNK):  # of all at once copies would take memory
        samples = np.rint(train.durations[start : start + CHUNK] * recognizer.sample_rate).astype(np.int64)
        frames = recognizer.features.num_frames(torch.from_numpy(samples))
        num_frames += int(recognizer.model.frontend.num_output_frames(frames).sum())
    return build_label_smoothing(config.augment, train.label_counts, num_frames, recognizer.model.vocab_size)


def _shows_bars(processes: Processes) -> bool:
    return processes.is_leader and sys.stderr.isatty()
