"""TRN, Kaldi's text, JSON lines and plain lines: by hand, then any bytes at all."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lines_of_files import PLACE, lines, refusal, texts

from asr.errors import ManifestError, ScoringError
from asr.scoring.scored_set import Details
from asr.scoring.transcripts import (
    parse_json_lines,
    parse_kaldi,
    parse_plain,
    parse_trn,
    read_lines,
    read_utt2spk,
    trn_speaker,
)

# ---- lines


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"", []),
        (b"\n", [""]),
        (b"a\n\nb", ["a", "", "b"]),
        (b"\xef\xbb\xbfa\r\nb\r\n", ["a", "b"]),  # byte-order mark, CRLF
        ("a\u2028b\x85c\n".encode(), ["a\u2028b\x85c"]),  # not where a line ends
    ],
)
def test_lines(tmp_path, data, expected):
    path = tmp_path / "f.txt"
    path.write_bytes(data)
    assert [line.text for line in read_lines(path)] == expected


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ("wörter".encode("latin-1"), r"f\.txt:1: expected UTF-8, got byte 0xf6 at byte 2 of the line"),
        (b"one\ntwo\n\xff", r"f\.txt:3: expected UTF-8, got byte 0xff at byte 1 "),
        ("one\n".encode("utf-16"), r"f\.txt:1: expected UTF-8, got UTF-16 \(byte 0xff\); convert the file"),
        ("one\n".encode("utf-32"), r"f\.txt:1: expected UTF-8, got UTF-32"),
        ("a\nb\n".encode("utf-16-be"), r"f\.txt:1: .*got a NUL, as UTF-16 has them"),
        (b"one\ntwo\rthree\r", r"f\.txt:2: .*a carriage return without a line feed"),
    ],
)
def test_other_encodings(tmp_path, data, message):
    path = tmp_path / "f.txt"
    path.write_bytes(data)
    with pytest.raises(ScoringError, match=message):
        read_lines(path)


def test_no_file(tmp_path):
    with pytest.raises(ScoringError, match=r"cannot read .*: No such file"):
        read_lines(tmp_path / "none")
    with pytest.raises(ScoringError, match=r"cannot read .*: Is a directory"):
        read_lines(tmp_path)


# ---- TRN


def test_trn():
    entries = parse_trn(lines(";; made by hand\nShe had  (uh) it (cmh_sa01)\n\n{ a / @ }(b-c_3)  \n(d-4)"))
    assert texts(entries) == {"cmh_sa01": "She had  (uh) it", "b-c_3": "{ a / @ }", "d-4": ""}
    assert [entry.place for entry in entries] == ["f.txt:2", "f.txt:4", "f.txt:5"]
    assert [entry.details.speaker for entry in entries] == ["cmh", "b", "d"]


def test_blanks_in_the_parentheses_are_no_part_of_an_id():
    assert texts(parse_trn(lines(";; x\n ;; y\nshe had\t( a-1 )"))) == {"a-1": "she had"}


def test_trn_speakers():
    # NIST sclite 2.10 with -i spu_id gave the speakers a, c_d and b for (a_2), (c_d-4) and (b-x_3).
    assert [trn_speaker(id) for id in ("a_2", "c_d-4", "b-x_3", "abc", "-3")] == ["a", "c_d", "b", None, None]


@pytest.mark.parametrize("line", ["no id", "an id (a-1) before the end", "(a b)", "()", "a-1)", "x (a-1", "a (b-1))"])
def test_trn_without_id(line):
    with pytest.raises(ScoringError, match=r"f\.txt:2: expected TRN"):
        parse_trn(lines(f"fine (a-1)\n{line}"))


# ---- Kaldi


def test_kaldi():
    entries = parse_kaldi(lines("b-1 go  on \na-2\n\na-3\tstop"))
    assert texts(entries) == {"b-1": "go  on", "a-2": "", "a-3": "stop"}
    assert entries[2].place == "f.txt:4"
    assert entries[0].details == Details()


def test_kaldi_speakers(tmp_path):
    path = tmp_path / "utt2spk"
    path.write_text("b-1 b\na-2 anna\n")
    speakers = read_utt2spk(path)
    assert [e.details.speaker for e in parse_kaldi(lines("a-2 hi\nb-1"), speakers)] == ["anna", "b"]
    with pytest.raises(ScoringError, match=r"f\.txt:1: expected a speaker of c-3 in utt2spk"):
        parse_kaldi(lines("c-3 hi"), speakers)
    path.write_text("b-1 b\nb-2\n")
    with pytest.raises(ScoringError, match=r"utt2spk:2: expected `utterance speaker`, got 'b-2'"):
        read_utt2spk(path)


def test_kaldi_line_without_id():
    with pytest.raises(ScoringError, match=r"f\.txt:2: expected an id at the front"):
        parse_kaldi(lines("a-1 hi\n hello"))


# ---- plain lines


def test_plain():
    entries = parse_plain(lines(" go on\n\n;; not a comment"))
    assert texts(entries) == {"line-000001": "go on", "line-000002": "", "line-000003": ";; not a comment"}


# ---- JSON lines


def read_json(tmp_path, rows, side):
    path = tmp_path / "f.txt"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return parse_json_lines(path, read_lines(path), side)


def test_hypotheses_of_evaluate(tmp_path):
    rows = [{"id": "a", "reference": "go on", "hypothesis": "go in", "errors": 1, "speaker": "s", "accent": "us"}]
    (reference,) = read_json(tmp_path, rows, "reference")
    (hypothesis,) = read_json(tmp_path, rows, "hypothesis")
    assert (reference.text, hypothesis.text) == ("go on", "go in")
    assert reference.details == Details("s", None, {"accent": "us"})
    assert reference.place == f"{tmp_path}/f.txt:1"


def test_nemo_rows(tmp_path):
    rows = [{"audio_filepath": "w/x.wav", "duration": 2.5, "text": " go on ", "pred_text": "go in", "lang": "en"}]
    (reference,) = read_json(tmp_path, rows, "reference")
    (hypothesis,) = read_json(tmp_path, rows, "hypothesis")
    assert (reference.id, hypothesis.id) == ("x", "x")  # made of the file's name
    assert (reference.text, hypothesis.text) == (" go on ", "go in")
    assert reference.details == Details(None, 2.5, {"pred_text": "go in", "lang": "en"})
    assert reference.utterance.audio_filepath == str(tmp_path / "w/x.wav")


def test_rows_with_text(tmp_path):
    rows = [{"id": "a", "text": "go"}]
    assert (
        texts(read_json(tmp_path, rows, "reference")) == texts(read_json(tmp_path, rows, "hypothesis")) == {"a": "go"}
    )


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"text": "go"}, "expected an utterance's id in `id`, a string, got 'null'"),
        ({"id": 3, "text": "go"}, "expected an utterance's id in `id`, a string, got '3'"),
        ({"id": "a", "words": []}, "expected the hypothesis in `hypothesis` or `pred_text` or `text`, got `id` or"),
        ({"id": "a", "pred_text": None}, "expected a string in `pred_text`, got 'null'"),
        ({"id": "a", "text": "", "speaker": 4}, "expected a string in `speaker`, got '4'"),
        ({"id": "a", "text": "", "duration": True}, "expected a number of seconds in `duration`, got 'true'"),
        ({"id": "a", "text": "", "duration": float("nan")}, "expected a number of seconds in `duration`, got 'NaN'"),
        ([1], r"expected a JSON object"),
        ({"audio_filepath": "x.wav", "duration": 1, "text": "go"}, "got a manifest, whose `text` is what was said"),
    ],
)
def test_bad_rows(tmp_path, row, message):
    good = {"id": "b", "audio_filepath": "b.wav", "duration": 1, "pred_text": "", "text": ""}
    if "audio_filepath" not in row:
        good = {"id": "b", "text": ""}
    with pytest.raises(ScoringError, match=rf"f\.txt:2: .*{message}"):
        read_json(tmp_path, [good, row], "hypothesis")


def test_malformed_manifest(tmp_path):
    rows = [{"audio_filepath": "x.wav", "duration": 1, "text": "go"}, {"audio_filepath": "y.wav"}]
    with pytest.raises(ManifestError, match=r"f\.txt:2: "):
        read_json(tmp_path, rows, "reference")


def test_json_over_several_lines(tmp_path):
    path = tmp_path / "talk.json"
    path.write_text(json.dumps({"text": "go on", "segments": []}, indent=2))
    with pytest.raises(ScoringError, match=r"talk\.json:1: expected one JSON object on each line, got '{'"):
        parse_json_lines(path, read_lines(path), "hypothesis")


# ---- any bytes at all

PIECES = st.sampled_from(
    [b"a-1", b" ", b"(", b")", b"\n", b";;", b"{", b"}", b'"id": "a"', b"\xc3", b"\xa4", b"\r\n", b"\t"]
)
ANY_BYTES = st.one_of(st.binary(max_size=80), st.lists(PIECES, max_size=20).map(b"".join))


@given(ANY_BYTES)
def test_bytes_read_or_name_the_line(tmp_path_factory, data):
    path = tmp_path_factory.getbasetemp() / "f.txt"
    path.write_bytes(data)
    parsers = [parse_trn, parse_kaldi, parse_plain, lambda read: parse_json_lines(path, read, "reference")]
    for parse in parsers:
        message = refusal(lambda parse=parse: parse(read_lines(path)))
        assert message is None or PLACE.search(message)


VISIBLE = st.characters(exclude_categories=("Z", "C"))  # no white space, no half surrogates
WORDS = st.lists(st.text(VISIBLE, min_size=1, max_size=5), max_size=4).map(" ".join)


@given(st.lists(WORDS, max_size=6))
def test_what_was_written_is_read(texts_written):
    kaldi = parse_kaldi(lines("\n".join(f"u-{n} {text}" for n, text in enumerate(texts_written))))
    assert [entry.text for entry in kaldi] == texts_written
    trn = parse_trn(lines("\n".join(f"x {text} (u-{n})" for n, text in enumerate(texts_written))))
    assert [entry.text.removeprefix("x").strip() for entry in trn] == texts_written
