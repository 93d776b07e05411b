"""Pictures of one utterance: its spectrogram over what the model said of each frame.

The image holds data only. Axes, tokens and their spans are drawn over it by the page, as SVG, so that they follow its
colours, stay sharp, and are written in any script that the reader's machine has.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from asr.ctc import BLANK
from asr.decoding.alignment import TokenRuns
from asr.report.clips import data_url
from asr.report.illustrations import Illustration
from asr.text.tokens import SPACE
from asr.types import Seconds

# The layout, in pixels of the page; the rows of tokens lie below the spectrogram and below the posteriors.
PIXELS_PER_SECOND = 180  # at 15 letters a second, the letters of a word still stand apart
SPECTROGRAM_HEIGHT = 128
TOKENS_HEIGHT = 30
POSTERIORS_HEIGHT = 96
RESOLUTION = 1.25  # image pixels for each of the page's
DPI = 100
WEBP = {"quality": 50, "alpha_quality": 60, "method": 2}  # method: half the time of the default for 5 % more bytes

WINDOW_SECONDS = 0.025
HOP_SECONDS = 0.01
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
    """An image and what the page draws over it."""

    image: str  # `data:` URL
    width: int  # pixels, all of them time
    height: int
    nyquist_khz: float  # at the spectrogram's upper edge
    has_posteriors: bool
    hypothesis: tuple[Span, ...]
    reference: tuple[Span, ...] | None  # None: it could not be aligned


def draw(illustration: Illustration) -> Picture | None:
    """Make the picture of an utterance; None where there is less audio than one window of the spectrogram."""
    num_samples = len(illustration.waveform)
    if num_samples < round(WINDOW_SECONDS * illustration.sample_rate):
        return None
    width = max(1, round(illustration.duration * PIXELS_PER_SECOND))
    height = SPECTROGRAM_HEIGHT
    if illustration.posteriors is not None:
        height += TOKENS_HEIGHT + POSTERIORS_HEIGHT
    reference = illustration.reference_runs
    return Picture(
        image=_image(illustration, width, height),
        width=width,
        height=height,
        nyquist_khz=illustration.sample_rate / 2000,
        has_posteriors=illustration.posteriors is not None,
        hypothesis=_spans(illustration.hypothesis_runs, illustration),
        reference=None if reference is None else _spans(reference, illustration),
    )


def _image(illustration: Illustration, width: int, height: int) -> str:
    figure = Figure(figsize=(width * RESOLUTION / DPI, height * RESOLUTION / DPI), dpi=DPI)
    share = SPECTROGRAM_HEIGHT / height
    _draw_spectrogram(_bare_axes(figure, 1 - share, share, illustration.duration), illustration)
    if illustration.posteriors is not None:
        axes = _bare_axes(figure, 0, POSTERIORS_HEIGHT / height, illustration.duration)
        _draw_posteriors(axes, illustration.posteriors, illustration.hypothesis_runs, illustration.frame_seconds)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="webp", transparent=True, pil_kwargs=WEBP)
    return data_url(buffer.getvalue(), "image/webp")


def _bare_axes(figure: Figure, bottom: float, height: float, duration: Seconds) -> Axes:
    """Axes without ink that span the figure's whole width, which is the utterance's whole time."""
    axes = figure.add_axes((0.0, bottom, 1.0, height))
    axes.set_axis_off()
    axes.set_xlim(0.0, duration)
    axes.set_autoscale_on(False)
    return axes


def _draw_spectrogram(axes: Axes, illustration: Illustration) -> None:
    import librosa  # takes a second: reports without audio do without

    rate = illustration.sample_rate
    window, hop = round(WINDOW_SECONDS * rate), round(HOP_SECONDS * rate)
    spectrum = np.abs(librosa.stft(illustration.waveform, n_fft=window, hop_length=hop))  # (1 + window // 2, frames)
    loudest = max(float(spectrum.max()), QUIETEST)
    level_db = librosa.amplitude_to_db(spectrum, ref=loudest, amin=QUIETEST / 1e4, top_db=DYNAMIC_RANGE_DB)
    times = np.arange(spectrum.shape[1]) * hop / rate
    frequencies = np.linspace(0.0, rate / 2, spectrum.shape[0])
    librosa.display.specshow(
        level_db, x_coords=times, y_coords=frequencies, ax=axes, cmap="magma", vmin=-DYNAMIC_RANGE_DB, vmax=0.0
    )
    axes.set_xlim(0.0, illustration.duration)
    axes.set_ylim(0.0, rate / 2)


def _draw_posteriors(
    axes: Axes, posteriors: NDArray[np.float32], runs: TokenRuns | None, frame_seconds: Seconds
) -> None:
    """One curve a token, as Graves et al. 2006 drew them: what was written, what else was likely, the blank faint."""
    axes.set_ylim(0.0, 1.02)
    times = (np.arange(len(posteriors)) + 0.5) * frame_seconds
    axes.plot(times, posteriors[:, BLANK], color=BLANK_GREY, linewidth=0.6, alpha=0.55)
    written = _written(posteriors.shape, runs)
    for token in np.flatnonzero(posteriors.max(axis=0, initial=0.0) >= FAINTEST):
        if token == BLANK:
            continue
        for mask, color in ((~written[:, token], UNWRITTEN), (written[:, token], WRITTEN)):
            curve = np.where(mask, posteriors[:, token], 0.0)
            seen = _widened(curve >= FAINTEST)
            if seen.any():
                axes.fill_between(times, curve, color=color, alpha=0.3, linewidth=0)
                axes.plot(times, np.where(seen, curve, np.nan), color=color, linewidth=1.4)


def _written(shape: tuple[int, ...], runs: TokenRuns | None) -> NDArray[np.bool_]:
    """(T, V): whether a token's probability at a frame belongs to a run of the hypothesis."""
    written = np.zeros(shape, dtype=np.bool_)
    if runs is not None:
        for token, start, end in zip(runs.tokens, runs.starts, runs.ends, strict=True):
            written[max(0, start - NEAR_FRAMES) : end + NEAR_FRAMES, token] = True
    return written


def _widened(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """With the neighbours of each frame, so that a curve rises from zero and falls back to it."""
    before, after = np.append(mask[1:], False), np.append(False, mask[:-1])
    wide: NDArray[np.bool_] = mask | before | after
    return wide


def _spans(runs: TokenRuns | None, illustration: Illustration) -> tuple[Span, ...]:
    if runs is None:
        return ()
    scale = illustration.frame_seconds * PIXELS_PER_SECOND
    names: Sequence[str] = illustration.token_names
    return tuple(
        Span("␣" if names[token] == SPACE else names[token], float(start) * scale, float(end - start) * scale)
        for token, start, end in zip(runs.tokens, runs.starts, runs.ends, strict=True)
    )
