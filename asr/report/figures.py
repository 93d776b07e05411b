"""Pictures of one utterance: its spectrogram over what the model said of each frame.

The images hold data only. Axes, tokens and their spans are drawn over them by the page, as SVG, so that they follow its
colours, stay sharp, and are written in any script that the reader's machine has.
"""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from librosa.display import specshow
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection, PolyCollection
from matplotlib.figure import Figure
from numpy.typing import NDArray

from asr.report.clips import data_url
from asr.text.tokens import BLANK_ID, SPACE
from asr.types import Seconds

if TYPE_CHECKING:  # both need torch, which scoring does without
    from asr.decoding.alignment import TokenRuns
    from asr.report.illustrations import Illustration

# The layout, in pixels of the page; the rows of tokens lie below the spectrogram and below the posteriors.
PIXELS_PER_SECOND = 180  # at 15 letters a second, the letters of a word still stand apart
SPECTROGRAM_HEIGHT = 128
TOKENS_HEIGHT = 30
POSTERIORS_HEIGHT = 96

DPI = 100
SHARPNESS = 1.25  # image pixels for each of the page's, in the posteriors
WEBP = {"quality": 50, "alpha_quality": 60, "method": 0}  # method: of 0 (fast) to 6 (small)

WINDOW_SECONDS = 0.025
HOP_SECONDS = 0.0125
DYNAMIC_RANGE_DB = 70.0  # below the loudest; what is fainter is black
QUIETEST = 1e-3  # magnitude that counts as loudest where all is fainter, so that digital silence is black

FAINTEST = 0.02  # probability below which a token's curve is left out
NEAR_FRAMES = 2  # a curve within this distance of the token's own run belongs to the run
# In the middle of the scale of lightness: the same image lies on light and dark pages.
WRITTEN, UNWRITTEN, BLANK_GREY = "#3d7fe0", "#d9822b", "#8a8f98"


@dataclass(frozen=True, slots=True)
class Span:
    """A token's place in a picture."""

    label: str
    x: float  # pixels
    width: float


@dataclass(frozen=True, slots=True)
class Picture:
    """Images that span the whole width, and what the page draws over them."""

    spectrogram: str  # `data:` URL
    posteriors: str | None  # `data:` URL; None without a model
    width: int  # pixels of the page, all of them time
    nyquist_khz: float  # at the spectrogram's upper edge
    hypothesis: tuple[Span, ...]
    reference: tuple[Span, ...] | None  # None: it could not be aligned


def draw(illustration: Illustration) -> Picture | None:
    """Make the picture of an utterance; None where there is less audio than one window of the spectrogram."""
    if len(illustration.waveform) < round(WINDOW_SECONDS * illustration.sample_rate):
        return None
    width = max(1, round(illustration.duration * PIXELS_PER_SECOND))
    reference = illustration.reference_runs
    return Picture(
        spectrogram=_spectrogram(illustration),
        posteriors=None
        if illustration.posteriors is None
        else _posteriors(illustration, illustration.posteriors, width),
        width=width,
        nyquist_khz=illustration.sample_rate / 2000,
        hypothesis=_spans(illustration.hypothesis_runs, illustration),
        reference=None if reference is None else _spans(reference, illustration),
    )


def _spectrogram(illustration: Illustration) -> str:
    """A pixel a cell, which the browser stretches: a larger image costs more and shows no more."""
    rate = illustration.sample_rate
    level_db = _level_db(illustration.waveform, rate)
    num_bands, num_frames = level_db.shape
    axes = _bare_axes(num_frames, num_bands, illustration.duration)
    specshow(
        level_db,
        x_coords=np.arange(num_frames) * HOP_SECONDS,
        y_coords=np.linspace(0.0, rate / 2, num_bands),
        ax=axes,
        cmap="magma",
        vmin=-DYNAMIC_RANGE_DB,
        vmax=0.0,
    )
    axes.set_xlim(0.0, illustration.duration)
    axes.set_ylim(0.0, rate / 2)
    return _image(axes)


