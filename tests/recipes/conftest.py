"""What the tests of all recipes share."""

import pytest


@pytest.fixture(autouse=True)
def no_pictures(monkeypatch):
    """Leave out curves and reports, which have tests of their own and take longer than these tiny models' training."""
    monkeypatch.setattr("asr.training.monitor.draw_curves", lambda records, path: path.touch())
    monkeypatch.setattr("asr.results.write_report", lambda path, *rest: path.touch())
