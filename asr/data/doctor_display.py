"""What a person reads of the manifest doctor's report, as rich renderables; printing them is the command line's."""

from __future__ import annotations

import unicodedata
from collections import defaultdict
from collections.abc import Mapping, Sequence
from itertools import pairwise

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from asr.data.census import Census, Distribution
from asr.data.doctor import Repaired, Report
from asr.data.findings import SEVERITIES, Finding
from asr.text.normalize import describe_character

SECONDS_IN_HOUR = 3600
BAR_CELLS = 24
EIGHTHS = " ▏▎▍▌▋▊▉"
STYLES = {"error": "bold red", "warning": "yellow", "note": "cyan"}
SPEAKERS_SHOWN = 8
FINDINGS_SHOWN = 8  # of each kind; --json has all
CHARACTERS_SHOWN = 120
UNKNOWN_SHOWN = 10
NO_REMEDIES: Mapping[str, str] = {}


def show_report(report: Report, num_manifests: int, remedies: Mapping[str, str] = NO_REMEDIES) -> RenderableType:
    """Headline, histograms, speakers, alphabet; then every kind of finding with its first few, and the verdict.

    remedies: a finding's code -> what mends it, a command or a sentence.
    """
    census = report.census
    parts: list[RenderableType] = [_headline(census, num_manifests), ""]
    if census.num_utterances:
        parts += [_histograms(census), "", _speakers(census), _alphabet(census.alphabet), ""]
    if report.unknown_symbols:
        parts += [_unknown_symbols(report.unknown_symbols), ""]
    return Group(*parts, show_findings(report.findings, remedies), _verdict(report))


def show_findings(findings: Sequence[Finding], remedies: Mapping[str, str] = NO_REMEDIES) -> RenderableType:
    """Every kind of finding, gravest first, with its number, its first few, and what mends it."""
    by_code: defaultdict[str, list[Finding]] = defaultdict(list)
    for finding in findings:
        by_code[finding.code].append(finding)
    return Group(*(_kind(code, by_code[code], remedies.get(code)) for code in SEVERITIES if code in by_code))


def show_repaired(repaired: Repaired, num_before: int, path: str) -> RenderableType:
    """What `--fix` did, one line for each reason."""
    hours = sum(utterance.duration for utterance in repaired.utterances) / SECONDS_IN_HOUR
    kept = f"{len(repaired.utterances):,} of {num_before:,} utterances, {hours:.2f} h"
    lines = [Text.assemble(("Wrote ", "bold"), f"{path}: {kept}")]
    for verb, counts in (("dropped", repaired.dropped), ("changed", repaired.changed)):
        lines += [Text(f"  {verb} {count:,} for {code}") for code, count in sorted(counts.items())]
    return Group(*lines)


