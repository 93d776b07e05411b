"""Gates recomputed from outputs, against cells written out by hand, and what is counted of them."""

import math

import pytest
import torch

from asr.inspection.gates import GateUse, LayerRecord, gate_activations, memory_frames, recorded, use_of_gates
from asr.models.recurrent import RecurrentStack, make_cell


def weights(rnn):
    return (p.detach() for p in (rnn.weight_ih_l0, rnn.weight_hh_l0, rnn.bias_ih_l0, rnn.bias_hh_l0))


def lstm_by_hand(rnn, frames):
    w_ih, w_hh, b_ih, b_hh = weights(rnn)
    h, c, steps = torch.zeros(rnn.hidden_size), torch.zeros(rnn.hidden_size), []
    for x in frames:
        i, f, g, o = (w_ih @ x + b_ih + w_hh @ h + b_hh).chunk(4)
        i, f, g, o = i.sigmoid(), f.sigmoid(), g.tanh(), o.sigmoid()
        c = f * c + i * g
        h = o * c.tanh()
        steps.append({"input": i, "forget": f, "candidate": g, "output": o, "h": h})
    return steps


def gru_by_hand(rnn, frames):
    w_ih, w_hh, b_ih, b_hh = weights(rnn)
    h, steps = torch.zeros(rnn.hidden_size), []
    for x in frames:
        (r, z, n), (hr, hz, hn) = (w_ih @ x + b_ih).chunk(3), (w_hh @ h + b_hh).chunk(3)
        r, z = (r + hr).sigmoid(), (z + hz).sigmoid()
        n = (n + r * hn).tanh()
        h = (1 - z) * n + z * h
        steps.append({"reset": r, "update": z, "candidate": n, "h": h})
    return steps


def tanh_by_hand(rnn, frames):
    w_ih, w_hh, b_ih, b_hh = weights(rnn)
    h, steps = torch.zeros(rnn.hidden_size), []
    for x in frames:
        h = (w_ih @ x + b_ih + w_hh @ h + b_hh).tanh()
        steps.append({"state": h, "h": h})
    return steps


@pytest.mark.parametrize(
    ("cell", "by_hand"), [("lstm", lstm_by_hand), ("gru", gru_by_hand), ("rnn_tanh", tanh_by_hand)]
)
def test_gates_are_those_of_the_cell_written_out(cell, by_hand):
    torch.manual_seed(3)
    rnn = make_cell(cell, 4, 6).double()
    frames = 2 * torch.randn(2, 9, 4, dtype=torch.float64)
    torch.set_default_dtype(torch.float64)
    try:
        expected = [by_hand(rnn, row) for row in frames]
    finally:
        torch.set_default_dtype(torch.float32)
    outputs = rnn(frames)[0].detach()
    names = expected[0][0].keys() - {"h"}
    gates = gate_activations(rnn, frames, outputs)
    assert gates.keys() == names
    for name, ours in {**gates, "h": outputs}.items():
        theirs = torch.stack([torch.stack([step[name] for step in row]) for row in expected])
        assert torch.allclose(ours, theirs, atol=1e-12), name


def test_shares_are_counted_at_a_tenth_of_the_range():
    """A tanh cell without input weights: its state is tanh of its bias."""
    rnn = make_cell("rnn_tanh", 1, 4)
    with torch.no_grad():
        for parameter in rnn.parameters():
            parameter.zero_()
        rnn.bias_ih_l0.copy_(torch.atanh(torch.tensor([-0.81, -0.79, 0.79, 0.81])))
    frames = torch.zeros(1, 5, 1)
    (use,) = use_of_gates([LayerRecord("layer 1 forward", rnn, frames, rnn(frames)[0], torch.ones(1, 5).bool())])
    assert use == GateUse("layer 1 forward", "state", 0.25, 0.25, pytest.approx(0.0, abs=1e-7), ())


def test_a_forget_gate_keeps_as_long_as_its_bias_says():
    stack = RecurrentStack(1, 4, 1, bidirectional=False)
    with torch.no_grad():
        for parameter in stack.parameters():
            parameter.zero_()
        stack.layers[0].forward_rnn.bias_ih_l0[4:8] = math.log(9)  # sigmoid(ln 9) = 0.9
    with recorded(stack) as records:
        stack(torch.zeros(1, 3, 1), torch.tensor([3]))
    uses = {use.gate: use for use in use_of_gates(records)}
    assert uses["forget"].mean == pytest.approx(0.9)
    assert uses["forget"].memory_frames == pytest.approx([-1 / math.log(0.9)] * 3, rel=1e-4)
    assert uses["input"].memory_frames == ()
    assert uses["input"].mean == 0.5


def test_memory_is_finite_at_both_ends():
    assert memory_frames(0.0) == pytest.approx(1 / math.log(1e6))
    assert memory_frames(1.0) == pytest.approx(1e6, rel=1e-5)


@pytest.mark.parametrize("cell", ["lstm", "gru", "rnn_tanh"])
def test_padding_is_not_counted(cell):
    torch.manual_seed(4)
    stack = RecurrentStack(3, 5, 2, cell=cell).eval()
    long, short = torch.randn(1, 12, 3), torch.randn(1, 7, 3)
    padded = torch.cat((long, torch.nn.functional.pad(short, (0, 0, 0, 5), value=9.0)))
    alone = []
    with recorded(stack) as records:
        stack(padded, torch.tensor([12, 7]))
        together = use_of_gates(records)
        for frames in (long, short):
            stack(frames, torch.tensor([frames.shape[1]]))
            alone += records
    for ours, theirs in zip(together, use_of_gates(alone), strict=True):
        assert (ours.layer, ours.gate) == (theirs.layer, theirs.gate)
        assert [ours.share_low, ours.share_high, ours.mean] == pytest.approx(
            [theirs.share_low, theirs.share_high, theirs.mean], abs=1e-6
        )
    assert [use.layer for use in together][:: len(together) // 4] == [
        f"layer {number} {direction}" for number in (1, 2) for direction in ("forward", "backward")
    ]


def test_hooks_are_gone_after_the_block():
    stack = RecurrentStack(2, 3, 1)
    with recorded(stack) as records:
        pass
    stack(torch.zeros(1, 2, 2), torch.tensor([2]))
    assert records == []
