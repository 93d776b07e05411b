"""Scores as other toolkits write them: Kaldi's `%WER` line, ESPnet's RESULTS table, Open ASR leaderboard rows."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from ctypes import c_float
from typing import Any

from asr.errors import ScoringError
from asr.scoring.errors import ErrorCounts, Score
from asr.scoring.sclite_parts import percentages, rounded
from asr.scoring.scored_set import ScoredSet
from asr.types import Seconds, Utterance

_ESPNET_HEADER = """
|dataset|Snt|Wrd|Corr|Sub|Del|Ins|Err|S.Err|
|---|---|---|---|---|---|---|---|---|
"""
_IDS_SHOWN = 3

# ---- Kaldi -----------------------------------------------------------------------------------------------------------


def kaldi_report(score: Score) -> str:
    """All that Kaldi's `compute-wer` prints: the `%WER` line, the `%SER` line, and how much was scored."""
    scored = f"Scored {len(score.utterances)} sentences, 0 not present in hyp."  # others are refused before
    return f"{kaldi_wer_line(score)}\n{kaldi_ser_line(score)}\n{scored}\n"


def kaldi_wer_line(score: Score) -> str:
    """Kaldi's line of word errors, such as `%WER 7.37 [ 57 / 773, 2 ins, 15 del, 40 sub ]`.

    Errors without any reference word are `%WER inf`, as in Kaldi; no errors without any are 0.00 here, nan there.
    """
    words = score.words
    percent = _kaldi_percent(words.errors, words.reference_length)
    edits = f"{words.insertions} ins, {words.deletions} del, {words.substitutions} sub"
    return f"%WER {percent} [ {words.errors} / {words.reference_length}, {edits} ]"


def kaldi_ser_line(score: Score) -> str:
    """Kaldi's line of sentence errors, such as `%SER 36.00 [ 18 / 50 ]`."""
    num_sentences = len(score.utterances)
    return f"%SER {_kaldi_percent(score.sentence_errors, num_sentences)} [ {score.sentence_errors} / {num_sentences} ]"


def _kaldi_percent(errors: int, total: int) -> str:
    rate = 100.0 * errors / total if total else math.inf if errors else 0.0
    return f"{c_float(rate).value:.2f}"  # a `BaseFloat`: single precision, which decides halves


# ---- ESPnet ----------------------------------------------------------------------------------------------------------


def espnet_table(sets: Sequence[ScoredSet], token_sets: Sequence[ScoredSet] = ()) -> str:
    """The tables of ESPnet's RESULTS.md, in Markdown: WER and CER, and TER where there are tokens.

    Numbers are percentages to one decimal, rounded as sclite does, from whose tables ESPnet takes them. A data set is
    called `<system>/<name>`. Characters include spaces, which ESPnet writes as `<space>`.

    Args:
        sets: scored test sets, a row each
        token_sets: the same, scored with tokens separated by spaces in place of words

    Raises:
        ScoringError: there are no sets.
    """
    if not sets:
        raise ScoringError("expected at least one scored test set for a table, got none")
    parts = [
        "### WER\n" + _ESPNET_HEADER + "".join(_espnet_row(scored, scored.score.words) for scored in sets),
        "### CER\n" + _ESPNET_HEADER + "".join(_espnet_row(scored, scored.score.characters) for scored in sets),
    ]
    if token_sets:
        rows = "".join(_espnet_row(scored, scored.score.words) for scored in token_sets)
        parts.append("### TER\n" + _ESPNET_HEADER + rows)
    return "\n".join(parts)


def _espnet_row(scored: ScoredSet, counts: ErrorCounts) -> str:
    score = scored.score
    num_sentences = len(score.utterances)
    # A sentence with a wrong character has a wrong word, and the other way round.
    rates = percentages(counts, score.sentence_errors, num_sentences)
    name = f"{scored.system}/{scored.name}".replace("|", "\\|")  # a bar would begin another cell
    cells = [name, str(num_sentences), str(counts.reference_length), *(f"{rounded(rate):.1f}" for rate in rates)]
    return f"|{'|'.join(cells)}|\n"


# ---- the Open ASR leaderboard ----------------------------------------------------------------------------------------


def leaderboard_rows(
    scored: ScoredSet, audio: Mapping[str, Utterance], seconds: Mapping[str, Seconds] | None = None
) -> Iterator[dict[str, Any]]:
    """Rows of a results file of the Open ASR leaderboard: `audio_filepath`, `duration`, `time`, `text`, `pred_text`.

    `time` is left out where it is not known; the leaderboard takes its speed (RTFx) from it.

    Args:
        scored: the scored test set
        audio: utterance id -> its recording
        seconds: utterance id -> the time that recognising it took

    Raises:
        ScoringError: utterances without a recording; before the first row.
    """
    missing = [utterance.id for utterance in scored.score.utterances if utterance.id not in audio]
    if missing:
        rest = f" and {len(missing) - _IDS_SHOWN} more" if len(missing) > _IDS_SHOWN else ""
        raise ScoringError(
            f"expected a recording for every utterance of {scored.name}, got none for"
            f" {', '.join(missing[:_IDS_SHOWN])}{rest}: rows of the leaderboard name their audio"
        )
    return _leaderboard_rows(scored.score, audio, seconds or {})


def _leaderboard_rows(
    score: Score, audio: Mapping[str, Utterance], seconds: Mapping[str, Seconds]
) -> Iterator[dict[str, Any]]:
    for utterance in score.utterances:
        recording = audio[utterance.id]
        yield {
            "audio_filepath": recording.audio_filepath,
            "duration": recording.duration,
            **({"time": seconds[utterance.id]} if utterance.id in seconds else {}),
            "text": utterance.reference,
            "pred_text": utterance.hypothesis,
        }
