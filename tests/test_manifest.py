"""Manifests: every field by hand, every malformed line with its place, and a round trip of anything."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asr.data.manifest import read_manifest, scan_manifest, write_manifest
from asr.errors import ManifestError, OutputError
from asr.types import Utterance

GOOD = '{"id": "a", "audio_filepath": "a.wav", "duration": 1.5, "text": "go"}'


def write(path: Path, content: str | bytes) -> Path:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def test_reads_every_field_and_keeps_the_rest(tmp_path: Path) -> None:
    line = (
        '{"id": "a", "audio_filepath": "wav/ä b.flac", "duration": 2, "text": "Go  on ", "offset": 0.25, '
        '"speaker": "s1", "lang": "de", "age": 6, "tags": ["x"]}'
    )
    assert read_manifest(write(tmp_path / "m.jsonl", line)) == [
        Utterance(
            id="a",
            audio_filepath=str(tmp_path / "wav/ä b.flac"),
            duration=2.0,
            text="Go  on ",  # as written: not trimmed, not lower-cased
            offset=0.25,
            speaker="s1",
            lang="de",
            extra={"age": 6, "tags": ["x"]},
        )
    ]


def test_relative_manifest_gives_absolute_audio_paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "sub").mkdir()
    write(tmp_path / "sub" / "m.jsonl", GOOD)
    monkeypatch.chdir(tmp_path)
    assert read_manifest("sub/m.jsonl")[0].audio_filepath == str(tmp_path / "sub" / "a.wav")


def test_null_means_absent(tmp_path: Path) -> None:
    line = (
        '{"id": null, "audio_filepath": "/x/a.wav", "duration": 1, "text": "", "offset": null, '
        '"speaker": null, "lang": null}'
    )
    assert read_manifest(write(tmp_path / "m.jsonl", line)) == [Utterance("a", "/x/a.wav", 1.0, "")]


def test_byte_order_mark_crlf_blank_lines_and_line_separators(tmp_path: Path) -> None:
    # U+2028 ends a line for str.splitlines, but not in JSON.
    second = GOOD.replace('"a"', '"b"').replace("go", "go\u2028on")
    content = b"\xef\xbb\xbf" + GOOD.encode() + b"\r\n\r\n  \n" + second.encode() + b"\r\n"
    path = write(tmp_path / "m.jsonl", content)
    assert [u.text for u in read_manifest(path)] == ["go", "go\u2028on"]
    assert [line.place for line in scan_manifest(path).lines] == [f"{path}:1", f"{path}:4"]


def test_empty_manifest_has_no_utterances(tmp_path: Path) -> None:
    assert read_manifest(write(tmp_path / "m.jsonl", "")) == []


@pytest.mark.parametrize(
    ("files_and_offsets", "ids"),
    [
        ([("talk.wav", 0)], ["talk"]),
        ([("talk.wav", 12.34)], ["talk"]),  # alone in its file: the stem says enough
        ([("talk.wav", 12.34), ("talk.wav", 0)], ["talk-0012340", "talk-0000000"]),
        ([("bed/1.wav", 0), ("cat/1.wav", 0), ("2.wav", 0)], ["bed-1", "cat-1", "2"]),
        ([("x/bed/1.wav", 0), ("y/bed/1.wav", 0)], ["x-bed-1", "y-bed-1"]),
        ([("1.wav", 0), ("b/1.wav", 0)], ["data-1", "b-1"]),
    ],
)
def test_missing_ids_come_from_the_file_name(
    tmp_path: Path, files_and_offsets: list[tuple[str, float]], ids: list[str]
) -> None:
    lines = [
        json.dumps({"audio_filepath": file, "duration": 1, "text": "", "offset": offset})
        for file, offset in files_and_offsets
    ]
    (tmp_path / "data").mkdir()
    assert [u.id for u in read_manifest(write(tmp_path / "data/m.jsonl", "\n".join(lines)))] == ids
    # The order of lines plays no part.
    reversed_ids = [u.id for u in read_manifest(write(tmp_path / "data/m.jsonl", "\n".join(lines[::-1])))]
    assert reversed_ids == ids[::-1]


DEEP = '{"id":' + "[" * 100_000


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"id": "a"', 'expected a JSON object, got {"id": "a": Expecting \',\' delimiter at column 11'),
        ("[1]", "expected a JSON object {...}, got [1]"),
        ("null", "expected a JSON object {...}, got null"),
        ("go on", "expected a JSON object, got go on: Expecting value at column 1"),
        (GOOD + GOOD, "Extra data at column"),
        (DEEP, "nested too deeply"),
        (GOOD.replace('"text": "go"', '"id": "b"'), "field 'id' stands there twice"),
        (
            GOOD.replace(', "text": "go"', ""),
            "missing field 'text'; expected audio_filepath, duration and text",
        ),
        ("{}", "missing field 'audio_filepath'; expected audio_filepath, duration and text, got none"),
        (GOOD.replace('"go"', "null"), "expected a string in 'text', got null; put it in quotes"),
        (GOOD.replace('"go"', "7"), "expected a string in 'text', got 7; put it in quotes"),
        (GOOD.replace('"a",', "7,"), "expected a string in 'id', got 7; put it in quotes"),
        (GOOD.replace('"a",', '"",'), "expected a non-empty 'id'"),
        (GOOD.replace("a.wav", ""), "expected the path of an audio file in 'audio_filepath', got ''"),
        (GOOD.replace("a.wav", "/"), "expected the path of an audio file in 'audio_filepath', got '/'"),
        (GOOD.replace("a.wav", "a\\u0000.wav"), "expected the path of an audio file in 'audio_filepath'"),
        (GOOD.replace("1.5", '"1.5"'), "expected a number of seconds in 'duration', got \"1.5\""),
        (GOOD.replace("1.5", "true"), "expected a number of seconds in 'duration', got true"),
        (
            GOOD.replace("1.5", "-0.1"),
            "expected a finite number of seconds, zero or more, in 'duration', got -0.1",
        ),
        (GOOD.replace("1.5", "NaN"), "NaN is not a JSON number"),
        (GOOD.replace("1.5", "Infinity"), "Infinity is not a JSON number"),
        (
            GOOD.replace("1.5", "1e999"),
            "expected a finite number of seconds, zero or more, in 'duration', got inf",
        ),
        (GOOD.replace("1.5", "1" + "0" * 400), "expected a finite number of seconds"),
        (GOOD.replace("1.5", "1" + "0" * 5000), "expected a JSON object"),  # Python refuses so many digits
        (
            GOOD[:-1] + ', "offset": -1}',
            "expected a finite number of seconds, zero or more, in 'offset', got -1",
        ),
        (GOOD[:-1] + ', "offset": "0"}', "expected a number of seconds in 'offset'"),
        (GOOD[:-1] + ', "speaker": 3}', "expected a string in 'speaker', got 3; put it in quotes"),
        (GOOD.replace("go", "\\ud800"), "half of a surrogate pair"),
    ],
)
def test_malformed_lines_name_file_line_and_expectation(tmp_path: Path, line: str, message: str) -> None:
    path = write(tmp_path / "m.jsonl", GOOD.replace('"a"', '"first"') + "\n\n" + line)
    with pytest.raises(ManifestError) as caught:
        read_manifest(path)
    assert str(caught.value).startswith(f"{path}:3: ")
    assert message in str(caught.value)
    assert len(str(caught.value)) < 400, "a long line must not flood the terminal"


def test_other_encodings_name_the_byte(tmp_path: Path) -> None:
    path = write(tmp_path / "m.jsonl", GOOD.replace("go", "größe").encode("latin-1"))
    with pytest.raises(ManifestError, match=r"m\.jsonl:1: expected UTF-8, got byte 0xf6 at column 68"):
        read_manifest(path)
    utf16 = write(tmp_path / "m.jsonl", GOOD.encode("utf-16"))
    with pytest.raises(ManifestError, match=r"m\.jsonl:1: expected UTF-8, got UTF-16; convert"):
        read_manifest(utf16)


def test_duplicate_ids_name_both_lines(tmp_path: Path) -> None:
    path = write(tmp_path / "m.jsonl", f"\n{GOOD}\n{GOOD.replace('a.wav', 'b.wav')}")
    with pytest.raises(ManifestError, match=r"m\.jsonl:3: expected unique ids, got 'a', the id of line 2 \(.*a\.wav\)"):
        read_manifest(path)


def test_scan_goes_on_past_bad_lines_and_keeps_repeated_ids(tmp_path: Path) -> None:
    path = write(tmp_path / "m.jsonl", "\n".join([GOOD, "[]", GOOD, "{}", GOOD.replace('"a"', '"b"')]))
    scan = scan_manifest(path)
    assert [(line.place, line.utterance.id) for line in scan.lines] == [
        (f"{path}:1", "a"),
        (f"{path}:3", "a"),
        (f"{path}:5", "b"),
    ]
    assert [str(error).split(": ")[0] for error in scan.errors] == [f"{path}:2", f"{path}:4"]


@pytest.mark.parametrize("name", ["missing.jsonl", ""])
def test_a_missing_file_and_a_directory_are_manifest_errors(tmp_path: Path, name: str) -> None:
    with pytest.raises(ManifestError, match="cannot read manifest"):
        read_manifest(tmp_path / name)


# ---------------------------------------------------------------------------------------------- writing


def test_audio_below_the_manifest_is_written_relative(tmp_path: Path) -> None:
    inside = Utterance("a", str(tmp_path / "wav" / "a.wav"), 1.0, "größe", speaker="s", extra={"age": 6})
    beside = Utterance("b", str(tmp_path.parent / "b.wav"), 1.0, "", offset=0.5, lang="en")
    write_manifest(tmp_path / "m.jsonl", [inside, beside])
    assert (tmp_path / "m.jsonl").read_text(encoding="utf-8").splitlines() == [
        '{"id": "a", "audio_filepath": "wav/a.wav", "duration": 1.0, "text": "größe", "speaker": "s", "age": 6}',
        f'{{"id": "b", "audio_filepath": "{tmp_path.parent}/b.wav", "duration": 1.0, "text": "", '
        '"offset": 0.5, "lang": "en"}',
    ]
    assert read_manifest(tmp_path / "m.jsonl") == [inside, beside]


def test_a_written_manifest_moves_with_its_audio(tmp_path: Path) -> None:
    (tmp_path / "old").mkdir()
    write_manifest(tmp_path / "old/m.jsonl", [Utterance("a", str(tmp_path / "old/a.wav"), 1.0, "go")])
    (tmp_path / "old").rename(tmp_path / "new")
    assert read_manifest(tmp_path / "new/m.jsonl")[0].audio_filepath == str(tmp_path / "new/a.wav")


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (Utterance("a", "/a.wav", -1.0, ""), "expected a finite number of seconds"),
        (Utterance("a", "/a.wav", float("nan"), ""), "expected values that JSON can hold"),
        (Utterance("", "/a.wav", 1.0, ""), "expected a non-empty 'id'"),
        (Utterance("a", "", 1.0, ""), "expected the path of an audio file"),
        (Utterance("a", "/a.wav", 1.0, "\ud800"), "expected UTF-8"),
        (Utterance("a", "/a.wav", 1.0, "", extra={"text": "x"}), "expected no field of the manifest itself"),
        (Utterance("a", "/a.wav", 1.0, "", extra={"x": {1}}), "expected values that JSON can hold"),
        (Utterance("good", "/a.wav", 1.0, ""), "this id was used before"),
    ],
)
def test_what_could_not_be_read_back_is_not_written(tmp_path: Path, bad: Utterance, message: str) -> None:
    path = write(tmp_path / "m.jsonl", "old")
    with pytest.raises(ManifestError, match=r"cannot write .*m\.jsonl: utterance 2") as caught:
        write_manifest(path, [Utterance("good", "/a.wav", 1.0, ""), bad])
    assert message in str(caught.value)
    assert path.read_text() == "old"


def test_a_failed_write_leaves_the_old_manifest_and_no_litter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "m.jsonl", "old")

    def full_disk(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full_disk)
    with pytest.raises(OutputError, match=r"m\.jsonl cannot be written: No space left on device"):
        write_manifest(path, [Utterance("a", "/a.wav", 1.0, "")])
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_that_is_a_file_is_an_output_error(tmp_path: Path) -> None:
    write(tmp_path / "file", "")
    with pytest.raises(OutputError, match=r"file/m\.jsonl cannot be written"):
        write_manifest(tmp_path / "file" / "m.jsonl", [])


texts = st.text(st.characters(exclude_categories=["Cs"]))
seconds = st.floats(min_value=0, max_value=1e305)  # in milliseconds it must be finite, too
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | texts,
    lambda children: st.lists(children, max_size=3) | st.dictionaries(texts, children, max_size=3),
    max_leaves=5,
)
file_names = texts.map(lambda text: text.replace("/", "").replace("\0", "")).filter(
    lambda name: name not in {"", ".", ".."}
)
utterances = st.builds(
    Utterance,
    id=texts.filter(bool),
    audio_filepath=st.lists(file_names, min_size=1, max_size=3).map(lambda parts: "/" + "/".join(parts)),
    duration=seconds,
    text=texts,
    offset=seconds,
    speaker=st.none() | texts,
    lang=st.none() | texts,
    extra=st.dictionaries(
        texts.filter(lambda key: key not in Utterance.__dataclass_fields__ or key == "extra"), json_values
    ),
)


@settings(max_examples=60, deadline=None)
@given(st.lists(utterances, max_size=4, unique_by=lambda u: u.id))
def test_round_trip(tmp_path_factory: pytest.TempPathFactory, written: list[Utterance]) -> None:
    path = tmp_path_factory.getbasetemp() / "round-trip.jsonl"
    write_manifest(path, written)
    assert read_manifest(path) == written


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=80) | texts.map(str.encode) | json_values.map(lambda value: json.dumps(value).encode()))
def test_any_bytes_are_read_or_refused_with_a_place(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    path = write(tmp_path_factory.getbasetemp() / "fuzz.jsonl", content)
    for error in scan_manifest(path).errors:
        assert str(error).startswith(f"{path}:")
