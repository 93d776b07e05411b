"""What several test files use. Speech is imitated by tones: one pitch a letter."""

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch

from asr.audio import write_audio
from asr.data.manifest import write_manifest
from asr.types import Utterance

SAMPLE_RATE = 8000
LETTER_SECONDS = 0.12

needs_real_speech = pytest.mark.skipif("ASR_DATA" not in os.environ, reason="real speech: set ASR_DATA to its folder")


FLOAT32_EPSILON = 2.0**-23


def rounding(*values: torch.Tensor, terms: int) -> float:
    """How far apart two float32 computations of the values may lie that sum their terms in another order.

    Processors and shapes differ in nothing else. A term rounds by half of float32's epsilon, relative to the sum it
    joins, in both computations; the size of the sums is that of the largest value, or 1, since sums may cancel.

    Args:
        values: results of the computation, of any shape.
        terms: number of terms on the way from the input to one value: those of each product, of all layers together.
    """
    size = max([1.0, *(float(value.detach().abs().max()) for value in values if value.numel())])
    return terms * FLOAT32_EPSILON * size


def real_data() -> Path:
    """The folder of real speech; only inside tests marked `needs_real_speech`."""
    return Path(os.environ["ASR_DATA"]).resolve()


def sing(text: str, rng: np.random.Generator) -> np.ndarray:
    """A waveform in which each letter is a tone of its own pitch, and a space is silence, over faint noise."""
    letter_samples = int(LETTER_SECONDS * SAMPLE_RATE)
    time = np.arange(letter_samples) / SAMPLE_RATE
    envelope = np.hanning(letter_samples)
    pitches = [0.0 if letter == " " else 300.0 + 120.0 * (ord(letter) - ord("a")) for letter in text]
    tones = [0.3 * envelope * np.sin(2 * np.pi * pitch * time) for pitch in pitches]
    waveform = np.concatenate([np.zeros(800), *tones, np.zeros(800)])
    return (waveform + 0.001 * rng.standard_normal(len(waveform))).astype(np.float32)


def sung_corpus(directory: Path, name: str, texts: Sequence[str], seed: int = 0) -> Path:
    """Write a manifest of sung texts with their audio; returns its path."""
    rng = np.random.default_rng(seed)
    utterances = []
    for number, text in enumerate(texts):
        waveform = sing(text, rng)
        path = directory / "audio" / f"{name}-{number}.wav"
        path.parent.mkdir(parents=True, exist_ok=True)
        write_audio(path, waveform, SAMPLE_RATE)
        utterances.append(
            Utterance(f"{name}-{number}", str(path), len(waveform) / SAMPLE_RATE, text, speaker=f"s{number % 3}")
        )
    manifest = directory / f"{name}.jsonl"
    write_manifest(manifest, utterances)
    return manifest
