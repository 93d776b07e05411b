"""`asr prepare`: make a recipe's manifests."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from asr.config import Config

Recipe = Annotated[str, typer.Argument(help="A recipe: digits, mini_english, …", show_default=False)]
Overrides = Annotated[
    list[str] | None, typer.Argument(metavar="[KEY=VALUE]…", help="Config overrides.", show_default=False)
]


def prepare(recipe: Recipe, overrides: Overrides = None) -> None:
    """Prepare a recipe's corpus: fetch or find it, and write manifests.

    Corpora on disk are found through the environment variable ASR_DATA. What is there whole, made from the same
    options, is left as it is.

    [bold]Examples[/]

        asr prepare digits

        asr prepare digits data=fsdd
    """
    from asr.cli.compose import compose_recipe

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
    inputs = {
        "name": config.data.name,
        "options": to_json(config.data)["options"],
        "recipe": hash_files(sorted(recipe.directory.glob("*.py"))),
    }
    # What the options made, which may be less than the config trains on: one test set, for a benchmark.
    if stage.is_done(inputs) and whole_manifests(made_manifests(directory)):
        return False
    typer.echo(f"preparing {config.recipe} ({config.data.name}) in {directory}")
    asr_data = os.environ.get("ASR_DATA")
    recipe.prepare(config.data.name, config.data.options, directory, Path(asr_data) if asr_data else None)
    stage.finish(inputs, outputs=made_manifests(directory))
    return True


def made_manifests(directory: Path) -> list[Path]:
    """The manifests in a prepared folder."""
    return sorted(directory.glob("*.jsonl"))
