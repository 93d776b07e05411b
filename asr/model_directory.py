"""A model as a directory: JSON, safetensors and checksums, so that loading one can execute nothing.

config.json         how to build features, model and decoder
model.safetensors   weights
tokenizer.json
lm.lm …             what the config names: a language model, a lexicon
README.md           the model card
SHA256SUMS          of all the others but the card, in the format of `sha256sum`
"""

import json
import os
import shutil
import tempfile
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from asr.errors import ModelError, OutputError
from asr.files import scratch_folder, set_usual_mode, sha256, sync_directory, write_json, write_text

CONFIG, WEIGHTS, TOKENIZER, CARD, CHECKSUMS = (
    "config.json",
    "model.safetensors",
    "tokenizer.json",
    "README.md",
    "SHA256SUMS",
)
MODEL = "model"  # what the directory is called in that of its run
RESERVED = (CONFIG, WEIGHTS, TOKENIZER, CARD, CHECKSUMS)
FORMAT_VERSION = 2  # 2: `decoding` names a beam search and its files
NOTES = "## Changes since the training"  # the heading on the card under which `update_model` adds its notes


@dataclass(frozen=True, slots=True)
class ModelFiles:
    """What a model directory holds, read but not yet built."""

    config: Mapping[str, Any]
    tensors: Mapping[str, Tensor]
    tokenizer: Mapping[str, Any]
    others: Mapping[str, Path] = field(default_factory=dict)  # name in the directory -> where it lies


def find_model(path: str | Path) -> Path:
    """The model directory that a path means: itself, or the one in it where it is the directory of a run."""
    path = Path(path)
    inside = path / MODEL
    return inside if not (path / CHECKSUMS).is_file() and (inside / CHECKSUMS).is_file() else path


def write_model(directory: Path, files: ModelFiles, card: str) -> None:
    """Write a whole model directory, replacing an older one only when everything is on disk."""
    with _replacing_directory(directory) as new:
        write_json(new / CONFIG, {"format": FORMAT_VERSION, **files.config})
        save_file({name: t.detach().cpu().contiguous() for name, t in files.tensors.items()}, new / WEIGHTS)
        set_usual_mode(new / WEIGHTS)
        write_json(new / TOKENIZER, files.tokenizer)
        write_text(new / CARD, card)
        _copy_others(new, files.others)


def update_config(directory: Path, changes: Mapping[str, Any]) -> None:
    """Change values of a model's config.json, keys of nested ones joined by dots: `decoding.lm_weight`."""
    update_model(directory, config_changes=changes)


def update_model(
    directory: Path,
    *,
    config_changes: Mapping[str, Any],
    files: Mapping[str, Path] | None = None,
    remove: Collection[str] = (),
    note: str = "",
) -> None:
    """Change a model directory as a whole: what is read there is the old model or the new one.

    Args:
        directory: the model, which is verified first
        config_changes: values of config.json by their keys joined by dots, all of which must be there
        files: name in the directory -> file, or directory, to copy there
        remove: names of files that are no longer wanted
        note: a paragraph for the card

    Raises:
        ModelError: the directory is damaged, or the config has no such key.
    """
    verify_checksums(directory)
    config = read_config(directory)
    for key, value in config_changes.items():
        _change(config, key, value, directory / CONFIG)
    with _replacing_directory(directory) as new:
        changed = {CONFIG, CARD, CHECKSUMS, *(files or {}), *remove}
        shutil.copytree(
            directory,
            new,
            copy_function=_link,
            dirs_exist_ok=True,
            ignore=lambda at, _: _at_top(at, directory, changed),
        )
        write_json(new / CONFIG, {"format": FORMAT_VERSION, **config})
        card = directory / CARD
        write_text(new / CARD, _with_note(card.read_text(encoding="utf-8") if card.is_file() else "", note))
        _copy_others(new, files or {})


def replace_card(directory: Path, card: str) -> None:
    """Write a new card, keeping the notes of the old one."""
    path = directory / CARD
    _, heading, notes = path.read_text(encoding="utf-8").partition(NOTES) if path.is_file() else ("", "", "")
    write_text(path, card + (f"\n{heading}{notes}" if heading else ""))


def _with_note(card: str, note: str) -> str:
    if not note:
        return card
    heading = "" if NOTES in card else f"\n{NOTES}\n"
    return f"{card}{heading}\n{note}\n"


def _change(config: dict[str, Any], key: str, value: Any, where: Path) -> None:
    *parents, last = key.split(".")
    place: Any = config
    for parent in parents:
        place = place.get(parent) if isinstance(place, dict) else None
    if not isinstance(place, dict) or last not in place:
        raise ModelError(f"{where}: expected an option {key!r} to change, found none")
    place[last] = value


def _at_top(folder: str, directory: Path, names: set[str]) -> set[str]:
    return names if Path(folder) == directory else set()


