"""Prepare mini_english: join the manifests that lie in ASR_DATA into a training and a development set."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from asr.data.local_manifests import join_local_manifests
from asr.errors import ConfigError

SPLITS: Mapping[str, Sequence[str]] = {
    "train": ("speechocean762-train", "librispeech-train", "ljtexts-train"),
    "dev": ("speechocean762-dev", "librispeech-dev"),
    "librispeech-test": ("librispeech-test",),
    "speechocean762-test": ("speechocean762-test",),
    "noise": ("noise",),
}


def prepare(name: str, options: Mapping[str, object], out_dir: Path, asr_data: Path | None) -> None:
    """Write train, dev, two test sets and the noise for augmentation; audio stays where it is."""
    if name != "mini_english":
        raise ConfigError(f"corpus of the recipe mini_english: expected mini_english, got {name!r}")
    if options:
        raise ConfigError(f"data.options: mini_english has none, got {', '.join(options)}")
    join_local_manifests(SPLITS, out_dir, asr_data)
