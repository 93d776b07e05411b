"""What a training run hears: corpora opened, the tokenizer learnt, utterances checked, audio cached, statistics taken.

What is learnt from the data is written into the run directory by the leader among the processes, and read from there
by the others and by a run that goes on.
"""

from __future__ import annotations

import json
import math
import sys
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
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
from asr.data.late_drops import LateDrops, SetSize
from asr.data.sampler import Draw, fill_batches
from asr.data.usable import (
    NAMED_DROPS,
    NO_TARGET,
    Limits,
    Usable,
    changed_files,
    find_usable,
    hear_usable,
    refuse_too_many,
)
from asr.data.usable_file import read_usable, write_usable
from asr.errors import ManifestError
from asr.features import CORPUS_NORMALIZATIONS, GlobalStatistics
from asr.files import replacing
from asr.launcher import detect_launch
from asr.processes import ALONE, Processes
from asr.progress import track
from asr.recognizer import Recognizer
from asr.text.tokenizer import load_tokenizer
from asr.text.tokens import Tokenizer, word_separator
from asr.training.checkpoint import list_checkpoints
from asr.training.dev_figures import DevSet
from asr.training_builders import BYTES_PER_GIB, build_label_smoothing, build_noise, build_reverberation
from asr.types import Utterance

STATISTICS_HOURS = 100.0  # of audio, at most, that mean and deviation of features are taken from
STATISTICS_BATCH_SECONDS = 300.0
HEARD_HOURS = 30.0  # of audio, at most, that are decoded before the first step: some minutes on two cores
SECONDS_PER_HOUR = 3600.0
DROPPED = "dropped.jsonl"  # in the run directory: what is left out
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
    dev_sets: Sequence[DevSet]
    drops: LateDrops  # utterances that turn out to be unreadable while the run goes on


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
    corpora = {"train": train, "dev": dev}
    with processes.leader_first():
        checked = check_data(config, recognizer, corpora, run_dir, console, processes)
    report_drops(checked.sets, run_dir, console)
    for name, corpus in corpora.items():
        found = checked.sets[name]
        refuse_nothing(name, found, corpus)
        refuse_too_many(name, found.drop_counts, found.first_drops, len(corpus), config.data.max_unusable_share)
    train_data, dev_data = (
        make_dataset(config, recognizer, corpus, checked, name, console) for name, corpus in corpora.items()
    )
    if config.features.normalize in CORPUS_NORMALIZATIONS:
        with processes.leader_first():
            set_global_statistics(config, recognizer, train_data, run_dir, console)
    train_data.noise = build_noise(config.augment, config.data.sample_rate, config.machine.cache_gib)
    train_data.reverberation = build_reverberation(config.augment, config.data.sample_rate, config.machine.cache_gib)
    sizes = {name: SetSize(len(corpus), checked.sets[name].drop_counts) for name, corpus in corpora.items()}
    drops = LateDrops(sizes, config.data.max_unusable_share, run_dir / DROPPED)
    dev_sets = find_dev_sets(dev, checked.sets["dev"])
    report_wordless(dev_data, config, console)
    return TrainingData(train_data, dev_data, dev_sets, drops)


@dataclass(frozen=True, slots=True)
class Checked:
    """What of each corpus can be used, and the audio of those that were listened to now."""

    sets: Mapping[str, Usable]
    stores: Mapping[str, AudioStore]


def check_data(
    config: Config,
    recognizer: Recognizer,
    corpora: Mapping[str, Corpus],
    run_dir: Path,
    console: Console,
    processes: Processes = ALONE,
) -> Checked:
    """Find what of each corpus can be used, once; then it is read from usable.safetensors.

    What is left out goes to dropped.jsonl.
    """
    path, key = run_dir / "usable.safetensors", usable_key(config, corpora)
    found = read_usable(path, key)
    if found is not None and not (processes.is_leader and _is_to_be_made_anew(found, run_dir, console)):
        return Checked(found, {})
    sets, stores = {}, {}
    with replacing(run_dir / DROPPED) as temporary, temporary.open("wb") as dropped:
        for name, corpus in corpora.items():
            corpus.refuse_repeats()
            note = partial(write_drop, dropped, name)
            sets[name], stores[name] = check_set(config, recognizer, corpus, name, note, _shows_bars(processes))
    write_usable(path, sets, key)
    return Checked(sets, stores)


def check_set(
    config: Config,
    recognizer: Recognizer,
    corpus: Corpus,
    name: str,
    note: Callable[[Finding], None],
    show_progress: bool,
) -> tuple[Usable, AudioStore]:
    """What of a corpus can be used, and the store of its audio.

    For the set named train, speed perturbation shortens utterances, limits of their duration hold, and each needs a
    target. All audio of a set of up to `HEARD_HOURS` is decoded now, whether there is room to keep it or not: what is
    left out must not depend on the memory. In a larger set what cannot be read is left out when its turn comes.
    """
    trains = name == "train"
    needed = requirements(recognizer, max(config.augment.speeds) if trains else 1.0)
    limits = Limits(config.data.min_duration_seconds, config.data.max_duration_seconds) if trains else Limits()
    found = find_usable(corpus, needed, limits, note, needs_targets=trains, show_progress=show_progress)
    kept = corpus.select(found.rows, found.durations)
    store = AudioStore(kept, config.data.sample_rate, kept.decode, kept.durations, is_whole=True)
    if float(found.durations.sum()) > HEARD_HOURS * SECONDS_PER_HOUR:
        return found, store
    measured = store.measure(_cache_bytes(config), num_usable_cores(), show_progress)
    heard = hear_usable(corpus, found, measured, needed, note, needs_targets=trains)
    kept = corpus.select(heard.rows, heard.durations)
    places = np.searchsorted(found.rows, heard.rows)
    return heard, store.select(places, kept, kept.decode, kept.durations)


