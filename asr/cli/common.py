"""What several commands share."""

import gc
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from asr.cli.decoding_options import DecodingOptions

if TYPE_CHECKING:
    from asr.recognizer import Recognizer

# Commands take the model as their first argument or as -m, as `transcribe` does; `given_model` tells them apart.
ModelArgument = Annotated[
    Path | None,
    typer.Argument(metavar="MODEL", help="Such as runs/digits/model; left out with -m.", show_default=False),
]
ModelOption = Annotated[
    Path | None,
    typer.Option("--model", "-m", help="The model; then every argument is an input.", show_default=False),
]
WORDS_SHOWN = 5
MaxUnusableShare = Annotated[
    float | None,
    typer.Option(
        min=0.0,
        max=1.0,
        help="Share of the utterances that may be left out because their audio cannot be read or is shorter than "
        "stated; more is an error. By default as data.max_unusable_share in training.",
        show_default=False,
    ),
]
Device = Annotated[str, typer.Option(help="auto, cpu or cuda; auto takes a GPU when there is one.")]


@contextmanager
def importing() -> Iterator[None]:
    """Import heavy modules without looking for garbage: all the objects that they make stay.

    Going through these again and again takes a quarter of the start of a training.
    """
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def unusable_share(option: float | None) -> float:
    """The share that --max-unusable-share allows."""
    from asr.data.findings import MAX_UNUSABLE_SHARE

    return MAX_UNUSABLE_SHARE if option is None else option


def tell_left_out(name: str, left_out: Mapping[str, str], num_utterances: int) -> None:
    """Say on standard error which utterances of a set were left out because of their audio, and why."""
    if left_out:
        typer.echo(f"{name}: {len(left_out)} of {num_utterances} utterances left out:", err=True)
        for id, reason in list(left_out.items())[:WORDS_SHOWN]:
            typer.echo(f"  {id}: {reason}", err=True)
        if len(left_out) > WORDS_SHOWN:
            typer.echo(f"  … and {len(left_out) - WORDS_SHOWN} more", err=True)


def find_model(path: Path) -> Path:
    """The model directory that a path means: itself, or the one in it where it is the directory of a run."""
    from asr.model_directory import find_model  # imports torch

    return find_model(path)


def given_model(option: Path | None, *arguments: Path | None) -> tuple[Path, list[Path]]:
    """The model and the inputs: without -m the model is the first argument, with it all arguments are inputs.

    Raises:
        ConfigError: there is no model, or there are two.
        ModelError: it is no directory.
    """
    from asr.errors import ConfigError

    inputs = [argument for argument in arguments if argument is not None]
    if option is None:
        if not inputs:
            raise ConfigError("expected a model directory, as the first argument or after -m, got none")
        return _directory(inputs[0]), inputs[1:]
    if inputs and inputs[0].is_dir() and (find_model(inputs[0]) / "config.json").is_file():
        raise ConfigError(f"expected one model, got {option} after -m and {inputs[0]} as the first argument")
    return _directory(option), inputs


def _directory(path: Path) -> Path:
    from asr.errors import ModelError

    if not path.is_dir():
        what = "is a file" if path.exists() else "does not exist"
        raise ModelError(f"expected a model directory, as the first argument or after -m, got {path}, which {what}")
    return find_model(path)


def only_input(inputs: list[Path], what: str) -> Path:
    """The one input of a command; what: for the error, such as "a manifest"."""
    from asr.errors import ConfigError

    if len(inputs) != 1:
        got = ", ".join(map(str, inputs)) or "none"
        raise ConfigError(f"expected {what} beside the model, got {got}")
    return inputs[0]


def refuse_replacing(directory: Path, names: Iterable[str], inputs: Iterable[Path]) -> None:
    """Find out before the work that the files `names` cannot be written into a directory, or would replace an input."""
    from asr.files import check_output, check_output_directory, refuse_same_file

    read = list(inputs)
    for name in names:
        if name.endswith("/"):
            check_output_directory(directory / name)
        else:
            check_output(directory / name)
            refuse_same_file(directory / name, read)


def load(model: Path, device: str, decoding: DecodingOptions | None = None) -> "Recognizer":
    """Load a model on the device asked for, with its own decoder where the options do not say otherwise."""
    with importing():
        from asr.builders import load_model, read_decoding

    own = read_decoding(model)
    options = decoding or DecodingOptions()
    config = options.apply(own)
    if options.uses_defaults(own):
        typer.echo(
            f"the model is not tuned for a language model: lm_weight {config.lm_weight:g}, word_bonus "
            f"{config.word_bonus:g}; `asr tune` finds better ones, --lm-weight and --word-bonus set them",
            err=True,
        )
    recognizer = load_model(model, pick_device(device), config)
    if options.lexicon is not None:
        warn_of_left_out(recognizer)
    return recognizer


def warn_of_left_out(recognizer: "Recognizer") -> None:
    """Say which words of a beam search's lexicon the model can never write."""
    from asr.decoding.beam import BeamDecoder

    assert isinstance(recognizer.decoder, BeamDecoder)
    if left_out := recognizer.decoder.space.left_out:
        shown = ", ".join(map(repr, left_out[:WORDS_SHOWN])) + (" …" if len(left_out) > WORDS_SHOWN else "")
        typer.echo(f"left out of the lexicon, as the model cannot write them: {len(left_out)} words, {shown}", err=True)


def pick_device(device: str) -> str:
    """The device asked for, `auto` resolved; raises `ConfigError` for one that is not there."""
    import torch

    from asr.errors import ConfigError

    if device not in ("auto", "cpu", "cuda"):
        raise ConfigError(f"--device: expected auto, cpu or cuda, got {device!r}")
    if device == "cuda" and not torch.cuda.is_available():
        raise ConfigError("--device: expected a CUDA device for cuda, found none; use --device cpu")
    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    return device
