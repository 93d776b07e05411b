"""Alignments in sclite's layout. What NIST's own program printed is marked so."""

import re

import pytest
from rich.cells import cell_len
from sclite_sets import ODD, nist, scored_set

from asr.scoring.errors import SCLITE, score
from asr.scoring.sclite_dtl import dtl_text
from asr.scoring.sclite_pra import pra_text
from asr.scoring.scored_set import Details, ScoredSet


def test_alignments():
    folded = [(id, reference.lower(), hypothesis.lower()) for id, reference, hypothesis in ODD]
    expected = nist(  # NIST sclite 2.10 gave this
        """$
$
<tab><tab>DUMP OF SYSTEM ALIGNMENT STRUCTURE$
$
System name:   odd$
$
Speakers: $
    0:  zeb$
    1:  bob$
    2:  empty$
$
Speaker sentences   0:  zeb   #utts: 2$
id: (zeb-001)$
Scores: (#C #S #D #I) 4 1 1 0$
REF:  the cat sat ON THE mat $
HYP:  the cat sat ** IN  mat $
Eval:             D  S       $
$
id: (zeb-002)$
Scores: (#C #S #D #I) 2 1 0 0$
REF:  a b C $
HYP:  a b X $
Eval:     S $
$
Speaker sentences   1:  bob   #utts: 2$
id: (bob-002)$
Scores: (#C #S #D #I) 3 0 0 1$
REF:  hello world again *** $
HYP:  hello world again NOW $
Eval:                   I   $
$
id: (bob-001)$
Scores: (#C #S #D #I) 0 0 0 0$
$
Speaker sentences   2:  empty   #utts: 1$
id: (empty-001)$
Scores: (#C #S #D #I) 0 0 0 2$
REF:  *** *** $
HYP:  FOO BAR $
Eval: I   I   $
$
$
"""
    )
    assert pra_text(scored_set(folded)) == expected
    # without two words that differ in case alone, sclite's own folding of case changes nothing but what is printed
    assert pra_text(scored_set(ODD)) == expected


def test_words_that_differ_in_case_alone_are_left_as_they_are():
    mixed = [*ODD, ("bob-003", "Hello World again", "hello world Again now")]
    text = pra_text(scored_set(mixed))
    assert text.count("Attributes: Case_sensitve \n") == len(mixed)
    assert "REF:  the cat sat on the mat \nHYP:  the cat sat ** in  mat \n" in text
    block = nist(  # NIST sclite 2.10 with -s gave this
        """\
Scores: (#C #S #D #I) 0 3 0 1$
Attributes: Case_sensitve $
REF:  ***** Hello World again $
HYP:  hello world Again now   $
Eval: I     S     S     S     $
"""
    )
    assert f"id: (bob-003)\n{block}\n" in text
    assert "  ->  Hello ==> world\n" in dtl_text(scored_set(mixed))


@pytest.mark.parametrize(
    ("words", "lengths"),
    [
        # NIST sclite 2.10 gave these lengths of REF lines, with a space after each word and ">> " before later lines
        (["abcdefghi"] * 250, [996, 999, 529]),
        (["abcdefghi"] * 99 + ["abc", "de"], [996, 16]),  # the word that would end at 1000 moves on
        (["abcdefghi"] * 99 + ["abc"], [1000]),  # unless it is the last
        (["abcdefghi"] * 99 + ["ab", "de"], [1002]),
    ],
)
def test_long_alignments_are_broken_as_by_sclite(words, lengths):
    text = pra_text(scored_set([("s-1", " ".join(words), " ".join(words))]))
    lines = re.findall(r"^(?:>> )?REF:  .*$", text, re.M)
    assert [len(line) for line in lines] == lengths
    assert " ".join(line.removeprefix(">> ").removeprefix("REF:  ").strip() for line in lines).split() == words


def test_a_word_longer_than_a_line_ends_no_loop():
    words = ["a" * 1500, "b" * 1500, "c"]
    text = pra_text(scored_set([("s-1", " ".join(words), "c")]))
    assert text.count("REF:  ") == 3
    assert "*" * 1500 in text


def test_columns_line_up_on_a_terminal_in_any_script():
    text = pra_text(scored_set([("s-1", "straße 東京 नमस्ते é", "strasse 京 नमस्ते now e")]))
    lines = [line for line in text.splitlines() if line.startswith(("REF", "HYP", "Eval"))]
    words = [line.split()[1:] for line in lines]
    assert words == [
        ["STRASSE", "東京", "नमस्ते", "***", "É"],
        ["STRASSE", "京", "नमस्ते", "NOW", "E"],
        ["S", "S", "I", "S"],
    ]
    assert {cell_len(line) for line in lines} == {6 + 8 + 5 + cell_len("नमस्ते ") + 4 + 2}
    assert cell_len(lines[0].split("***")[0]) == cell_len(lines[1].split("NOW")[0]) == lines[2].index("I")


def test_time_marked_references_name_file_channel_and_labels():
    fields = {"file": "fileA", "channel": "1", "label_1": "o", "label_2": "f0", "label_4": "no more"}
    scored = scored_set([("s-000", "hello", "hello")])
    marked = ScoredSet("set", "odd", scored.score, {"s-000": Details("s", 2.0, fields)})
    # the order of NIST sclite 2.10
    assert "id: (s-000)\nLabels: <o,f0>\nFile: fileA\nChannel: 1\nScores: (#C #S #D #I) 1 0 0 0\n" in pra_text(marked)


def test_optional_words_stand_in_parentheses_also_where_they_were_left_out():
    references = {"s-1": "hello (uh) world (dd) (um)", "s-2": "(it's) (a) { b / c d } e"}
    result = score(references, {"s-1": "hello word b um", "s-2": "d e"}, SCLITE, markup=True)
    scored = ScoredSet("set", "odd", result, {"s-1": Details("s"), "s-2": Details("s")})
    # NIST sclite 2.10 gave these with -D.
    assert (
        "Scores: (#C #S #D #I) 3 2 0 0\n"
        "REF:  hello (uh) WORLD (DD) (um) \n"
        "HYP:  hello      WORD  B    um   \n"
        "Eval:            S     S         \n"
    ) in pra_text(scored)
    assert (
        "Scores: (#C #S #D #I) 4 0 1 0\nREF:  (it's) (a) C d e \nHYP:             * d e \nEval:            D     \n"
    ) in pra_text(scored)
    assert "   1:    1  ->  (dd) ==> b\n   2:    1  ->  world ==> word\n" in dtl_text(scored)
