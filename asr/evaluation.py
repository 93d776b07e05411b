"""A model on a test set: hypotheses, error rates and how long it took."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from asr.data.audio_cache import AudioStore
from asr.data.dataset import SpeechDataset, load_batches
from asr.data.sampler import Draw, plan_in_order
from asr.emissions import EmissionBatch
from asr.errors import ManifestError
from asr.processes import ALONE, Processes
from asr.progress import track
from asr.recognizer import Recognizer
from asr.scoring.assessment import AS_WRITTEN, Assessment, Comparison, assess
from asr.scoring.display import score_json
from asr.scoring.scored_set import Details
from asr.text.normalize import normalize
from asr.types import Batch, Hypothesis, Seconds, Utterance

BATCH_SECONDS = 300.0  # of padded audio: the model's memory, a few hundred MB at most

OnEmissions = Callable[[EmissionBatch], None]


@dataclass(frozen=True, slots=True)
class Recognition:
    """What was recognised, by utterance id, and each utterance's even share of the time that its batch took."""

    hypotheses: dict[str, Hypothesis]
    seconds: dict[str, Seconds]


@dataclass(frozen=True, slots=True)
class Evaluation:
    """The outcome for one test set."""

    assessment: Assessment
    summary: dict[str, Any]  # what score.json holds
    recognition: Recognition
    utterances: Sequence[Utterance]  # with their texts as scored

    def nbest_rows(self) -> list[dict[str, Any]]:
        """Rows of `nbest.jsonl`, the best of an utterance first; none where there are no alternatives.

        A score is the sum of its parts, natural logarithms.
        """
        ranked = {id: (best, *best.alternatives) for id, best in self.recognition.hypotheses.items()}
        if all(len(hypotheses) == 1 for hypotheses in ranked.values()):
            return []
        return [
            {"id": id, "rank": rank, "text": h.text, "score": h.score, "parts": asdict(h.parts)}
            for id, hypotheses in ranked.items()
            for rank, h in enumerate(hypotheses, start=1)
        ]


def known_fields(utterances: Sequence[Utterance]) -> set[str]:
    """What a result can be broken down by: the fields for which some utterance has a value."""
    extra = {name for u in utterances for name, value in u.extra.items() if value is not None}
    return extra | {"duration"} | ({"speaker"} if any(u.speaker is not None for u in utterances) else set())


def evaluate(
    recognizer: Recognizer,
    utterances: Sequence[Utterance],
    *,
    name: str = "test",
    system: str = "model",
    comparison: Comparison = AS_WRITTEN,
    num_workers: int = 2,
    show_progress: bool = False,
    on_emissions: OnEmissions | None = None,
    processes: Processes = ALONE,
) -> Evaluation:
    """Transcribe every utterance and score it against its text, both normalised the way the model was trained.

    The time counts everything from the audio files to the text, of all processes that share the work.
    Raises `AudioError` for audio that cannot be read: an error rate over a part of the set would not be its error rate.

    Args:
        recognizer: the model
        utterances: the test set
        name: of the test set
        system: the model's name in reports
        comparison: how texts are compared
        num_workers: threads that read audio ahead
        show_progress: a bar on standard error
        on_emissions: called with each batch of log-probabilities, where the model is, before it is decoded
        processes: that share the batches out among them; all come back with the whole result
    """
    utterances = normalized(utterances, recognizer)
    started = time.perf_counter()
    recognition = recognize_all(recognizer, utterances, num_workers, show_progress, on_emissions, processes)
    decode_seconds = time.perf_counter() - started
    assessment = assess(
        name,
        system,
        {u.id: u.text for u in utterances},
        {id: hypothesis.text for id, hypothesis in recognition.hypotheses.items()},
        {u.id: Details(u.speaker, u.duration, u.extra) for u in utterances},
        comparison,
    )
    audio_seconds: Seconds = sum(u.duration for u in utterances)
    summary = score_json(assessment, audio_seconds, decode_seconds, recognizer.decoder.describe())
    return Evaluation(assessment, summary, recognition, utterances)


def normalized(utterances: Sequence[Utterance], recognizer: Recognizer) -> list[Utterance]:
    """The utterances with their texts as the model was trained on; raises `ManifestError` when there are none."""
    if not utterances:
        raise ManifestError("expected at least one utterance to evaluate on, got none")
    return [replace(u, text=normalize(u.text, recognizer.case)) for u in utterances]


def recognize_all(
    recognizer: Recognizer,
    utterances: Sequence[Utterance],
    num_workers: int,
    show_progress: bool,
    on_emissions: OnEmissions | None = None,
    processes: Processes = ALONE,
) -> Recognition:
    """A hypothesis for each utterance, batched by length; in all processes those of all."""
    parts: list[Recognition] = []  # of this process's batches
    before = time.perf_counter()
    for batch in _emissions(recognizer, utterances, num_workers, show_progress, processes):
        if on_emissions is not None:
            on_emissions(batch)
        decoded = recognizer.decoder.decode(batch.log_probs, batch.lengths, batch.ids)
        now = time.perf_counter()
        share = (now - before) / len(batch.ids)
        parts.append(Recognition(dict(zip(batch.ids, decoded, strict=True)), dict.fromkeys(batch.ids, share)))
        before = now
    parts = processes.gather(parts)
    found = {id: hypothesis for part in parts for id, hypothesis in part.hypotheses.items()}
    seconds = {id: share for part in parts for id, share in part.seconds.items()}
    return Recognition({u.id: found[u.id] for u in utterances}, seconds)


def all_emissions(
    recognizer: Recognizer, utterances: Sequence[Utterance], num_workers: int, show_progress: bool
) -> Iterator[EmissionBatch]:
    """What the model says of each utterance, in the processor's memory, batched by length: longest first."""
    return (batch.cpu() for batch in _emissions(recognizer, utterances, num_workers, show_progress))


def _emissions(
    recognizer: Recognizer,
    utterances: Sequence[Utterance],
    num_workers: int,
    show_progress: bool,
    processes: Processes = ALONE,
) -> Iterator[EmissionBatch]:
    batches = speech_batches(recognizer, utterances, num_workers, "transcribing", show_progress, processes=processes)
    for batch in batches:
        emissions = recognizer.emissions(batch.waveforms, batch.waveform_lengths)
        yield EmissionBatch(batch.ids, emissions.log_probs, emissions.lengths)


def speech_batches(
    recognizer: Recognizer,
    utterances: Sequence[Utterance],
    num_workers: int,
    title: str,
    show_progress: bool,
    unreadable: dict[str, str] | None = None,
    processes: Processes = ALONE,
) -> Iterator[Batch]:
    """The utterances' audio, where the model is, batched by length: longest first; with a bar.

    unreadable: see `load_batches`; processes: this one gets its share of the batches.
    """
    dataset = SpeechDataset(AudioStore(utterances, recognizer.sample_rate), [()] * len(utterances))
    durations = np.array([utterance.duration for utterance in utterances])
    batches_of_all = [[Draw(index, epoch=0) for index in batch] for batch in plan_in_order(durations, BATCH_SECONDS)]
    plan = processes.share(batches_of_all)
    batches = load_batches(dataset, plan, num_workers, unreadable)
    for batch in track(batches, title, total=len(plan), shown=show_progress):
        yield batch.to(recognizer.device)
