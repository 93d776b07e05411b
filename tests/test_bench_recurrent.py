"""What a training step has to do, as `tools/bench.py recurrent` counts it."""

import importlib
import math
from pathlib import Path

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode


@pytest.fixture
def bench(monkeypatch):
    monkeypatch.syspath_prepend(str(Path(__file__).parent.parent / "tools"))
    return importlib.import_module("bench_recurrent")


def test_operations_by_hand(bench):
    """One unit, 80 features, one frame: 2·80·4 and 2·1·4 a direction; twice more backward, but for the features."""
    assert bench.step_flops(bench.Size(layers=1, hidden=1, frames=1, batch=1)) == 2 * ((640 + 8) + (640 + 2 * 8))
    # six frames, and a second layer whose input is both directions' output: 2·2·4 and 2·1·4, three times over
    assert bench.step_flops(bench.Size(layers=2, hidden=1, frames=3, batch=2)) == 6 * (2608 + 2 * 3 * (16 + 8))


def test_operations_are_those_that_torch_counts(bench):
    size = bench.Size(layers=2, hidden=3, frames=4, batch=2)
    variants = bench.Variants(size, torch.device("cpu"))
    with FlopCounterMode(display=False) as counter:
        variants.stack.to("meta")(variants.frames.to("meta"), variants.full.to("meta")).sum().backward()
    # The state before the first frame needs no gradient, one product of T, which the formula leaves in.
    first_states = size.layers * 2 * (2 * size.batch * size.hidden * 4 * size.hidden)
    assert counter.get_total_flops() == bench.step_flops(size) - first_states


def test_traffic_by_hand(bench):
    """One unit, one frame, four bytes a number: what `step_bytes` lists, both directions."""
    size, forward, backward, weights = bench.Size(1, 1, 1, 1), 80 + 4 + 1 + 1, 80 + 4 + 1 + 1 + 1 + 80, 3 * (80 + 1) * 4
    assert bench.step_bytes(size, 4, math.inf) == 2 * 4 * (forward + backward + weights)
    three = bench.Size(1, 1, 3, 1)
    more = bench.step_bytes(three, 4, on_chip_bytes=2 * 4 * 4 - 1) - bench.step_bytes(three, 4, on_chip_bytes=2 * 4 * 4)
    assert more == 2 * 4 * (6 - 2) * 4  # 4 recurrent weights a direction, read in 3 frames of 2 passes instead of once
    assert bench.reversal_bytes(size, 4) == 4 * (80 + 1) * 2 * 2
    machine = bench.Machine(flops_a_second=2608.0, bytes_a_second=1e9, on_chip_bytes=0.0)
    assert machine.floor_seconds(size, 4) == 1.0


def test_variants_are_exact(bench):
    assert (
        bench.Variants(bench.Size(layers=2, hidden=5, frames=12, batch=3), torch.device("cpu")).max_abs_diff() <= 1e-5
    )
