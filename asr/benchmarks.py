"""Test sets by name: `librispeech/test-clean`, `commonvoice/de/test`.

A name is a recipe, what the recipe wants to know (a language), and one of the test sets of its config:
`RECIPE[/OPTION]/SET`. What stands in the middle is given to the option that the recipe's prepare.py calls
`BENCHMARK_OPTION`. A variant of a recipe's corpus goes by the variant's name: `speechocean762_subset/test`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from asr.config import Config
from asr.errors import ConfigError, ManifestError
from asr.recipe import load_recipe

Compose = Callable[[str, Sequence[str]], Config]  # a recipe and overrides -> its config


@dataclass(frozen=True, slots=True)
class Benchmark:
    """A prepared test set."""

    name: str
    manifest: Path


def resolve_benchmarks(
    names: Sequence[str], recipes: Sequence[str], variants: Sequence[str], compose: Compose
) -> list[Benchmark]:
    """Find the manifests of test sets that `asr prepare` has made.

    Args:
        names: such as "librispeech/test-clean"
        recipes: the names of all recipes
        variants: the names of all corpora, recipes' own and variants
        compose: makes the config of a recipe

    Raises:
        ConfigError: a name that cannot be resolved; says what there is.
        ManifestError: sets that are not prepared; names all of them, each with the command that prepares it.
    """
    found = [_Name.parse(name, recipes, variants).find(compose) for name in dict.fromkeys(names)]
    missing = [item for item in found if isinstance(item, _Missing)]
    if missing:
        listing = "\n".join(f"  {item.name}: {item.advice}" for item in missing)
        raise ManifestError(f"these benchmarks are not prepared here:\n{listing}")
    return [item for item in found if isinstance(item, Benchmark)]


@dataclass(frozen=True, slots=True)
class _Missing:
    name: str
    advice: str


@dataclass(frozen=True, slots=True)
class _Name:
    """The parts of a benchmark's name."""

    full: str
    recipe: str
    overrides: tuple[str, ...]
    set: str

    @classmethod
    def parse(cls, name: str, recipes: Sequence[str], variants: Sequence[str]) -> _Name:
        corpus, *middle, last = name.split("/") if "/" in name else (name, "")
        recipe = _recipe_of(corpus, recipes, variants)
        if recipe is None:
            raise ConfigError(f"benchmark {name!r}: expected a corpus before the first /, one of {', '.join(variants)}")
        overrides: tuple[str, ...] = () if corpus == recipe else (f"data={corpus}",)
        option = load_recipe(recipe).benchmark_option
        if option and len(middle) == 1 and middle[0]:
            overrides += (f"data.options.{option}={middle[0]}",)
        elif option or middle:
            form = f"{recipe}/{option.upper()}/SET" if option else f"{corpus}/SET"
            raise ConfigError(f"benchmark {name!r}: expected the form {form}")
        return cls(name, recipe, overrides, last)

    def find(self, compose: Compose) -> Benchmark | _Missing:
        config = compose(self.recipe, self.overrides)
        if self.set not in config.data.test:
            sets = ", ".join(f"{self.full.rpartition('/')[0] or self.full}/{name}" for name in config.data.test)
            raise ConfigError(f"benchmark {self.full!r}: there is no such set; there are {sets or 'none'}")
        manifest = Path(config.data.test[self.set])
        if manifest.is_file():
            return Benchmark(self.full, manifest)
        command = " ".join(["asr prepare", self.recipe, *self.overrides])
        return _Missing(self.full, f"expected {manifest}; `{command}` makes it (recipes/{self.recipe}/README.md)")


def _recipe_of(corpus: str, recipes: Sequence[str], variants: Sequence[str]) -> str | None:
    """The recipe of a corpus: of its own name, or that its name begins with, as `librispeech_subset`'s does."""
    if corpus in recipes:
        return corpus
    owners = [recipe for recipe in recipes if corpus in variants and corpus.startswith(f"{recipe}_")]
    return max(owners, key=len, default=None)
