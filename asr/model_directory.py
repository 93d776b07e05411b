"""A model as a directory: JSON, safetensors and checksums, so that loading one can execute nothing.

config.json         how to build features, model and decoder
model.safetensors   weights
tokenizer.json
README.md           the model card
SHA256SUMS          of all the others, in the format of `sha256sum`
"""

import json
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from asr.errors import ModelError
from asr.files import sha256, sync_directory, write_json, write_text

CONFIG, WEIGHTS, TOKENIZER, CARD, CHECKSUMS = (
    "config.json",
    "model.safetensors",
    "tokenizer.json",
    "README.md",
    "SHA256SUMS",
)
FORMAT_VERSION = 1


@dataclass(frozen=True, slots=True)
class ModelFiles:
    """What a model directory holds, read but not yet built."""

    config: Mapping[str, Any]
    tensors: Mapping[str, Tensor]
    tokenizer: Mapping[str, Any]


def write_model(directory: Path, files: ModelFiles, card: str) -> None:
    """Write a whole model directory, replacing an older one only when everything is on disk."""
    directory.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(dir=directory.parent, prefix=f".{directory.name}."))
    try:
        write_json(temporary / CONFIG, {"format": FORMAT_VERSION, **files.config})
        save_file({name: t.detach().cpu().contiguous() for name, t in files.tensors.items()}, temporary / WEIGHTS)
        write_json(temporary / TOKENIZER, files.tokenizer)
        write_text(temporary / CARD, card)
        write_checksums(temporary)
        temporary.chmod(0o755)
        _swap(temporary, directory)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _swap(new: Path, directory: Path) -> None:
    """Put `new` where `directory` is. A directory cannot be replaced in one step: the old one steps aside first."""
    if directory.exists():
        old = Path(tempfile.mkdtemp(dir=directory.parent, prefix=f".old-{directory.name}."))
        directory.rename(old / directory.name)
        new.rename(directory)
        shutil.rmtree(old)
    else:
        new.rename(directory)
    sync_directory(directory.parent)


def write_checksums(directory: Path) -> None:
    """Write SHA256SUMS over every other file of `directory` but the card."""
    names = sorted(path.name for path in directory.iterdir() if path.is_file() and path.name not in (CHECKSUMS, CARD))
    write_text(directory / CHECKSUMS, "".join(f"{sha256(directory / name)}  {name}\n" for name in names))


def verify_checksums(directory: Path) -> None:
    """Raise `ModelError` for a file that is missing or not the one that was written."""
    listing = directory / CHECKSUMS
    if not directory.is_dir():
        raise ModelError(f"expected a model directory, got {directory}, which {_what_is(directory)}")
    if not listing.is_file():
        raise ModelError(f"{directory} is no model directory: it has no {CHECKSUMS}")
    listed = set()
    for line in listing.read_text(encoding="utf-8").splitlines():
        expected, _, name = line.partition("  ")
        if not name or Path(name).name != name:
            raise ModelError(f"{listing}: expected lines of a SHA-256, two spaces and a file name, got {line!r}")
        if not (directory / name).is_file():
            raise ModelError(f"{directory / name} is missing; copy the model directory whole")
        if sha256(directory / name) != expected:
            raise ModelError(f"{directory / name} is damaged or was edited: its SHA-256 is not the one in {CHECKSUMS}")
        listed.add(name)
    if missing := sorted({CONFIG, WEIGHTS, TOKENIZER} - listed):
        raise ModelError(f"{listing} does not list {missing[0]}")


def _what_is(path: Path) -> str:
    return "is a file" if path.exists() else "does not exist"


def read_model(directory: Path) -> ModelFiles:
    """Read and verify a model directory."""
    verify_checksums(directory)
    config = _read_object(directory / CONFIG)
    if config.pop("format", None) != FORMAT_VERSION:
        raise ModelError(
            f"{directory / CONFIG}: expected format {FORMAT_VERSION}; this model needs another version of asr"
        )
    try:
        tensors = load_file(directory / WEIGHTS)
    except SafetensorError as error:
        raise ModelError(f"{directory / WEIGHTS} cannot be read: {error}") from error
    return ModelFiles(config, tensors, _read_object(directory / TOKENIZER))


def _read_object(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ModelError(f"{path}: expected JSON: {error}") from error
    if not isinstance(value, dict):
        raise ModelError(f"{path}: expected a JSON object, got {type(value).__name__}")
    return value
