"""Speech recognition with deep bidirectional LSTMs and CTC.

>>> import asr
>>> model = asr.load_model("runs/digits/model")  # doctest: +SKIP
>>> model.transcribe("call.wav").text  # doctest: +SKIP
'three one nine'
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from asr.config import DecodingConfig
    from asr.recognizer import Recognizer

__all__ = ["__version__", "load_model"]
__version__ = "0.1.0"


def load_model(
    path: str | Path, device: str = "cpu", decoding: DecodingConfig | Mapping[str, Any] | None = None
) -> Recognizer:
    """Load a model directory, ready to transcribe; see `asr.recognizer.Recognizer`. Nothing in it is executed.

    Args:
        path: the directory, or that of the run which it lies in.
        device: cpu, cuda, or another of torch's.
        decoding: how its output becomes text, where that is not to be as the model directory says: a whole
            `asr.config.DecodingConfig`, or some of its options by name.

    Raises:
        asr.errors.ModelError: the directory is damaged or incomplete.
        asr.errors.ConfigError: an option of `decoding` is unknown, out of range, or does nothing beside the others.

    Example:
        >>> model = load_model("runs/digits", decoding={"name": "beam", "nbest": 5})  # doctest: +SKIP
        >>> model.transcribe("call.wav").alternatives[0].text  # doctest: +SKIP
        'three one five'
    """
    from asr.builders import load_model  # torch takes two seconds to import

    return load_model(path, device, decoding)
