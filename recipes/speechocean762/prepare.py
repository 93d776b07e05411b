"""Prepare speechocean762: the subset that lies in ASR_DATA."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from asr.data.local_manifests import join_local_manifests
from asr.errors import ConfigError

SUBSET = {split: (f"speechocean762-{split}",) for split in ("train", "dev", "test")}


def prepare(name: str, options: Mapping[str, object], out_dir: Path, asr_data: Path | None) -> None:
    """Write train, dev and test; audio stays where it is."""
    if name != "speechocean762_subset":
        raise ConfigError(f"corpus of the recipe speechocean762: expected speechocean762_subset, got {name!r}")
    if options:
        raise ConfigError(f"data.options: {name} has none, got {', '.join(options)}")
    join_local_manifests(SUBSET, out_dir, asr_data)
