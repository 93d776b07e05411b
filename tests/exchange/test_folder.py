"""Folders of recordings with their texts, in each layout that people have them in."""

import json
import os
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from asr.audio import write_audio
from asr.data.exchange import Faults
from asr.data.exchange.folder import LAYOUTS, find_layout, read_folder, survey
from asr.errors import AsrError, CorpusError
from asr.types import Utterance

RATE = 8000
TEXTS = {"84-1-0001": "Go on.", "84-1-0002": "Ähm, café", "7-2-0001": ""}


def record(path: Path, seconds: float = 0.5) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_audio(path, np.zeros(round(seconds * RATE), np.float32), RATE)
    return str(path)


def write(path: Path, text: str | bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text if isinstance(text, bytes) else text.encode())


def beside(folder: Path) -> None:
    for id, text in TEXTS.items():
        record(folder / id.split("-")[0] / f"{id}.wav")
        write(folder / id.split("-")[0] / f"{id}.txt", f"\ufeff{text}\r\n")
    write(folder / "README.txt", "no text of anything")
    write(folder / ".hidden.txt", "nor this")
    record(folder / "7" / ".hidden.wav")


def parallel(folder: Path) -> None:
    for id, text in TEXTS.items():
        record(folder / "wav" / id.split("-")[0] / f"{id}.wav")
        write(folder / "txt" / id.split("-")[0] / f"{id}.txt", text)
    write(folder / "README.txt", "no text of anything")


def librispeech(folder: Path) -> None:
    for id, text in TEXTS.items():
        speaker, chapter, _ = id.split("-")
        record(folder / speaker / chapter / f"{id}.flac")
        with (folder / speaker / chapter / f"{speaker}-{chapter}.trans.txt").open("a", encoding="utf-8") as file:
            file.write(f"{id} {text}\n")
    write(folder / "SPEAKERS.TXT", "84 | F")


def ljspeech(folder: Path) -> None:
    for id in TEXTS:
        record(folder / "wavs" / f"{id}.wav")
    write(folder / "metadata.csv", "".join(f'{id}|"raw|{text}\n' if text else f"{id}|\n" for id, text in TEXTS.items()))


def audiofolder(folder: Path) -> None:
    for id in TEXTS:
        record(folder / "train" / "clips" / f"{id}.wav")
    rows = "".join(f'clips/{id}.wav,"{text}"\n' for id, text in TEXTS.items())
    write(folder / "train" / "metadata.csv", f"file_name,transcription\n{rows}")


