"""What several commands share."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from asr.recognizer import Recognizer

ModelDirectory = Annotated[Path, typer.Argument(help="Such as runs/digits/model.", show_default=False)]
Device = Annotated[str, typer.Option(help="auto, cpu or cuda; auto takes a GPU when there is one.")]


def load(model: Path, device: str) -> "Recognizer":
    """Load a model on the device asked for."""
    import torch

    from asr.builders import load_model
    from asr.errors import ConfigError

    if device not in ("auto", "cpu", "cuda"):
        raise ConfigError(f"--device: expected auto, cpu or cuda, got {device!r}")
    if device == "cuda" and not torch.cuda.is_available():
        raise ConfigError("--device: expected a CUDA device for cuda, found none; use --device cpu")
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    return load_model(model, device)