def _is_to_be_made_anew(found: Mapping[str, Usable], run_dir: Path, console: Console) -> bool:
    """Whether files of utterances that were left out have been mended before the first step.

    Later it is too late: a run goes on with the utterances that it began with, and says so.
    """
    changed = [path for part in found.values() for path in changed_files(part)]
    if changed and list_checkpoints(run_dir / "checkpoints", "resume"):
        console.print(
            f"[yellow]{len(changed)} files that were left out when this run began have changed since[/], such as "
            f"{escape(changed[0])}: a run goes on without them; another run_dir takes them in",
            highlight=False,
        )
        return False
    return bool(changed)


def refuse_nothing(name: str, found: Usable, corpus: Corpus) -> None:
    """Raise `ManifestError` for a set in which no utterance has a target."""
    if not np.any(found.num_labels != NO_TARGET):
        _, first = (*found.first_drops, *found.first_without)[0]
        raise ManifestError(f"{name}: none of {len(corpus)} utterances can be used; the first: {first}")


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
    """Say briefly what is left out and why, and of which texts only the words count."""
    drops = sum((Counter(part.drop_counts) for part in sets.values()), Counter[str]())
    if drops:
        counts = ", ".join(f"{n} {code}" for code, n in drops.most_common())
        console.print(f"[yellow]left out: {counts}[/] (all of them in {run_dir / DROPPED})", highlight=False)
        _name_first([(name, *drop) for name, part in sets.items() for drop in part.first_drops], console)
    for name, part in sets.items():
        if number := sum(part.no_target_counts.values()):
            console.print(
                f"[yellow]{name}: {number} of {len(part.rows)} texts cannot be spelt or aligned by this model[/]: "
                "their words count in the error rates all the same; the loss is that of the others",
                highlight=False,
            )
            _name_first([(name, *first) for first in part.first_without], console)


def _name_first(named: Sequence[tuple[str, str, str]], console: Console) -> None:
    for name, utterance_id, message in named[:NAMED_DROPS]:
        console.print(f"  {name} {escape(utterance_id)}: {escape(message)}", highlight=False)


def make_dataset(
    config: Config, recognizer: Recognizer, corpus: Corpus, checked: Checked, name: str, console: Console
) -> SpeechDataset:
    """The usable part of a corpus, its audio cached when that fits the budget; nothing is augmented.

    Raises `ManifestError` when more of it than `data.max_unusable_share` cannot be read by now.
    """
    found = checked.sets[name]
    kept = corpus.select(found.rows, found.durations)
    store = checked.stores.get(name) or AudioStore(
        kept, config.data.sample_rate, kept.decode, kept.durations, is_whole=True
    )
    threads = max(1, num_usable_cores() // detect_launch().processes_a_node)
    if store.expected_bytes() > _cache_bytes(config):
        console.print(
            f"decoded audio needs {store.expected_bytes() / BYTES_PER_GIB:.1f} GiB, machine.cache_gib allows "
            f"{config.machine.cache_gib:g}: it is read as it is needed"
        )
    elif not store.is_filled:
        failures = store.measure(_cache_bytes(config), threads, console.is_terminal).failures
        first = [(kept[place].id, str(error)) for place, error in list(failures.items())[:NAMED_DROPS]]
        counts = {"unreadable-audio": len(failures)}
        refuse_too_many(name, counts, first, len(corpus), config.data.max_unusable_share)
    return SpeechDataset(
        store,
        EncodedTexts(kept, recognizer.tokenizer, found.num_labels),
        config.seed,
        durations=kept.durations,
        num_labels=found.num_labels,
        label_counts=found.label_counts,
        separator=word_separator(recognizer.tokenizer),
    )


def find_dev_sets(corpus: Corpus, found: Usable) -> list[DevSet]:
    """The manifests and shard sets that a validation set is made of, by name."""
    kept = corpus.select(found.rows, found.durations)
    sizes = [corpus.part_of(row) for row in range(len(corpus))]
    ids: list[set[str]] = [set() for _ in corpus.addresses]
    for place in range(len(kept)):
        ids[kept.part_of(place)].add(kept[place].id)
    names = distinct_names(corpus.addresses)
    return [DevSet(name, frozenset(ids[part]), sizes.count(part)) for part, name in enumerate(names)]


def distinct_names(addresses: Sequence[str]) -> list[str]:
    """Short names of manifests and shard sets: their stems, with as many folders before as tell them apart.

    >>> distinct_names(["a/clean/dev.jsonl", "a/other/dev.jsonl"])
    ['clean/dev', 'other/dev']
    """
    paths = [PurePosixPath(address).with_suffix("").parts for address in addresses]
    for depth in range(1, max(map(len, paths)) + 1):
        names = ["/".join(parts[-depth:]) for parts in paths]
        if len(set(names)) == len(names):
            return names
    return [f"{number}: {address}" for number, address in enumerate(addresses, start=1)]


def report_wordless(dev: SpeechDataset, config: Config, console: Console) -> None:
    """Say so where a validation set has no words, over which an error rate could be taken."""
    if config.training.criterion != "loss" and not any(u.text.split() for u in dev.store.utterances):
        console.print(
            "[yellow]the texts of the development set have no words[/]: epochs are chosen by the loss, not by "
            f"training.criterion={config.training.criterion}",
            highlight=False,
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
        loaded = load_batches(data, plan, max(1, config.machine.num_workers), unreadable={})
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


def _cache_bytes(config: Config) -> int:
    return int(config.machine.cache_gib * BYTES_PER_GIB)


def _shows_bars(processes: Processes) -> bool:
    return processes.is_leader and sys.stderr.isatty()
