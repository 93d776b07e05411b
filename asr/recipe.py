"""Recipes: a folder each under `recipes/`, with a prepare.py that makes the corpus's manifests."""

import importlib.util
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar, cast

from asr.errors import ConfigError
from asr.resources import resource_directory

# prepare(name, options, out_dir, asr_data): see recipes/digits/prepare.py
Prepare = Callable[[str, Mapping[str, object], Path, Path | None], None]
Options = TypeVar("Options")


@dataclass(frozen=True, slots=True)
class RecipeCode:
    """A recipe's own code."""

    directory: Path
    prepare: Prepare
    benchmark_option: str = ""  # the option that stands in the middle of a benchmark's name, see asr/benchmarks.py


def load_recipe(name: str) -> RecipeCode:
    """Load `recipes/<name>/prepare.py`, which may import its neighbours relatively."""
    directory = resource_directory("recipes") / name
    if not is_prepared(name):
        raise ConfigError(f"the recipe {name!r} has no prepare.py: nothing to prepare, train on your manifests")
    package = f"asr_recipe_{name}"
    _load(package, directory / "__init__.py", is_package=True)
    module = _load(f"{package}.prepare", directory / "prepare.py", is_package=False)
    return RecipeCode(directory, module.prepare, getattr(module, "BENCHMARK_OPTION", ""))


def is_prepared(name: str) -> bool:
    """Whether a recipe makes manifests; else it trains on the user's own."""
    return (resource_directory("recipes") / name / "prepare.py").is_file()


def parse_options(kind: type[Options], options: Mapping[str, object]) -> Options:
    """A recipe's `data.options` as a dataclass whose fields all have defaults: by name and of the right type.

    A field that holds a tuple takes a list of strings. Raises `ConfigError` that names the option that is wrong.
    """
    defaults = kind()
    known = {field.name: type(getattr(defaults, field.name)) for field in fields(cast("Any", kind))}
    values: dict[str, Any] = {}
    for name, value in options.items():
        if name not in known:
            raise ConfigError(f"data.options: unknown option {name!r}; expected {', '.join(known) or 'none'}")
        if known[name] is tuple and isinstance(value, list) and all(isinstance(item, str) for item in value):
            values[name] = tuple(value)
        elif type(value) is known[name]:
            values[name] = value
        else:
            expected = "a list of strings" if known[name] is tuple else known[name].__name__
            raise ConfigError(f"data.options.{name}: expected {expected}, got {value!r}")
    return kind(**values)


def _load(name: str, path: Path, is_package: bool) -> ModuleType:
    if name in sys.modules:
        return sys.modules[name]
    locations = [str(path.parent)] if is_package else None
    spec = importlib.util.spec_from_file_location(name, path, submodule_search_locations=locations)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module
