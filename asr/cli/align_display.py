"""What `asr align` shows: how much was aligned, the least certain words, and what did not fit."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections import Counter

    from rich.console import Console
    from rich.table import Table

    from asr.alignment import Alignment

REASONS_SHOWN = 5
WORDS_SHOWN = 10


def report(console: Console, alignment: Alignment, num_lowest: int) -> None:
    """Print what was aligned, the least certain words, and what did not fit."""
    from rich.markup import escape

    console.print(summary(alignment))
    if num_lowest and any(item.scored_words for item in alignment.aligned):
        console.print()
        console.print(lowest_words(alignment, num_lowest))
    for what, words in (
        ("Bridged, as the model has no tokens for them", alignment.bridged),
        ("Left out, as nothing is said", alignment.left_out),
    ):
        if words:
            console.print(f"\n{what}: {escape(listed(words))}", highlight=False, soft_wrap=True)
    if any(character.isdecimal() for word in alignment.bridged for character in word):
        console.print("`asr data normalize` writes numbers out.", highlight=False)
    unaligned = alignment.unaligned
    if unaligned:
        console.print(f"\n{len(unaligned)} utterances do not fit; unaligned.jsonl says why:", style="yellow")
    for id, reason in list(unaligned.items())[:REASONS_SHOWN]:
        console.print(f"  [bold]{escape(id)}[/]  {escape(reason)}", highlight=False, soft_wrap=True)
    if len(unaligned) > REASONS_SHOWN:
        console.print(f"  and {len(unaligned) - REASONS_SHOWN} more")


def listed(words: Counter[str]) -> str:
    """The most frequent words, and how often each occurs."""
    shown = [word if count == 1 else f"{word} ({count:,})" for word, count in words.most_common(WORDS_SHOWN)]
    return ", ".join(shown) + (" …" if len(words) > WORDS_SHOWN else "")


def summary(alignment: Alignment) -> Table:
    """How much was aligned, and how sure the model is of it."""
    from rich import box
    from rich.table import Table

    confidences = [word.confidence for item in alignment.aligned for _, word in item.scored_words]
    mean = f"{sum(confidences) / len(confidences):.3f}" if confidences else "–"
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, show_header=False)
    table.add_column()
    table.add_column(justify="right")
    table.add_row("Utterances aligned", f"{len(alignment.aligned):,}", style="bold")
    table.add_row("Utterances that do not fit", f"{len(alignment.unaligned):,}")
    table.add_row("Words aligned", f"{len(confidences):,}")
    if alignment.bridged:
        table.add_row("Words bridged", f"{alignment.bridged.total():,}")
    table.add_row("Mean confidence", mean)
    table.add_row("Minutes of audio", f"{sum(item.duration for item in alignment.aligned) / 60:.1f}")
    return table


def lowest_words(alignment: Alignment, number: int) -> Table:
    """The words with the lowest scores, and where they are."""
    from rich import box
    from rich.markup import escape
    from rich.table import Table

    scored = [(score, word, item.utterance.id) for item in alignment.aligned for score, word in item.scored_words]
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    table.add_column("lowest-scored words", overflow="fold")
    table.add_column("mean ln p", justify="right")
    table.add_column("seconds", justify="right")
    table.add_column("utterance", overflow="fold")
    for score, word, id in sorted(scored, key=lambda row: row[0])[:number]:
        table.add_row(escape(word.text), f"{score:.2f}", f"{word.start:.2f} – {word.end:.2f}", escape(id))
    return table
