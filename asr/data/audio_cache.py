"""Decoded audio of a list of utterances, kept in memory as int16 when it fits a stated budget."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from asr.audio import read_audio
from asr.errors import AudioError
from asr.progress import track
from asr.types import Seconds, Utterance

BYTES_PER_SAMPLE = 2
PCM_SCALE = 32768.0
# A duration that was rounded to 0.1 s, up or down, is no lie.
ROUNDED_SECONDS = 0.1 + 1e-6


class ShortAudioError(AudioError):
    """Audio that is shorter than its manifest says, by more than rounding: the text may say more than can be heard."""


@dataclass(frozen=True, slots=True)
class Measured:
    """What decoding a list of utterances came to."""

    lengths: NDArray[np.int64]  # (N,) samples; 0 where it failed
    failures: dict[int, AudioError]  # by index


class AudioStore:
    """Waveforms by index: from the cache once `fill` has run, from where they lie before.

    Compressed audio decodes at only some hundred times real time on a core: without the cache, that is what training
    would wait for. Every process of a run has a cache of its own with all utterances in it, because each epoch deals
    them out anew; the budget is that of one process.

    decode: what gives an utterance's audio, by index; None: it lies in files.
    durations: (N,) seconds, where going through the utterances would take long; None: theirs.
    is_whole: audio that is shorter than the utterance's duration raises `ShortAudioError`, as recordings to train on
        or to evaluate on must; else what there is, is taken.
    """

    def __init__(
        self,
        utterances: Sequence[Utterance],
        sample_rate: int,
        decode: Callable[[int], NDArray[np.int16]] | None = None,
        durations: NDArray[np.float64] | None = None,
        *,
        is_whole: bool = False,
    ) -> None:
        self.utterances = utterances
        self.sample_rate = sample_rate
        self._decode = self._decode_file if decode is None else decode
        self._durations = durations
        self._is_whole = is_whole
        self._samples: NDArray[np.int16] | None = None
        self._ends: NDArray[np.int64] = np.zeros(0, dtype=np.int64)  # in the cache
        self._lengths: NDArray[np.int64] = np.zeros(0, dtype=np.int64)  # samples of each in the cache
        self._failures: dict[int, AudioError] = {}  # why an utterance is not in the cache

    def __len__(self) -> int:
        return len(self.utterances)

    def expected_bytes(self) -> int:
        """What the cache will take, by the manifest's durations."""
        given = self._durations
        seconds = sum(u.duration for u in self.utterances) if given is None else float(given.sum())
        return int(seconds * self.sample_rate) * BYTES_PER_SAMPLE

    @property
    def is_filled(self) -> bool:
        """Whether the waveforms come from memory."""
        return self._samples is not None

    def fill(self, budget_bytes: int, num_threads: int, show_progress: bool = False) -> bool:
        """Decode everything once if it fits the budget; returns whether it did. Audio that cannot be read raises."""
        if self.is_filled or self.expected_bytes() > budget_bytes:
            return self.is_filled
        if failures := self.measure(budget_bytes, num_threads, show_progress).failures:
            raise failures[min(failures)]
        return True

    def measure(self, budget_bytes: int, num_threads: int, show_progress: bool = False) -> Measured:
        """Decode everything once: how long each utterance is, and why some cannot be read.

        The samples are kept where they fit the budget; then `waveform` raises the same error again for the others.
        """
        is_kept = self.expected_bytes() <= budget_bytes
        with ThreadPoolExecutor(num_threads) as pool:
            attempts = pool.map(self._attempt if is_kept else self._attempt_length, range(len(self)))
            found = list(track(attempts, "decoding audio", total=len(self), shown=show_progress))
        failures = {index: result for index, result in enumerate(found) if isinstance(result, AudioError)}
        waveforms = [np.zeros(0, np.int16) if isinstance(result, AudioError) else result for result in found]
        lengths = np.array([len(waveform) for waveform in waveforms], dtype=np.int64)
        if is_kept:
            self._samples = np.concatenate([np.zeros(0, np.int16), *waveforms])
            self._ends, self._lengths, self._failures = np.cumsum(lengths), lengths, failures
        return Measured(lengths, failures)

    def select(
        self,
        places: NDArray[np.integer[Any]],
        utterances: Sequence[Utterance],
        decode: Callable[[int], NDArray[np.int16]],
        durations: NDArray[np.float64],
    ) -> AudioStore:
        """Some of the utterances, by index, with what the cache has of them; the rest as for a new store."""
        chosen = AudioStore(utterances, self.sample_rate, decode, durations, is_whole=self._is_whole)
        if self._samples is not None:
            chosen._samples, chosen._ends, chosen._lengths = self._samples, self._ends[places], self._lengths[places]
            chosen._failures = {n: self._failures[i] for n, i in enumerate(places.tolist()) if i in self._failures}
        return chosen

    def waveform(self, index: int) -> NDArray[np.float32]:
        """(N,) float32 samples in [-1, 1]; the same to the bit with and without the cache. Raises `AudioError`."""
        if self._samples is None:
            return to_waveform(self._read(index))
        if index in self._failures:
            raise AudioError(str(self._failures[index]))
        end = int(self._ends[index])
        return to_waveform(self._samples[end - int(self._lengths[index]) : end])

    def _attempt(self, index: int) -> NDArray[np.int16] | AudioError:
        try:
            return self._read(index)
        except AudioError as error:
            return error

    def _attempt_length(self, index: int) -> NDArray[np.int16] | AudioError:
        """As `_attempt`, but of the samples nothing is kept but their number."""
        found = self._attempt(index)
        return found if isinstance(found, AudioError) else np.broadcast_to(np.int16(0), len(found))

    def _read(self, index: int) -> NDArray[np.int16]:
        samples = self._decode(index)
        if self._is_whole:
            refuse_short(self.utterances[index], len(samples) / self.sample_rate)
        return samples

    def _decode_file(self, index: int) -> NDArray[np.int16]:
        return decode_utterance(self.utterances[index], self.sample_rate)


def refuse_short(utterance: Utterance, duration: Seconds) -> None:
    """Raise `ShortAudioError` where audio of this duration is shorter than the manifest says, or there is none."""
    if duration == 0.0 or utterance.duration - duration > ROUNDED_SECONDS:
        raise ShortAudioError(
            f"{utterance.audio_filepath}: the manifest says {utterance.duration:g} s, the audio has {duration:.3f} s"
        )


def decode_utterance(utterance: Utterance, sample_rate: int) -> NDArray[np.int16]:
    """(N,) the samples of an utterance that lies in a file; raises as `read_audio`."""
    return decode(utterance.audio_filepath, sample_rate, utterance.offset, utterance.duration)


def decode(source: str | Path | BinaryIO, sample_rate: int, offset: float, duration: float) -> NDArray[np.int16]:
    """(N,) the samples of a stretch of audio, seconds, at `sample_rate`; raises as `read_audio`."""
    audio = read_audio(source, sample_rate, offset=offset, duration=duration)
    scaled: NDArray[np.float32] = np.rint(audio.waveform * np.float32(PCM_SCALE))
    return np.clip(scaled, -PCM_SCALE, PCM_SCALE - 1).astype(np.int16)


def to_waveform(samples: NDArray[np.int16]) -> NDArray[np.float32]:
    """(N,) int16 -> (N,) float32 in [-1, 1]."""
    return np.divide(samples, PCM_SCALE, dtype=np.float32)
