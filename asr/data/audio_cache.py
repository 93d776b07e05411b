"""Decoded audio of a list of utterances, kept in memory as int16 when it fits a stated budget."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray

from asr.audio import read_audio
from asr.progress import track
from asr.types import Utterance

BYTES_PER_SAMPLE = 2
PCM_SCALE = 32768.0


class AudioStore:
    """Waveforms by index: from the cache once `fill` has run, from the files before.

    Compressed audio decodes at only some hundred times real time on a core: without the cache, that is what training
    would wait for.
    """

    def __init__(self, utterances: Sequence[Utterance], sample_rate: int) -> None:
        self.utterances = utterances
        self.sample_rate = sample_rate
        self._samples: NDArray[np.int16] | None = None
        self._ends: NDArray[np.int64] = np.zeros(0, dtype=np.int64)

    def __len__(self) -> int:
        return len(self.utterances)

    def expected_bytes(self) -> int:
        """What the cache will take, by the manifest's durations."""
        return int(sum(u.duration for u in self.utterances) * self.sample_rate) * BYTES_PER_SAMPLE

    def fill(self, budget_bytes: int, num_threads: int, show_progress: bool = False) -> bool:
        """Decode everything once if it fits the budget; returns whether it did."""
        if self._samples is not None or self.expected_bytes() > budget_bytes:
            return self._samples is not None
        with ThreadPoolExecutor(num_threads) as pool:
            decoded = pool.map(self._decode_int16, range(len(self)))
            waveforms = list(track(decoded, "decoding audio", total=len(self), shown=show_progress))
        self._ends = np.cumsum([len(waveform) for waveform in waveforms], dtype=np.int64)
        self._samples = np.concatenate([np.zeros(0, np.int16), *waveforms])
        return True

    def waveform(self, index: int) -> NDArray[np.float32]:
        """(N,) float32 samples in [-1, 1]; the same to the bit with and without the cache."""
        if self._samples is None:
            pcm = self._decode_int16(index)
        else:
            start = int(self._ends[index - 1]) if index else 0
            pcm = self._samples[start : int(self._ends[index])]
        return np.divide(pcm, PCM_SCALE, dtype=np.float32)

    def _decode_int16(self, index: int) -> NDArray[np.int16]:
        utterance = self.utterances[index]
        audio = read_audio(
            utterance.audio_filepath, self.sample_rate, offset=utterance.offset, duration=utterance.duration
        )
        scaled: NDArray[np.float32] = np.rint(audio.waveform * np.float32(PCM_SCALE))
        return np.clip(scaled, -PCM_SCALE, PCM_SCALE - 1).astype(np.int16)
