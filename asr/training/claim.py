"""Whether a run directory may be used with a config: a new run, the same again, or one that goes on otherwise.

What a run has done must stay true of its config. Options that say nothing about the past, such as how many epochs there
are to be, may change when it goes on; they are listed here. Where nothing has been trained yet, all may.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from asr.errors import CheckpointError, ConfigError
from asr.files import scratch_folder, write_json
from asr.training.checkpoint import list_checkpoints, read_state
from asr.training.course import CHANGES, EPOCHS, record_change
from asr.training.run_directory import CONFIG

# Where a run lies, what it runs on and how its results are scored; where its corpus was found (that it is the same is
# seen by the checksums of the manifests). An option's name stands for all below it.
# Which options were fitted to the data is no option itself: what they became is compared.
NOT_COMPARED = (
    "run_dir",
    "machine",
    "scoring",
    "fit",
    "data.name",
    "data.dir",
    "data.options",
    "manifests",
    "contents",
)
# What may change between stopping and going on, as it says nothing about the steps and epochs that are done.
INTERVALS = (
    "training.checkpoint_minutes",
    "training.checkpoint_steps",
    "training.inspect_every_steps",
    "training.log_every_steps",
    "training.num_samples",
)
CHANGEABLE = (
    *(
        "data.max_unusable_share",
        "data.test",
        "decoding",
        "optim.restart_share",
        "training.average_best",
        "training.epochs",
    ),
    *("training.nonfinite_patience", "training.patience"),
    *INTERVALS,
)
FILES = ("manifests", "contents")  # of a claim, beside the config: path -> checksum
RESTARTING = ("cosine", "one_cycle")  # schedules that end
# What a run writes before its first checkpoint; where it never came to one, the next begins without.
BEGINNINGS = (
    *("tokenizer.json", "usable.safetensors", "features.safetensors", "dropped.jsonl", "environment.json"),
    *("history.jsonl", "tensorboard", "curves.png", "state.json", CHANGES),
)

EXPORTED = ("decoding", "training.average_best", "training.epochs", "training.patience")  # what a model depends on

Change = tuple[Any, Any]  # there -> asked for


@dataclass(frozen=True, slots=True)
class Claim:
    """A run directory that may be used."""

    epochs: int = 0  # that the run is to have: as asked for, unless more are trained already
    notes: tuple[str, ...] = ()  # lines for the user


def claim(run_dir: Path, config: Mapping[str, Any], defaults: Mapping[str, Any]) -> Claim:
    """Write the config into a run directory that is new, or see that the run there may go on with it.

    An option that was not there yet when the run began counts as its default. What changes is recorded.

    Raises `ConfigError`, listing what differs, when the run there could not have come to where it is with this config.
    """
    path, epochs = run_dir / CONFIG, config["training"]["epochs"]
    if _create(path, config):
        return Claim(epochs)
    there = with_defaults(_read_config(path), defaults)
    if not differences(there, config):
        if there != config:
            write_json(path, config)
        return Claim(epochs)
    if not _holds_step(run_dir):
        _clear(run_dir)
        write_json(path, config)
        return Claim(epochs, (f"{run_dir} held a run without a step: it begins anew with this config",))
    return _change(run_dir, there, config)


def _change(run_dir: Path, there: Mapping[str, Any], asked: Mapping[str, Any]) -> Claim:
    """Let a run that has begun go on with another config, or refuse."""
    epoch, step = _newest_place(run_dir)
    notes, epochs = [], asked["training"]["epochs"]
    if epochs < epoch:
        notes.append(f"{EPOCHS}={epochs}: {epoch} are trained already, and stay")
        epochs = epoch
        asked = {**asked, "training": {**asked["training"], "epochs": epochs}}
    changes = differences(there, asked)
    refuse_what_makes_the_past_untrue(run_dir, changes, "initial_model" in asked["training"])
    if changes:
        restart = _restarts(there, changes, epoch)
        record_change(run_dir, epoch=epoch, step=step, changes=changes, restart=restart)
        notes += _describe(there, asked, changes, epoch, restart=restart)
    write_json(run_dir / CONFIG, asked)
    return Claim(epochs, tuple(notes))


def begun_config(run_dir: Path) -> dict[str, Any] | None:
    """The config of the run in a directory, or None where none has trained a step."""
    path = run_dir / CONFIG
    return _read_config(path) if path.is_file() and _holds_step(run_dir) else None


def export_inputs(config: Mapping[str, Any]) -> dict[str, Any]:
    """What decides, of the options that may change, whether a run has to come to its end, and export, once more."""
    return {name: value for name, value in flat(config).items() if covers(EXPORTED, name)}


def refuse_what_makes_the_past_untrue(run_dir: Path, changes: Mapping[str, Change], has_initial_model: bool) -> None:
    """Raise `ConfigError` for changes after which the run there would not be the one that its config describes."""
    untrue = {name: change for name, change in changes.items() if not covers(CHANGEABLE, name)}
    if untrue:
        listing = "\n  ".join(f"{name}: {before} -> {after}" for name, (before, after) in untrue.items())
        model = run_dir / "model"
        from_there = f", with training.initial_model={model} from its weights" if has_initial_model else ""
        raise ConfigError(
            f"{run_dir} holds a run that was trained otherwise (there -> asked for):\n  {listing}\n"
            f"What is trained cannot be changed. Begin another run (run_dir=…, or -o){from_there}, go back to that "
            f"config, or delete {run_dir}. A run that has begun may change {', '.join(CHANGEABLE)}."
        )


def differences(there: Mapping[str, Any], asked: Mapping[str, Any]) -> dict[str, Change]:
    """What differs between two configs, by the option's full name. Files count by their content, not their place."""
    before, after = (
        flat({name: part for name, part in config.items() if name not in FILES}) for config in (there, asked)
    )
    checksums = [_checksums(config) for config in (there, asked)]
    changes: dict[str, Change] = {}
    for name in sorted({*before, *after}):
        change = before.get(name, "(absent)"), after.get(name, "(absent)")
        contents = [_by_content(value, known) for value, known in zip(change, checksums)]
        if contents[0] == contents[1] or covers(NOT_COMPARED, name):
            continue
        if change[0] == change[1]:
            changed = [path for path in change[0] if checksums[0].get(path) != checksums[1].get(path)]
            change = f"{', '.join(changed)} as it was", "as it is now, with other contents"
        changes[name] = change
    return changes


