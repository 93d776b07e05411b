"""Texts and their audio aligned: when each word and token of a manifest is said.

Utterances that do not fit, for whatever reason, are noted and left out.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from asr.decoding.alignment import align, spans_of_text, words_from_spans
from asr.decoding.word_times import tokens_in_word, words_in_sound
from asr.errors import ConfigError, TargetError, TextError
from asr.evaluation import speech_batches
from asr.files import write_json_lines, write_text
from asr.recognizer import Recognizer
from asr.text.normalize import normalize
from asr.text.tokens import Tokenizer, TokenSpan
from asr.types import Seconds, Utterance, Word
from asr.writers import ctm, text_grid

FORMATS = ("ctm", "textgrid", "json")


def parse_formats(formats: str) -> list[str]:
    """The formats of a list with commas; raises `ConfigError` for an unknown one."""
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
        reasons: dict[str, str] = {}
        known = {utterance.id: utterance for utterance in self._normalized(utterances, reasons)}
        found: dict[str, AlignedUtterance] = {}
        texts = list(known.values())
        for batch in speech_batches(self.recognizer, texts, workers, "aligning", show_progress, unreadable=reasons):
            log_probs, lengths = self.recognizer.emissions(batch.waveforms, batch.waveform_lengths)
            log_probs, waveforms = log_probs.cpu(), batch.waveforms.cpu()
            for row, id in enumerate(batch.ids):
                samples = waveforms[row, : int(batch.waveform_lengths[row])].numpy()
                try:
                    found[id] = self._align(known[id], log_probs[row, : int(lengths[row])], samples)
                except TargetError as error:
                    reasons[id] = str(error)
        ids = [utterance.id for utterance in utterances]
        return Alignment([found[id] for id in ids if id in found], {id: reasons[id] for id in ids if id in reasons})

    def _normalized(self, utterances: Sequence[Utterance], reasons: dict[str, str]) -> Iterator[Utterance]:
        """Those whose texts the model can spell, normalised as it was trained."""
        for utterance in utterances:
            try:
                text = normalize(utterance.text, self.recognizer.case)
                self.recognizer.tokenizer.encode(text)
            except TextError as error:
                reasons[utterance.id] = str(error)
            else:
                yield replace(utterance, text=text)

    def _align(self, utterance: Utterance, log_probs: Tensor, samples: NDArray[np.float32]) -> AlignedUtterance:
        recognizer, tokenizer = self.recognizer, self.recognizer.tokenizer
        tokens = tokenizer.encode(utterance.text)
        runs = align(log_probs, tokens, utterance.id, confidence_temperature=self.confidence_temperature)
        frame_seconds = recognizer.samples_per_frame / recognizer.sample_rate
        duration = len(samples) / recognizer.sample_rate
        spans = spans_of_text(utterance.text, tokens, tokenizer)
        words = words_in_sound(
            words_from_spans(runs, spans, frame_seconds, duration), recognizer.sound_levels(samples), duration
        )
        return AlignedUtterance(
            utterance,
            duration,
            words=words,
            scores=tuple(float(runs.log_confidences[span.start : span.end].mean()) for span in spans),
            tokens=tuple(
                token
                for word, span in zip(words, spans)
                for token in tokens_in_word(
                    words_from_spans(runs, _pieces(span, tokens, tokenizer), frame_seconds), word
                )
            ),
        )


def _pieces(span: TokenSpan, tokens: Sequence[int], tokenizer: Tokenizer) -> list[TokenSpan]:
    """The tokens of a word, each by itself."""
    return [TokenSpan(tokenizer.vocab[tokens[index]], index, index + 1) for index in range(span.start, span.end)]


def write_alignment(
    alignment: Alignment, directory: Path, names: Mapping[str, str], formats: Sequence[str]
) -> list[str]:
    """Write the files of the formats asked for, and unaligned.jsonl; returns what was written.

    names: utterance id -> what it is called in CTM and as a file.
    """
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
