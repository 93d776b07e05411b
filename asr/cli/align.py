"""`asr align`: when each word and character of known texts is said."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from asr.cli.common import Device, ModelDirectory, load

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table
    from torch import Tensor

    from asr.data.dataset import SpeechDataset
    from asr.data.sampler import Draw
    from asr.recognizer import Recognizer
    from asr.types import Batch, Seconds, Utterance, Word

FORMATS = ("ctm", "textgrid", "json")
REASONS_SHOWN = 5


def align(
    model: ModelDirectory,
    manifest: Annotated[Path, typer.Argument(help="Utterances with their texts.", show_default=False)],
    output_dir: Annotated[
        Path | None,
        typer.Option(
            "-o",
            "--output-dir",
            help="Without it: align/<name of the manifest> beside the model directory.",
            show_default=False,
        ),
    ] = None,
    formats: Annotated[
        str, typer.Option("--format", "-f", help="Any of ctm, textgrid and json, with commas between.")
    ] = "ctm,textgrid,json",
    lowest: Annotated[int, typer.Option(min=0, help="How many of the lowest-scored words to show.")] = 10,
    device: Device = "auto",
    workers: Annotated[int, typer.Option(help="Threads that read audio ahead.")] = 2,
) -> None:
    """Find when each word and token of the manifest's texts is said, by forced alignment.

    Writes words.ctm and tokens.ctm, textgrid/<id>.TextGrid for Praat, alignment.jsonl, and unaligned.jsonl: the
    utterances that do not fit, each with the reason (too few frames for the text, symbols that the model does not
    know, audio that cannot be read). They do not change the exit code.

    Times are seconds from the start of the utterance: for one with an `offset` in the manifest, add it to get the
    time in the file. The confidence of a word, 0-1, is that all of its tokens are right; its score is the mean
    log-probability of its tokens, which does not depend on its length. A low score hints at a wrong text.

    [bold]Examples[/]

        asr align runs/mini_english/model librispeech-dev.jsonl -o aligned

        asr align runs/digits/model data/digits-synthetic/dev.jsonl -o aligned --format textgrid
    """
    import sys

    from rich.console import Console

    from asr.builders import read_decoding
    from asr.data.manifest import read_manifest
    from asr.writers import safe_names

    wanted = parse_formats(formats)
    utterances = read_manifest(manifest)
    names = safe_names([utterance.id for utterance in utterances])
    temperature = read_decoding(model).confidence_temperature
    aligner = Aligner(load(model, device), temperature)
    alignment = aligner.align_all(utterances, workers, show_progress=sys.stderr.isatty())
    directory = output_dir or model.resolve().parent / "align" / manifest.stem
    written = write_alignment(alignment, directory, names, wanted)
    console = Console()
    report(console, alignment, lowest)
    console.print(f"written: {directory}/{', '.join(written)}", highlight=False, soft_wrap=True)


def parse_formats(formats: str) -> list[str]:
    """The formats of a list with commas; raises `ConfigError` for an unknown one."""
    from asr.errors import ConfigError

    wanted = [name.strip() for name in formats.split(",")]
    for name in wanted:
        if name not in FORMATS:
            raise ConfigError(f"--format: expected any of {', '.join(FORMATS)} with commas between, got {name!r}")
    return wanted


@dataclass(frozen=True)
class AlignedUtterance:
    """Where an utterance's words and tokens lie, in seconds from its start."""

    utterance: Utterance
    duration: Seconds  # of its audio
    words: tuple[Word, ...]
    scores: tuple[float, ...]  # of the words: the mean log-probability of their tokens, each where it is highest
    tokens: tuple[Word, ...]  # without the spaces between words

    def to_json(self) -> dict[str, Any]:
        """A line of alignment.jsonl."""
        utterance = self.utterance
        return {
            "id": utterance.id,
            "audio_filepath": utterance.audio_filepath,
            "offset": utterance.offset,
            "duration": round(self.duration, 6),
            "text": utterance.text,
            "words": [{**_row("word", word), "score": round(score, 6)} for word, score in zip(self.words, self.scores)],
            "tokens": [_row("token", token) for token in self.tokens],
        }


def _row(name: str, word: Word) -> dict[str, Any]:
    times = {"start": round(word.start, 6), "end": round(word.end, 6)}
    return {name: word.text, **times, "confidence": round(word.confidence, 6)}


