"""Decoded audio of a list of utterances, kept in memory as int16 when it fits a stated budget."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from asr.audio import read_audio
from asr.progress import track
from asr.types import Utterance

BYTES_PER_SAMPLE = 2
PCM_SCALE = 32768.0


class AudioStore:
    """Waveforms by index: from the cache once `fill` has run, from where they lie before.

    Compressed audio decodes at only some hundred times real time on a core: without the cache, that is what training
    would wait for. Every process of a run has a cache of its own with all utterances in it, because each epoch deals
    them out anew; the budget is that of one process.

    decode: what gives an utterance's audio, by index; None: it lies in files.
    durations: (N,) seconds, where going through the utterances would take long; None: theirs.
    """

    def __init__(
        self,
        utterances: Sequence[Utterance],
        sample_rate: int,
        decode: Callable[[int], NDArray[np.int16]] | None = None,
        durations: NDArray[np.float64] | None = None,
    ) -> None:
        self.utterances = utterances
        self.sample_rate = sample_rate
        self._decode = self._decode_file if decode is None else decode
        self._durations = durations
        self._samples: NDArray[np.int16] | None = None
        self._ends: NDArray[np.int64] = np.zeros(0, dtype=np.int64)

    def __len__(self) -> int:
        return len(self.utterances)

    def expected_bytes(self) -> int:
        """What the cache will take, by the manifest's durations."""
        given = self._durations
        seconds = sum(u.duration for u in self.utterances) if given is None else float(given.sum())
        return int(seconds * self.sample_rate) * BYTES_PER_SAMPLE

    def fill(self, budget_bytes: int, num_threads: int, show_progress: bool = False) -> bool:
        """Decode everything once if it fits the budget; returns whether it did."""
        if self._samples is not None or self.expected_bytes() > budget_bytes:
            return self._samples is not None
        with ThreadPoolExecutor(num_threads) as pool:
            decoded = pool.map(self._decode, range(len(self)))
            waveforms = list(track(decoded, "decoding audio", total=len(self), shown=show_progress))
        self._ends = np.cumsum([len(waveform) for waveform in waveforms], dtype=np.int64)
        self._samples = np.concatenate([np.zeros(0, np.int16), *waveforms])
        return True

    def waveform(self, index: int) -> NDArray[np.float32]:
        """(N,) float32 samples in [-1, 1]; the same to the bit with and without the cache."""
        if self._samples is None:
            return to_waveform(self._decode(index))
        start = int(self._ends[index - 1]) if index else 0
        return to_waveform(self._samples[start : int(self._ends[index])])

    def _decode_file(self, index: int) -> NDArray[np.int16]:
        return decode_utterance(self.utterances[index], self.sample_rate)


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
