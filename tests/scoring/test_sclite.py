"""Reports in sclite's layout: equal to NIST's files to the byte, and sensible where sclite is not."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len
from sclite_sets import ODD, nist, scored_set

from asr.errors import OutputError
from asr.scoring.errors import LEVENSHTEIN, SCLITE, score
from asr.scoring.reading import read_pair
from asr.scoring.sclite import write_sclite_reports
from asr.scoring.sclite_dtl import dtl_text
from asr.scoring.sclite_parts import mean, median, percentage, rounded, standard_deviation
from asr.scoring.sclite_pra import pra_text
from asr.scoring.sclite_sys import raw_text, sys_text
from asr.scoring.scored_set import ScoredSet
from tests.helpers import needs_real_speech, real_data

# ---- golden files ----------------------------------------------------------------------------------------------------


@needs_real_speech
@pytest.mark.parametrize(
    ("name", "reference", "hypothesis"),
    [
        ("greedy", "ref.trn", "greedy.trn"),
        ("lm", "ref.trn", "lm.trn"),
        ("lm2", "ref.trn", "lm2.trn"),
        ("ctm", "ref.stm", "greedy.ctm"),
    ],
)
def test_equal_to_sclite_to_the_byte(name, reference, hypothesis, tmp_path):
    golden = real_data() / "golden" / "sclite"
    pair = read_pair(golden / reference, golden / hypothesis)
    result = score(pair.references, pair.hypotheses, SCLITE, markup=pair.markup)
    paths = write_sclite_reports(tmp_path, ScoredSet("librispeech-test", hypothesis, result, pair.details))
    assert [path.name for path in paths] == [f"{hypothesis}.{kind}" for kind in ("sys", "raw", "pra", "dtl")]
    for path in paths:
        assert path.read_bytes() == (golden / f"{name}{path.suffix}").read_bytes(), path.name


# ---- tables ----------------------------------------------------------------------------------------------------------


def test_percentages_with_a_speaker_who_said_nothing():
    assert sys_text(scored_set(ODD)) == nist(  # NIST sclite 2.10 gave this
        """$
$
$
                     SYSTEM SUMMARY PERCENTAGES by SPEAKER                      $
