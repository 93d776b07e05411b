"""Prepare mini_english: join the manifests that lie in ASR_DATA into a training and a development set."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from asr.data.corpora import whole_directory
from asr.data.manifest import read_manifest, write_manifest
from asr.errors import ConfigError, CorpusError
from asr.text.normalize import normalize
from asr.types import Utterance

SPLITS: Mapping[str, Sequence[str]] = {
    "train": ("speechocean762-train", "librispeech-train", "ljtexts-train"),
    "dev": ("speechocean762-dev", "librispeech-dev"),
    "librispeech-test": ("librispeech-test",),
    "speechocean762-test": ("speechocean762-test",),
    "noise": ("noise",),
}
PRODUCTS = ("prepared.json", *(f"{split}.jsonl" for split in SPLITS))


def prepare(name: str, options: Mapping[str, object], out_dir: Path, asr_data: Path | None) -> None:
    """Write train, dev, two test sets and the noise for augmentation; audio stays where it is."""
    if name != "mini_english":
        raise ConfigError(f"corpus of the recipe mini_english: expected mini_english, got {name!r}")
    if options:
        raise ConfigError(f"data.options: mini_english has none, got {', '.join(options)}")
    if asr_data is None:
        raise CorpusError(
            "mini_english needs its recordings on disk: set the environment variable ASR_DATA to the folder with "
            + ", ".join(f"{part}.jsonl" for part in SPLITS["train"])
        )
    with whole_directory(out_dir.absolute(), replaces=PRODUCTS) as temporary:
        for split, parts in SPLITS.items():
            utterances = [utterance for part in parts for utterance in read_part(asr_data.resolve(), part)]
            write_manifest(temporary / f"{split}.jsonl", utterances)


def read_part(asr_data: Path, part: str) -> list[Utterance]:
    """One of the corpora, its texts normalised."""
    manifest = asr_data / f"{part}.jsonl"
    if not manifest.is_file():
        raise CorpusError(f"expected {part}.jsonl in ASR_DATA ({asr_data}), found none")
    return [replace(utterance, text=normalize(utterance.text)) for utterance in read_manifest(manifest)]
