"""Log-mel features, ours against librosa, kaldi-native-fbank and torchaudio, in seconds of audio a second.

A batch of 15-second waveforms at 16 kHz through 80 mel filters. Ours takes the batch; the others take one utterance
at a time, each in its fastest setting: torchaudio with all threads or one thread an utterance in a pool, librosa and
kaldi-native-fbank in a loop or in a thread pool. Repetitions take turns and the median of each counts, so that
another process on the machine disturbs all alike.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import kaldi_native_fbank
import librosa
import numpy as np
import torch
import torchaudio.compliance.kaldi

from asr.features import Filterbank

SAMPLE_RATE = 16000
NUM_MELS = 80
UTTERANCE_SECONDS = 15.0


def make_waveforms(batch_size: int) -> torch.Tensor:
    """(B, N) float32 noise at int16 steps in [-1, 1]; the time of no implementation depends on the values."""
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(batch_size, int(UTTERANCE_SECONDS * SAMPLE_RATE), generator=generator)
    return (noise * 1000).round() / 2**15


def torchaudio_fbank(waveform: torch.Tensor) -> torch.Tensor:
    return torchaudio.compliance.kaldi.fbank(waveform[None] * 2**15, num_mel_bins=NUM_MELS)


def librosa_fbank(waveform: np.ndarray) -> np.ndarray:
    mel = librosa.feature.melspectrogram(
        y=waveform, sr=SAMPLE_RATE, n_fft=512, win_length=400, hop_length=160, n_mels=NUM_MELS, center=False
    )
    return np.log(np.maximum(mel, 1e-10))


def kaldi_fbank(waveform: np.ndarray) -> np.ndarray:
    options = kaldi_native_fbank.FbankOptions()
    options.frame_opts.dither = 0
    options.mel_opts.num_bins = NUM_MELS
    computer = kaldi_native_fbank.OnlineFbank(options)
    computer.accept_waveform(SAMPLE_RATE, waveform * 2**15)
    computer.input_finished()
    return np.stack([computer.get_frame(frame) for frame in range(computer.num_frames_ready)])


def contenders(waveforms: torch.Tensor, pool: ThreadPoolExecutor) -> dict[str, list[Callable[[], object]]]:
    """The settings of each implementation, each a function that takes the whole batch through."""
    lengths = torch.full((len(waveforms),), waveforms.shape[1])
    filterbank = Filterbank(num_mels=NUM_MELS).eval()
    arrays = list(waveforms.numpy())

    def loop(function: Callable, items: list) -> object:
        return [function(item) for item in items]

    def in_pool(function: Callable, items: list) -> object:
        return list(pool.map(function, items))

    return {
        "ours": [partial(filterbank, waveforms, lengths)],
        "librosa": [partial(loop, librosa_fbank, arrays), partial(in_pool, librosa_fbank, arrays)],
        "kaldi_native_fbank": [partial(loop, kaldi_fbank, arrays), partial(in_pool, kaldi_fbank, arrays)],
        "torchaudio_kaldi": [
            partial(loop, torchaudio_fbank, list(waveforms)),
            partial(in_pool, torchaudio_fbank, list(waveforms)),
        ],
    }


def run(seconds: float = 20.0, threads: int | None = None, batch_size: int = 32) -> dict[str, float]:
    """Seconds of audio a second: `ours librosa kaldi_native_fbank torchaudio_kaldi`, medians over about `seconds`."""
    threads = threads or len(os.sched_getaffinity(0))
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        # torch counts threads for each calling thread: one in every worker of the pool.
        with ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,)) as pool:
            timings = measure(contenders(make_waveforms(batch_size), pool), seconds)
    finally:
        torch.set_num_threads(before)
    audio_seconds = batch_size * UTTERANCE_SECONDS
    return {name: round(audio_seconds / min(map(statistics.median, times)), 1) for name, times in timings.items()}


def measure(settings: dict[str, list[Callable[[], object]]], seconds: float) -> dict[str, list[list[float]]]:
    """Times of each setting; in each round all run once, after one round that only warms up."""
    timings: dict[str, list[list[float]]] = {name: [[] for _ in functions] for name, functions in settings.items()}
    for functions in settings.values():
        for function in functions:
            function()
    start, rounds = time.perf_counter(), 0
    while rounds < 3 or time.perf_counter() - start < seconds:
        for name, functions in settings.items():
            for function, times in zip(functions, timings[name]):
                began = time.perf_counter()
                function()
                times.append(time.perf_counter() - began)
        rounds += 1
    return timings


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=20.0, help="about how long to measure")
    parser.add_argument("--threads", type=int, help="default: the cores this process may use")
    parser.add_argument("--batch-size", type=int, default=32)
    arguments = parser.parse_args()
    print(json.dumps(run(arguments.seconds, arguments.threads, arguments.batch_size)))


if __name__ == "__main__":
    main()
