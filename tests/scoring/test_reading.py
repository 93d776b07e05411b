"""References and hypotheses together: which format a file is in, which utterances belong together, real files."""

import json
import re

import pytest
from helpers import needs_real_speech, real_data
from hypothesis import given
from hypothesis import strategies as st

from asr.errors import AsrError, ScoringError
from asr.scoring.reading import read_pair
from asr.scoring.scored_set import Details


@pytest.fixture
def pair(tmp_path):
    """Write a reference and a hypothesis and read them: `pair("ref.trn", "…", "hyp.trn", "…")`."""

    def read(reference, said, hypothesis, recognised, *formats):
        for name, text in ((reference, said), (hypothesis, recognised)):
            (tmp_path / name).parent.mkdir(exist_ok=True)
            (tmp_path / name).write_text(text)
        return read_pair(tmp_path / reference, tmp_path / hypothesis, *formats)

    return read


def manifest(*rows):
    return "".join(
        json.dumps({"id": id, "audio_filepath": f"{id}.wav", "duration": 2.0, "text": text, "speaker": "s", "age": 6})
        + "\n"
        for id, text in rows
    )


# ---- formats that go together


def test_trn_with_trn(pair):
    found = pair("ref.trn", "go on (a-1)\nstop (a-2)\n", "hyp.trn", "(a-2)\r\ngo in (a-1)")
    assert found.references == {"a-1": "go on", "a-2": "stop"}
    assert found.hypotheses == {"a-2": "", "a-1": "go in"}
    assert found.details == {"a-1": Details("a"), "a-2": Details("a")}
    assert (found.audio, found.markup, found.silent) == ({}, False, ())


def test_manifest_with_anything(pair, tmp_path):
    said = manifest(("a-1", "go on"), ("a-2", "stop"))
    for name, recognised in {
        "hyp.trn": "go in (a-1)\n(a-2)\n",
        "hyp.txt": "a-1 go in\na-2\n",
        "hyp.jsonl": '{"id": "a-1", "hypothesis": "go in"}\n{"id": "a-2", "hypothesis": ""}\n',
        "hyp.ctm": "a-1 1 0.5 0.1 in\na-1 1 0.1 0.1 go\n",
    }.items():
        found = pair("ref.jsonl", said, name, recognised)
        assert found.references == {"a-1": "go on", "a-2": "stop"}
        assert found.hypotheses == {"a-1": "go in", "a-2": ""}
        assert found.details["a-1"] == Details("s", 2.0, {"age": 6})
        assert found.audio["a-1"].audio_filepath == str(tmp_path / "a-1.wav")
        assert found.silent == (("a-2",) if name == "hyp.ctm" else ())


def test_kaldi_with_speakers(pair, tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data/utt2spk").write_text("u1 anna\nu2 bob\n")
    found = pair("data/text", "u1 go on\nu2 stop\n", "hyp.txt", "u2 stop\nu1 go in\n")
    assert found.details == {"u1": Details("anna"), "u2": Details("bob")}
    assert found.hypotheses["u1"] == "go in"


def test_plain_lines(pair):
    found = pair("ref.txt", "go on\nstop it\ngo\n", "hyp.txt", "go in\n\ngo")
    assert found.references == {"line-000001": "go on", "line-000002": "stop it", "line-000003": "go"}
    assert found.hypotheses == {"line-000001": "go in", "line-000002": "", "line-000003": "go"}


def test_stm_with_ctm(pair):
    said = "f A s 0 1 <o,m> one\nf A s 1 2 IGNORE_TIME_SEGMENT_IN_SCORING\ng A s 0 1 two\n"
    found = pair("ref.stm", said, "hyp.ctm", "f A 0.2 0.2 won\nf A 1.2 0.2 noise\n")
    assert found.references == {"s-000": "one", "s-001": "two"}
    assert found.hypotheses == {"s-000": "won", "s-001": ""}
    assert found.details["s-000"] == Details("s", 1.0, {"file": "f", "channel": "A", "label_1": "o", "label_2": "m"})
    assert found.silent == ("g A",)


def test_stm_with_stm_and_trn(pair):
    said = "f A s 0 1 one\nf A s 1 2 IGNORE_TIME_SEGMENT_IN_SCORING\nf A s 2 3 two\n"
    recognised = "f A s 0 1 won\nf A s 1 2 noise\nf A s 2 3 too\n"
    assert pair("ref.stm", said, "hyp.stm", recognised).hypotheses == {"s-000": "won", "s-001": "too"}
    assert pair("ref.stm", said, "hyp.trn", "too (s-001)\nwon (s-000)\n").hypotheses["s-001"] == "too"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("go on", False),
        ("{ go / @ } on", True),
        ("go (uh) on", True),
        ("go(2) me@home {go}", True),
        ("go(2) me@home", False),
    ],
)
def test_markup(pair, text, expected):
    assert pair("ref.trn", f"{text} (a-1)", "hyp.trn", "go on (a-1)").markup is expected
    assert pair("ref.txt", f"a-1 {text}", "hyp.trn", "go on (a-1)").markup is False