def flat(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Every option of a nested config by its full name.

    >>> flat({"seed": 1, "optim": {"lr": 0.1}})
    {'seed': 1, 'optim.lr': 0.1}
    """
    options: dict[str, Any] = {}
    for name, value in config.items():
        options |= flat(value, f"{prefix}{name}.") if isinstance(value, Mapping) else {f"{prefix}{name}": value}
    return options


def _checksums(config: Mapping[str, Any]) -> dict[str, str]:
    return {path: checksum for name in FILES for path, checksum in config.get(name, {}).items()}


def _by_content(value: Any, checksums: Mapping[str, str]) -> Any:
    """A list of files as the list of their checksums; any other value as it is."""
    if isinstance(value, list) and value and all(isinstance(item, str) and item in checksums for item in value):
        return [checksums[item] for item in value]
    return value


def covers(options: tuple[str, ...], name: str) -> bool:
    """Whether an option is among some, or below one of them.

    >>> covers(("decoding",), "decoding.beam_width")
    True
    """
    return any(name == option or name.startswith(f"{option}.") for option in options)


def _restarts(there: Mapping[str, Any], changes: Mapping[str, Change], epoch: int) -> bool:
    """Whether a run that came to the end of its schedule is to go on."""
    ended = EPOCHS in changes and epoch >= changes[EPOCHS][0]
    return ended and there["optim"]["schedule"] in RESTARTING


def _describe(
    there: Mapping[str, Any], config: Mapping[str, Any], changes: Mapping[str, Change], epoch: int, *, restart: bool
) -> list[str]:
    """What the user should know of a run that goes on otherwise."""
    listing = ", ".join(f"{name} {before} -> {after}" for name, (before, after) in changes.items())
    lines = [f"goes on after epoch {epoch} with {listing}"]
    schedule = there["optim"]["schedule"]
    if restart:
        share = config["optim"]["restart_share"]
        lines.append(
            f"  the {schedule} schedule had ended: a warm restart at optim.restart_share={share:g} of optim.lr, then "
            f"down again until epoch {changes[EPOCHS][1]}"
        )
    elif EPOCHS in changes and schedule in RESTARTING:
        lines.append(f"  the {schedule} schedule ends with epoch {changes[EPOCHS][1]} from here on")
    if any(name.startswith("decoding.") for name in changes) and epoch:
        lines.append("  development figures of the epochs before are by the decoding of before")
    return lines


# ---- the directory -------------------------------------------------------------------------------------------------


def _read_config(path: Path) -> dict[str, Any]:
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path} cannot be read: {error}; choose another directory (run_dir=…)") from error
    if not isinstance(config, dict):
        raise ConfigError(f"{path}: expected a run's config, got something else; choose another directory (run_dir=…)")
    return config


def _holds_step(run_dir: Path) -> bool:
    """Whether anything of a run's training is there."""
    checkpoints = run_dir / "checkpoints"
    return any(list_checkpoints(checkpoints, kind) for kind in ("resume", "epoch")) or (run_dir / "model").exists()


def _newest_place(run_dir: Path) -> tuple[int, int]:
    """The epochs and steps that are done, by the newest checkpoint that can be read."""
    for path in reversed(list_checkpoints(run_dir / "checkpoints", "resume")):
        try:
            state = read_state(path)
            return int(state["epoch"]), int(state["step"])
        except (CheckpointError, KeyError, ValueError):
            continue
    return 0, 0


def _clear(run_dir: Path) -> None:
    for name in BEGINNINGS:
        path = run_dir / name
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def _create(path: Path, config: Mapping[str, Any]) -> bool:
    """Write the config whole, unless there is one: of two runs that begin at the same moment only one does."""
    if path.is_file():
        return False
    path.parent.mkdir(parents=True, exist_ok=True)
    with scratch_folder(path) as folder:
        write_json(folder / CONFIG, config)
        try:
            os.link(folder / CONFIG, path)
        except FileExistsError:
            return False
        except OSError:  # a file system without links
            (folder / CONFIG).replace(path)
    return True


def with_defaults(config: Mapping[str, Any], defaults: Mapping[str, Any]) -> dict[str, Any]:
    """A nested config with the defaults of the options that it lacks.

    >>> with_defaults({"optim": {"lr": 0.1}}, {"optim": {"lr": 1.0, "weight_noise": 0.0}})
    {'optim': {'lr': 0.1, 'weight_noise': 0.0}}
    """
    filled = {**defaults, **config}
    for key, value in defaults.items():
        if isinstance(value, Mapping) and isinstance(filled[key], Mapping):
            filled[key] = with_defaults(filled[key], value)
    return filled
