"""A recipe's name and overrides -> config."""

from collections.abc import Sequence

from hydra import compose, initialize_config_dir
from hydra.errors import HydraException
from omegaconf.errors import OmegaConfBaseException

from asr.config import Config, register, resolve
from asr.errors import ConfigError
from asr.resources import resource_directory


def recipe_names() -> list[str]:
    """Every recipe there is."""
    return _names("recipe")


def corpus_names() -> list[str]:
    """Every corpus there is: those of recipes, and variants of them."""
    return _names("data")


def _names(group: str) -> list[str]:
    return sorted(path.stem for path in (resource_directory("configs") / group).glob("*.yaml"))


def compose_recipe(recipe: str, overrides: Sequence[str]) -> Config:
    """The resolved config of a recipe with `key=value` overrides."""
    if recipe not in recipe_names():
        raise ConfigError(f"expected a recipe, one of {', '.join(recipe_names())}; got {recipe!r}")
    register()
    with initialize_config_dir(str(resource_directory("configs")), version_base="1.3"):
        try:
            return resolve(compose("config", overrides=[f"+recipe={recipe}", *overrides]), Config)
        except (HydraException, OmegaConfBaseException) as error:
            raise ConfigError(explain(error)) from error


def explain(error: Exception) -> str:
    """Hydra's message without its internals."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    inner = str(error.__cause__).splitlines()[0] if error.__cause__ else ""
    return "; ".join(dict.fromkeys(filter(None, [*lines[:2], inner])))