# ---- what a file is


TRN, KALDI, STM, CTM = "go on (a-1)\n", "a-1 go on\n", "f A s 0 1 go\n", "f A 0.2 0.2 go\n"
ROWS = '{"id": "a-1", "text": "go on"}\n'


@pytest.mark.parametrize(
    ("said", "recognised"),
    [(TRN, TRN), (KALDI, KALDI), (ROWS, ROWS), (TRN, KALDI), (KALDI, ROWS), (ROWS, TRN), (STM, CTM)],
)
def test_formats_by_content(pair, said, recognised):
    found = pair("ref.txt", said, "hyp", recognised)
    assert set(found.hypotheses.values()) <= {"go on", "go"}


def test_ids_without_digits_where_the_other_file_has_ids(pair):
    assert pair("ref.trn", "on (go)\n", "hyp.txt", "go in\n").hypotheses == {"go": "in"}


@pytest.mark.parametrize(
    ("said", "recognised"),
    [
        ("utt1 go on\nutt2 stop\n", "utt1 go on\nutt2 stop\n"),  # ids or words
        ("7 up\ngo on\n", "7 up\ngo in\n"),
        ("go on\nstop\n", "utt1 go on\nutt2 stop\n"),
        ("covid-19 is\ngo on\ngo\n", "covid-19 is\ngo on\ngo\n"),
    ],
)
def test_unclear(pair, said, recognised):
    with pytest.raises(ScoringError, match=r"\.txt: .*say --(ref|hyp)-format kaldi or --(ref|hyp)-format lines"):
        pair("ref.txt", said, "hyp.txt", recognised)
    assert len(pair("ref.txt", said, "hyp.txt", recognised, "lines", "auto").references) == said.count("\n")


def test_a_hypothesis_that_lost_a_line_is_never_taken_for_plain_lines(pair):
    with pytest.raises(ScoringError, match=r"'b-2' \(.*ref\.txt:2\) without a hypothesis, none without a reference"):
        pair("ref.txt", "a-1 go\nb-2 on\n", "hyp.txt", "a-1 go\n")


def test_wrong_guesses_say_so(pair):
    with pytest.raises(ScoringError, match=r"hyp\.trn:1: expected TRN.*taken for trn by its suffix; --hyp-format says"):
        pair("ref.trn", TRN, "hyp.trn", KALDI)
    assert pair("ref.trn", TRN, "hyp.trn", KALDI, "auto", "kaldi").hypotheses == {"a-1": "go on"}
    with pytest.raises(ScoringError, match=r"taken for kaldi by the ids of the other file; --hyp-format says"):
        pair("ref.jsonl", manifest(("a", "go on")), "hyp.txt", "go on\n")
    with pytest.raises(ScoringError, match=r"plain lines have no ids.*ref\.trn as trn and .*hyp\.txt as lines"):
        pair("ref.trn", TRN, "hyp.txt", "go on\n", "auto", "lines")


def test_formats_that_do_not_exist(pair):
    for format in ("list", "sgml", ""):
        with pytest.raises(ScoringError, match="--hyp-format: expected auto, trn, stm, ctm, kaldi, jsonl, lines, got"):
            pair("ref.trn", TRN, "hyp.trn", TRN, "auto", format)
    with pytest.raises(ScoringError, match="CTM is for hypotheses"):
        pair("ref.ctm", CTM, "hyp.ctm", CTM)


# ---- utterances that do not match


def test_ids_that_do_not_match(pair):
    with pytest.raises(ScoringError) as caught:
        pair("ref.trn", "go (a-1)\non (a-2)\n;;\nstop (a-3)\n", "hyp.txt", "a-1 go\na-4 stop\n")
    message = str(caught.value)
    assert "expected one hypothesis for each of the 3 references" in message
    assert re.search(r"'a-2' \(\S+ref\.trn:2\), 'a-3' \(\S+ref\.trn:4\) without a hypothesis", message)
    assert re.search(r"'a-4' \(\S+hyp\.txt:2\) without a reference", message)


