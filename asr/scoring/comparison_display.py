"""Two runs compared in every way there is.

`compare_runs` puts the numbers together, `verdict` says in words what they mean, the tables lay them out. Figures of
one system come from the alignment that it was scored with; the tests have their own, sclite's unless asked otherwise.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from rich import box
from rich.table import Table
from rich.text import Text

from asr.errors import ScoringError
from asr.scoring.assessment import ALIGNMENTS
from asr.scoring.errors import ErrorCounts, realign
from asr.scoring.matched_pairs import (
    MatchedPairs,
    McNemar,
    SignTest,
    Wilcoxon,
    mapsswe,
    mcnemar,
    sign_test,
    speaker_rates,
    wilcoxon,
)
from asr.scoring.runs import Run
from asr.scoring.significance import (
    MIN_SPEAKERS,
    Interval,
    PairedBootstrap,
    paired_bootstrap,
    rate_change,
    wer_interval,
)

ALPHA = 0.05  # a difference with a smaller p is called significant
FEW_SPEAKERS = 8  # below, sc_stats warns, the normal approximation of Wilcoxon's test does not hold
FEW_SEGMENTS = 50  # below, the normal approximation of MAPSSWE is doubtful (Gillick & Cox 1989)
_STARS = ((0.001, "***"), (0.01, "**"), (ALPHA, "*"))  # as sc_stats prints them
_NOTHING = "–"


@dataclass(frozen=True, slots=True)
class System:
    """One of two systems on the test set."""

    name: str
    words: ErrorCounts
    interval: Interval | None


@dataclass(frozen=True, slots=True)
class SystemComparison:
    """Two systems on one test set. "Better" and differences are of the second against the first."""

    set: str
    first: System
    second: System
    num_utterances: int
    num_speakers: int | None  # None unless every utterance has one
    alignment: str  # of the tests
    bootstrap: PairedBootstrap | None
    matched_pairs: MatchedPairs
    sign: SignTest | None  # None without speakers
    wilcoxon: Wilcoxon | None
    mcnemar: McNemar

    @property
    def difference(self) -> float:
        """The second's word error rate minus the first's; infinite or 0 without reference words."""
        first, second = self.first.words, self.second.words
        return _ratio(_change(first, second), first.reference_length * second.reference_length)

    @property
    def relative(self) -> float:
        """The difference as a fraction of the first's rate; infinite where that is 0, 0 where both are."""
        return _relative(self.first.words, self.second.words)

    def to_json(self) -> dict[str, Any]:
        """Strict JSON: what has no finite value is None."""
        systems = {
            key: {"name": system.name, **_rates_json(system)}
            for key, system in (("first", self.first), ("second", self.second))
        }
        rates = {"difference": self.difference, "relative": self.relative}
        words = {"verdict": verdict(self), "cautions": cautions(self)}
        value: dict[str, Any] = _strict({**asdict(self), **systems, **rates, **words})
        return value


def compare_runs(first: Run, second: Run, names: Sequence[str], alignment: str = "sclite") -> SystemComparison:
    """Compare two systems on the same references.

    Args:
        first: the system to compare with
        second: the other one
        names: what to call the two
        alignment: of the tests, a name of `ALIGNMENTS`

    Raises:
        ScoringError: the references differ, or the runs were scored with different alignments.
    """
    own = [run.summary.get("alignment") or "levenshtein" for run in (first, second)]
    if own[0] != own[1]:
        raise ScoringError(
            f"expected two runs scored alike, got the alignment {own[0]} for {names[0]} and {own[1]} for {names[1]}: "
            "score both with the same --alignment"
        )
    speakers = {**second.scored.speakers, **{id: s for id, s in first.scored.speakers.items() if s is not None}}
    scores = (first.scored.score, second.scored.score)
    bootstrap = paired_bootstrap(*scores, speakers)
    old, new = (realign(each, ALIGNMENTS[alignment]) for each in scores)
    old_rates, new_rates = speaker_rates(old, speakers), speaker_rates(new, speakers)
    both = [speaker for speaker in old_rates if speaker in new_rates]  # one may have taken nothing as said
    pairs = ([old_rates[speaker] for speaker in both], [new_rates[speaker] for speaker in both])
    return SystemComparison(
        set=first.name,
        first=System(names[0], scores[0].words, wer_interval(scores[0], speakers)),
        second=System(names[1], scores[1].words, wer_interval(scores[1], speakers)),
        num_utterances=len(scores[0].utterances),
        num_speakers=len(set(speakers.values())) if None not in speakers.values() else None,
        alignment=alignment,
        bootstrap=bootstrap,
        matched_pairs=mapsswe(old, new),
        sign=sign_test(*pairs) if both else None,
        wilcoxon=wilcoxon(*pairs) if both else None,
        mcnemar=mcnemar(old, new),
    )


