"""What the benchmark of decoding says of differences between two searches, and how it makes a machine busy."""

import importlib
from pathlib import Path

import pytest


@pytest.fixture
def bench(monkeypatch):
    monkeypatch.syspath_prepend(str(Path(__file__).parent.parent / "tools"))
    return importlib.import_module("bench_decoding")


@pytest.mark.parametrize(("ours_minus_theirs", "judged"), [(0.004, "tie"), (2.0, "reference"), (-2.0, "pruned")])
def test_a_search_error_is_judged_by_the_exact_scores(bench, ours_minus_theirs, judged):
    assert bench.judge(ours_minus_theirs) == judged


def test_busy_loops_run_and_end(bench, monkeypatch):
    started = []
    popen = bench.subprocess.Popen
    monkeypatch.setattr(
        bench.subprocess,
        "Popen",
        lambda *args, **kwargs: started.append(popen(*args, **kwargs)) or started[-1],
    )
    with bench.busy_loops(1):
        assert [process.poll() for process in started] == [None]
    assert started[0].poll() is not None
