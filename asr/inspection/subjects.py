"""What is inspected: utterances with their features, what the model says of them, and where its tokens lie."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from asr.audio import read_audio
from asr.decoding.alignment import TokenRuns, tempered_log_probs, token_runs
from asr.errors import AudioError
from asr.features import Filterbank
from asr.models.acoustic import AcousticModel
from asr.progress import track
from asr.recognizer import Recognizer
from asr.types import Seconds, Utterance


@dataclass(frozen=True, slots=True)
class Place:
    """A token and the output frame in which it is likeliest inside its run."""

    frame: int
    token: int


@dataclass(frozen=True, slots=True, eq=False)
class Subject:
    """One utterance as the model sees it, and what it makes of it by the best path."""

    utterance: Utterance
    duration: Seconds
    text: str  # of the best path
    row_seconds: Seconds  # from one row of features to the next
    features: Tensor  # (T, F) float32
    mel_hz: NDArray[np.float32] | None  # (F,) centres of the filters; None where the features are no log-mel alone
    posteriors: NDArray[np.float32]  # (T', V) probabilities
    runs: TokenRuns  # the tokens of the best path
    places: tuple[Place, ...]  # one for each of them


def exact_copy(model: AcousticModel) -> AcousticModel:
    """The model in float64 on the CPU, without dropout: gradients over hundreds of frames need the digits."""
    return copy.deepcopy(model).cpu().double().eval()


def logits_in_full(model: AcousticModel, frames: Tensor, lengths: Tensor) -> Tensor:
    """(B, T', input_size) inputs of the recurrent stack -> (B, T', V) log-probabilities in the model's own type.

    `AcousticModel.forward` brings its logits to float32, of which a confident token's gradient, 1 − p, keeps little.
    """
    return torch.log_softmax(model.output(model.encoder(frames, lengths)), dim=-1)


def read_subjects(recognizer: Recognizer, utterances: Sequence[Utterance], show_progress: bool) -> list[Subject]:
    """Run the model on each utterance by itself.

    Raises:
        AudioError: audio that cannot be read, or is longer than the model sees at once.
    """
    return [_read(recognizer, utterance) for utterance in track(utterances, "reading", shown=show_progress)]


def _read(recognizer: Recognizer, utterance: Utterance) -> Subject:
    rate = recognizer.sample_rate
    audio = read_audio(utterance.audio_filepath, rate, offset=utterance.offset, duration=utterance.duration or None)
    longest_seconds = recognizer.window_frames * recognizer.samples_per_frame / rate
    duration = len(audio.waveform) / rate
    if duration > longest_seconds:
        raise AudioError(
            f"{utterance.audio_filepath}: expected at most {longest_seconds:.0f} s to look into, which the model sees "
            f"at once, got {duration:.1f} s; name a part in a manifest, by its offset and duration"
        )
    waveforms = torch.from_numpy(audio.waveform)[None]
    with torch.inference_mode():
        features, lengths = recognizer.features(waveforms, torch.tensor([len(audio.waveform)]))
        log_probs = recognizer.model(features, lengths).log_probs[0]
    labels = log_probs.argmax(dim=-1).numpy()
    confidences = tempered_log_probs(log_probs.numpy(), labels, 1.0)
    runs = token_runs(labels, confidences, recognizer.tokenizer.blank_id)
    return Subject(
        utterance=utterance,
        duration=duration,
        text=recognizer.tokenizer.decode(runs.tokens.tolist()),
        row_seconds=recognizer.features.frame_shift_samples / rate,
        features=features[0].clone(),
        mel_hz=_mel_hz(recognizer.features),
        posteriors=log_probs.exp().numpy(),
        runs=runs,
        places=_places(runs, confidences),
    )


def _mel_hz(features: Filterbank) -> NDArray[np.float32] | None:
    if features.name != "logmel" or features.use_energy or features.deltas:
        return None
    # The filters' rows stand there twice, and columns of zeros behind them.
    highest = features.filters[:, : features.num_features].argmax(dim=0) // 2
    hertz: NDArray[np.float32] = (highest.float() * features.sample_rate / features.fft_size).cpu().numpy()
    return hertz


def _places(runs: TokenRuns, log_confidences: NDArray[np.float32]) -> tuple[Place, ...]:
    return tuple(
        Place(int(start) + int(log_confidences[start:end].argmax()), int(token))
        for token, start, end in zip(runs.tokens, runs.starts, runs.ends, strict=True)
    )


def spread(places: Sequence[Place], number: int) -> list[Place]:
    """At most `number` of the places, from all over the utterance."""
    if len(places) <= number:
        return list(places)
    return [places[index] for index in np.linspace(0, len(places) - 1, number).round().astype(int)]
