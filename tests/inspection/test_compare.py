"""The comparison of the recipe `gradients`, on made-up figures."""

import importlib.util
import json

import pytest

from asr.errors import ConfigError
from asr.resources import resource_directory

spec = importlib.util.spec_from_file_location("compare", resource_directory("recipes") / "gradients" / "compare.py")
compare = importlib.util.module_from_spec(spec)
spec.loader.exec_module(compare)


def write_figures(path, cell, directions):
    past = {"time_constant_ms": 85.6, "reach_ms": 90.0, "relative": [1.0, 0.5, 0.25]}
    future = {"time_constant_ms": None, "reach_ms": 0.0, "relative": [1.0, 0.0, 0.0]}
    reach = {when: {"past": past, "future": future} for when in ("before training", "after training")}
    path.write_text(json.dumps({"cell": cell, "directions": directions, "frame_ms": 30.0, "reach": reach}))
    return path


def test_a_table_and_a_picture(tmp_path):
    paths = [write_figures(tmp_path / "a.json", "lstm", 1), write_figures(tmp_path / "b.json", "rnn_tanh", 1)]
    found = compare.read(paths)
    lines = compare.table(found).splitlines()
    # 90 ms away is the fourth frame: 120 ms with the token's own
    assert lines[2:] == [f"| {cell} | 1 | 86 ms | 86 ms | – | – | 120 ms | – |" for cell in ("rnn_tanh", "lstm")]
    compare.draw(found, tmp_path / "reach.png")
    assert (tmp_path / "reach.png").read_bytes()[:4] == b"\x89PNG"


def test_two_models_of_a_kind_are_an_error(tmp_path):
    path = write_figures(tmp_path / "a.json", "gru", 2)
    with pytest.raises(ConfigError, match="a second gru of 2 directions"):
        compare.read([path, path])


def test_other_files_are_an_error(tmp_path):
    (tmp_path / "a.json").write_text("[]")
    with pytest.raises(ConfigError, match=r"a\.json: expected figures\.json"):
        compare.read([tmp_path / "a.json"])
