"""Everything that is found inside a model, as pictures and as figures.json."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from asr.errors import ConfigError
from asr.files import write_json
from asr.inspection.drawing import draw_gates, draw_gradients, draw_reach, draw_saliency, draw_utterance
from asr.inspection.gates import GateUse, gates_of_subjects
from asr.inspection.monitors import ALL, GRADIENT
from asr.inspection.reach import Reach, reach
from asr.inspection.saliency import word_saliency
from asr.inspection.subjects import Subject, read_subjects
from asr.models.acoustic import AcousticModel
from asr.models.recurrent import RecurrentLayer
from asr.progress import track
from asr.recognizer import Recognizer
from asr.training.monitor import HISTORY
from asr.types import Utterance
from asr.writers import safe_names

FIGURES = "figures.json"
SIGNIFICANT_DIGITS = 6
BEFORE, AFTER = "before training", "after training"


@dataclass(frozen=True, slots=True)
class Extent:
    """How much is looked at."""

    max_places: int  # tokens of an utterance whose gradients are taken
    num_pictured: int  # utterances that get pictures of their own


@dataclass(frozen=True, slots=True)
class Inspection:
    """What was found."""

    reaches: dict[str, Reach]  # before and after training
    gates: dict[str, list[GateUse]]
    figures: dict[str, Any]  # figures.json
    written: list[str]  # files, in the directory


def inspect(
    recognizer: Recognizer,
    fresh: AcousticModel,
    utterances: Sequence[Utterance],
    directory: Path,
    extent: Extent,
    *,
    name: str,
    history: Sequence[dict[str, Any]] = (),
    show_progress: bool = False,
) -> Inspection:
    """Look into a model and write what is seen into `directory`.

    Args:
        recognizer: the model, on the CPU
        fresh: one of the same architecture with the weights that it began with
        utterances: what it listens to
        directory: for the pictures and figures.json
        extent: how much is looked at
        name: of the model, for titles
        history: the records of a `GradientMonitor` in the model's training; none: no picture of them
        show_progress: bars on standard error

    Raises:
        AudioError: audio that cannot be read, or too long to be looked at at once.
        ModelError: the model recognises nothing.
    """
    frame_seconds = recognizer.samples_per_frame / recognizer.sample_rate
    subjects = read_subjects(recognizer, utterances, show_progress)
    models = {BEFORE: fresh, AFTER: recognizer.model}
    reaches = {
        when: reach(model, subjects, frame_seconds, extent.max_places, show_progress) for when, model in models.items()
    }
    gates = {when: gates_of_subjects(model, subjects) for when, model in models.items()}
    written = ["reach.png", "gates.png"]
    draw_reach(reaches, directory / "reach.png", f"{name}: how far gradients reach")
    draw_gates(gates, directory / "gates.png", f"{name}: how the gates are used")
    if history:
        draw_gradients(history, directory / "gradients.png", f"{name}: gradients through training")
        written.append("gradients.png")
    pictured = [subject for subject in subjects if subject.places][: extent.num_pictured]
    figures = rounded(
        {
            "model": name,
            **_architecture(recognizer.model),
            "frame_ms": 1000 * frame_seconds,
            "num_utterances": len(subjects),
            "num_tokens": int(reaches[AFTER].past.num_positions[0]),
            "reach": {when: found.to_json() for when, found in reaches.items()},
            "gates": {when: [use.to_json() for use in uses] for when, uses in gates.items()},
            "gradients": list(history),
            "utterances": _illustrate(recognizer, pictured, directory, written, show_progress),
        }
    )
    write_json(directory / FIGURES, figures)
    return Inspection(reaches, gates, figures, [*written, FIGURES])


def _architecture(model: AcousticModel) -> dict[str, Any]:
    first = model.encoder.layers[0]
    assert isinstance(first, RecurrentLayer)
    return {"cell": first.forward_rnn.mode.lower(), "directions": 1 if first.backward_rnn is None else 2}


def _illustrate(
    recognizer: Recognizer, subjects: Sequence[Subject], directory: Path, written: list[str], show_progress: bool
) -> list[dict[str, Any]]:
    """Draw the pictures of single utterances, add their names to `written`, and return their rows of figures.json."""
    names = safe_names([subject.utterance.id for subject in subjects])
    vocab = recognizer.tokenizer.vocab
    frame_seconds = recognizer.samples_per_frame / recognizer.sample_rate
    rows = []
    for subject in track(subjects, "drawing", shown=show_progress):
        name = names[subject.utterance.id]
        words = word_saliency(recognizer.model, subject, recognizer.tokenizer)
        draw_utterance(subject, vocab, frame_seconds, directory / f"{name}.posteriors.png")
        written.append(f"{name}.posteriors.png")
        if words:
            draw_saliency(subject, words, frame_seconds, directory / f"{name}.saliency.png")
            written.append(f"{name}.saliency.png")
        rows.append(
            {
                "id": subject.utterance.id,
                "reference": subject.utterance.text,
                "hypothesis": subject.text,
                "tokens": _token_rows(subject, vocab, frame_seconds),
                "words": [word.to_json(subject.row_seconds, frame_seconds) for word in words],
            }
        )
    return rows


def _token_rows(subject: Subject, vocab: Sequence[str], frame_seconds: float) -> list[dict[str, Any]]:
    runs = subject.runs
    return [
        {
            "token": vocab[place.token],
            "start": start * frame_seconds,
            "end": end * frame_seconds,
            "probability": float(subject.posteriors[place.frame, place.token]),
        }
        for place, start, end in zip(subject.places, runs.starts.tolist(), runs.ends.tolist())
    ]


def read_history(run_dir: Path) -> list[dict[str, Any]]:
    """The records that a `GradientMonitor` left in a run's history.jsonl; none where there is no such file.

    Raises:
        ConfigError: a line that is not a JSON object.
    """
    path = run_dir / HISTORY
    if not path.is_file():
        return []
    records = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        try:
            record = json.loads(line)
        except ValueError as error:
            raise ConfigError(
                f"{path}:{number}: expected a JSON object of a training run, got {line[:40]!r}"
            ) from error
        if isinstance(record, dict) and GRADIENT + ALL in record:
            records.append(record)
    return records


def rounded(value: Any) -> Any:
    """JSON with its fractions to six significant digits, which is more than the pictures show."""
    if isinstance(value, float):
        return float(f"{value:.{SIGNIFICANT_DIGITS}g}")
    if isinstance(value, dict):
        return {key: rounded(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [rounded(item) for item in value]
    return value
