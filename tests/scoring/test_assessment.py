import json

import pytest

from asr.errors import ScoringError
from asr.scoring.assessment import Comparison, assess
from asr.scoring.display import SCORE_KEYS, hypothesis_rows, markdown_table, score_json
from asr.scoring.scored_set import Details

REFERENCES = {"u1": "It's  twenty-five COLOURS", "u2": "yes", "u3": ""}
HYPOTHESES = {"u1": "it is 25 colors", "u2": "Yes.", "u3": "oh"}
DETAILS = {
    "u1": Details("ann", 3.0, {"gender": "f"}),
    "u2": Details("bob", 1.0, {"gender": "m"}),
    "u3": Details("bob", 1.5, {"gender": None}),
}


def assessed(**options):
    return assess("set", "system", REFERENCES, HYPOTHESES, DETAILS, Comparison(**options))


def test_raw_and_normalised_stand_side_by_side():
    assessment = assessed(normalizers=("basic", "english"))
    # raw: of four words three are substituted, two inserted ("oh" among them); totals, also of the empty reference
    assert (assessment.scored.score.words.errors, assessment.scored.score.words.reference_length) == (6, 4)
    basic, english = assessment.scored.normalized["basic"], assessment.scored.normalized["english"]
    assert basic.utterances[0].reference == "it's twenty five colours"
    assert basic.utterances[1].words.errors == 0
    assert english.utterances[0].reference == english.utterances[0].hypothesis == "it is 25 colors"
    assert english.words.errors == 1  # "oh" against nothing
    summary = score_json(assessment)
    assert summary["normalized"]["english"]["wer"] == 1 / english.words.reference_length
    assert summary["wer"] == 6 / 4


def test_summary_is_strict_json_with_every_key():
    summary = score_json(assessed(), audio_seconds=5.5, decode_seconds=0.5, decoder={"name": "greedy"})
    assert tuple(summary) == SCORE_KEYS
    assert json.loads(json.dumps(summary, allow_nan=False)) == summary
    assert summary["rtfx"] == 11.0
    assert score_json(assessed())["rtfx"] is None


def test_speaker_and_duration_are_always_broken_down_and_fields_on_request():
    breakdowns = score_json(assessed(fields=("gender",)))["breakdowns"]
    assert list(breakdowns) == ["speaker", "duration", "gender"]
    assert {g["name"]: g["utterances"] for g in breakdowns["gender"]["groups"]} == {"f": 1, "m": 1, "unknown": 1}


def test_unknown_fields_are_refused_with_those_there_are():
    with pytest.raises(ScoringError, match=r"'age'.*there are gender, speaker, duration"):
        assessed(fields=("age",))


def test_sclite_reports_have_sclites_costs_whatever_is_asked_for():
    references, hypotheses = {"u": "a b c d"}, {"u": "b x y d"}
    assessment = assess("s", "h", references, hypotheses, {"u": Details()})
    # fewest errors: three substitutions; by 4, 3, 3: delete a, keep b, then x for c, insert y = 10 < 12
    assert assessment.scored.score.utterances[0].operations == "SSSC"
    assert sorted(assessment.sclite.score.utterances[0].operations) == sorted("DCSIC")


def test_characters_as_units():
    assessment = assess(
        "s", "h", {"u": "今日は 晴れ"}, {"u": "今日 は曇"}, {"u": Details()}, Comparison(unit="character")
    )
    assert assessment.scored.score.words.reference_length == 5
    assert assessment.scored.score.words.errors == 2
    assert assessment.scored.score.cer == assessment.scored.score.wer == 2 / 5


def test_phones_are_folded_on_both_sides():
    references, hypotheses = {"u": "h# sh ix hv eh dcl"}, {"u": "sil zh ih hh eh d"}
    assessment = assess("s", "h", references, hypotheses, {"u": Details()}, Comparison(folding="timit39"))
    assert assessment.scored.score.utterances[0].reference == "sil sh ih hh eh sil"
    assert assessment.scored.score.words.errors == 1


def test_a_phone_outside_the_folding_is_named_with_its_utterance():
    with pytest.raises(ScoringError, match=r"hypothesis u: expected phones of timit39, got .?qq"):
        assess("s", "h", {"u": "sh"}, {"u": "qq"}, {"u": Details()}, Comparison(folding="timit39"))


def test_alternations_are_chosen_before_texts_are_normalised():
    references = {"u": "{ i'll / i will } go (uh)"}
    assessment = assess(
        "s", "h", references, {"u": "I will go"}, {"u": Details()}, Comparison(normalizers=("basic",)), markup=True
    )
    assert assessment.scored.score.utterances[0].reference.startswith("i will go")
    assert assessment.scored.normalized["basic"].utterances[0].hypothesis == "i will go"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"alignment": "wer"}, "levenshtein, sclite, jiwer, got 'wer'"),
        ({"unit": "byte"}, "word or character, got 'byte'"),
        ({"normalizers": ("whisper",)}, "basic, english, got 'whisper'"),
        ({"folding": "timit39", "unit": "character"}, "leave normalisers and the unit out"),
    ],
)
def test_unknown_names_are_refused(options, message):
    with pytest.raises(ScoringError, match=message):
        Comparison(**options)


def test_rows_have_what_compare_and_report_read():
    rows = list(hypothesis_rows(assessed().scored))
    assert rows[0] == {
        "id": "u1",
        "reference": "It's twenty-five COLOURS",
        "hypothesis": "it is 25 colors",
        "errors": 4,
        "reference_words": 3,
        "speaker": "ann",
        "duration": 3.0,
        "fields": {"gender": "f"},
    }


def test_markdown_has_a_row_for_each_set():
    plain, both = score_json(assessed()), score_json(assessed(normalizers=("basic",)))
    lines = markdown_table({"one": plain, "two": both}).splitlines()
    assert [line.split("|")[1].strip() for line in lines] == ["set", "---", "one", "two"]
    assert len({line.count("|") for line in lines}) == 1
    assert "… basic texts" in lines[0]
    assert "| – |" in lines[2]
