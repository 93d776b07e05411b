"""Scores as Kaldi, ESPnet and the Open ASR leaderboard write them."""

import json

import pytest

from asr.errors import ScoringError
from asr.files import write_json_lines
from asr.scoring.errors import SCLITE, ErrorCounts, Score, UtteranceErrors, score
from asr.scoring.reading import read_pair
from asr.scoring.scored_set import Details, ScoredSet
from asr.scoring.toolkit_formats import (
    espnet_table,
    kaldi_report,
    kaldi_ser_line,
    kaldi_wer_line,
    leaderboard_rows,
)
from asr.types import Utterance
from tests.helpers import needs_real_speech, real_data

REFERENCES = {"a": "the cat sat", "b": "on the mat", "c": ""}
HYPOTHESES = {"a": "the cat sat", "b": "on a mat now", "c": "uh"}


def scored_set(references=REFERENCES, hypotheses=HYPOTHESES, *, name="test", system="model"):
    return ScoredSet(name, system, score(references, hypotheses), dict.fromkeys(references, Details()))


def counted(hits=0, substitutions=0, deletions=0, insertions=0):
    """A score of one utterance with these counts; texts do not matter for lines of counts."""
    words = ErrorCounts(hits, substitutions, deletions, insertions)
    return Score((UtteranceErrors("a", "", "", words, words, ""),))


# ---- Kaldi -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("counts", "line"),
    [
        ((718, 40, 15, 2), "%WER 7.37 [ 57 / 773, 2 ins, 15 del, 40 sub ]"),
        ((10, 0, 0, 0), "%WER 0.00 [ 0 / 10, 0 ins, 0 del, 0 sub ]"),
        ((0, 2, 0, 3), "%WER 250.00 [ 5 / 2, 3 ins, 0 del, 2 sub ]"),
        ((799, 1, 0, 0), "%WER 0.12 [ 1 / 800, 0 ins, 0 del, 1 sub ]"),  # 0.125: C++ prints the even neighbour
        # 0.075 is 0.07499999999999999… in double precision and 0.0750000029… in Kaldi's single
        ((3997, 3, 0, 0), "%WER 0.08 [ 3 / 4000, 0 ins, 0 del, 3 sub ]"),
        ((0, 0, 0, 2), "%WER inf [ 2 / 0, 2 ins, 0 del, 0 sub ]"),
        ((0, 0, 0, 0), "%WER 0.00 [ 0 / 0, 0 ins, 0 del, 0 sub ]"),
    ],
)
def test_kaldi_word_errors(counts, line):
    assert kaldi_wer_line(counted(*counts)) == line


def test_kaldi_sentence_errors():
    assert kaldi_ser_line(scored_set().score) == "%SER 66.67 [ 2 / 3 ]"


def test_kaldi_report_is_what_compute_wer_prints():
    assert kaldi_report(scored_set().score) == (
        "%WER 50.00 [ 3 / 6, 2 ins, 0 del, 1 sub ]\n%SER 66.67 [ 2 / 3 ]\nScored 3 sentences, 0 not present in hyp.\n"
    )


# ---- ESPnet ----------------------------------------------------------------------------------------------------------


def test_espnet_table_by_hand():
    # Of 11 + 10 characters, "the" against "a" are 1 substitution and 2 deletions; " now" and "uh" are 4 + 2 insertions.
    assert espnet_table([scored_set()]) == (
        "### WER\n"
        "\n"
        "|dataset|Snt|Wrd|Corr|Sub|Del|Ins|Err|S.Err|\n"
        "|---|---|---|---|---|---|---|---|---|\n"
        "|model/test|3|6|83.3|16.7|0.0|33.3|50.0|66.7|\n"
        "\n"
        "### CER\n"
        "\n"
        "|dataset|Snt|Wrd|Corr|Sub|Del|Ins|Err|S.Err|\n"
        "|---|---|---|---|---|---|---|---|---|\n"
        "|model/test|3|21|85.7|4.8|9.5|28.6|42.9|66.7|\n"
    )


def test_espnet_token_errors_stand_only_where_there_are_tokens():
    tokens = scored_set({"a": "▁the ▁c at"}, {"a": "▁the ▁c a t"})
    table = espnet_table([scored_set()], token_sets=[tokens])
    assert table.count("### ") == 3
    assert table.endswith(
        "### TER\n\n" + table.split("### CER\n\n")[1].split("|model")[0] + table.splitlines()[-1] + "\n"
    )
    assert table.splitlines()[-1] == "|model/test|1|3|66.7|33.3|0.0|33.3|66.7|100.0|"


def test_espnet_rows_are_those_of_the_sets_and_bars_in_names_are_no_cells():
    table = espnet_table([scored_set(name="a|b"), scored_set(name="dev")])
    rows = [line for line in table.splitlines() if line.startswith("|model")]
    assert [row.split("/")[1].split("|3|")[0] for row in rows] == ["a\\|b", "dev"] * 2


def test_espnet_table_of_nothing():
    with pytest.raises(ScoringError, match="at least one scored test set"):
        espnet_table([])


@needs_real_speech
def test_espnet_table_equals_sclites_row():
    golden = real_data() / "golden" / "sclite"
    pair = read_pair(golden / "ref.trn", golden / "lm.trn")
    scored = ScoredSet("test", "lm", score(pair.references, pair.hypotheses, SCLITE), pair.details)
    sums = next(line for line in (golden / "lm.sys").read_text().splitlines() if "Sum/Avg" in line)
    # as ESPnet's show_asr_result.sh makes a row of it
    cells = sums.replace("Sum/Avg", "").replace("|", " ").split()
    assert espnet_table([scored]).splitlines()[4] == f"|lm/test|{'|'.join(cells)}|"


# ---- the Open ASR leaderboard ----------------------------------------------------------------------------------------

AUDIO = {id: Utterance(id, f"/audio/{id}.flac", 1.5, "as it was", speaker="s") for id in REFERENCES}


def test_leaderboard_rows_read_back(tmp_path):
    write_json_lines(tmp_path / "rows.jsonl", leaderboard_rows(scored_set(), AUDIO, {"a": 0.25, "b": 0.5, "c": 0.0}))
    rows = [json.loads(line) for line in (tmp_path / "rows.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [list(row) for row in rows] == [["audio_filepath", "duration", "time", "text", "pred_text"]] * 3
    assert rows[1] == {
        "audio_filepath": "/audio/b.flac",
        "duration": 1.5,
        "time": 0.5,
        "text": "on the mat",
        "pred_text": "on a mat now",
    }
    texts = {id: row["text"] for id, row in zip(REFERENCES, rows)}
    predicted = {id: row["pred_text"] for id, row in zip(REFERENCES, rows)}
    assert score(texts, predicted) == scored_set().score
    assert rows[2]["time"] == 0.0


def test_a_time_that_is_not_known_is_left_out():
    rows = list(leaderboard_rows(scored_set(), AUDIO, {"b": 0.5}))
    assert ["time" in row for row in rows] == [False, True, False]
    assert not any("time" in row for row in leaderboard_rows(scored_set(), AUDIO))


def test_utterances_without_audio_are_named_before_any_row():
    with pytest.raises(ScoringError, match="got none for b, c: "):
        leaderboard_rows(scored_set(), {"a": AUDIO["a"]})
