"""A model on a test set: hypotheses, error rates and how long it took."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from rich.progress import track

from asr.data.audio_cache import AudioStore
from asr.data.dataset import SpeechDataset, load_batches
from asr.data.sampler import Draw, plan_in_order
from asr.errors import ManifestError
from asr.files import write_json, write_json_lines
from asr.recognizer import Recognizer
from asr.scoring.display import hypothesis_rows, score_json
from asr.scoring.errors import Score, score
from asr.text.normalize import normalize
from asr.types import Hypothesis, Seconds, Utterance

BATCH_SECONDS = 300.0  # of padded audio: the model's memory, a few hundred MB at most


@dataclass(frozen=True, slots=True)
class Evaluation:
    """The outcome for one test set."""

    score: Score
    summary: dict[str, Any]  # what score.json holds
    hypotheses: dict[str, Hypothesis]  # by utterance id

    def write(self, directory: Path) -> None:
        """Write score.json and hypotheses.jsonl."""
        write_json(directory / "score.json", self.summary)
        write_json_lines(directory / "hypotheses.jsonl", hypothesis_rows(self.score))


def evaluate(
    recognizer: Recognizer,
    utterances: Sequence[Utterance],
    *,
    num_workers: int = 2,
    show_progress: bool = False,
) -> Evaluation:
    """Transcribe every utterance and score it against its text, both normalised the way the model was trained.

    The time counts everything from the audio files to the text. Raises `AudioError` for audio that cannot be read:
    an error rate over a part of the set would not be its error rate.
    """
    if not utterances:
        raise ManifestError("expected at least one utterance to evaluate on, got none")
    utterances = [replace(u, text=normalize(u.text, recognizer.case)) for u in utterances]
    started = time.perf_counter()
    hypotheses = recognize_all(recognizer, utterances, num_workers, show_progress)
    decode_seconds = time.perf_counter() - started
    result = score({u.id: u.text for u in utterances}, {id: h.text for id, h in hypotheses.items()})
    audio_seconds: Seconds = sum(u.duration for u in utterances)
    speakers = {u.id: u.speaker for u in utterances}
    summary = score_json(result, audio_seconds, decode_seconds, recognizer.decoder.describe(), speakers)
    return Evaluation(result, summary, hypotheses)


def recognize_all(
    recognizer: Recognizer, utterances: Sequence[Utterance], num_workers: int, show_progress: bool
) -> dict[str, Hypothesis]:
    """A hypothesis for each utterance, batched by length."""
    dataset = SpeechDataset(AudioStore(utterances, recognizer.sample_rate), [()] * len(utterances))
    durations = np.array([utterance.duration for utterance in utterances])
    plan = [[Draw(index, epoch=0) for index in batch] for batch in plan_in_order(durations, BATCH_SECONDS)]
    found: dict[str, Hypothesis] = {}
    batches = load_batches(dataset, plan, num_workers)
    for batch in track(batches, "transcribing", total=len(plan), transient=True, disable=not show_progress):
        found.update(zip(batch.ids, recognizer.recognize(batch), strict=True))
    return {utterance.id: found[utterance.id] for utterance in utterances}