WRITERS = {
    "beside": beside,
    "parallel": parallel,
    "librispeech": librispeech,
    "ljspeech": ljspeech,
    "audiofolder": audiofolder,
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_each_layout_is_found_and_read(tmp_path, layout):
    WRITERS[layout](tmp_path)
    assert find_layout(survey(tmp_path)) == layout
    utterances = read_folder(tmp_path)
    assert {utterance.id: utterance.text for utterance in utterances} == TEXTS
    assert {utterance.duration for utterance in utterances} == {0.5}
    speakers = {"84", "7"} if layout == "librispeech" else {None}
    assert {utterance.speaker for utterance in utterances} == speakers


@pytest.mark.parametrize("key", ["transcription", "text", "sentence", "transcript"])
def test_huggingfaces_json_lines(tmp_path, key):
    path = record(tmp_path / "a.wav")
    write(tmp_path / "metadata.jsonl", json.dumps({"file_name": "a.wav", key: "ja", "speaker": "s", "age": 6}) + "\n")
    assert read_folder(tmp_path) == [Utterance("a", path, 0.5, "ja", speaker="s", extra={"age": 6})]


def test_ljspeech_takes_the_normalised_text_where_there_is_one(tmp_path):
    for name in ("a", "b"):
        record(tmp_path / f"{name}.wav")
    write(tmp_path / "metadata.csv", "a|Dr. X|Doctor X\nb|two\n")
    assert [utterance.text for utterance in read_folder(tmp_path)] == ["Doctor X", "two"]


def test_a_recording_may_be_called_as_a_readme_is(tmp_path):
    record(tmp_path / "books.wav")
    write(tmp_path / "books.txt", "books")
    write(tmp_path / "license.txt", "of the books")
    assert [(utterance.id, utterance.text) for utterance in read_folder(tmp_path)] == [("books", "books")]


def test_speakers_from_folders_and_relative_folders(tmp_path, monkeypatch):
    beside(tmp_path / "mine")
    audiofolder(tmp_path / "hf")
    monkeypatch.chdir(tmp_path)
    assert {u.speaker for u in read_folder(Path("mine"), speakers_from_folders=True)} == {"84", "7"}
    assert {Path(u.audio_filepath).parent for u in read_folder(Path("hf"))} == {tmp_path / "hf" / "train" / "clips"}


def test_parallel_folders(tmp_path):
    parallel(tmp_path)
    assert {u.speaker for u in read_folder(tmp_path, speakers_from_folders=True)} == {"84", "7"}
    record(tmp_path / "wav" / "7" / "other.wav")
    write(tmp_path / "txt" / "7" / "lonely.txt", "x")
    faults = Faults(skip=True)
    assert len(read_folder(tmp_path, faults=faults)) == len(TEXTS)
    assert [(Path(left_out.place).name, left_out.code) for left_out in faults.left_out] == [
        ("lonely.txt", "no-audio"),
        ("other.wav", "no-text"),
    ]


def test_sessions_with_equal_names_are_not_taken_for_parallel_folders(tmp_path):
    record(tmp_path / "monday" / "1.wav")
    write(tmp_path / "monday" / "notes.txt", "x")
    write(tmp_path / "tuesday" / "1.txt", "not what was said on Monday")
    with pytest.raises(CorpusError, match=r"got 1 recordings, 2 other \.txt files and none of these"):
        read_folder(tmp_path)


def spoil(folder: Path) -> None:
    beside(folder)
    record(folder / "silent.wav")
    write(folder / "lonely.txt", "x")
    write(folder / "phone.m4a", b"\0\0\0\x20ftypM4A ")
    write(folder / "phone.txt", "x")
    record(folder / "latin.wav")
    write(folder / "latin.txt", "grün".encode("latin-1"))
    record(folder / "84" / "84-1-0001.flac")  # beside a recording of the same name


def test_nothing_is_passed_over(tmp_path):
    spoil(tmp_path)
    faults = Faults(skip=True)
    assert {utterance.id for utterance in read_folder(tmp_path, faults=faults)} == set(TEXTS)
    assert sorted((Path(left_out.place).name, left_out.code) for left_out in faults.left_out) == [
        ("84-1-0001.txt", "duplicate-id"),
        ("latin.txt", "malformed"),
        ("lonely.txt", "no-audio"),
        ("phone.txt", "unreadable-audio"),
        ("silent.wav", "no-text"),
    ]
    with pytest.raises(CorpusError, match=r"latin\.txt: line 1: expected UTF-8, got byte 0xfc"):
        read_folder(tmp_path)


@pytest.mark.parametrize(
    ("layout", "content", "message"),
    [
        ("librispeech", {"1/a.trans.txt": "a x\nb y\n"}, r"a\.trans\.txt:2: no recording called b is in"),
        ("ljspeech", {"metadata.csv": "a|x\nb|y\n"}, r"metadata\.csv:2: no recording called b is in"),
        ("ljspeech", {"metadata.csv": "a|x\na|b|c|d\n"}, r"metadata\.csv:2: expected id\|text or .*got 4 cells"),
        ("ljspeech", {"metadata.csv": "c|x\n"}, r"metadata\.csv:1: no recording called c"),
        (
            "audiofolder",
            {"metadata.csv": "file_name,text\n1/a.wav,x\n1/b.wav,x\n"},
            r":3: no such audio file: .*b\.wav",
        ),
        ("audiofolder", {"metadata.csv": "file_name,words\n1/c.wav,x\n"}, r":2: no such audio file"),
        ("audiofolder", {"metadata.csv": "file_name,label\n1/a.wav,x\n"}, r":1: expected a column for text"),
        (
            "audiofolder",
            {"metadata.jsonl": '{"file_name": "1/a.wav"}\n'},
            r"jsonl:1: expected file_name and .*, got file_",
        ),
        (
            "audiofolder",
            {"metadata.jsonl": '{"text": "x"}\n'},
            r"jsonl:1: expected file_name and .*, got text",
        ),
        ("beside", {}, r"a\.wav: no \.txt of this name is beside it"),
    ],
)
def test_what_does_not_go_together(tmp_path, layout, content, message):
    record(tmp_path / "1" / "a.wav")
    for name, text in content.items():
        write(tmp_path / name, text)
    if layout == "ljspeech":
        record(tmp_path / "wavs" / "a.wav")
        (tmp_path / "1" / "a.wav").unlink()
    with pytest.raises(CorpusError, match=message):
        read_folder(tmp_path, layout)


def test_a_name_that_is_no_utf_8_is_left_out_like_any_other_fault(tmp_path):
    beside(tmp_path)
    name = os.fsdecode(b"caf\xe9")
    try:
        Path(record(tmp_path / "x.wav")).rename(tmp_path / f"{name}.wav")
    except OSError:
        pytest.skip("this file system has no such names")
    (tmp_path / f"{name}.txt").write_text("x")
    faults = Faults(skip=True)
    assert len(read_folder(tmp_path, faults=faults)) == len(TEXTS)
    (left_out,) = faults.left_out
    assert left_out.place.endswith("caf\\udce9.txt")
    assert "expected a file name in UTF-8" in left_out.message


def test_a_recording_that_no_line_names(tmp_path):
    ljspeech(tmp_path)
    record(tmp_path / "wavs" / "other.wav")
    with pytest.raises(CorpusError, match=r"other\.wav: no line of .*metadata\.csv names it"):
        read_folder(tmp_path)


def test_layouts_that_are_none_or_several(tmp_path):
    with pytest.raises(CorpusError, match=r"expected recordings with \.txt files beside .*got 0 recordings"):
        read_folder(tmp_path)
    beside(tmp_path)
    librispeech(tmp_path)
    with pytest.raises(CorpusError, match="got files of beside and librispeech; say which with --layout"):
        read_folder(tmp_path)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    name=st.sampled_from(["metadata.csv", "metadata.tsv", "metadata.jsonl", "a.trans.txt", "a.txt"]),
    content=st.binary(max_size=60) | st.text('afilenmtx_,;|\t"{}:.wv \n', max_size=60).map(str.encode),
    skip=st.booleans(),
)
def test_no_content_makes_a_reader_crash(tmp_path, name, content, skip):
    folder = tmp_path / name
    if not folder.exists():
        record(folder / "a.wav")
    write(folder / name, content)
    faults = Faults(skip=skip)
    with suppress(AsrError):
        read_folder(folder, faults=faults)
    for left_out in faults.left_out:
        json.dumps(left_out.to_json()).encode()