$
       ,----------------------------------------------------------------.$
       |                              odd                               |$
       |----------------------------------------------------------------|$
       | SPKR   | # Snt # Wrd | Corr    Sub    Del    Ins    Err  S.Err |$
       |--------+-------------+-----------------------------------------|$
       | zeb    |    2      9 | 66.7   22.2   11.1    0.0   33.3  100.0 |$
       |--------+-------------+-----------------------------------------|$
       | bob    |    2      3 |100.0    0.0    0.0   33.3   33.3   50.0 |$
       |--------+-------------+-----------------------------------------|$
       | empty  |    1      0 |    0*     0*     0*     2*     2* 100.0 |$
       |================================================================|$
       | Sum/Avg|    5     12 | 75.0   16.7    8.3   25.0   50.0   80.0 |$
       |================================================================|$
       |  Mean  |  1.7    4.0 | 83.3+  11.1+   5.6+  16.7+  33.3+  83.3 |$
       |  S.D.  |  0.6    4.6 | 23.6+  15.7+   7.9+  23.6+   0.0+  28.9 |$
       | Median |  2.0    3.0 | 83.3+  11.1+   5.6+  16.7+  33.3+ 100.0 |$
       `----------------------------------------------------------------'$
$
* No Reference words for this/these speaker(s).  Word counts supplied$
  rather than percents.$
# No Reference words for this/these speaker(s).  NCE not computable.$
+ Speaker(s) with no reference data is ignored$
"""
    )


def test_counts():
    lines = [line.strip() for line in raw_text(scored_set(ODD)).splitlines()]
    assert [line for line in lines if line.startswith("|") and "--" not in line and "==" not in line][1:] == [
        "| SPKR  | # Snt # Wrd | Corr    Sub    Del    Ins    Err  S.Err |",  # NIST sclite 2.10 gave these
        "| zeb   |    2      9 |    6      2      1      0      3      2 |",
        "| bob   |    2      3 |    3      0      0      1      1      1 |",
        "| empty |    1      0 |    0      0      0      2      2      1 |",
        "| Sum   |    5     12 |    9      2      1      3      6      4 |",
        "| Mean  |  1.7    4.0 |  3.0    0.7    0.3    1.0    2.0    1.3 |",
        "| S.D.  |  0.6    4.6 |  3.0    1.2    0.6    1.0    1.0    0.6 |",
        "|Median |  2.0    3.0 |  3.0    0.0    0.0    1.0    2.0    1.0 |",
    ]
    assert "\n       ,------" in raw_text(scored_set(ODD))  # 65 of 80 columns, which leaves an odd rest


def test_columns_widen_under_a_wide_title_and_for_long_names():
    title = "A system whose title is wider than the table below it, by far: beam 16, language model"
    pairs = [("s1-1", "a b c d", "a b e"), ("speaker_two-1", "x", "x")]
    lines = sys_text(scored_set(pairs, system=title)).splitlines()
    assert lines[5:14] == [  # NIST sclite 2.10 gave these
        ",--------------------------------------------------------------------------------------.",
        "|A system whose title is wider than the table below it, by far: beam 16, language model|",
        "|--------------------------------------------------------------------------------------|",
        "|  SPKR         |  # Snt   # Wrd  |  Corr     Sub      Del      Ins      Err    S.Err  |",
        "|---------------+-----------------+----------------------------------------------------|",
        "|  s1           |     1        4  |  50.0    25.0     25.0      0.0     50.0    100.0  |",
        "|---------------+-----------------+----------------------------------------------------|",
        "|  speaker_two  |     1        1  | 100.0     0.0      0.0      0.0      0.0      0.0  |",
        "|======================================================================================|",
    ]
    assert lines[16] == "|     Mean      |   1.0      2.5  |  75.0    12.5     12.5      0.0     25.0     50.0  |"


def test_statistics_over_speakers_by_hand():
    values = [1.0, 2.0, 6.0, 3.0]
    assert mean(values) == 3.0
    assert median(values) == 2.5  # of 2 and 3
    assert median(values[:3]) == 2.0
    assert standard_deviation(values) == pytest.approx((14 / 3) ** 0.5)  # 4 + 1 + 9 + 0, over n - 1
    assert standard_deviation([5.0]) == 0.0
    assert mean([]) == median([]) == standard_deviation([]) == 0.0


@pytest.mark.parametrize(
    ("part", "whole", "expected"),
    [
        (36, 320, 11.3),  # 11.25; NIST sclite 2.10 gave 11.3, where "%.1f" gives 11.2
        (3, 2000, 0.2),  # 0.15
        (1, 2000, 0.1),  # 0.05
        (2, 3, 66.7),
        (0, 0, 0.0),
        (7, 7, 100.0),
    ],
)
def test_halves_are_rounded_up(part, whole, expected):
    assert rounded(percentage(part, whole)) == expected
    assert rounded(-percentage(part, whole)) == -expected


def test_every_speaker_without_reference_words_is_left_out_of_the_statistics():
    pairs = [("a-1", "", "u"), ("b-1", "", "u v"), ("c-1", "x y z w", "x y z w"), ("d-1", "x y", "x q")]
    lines = sys_text(scored_set(pairs)).splitlines()
    # of c (100 % correct) and d (50 %); sentence errors of all four: 100, 100, 0, 100
    assert [line for line in lines if "Mean" in line] == [
        "       |  Mean  |  1.0    1.5 | 75.0+  25.0+   0.0+   0.0+  25.0+  75.0 |"
    ]


def test_speakers_come_in_order_of_first_occurrence_and_the_nameless_as_one_group():
    pairs = [("1", "a", "a"), ("2", "b", "b"), ("3", "c", "c"), ("4", "d", "e")]
    speakers = {"1": "zoe", "2": None, "3": "adam", "4": None}
    text = pra_text(scored_set(pairs, speakers=speakers))
    assert re.findall(r"^    \d:  (.*)$", text, re.M) == ["zoe", "unknown", "adam"]
    assert "Speaker sentences   1:  unknown   #utts: 2\nid: (2)\n" in text
    table = sys_text(scored_set(pairs, speakers=dict.fromkeys("1234")))
    assert "| unknown |    4      4 | 75.0   25.0    0.0    0.0   25.0   25.0 |" in table


# ---- details ---------------------------------------------------------------------------------------------------------


def test_detailed_report_counts_words_most_frequent_first_then_by_name():
    pairs = [
        ("s-1", "b a", "q q"),
        ("s-2", "b a c", "q q c z"),
        ("s-3", "x c", "c"),
        ("s-4", "x c", "c"),
        ("s-5", "c", "c"),
    ]
    text = dtl_text(scored_set(pairs))
    confusions, insertions, deletions, substitutions, recognized = re.findall(r"\n\n((?: +\d+: .*\n)+) +-", text)
    assert confusions == "   1:    2  ->  a ==> q\n   2:    2  ->  b ==> q\n"
    assert insertions == "   1:    1  ->  z\n"
    assert deletions == "   1:    2  ->  x\n"
    assert substitutions == "   1:    2  ->  a\n   2:    2  ->  b\n"
    assert recognized == "   1:    4  ->  q\n"
    assert " with errors                             80.0%   (   4)\n\n   with substitutions" in text
    assert "Percent Word Accuracy     =   30.0%\n" in text  # 10 words, 4 + 2 + 1 errors
    assert "Hyp. words                =           (   9)\nAligned words             =           (  11)\n" in text


def test_without_reference_words_percentages_are_undefined():
    text = dtl_text(scored_set([("s-1", "", "foo bar")]))
    assert "Percent Total Error       =  UNDEF%   (   2)\n" in text  # as NIST sclite prints it
    assert "Percent Word Accuracy     =  UNDEF%\n" in text
    assert "DELETIONS                        Total                 (0)\n" in text


def test_other_costs_give_other_counts_in_the_same_layout():
    pairs = [("s-1", "a b c d", "c d e f")]
    by_levenshtein = pra_text(scored_set(pairs, costs=LEVENSHTEIN))
    by_sclite = pra_text(scored_set(pairs, costs=SCLITE))
    assert (
        "Scores: (#C #S #D #I) 0 4 0 0\n" in by_levenshtein
    )  # 4 errors either way, but 16 against 12 of sclite's costs
    assert "Scores: (#C #S #D #I) 2 0 2 2\n" in by_sclite
    assert len(by_levenshtein.splitlines()) == len(by_sclite.splitlines())


# ---- files -----------------------------------------------------------------------------------------------------------


def test_the_name_of_a_system_becomes_the_name_of_a_file(tmp_path):
    paths = write_sclite_reports(tmp_path / "new", scored_set(ODD, system="models/an4: best?"))
    assert [path.relative_to(tmp_path).as_posix() for path in paths] == [
        f"new/models_an4_ best_.{kind}" for kind in ("sys", "raw", "pra", "dtl")
    ]
    assert "models/an4: best?" in paths[0].read_text(encoding="utf-8")


def test_a_directory_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("not a directory")
    with pytest.raises(OutputError, match="file"):
        write_sclite_reports(tmp_path / "file", scored_set(ODD))


WORDS = st.lists(st.text("abcé東", min_size=1, max_size=6), max_size=12).map(" ".join)


@given(st.lists(st.tuples(WORDS, WORDS), min_size=1, max_size=6), st.text(min_size=1, max_size=120))
def test_any_set_and_title(pairs, system):
    """Frames close, alignments read back as the words that were scored, and tables hold the counts."""
    system = " ".join(system.split()) or "x"
    scored = scored_set([(f"s{n % 2}-{n}", *pair) for n, pair in enumerate(pairs)], system=system)
    for text in (sys_text(scored), raw_text(scored)):
        frame = [line.strip() for line in text.split("\n") if line.strip().startswith(("|", ",", "`"))]
        assert len({cell_len(line) for line in frame}) == 1
    words = scored.score.words
    sums = next(line for line in raw_text(scored).split("\n") if "| Sum " in line)
    assert [int(number) for number in re.findall(r"\d+", sums)][1:7] == [
        words.reference_length,
        words.hits,
        words.substitutions,
        words.deletions,
        words.insertions,
        words.errors,
    ]
    read_back = dict(zip(re.findall(r"^id: \((.*)\)$", pra_text(scored), re.M), _alignments(pra_text(scored))))
    for utterance in scored.score.utterances:
        assert read_back[utterance.id] == (utterance.reference, utterance.hypothesis)


def _alignments(text: str) -> list[tuple[str, str]]:
    pairs = []
    for block in text.split("\nid: ")[1:]:
        lines = dict(re.findall(r"^(REF|HYP): +(.*)$", block, re.M))
        texts = [
            " ".join(word for word in lines.get(name, "").split() if set(word) != {"*"}).lower()
            for name in ("REF", "HYP")
        ]
        pairs.append((texts[0], texts[1]))
    return pairs