# ---- in words --------------------------------------------------------------------------------------------------------


def verdict(comparison: SystemComparison) -> str:
    """Which system is better, by how much, and whether that is more than chance, in a sentence."""
    pairs = comparison.matched_pairs
    better, worse = comparison.second, comparison.first
    if pairs.mean < 0:  # the first makes fewer errors
        better, worse = worse, better
    rates = f"{_percent(better.words.rate, 1)} against {_percent(worse.words.rate, 1)} word error rate"
    chance = f"p {_p_value(pairs.p, sign='= ')} by MAPSSWE"
    # The rates may be of another alignment than the test; where they disagree there is nothing to call better.
    relative = _relative(worse.words, better.words)
    if pairs.p < ALPHA and relative < 0:
        share = -100 * relative
        return (
            f"{better.name} is better than {worse.name}: {rates}, {share:.1f} % fewer errors; significant ({chance})."
        )
    if pairs.mean == 0 and pairs.standard_deviation == 0:
        rate = _percent(comparison.first.words.rate, 1)
        return f"No difference between {worse.name} and {better.name}: both have {rate} word error rate, everywhere."
    return f"No significant difference between {better.name} and {worse.name}: {rates} ({chance})."


def cautions(comparison: SystemComparison) -> list[str]:
    """What to keep in mind before believing the numbers."""
    found = []
    speakers, segments = comparison.num_speakers, comparison.matched_pairs.num_segments
    if speakers is None:
        found.append(
            "The speakers are not known: utterances are taken to be independent, which makes intervals too narrow, and "
            "the tests over speakers are left out."
        )
    elif speakers < MIN_SPEAKERS:
        found.append(
            f"{_number(speakers, 'speaker')} only: the intervals are over utterances, and say little of other voices."
        )
    elif speakers < FEW_SPEAKERS:
        found.append(
            f"{_number(speakers, 'speaker')} only: intervals over speakers are rough, and the tests over speakers find "
            "only large differences."
        )
    if 0 < segments < FEW_SEGMENTS:
        found.append(f"{_number(segments, 'segment')} only: MAPSSWE asks for about {FEW_SEGMENTS}.")
    return found


# ---- tables ----------------------------------------------------------------------------------------------------------


def systems_table(comparison: SystemComparison) -> Table:
    """Both systems and their difference, each with its 95 % interval."""
    rows = []
    for system in (comparison.first, comparison.second):
        words = system.words
        counts = (f"{words.errors:,}", f"{words.reference_length:,}")
        rows.append((system.name, _percent(words.rate), _interval(system.interval), *counts))
    change = _minus(f"{comparison.second.words.errors - comparison.first.words.errors:+,}")
    bootstrap = comparison.bootstrap
    points = _interval(bootstrap.difference if bootstrap else None, signed=True)
    share = _interval(bootstrap.relative if bootstrap else None, signed=True)
    rows.append(("difference in points", _percent(comparison.difference, signed=True), points, change, ""))
    rows.append(("difference relative", _percent(comparison.relative, signed=True), share, "", ""))
    return plain_table((comparison.set, "WER", "95 % interval", "errors", "of words"), rows)


def tests_table(comparison: SystemComparison) -> Table:
    """Every test, what it found and its p; stars as sc_stats prints them."""
    rows = []
    for name, found, p in _tests(comparison):
        stars = next((mark for limit, mark in _STARS if p is not None and p < limit), "")
        rows.append((name, found, _NOTHING if p is None else _p_value(p), stars))
    return plain_table(("test", "found", "p", ""), rows, left=(0, 1, 3))


