"""Speech recognition with deep bidirectional LSTMs and CTC.

>>> import asr
>>> model = asr.load_model("runs/digits/model")  # doctest: +SKIP
>>> model.transcribe("call.wav").text  # doctest: +SKIP
'three one nine'
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from asr.recognizer import Recognizer

__all__ = ["__version__", "load_model"]
__version__ = "0.1.0"


def load_model(path: str | Path, device: str = "cpu") -> Recognizer:
    """Load a model directory, ready to transcribe; see `asr.recognizer.Recognizer`.

    Nothing in the directory is executed. Raises `asr.errors.ModelError` for one that is damaged or incomplete.
    """
    from asr.builders import load_model  # torch takes two seconds to import

    return load_model(path, device)
