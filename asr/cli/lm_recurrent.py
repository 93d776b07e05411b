"""`asr lm train --type recurrent`: text -> directory of a recurrent language model."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from asr.language_config import LanguageConfig


def train_recurrent(texts: list[Path], dev: list[Path], output: Path, overrides: list[str]) -> Path:
    """Train in the run directory `output` unless that is done; returns `output / "model"`.

    The same call goes on where an interrupted run stopped.

    texts, dev: one sentence a line, plain or compressed; without `dev` a part of the texts is held out.
    overrides: `key=value`, the options of asr/language_config.py; `model=NAME` takes configs/language/model/NAME.yaml.
    """
    from contextlib import nullcontext

    from rich.console import Console

    from asr.cli.stages import Stage
    from asr.config import to_json
    from asr.files import sha256
    from asr.language_config import LanguageConfig
    from asr.launcher import detect_launch
    from asr.model_directory import CARD
    from asr.training.claim import claim, export_inputs
    from asr.training.run_lock import locked
    from asr.training.run_state import recording_state

    config = compose_language(texts, dev, output, overrides)
    contents = {str(path): sha256(path) for path in [*texts, *dev]}
    launch = detect_launch()
    console = Console(quiet=not launch.is_leader)
    with locked(output) if launch.is_leader else nullcontext():
        if launch.is_leader:
            claimed = claim(output, {**to_json(config), "contents": contents}, to_json(LanguageConfig()))
            config.training.epochs = claimed.epochs
            for note in claimed.notes:
                console.print(note, highlight=False, markup=False, soft_wrap=True)
        stage, inputs = Stage(output / "trained.json"), export_inputs(to_json(config))
        if not stage.is_done(inputs):
            from asr.language_experiment import train_language_model

            with recording_state(output) if launch.is_leader else nullcontext():
                model_dir = train_language_model(config, output, console)
                if launch.is_leader:
                    stage.finish(inputs, outputs=[path for path in model_dir.iterdir() if path.name != CARD])
    return output / "model"


def compose_language(
    texts: Sequence[Path], dev: Sequence[Path], output: Path, overrides: Sequence[str]
) -> "LanguageConfig":
    """The resolved config of a run. Paths are not overrides: Hydra's grammar would trip over their characters."""
    from hydra import compose

    from asr.cli.compose import composing, explaining, group_names
    from asr.cli.overrides import Space, read_overrides
    from asr.config import resolve
    from asr.errors import ConfigError
    from asr.language_config import PRIMARY, LanguageConfig, register_language
    from asr.resources import resource_directory

    register_language()
    directory = resource_directory("configs") / "language"
    space = Space(LanguageConfig, group_names(directory), may_sweep=False)
    given = read_overrides(overrides, space)
    for name, argument in (("texts", "the files"), ("dev", "--dev"), ("run_dir", "-o")):
        if any(each.key == name for each in given):
            raise ConfigError(f"{name}: expected it as an argument of the command, {argument}, not as {name}=…")
    with composing(directory, space):
        composed = compose(PRIMARY, overrides=[text for each in given for text in each.texts()])
    composed.texts = [str(readable(path)) for path in texts]
    composed.dev = [str(readable(path)) for path in dev]
    composed.run_dir = str(output)
    with explaining(space):
        return resolve(composed, LanguageConfig)


def readable(path: Path) -> Path:
    """A path that names a file: a run that may be resumed reads its text more than once, so a pipe will not do."""
    from asr.errors import TextError

    if not path.is_file():
        raise TextError(f"expected a text file, one sentence a line, at {path}; found none")
    return path