def _tests(comparison: SystemComparison) -> Iterator[tuple[str, str, float | None]]:
    first, second = comparison.first.name, comparison.second.name
    pairs, sign, ranks = comparison.matched_pairs, comparison.sign, comparison.wilcoxon
    spread = _minus(f"mean {pairs.mean:.3f} ± {pairs.standard_deviation:.3f}, Z {_statistic(pairs.z)}")
    yield "MAPSSWE", f"{_number(pairs.num_segments, 'segment')}, {spread}", pairs.p
    if sign and ranks:
        found = f"{second} better on {sign.num_second_better}, worse on {sign.num_first_better}, equal {sign.num_equal}"
        yield "sign, speakers", found, sign.p
        found = _minus(f"{_number(ranks.num_speakers, 'speaker')}, Z {_statistic(ranks.z)}")
        yield "Wilcoxon, speakers", found, ranks.p
    else:
        yield "sign, Wilcoxon", "no speakers", None
    both = comparison.mcnemar
    found = f"only {second} right {both.num_only_second_correct}, only {first} {both.num_only_first_correct}"
    yield "McNemar, sentences", found, both.p


def plain_table(headings: Sequence[str], rows: Iterable[Sequence[str]], left: Sequence[int] = (0,)) -> Table:
    """A table of plain text, for names that look like markup too; columns are to the right but for those in `left`."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for index, heading in enumerate(headings):
        table.add_column(Text(heading), justify="left" if index in left else "right", overflow="fold")
    for row in rows:
        table.add_row(*map(Text, row))
    return table


def improvement(comparison: SystemComparison) -> str:
    """The probability of improvement, in a sentence."""
    bootstrap = comparison.bootstrap
    if bootstrap is None:
        return "One utterance: nothing to resample, so no intervals."
    share, unit = _percent(bootstrap.improvement, 1), bootstrap.difference.unit
    systems = f"{comparison.second.name} improves on {comparison.first.name}"
    return f"Probability that {systems}, by paired bootstrap over {unit}s: {share}."


# ---- figures ---------------------------------------------------------------------------------------------------------


def _percent(rate: float, digits: int = 2, *, signed: bool = False) -> str:
    if not math.isfinite(rate):
        return _NOTHING
    return _minus(f"{100 * rate:{'+' if signed else ''}.{digits}f} %")


def _change(first: ErrorCounts, second: ErrorCounts) -> int:
    return rate_change(first.errors, first.reference_length, second.errors, second.reference_length)


def _relative(first: ErrorCounts, second: ErrorCounts) -> float:
    return _ratio(_change(first, second), first.errors * max(second.reference_length, 1))


def _ratio(numerator: int, denominator: int) -> float:
    if denominator:
        return numerator / denominator
    return math.copysign(math.inf, numerator) if numerator else 0.0


def _minus(text: str) -> str:
    return text.replace("-", "−")


def _statistic(z: float | None) -> str:
    return _NOTHING if z is None else f"{z:.3f}"


def _interval(interval: Interval | None, *, signed: bool = False) -> str:
    if interval is None:
        return _NOTHING
    low, high = (_percent(bound, signed=signed) for bound in (interval.low, interval.high))
    return f"{low.removesuffix(' %')} … {high}"


def _p_value(p: float, sign: str = "") -> str:
    return "< 0.001" if p < 0.001 else f"{sign}{p:.3f}"


def _number(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def _rates_json(system: System) -> dict[str, Any]:
    words, interval = system.words, system.interval
    return {
        "wer": words.rate,
        "wer_ci95": [interval.low, interval.high] if interval else [None, None],
        "substitutions": words.substitutions,
        "deletions": words.deletions,
        "insertions": words.insertions,
        "reference_words": words.reference_length,
    }


def _strict(value: Any) -> Any:
    """JSON has no NaN and no infinity: None stands for them."""
    if isinstance(value, dict):
        return {key: _strict(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_strict(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
