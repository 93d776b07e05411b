"""A model on a test set: hypotheses, error rates and how long it took."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from asr.data.audio_cache import AudioStore
from asr.data.dataset import SpeechDataset, load_each
from asr.data.findings import MAX_UNUSABLE_SHARE
from asr.data.sampler import Draw, plan_in_order
from asr.data.usable import refuse_too_many
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

OPTION = "--max-unusable-share (in a recipe data.max_unusable_share)"

OnEmissions = Callable[[EmissionBatch], None]


@dataclass(frozen=True, slots=True)
class Recognition:
    """What was recognised, by utterance id, and each utterance's even share of the time that its batch took."""

    hypotheses: dict[str, Hypothesis]
    seconds: dict[str, Seconds]
    left_out: dict[str, str] = field(default_factory=dict)  # id -> why its audio cannot be used


@dataclass(frozen=True, slots=True)
class Evaluation:
    """The outcome for one test set."""

    assessment: Assessment
    summary: dict[str, Any]  # what score.json holds
    recognition: Recognition
    utterances: Sequence[Utterance]  # those that were scored, with their texts as scored

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
    max_unusable_share: float = MAX_UNUSABLE_SHARE,
) -> Evaluation:
    """Transcribe every utterance and score it against its text, both normalised the way the model was trained.

    The time counts everything from the audio files to the text, of all processes that share the work.
    Utterances whose audio cannot be read, or is shorter than stated, are left out: `Recognition.left_out` names them,
    and the summary has their number. Raises `ManifestError` when they are too many.

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
        max_unusable_share: of the utterances, 0 to 1, that may be left out
    """
    utterances = normalized(utterances, recognizer)
    started = time.perf_counter()
    recognition = recognize_all(recognizer, utterances, num_workers, show_progress, on_emissions, processes)
    decode_seconds = time.perf_counter() - started
    utterances = heard(name, utterances, recognition.left_out, max_unusable_share)
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
    summary["left_out"] = len(recognition.left_out)
    return Evaluation(assessment, summary, recognition, utterances)


def normalized(utterances: Sequence[Utterance], recognizer: Recognizer) -> list[Utterance]:
    """The utterances with their texts as the model was trained on; raises `ManifestError` when there are none."""
    if not utterances:
        raise ManifestError("expected at least one utterance to evaluate on, got none")
    return [replace(u, text=normalize(u.text, recognizer.case)) for u in utterances]


def heard(
    name: str, utterances: Sequence[Utterance], left_out: Mapping[str, str], max_unusable_share: float
) -> list[Utterance]:
    """The utterances of the set `name` that were not left out; raises `ManifestError` when these are too many."""
    counts, first = {"unreadable-audio": len(left_out)}, list(left_out.items())
    refuse_too_many(name, counts, first, len(utterances), max_unusable_share, option=OPTION)
    kept = [utterance for utterance in utterances if utterance.id not in left_out]
    if not kept:
        raise ManifestError(f"{name}: none of {len(utterances)} utterances can be heard; the first: {first[0][1]}")
    return kept


def recognize_all(
    recognizer: Recognizer,
    utterances: Sequence[Utterance],
    num_workers: int,
    show_progress: bool,
    on_emissions: OnEmissions | None = None,
    processes: Processes = ALONE,
) -> Recognition:
    """A hypothesis for each utterance that can be heard, batched by length; in all processes those of all."""
    left_out: dict[str, str] = {}
    parts: list[Recognition] = []  # of this process's batches
    before = time.perf_counter()
    for batch in _emissions(recognizer, utterances, num_workers, show_progress, left_out, processes):
        if batch is None:
            parts.append(Recognition({}, {}))
            continue
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
    reasons = {id: why for part in processes.gather([left_out]) for id, why in part.items()}
    return Recognition(
        {u.id: found[u.id] for u in utterances if u.id in found},
        seconds,
        {u.id: reasons[u.id] for u in utterances if u.id in reasons},
    )


def all_emissions(
    recognizer: Recognizer,
    utterances: Sequence[Utterance],
    num_workers: int,
    show_progress: bool,
    left_out: dict[str, str],
) -> Iterator[EmissionBatch]:
    """What the model says of each utterance, in the processor's memory, batched by length: longest first.

    left_out: takes the ids of utterances whose audio cannot be used, each with the reason; see `heard`.
    """
    batches = _emissions(recognizer, utterances, num_workers, show_progress, left_out)
    return (batch.cpu() for batch in batches if batch is not None)


def _emissions(
    recognizer: Recognizer,
    utterances: Sequence[Utterance],
    num_workers: int,
    show_progress: bool,
    left_out: dict[str, str],
    processes: Processes = ALONE,
) -> Iterator[EmissionBatch | None]:
    """None in the place of a batch of which nothing can be heard."""
    dataset = _dataset(recognizer, utterances, is_whole=True)
    for batch in _load(recognizer, dataset, num_workers, "transcribing", show_progress, left_out, processes):
        if batch is None:
            yield None
            continue
        emissions = recognizer.emissions(batch.waveforms, batch.waveform_lengths)
        yield EmissionBatch(batch.ids, emissions.log_probs, emissions.lengths)


def speech_batches(
    recognizer: Recognizer,
    utterances: Sequence[Utterance],
    num_workers: int,
    title: str,
    show_progress: bool,
    unreadable: dict[str, str] | None = None,
) -> Iterator[Batch]:
    """The utterances' audio, where the model is, batched by length: longest first; with a bar.

    unreadable: see `load_batches`.
    """
    dataset = _dataset(recognizer, utterances, is_whole=False)
    batches = _load(recognizer, dataset, num_workers, title, show_progress, unreadable, ALONE)
    return (batch for batch in batches if batch is not None)


def _dataset(recognizer: Recognizer, utterances: Sequence[Utterance], *, is_whole: bool) -> SpeechDataset:
    store = AudioStore(utterances, recognizer.sample_rate, is_whole=is_whole)
    return SpeechDataset(store, [()] * len(utterances))


def _load(
    recognizer: Recognizer,
    dataset: SpeechDataset,
    num_workers: int,
    title: str,
    show_progress: bool,
    unreadable: dict[str, str] | None,
    processes: Processes,
) -> Iterator[Batch | None]:
    """This process's share of the batches; None for one of which nothing can be read."""
    batches_of_all = plan_in_order(dataset.durations, BATCH_SECONDS)
    plan = processes.share([[Draw(index, epoch=0) for index in batch] for batch in batches_of_all])
    batches = load_each(dataset, plan, num_workers, unreadable)
    for batch in track(batches, title, total=len(plan), shown=show_progress):
        yield None if batch is None else batch.to(recognizer.device)
