"""`asr prepare`: make a recipe's manifests."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from asr.config import Config

Recipe = Annotated[str, typer.Argument(help="A recipe: digits, mini_english, …", show_default=False)]
# Options that say where a corpus comes from, not what becomes of it.
ORIGINS = frozenset(["corpus_dir", "mirror", "url", "sha256"])
Overrides = Annotated[
    list[str] | None, typer.Argument(metavar="[KEY=VALUE]…", help="Config overrides.", show_default=False)
]


def prepare(recipe: Recipe, overrides: Overrides = None) -> None:
    """Prepare a recipe's corpus: fetch or find it, and write manifests.

    Corpora on disk are found through the environment variable ASR_DATA, or where +data.options.corpus_dir says. What
    is there whole, made from the same options, is left as it is; an option that says where the corpus is need not be
    given again.

    [bold]Examples[/]

        asr prepare digits

        asr prepare digits data=fsdd

        asr prepare timit +data.options.corpus_dir=/corpora/TIMIT
    """
    from asr.cli.compose import CUSTOM, compose_recipe
    from asr.errors import ConfigError

    if recipe == CUSTOM:
        raise ConfigError(
            "expected a recipe that prepares a corpus, got custom, which trains on manifests that are there"
        )
    config = compose_recipe(recipe, overrides or [])
    if not prepare_stage(config):
        typer.echo(f"nothing to do: {config.data.dir} is whole and its options are unchanged")


def prepare_stage(config: "Config") -> bool:
    """Prepare the corpus of a config unless that is done; returns whether there was anything to do."""
    import os

    from asr.cli.stages import Stage, hash_files, whole_manifests
    from asr.config import to_json
    from asr.recipe import load_recipe

    recipe = load_recipe(config.recipe)
    directory = Path(config.data.dir)
    stage = Stage(directory / "prepared.json")
    options = to_json(config.data)["options"]
    made_by = {"name": config.data.name, "recipe": hash_files(sorted(recipe.directory.glob("*.py")))}
    # What the options made, which may be less than the config trains on: one test set, for a benchmark.
    if stage.is_done(made_by | {"options": _recorded_origin(stage.stamp) | options}) and whole_manifests(
        made_manifests(directory)
    ):
        return False
    typer.echo(f"preparing {config.recipe} ({config.data.name}) in {directory}")
    asr_data = os.environ.get("ASR_DATA")
    recipe.prepare(config.data.name, config.data.options, directory, Path(asr_data) if asr_data else None)
    stage.finish(made_by | {"options": options}, outputs=made_manifests(directory))
    _tell(made_manifests(directory))
    return True


def _recorded_origin(stamp: Path) -> dict[str, Any]:
    """Where the corpus came from when it was prepared, which holds on unless the options say otherwise."""
    try:
        options = json.loads(stamp.read_text(encoding="utf-8"))["inputs"]["options"]
    except (OSError, ValueError, KeyError):
        return {}
    return {name: options[name] for name in ORIGINS & options.keys()}


def _tell(manifests: list[Path]) -> None:
    from asr.data.manifest import read_manifest

    for manifest in manifests:
        utterances = read_manifest(manifest)
        hours = sum(utterance.duration for utterance in utterances) / 3600
        typer.echo(f"  {manifest.name}: {len(utterances):,} utterances, {hours:.2f} hours")


def made_manifests(directory: Path) -> list[Path]:
    """The manifests in a prepared folder."""
    return sorted(directory.glob("*.jsonl"))
