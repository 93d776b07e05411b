"""What a run needs besides its config: looked for, and manifests read, before it writes anything."""

import os
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import NamedTuple

from asr.config import Config
from asr.errors import ConfigError, ManifestError
from asr.options import did_you_mean
from asr.training.claim import begun_config
from asr.types import Seconds

MANIFEST, FILE, MODEL = "a manifest, or a folder of shards,", "a file", "a model directory"
BUILT_IN_FOLDINGS = ("timit39",)


class Input(NamedTuple):
    """A path of a config: the option that names it, and what should be there."""

    option: str
    path: str
    kind: str  # MANIFEST, FILE or MODEL


def find_inputs(config: Config, *, unmade: Path | None = None, with_tests: bool = True) -> None:
    """Raise for the first path of a config where nothing usable is.

    Args:
        config: a checked one
        unmade: a folder whose contents are not looked for: they may yet be made, or were not asked for
        with_tests: look for the test sets too

    Raises:
        ManifestError, ConfigError: names the option, the path, and the nearest name that is there.
    """
    _find_place(Path(config.run_dir))
    has_begun = begun_config(Path(config.run_dir)) is not None
    for each in _inputs(config):
        if has_begun and each.option == "training.initial_model":
            continue  # read when a run begins, and never again
        if unmade is not None and unmade.absolute() in Path(each.path).absolute().parents:
            continue
        if with_tests or not each.option.startswith("data.test."):
            try:
                _find(each, config)
            except OSError as failure:
                raise ConfigError(
                    f"{each.option}: expected {each.kind} at {each.path}: {failure.strerror}"
                ) from failure


def refuse_impossible(config: Config) -> None:
    """Raise `ConfigError` for features that cannot be computed at the sample rate, and for a device that is not there.

    `asr.options.check` cannot see these: they take the filters, and the machine.
    """
    from asr.features import Filterbank

    Filterbank(sample_rate=config.data.sample_rate, **asdict(config.features))
    if config.machine.accelerator == "cuda":
        from asr.training.fabric import refuse_missing_device

        refuse_missing_device(config.machine.accelerator)


def read_manifests(config: Config) -> Seconds:
    """Read what a run trains on and validates on to the end, so that a malformed line is found before it begins.

    Returns the length of the training set.
    """
    from asr.data.corpus import Corpus
    from asr.data.manifest import read_manifest

    train, _ = (Corpus.open(addresses, config.data.sample_rate) for addresses in (config.data.train, config.data.dev))
    for path in (*config.augment.noise, *config.augment.rooms):
        read_manifest(path)
    return float(train.durations.sum())


def _inputs(config: Config) -> Iterator[Input]:
    for option, paths in (("data.train", config.data.train), ("data.dev", config.data.dev)):
        yield from (Input(option, path, MANIFEST) for path in paths)
    for name, path in config.data.test.items():
        yield Input(f"data.test.{name}", path, MANIFEST)
    for option, paths in (("augment.noise", config.augment.noise), ("augment.rooms", config.augment.rooms)):
        yield from (Input(option, path, MANIFEST) for path in paths)
    folding = config.scoring.folding
    decoding = config.decoding
    named = [
        Input("text.lexicon", config.text.lexicon, FILE),
        Input("training.initial_model", config.training.initial_model, MODEL),
        Input("decoding.language_model", decoding.language_model, FILE),
        Input("decoding.lexicon", decoding.lexicon, FILE),
        Input("decoding.rescoring_model", decoding.rescoring_model, MODEL),
        Input("scoring.folding", "" if folding in BUILT_IN_FOLDINGS else folding, FILE),
    ]
    yield from (each for each in named if each.path)


def _find_place(run_dir: Path) -> None:
    """See that a run can have its directory there."""
    try:
        there = next(path for path in (run_dir, *run_dir.absolute().parents) if path.exists())
    except OSError as failure:
        raise ConfigError(f"run_dir: expected a folder to make, got {run_dir}: {failure.strerror}") from failure
    if not there.is_dir():
        raise ConfigError(f"run_dir: expected a folder, or a name for one, got {run_dir}, where {there} is a file")
    if not os.access(there, os.W_OK):
        raise ConfigError(f"run_dir: expected to be allowed to write into {there}, and am not")


def _find(wanted: Input, config: Config) -> None:
    if "://" in wanted.path:
        return  # on another machine, which is asked when it is read
    path = Path(wanted.path)
    error = ManifestError if wanted.kind == MANIFEST else ConfigError
    if path.is_dir() if wanted.kind == MODEL else path.exists() and (wanted.kind == MANIFEST or not path.is_dir()):
        if wanted.kind != FILE and path.is_dir():
            _look_into(wanted, path)
        if not os.access(path, os.R_OK):
            raise error(f"{wanted.option}: expected to be allowed to read {path}, and am not")
        return
    raise error(f"{wanted.option}: expected {wanted.kind} at {path}, {_found(path)}{_way_out(wanted, config)}")


def _look_into(wanted: Input, folder: Path) -> None:
    """See that a folder holds what makes it a model, or a set of shards."""
    from asr.data.shards import MANIFEST as SHARDED
    from asr.model_directory import CONFIG, WEIGHTS

    if wanted.kind == MODEL and not (folder / WEIGHTS).is_file():
        inside = folder / "model"
        near = f"; did you mean {inside}?" if (inside / CONFIG).is_file() else ""
        raise ConfigError(
            f"{wanted.option}: expected {wanted.kind} at {folder}, found a folder without {WEIGHTS}{near}"
        )
    if wanted.kind == MANIFEST and not (folder / SHARDED).is_file():
        raise ManifestError(
            f"{wanted.option}: expected {wanted.kind} at {folder}, found a folder without {SHARDED}; `asr data import` "
            "makes a manifest of recordings with their texts, `asr data shard` makes shards of a manifest"
        )


def _found(path: Path) -> str:
    """What is there instead, with the nearest names."""
    if path.is_dir():
        return "found a folder"
    if path.exists():
        return "found a file"
    parents = [parent for parent in path.parents if parent.is_dir()]
    if parents and parents[0] != path.parent:
        missing = path.relative_to(parents[0]).parts[0]
        near = did_you_mean(missing, [entry.name for entry in parents[0].iterdir() if entry.is_dir()])
        return f"found no folder {parents[0] / missing}{near}"
    return f"found none{did_you_mean(path.name, [entry.name for entry in path.parent.iterdir()])}"


def _way_out(wanted: Input, config: Config) -> str:
    from asr.cli.compose import CUSTOM

    is_made = wanted.kind == MANIFEST and Path(config.data.dir).absolute() in Path(wanted.path).absolute().parents
    if not is_made or config.recipe == CUSTOM:
        return ""
    variant = "" if config.data.name == config.recipe else f" data={config.data.name}"
    return f"; `asr prepare {config.recipe}{variant}` makes it"
