"""Texts and their audio aligned: when each word and token of a manifest is said.

Utterances that do not fit, for whatever reason, are noted and left out.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from asr.decoding.alignment import align, words_from_spans
from asr.decoding.word_times import tokens_in_word, words_in_sound
from asr.errors import ConfigError, TargetError, TextError
from asr.evaluation import speech_batches
from asr.files import write_json_lines, write_text
from asr.recognizer import Recognizer
from asr.text.spelling import BRIDGE, SpokenText, SpokenWord, spoken_text
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
    text: SpokenText
    words: tuple[Word, ...]  # those of which anything is said
    scores: tuple[float, ...]  # of the words: the mean log-probability of their tokens, each where it is highest
    tokens: tuple[Word, ...]  # of the words that are spelt, without the spaces between words

    @property
    def scored_words(self) -> list[tuple[float, Word]]:
        """The words that are spelt, with their scores."""
        return [
            (score, word) for spoken, word, score in zip(self.text.said, self.words, self.scores) if spoken.is_spelt
        ]

    def to_json(self) -> dict[str, Any]:
        """A line of alignment.jsonl."""
        utterance = self.utterance
        return {
            "id": utterance.id,
            "audio_filepath": utterance.audio_filepath,
            "offset": utterance.offset,
            "duration": round(self.duration, 6),
            "text": utterance.text,
            "unspelt": list(self.text.unspelt),
            "words": [_word_row(*row) for row in zip(self.text.said, self.words, self.scores)],
            "tokens": [{**_row("token", token), "confidence": round(token.confidence, 6)} for token in self.tokens],
        }


def _word_row(spoken: SpokenWord, word: Word, score: float) -> dict[str, Any]:
    """A word of alignment.jsonl. Of one that is bridged only the place is known."""
    spelt = spoken.is_spelt
    return {
        **_row("word", word),
        "confidence": round(word.confidence, 6) if spelt else None,
        "score": round(score, 6) if spelt else None,
        "written": spoken.written,
        "spelt": spelt,
    }


def _row(name: str, word: Word) -> dict[str, Any]:
    return {name: word.text, "start": round(word.start, 6), "end": round(word.end, 6)}


@dataclass(frozen=True)
class Alignment:
    """A manifest aligned, in its order."""

    aligned: Sequence[AlignedUtterance]
    unaligned: Mapping[str, str]  # utterance id -> why

    @property
    def bridged(self) -> Counter[str]:
        """Words that are said but cannot be spelt, and how often."""
        return self._count(lambda word: bool(word.tokens) and not word.is_spelt)

    @property
    def left_out(self) -> Counter[str]:
        """Words of which nothing is said, and how often."""
        return self._count(lambda word: not word.tokens)

    def _count(self, counts: Callable[[SpokenWord], bool]) -> Counter[str]:
        return Counter(word.text for item in self.aligned for word in item.text.words if counts(word))


class Aligner:
    """Aligns texts with their audio, and notes what does not fit."""

    def __init__(self, recognizer: Recognizer, confidence_temperature: float) -> None:
        self.recognizer = recognizer
        self.confidence_temperature = confidence_temperature

    def align_all(self, utterances: Sequence[Utterance], workers: int, show_progress: bool) -> Alignment:
        """Align every utterance that can be."""
        reasons: dict[str, str] = {}
        texts = self._spoken_texts(utterances, reasons)
        known = {utterance.id: utterance for utterance in utterances if utterance.id in texts}
        found: dict[str, AlignedUtterance] = {}
        batches = speech_batches(
            self.recognizer, list(known.values()), workers, "aligning", show_progress, unreadable=reasons
        )
        for batch in batches:
            log_probs, lengths = self.recognizer.emissions(batch.waveforms, batch.waveform_lengths)
            log_probs, waveforms = log_probs.cpu(), batch.waveforms.cpu()
            for row, id in enumerate(batch.ids):
                samples = waveforms[row, : int(batch.waveform_lengths[row])].numpy()
                try:
                    found[id] = self._align(known[id], texts[id], log_probs[row, : int(lengths[row])], samples)
                except TargetError as error:
                    reasons[id] = str(error)
        ids = [utterance.id for utterance in utterances]
        return Alignment([found[id] for id in ids if id in found], {id: reasons[id] for id in ids if id in reasons})

    def _spoken_texts(self, utterances: Sequence[Utterance], reasons: dict[str, str]) -> dict[str, SpokenText]:
        """What is said by the texts of which the model can spell anything."""
        texts = {}
        for utterance in utterances:
            try:
                texts[utterance.id] = spoken_text(utterance.text, self.recognizer.case, self.recognizer.tokenizer)
            except TextError as error:
                reasons[utterance.id] = str(error)
        return texts

    def _align(
        self, utterance: Utterance, text: SpokenText, log_probs: Tensor, samples: NDArray[np.float32]
    ) -> AlignedUtterance:
        recognizer = self.recognizer
        runs = align(
            log_probs,
            text.tokens,
            utterance.id,
            confidence_temperature=self.confidence_temperature,
            bridge_id=BRIDGE,
        )
        frame_seconds = recognizer.samples_per_frame / recognizer.sample_rate
        duration = len(samples) / recognizer.sample_rate
        words = words_in_sound(
            words_from_spans(runs, text.spans, frame_seconds, duration), recognizer.sound_levels(samples), duration
        )
        tokens: list[Word] = []
        for spoken, word, span in zip(text.said, words, text.spans):
            if spoken.is_spelt:
                pieces = _pieces(span, text.tokens, recognizer.tokenizer)
                tokens += tokens_in_word(words_from_spans(runs, pieces, frame_seconds), word)
        return AlignedUtterance(
            utterance,
            duration,
            text,
            words=words,
            scores=tuple(float(runs.log_confidences[span.start : span.end].mean()) for span in text.spans),
            tokens=tuple(tokens),
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
