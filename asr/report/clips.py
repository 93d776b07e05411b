"""Audio inside the page.

MP3, because every browser plays it: Safari before 18.4 has no Opus in Ogg, and WAV of the same speech is ten times as
long. The encoder's delay is written into the file, so that a clip's times are those of its picture.
"""

from __future__ import annotations

import base64
import io

import numpy as np
import soundfile

from asr.audio import Waveform, from_array

MP3_SAMPLE_RATES = (8_000, 11_025, 12_000, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000)  # MPEG-1, 2 and 2.5
COMPRESSION_LEVEL = 0.5  # of 0 to 1; at 16 kHz about 28 kbit/s, which speech does not suffer from


def data_url(content: bytes, media_type: str) -> str:
    """Bytes as an address that holds them."""
    return f"data:{media_type};base64,{base64.b64encode(content).decode('ascii')}"


def clip(waveform: Waveform, sample_rate: int) -> str:
    """A waveform, (N,) float32 in [-1, 1] at `sample_rate` Hz, as a `data:` URL of an MP3."""
    rate = next((rate for rate in MP3_SAMPLE_RATES if rate >= sample_rate), MP3_SAMPLE_RATES[-1])
    if rate != sample_rate:
        waveform = from_array(waveform, sample_rate, rate).waveform
    waveform = np.clip(waveform, -1.0, 1.0)  # lossy codecs and resampling overshoot
    buffer = io.BytesIO()
    soundfile.write(
        buffer,
        waveform,
        rate,
        format="MP3",
        subtype="MPEG_LAYER_III",
        bitrate_mode="VARIABLE",
        compression_level=COMPRESSION_LEVEL,
    )
    return data_url(buffer.getvalue(), "audio/mpeg")
