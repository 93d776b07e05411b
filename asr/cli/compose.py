"""A recipe's name and overrides -> config."""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml
from hydra import compose, initialize_config_dir
from hydra.errors import HydraException, MissingConfigException
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import (
    GrammarParseError,
    InterpolationKeyError,
    InterpolationResolutionError,
    InterpolationValidationError,
    MissingMandatoryValue,
    OmegaConfBaseException,
    UnsupportedInterpolationType,
)

from asr.cli.overrides import Space, read_overrides
from asr.config import Config, register, resolve
from asr.errors import ConfigError
from asr.fitting import not_overridden
from asr.options import did_you_mean, either, expected
from asr.resources import resource_directory

CUSTOM = "custom"  # no recipe: one's own manifests, over the defaults


def recipe_names() -> list[str]:
    """Every recipe there is."""
    return _names("recipe")


def corpus_names() -> list[str]:
    """Every corpus there is: those of recipes, and variants of them."""
    return _names("data")


def _names(group: str) -> list[str]:
    return sorted(path.stem for path in (resource_directory("configs") / group).glob("*.yaml"))


def acoustic_space() -> Space:
    """What overrides of `asr train`, `run` and `prepare` may name."""
    return Space(Config, group_names(resource_directory("configs")), appended=("recipe", "cluster"))


def group_names(directory: Path) -> dict[str, list[str]]:
    """The folders of configs in a directory, and what each holds."""
    folders = sorted(path for path in directory.iterdir() if path.is_dir())
    return {folder.name: names for folder in folders if (names := sorted(p.stem for p in folder.glob("*.yaml")))}


def compose_recipe(recipe: str, overrides: Sequence[str]) -> Config:
    """The resolved config of a recipe with `key=value` overrides, each option in its range.

    recipe: `custom` for the defaults alone.

    Raises:
        ConfigError: no such recipe or option, or a value that makes no sense.
    """
    given = read_overrides(with_recipe(recipe, overrides), acoustic_space())
    texts = [text for each in given for text in each.texts()]
    return resolved(composed(texts), texts)


def with_recipe(recipe: str, overrides: Sequence[str]) -> list[str]:
    """The overrides of a command that names its recipe."""
    known = [CUSTOM, *recipe_names()]
    if recipe not in known:
        near = did_you_mean(recipe, known)
        if "=" in recipe:
            near = f"; for manifests of your own: {CUSTOM} {recipe}"
        raise ConfigError(f"expected a recipe, one of {either(known)}; got {recipe!r}{near}")
    if doubled := [text for text in overrides if text.lstrip("+").startswith("recipe=")]:
        raise ConfigError(f"expected one recipe, got {recipe} and {doubled[0]}")
    return list(overrides) if recipe == CUSTOM else [f"+recipe={recipe}", *overrides]


def composed(overrides: Sequence[str], *, with_hydra: bool = False) -> DictConfig:
    """Hydra's config of overrides that were read; `with_hydra` adds the section of its own."""
    register()
    with composing(resource_directory("configs"), acoustic_space()):
        return compose("config", overrides=list(overrides), return_hydra_config=with_hydra)


def resolved(config: DictConfig, overrides: Sequence[str]) -> Config:
    """The config as plain values, all in range; raises `ConfigError`.

    overrides: that it was composed with. What they set is not left to be fitted to the data.
    """
    with explaining(acoustic_space()), open_dict(config):
        config.pop("hydra", None)
        plain = resolve(config, Config)
    plain.fit = not_overridden(plain.fit, overrides)
    return plain


def value_of(config: DictConfig, key: str) -> Any:
    """The value of one option, interpolations resolved."""
    with explaining(acoustic_space()):
        return OmegaConf.select(config, key, throw_on_missing=True)


def as_yaml(overrides: Sequence[str], kind: str, *, resolve: bool) -> str:
    """A config as `--cfg` prints it. kind: job, hydra (Hydra's own section) or all; resolve: with values for ${…}."""
    config = composed(overrides, with_hydra=True)
    with explaining(acoustic_space()), open_dict(config):
        if kind == "hydra":
            return OmegaConf.to_yaml({"hydra": OmegaConf.to_container(config.hydra, resolve=resolve)})
        if kind == "job":
            del config["hydra"]
        return OmegaConf.to_yaml(config, resolve=resolve)


@contextmanager
def composing(directory: Path, space: Space) -> Iterator[None]:
    """Inside the block Hydra composes the configs of a directory; its errors are `ConfigError` in words of ours."""
    with initialize_config_dir(str(directory), version_base="1.3"), explaining(space):
        yield


