"""The directory of results: complete, and of one evaluation only."""

import json

import pytest
from small_report import UTTERANCES, assessment

from asr.errors import OutputError
from asr.results import write_results
from asr.scoring.display import score_json
from asr.types import Utterance

AUDIO = {id: Utterance(id, f"{id}.wav", row[3], row[0], speaker=row[2]) for id, row in UTTERANCES.items()}
ALWAYS = {"score.json", "hypotheses.jsonl", "report.html", "sclite", "kaldi_wer.txt", "espnet.md"}


def write(directory, system: str = "first", **more) -> list[str]:
    whole = assessment(system=system)
    return write_results(directory, whole, score_json(whole), **more)


def names(directory) -> set[str]:
    return {path.name for path in directory.iterdir()}


def test_what_is_said_to_be_written_is_there(tmp_path):
    written = write(tmp_path, audio=AUDIO, seconds=dict.fromkeys(AUDIO, 0.25), nbest=[{"id": "u1", "rank": 1}])
    assert {name.rstrip("/") for name in written} == names(tmp_path) == ALWAYS | {"leaderboard.jsonl", "nbest.jsonl"}
    rows = [json.loads(line) for line in (tmp_path / "leaderboard.jsonl").read_text().splitlines()]
    assert rows[0] == {
        "audio_filepath": "u1.wav",
        "duration": 1.5,
        "time": 0.25,
        "text": "a bad cab",
        "pred_text": "a bad cab",
    }
    assert (tmp_path / "kaldi_wer.txt").read_text().startswith("%WER 60.00 [ 6 / 10, 4 ins, 1 del, 1 sub ]\n")
    assert "|first/small|4|10|80.0|10.0|10.0|40.0|60.0|75.0|" in (tmp_path / "espnet.md").read_text()


def test_nothing_of_an_earlier_evaluation_stays(tmp_path):
    write(tmp_path, audio=AUDIO, nbest=[{"id": "u1", "rank": 1}])
    write(tmp_path, "second")
    assert names(tmp_path) == ALWAYS
    assert {path.stem for path in (tmp_path / "sclite").iterdir()} == {"second"}


def test_where_writing_was_cut_short_there_is_no_score(tmp_path, monkeypatch):
    """Else an earlier evaluation's figures would stand beside other hypotheses."""
    write(tmp_path)

    def stop(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("asr.results.write_report", stop)
    with pytest.raises(KeyboardInterrupt):
        write(tmp_path, "second")
    assert not (tmp_path / "score.json").exists()


def test_what_cannot_be_removed_is_named(tmp_path):
    (tmp_path / "score.json").mkdir()
    with pytest.raises(OutputError, match=r"score\.json.*cannot be removed"):
        write(tmp_path)
