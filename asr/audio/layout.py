"""What a survey of a file's structure gives: how it is to be read, and what is wrong with it."""

from __future__ import annotations

from dataclasses import dataclass

from asr.audio.views import Piece


@dataclass(frozen=True, slots=True)
class Layout:
    """How libsndfile is to see a file.

    Attributes:
        streams: recordings that follow one another in the file, each as the pieces that libsndfile is to see. None is
            the whole file as it is.
        damage: how the file is cut short or broken; None where nothing shows.
        states_length: whether libsndfile's count of samples can be believed.
    """

    streams: tuple[tuple[Piece, ...] | None, ...] = (None,)
    damage: str | None = None
    states_length: bool = True


AS_IT_IS = Layout()
