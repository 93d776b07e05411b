"""Log-mel and MFCC features: `Filterbank` turns padded waveforms into padded features, on CPU and GPU.

filterbank = Filterbank(num_mels=80, normalize="utterance")
features, frame_lengths = filterbank(waveforms, lengths)  # (B, N) -> (B, T, 80)
"""

from asr.features.filterbank import CORPUS_NORMALIZATIONS, Filterbank
from asr.features.frames import GlobalStatistics, Statistics, adapt_to_utterances, append_deltas, normalize_utterances
from asr.features.kaldi import mel_matrix, num_frames

__all__ = [
    "CORPUS_NORMALIZATIONS",
    "Filterbank",
    "GlobalStatistics",
    "Statistics",
    "adapt_to_utterances",
    "append_deltas",
    "mel_matrix",
    "normalize_utterances",
    "num_frames",
]