def test_many_ids_are_counted(pair):
    said = "".join(f"go (a-{number})\n" for number in range(9))
    with pytest.raises(ScoringError, match=r"'a-3' \(\S+:4\) and 5 more without a hypothesis"):
        pair("ref.trn", said, "hyp.trn", "go (a-0)\n")


@pytest.mark.parametrize("recognised", [("hyp.trn", "go (b-1)\n"), ("hyp.ctm", "b-1 1 0 1 go\n")])
def test_another_set(pair, recognised):
    with pytest.raises(
        ScoringError, match=r"those of another set: no id is in both, such as 'a-1' \(\S+ref.trn:1\) and 'b-1'"
    ):
        pair("ref.trn", TRN, *recognised)


def test_ids_that_repeat(pair):
    with pytest.raises(ScoringError, match=r"hyp\.trn:3: expected each utterance once, got 'a-1' again, .*hyp\.trn:1"):
        pair("ref.trn", TRN, "hyp.trn", "go (a-1)\n\non (a-1)\n")
    with pytest.raises(ScoringError, match=r"ref\.jsonl:2: .*got 'a' again, .*ref\.jsonl:1"):
        pair("ref.jsonl", manifest(("a", "go"), ("a", "on")), "hyp.trn", TRN)


def test_lines_of_another_number(pair):
    with pytest.raises(ScoringError, match=r"hyp\.txt: expected as many lines as \S+ref\.txt has.*: 3, got 2"):
        pair("ref.txt", "go\ngo\non\n", "hyp.txt", "go\ngo\n")


@pytest.mark.parametrize("name", ["hyp.trn", "hyp.ctm", "hyp.jsonl", "hyp.txt", "hyp.stm"])
def test_nothing_recognised(pair, name):
    with pytest.raises(ScoringError, match=rf"{name}: expected at least one utterance"):
        pair("ref.trn", TRN, name, "")


def test_nothing_to_score(pair):
    with pytest.raises(ScoringError, match=r"ref\.stm: expected an utterance to score, got ignored segments alone"):
        pair("ref.stm", "f A s 0 1 ignore_time_segment_in_scoring\n", "hyp.ctm", CTM)


def test_alternations_in_hypotheses(pair):
    with pytest.raises(ScoringError, match=r"hyp\.trn:1: expected one hypothesis, got alternatives"):
        pair("ref.trn", TRN, "hyp.trn", "{ go / no } on (a-1)\n")


PIECES = st.sampled_from(
    [b"a-1", b"f A s 0 1", b" ", b"(a-1)", b"\n", b";;", b'{"id": "a-1", "text": ""}', b"0.5", b"\xc3", b"go"]
)
ANY_BYTES = st.lists(PIECES, max_size=12).map(b"".join)


@given(ANY_BYTES, ANY_BYTES)
def test_any_pair_is_read_or_refused(tmp_path_factory, said, recognised):
    reference, hypothesis = (tmp_path_factory.getbasetemp() / name for name in ("ref.txt", "hyp.txt"))
    reference.write_bytes(said)
    hypothesis.write_bytes(recognised)
    try:
        found = read_pair(reference, hypothesis)
    except AsrError:
        return
    assert found.references.keys() == found.hypotheses.keys() == found.details.keys() != set()


# ---- real files


def words_of(report):
    """Reference and hypothesis of each id in one of sclite's .pra files, in lower case."""
    found = {}
    for block in report.read_text().split("\nid: (")[1:]:
        sides = [re.findall(rf"^(?:>> )?{side}: (.*)$", block, re.MULTILINE) for side in ("REF", "HYP")]
        words = [[word.lower() for word in " ".join(side).split() if set(word) != {"*"}] for side in sides]
        found[block.partition(")")[0]] = tuple(map(" ".join, words))
    return found


@needs_real_speech
@pytest.mark.parametrize(
    ("reference", "hypothesis", "report", "num_utterances"),
    [("ref.trn", "greedy.trn", "greedy.pra", 198), ("ref.stm", "greedy.ctm", "ctm.pra", 95)],
)
def test_texts_are_those_that_sclite_scored(reference, hypothesis, report, num_utterances):
    folder = real_data() / "golden/sclite"
    found = read_pair(folder / reference, folder / hypothesis)
    texts = {id: (text, found.hypotheses[id]) for id, text in found.references.items()}
    assert texts == words_of(folder / report)
    assert len(texts) == num_utterances
    assert {details.speaker for details in found.details.values()} == {"1462", "1919", "2086", "2277", "2428"}
    assert not found.markup
    assert not found.silent
