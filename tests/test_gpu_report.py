"""`tools/gpu.py`: every check under its own limit, one report whatever happens, missing packages by name."""

import importlib
import os
import re
import sys
import zipfile
from pathlib import Path

import pytest
import torch

TOOLS = Path(__file__).parent.parent / "tools"


@pytest.fixture
def tool(monkeypatch):
    monkeypatch.syspath_prepend(str(TOOLS))
    return importlib.import_module("gpu")


def python(tool, name: str, code: str, limit: float = 60.0):
    return tool.Check(name, (sys.executable, "-c", code), limit)


# Prints the number of a process that outlives it if nobody ends both.
HANGS = """
import subprocess, sys
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
print("child", child.pid, flush=True)
child.wait()
"""


def test_one_report_whatever_happens(tool, tmp_path):
    checks = [
        python(tool, "good", "print('a figure of 4.2')"),
        python(tool, "bad", "print('seen before'); raise ValueError('a reason')"),
        python(tool, "hanging", HANGS, limit=2.0),
        python(tool, "lacking", "import a_package_that_nobody_has.part"),
        python(tool, "ours", "import asr.a_module_that_is_not_there"),
    ]
    outcomes = tool.run_checks(checks, tmp_path / "report.md", dict(os.environ), seconds=300.0)
    assert [(o.state, o.reason) for o in outcomes] == [
        ("passed", ""),
        ("failed", "exit status 1"),
        ("timed out", "after 2 s"),
        ("skipped", "missing package: a_package_that_nobody_has"),
        ("failed", "exit status 1"),  # a module of ours is a fault, not a package to carry along
    ]
    report = (tmp_path / "report.md").read_text()
    for expected in (
        "a figure of 4.2",
        "ValueError: a reason",
        "| hanging | timed out | after 2 s |",
        torch.__version__,
    ):
        assert expected in report
    for child in re.findall(r"child (\d+)\n", outcomes[2].output):  # a busy machine may not have come that far
        status = Path(f"/proc/{child}/stat")
        assert not status.exists() or status.read_text().split(")")[1].split()[0] == "Z"
    assert [path.name for path in tmp_path.iterdir()] == ["report.md"]


def test_a_report_is_whole_while_checks_are_still_to_run(tool, tmp_path):
    report = tmp_path / "report.md"
    reads = f"print('rows:', open({str(report)!r}).read().count('not run' + ' yet'))"
    outcomes = tool.run_checks(
        [python(tool, "first", reads), python(tool, "second", reads)], report, dict(os.environ), seconds=300.0
    )
    assert [outcome.output.strip() for outcome in outcomes] == ["rows: 2", "rows: 1"]


def test_without_time_left_a_check_is_not_begun(tool, tmp_path):
    (outcome,) = tool.run_checks([python(tool, "late", "")], tmp_path / "report.md", dict(os.environ), seconds=1.0)
    assert (outcome.state, outcome.reason) == ("skipped", "no time left")
    assert "| late | skipped | no time left |" in (tmp_path / "report.md").read_text()


def test_all_marked_tests_and_all_benchmarks_are_run(tool):
    names = [check.name for check in tool.all_checks()]
    assert {"tests: test_features", "tests: test_device", "tests: test_gpu"} <= set(names)
    assert {name.split(",")[0] for name in names if name.startswith("bench")} == {
        f"bench: {name}" for name in ("features", "recurrent", "training", "decoding", "scoring")
    }


@pytest.mark.parametrize(
    ("status", "output", "state"),
    [
        (0, "..\n2 passed, 1 skipped in 3.1s", "passed"),
        (0, "ss\n2 skipped in 0.1s", "skipped"),
        (5, "no tests ran", "skipped"),
        (1, "F\nNo module named 'torch'", "failed"),  # which is there
        (None, "", "timed out"),
    ],
)
def test_how_a_check_ended(tool, status, output, state):
    assert tool.judge(status, output, 1.0)[0] == state


@pytest.mark.skipif(torch.cuda.is_available(), reason="has a GPU")
def test_without_a_gpu_it_says_so_and_runs_if_asked(tool, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["gpu.py", "-o", str(tmp_path / "report.md")])
    assert tool.main() == 2
    assert "expected a GPU" in capsys.readouterr().err
    assert not (tmp_path / "report.md").exists()
    tiny = [python(tool, "tests: tiny", "print('3 skipped in 0.1s')", 600.0), python(tool, "bench: tiny", "1 / 0")]
    monkeypatch.setattr(tool, "all_checks", lambda: tiny)
    monkeypatch.setattr(sys, "argv", [*sys.argv, "--any-device", "--only", "tests"])
    assert tool.main() == 0
    report = (tmp_path / "report.md").read_text()
    assert "| tests: tiny | skipped | no test of it can run here |" in report
    assert "- GPU: none" in report
    assert "bench: tiny" not in report
    monkeypatch.setattr(sys, "argv", [*sys.argv[:-2], "--only", "bench"])
    assert tool.main() == 1


def test_wheels_of_missing_packages_are_installed_and_no_others(tool, tmp_path):
    folder = tmp_path / "wheels"
    folder.mkdir()
    for name in ("a_missing_one", "rich"):
        with zipfile.ZipFile(folder / f"{name}-9.9-py3-none-any.whl", "w") as wheel:
            info = f"{name}-9.9.dist-info"
            wheel.writestr(f"{name}.py", "VALUE = 42\n")
            wheel.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: 9.9\n")
            wheel.writestr(
                f"{info}/WHEEL", "Wheel-Version: 1.0\nGenerator: t\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
            )
            wheel.writestr(f"{info}/RECORD", f"{name}.py,,\n{info}/METADATA,,\n{info}/WHEEL,,\n{info}/RECORD,,\n")
    target = tmp_path / "target"
    assert tool.install_missing(folder, target) == ["a_missing_one"]
    assert (target / "a_missing_one.py").exists()
    assert not (target / "rich.py").exists()
    with pytest.raises(SystemExit, match="expected a folder of wheels, got"):
        tool.install_missing(tmp_path / "nowhere", target)
