"""Settings of the whole suite."""

import pytest
import torch
from hypothesis import settings

# Machines are shared: no test may fail because it was slow.
settings.register_profile("asr", deadline=None)
settings.load_profile("asr")

# Tests run side by side, and their matrices are tiny.
torch.set_num_threads(1)


def pytest_collection_modifyitems(items):
    """Tests marked `gpu` need one; `make gpu` runs them all."""
    if not torch.cuda.is_available():
        for item in items:
            if item.get_closest_marker("gpu"):
                item.add_marker(pytest.mark.skip(reason="needs a GPU"))


@pytest.fixture
def no_curves(monkeypatch):
    """Drawing a run's curves takes longer than training a small model."""
    monkeypatch.setattr("asr.training.monitor.draw_curves", lambda records, path: None)


def pytest_make_parametrize_id(val: object, argname: str) -> str | None:
    """Name bytes by their argument: packed ones hold the time, and workers must collect the same names."""
    return argname if isinstance(val, bytes) else None