@dataclass(frozen=True)
class Alignment:
    """A manifest aligned, in its order."""

    aligned: Sequence[AlignedUtterance]
    unaligned: Mapping[str, str]  # utterance id -> why


class Aligner:
    """Aligns texts with their audio, and notes what does not fit."""

    def __init__(self, recognizer: Recognizer, confidence_temperature: float) -> None:
        self.recognizer = recognizer
        self.confidence_temperature = confidence_temperature

    def align_all(self, utterances: Sequence[Utterance], workers: int, show_progress: bool) -> Alignment:
        """Align every utterance that can be."""
        from asr.errors import TargetError

        reasons: dict[str, str] = {}
        known = {utterance.id: utterance for utterance in self._normalized(utterances, reasons)}
        found: dict[str, AlignedUtterance] = {}
        for batch in self._batches(list(known.values()), reasons, workers, show_progress):
            moved = batch.to(self.recognizer.device)
            log_probs, lengths = self.recognizer.emissions(moved.waveforms, moved.waveform_lengths)
            log_probs = log_probs.cpu()
            for row, id in enumerate(batch.ids):
                duration = int(batch.waveform_lengths[row]) / self.recognizer.sample_rate
                try:
                    found[id] = self._align(known[id], log_probs[row, : int(lengths[row])], duration)
                except TargetError as error:
                    reasons[id] = str(error)
        ids = [utterance.id for utterance in utterances]
        return Alignment([found[id] for id in ids if id in found], {id: reasons[id] for id in ids if id in reasons})

    def _normalized(self, utterances: Sequence[Utterance], reasons: dict[str, str]) -> Iterator[Utterance]:
        """Those whose texts the model can spell, normalised as it was trained."""
        from asr.errors import TextError
        from asr.text.normalize import normalize

        for utterance in utterances:
            try:
                text = normalize(utterance.text, self.recognizer.case)
                self.recognizer.tokenizer.encode(text)
            except TextError as error:
                reasons[utterance.id] = str(error)
            else:
                yield replace(utterance, text=text)

    def _batches(
        self, utterances: Sequence[Utterance], reasons: dict[str, str], workers: int, show_progress: bool
    ) -> Iterator[Batch]:
        """Batches of like length, less the utterances whose audio cannot be read."""
        import numpy as np
        from rich.console import Console
        from rich.progress import track

        from asr.data.audio_cache import AudioStore
        from asr.data.dataset import SpeechDataset
        from asr.data.sampler import Draw, plan_in_order
        from asr.evaluation import BATCH_SECONDS

        dataset = SpeechDataset(AudioStore(utterances, self.recognizer.sample_rate), [()] * len(utterances))
        durations = np.array([utterance.duration for utterance in utterances])
        plan = [[Draw(index, epoch=0) for index in batch] for batch in plan_in_order(durations, BATCH_SECONDS)]
        batches = load_readable(dataset, plan, reasons, workers)
        console = Console(stderr=True)
        yield from track(
            batches, "aligning", total=len(plan), console=console, transient=True, disable=not show_progress
        )

    def _align(self, utterance: Utterance, log_probs: Tensor, duration: Seconds) -> AlignedUtterance:
        from asr.decoding.alignment import align, spans_of_text, words_from_spans
        from asr.text.tokens import SPACE, TokenSpan

        tokenizer = self.recognizer.tokenizer
        tokens = tokenizer.encode(utterance.text)
        runs = align(log_probs, tokens, utterance.id, confidence_temperature=self.confidence_temperature)
        frame_seconds = self.recognizer.samples_per_frame / self.recognizer.sample_rate
        pieces = [TokenSpan(tokenizer.vocab[t], i, i + 1) for i, t in enumerate(tokens) if tokenizer.vocab[t] != SPACE]
        words = spans_of_text(utterance.text, tokens, tokenizer)
        return AlignedUtterance(
            utterance,
            duration,
            words=words_from_spans(runs, words, frame_seconds, duration),
            scores=tuple(float(runs.log_confidences[word.start : word.end].mean()) for word in words),
            tokens=words_from_spans(runs, pieces, frame_seconds, duration),
        )