@contextmanager
def explaining(space: Space) -> Iterator[None]:
    """Turn errors of Hydra and OmegaConf into `ConfigError`."""
    try:
        yield
    except (HydraException, OmegaConfBaseException) as error:
        raise ConfigError(explain(error, space)) from error
    except yaml.MarkedYAMLError as error:
        place = f"{error.problem_mark.name}:{error.problem_mark.line + 1}" if error.problem_mark else "configs"
        raise ConfigError(
            f"{place}: expected YAML, KEY: VALUE on each line, got what cannot be read: {error.problem}"
        ) from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"configs: expected YAML in UTF-8, got a file in another encoding: {error.reason}") from error


def explain(error: Exception, space: Space) -> str:
    """What to tell of an error of Hydra or OmegaConf. Most mistakes are found before: `asr/cli/overrides.py`."""
    inner = next((e for e in (error, error.__cause__) if isinstance(e, OmegaConfBaseException)), None)
    key = str(inner.full_key or "") if inner is not None else ""
    where = f"{key}: " if key else ""
    match inner:
        case MissingMandatoryValue():
            return f"{where}{_missing(key, space)}"
        case InterpolationValidationError() if option := space.option(key):
            return f"{where}expected {expected(option.hint, option.allowed)}, got a reference to something else"
        case InterpolationKeyError() | InterpolationResolutionError() | UnsupportedInterpolationType():
            return f"{where}{_interpolation(str(inner), space)}"
        case GrammarParseError():
            return f"{where}expected references such as ${{model.cell}}, got one that cannot be read"
    if submitit := re.search(r"hydra/launcher/(submitit\w*)", str(error)):
        return f'hydra/launcher: {submitit[1]} needs Hydra\'s submitit launcher: pip install "blstm-asr[cluster]"'
    if isinstance(error, MissingConfigException) and (found := re.search(r"Could not find '(.*)/(.*?)'", str(error))):
        options = error.options or []
        return f"{found[1]}: expected {either(options)}, got {found[2]!r}{did_you_mean(found[2], options)}"
    if found := re.match(r"In '(.*?)': ?(.*)", str(error), re.DOTALL):
        return f"configs/{found[1]}.yaml: {_in_file(found[2], space)}"
    if found := re.search(r"Could not delete from config. '(.*?)' does not exist", str(error)):
        return f"~{found[1]}: expected a name that is there"
    if found := re.search(r"Could not (?:override|append to config[^']*) '(.*?)'", str(error)):
        return f"{found[1]}: unknown option{space.nearest(found[1])}"
    return f"{where}{_first_sentence(error)}"


def _in_file(message: str, space: Space) -> str:
    """What is wrong in a file of `configs/`, by Hydra's message without the file's name."""
    found = re.search(r"full_key: (\S.*)", message)
    key = found[1] if found else ""
    option = space.option(key) if key else None
    if re.match(r"[^\n]*\nKey '", message):
        return f"{key}: unknown option{space.nearest(key)}"
    if option and (value := re.search(r"Value '(.*?)' of type", message)):
        return f"{key}: expected {expected(option.hint, option.allowed)}, got {value[1]!r}"
    if found := re.match(r"Could not (?:load|override) '(.*?)'", message):
        return f"expected defaults that are there, got {found[1]}"
    return "expected options by name, such as `hidden_size: 320`; a recipe's first line is `# @package _global_`"


def _missing(key: str, space: Space) -> str:
    option = space.option(key)
    noun = "manifests" if key in ("data.train", "data.dev", "augment.noise") else ""
    noun = noun or (expected(option.hint, option.allowed) if option else "a value")
    return f"expected {noun}, {key}={'[FILE.jsonl]' if noun == 'manifests' else 'VALUE'}, got none"


def _interpolation(message: str, space: Space) -> str:
    if found := re.search(r"Interpolation key '(.*?)' not found", message):
        near = space.nearest(found[1])
        return f"expected ${{OPTION}} of an option there is, got ${{{found[1]}}}{near}"
    if found := re.search(r"Environment variable '(.*?)' not found", message):
        return f"expected the environment variable {found[1]}, which is not set"
    if found := re.search(r"Unsupported interpolation type (\S+)", message):
        return f"expected ${{OPTION}}, ${{oc.env:NAME}} or ${{now:FORMAT}}, got ${{{found[1]}:…}}"
    return "expected references such as ${model.cell}, got one that leads nowhere"


def _first_sentence(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__
