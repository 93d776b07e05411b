"""Prepare speechocean762: the corpus of OpenSLR 101, or the part of it that lies in ASR_DATA as manifests."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from asr.data.corpora import unpack
from asr.data.exchange.kaldi import read_entries, read_kaldi
from asr.data.lhotse_corpora import fetch, find_corpus, write_splits
from asr.data.local_manifests import join_local_manifests
from asr.errors import ConfigError, CorpusError
from asr.recipe import parse_options
from asr.text.normalize import normalize
from asr.types import Utterance

SUBSET = {split: (f"speechocean762-{split}",) for split in ("train", "dev", "test")}
URL = "https://www.openslr.org/resources/101/speechocean762.tar.gz"
MARKERS = ("train/wav.scp", "train/text", "test/wav.scp", "test/text", "WAVE")
SCORES = "resource/scores.json"
# Twelve of the 125 training speakers, drawn once; the manifests in ASR_DATA have the same.
DEV_SPEAKERS = frozenset(
    ["0001", "0036", "0135", "0482", "1407", "2022", "2034", "2179", "2450", "6912", "9628", "9630"]
)


@dataclass(frozen=True)
class Speechocean762Options:
    """Where the corpus is."""

    corpus_dir: str = ""  # the folder speechocean762; default: in ASR_DATA, else downloaded
    mirror: str = ""  # in place of https://www.openslr.org
    sha256: str = ""  # of the archive, where you know it: OpenSLR publishes none


def prepare(name: str, options: Mapping[str, object], out_dir: Path, asr_data: Path | None) -> None:
    """Write train, dev and test; audio stays where it is: in corpus_dir, in ASR_DATA, or in `downloads`.

    Raises `ConfigError` for an unknown name or option, and `CorpusError` for all that keeps the corpus from being
    found, fetched or read; `out_dir` is then as it was.
    """
    if name == "speechocean762":
        parsed = parse_options(Speechocean762Options, options)
        folder = find_corpus(name, parsed.corpus_dir, asr_data, MARKERS) or _download(parsed, out_dir)
        write_splits(out_dir, read_splits(folder))
    elif name != "speechocean762_subset":
        expected = "speechocean762 or speechocean762_subset"
        raise ConfigError(f"corpus of the recipe speechocean762: expected {expected}, got {name!r}")
    elif options:
        raise ConfigError(f"data.options: {name} has none, got {', '.join(options)}")
    else:
        join_local_manifests(SUBSET, out_dir, asr_data)


def read_splits(folder: Path) -> dict[str, list[Utterance]]:
    """The official training and test set; the first without the development speakers.

    Raises `CorpusError` for a corpus that is incomplete, or one that has a test speaker in the training set.
    """
    scores = _read_scores(folder / SCORES)
    train, test = _read_part(folder, "train", scores), _read_part(folder, "test", scores)
    speakers = {utterance.speaker for utterance in train}
    if both := {utterance.speaker for utterance in test} & speakers:
        raise CorpusError(f"{folder}: expected speakers in train or in test, got {sorted(map(str, both))} in both")
    if not speakers & DEV_SPEAKERS:
        raise CorpusError(f"{folder / 'train'}: has none of the development speakers; is the corpus whole?")
    return {
        "train": [utterance for utterance in train if utterance.speaker not in DEV_SPEAKERS],
        "dev": [utterance for utterance in train if utterance.speaker in DEV_SPEAKERS],
        "test": test,
    }


def _download(options: Speechocean762Options, out_dir: Path) -> Path:
    downloads = out_dir.absolute().parent / "downloads" / "speechocean762"
    unpacked = downloads / "unpacked"
    if not unpacked.exists():
        archive = downloads / URL.rpartition("/")[2]
        fetch(URL, archive, checksums={archive.name: options.sha256} if options.sha256 else {}, mirror=options.mirror)
        unpack(archive, unpacked)
    found = find_corpus("speechocean762", str(unpacked), None, MARKERS)
    assert found is not None  # it raises where the option's folder is not the corpus
    return found


def _read_part(folder: Path, part: str, scores: Mapping[str, float]) -> list[Utterance]:
    """A Kaldi data directory whose paths are relative to the corpus; ages and scores go into `extra`."""
    utterances = read_kaldi(folder / part, audio_root=folder, show_progress=sys.stderr.isatty())
    ages = _read_ages(folder / part / "spk2age", {str(utterance.speaker) for utterance in utterances})
    made = []
    for utterance in utterances:
        extra: dict[str, Any] = {**utterance.extra, "age": ages[str(utterance.speaker)]}
        if utterance.id in scores:
            extra["pronunciation"] = scores[utterance.id]
        made.append(replace(utterance, text=normalize(utterance.text), extra=extra))
    return made


def _read_ages(path: Path, speakers: set[str]) -> dict[str, int]:
    entries = read_entries(path)
    if missing := sorted(set(speakers) - set(entries)):
        raise CorpusError(f"{path}: expected an age for every speaker, there is none for {', '.join(missing[:3])}")
    for entry in entries.values():
        if not entry.value.isdecimal():
            raise CorpusError(f"{entry.place}: expected an age in years, got {entry.value!r}")
    return {speaker: int(entry.value) for speaker, entry in entries.items()}


def _read_scores(path: Path) -> dict[str, float]:
    """The experts' total score of each sentence, 0-10; none where the corpus came without that file."""
    if not path.exists():
        return {}
    try:
        return {id: float(sentence["total"]) for id, sentence in json.loads(path.read_text(encoding="utf-8")).items()}
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise CorpusError(
            f"{path}: expected a total score for each utterance: {type(error).__name__} {error}"
        ) from error
