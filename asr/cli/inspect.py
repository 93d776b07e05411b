"""`asr inspect`: a look inside a model."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from asr.cli.common import ModelArgument, ModelOption, given_model, load, only_input, refuse_replacing
from asr.cli.decoding_options import DecodingOptions

if TYPE_CHECKING:
    from asr.inspection.report import Inspection
    from asr.models.acoustic import AcousticModel
    from asr.recognizer import Recognizer
    from asr.types import Utterance


def inspect(
    model: ModelArgument = None,
    audio: Annotated[
        Path | None, typer.Argument(metavar="AUDIO", help="A recording, or a manifest (.jsonl).", show_default=False)
    ] = None,
    model_option: ModelOption = None,
    output_dir: Annotated[
        Path | None,
        typer.Option(
            "-o",
            "--output-dir",
            help="Without it: inspect/<name of the input> beside the model directory.",
            show_default=False,
        ),
    ] = None,
    utterances: Annotated[int, typer.Option(min=1, help="Of a manifest: so many, from all over it.")] = 30,
    pictures: Annotated[int, typer.Option(min=0, help="Utterances with pictures of their own.")] = 3,
    tokens: Annotated[int, typer.Option(min=1, help="Of an utterance: those whose gradients are taken.")] = 10,
    seed: Annotated[
        int | None, typer.Option(help="Of the weights before training.", show_default="the run's, else 1")
    ] = None,
) -> None:
    """Look inside a model: pictures, and the figures behind them.

    reach.png: how far gradients reach, before training and after it. gates.png: how much of the time gates are shut or
    open, by layer. gradients.png: the norm of the gradient by layer through training, where the run recorded it. For a
    few utterances NAME.posteriors.png, what the model says of each frame and where its tokens lie, and
    NAME.saliency.png, which part of the audio each word depends on. figures.json has all of it in numbers.

    Computes on the CPU, in float64 where gradients are taken. docs/inspection.md says how to read the pictures.

    [bold]Examples[/]

        asr inspect runs/digits/model call.wav

        asr inspect runs/digits/model data/digits-fsdd/test-strings.jsonl -o inside --utterances 100
    """
    import sys

    from asr.inspection.report import FIGURES, Extent, read_history
    from asr.inspection.report import inspect as look_inside

    model, inputs = given_model(model_option, model, audio)
    audio = only_input(inputs, "a recording or a manifest")
    run_dir = model.resolve().parent
    directory = output_dir or run_dir / "inspect" / audio.stem
    refuse_replacing(directory, [FIGURES], inputs)
    chosen = select(str(audio), utterances)
    recognizer = load(model, "cpu", DecodingOptions(decoder="greedy"))
    inspection = look_inside(
        recognizer,
        freshly_initialized(model, recognizer, run_seed(run_dir) if seed is None else seed),
        chosen,
        directory,
        Extent(tokens, pictures),
        name=run_dir.name,
        history=read_history(run_dir),
        show_progress=sys.stderr.isatty(),
    )
    show(inspection, directory)


def select(audio: str, number: int) -> list[Utterance]:
    """The utterances to look at: the recording, or at most `number` from all over a manifest."""
    from asr.audio import probe
    from asr.data.manifest import read_manifest
    from asr.errors import ManifestError
    from asr.types import Utterance

    if Path(audio).suffix not in (".jsonl", ".json"):
        return [Utterance(Path(audio).stem, audio, probe(audio).duration or 0.0, text="")]
    listed = read_manifest(audio)
    if not listed:
        raise ManifestError(f"{audio}: expected utterances to look into, got none")
    return listed[:: max(1, len(listed) // number)][:number]


def run_seed(run_dir: Path) -> int:
    """The seed of the run that a model directory lies in; 1, the default of runs, where it lies in none."""
    import json

    from asr.errors import ConfigError
    from asr.training.run_directory import CONFIG

    path = run_dir / CONFIG
    if not path.is_file():
        return 1
    try:
        seed = json.loads(path.read_text(encoding="utf-8"))["seed"]
    except (ValueError, KeyError, TypeError) as error:
        raise ConfigError(f"{path}: expected a run's config with its seed; give --seed") from error
    if type(seed) is not int:
        raise ConfigError(f"{path}: expected an integer seed, got {seed!r}; give --seed")
    return seed


def freshly_initialized(model: Path, recognizer: Recognizer, seed: int) -> AcousticModel:
    """The architecture of the model in a directory, with the weights that a run of this seed begins with."""
    import torch

    from asr.builders import build_model
    from asr.config import ModelConfig, from_json
    from asr.model_directory import read_config

    config = from_json(ModelConfig, read_config(model)["model"], f"{model}/config.json: model")
    torch.manual_seed(seed)
    return build_model(config, recognizer.features.num_features, recognizer.tokenizer.vocab_size).eval()


def show(inspection: Inspection, directory: Path) -> None:
    """Print what the pictures say."""
    from rich.console import Console

    console = Console()
    for when, reach in inspection.reaches.items():
        console.print(f"[bold]{when}[/]", highlight=False)
        for side in ("past", "future"):
            console.print(f"  {reach.sentence(side)}", highlight=False)
    console.print(f"written: {directory}/{', '.join(inspection.written)}", highlight=False, soft_wrap=True)
