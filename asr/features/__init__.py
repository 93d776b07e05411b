"""Log-mel and MFCC features: `Filterbank` turns padded waveforms into padded features, on CPU and GPU.

filterbank = Filterbank(num_mels=80, normalize="utterance")
features, frame_lengths = filterbank(waveforms, lengths)  # (B, N) -> (B, T, 80)
"""

from asr.features.filterbank import Filterbank
from asr.features.frames import GlobalStatistics, Statistics, append_deltas, normalize_utterances
from asr.features.kaldi import mel_matrix, num_frames

__all__ = [
    "Filterbank",
    "GlobalStatistics",
    "Statistics",
    "append_deltas",
    "mel_matrix",
    "normalize_utterances",
    "num_frames",
]
