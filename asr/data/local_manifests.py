"""Manifests that lie ready in a folder, the environment variable ASR_DATA's: recipes on parts of a corpus."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from asr.data.archives import whole_directory
from asr.data.manifest import read_manifest, write_manifest
from asr.errors import CorpusError
from asr.text.normalize import normalize
from asr.types import Utterance


def join_local_manifests(splits: Mapping[str, Sequence[str]], out_dir: Path, asr_data: Path | None) -> None:
    """Write `<split>.jsonl` for each split from the manifests it is made of, texts normalised; audio stays in place.

    splits: name of the split -> names of manifests in `asr_data`, without their suffix.

    Raises `CorpusError`, and writes nothing, when one is not there.
    """
    parts = list(dict.fromkeys(part for names in splits.values() for part in names))
    if asr_data is None:
        raise CorpusError(
            f"these recordings are expected on disk: set the environment variable ASR_DATA to the folder with "
            f"{', '.join(f'{part}.jsonl' for part in parts)}"
        )
    products = ("prepared.json", *(f"{split}.jsonl" for split in splits))
    with whole_directory(out_dir.absolute(), replaces=products) as temporary:
        for split, names in splits.items():
            utterances = [utterance for name in names for utterance in _read(asr_data.resolve(), name)]
            write_manifest(temporary / f"{split}.jsonl", utterances)


def _read(asr_data: Path, name: str) -> list[Utterance]:
    manifest = asr_data / f"{name}.jsonl"
    if not manifest.is_file():
        raise CorpusError(f"expected {name}.jsonl in ASR_DATA ({asr_data}), found none")
    return [replace(utterance, text=normalize(utterance.text)) for utterance in read_manifest(manifest)]