def load_readable(
    dataset: SpeechDataset, plan: Sequence[Sequence[Draw]], reasons: dict[str, str], workers: int
) -> Iterator[Batch]:
    """Load the batches of a plan ahead, in threads; what cannot be read is left out and noted."""
    from concurrent.futures import Future, ThreadPoolExecutor

    from asr.data.dataset import Example, collate
    from asr.errors import AudioError

    def load_one(draws: Sequence[Draw]) -> list[Example]:
        examples = []
        for draw in draws:
            try:
                examples.append(dataset[draw])
            except AudioError as error:
                reasons[dataset.store.utterances[draw.index].id] = str(error)
        return examples

    with ThreadPoolExecutor(max(1, workers)) as pool:
        ahead: deque[Future[list[Example]]] = deque()
        for draws in [*plan, *[[]] * (workers + 1)]:  # the empty ones at the end let the last come out
            ahead.append(pool.submit(load_one, draws))
            if len(ahead) > workers + 1 and (examples := ahead.popleft().result()):
                yield collate(examples)


# ---- output ----------------------------------------------------------------------------------------------------------


def write_alignment(
    alignment: Alignment, directory: Path, names: Mapping[str, str], formats: Sequence[str]
) -> list[str]:
    """Write the files of the formats asked for, and unaligned.jsonl; returns what was written.

    names: utterance id -> what it is called in CTM and as a file.
    """
    from asr.files import write_json_lines, write_text
    from asr.writers import ctm, text_grid

    aligned = alignment.aligned
    named = {names[item.utterance.id]: item for item in aligned}
    written = []
    if "ctm" in formats:
        write_text(directory / "words.ctm", ctm({name: item.words for name, item in named.items()}))
        write_text(directory / "tokens.ctm", ctm({name: item.tokens for name, item in named.items()}))
        written += ["words.ctm", "tokens.ctm"]
    if "textgrid" in formats:
        for name, item in named.items():
            grid = text_grid({"words": item.words, "tokens": item.tokens}, item.duration)
            write_text(directory / "textgrid" / f"{name}.TextGrid", grid)
        written.append("textgrid/")
    if "json" in formats:
        write_json_lines(directory / "alignment.jsonl", (item.to_json() for item in aligned))
        written.append("alignment.jsonl")
    rows = ({"id": id, "reason": reason} for id, reason in alignment.unaligned.items())
    write_json_lines(directory / "unaligned.jsonl", rows)
    return [*written, "unaligned.jsonl"]


def report(console: Console, alignment: Alignment, num_lowest: int) -> None:
    """Print what was aligned, the least certain words, and what did not fit."""
    from rich.markup import escape

    console.print(summary(alignment))
    if num_lowest and any(item.words for item in alignment.aligned):
        console.print()
        console.print(lowest_words(alignment, num_lowest))
    unaligned = alignment.unaligned
    if unaligned:
        console.print(f"\n{len(unaligned)} utterances do not fit; unaligned.jsonl says why:", style="yellow")
    for id, reason in list(unaligned.items())[:REASONS_SHOWN]:
        console.print(f"  [bold]{escape(id)}[/]  {escape(reason)}", highlight=False, soft_wrap=True)
    if len(unaligned) > REASONS_SHOWN:
        console.print(f"  and {len(unaligned) - REASONS_SHOWN} more")


def summary(alignment: Alignment) -> Table:
    """How much was aligned, and how sure the model is of it."""
    from rich import box
    from rich.table import Table

    confidences = [word.confidence for item in alignment.aligned for word in item.words]
    mean = f"{sum(confidences) / len(confidences):.3f}" if confidences else "–"
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, show_header=False)
    table.add_column()
    table.add_column(justify="right")
    table.add_row("Utterances aligned", f"{len(alignment.aligned):,}", style="bold")
    table.add_row("Utterances that do not fit", f"{len(alignment.unaligned):,}")
    table.add_row("Words", f"{len(confidences):,}")
    table.add_row("Mean confidence", mean)
    table.add_row("Minutes of audio", f"{sum(item.duration for item in alignment.aligned) / 60:.1f}")
    return table


def lowest_words(alignment: Alignment, number: int) -> Table:
    """The words with the lowest scores, and where they are."""
    from rich import box
    from rich.markup import escape
    from rich.table import Table

    scored = [
        (score, word, item.utterance.id) for item in alignment.aligned for score, word in zip(item.scores, item.words)
    ]
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    table.add_column("lowest-scored words", overflow="fold")
    table.add_column("mean ln p", justify="right")
    table.add_column("seconds", justify="right")
    table.add_column("utterance", overflow="fold")
    for score, word, id in sorted(scored, key=lambda row: row[0])[:number]:
        table.add_row(escape(word.text), f"{score:.2f}", f"{word.start:.2f} – {word.end:.2f}", escape(id))
    return table
