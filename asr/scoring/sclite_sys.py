"""sclite's `.sys` and `.raw` reports: a table of percentages, and one of counts, by speaker."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from rich.cells import cell_len

from asr.scoring.errors import Score
from asr.scoring.sclite_parts import (
    Speaker,
    by_speaker,
    counts,
    mean,
    median,
    percentages,
    rounded,
    standard_deviation,
)
from asr.scoring.scored_set import ScoredSet

PAGE_WIDTH = 80
_HEADING = "SYSTEM SUMMARY PERCENTAGES by SPEAKER"  # above the counts, too
_HEADER = [" SPKR", " # Snt", "# Wrd", "Corr", " Sub", " Del", " Ins", " Err", "S.Err"]
_BARS = (0, 2)  # the columns that a bar follows; a space follows the others
_FOOTNOTES = """
* No Reference words for this/these speaker(s).  Word counts supplied
  rather than percents.
# No Reference words for this/these speaker(s).  NCE not computable.
+ Speaker(s) with no reference data is ignored
"""
_STATISTICS: dict[str, Callable[[Sequence[float]], float]] = {
    " Mean ": mean,
    " S.D. ": standard_deviation,
    "Median": median,
}


def sys_text(scored: ScoredSet) -> str:
    """Percentages of the reference words by speaker, their sum, and mean, S.D. and median over speakers.

    A speaker without reference words has counts, with a star, instead of percentages, and is left out of the
    statistics of all but the sentence errors. (sclite intends the same, but leaves out wrong ones when there are
    several.)
    """
    speakers = by_speaker(scored)
    spoken = [speaker for speaker in speakers if speaker.score.words.reference_length]
    mark = " " if len(spoken) == len(speakers) else "+"
    rates = [_rates(speaker.score) for speaker in spoken]
    sentence_rates = [_rates(speaker.score)[-1] for speaker in speakers]
    statistics = [
        _statistic_of_sizes(name, statistic, speakers)
        + [f"{rounded(statistic([row[column] for row in rates])):5.1f}{mark}" for column in range(5)]
        + [f"{rounded(statistic(sentence_rates)):5.1f} "]
        for name, statistic in _STATISTICS.items()
    ]
    rows = [_percent_row(f" {speaker.name} ", speaker.score) for speaker in speakers]
    total = [*_sizes(" Sum/Avg", scored.score), *(f"{rounded(rate):5.1f} " for rate in _rates(scored.score))]
    table = _Table(scored.system, rows, total, statistics)
    return table.text() + ("" if len(spoken) == len(speakers) else _FOOTNOTES)


def raw_text(scored: ScoredSet) -> str:
    """The same table with counts instead of percentages."""
    speakers = by_speaker(scored)
    columns = list(zip(*(_counts(speaker.score) for speaker in speakers)))
    statistics = [
        _statistic_of_sizes(name, statistic, speakers) + [f"{rounded(statistic(column)):5.1f} " for column in columns]
        for name, statistic in _STATISTICS.items()
    ]
    rows = [_count_row(f" {speaker.name} ", speaker.score) for speaker in speakers]
    return _Table(scored.system, rows, _count_row(" Sum", scored.score), statistics).text()


# ---- rows of cells ---------------------------------------------------------------------------------------------------


def _counts(score: Score) -> list[int]:
    return counts(score.words, score.sentence_errors)


def _rates(score: Score) -> list[float]:
    return percentages(score.words, score.sentence_errors, len(score.utterances))


def _sizes(name: str, score: Score) -> list[str]:
    return [name, f"{len(score.utterances):5d}", f"{score.words.reference_length:5d}"]


def _count_row(name: str, score: Score) -> list[str]:
    return [*_sizes(name, score), *(f"{count:5d} " for count in _counts(score))]


def _percent_row(name: str, score: Score) -> list[str]:
    *of_words, of_sentences = [f"{rounded(rate):5.1f} " for rate in _rates(score)]
    if not score.words.reference_length:
        of_words = [f"{count:5d}*" for count in _counts(score)[:-1]]
    return [*_sizes(name, score), *of_words, of_sentences]


def _statistic_of_sizes(
    name: str, statistic: Callable[[Sequence[float]], float], speakers: Sequence[Speaker]
) -> list[str]:
    sentences = statistic([len(speaker.score.utterances) for speaker in speakers])
    words = statistic([speaker.score.words.reference_length for speaker in speakers])
    return [name, f"{rounded(sentences):5.1f} ", f"{rounded(words):5.1f} "]


# ---- the table -------------------------------------------------------------------------------------------------------


def _left(text: str, width: int) -> str:
    return text + " " * (width - cell_len(text))


def _center(text: str, width: int) -> str:
    space = width - cell_len(text)
    return " " * (space // 2) + text + " " * (space - space // 2)


@dataclass(frozen=True)
class _Table:
    """Cells in a frame under a title; columns are as wide as their widest cell, and wider under a wide title."""

    title: str
    speakers: list[list[str]]
    total: list[str]
    statistics: list[list[str]]

    def text(self) -> str:
        """The page: heading, frame and rows."""
        widths = [max(map(cell_len, column)) for column in zip(*self._rows())]
        natural_width = sum(widths) + len(widths) - 1
        width = max(natural_width, cell_len(self.title))
        spaces = _spread(width - natural_width, len(widths))
        crossing = _join(["-" * (column + extra) for column, extra in zip(widths, spaces)], "-", "+")

        def line(row: list[str], align_name: Callable[[str, int], str] = _left) -> str:
            aligned = [align_name(row[0], widths[0]), *map(_center, row[1:], widths[1:])]
            return _join([_center(cell, column + extra) for cell, column, extra in zip(aligned, widths, spaces)])

        lines = [_center(self.title, width), "-" * width, line(_HEADER)]
        for row in self.speakers:
            lines += [crossing, line(row)]
        lines += ["=" * width, line(self.total), "=" * width]
        lines += [line(row, _center) for row in self.statistics]
        framed = ["," + "-" * width + ".", *(f"|{line}|" for line in lines), "`" + "-" * width + "'"]
        margin = " " * ((PAGE_WIDTH - width - 2) // 2)
        return "\n\n\n" + _center(_HEADING, PAGE_WIDTH) + "\n\n" + "".join(f"{margin}{line}\n" for line in framed)

    def _rows(self) -> list[list[str]]:
        return [_HEADER, *self.speakers, self.total, *self.statistics]


def _spread(space: int, num_columns: int) -> list[int]:
    """Share the space that a wide title leaves among columns, in whole characters."""
    ends = [round(space / num_columns * (column + 1)) for column in range(num_columns - 1)] + [space]
    return [end - start for start, end in zip([0, *ends], ends)]


def _join(cells: list[str], gap: str = " ", bar: str = "|") -> str:
    last = len(cells) - 1
    return "".join(
        cell + ("" if column == last else bar if column in _BARS else gap) for column, cell in enumerate(cells)
    )
