"""Augmentation: speed, reverberation and noise on waveforms, SpecAugment on features.

What happens to an utterance depends on (seed, epoch, index) alone, never on the batch, the order or the worker that
handles it, so a run repeats exactly with any number of workers.
"""

from asr.augment.reverberation import RecordedRooms, Reverberation, Rooms, SynthesisedRooms, reverberate
from asr.augment.spec_augment import SpecAugment, masked
from asr.augment.streams import (
    MASK_STREAM,
    NOISE_STREAM,
    REVERBERATION_STREAM,
    SOUND_STREAM,
    SPEED_STREAM,
    utterance_rng,
)
from asr.augment.surroundings import NOBODY, Surroundings, SurroundingsPlanner, fill_pause, join, other_sounds
from asr.augment.waveforms import (
    AdditiveNoise,
    Recordings,
    change_speed,
    draw_speeds,
    mean_power,
    num_samples_at_speed,
    stretch_of,
)

__all__ = [
    "MASK_STREAM",
    "NOBODY",
    "NOISE_STREAM",
    "REVERBERATION_STREAM",
    "SOUND_STREAM",
    "SPEED_STREAM",
    "AdditiveNoise",
    "RecordedRooms",
    "Recordings",
    "Reverberation",
    "Rooms",
    "SpecAugment",
    "Surroundings",
    "SurroundingsPlanner",
    "SynthesisedRooms",
    "change_speed",
    "draw_speeds",
    "fill_pause",
    "join",
    "masked",
    "mean_power",
    "num_samples_at_speed",
    "other_sounds",
    "reverberate",
    "stretch_of",
    "utterance_rng",
]