def bar(value: float, largest: float, num_cells: int = BAR_CELLS) -> str:
    """A bar of block characters, exact to an eighth of a cell; anything above zero shows.

    >>> bar(3, 4, num_cells=6)
    '████▌'
    """
    eighths = round(8 * num_cells * value / largest) if largest else 0
    eighths = max(eighths, 1 if value else 0)
    return ("█" * (eighths // 8) + EIGHTHS[eighths % 8]).rstrip()


def _headline(census: Census, num_manifests: int) -> Text:
    hours = f"{census.seconds / SECONDS_IN_HOUR:.2f} hours"
    speakers = f"{len(census.speakers):,} speaker{_s(len(census.speakers))}"
    manifests = f"{num_manifests} manifest{_s(num_manifests)}"
    utterances = f"{census.num_utterances:,} utterance{_s(census.num_utterances)}"
    return Text(" · ".join((hours, utterances, speakers, manifests)), style="bold")


def _histograms(census: Census) -> Table:
    grid = Table.grid(padding=(0, 4))
    named = {"seconds": census.durations, "characters a second": census.rates}
    grid.add_row(*(_histogram(name, values) for name, values in named.items() if values is not None))
    return grid


def _histogram(name: str, values: Distribution) -> Table:
    table = Table.grid(padding=(0, 1))
    table.add_column(justify="right", no_wrap=True)
    table.add_column(no_wrap=True, width=BAR_CELLS)
    table.add_column(justify="right", no_wrap=True)
    table.title, table.title_justify = f"{name}, median {values.median:.1f}", "left"
    table.title_style = "bold"
    labels = [f"{low:g}–{high:g}" for low, high in pairwise(values.edges)]
    if values.is_open_ended:
        labels[-1] = f"{values.edges[-2]:g}–{values.maximum:.1f}"
    for label, count in zip(labels, values.counts):
        table.add_row(label, Text(bar(count, max(values.counts)), style="blue"), f"{count:,}")
    return table


def _speakers(census: Census) -> RenderableType:
    if not census.speakers:
        return Text("No utterance names its speaker.\n")
    table = Table.grid(padding=(0, 2))
    table.add_row(Text("speaker", style="bold"), Text("utterances", style="bold"), Text("minutes", style="bold"))
    for column in table.columns[1:]:
        column.justify = "right"
    shown = list(census.speakers.items())[:SPEAKERS_SHOWN]
    for name, share in shown:
        table.add_row(Text(name), f"{share.num_utterances:,}", f"{share.seconds / 60:.1f}")
    rest = list(census.speakers.values())[SPEAKERS_SHOWN:]
    if rest:
        utterances, seconds = sum(r.num_utterances for r in rest), sum(r.seconds for r in rest)
        table.add_row(f"{len(rest):,} more", f"{utterances:,}", f"{seconds / 60:.1f}", style="dim")
    return Group(table, "")


def _alphabet(alphabet: Mapping[str, int]) -> Text:
    text = Text.assemble((f"{len(alphabet)} character{_s(len(alphabet))}", "bold"))
    for character, count in list(alphabet.items())[:CHARACTERS_SHOWN]:
        text.append("  ")
        text.append(_visible(character), style="bold green")
        text.append(f" {count:,}", style="dim")
    if len(alphabet) > CHARACTERS_SHOWN:
        text.append(f"  and {len(alphabet) - CHARACTERS_SHOWN:,} rarer ones", style="dim")
    return text


def _visible(character: str) -> str:
    """The character itself, or its code point where it would not show or would sit on its neighbour."""
    if character == " ":
        return "␣"
    shows = unicodedata.category(character)[0] in "LNPS"
    return character if shows else f"U+{ord(character):04X}"


def _unknown_symbols(symbols: Mapping[str, int]) -> Text:
    text = Text("Not in the tokenizer", style="bold red")
    for symbol, count in list(symbols.items())[:UNKNOWN_SHOWN]:
        name = describe_character(symbol) if len(symbol) == 1 else repr(symbol)
        text.append(f"\n  {name} in {count:,} utterance{_s(count)}", style="default not bold")
    if len(symbols) > UNKNOWN_SHOWN:
        text.append(f"\n  and {len(symbols) - UNKNOWN_SHOWN:,} more", style="dim not bold")
    return text


def _kind(code: str, findings: Sequence[Finding], remedy: str | None) -> RenderableType:
    severity = SEVERITIES[code]
    parts: list[RenderableType] = [Text.assemble((f"{severity} {code}", STYLES[severity]), f"  {len(findings):,}")]
    for finding in findings[:FINDINGS_SHOWN]:
        line = Text()
        line.append(f"{finding.place}  " if finding.place else "", style="dim")
        line.append(f"{finding.utterance_id}  " if finding.utterance_id else "", style="bold")
        parts.append(Padding(line.append(finding.message), (0, 0, 0, 2), expand=False))
    if len(findings) > FINDINGS_SHOWN:
        parts.append(Text(f"  … and {len(findings) - FINDINGS_SHOWN:,} more; --json lists them all", style="dim"))
    if remedy is not None:
        parts.append(Text.assemble("  mend: ", (remedy, "bold")))
    return Group(*parts, "")


def _verdict(report: Report) -> Text:
    num_errors, num_warnings, num_notes = report.count("error"), report.count("warning"), report.count("note")
    if not num_errors + num_warnings:
        style, verdict = "bold green", "No problems found"
    else:
        style = STYLES["error" if num_errors else "warning"]
        verdict = f"{num_errors:,} error{_s(num_errors)}, {num_warnings:,} warning{_s(num_warnings)}"
    notes = f", {num_notes:,} note{_s(num_notes)}" if num_notes else ""
    heard = "" if report.num_listened else "; the audio was not opened"
    return Text(f"{verdict}{notes}{heard}.", style=style)


def _s(number: int) -> str:
    return "" if number == 1 else "s"
