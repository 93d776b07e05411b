"""What several commands share."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from asr.cli.decoding_options import DecodingOptions

if TYPE_CHECKING:
    from asr.recognizer import Recognizer

ModelDirectory = Annotated[Path, typer.Argument(help="Such as runs/digits/model.", show_default=False)]
WORDS_SHOWN = 5
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
