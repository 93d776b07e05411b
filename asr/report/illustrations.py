"""What there is to hear and see of an utterance: its audio, what the model said of each frame, the alignments."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from asr.audio import probe, read_audio
from asr.decoding.alignment import TokenRuns, align
from asr.errors import ScoringError, TargetError, TextError
from asr.evaluation import speech_batches
from asr.recognizer import Recognizer
from asr.scoring.display import worst
from asr.scoring.errors import Score
from asr.text.normalize import normalize
from asr.types import Seconds, Utterance

NUM_ILLUSTRATED = 20
MAX_SAMPLE_RATE = 16_000  # Hz: what speech recognition listens to; a higher rate makes the page larger, not clearer


@dataclass(frozen=True, slots=True, eq=False)
class Illustration:
    """One utterance to be heard and seen; without a model there is only its audio."""

    id: str
    waveform: NDArray[np.float32]  # (N,) in [-1, 1]
    sample_rate: int  # Hz
    posteriors: NDArray[np.float32] | None = None  # (T, V) probabilities; the blank is column 0
    token_names: tuple[str, ...] = ()  # of the V columns
    frame_seconds: Seconds = 0.0  # from one row of posteriors to the next
    hypothesis_runs: TokenRuns | None = None  # where the tokens of the hypothesis lie
    reference_runs: TokenRuns | None = None  # those of the reference; None where it cannot be aligned

    @property
    def duration(self) -> Seconds:
        """Length of the audio."""
        return len(self.waveform) / self.sample_rate

    def beginning(self, seconds: Seconds) -> Illustration:
        """The first `seconds` of it, or the whole where it is no longer."""
        if self.duration <= seconds:
            return self
        num_frames = round(seconds / self.frame_seconds) if self.frame_seconds else 0
        return replace(
            self,
            waveform=self.waveform[: round(seconds * self.sample_rate)],
            posteriors=None if self.posteriors is None else self.posteriors[:num_frames],
            hypothesis_runs=_first_runs(self.hypothesis_runs, num_frames),
            reference_runs=_first_runs(self.reference_runs, num_frames),
        )


def worst_ids(score: Score) -> list[str]:
    """The utterances worth illustrating, those with the most word errors first."""
    return [utterance.id for utterance in worst(score, NUM_ILLUSTRATED)]


def illustrate_audio(utterances: Sequence[Utterance]) -> list[Illustration]:
    """Read the audio of utterances, for a report without a model. Raises `AudioError` for audio that cannot be read."""
    illustrations = []
    for utterance in utterances:
        rate = min(probe(utterance.audio_filepath).sample_rate, MAX_SAMPLE_RATE)
        audio = read_audio(utterance.audio_filepath, rate, offset=utterance.offset, duration=utterance.duration or None)
        illustrations.append(Illustration(utterance.id, audio.waveform, rate))
    return illustrations


def illustrate(
    recognizer: Recognizer, utterances: Sequence[Utterance], ids: Sequence[str], show_progress: bool = False
) -> list[Illustration]:
    """Run the model on some utterances again and keep everything that it said of them.

    Args:
        recognizer: the model, with the decoder that made the hypotheses
        utterances: the test set
        ids: of the utterances wanted; their order is that of the result
        show_progress: a bar on standard error

    Raises:
        ScoringError: there is no utterance of such an id.
        AudioError: audio that cannot be read.
    """
    known = {utterance.id: utterance for utterance in utterances}
    if missing := [id for id in ids if id not in known]:
        raise ScoringError(f"expected ids of the {len(known)} utterances to illustrate, got {missing[0]}")
    wanted = [known[id] for id in ids]
    found: dict[str, Illustration] = {}
    for batch in speech_batches(recognizer, wanted, 0, "illustrating", show_progress):
        log_probs, lengths = recognizer.emissions(batch.waveforms, batch.waveform_lengths)
        hypotheses = recognizer.decoder.decode(log_probs, lengths, batch.ids)
        for row, (id, hypothesis) in enumerate(zip(batch.ids, hypotheses, strict=True)):
            waveform = batch.waveforms[row, : int(batch.waveform_lengths[row])].cpu().numpy()
            own = log_probs[row, : int(lengths[row])]
            found[id] = _illustration(recognizer, known[id], waveform, own, hypothesis.tokens)
    return [found[id] for id in ids]


def _illustration(
    recognizer: Recognizer,
    utterance: Utterance,
    waveform: NDArray[np.float32],
    log_probs: Tensor,
    tokens: Sequence[int],
) -> Illustration:
    return Illustration(
        id=utterance.id,
        waveform=waveform,
        sample_rate=recognizer.sample_rate,
        posteriors=log_probs.float().exp().cpu().numpy(),
        token_names=recognizer.tokenizer.vocab,
        frame_seconds=recognizer.samples_per_frame / recognizer.sample_rate,
        hypothesis_runs=_runs(log_probs, tokens, utterance.id),
        reference_runs=_reference_runs(recognizer, log_probs, utterance),
    )


def _reference_runs(recognizer: Recognizer, log_probs: Tensor, utterance: Utterance) -> TokenRuns | None:
    try:
        tokens = recognizer.tokenizer.encode(normalize(utterance.text, recognizer.case))
    except TextError:  # a character that the model cannot write
        return None
    return _runs(log_probs, tokens, utterance.id)


def _runs(log_probs: Tensor, tokens: Sequence[int], id: str) -> TokenRuns | None:
    """Where tokens lie; None where no path spells them: too few frames, or a probability of zero."""
    try:
        return align(log_probs, tokens, id)
    except TargetError:
        return None


def _first_runs(runs: TokenRuns | None, num_frames: int) -> TokenRuns | None:
    """The runs that end within the first frames."""
    if runs is None:
        return None
    kept = runs.ends <= num_frames
    return TokenRuns(runs.tokens[kept], runs.starts[kept], runs.ends[kept], runs.log_confidences[kept])
