"""The page: what stands on it, and the file it becomes."""

from __future__ import annotations

import base64
import hashlib
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template
from markupsafe import Markup

from asr.errors import ScoringError
from asr.files import write_text
from asr.progress import track
from asr.report import figures
from asr.report.bars import chart
from asr.report.clips import clip
from asr.report.figures import Picture, draw
from asr.report.tallies import tallies
from asr.scoring.breakdown import Breakdown
from asr.scoring.errors import UtteranceErrors
from asr.scoring.scored_set import ScoredSet
from asr.types import Seconds

if TYPE_CHECKING:
    from asr.report.illustrations import Illustration  # needs torch, which scoring does without

HERE = Path(__file__).parent
MOST_TALLIED = 50
MAX_CLIP_SECONDS = 40.0  # of a longer recording the page holds the beginning, and says so
NOTHING = "–"  # for what has no finite value or is unknown


@dataclass(frozen=True, slots=True)
class Exhibit:
    """One of the worst utterances, with what there is to hear and see of it."""

    errors: UtteranceErrors
    speaker: str | None
    duration: Seconds
    shown_seconds: Seconds  # less than the duration where only the beginning is shown
    audio: str | None  # `data:` URL; None where there are no samples
    picture: Picture | None


def write_report(
    path: Path,
    scored: ScoredSet,
    summary: Mapping[str, Any],
    breakdowns: Sequence[Breakdown],
    illustrations: Sequence[Illustration],
    show_progress: bool = False,
) -> None:
    """Write a scored test set as one self-contained HTML file, whole or not at all.

    Args:
        path: the file
        scored: the test set; every utterance is in the table
        summary: the object of score.json (`asr.scoring.display.score_json`)
        breakdowns: error rates of groups, drawn as bars
        illustrations: utterances to hear and see, in the order of the page
        show_progress: a bar on standard error while they are drawn

    Raises:
        ScoringError: an illustration belongs to no utterance of the set.
        OutputError: the file cannot be written.
    """
    exhibits = _exhibits(scored, illustrations, show_progress)
    style, script = (_resource(name) for name in ("style.css", "script.js"))
    page = _template().render(
        scored=scored,
        summary=summary,
        variants={"as scored": summary, **summary["normalized"]},
        rate_name=_rate_name(summary),
        charts=[chart(breakdown) for breakdown in breakdowns],
        tallies=tallies(scored.score, MOST_TALLIED),
        exhibits=exhibits,
        table=_table(scored, exhibits),
        layout=figures,
        policy=_policy(style, script),
        style=Markup(style),
        script=Markup(script),
    )
    write_text(path, page)


def _exhibits(scored: ScoredSet, illustrations: Sequence[Illustration], show_progress: bool) -> list[Exhibit]:
    errors = {utterance.id: utterance for utterance in scored.score.utterances}
    if strange := [item.id for item in illustrations if item.id not in errors]:
        raise ScoringError(f"expected illustrations of utterances of {scored.name}, got one of {strange[0]}")
    drawn = track(illustrations, "drawing", total=len(illustrations), shown=show_progress)
    return [_exhibit(errors[item.id], scored.details[item.id].speaker, item) for item in drawn]


def _exhibit(errors: UtteranceErrors, speaker: str | None, illustration: Illustration) -> Exhibit:
    shown = illustration.beginning(MAX_CLIP_SECONDS)
    return Exhibit(
        errors=errors,
        speaker=speaker,
        duration=illustration.duration,
        shown_seconds=shown.duration,
        audio=clip(shown.waveform, shown.sample_rate) if len(shown.waveform) else None,
        picture=draw(shown),
    )


def _table(scored: ScoredSet, exhibits: Sequence[Exhibit]) -> dict[str, Any]:
    """What the script makes the table of: a list of values for each utterance, small as there may be many."""
    places = {exhibit.errors.id: place for place, exhibit in enumerate(exhibits, start=1)}
    return {
        "has_speakers": any(details.speaker is not None for details in scored.details.values()),
        "has_durations": any(details.duration is not None for details in scored.details.values()),
        "rows": [
            [
                utterance.id,
                scored.details[utterance.id].speaker,
                scored.details[utterance.id].duration,
                utterance.reference,
                utterance.hypothesis,
                utterance.operations,
                places.get(utterance.id),
            ]
            for utterance in scored.score.utterances
        ],
    }


def _policy(style: str, script: str) -> str:
    """A Content-Security-Policy that allows these two inline texts by their hashes, and nothing from anywhere."""
    return (
        f"default-src 'none'; script-src '{_hash(script)}'; style-src '{_hash(style)}'; "
        "img-src data:; media-src data:; base-uri 'none'; form-action 'none'"
    )


def _hash(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode("ascii")


def _resource(name: str) -> str:
    return (HERE / name).read_text(encoding="utf-8")


@cache
def _template() -> Template:
    environment = Environment(
        loader=FileSystemLoader(HERE), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters.update(percent=percent, clock=clock, number=number, setting_rows=setting_rows)
    return environment.get_template("page.html.j2")


def _rate_name(summary: Mapping[str, Any]) -> str:
    if summary["folding"]:
        return "Phone error rate"
    return "Character error rate" if summary["unit"] == "character" else "Word error rate"


def percent(rate: float | None, decimals: int = 2) -> str:
    r"""A fraction as the page writes it.

    >>> percent(0.0512).replace("\N{NO-BREAK SPACE}", " ")
    '5.12 %'
    """
    if rate is None or not math.isfinite(rate):
        return NOTHING
    return f"{100 * rate:.{decimals}f}\N{NO-BREAK SPACE}%"


def clock(seconds: Seconds | None) -> str:
    """A length of time in hours, minutes and seconds.

    >>> clock(3725.4)
    '1:02:05'
    """
    if seconds is None:
        return NOTHING
    minutes, seconds = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02d}:{seconds:02d}"


def number(value: float | None, spec: str = ",") -> str:
    """A number with its thousands parted, or what `spec` says."""
    return NOTHING if value is None else format(value, spec)


def setting_rows(settings: Mapping[str, Any] | str, prefix: str = "") -> Iterator[tuple[str, str]]:
    """The settings of a decoder, those inside others with dots: ("rescoring.weight", "0.3")."""
    if isinstance(settings, str):
        yield "name", settings
        return
    for name, value in settings.items():
        if isinstance(value, Mapping):
            yield from setting_rows(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", str(value)
