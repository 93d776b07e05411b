"""Which part of the audio a word depends on: |∂ log p(word) / ∂ features| over time and frequency.

Simonyan, Vedaldi & Zisserman 2013 ("Deep inside convolutional networks"), with features for pixels. A word's
probability is the one that its confidence is: the product of its tokens', each in the frame where it is likeliest.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from asr.inspection.subjects import Place, Subject, exact_copy, logits_in_full
from asr.models.acoustic import AcousticModel
from asr.text.tokens import Tokenizer
from asr.types import Seconds

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class WordSaliency:
    """One word, where CTC wrote it, and what of the audio it depends on."""

    text: str
    start_frame: int  # output frames; CTC is free to write a word later than it is heard, and often does
    end_frame: int
    map: Floats  # (T, F): the absolute gradient by each feature

    def to_json(self, seconds_per_row: Seconds, frame_seconds: Seconds) -> dict[str, Any]:
        """A row of figures.json: times in seconds, shares of the whole map."""
        over_time = self.map.sum(axis=1)
        total = max(float(over_time.sum()), np.finfo(np.float64).tiny)
        rows = np.arange(len(over_time))
        first, last = (np.searchsorted(np.cumsum(over_time), share * total) for share in (0.05, 0.95))
        return {
            "word": self.text,
            "written": [self.start_frame * frame_seconds, self.end_frame * frame_seconds],
            "centre": float((over_time * (rows + 0.5)).sum() / total) * seconds_per_row,
            "nine_tenths": [float(first) * seconds_per_row, float(last + 1) * seconds_per_row],
            "over_time": (over_time / total).tolist(),
            "over_features": (self.map.sum(axis=0) / total).tolist(),
        }


def feature_gradients(model: AcousticModel, features: Tensor, words: Sequence[Sequence[Place]]) -> Floats:
    """∂ Σ log p(token at frame) / ∂ features, the sum over each word's places: (W, T, F), with its sign.

    Args:
        model: from `exact_copy`
        features: (T, F)
        words: of each the places of its tokens
    """
    inputs = features[None].to(model.output.weight.dtype).expand(len(words), -1, -1).clone().requires_grad_()
    lengths = torch.full((len(words),), len(features))
    frames = model.frontend(inputs, lengths)
    log_probs = logits_in_full(model, frames, model.frontend.num_output_frames(lengths))
    rows = [(row, place.frame, place.token) for row, places in enumerate(words) for place in places]
    (gradient,) = torch.autograd.grad(log_probs[tuple(zip(*rows))].sum(), inputs)
    gradients: Floats = gradient.numpy()
    return gradients


def word_saliency(model: AcousticModel, subject: Subject, tokenizer: Tokenizer) -> list[WordSaliency]:
    """The saliency of each word of the subject's best path, in order."""
    spans = [span for span in tokenizer.split_words(subject.runs.tokens.tolist()) if span.end > span.start]
    if not spans:
        return []
    places = [subject.places[span.start : span.end] for span in spans]
    maps = np.abs(feature_gradients(exact_copy(model), subject.features, places))
    return [
        WordSaliency(
            span.text, int(subject.runs.starts[span.start]), int(subject.runs.ends[span.end - 1]), maps[number]
        )
        for number, span in enumerate(spans)
    ]
