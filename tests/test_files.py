"""Files are whole or absent."""

import json
import os
import subprocess
import sys
from contextlib import contextmanager

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asr.errors import OutputError
from asr.files import _running_kernel, replacing, scratch_folder, write_json, write_json_lines, write_text

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


# ---- what killed processes leave

WRITER = """
import sys
from asr.files import replacing
with replacing(sys.argv[1]) as temporary:
    temporary.with_name(".tmp1234").write_text("of a library's own")
    temporary.write_text("of the other process")
    print("writing", flush=True)
    sys.stdin.readline()
"""
needs_locks = pytest.mark.skipif(not _running_kernel(), reason="needs Linux")


@contextmanager
def another_writer(path):
    """A process that has half written `path`, and ends when it is told to."""
    with subprocess.Popen(
        [sys.executable, "-c", WRITER, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout.readline() == "writing\n"
        yield process
        process.kill()


@needs_locks
def test_what_a_killed_process_left_is_cleared_away_by_the_next(tmp_path):
    path = tmp_path / "a.txt"
    with another_writer(path) as process:
        process.kill()
    (left,) = tmp_path.iterdir()
    assert sorted(entry.name for entry in left.iterdir()) == [".tmp1234", "lock", "new.txt"]
    write_text(path, "whole")
    assert path.read_text() == "whole"
    assert list(tmp_path.iterdir()) == [path]


@needs_locks
def test_what_a_living_process_is_writing_is_left_alone(tmp_path):
    path = tmp_path / "a.txt"
    with another_writer(path) as process:
        write_text(path, "ours")
        write_text(path, "ours again")
        assert path.read_text() == "ours again"
        process.communicate("go on\n")
        assert process.returncode == 0
        assert path.read_text() == "of the other process"
    assert list(tmp_path.iterdir()) == [path]


def test_one_process_may_write_a_file_twice_at_once(tmp_path):
    path = tmp_path / "a.txt"
    with replacing(path) as one, replacing(path) as other:
        one.write_text("one")
        other.write_text("other")
    assert path.read_text() == "one"  # the outer block ends last
    assert list(tmp_path.iterdir()) == [path]


@needs_locks
def test_a_link_in_the_place_of_the_folder_is_not_followed(tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "precious").touch()
    with scratch_folder(tmp_path / "a.txt") as folder:
        name = folder.name
    (tmp_path / name).symlink_to(tmp_path / "mine")
    write_text(tmp_path / "a.txt", "whole")
    assert (tmp_path / "a.txt").read_text() == "whole"
    assert (tmp_path / "mine" / "precious").exists()


@needs_locks
def test_a_file_system_without_locks_is_written_to_all_the_same(tmp_path, monkeypatch):
    def unsupported(handle, operation):
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr("fcntl.flock", unsupported)
    write_text(tmp_path / "a.txt", "whole")
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]


@pytest.mark.parametrize("name", ["lock", ".lock", "new", "a" * 255])
def test_any_name_can_be_written(tmp_path, name):
    write_text(tmp_path / name, "whole")
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [(name, "whole")]


@settings(max_examples=30, deadline=None)  # each example waits for the disk
@given(rows=st.lists(st.dictionaries(st.text(max_size=5), st.text(max_size=5) | st.integers() | st.none())))
def test_json_lines_round_trip(tmp_path_factory, rows):
    path = tmp_path_factory.getbasetemp() / "rows.jsonl"
    write_json_lines(path, rows)
    with path.open(encoding="utf-8", newline="\n") as file:
        assert [json.loads(line) for line in file] == rows
