"""What an evaluation leaves in its directory: `score.json`, hypotheses, the report, and other toolkits' formats."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from asr.errors import OutputError
from asr.files import write_json, write_json_lines, write_text
from asr.report.page import write_report
from asr.scoring.assessment import Assessment
from asr.scoring.display import hypothesis_rows
from asr.scoring.sclite import WRITERS, write_sclite_reports
from asr.scoring.toolkit_formats import espnet_table, kaldi_report, leaderboard_rows
from asr.types import Seconds, Utterance

if TYPE_CHECKING:
    from asr.report.illustrations import Illustration  # needs torch, which scoring does without

SCLITE_FOLDER = "sclite"
WRITTEN = ("score.json", "hypotheses.jsonl", "report.html", f"{SCLITE_FOLDER}/", "kaldi_wer.txt", "espnet.md")
LEFT_OUT = "dropped.jsonl"  # utterances whose audio cannot be used
ALSO_WRITTEN = ("nbest.jsonl", "leaderboard.jsonl", LEFT_OUT)  # of audio, and where there are any
# What another evaluation's may be taken for this one's, were it left: written only sometimes, or under other names.
_REMOVED_FIRST = (
    "score.json",
    "nbest.jsonl",
    "leaderboard.jsonl",
    LEFT_OUT,
    *(f"{SCLITE_FOLDER}/*{suffix}" for suffix in WRITERS),
)


def write_results(
    directory: Path,
    assessment: Assessment,
    summary: Mapping[str, Any],
    *,
    illustrations: Sequence[Illustration] = (),
    audio: Mapping[str, Utterance] | None = None,
    seconds: Mapping[str, Seconds] | None = None,
    nbest: Sequence[Mapping[str, Any]] = (),
    left_out: Mapping[str, str] | None = None,
    show_progress: bool = False,
) -> list[str]:
    """Write everything, `score.json` last; returns the names of what was written, as a user reads them.

    An earlier evaluation's files are replaced or removed, its `score.json` first: a directory that has one is whole.

    Args:
        directory: where
        assessment: the scored test set
        summary: the object of score.json
        illustrations: sound and pictures for the report
        audio: the utterances by id, where there is audio: for the rows of the Open ASR leaderboard
        seconds: by id, the time that each took
        nbest: rows of nbest.jsonl, where there are alternatives
        left_out: by id, why utterances were left out of the set: rows of dropped.jsonl
        show_progress: a bar on standard error while pictures are drawn

    Raises:
        OutputError: something cannot be written or removed.
    """
    scored = assessment.scored
    _remove_earlier(directory)
    write_json_lines(directory / "hypotheses.jsonl", hypothesis_rows(scored))
    write_text(directory / "kaldi_wer.txt", kaldi_report(scored.score))
    write_text(directory / "espnet.md", espnet_table([scored]))
    write_sclite_reports(directory / SCLITE_FOLDER, assessment.sclite, show_progress=show_progress)
    written = list(WRITTEN)
    if audio:
        write_json_lines(directory / "leaderboard.jsonl", leaderboard_rows(scored, audio, seconds))
        written.append("leaderboard.jsonl")
    if nbest:
        write_json_lines(directory / "nbest.jsonl", nbest)
        written.append("nbest.jsonl")
    if left_out:
        write_json_lines(directory / LEFT_OUT, [{"id": id, "message": why} for id, why in left_out.items()])
        written.append(LEFT_OUT)
    write_report(directory / "report.html", scored, summary, assessment.breakdowns, illustrations, show_progress)
    write_json(directory / "score.json", summary)
    return written


def replaced_files(directory: Path) -> list[Path]:
    """The files of a directory that `write_results` replaces or removes."""
    return [path for pattern in {*WRITTEN, *_REMOVED_FIRST} for path in directory.glob(pattern.rstrip("/"))]


def _remove_earlier(directory: Path) -> None:
    for path in [path for pattern in _REMOVED_FIRST for path in directory.glob(pattern)]:
        try:
            path.unlink()
        except OSError as error:
            raise OutputError(
                f"{path}, an earlier evaluation's, cannot be removed: {error.strerror or error}. Choose another place"
            ) from error
