"""`asr … | head`: a reader that leaves early takes no file with it, and causes no traceback."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
WRITE_ON = """
import sys
from asr.cli.standard_output import forgive_closed_pipes, nobody_reads
forgive_closed_pipes()
for line in range(100_000):
    print("a line")
print(nobody_reads(), file=open(sys.argv[1], "w"))
"""


def run_unread(*command, err=subprocess.PIPE):
    """Run Python with a standard output that nobody reads; and, if wanted, such a standard error."""
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "wb") as pipe:
        return subprocess.run(
            [sys.executable, *map(str, command)],
            stdout=pipe,
            stderr=pipe if err is None else err,
            text=True,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )


def test_what_prints_goes_on_and_can_know(tmp_path):
    result = run_unread("-c", WRITE_ON, tmp_path / "told")
    assert (result.returncode, result.stderr) == (0, "")
    assert (tmp_path / "told").read_text() == "True\n"


def test_a_pipe_that_is_read_gets_everything(tmp_path):
    command = [sys.executable, "-c", WRITE_ON, str(tmp_path / "told")]
    result = subprocess.run(command, capture_output=True, text=True, check=True, env={"PYTHONPATH": str(ROOT)})
    assert result.stdout == "a line\n" * 100_000
    assert (tmp_path / "told").read_text() == "False\n"


@pytest.mark.parametrize("err", [subprocess.PIPE, None], ids=["stdout", "both"])
def test_a_command_prints_first_and_stores_all_the_same(tmp_path, err):
    for name in ("ref.txt", "hyp.txt"):
        (tmp_path / name).write_text("one the text\ntwo of two\n")
    result = run_unread(
        "-m", "asr", "score", tmp_path / "ref.txt", tmp_path / "hyp.txt", "-o", tmp_path / "out", err=err
    )
    assert not result.stderr
    assert result.returncode == 0
    assert (tmp_path / "out" / "score.json").is_file()
