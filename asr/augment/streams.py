"""Streams of random numbers for one utterance: each use has its own, so that switching one off leaves the others alone.

The numbers of other streams stand in asr/data, asr/training and asr/language_experiment.py.
"""

from __future__ import annotations

import numpy as np

SPEED_STREAM, NOISE_STREAM, MASK_STREAM, REVERBERATION_STREAM = 1, 2, 3, 8
SURROUNDINGS_STREAM, SOUND_STREAM = 9, 10


def utterance_rng(seed: int, epoch: int, index: int, stream: int) -> np.random.Generator:
    """The random generator for one use in one utterance in one epoch."""
    return np.random.default_rng((seed, epoch, index, stream))
