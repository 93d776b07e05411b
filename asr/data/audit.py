"""What an utterance's audio is really like: its length, loudness, clipping, and a fingerprint of its samples."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from asr.audio import probe, read_audio
from asr.errors import AudioError
from asr.progress import track
from asr.types import Seconds, Utterance


@dataclass(frozen=True, slots=True)
class Measurement:
    """One utterance's decoded audio, at its own sample rate."""

    duration: Seconds
    whole_file: bool  # else the stretch between offset and offset + duration, as far as the file goes
    peak: float  # largest |sample|, full scale is 1
    fingerprint: str  # equal for equal samples
    warnings: tuple[str, ...]  # of asr.audio: clipped, beyond full scale, phases that cancel


def measure(
    utterances: Sequence[Utterance], num_workers: int, show_progress: bool = False
) -> list[Measurement | AudioError]:
    """Decode every utterance in `num_workers` threads; for each its measurement, or why there is none.

    Audio that is cut short has none: its text would say more than can be heard.

    A file that a single utterance uses from its start is read to its end, whatever the manifest says of its
    duration; of a file that several share, or that one enters with an offset, only the stretch is read.
    """
    uses = Counter(utterance.audio_filepath for utterance in utterances)
    whole = [u.offset == 0 and uses[u.audio_filepath] == 1 for u in utterances]
    pool = ThreadPoolExecutor(num_workers)
    try:
        return list(
            track(
                pool.map(_measure, utterances, whole),
                "listening to the audio",
                total=len(utterances),
                shown=show_progress,
            )
        )
    finally:
        pool.shutdown(cancel_futures=True)  # after Ctrl-C too


def _measure(utterance: Utterance, whole_file: bool) -> Measurement | AudioError:
    path = utterance.audio_filepath
    try:
        info = probe(path)
        rate = info.sample_rate  # its own: nothing is resampled
        if whole_file:
            audio = read_audio(path, rate, strict=True)
        else:
            left = utterance.duration if info.duration is None else max(0.0, info.duration - utterance.offset)
            window = min(utterance.duration, left)
            audio = read_audio(path, rate, offset=utterance.offset, duration=window, strict=True)
    except AudioError as error:
        return error
    return Measurement(
        duration=audio.duration,
        whole_file=whole_file,
        peak=float(np.abs(audio.waveform).max(initial=0.0)),
        fingerprint=hashlib.blake2b(audio.waveform.tobytes(), digest_size=16).hexdigest(),
        warnings=audio.warnings,
    )
