"""A small test set with everything that a report can show, some of it hostile."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from helpers import SAMPLE_RATE, sing

from asr.decoding.alignment import TokenRuns
from asr.report.illustrations import Illustration
from asr.report.page import write_report
from asr.scoring.assessment import Assessment, Comparison, assess
from asr.scoring.display import score_json
from asr.scoring.scored_set import Details

HOSTILE = "</script><img src=x onerror=window.pwned=1> <b>&amp; {{7*7}} \u2028 '\""
TOKENS = ("<blank>", " ", "a", "b", "</text>")

# id -> reference, hypothesis, speaker, seconds; errors: u1 0, u2 1 S, u3 1 D + 1 I, u10 three I of three words
UTTERANCES = {
    "u1": ("a bad cab", "a bad cab", "anna", 1.5),
    "u2": ("a dead bee", "a dad bee", "bert", 3.0),
    "u10": ("add", "add " + HOSTILE.split()[0] + " x y", "anna", 12.0),
    "u3": ("fee fed gab", "fed gab deaf", HOSTILE, 25.0),
}


def assessment(
    utterances: Mapping[str, tuple[str, str, str | None, float | None]] = UTTERANCES,
    name: str = "small",
    system: str = HOSTILE,
    normalizers: tuple[str, ...] = ("basic",),
) -> Assessment:
    return assess(
        name,
        system,
        {id: row[0] for id, row in utterances.items()},
        {id: row[1] for id, row in utterances.items()},
        {id: Details(row[2], row[3], {"accent": HOSTILE if id == "u3" else "plain"}) for id, row in utterances.items()},
        Comparison(normalizers=normalizers, fields=("accent",)),
    )


def runs(*spans: tuple[int, int, int]) -> TokenRuns:
    """Of (token, first frame, one past the last)."""
    columns = np.array(spans, dtype=np.int64).reshape(-1, 3)
    return TokenRuns(*columns.T, np.zeros(len(columns), dtype=np.float32))


def illustration(id: str = "u2", seconds: float = 2.0) -> Illustration:
    """Sung audio with posteriors of 50 frames a second: blank but for an "a" at frames 10-12 and a "b" at 20."""
    waveform = np.resize(sing("abcd", np.random.default_rng(0)), round(seconds * SAMPLE_RATE))
    posteriors = np.tile(np.float32([0.98, 0.005, 0.005, 0.005, 0.005]), (round(50 * seconds), 1))
    posteriors[10:13] = [0.1, 0.0, 0.7, 0.2, 0.0]
    posteriors[20:21] = [0.0, 0.0, 0.0, 0.6, 0.4]
    return Illustration(
        id,
        waveform,
        SAMPLE_RATE,
        posteriors,
        TOKENS,
        0.02,
        hypothesis_runs=runs((2, 10, 13), (1, 15, 16), (3, 20, 21), (4, 22, 23)),
        reference_runs=runs((2, 10, 12)),
    )


def write(path: Path, whole: Assessment | None = None, illustrations: tuple[Illustration, ...] = ()) -> None:
    whole = whole or assessment()
    summary = score_json(whole, audio_seconds=41.5, decode_seconds=0.5, decoder={"name": "beam", "lm": {"weight": 0.5}})
    write_report(path, whole.scored, summary, whole.breakdowns, illustrations)