def _level_db(waveform: NDArray[np.float32], sample_rate: int) -> NDArray[np.float64]:
    """Short-time spectrum in dB below the loudest, (bands, frames), frames centred on multiples of the hop.

    Not by `librosa.stft`, whose import takes several seconds.
    """
    window = round(WINDOW_SECONDS * sample_rate)
    padded = np.pad(waveform, window // 2)
    starts = np.arange(0.0, len(padded) - window, HOP_SECONDS * sample_rate).astype(int)
    frames = np.lib.stride_tricks.sliding_window_view(padded, window)[starts]
    magnitude = np.abs(np.fft.rfft(frames * np.hanning(window))).T
    pooled = math.ceil(len(magnitude) / SPECTROGRAM_HEIGHT)  # no more bands than there are pixels
    magnitude = np.maximum.reduceat(magnitude, np.arange(0, len(magnitude), pooled))
    loudest = max(float(magnitude.max()), QUIETEST)
    level_db: NDArray[np.float64] = 20 * np.log10(np.maximum(magnitude / loudest, 10 ** (-DYNAMIC_RANGE_DB / 20)))
    return level_db


def _posteriors(illustration: Illustration, posteriors: NDArray[np.float32], width: int) -> str:
    axes = _bare_axes(width * SHARPNESS, POSTERIORS_HEIGHT * SHARPNESS, illustration.duration)
    axes.set_ylim(0.0, 1.02)
    plot_posteriors(axes, posteriors, illustration.hypothesis_runs, illustration.frame_seconds)
    return _image(axes)


def plot_posteriors(
    axes: Axes, posteriors: NDArray[np.float32], runs: TokenRuns | None, frame_seconds: Seconds
) -> None:
    """One curve a token, as Graves et al. 2006 drew them: what was written, what else was likely, the blank faint.

    posteriors: (T, V) probabilities; runs: the tokens that were written, if any.
    """
    times = (np.arange(len(posteriors)) + 0.5) * frame_seconds
    axes.plot(times, posteriors[:, BLANK_ID], color=BLANK_GREY, linewidth=0.6, alpha=0.55)
    written = _written(posteriors.shape, runs)
    for mask, color in ((~written, UNWRITTEN), (written, WRITTEN)):
        hills = _hills(times, np.where(mask, posteriors, 0.0))
        axes.add_collection(PolyCollection(hills, facecolors=color, alpha=0.3, linewidths=0))
        axes.add_collection(LineCollection(hills, colors=color, linewidths=1.4))


def _bare_axes(width: float, height: float, duration: Seconds) -> Axes:
    """Axes without ink that fill an image of so many pixels; its width is the utterance's whole time."""
    axes = Figure(figsize=(width / DPI, height / DPI), dpi=DPI).add_axes((0.0, 0.0, 1.0, 1.0))
    axes.set_axis_off()
    axes.set_xlim(0.0, duration)
    axes.set_autoscale_on(False)
    return axes


def _image(axes: Axes) -> str:
    buffer = io.BytesIO()
    figure = axes.get_figure(root=True)
    assert figure is not None
    figure.savefig(buffer, format="webp", transparent=True, pil_kwargs=WEBP)
    return data_url(buffer.getvalue(), "image/webp")


def _hills(times: NDArray[np.floating[Any]], probabilities: NDArray[np.floating[Any]]) -> list[NDArray[np.float64]]:
    """Where tokens are likely, (T, V): an outline of (time, probability) for each stretch, from zero and back to it."""
    likely = probabilities >= FAINTEST
    likely[:, BLANK_ID] = False
    hills = []
    for token in np.flatnonzero(likely.any(axis=0)):
        edges = np.flatnonzero(np.diff(likely[:, token], prepend=False, append=False))
        for start, end in edges.reshape(-1, 2):
            first, last = max(start - 1, 0), min(end, len(times) - 1)
            slope = np.column_stack((times[first : last + 1], probabilities[first : last + 1, token]))
            hills.append(np.vstack(((times[first], 0.0), slope, (times[last], 0.0))))
    return hills


def _written(shape: tuple[int, ...], runs: TokenRuns | None) -> NDArray[np.bool_]:
    """(T, V): whether a token's probability at a frame belongs to a run of the hypothesis."""
    written = np.zeros(shape, dtype=np.bool_)
    if runs is not None:
        for token, start, end in zip(runs.tokens, runs.starts, runs.ends, strict=True):
            written[max(0, start - NEAR_FRAMES) : end + NEAR_FRAMES, token] = True
    return written


def _spans(runs: TokenRuns | None, illustration: Illustration) -> tuple[Span, ...]:
    if runs is None:
        return ()
    scale = illustration.frame_seconds * PIXELS_PER_SECOND
    names: Sequence[str] = illustration.token_names
    return tuple(
        Span("␣" if names[token] == SPACE else names[token], float(start) * scale, float(end - start) * scale)
        for token, start, end in zip(runs.tokens, runs.starts, runs.ends, strict=True)
    )
