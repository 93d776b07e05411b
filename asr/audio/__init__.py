"""The only place that opens audio: any file, pipe or array to float32 mono at the model's rate.

`read_audio` gives a whole recording, `open_audio` a stream in bounded memory; both decode in the same way, so
that a stream's blocks joined together equal the whole bit for bit. libsndfile decodes (WAV, FLAC, Ogg Vorbis and
Opus, MP3, AIFF, AU, CAF and more, told apart by content), soxr resamples. All functions may be called from several
threads at once; decoding releases the interpreter lock.

What makes no usable audio raises `AudioError`, which names the file and the reason. What is usable but wrong
(cut short, clipped, of low bandwidth, ...) is told in `warnings`; with `strict=True` damage raises as well.

    sources       a path, pipe or file object, opened
    containers    what a file's structure says: where audio begins, how long it is, whether it is cut short
      chunks, headers   WAV, RF64, W64, AIFF, CAF, AU, NIST
      mpeg, ogg, flac   frames and pages
      layout, views     how libsndfile is to see the file
    foreign       what a file is that is not read here
    decoders      a file or array -> blocks of channels
      flac_decoder, quiet   FLAC past damaged frames; no chatter of the MP3 decoder
    mixdown       blocks of channels -> mono at the model's rate, checked
    stream        these together: `open_audio`, `read_audio`
    files         writing audio; finding audio files
"""

from asr.audio.decoders import AudioInfo
from asr.audio.files import AUDIO_SUFFIXES, FoundFiles, find_audio_files, write_audio
from asr.audio.mixdown import Waveform
from asr.audio.sources import STDIN, Source, probe
from asr.audio.stream import SLACK_SECONDS, Audio, AudioStream, from_array, open_audio, read_audio

__all__ = [
    "AUDIO_SUFFIXES",
    "SLACK_SECONDS",
    "STDIN",
    "Audio",
    "AudioInfo",
    "AudioStream",
    "FoundFiles",
    "Source",
    "Waveform",
    "find_audio_files",
    "from_array",
    "open_audio",
    "probe",
    "read_audio",
    "write_audio",
]
