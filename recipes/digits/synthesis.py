"""espeak-ng through ctypes: the library and the voices are in the wheel `espeakng-loader`.

espeak-ng is one speaker a process, and what it says depends on what it said before: the phase of its flutter
and its noise run on and cannot be set back, not even by terminating and initializing it. Two processes that
say the same things in the same order produce the same samples; `synthetic.py` says what follows from that.
"""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from asr.errors import CorpusError

SAMPLE_RATE = 22050  # of every formant voice of espeak-ng

# From espeak-ng's speak_lib.h.
_OUTPUT_SYNCHRONOUS = 2
_INITIALIZE_DONT_EXIT = 0x8000
_CHARS_UTF8_SSML = 1 | 0x10
_PARAMETERS = {"rate": 1, "volume": 2, "pitch": 3, "range": 4}
# Above it some voices clip; the level is set later, in room.py.
_VOLUME = 25

# Accents of English by their name in the speaker's label, with espeak-ng's own identifier.
ACCENTS = {
    "en-us": "gmw/en-US",
    "en-us-nyc": "gmw/en-US-nyc",
    "en-gb": "gmw/en",
    "en-gb-rp": "gmw/en-GB-x-rp",
    "en-gb-scotland": "gmw/en-GB-scotland",
    "en-gb-lancaster": "gmw/en-GB-x-gbclan",
    "en-gb-west-midlands": "gmw/en-GB-x-gbcwmd",
    "en-caribbean": "gmw/en-029",
}

_Callback = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p)


@dataclass(frozen=True, slots=True)
class Voice:
    """Who speaks: an accent is how words are pronounced, a variant is the throat and mouth."""

    accent: str  # a key of ACCENTS
    variant: str

    @property
    def name(self) -> str:
        return f"{self.accent}+{self.variant}"

    @property
    def espeak_name(self) -> str:
        return f"{ACCENTS[self.accent]}+{self.variant}"


@dataclass(frozen=True, slots=True)
class Manner:
    """How something is said."""

    rate_words_per_minute: int  # 80-450
    pitch: int  # 0-99; 50 is the variant's own
    pitch_range: int  # 0-99; 0 is monotonous


class Espeak:
    """The synthesiser. One a process: a second one would share the first one's state."""

    def __init__(self) -> None:
        library, self._data = find_espeak()
        try:
            self._library = ctypes.CDLL(str(library))
        except OSError as error:
            raise CorpusError(
                f"cannot load {library}: {error}; pip install --force-reinstall 'blstm-asr[digits]'"
            ) from error
        data = str(self._data).encode()
        rate = self._library.espeak_Initialize(_OUTPUT_SYNCHRONOUS, 0, data, _INITIALIZE_DONT_EXIT)
        if rate != SAMPLE_RATE:
            raise CorpusError(f"espeak-ng: expected {SAMPLE_RATE} Hz with the voices of {self._data}, got {rate}")
        self._chunks: list[NDArray[np.int16]] = []
        self._callback = _Callback(self._collect)  # kept, or Python would free what the library still calls
        self._library.espeak_SetSynthCallback(self._callback)

    def say(self, ssml: str, voice: Voice, manner: Manner, seed: int) -> NDArray[np.int16]:
        """(N,) int16 samples at 22050 Hz of a text in SSML, silence at its end included."""
        self._select(voice)
        self._library.espeak_ng_SetRandSeed(ctypes.c_long(seed))
        values = {
            "rate": manner.rate_words_per_minute,
            "volume": _VOLUME,
            "pitch": manner.pitch,
            "range": manner.pitch_range,
        }
        for name, value in values.items():
            self._check(self._library.espeak_SetParameter(_PARAMETERS[name], value, 0), f"{name} {value}")
        self._chunks.clear()
        text = ssml.encode()
        synthesized = self._library.espeak_Synth(
            text, ctypes.c_size_t(len(text) + 1), 0, 1, 0, _CHARS_UTF8_SSML, None, None
        )
        self._check(synthesized, ssml)
        if not self._chunks:
            raise CorpusError(f"espeak-ng: expected speech for {ssml!r} by {voice.name}, got none")
        return np.concatenate(self._chunks)

    def _select(self, voice: Voice) -> None:
        # espeak-ng takes a variant that it does not have for the plain voice, without a word.
        if not (self._data / "voices" / "!v" / voice.variant).is_file():
            raise CorpusError(f"espeak-ng: no voice variant {voice.variant!r} in {self._data}; update espeakng-loader")
        self._check(self._library.espeak_SetVoiceByName(voice.espeak_name.encode()), f"voice {voice.name}")

    def _check(self, status: int, what: str) -> None:
        if status != 0:
            raise CorpusError(f"espeak-ng refused {what} (status {status}); its data: {self._data}")

    def _collect(self, samples: ctypes._Pointer[ctypes.c_short], num_samples: int, _events: object) -> int:
        if samples and num_samples > 0:
            self._chunks.append(np.ctypeslib.as_array(samples, (num_samples,)).copy())
        return 0  # go on


def find_espeak() -> tuple[Path, Path]:
    """The library and its data; raises `CorpusError` when the wheel is not installed."""
    try:
        import espeakng_loader
    except ImportError as error:
        raise CorpusError(
            "the synthetic digits need espeak-ng, which is not installed: pip install 'blstm-asr[digits]'"
        ) from error
    return Path(espeakng_loader.get_library_path()), Path(espeakng_loader.get_data_path())