def _link(source: str, target: str) -> None:
    """The same file under another name where the file system can, else a copy: nobody writes into these."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


def _copy_others(directory: Path, files: Mapping[str, Path]) -> None:
    for name, source in files.items():
        if not is_plain_name(name) or name in RESERVED:
            raise ModelError(f"expected a free file name inside a model directory, got {name!r}")
        if source.is_dir():
            shutil.copytree(source, directory / name)
        else:
            shutil.copyfile(source, directory / name)


def is_plain_name(name: str) -> bool:
    """Whether `name` can only be a file right inside a directory, on any system; config files come from strangers."""
    return name not in ("", ".", "..") and not any(character in name for character in "/\\:\0\n")


@contextmanager
def _replacing_directory(directory: Path) -> Iterator[Path]:
    """Give a new directory beside `directory`; it gets checksums and takes its place when the block ends well.

    A link to a directory stays: what it leads to is replaced.
    """
    directory = directory.resolve()
    try:
        directory.parent.mkdir(parents=True, exist_ok=True)
        with scratch_folder(directory) as folder:
            temporary = folder / "new"
            temporary.mkdir()
            yield temporary
            write_checksums(temporary)
            _swap(temporary, directory)
    except (OSError, SafetensorError) as error:
        raise OutputError(
            f"the model {directory} cannot be written: {error}; what was there before is untouched. "
            "Choose a place that is writable and has room"
        ) from error


def _swap(new: Path, directory: Path) -> None:
    """Put `new` where `directory` is. A directory cannot be replaced in one step: the old one steps aside first."""
    if directory.exists():
        old = Path(tempfile.mkdtemp(dir=directory.parent, prefix=f".old-{directory.name}."))
        try:
            directory.rename(old / directory.name)
        except OSError:  # a mount point, for example
            old.rmdir()
            raise
        try:
            new.rename(directory)
        except OSError:
            (old / directory.name).rename(directory)
            old.rmdir()
            raise
        shutil.rmtree(old)
    else:
        new.rename(directory)
    sync_directory(directory.parent)


def write_checksums(directory: Path) -> None:
    """Write SHA256SUMS over every other file of `directory` but the card."""
    names = sorted(path.name for path in directory.iterdir() if path.is_file() and path.name not in (CHECKSUMS, CARD))
    write_text(directory / CHECKSUMS, "".join(f"{sha256(directory / name)}  {name}\n" for name in names))


def read_checksums(directory: Path) -> dict[str, str]:
    """The files that SHA256SUMS lists: name -> SHA-256. Raises `ModelError` where there is no such list."""
    listing = directory / CHECKSUMS
    if not directory.is_dir():
        raise ModelError(f"expected a model directory, got {directory}, which {_what_is(directory)}")
    if not listing.is_file():
        unfinished = "; it is that of a run, which has no model yet" if (directory / "checkpoints").is_dir() else ""
        raise ModelError(f"{directory} is no model directory: it has no {CHECKSUMS}{unfinished}")
    listed = {}
    for line in listing.read_text(encoding="utf-8").splitlines():
        digest, _, name = line.partition("  ")
        if not is_plain_name(name):
            raise ModelError(f"{listing}: expected lines of a SHA-256, two spaces and a file name, got {line!r}")
        listed[name] = digest
    if missing := sorted({CONFIG, WEIGHTS, TOKENIZER} - set(listed)):
        raise ModelError(f"{listing} does not list {missing[0]}")
    return listed


def verify_checksums(directory: Path) -> None:
    """Raise `ModelError` for a file that is missing or not the one that was written."""
    for name, digest in read_checksums(directory).items():
        if not (directory / name).is_file():
            raise ModelError(f"{directory / name} is missing; copy the model directory whole")
        if sha256(directory / name) != digest:
            raise ModelError(f"{directory / name} is damaged or was edited: its SHA-256 is not the one in {CHECKSUMS}")


def _what_is(path: Path) -> str:
    return "is a file" if path.exists() else "does not exist"


def read_model(directory: Path) -> ModelFiles:
    """Read and verify a model directory, or that in the directory of a run."""
    directory = find_model(directory)
    verify_checksums(directory)
    config = read_config(directory)
    try:
        tensors = load_file(directory / WEIGHTS)
    except SafetensorError as error:
        raise ModelError(f"{directory / WEIGHTS} cannot be read: {error}") from error
    others = {name: directory / name for name in read_checksums(directory) if name not in RESERVED}
    return ModelFiles(config, tensors, _read_object(directory / TOKENIZER), others)


def read_config(directory: Path) -> dict[str, Any]:
    """What config.json holds; raises `ModelError` for one of another format."""
    config = _read_object(directory / CONFIG)
    if (version := config.pop("format", None)) != FORMAT_VERSION:
        raise ModelError(
            f"{directory / CONFIG}: expected format {FORMAT_VERSION}, got {version!r}: another version of asr wrote "
            "this model; use that version, or train the model with this one"
        )
    return config


def _read_object(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ModelError(f"{path}: expected JSON: {error}") from error
    if not isinstance(value, dict):
        raise ModelError(f"{path}: expected a JSON object, got {type(value).__name__}")
    return value
