"""Audio that all formats point at."""

import numpy as np
import pytest
from exchange_files import RATE

from asr.audio import write_audio


@pytest.fixture(scope="module")
def audio(tmp_path_factory):
    """Three recordings of 1, 2 and 3 seconds; one lies in a folder with a space and an umlaut."""
    folder = tmp_path_factory.mktemp("audio")
    paths = [folder / "one.wav", folder / "zwölf töne" / "two.wav", folder / "three.flac"]
    for seconds, path in enumerate(paths, start=1):
        path.parent.mkdir(exist_ok=True)
        write_audio(path, np.zeros(seconds * RATE, np.float32), RATE)
    return [str(path) for path in paths]
