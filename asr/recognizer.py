"""A loaded model: audio in, `Transcript` out, in bounded memory however long the recording."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from asr.audio import Source, from_array, open_audio
from asr.decoding.word_times import SoundLevels, sound_levels, words_in_sound
from asr.features import Filterbank
from asr.models.acoustic import AcousticModel, Emissions
from asr.text.normalize import Case
from asr.text.tokens import Tokenizer
from asr.types import Batch, Hypothesis, Seconds, Transcript

OnProgress = Callable[[Seconds, Seconds | None], None]
BLOCK_SECONDS = 10.0  # read at a time from a long recording
SEAM_SECONDS = 0.2  # of quiet that a seam between windows is looked for in


class DecoderStream(Protocol):
    """Log-probabilities of one recording piece by piece."""

    def accept(self, log_probs: Tensor) -> None:
        """Take the next (T, V) log-probabilities."""
        ...

    def finish(self) -> Hypothesis:
        """The hypothesis for everything accepted."""
        ...


class Decoder(Protocol):
    """What turns log-probabilities into hypotheses; see asr/decoding."""

    def describe(self) -> dict[str, object]:
        """Name and settings, for score.json."""
        ...

    def decode(self, log_probs: Tensor, lengths: Tensor, ids: Sequence[str]) -> list[Hypothesis]:
        """(B, T, V) log-probabilities and (B,) lengths -> one hypothesis for each utterance."""
        ...

    def stream(self, utterance: str) -> DecoderStream:
        """Begin one recording, named for messages, to be decoded piece by piece."""
        ...


@dataclass(frozen=True, slots=True)
class Window:
    """A stretch of a long recording: what the model sees, and which samples of it are its own to transcribe."""

    samples: NDArray[np.float32]
    own_start: int  # counted from the window's first sample
    own_end: int


class Recognizer:
    """Features, model, tokenizer and decoder that belong together.

    Recordings up to `window_seconds` are seen whole. Longer ones go through the model in windows that end where it is
    quietest in the second half of that length, so that seams lie in pauses. Each window sees `context_seconds` more on
    both sides than it transcribes, so that words at a seam without a pause have their surroundings, too; the decoder
    runs over the seams.

    ```
    recording  ───────────────────┬───────────────┬──────────────────────
    window 1   [own, to a pause   ][context]
    window 2             [context ][own           ][context]
    ```
    """

    def __init__(
        self,
        features: Filterbank,
        model: AcousticModel,
        tokenizer: Tokenizer,
        decoder: Decoder,
        *,
        case: Case = "lower",
        window_seconds: Seconds = 40.0,
        context_seconds: Seconds = 4.0,
    ) -> None:
        self.features = features
        self.model = model
        self.tokenizer = tokenizer
        self.decoder = decoder
        self.case = case  # of the transcripts it was trained on; references are brought to it before scoring
        self.samples_per_frame = features.frame_shift_samples * model.frontend.subsampling
        # Whole output frames, so that those of a window lie on the grid of the recording's.
        self.window_frames = max(1, round(window_seconds * features.sample_rate / self.samples_per_frame))
        self.context_frames = round(context_seconds * features.sample_rate / self.samples_per_frame)

    @property
    def sample_rate(self) -> int:
        """Of the audio that the model was trained on, in Hz; everything else is resampled to it."""
        return self.features.sample_rate

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        return self.model.output.weight.device

    @torch.inference_mode()
    def emissions(self, waveforms: Tensor, lengths: Tensor) -> Emissions:
        """(B, N) float32 waveforms and (B,) lengths in samples -> log-probabilities and their lengths in frames."""
        features, num_frames = self.features(waveforms, lengths)
        emissions: Emissions = self.model(features, num_frames)
        return emissions

    def sound_levels(self, samples: NDArray[np.float32]) -> SoundLevels:
        """The levels of (N,) samples at the rate of the features, by which words get their ends."""
        frame_samples = self.features.frame_shift_samples
        return SoundLevels(sound_levels(samples, frame_samples), frame_samples / self.sample_rate)

    def recognize(self, batch: Batch) -> list[Hypothesis]:
        """One hypothesis for each utterance of a batch."""
        batch = batch.to(self.device)
        log_probs, lengths = self.emissions(batch.waveforms, batch.waveform_lengths)
        return self.decoder.decode(log_probs, lengths, batch.ids)

    def transcribe(
        self,
        source: Source | NDArray[Any] | Tensor,
        *,
        sample_rate: int | None = None,
        channel: int | None = None,
        strict: bool = False,
        on_progress: OnProgress | None = None,
    ) -> Transcript:
        """Transcribe a path ("-" is standard input), a binary file object, or samples in an array or tensor.

        Args:
            source: what to transcribe; arrays and tensors, on any device, are (N,), (N, C) or (C, N), of a type that
                `asr.audio.from_array` takes or bfloat16.
            sample_rate: of an array or tensor, in Hz; None means the model's own.
            channel: the one to take, from 0; None takes the mean of all.
            strict: a file that is cut short or broken is an error instead of a warning.
            on_progress: called now and then with the seconds done and those of the whole, None where unknown.

        Raises:
            AudioError: the audio cannot be read.
        """
        if isinstance(source, Tensor):
            source = _as_array(source)
        if isinstance(source, np.ndarray):
            audio = from_array(source, sample_rate or self.sample_rate, self.sample_rate, channel=channel)
            return self._transcribe("the array", iter([audio.waveform]), lambda: audio.warnings)
        if sample_rate is not None:
            raise ValueError("expected sample_rate with an array or tensor only: a file says its own")
        with open_audio(source, self.sample_rate, channel=channel, strict=strict) as stream:
            return self._transcribe(
                stream.name,
                stream.blocks(BLOCK_SECONDS),
                lambda: stream.warnings,
                None if on_progress is None else lambda done: on_progress(done, stream.info.duration),
            )

    def _transcribe(
        self,
        name: str,
        blocks: Iterator[NDArray[np.float32]],
        warnings: Callable[[], tuple[str, ...]],
        tell: Callable[[Seconds], None] | None = None,
    ) -> Transcript:
        decoder_stream = self.decoder.stream(name)
        num_samples = 0
        decibels = []
        for window in self._windows(blocks):
            num_samples += window.own_end - window.own_start
            decibels.append(self.sound_levels(window.samples[window.own_start : window.own_end]).decibels)
            decoder_stream.accept(self._own_log_probs(window))
            if tell is not None:
                tell(num_samples / self.sample_rate)
        hypothesis = decoder_stream.finish()
        duration = num_samples / self.sample_rate
        levels = SoundLevels(np.concatenate(decibels), self.features.frame_shift_samples / self.sample_rate)
        words = words_in_sound(hypothesis.words, levels, duration)
        # The warnings of a stream are complete only now, when all of it was read.
        return Transcript(hypothesis.text, words, duration, warnings(), hypothesis.alternatives, hypothesis.parts)

    def _windows(self, blocks: Iterator[NDArray[np.float32]]) -> Iterator[Window]:
        """Cut a stream of samples into overlapping windows, holding no more than one of them."""
        context = self.context_frames * self.samples_per_frame
        longest_own = self.window_frames * self.samples_per_frame
        held = np.zeros(0, dtype=np.float32)
        own_start = 0  # in `held`; what lies before it is left context
        for block in blocks:
            held = np.concatenate((held, block))
            while len(held) - own_start > longest_own + context:
                own_end = own_start + self._quietest_end(held[own_start : own_start + longest_own])
                yield Window(held[: own_end + context], own_start, own_end)
                forget = max(0, own_end - context)
                held = held[forget:]
                own_start = own_end - forget
        yield Window(held, own_start, len(held))

    def _quietest_end(self, samples: NDArray[np.float32]) -> int:
        """Where a window ends best: the quietest place in the second half of (N,) samples, on the grid of frames."""
        first = len(samples) // self.samples_per_frame // 2
        frames = samples[first * self.samples_per_frame :].reshape(-1, self.samples_per_frame)
        energies = np.square(frames, dtype=np.float64).sum(axis=1)
        width = min(len(energies), max(1, round(SEAM_SECONDS * self.sample_rate / self.samples_per_frame)))
        smoothed = np.convolve(energies, np.ones(width), mode="valid")
        last_quietest = len(smoothed) - 1 - int(np.argmin(smoothed[::-1]))
        return (first + last_quietest + width // 2 + 1) * self.samples_per_frame

    def _own_log_probs(self, window: Window) -> Tensor:
        """(T, V) log-probabilities of the frames that begin inside the window's own samples."""
        waveform = torch.from_numpy(window.samples).to(self.device)[None]
        log_probs, lengths = self.emissions(waveform, torch.tensor([waveform.shape[1]], device=self.device))
        first = window.own_start // self.samples_per_frame
        is_last = window.own_end == len(window.samples)
        end = int(lengths[0]) if is_last else window.own_end // self.samples_per_frame
        return log_probs[0, first:end]


def _as_array(samples: Tensor) -> NDArray[Any]:
    """A tensor on any device as an array; of bfloat16, which numpy does not have, as float32."""
    samples = samples.detach().cpu()
    array: NDArray[Any] = (samples.float() if samples.dtype == torch.bfloat16 else samples).numpy()
    return array
