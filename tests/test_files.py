"""Files are whole or absent."""

import json
import os

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asr.errors import OutputError
from asr.files import write_json, write_json_lines, write_text

# ---- whole or absent


def test_write_text_makes_folders_replaces_and_leaves_nothing_behind(tmp_path):
    path = tmp_path / "new" / "folder" / "a.txt"
    write_text(path, "first\n")
    write_text(path, "天气\r\n")
    assert path.read_bytes() == "天气\r\n".encode()
    assert list(path.parent.iterdir()) == [path]


def test_a_reader_sees_the_old_file_or_the_new_one(tmp_path):
    path = tmp_path / "a.txt"
    write_text(path, "old and long")
    with path.open() as reader:  # opened before the new one is there, read after
        write_text(path, "new")
        assert reader.read() == "old and long"
    assert path.read_text() == "new"


def test_written_files_have_the_usual_permissions(tmp_path):
    write_text(tmp_path / "ours", "")
    (tmp_path / "usual").touch()
    assert (tmp_path / "ours").stat().st_mode == (tmp_path / "usual").stat().st_mode


def test_a_failure_in_the_middle_keeps_the_old_file(tmp_path):
    path = tmp_path / "rows.jsonl"
    write_json_lines(path, [{"id": "old"}])

    with pytest.raises(ValueError, match="JSON compliant"):
        write_json_lines(path, [{"id": "new"}, {"wer": float("nan")}])

    assert path.read_text() == '{"id": "old"}\n'
    assert list(tmp_path.iterdir()) == [path]


def test_a_full_disk_keeps_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "score.json"
    write_json(path, {"wer": 0.1})

    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OutputError, match="No space left on device"):
        write_json(path, {"wer": 0.2})
    assert json.loads(path.read_text()) == {"wer": 0.1}
    assert list(tmp_path.iterdir()) == [path]


@settings(max_examples=30, deadline=None)  # each example waits for the disk
@given(rows=st.lists(st.dictionaries(st.text(max_size=5), st.text(max_size=5) | st.integers() | st.none())))
def test_json_lines_round_trip(tmp_path_factory, rows):
    path = tmp_path_factory.getbasetemp() / "rows.jsonl"
    write_json_lines(path, rows)
    with path.open(encoding="utf-8", newline="\n") as file:
        assert [json.loads(line) for line in file] == rows
