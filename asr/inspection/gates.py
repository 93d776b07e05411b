"""What the gates of recurrent layers do, recomputed from their weights, inputs and outputs.

PyTorch's fused layers give outputs alone. With them the gates follow exactly: h(t − 1) is the output before, and no
gate depends on the LSTM's cell (there are no peepholes). A gate that is always near 0 or 1 has stopped to learn, as
the derivative of its sigmoid is near zero there; one that does both in turn is doing its work (Karpathy, Johnson &
Fei-Fei 2015, "Visualizing and understanding recurrent networks").
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from asr.inspection.subjects import Subject
from asr.models.acoustic import AcousticModel
from asr.models.masking import valid_frames
from asr.models.recurrent import RecurrentStack

SIGMOIDS = ("input", "forget", "output", "reset", "update")  # 0-1; the others are tanh
KEEPERS = ("forget", "update")  # how much of the state stays: 1 is all of it
LOW, HIGH = 0.1, 0.9  # of a gate's range: outside, a sigmoid's derivative is below 36 % of its highest


@dataclass(frozen=True, slots=True, eq=False)
class LayerRecord:
    """What went into one direction of one layer, and what came out; the backward one's time runs backwards."""

    name: str  # such as "layer 1 forward"
    rnn: nn.RNNBase
    inputs: Tensor  # (B, T, I)
    outputs: Tensor  # (B, T, H)
    mask: Tensor  # (B, T) bool, true in valid frames


@contextmanager
def recorded(stack: RecurrentStack) -> Iterator[list[LayerRecord]]:
    """Inside the block, what the stack's layers see and say is put into the list, the last call alone."""
    records: list[LayerRecord] = []
    masks: list[Tensor] = []
    hooks = [stack.register_forward_pre_hook(_note_mask(records, masks))]
    for number, layer in enumerate(stack.layers, start=1):
        for direction, rnn in (("forward", layer.forward_rnn), ("backward", layer.backward_rnn)):
            if isinstance(rnn, nn.RNNBase):
                hooks.append(rnn.register_forward_hook(_note_layer(f"layer {number} {direction}", records, masks)))
    try:
        yield records
    finally:
        for hook in hooks:
            hook.remove()


def _note_mask(records: list[LayerRecord], masks: list[Tensor]) -> Any:
    def note(_module: nn.Module, arguments: tuple[Tensor, Tensor]) -> None:
        frames, lengths = arguments
        records.clear()
        masks[:] = [valid_frames(lengths, frames.shape[1])]

    return note


def _note_layer(name: str, records: list[LayerRecord], masks: list[Tensor]) -> Any:
    def note(module: nn.RNNBase, arguments: tuple[Tensor, ...], result: tuple[Tensor, Any]) -> None:
        records.append(LayerRecord(name, module, arguments[0].detach(), result[0].detach(), masks[0]))

    return note


@torch.no_grad()
def gate_activations(rnn: nn.RNNBase, inputs: Tensor, outputs: Tensor) -> dict[str, Tensor]:
    """The gates of a one-layer, one-directional, batch-first `nn.LSTM`, `nn.GRU` or tanh `nn.RNN`, begun with zeros.

    Args:
        rnn: the layer
        inputs: (B, T, I)
        outputs: (B, T, H) that it made of them

    Returns the (B, T, H) activations by name: input, forget, candidate and output of an LSTM (Gers et al. 2000),
    reset, update and candidate of a GRU (Cho et al. 2014; as PyTorch has them, update = 1 keeps the state), and the
    state itself of a plain RNN, which has no gates. Candidates and states are tanh, the others sigmoids.
    """
    weights = dict(rnn.named_parameters())
    dtype = weights["weight_ih_l0"].dtype
    before = torch.cat((torch.zeros_like(outputs[:, :1]), outputs[:, :-1]), dim=1).to(dtype)  # h(t − 1)
    with torch.autocast(inputs.device.type, enabled=False):
        from_input = F.linear(inputs.to(dtype), weights["weight_ih_l0"], weights["bias_ih_l0"])
        from_state = F.linear(before, weights["weight_hh_l0"], weights["bias_hh_l0"])
    match rnn.mode:
        case "LSTM":
            input, forget, candidate, output = (from_input + from_state).chunk(4, dim=-1)
            gates = {"input": input, "forget": forget, "candidate": candidate, "output": output}
        case "GRU":
            (reset, update, candidate), (r, z, n) = from_input.chunk(3, dim=-1), from_state.chunk(3, dim=-1)
            # the reset gate stands before the state's product here, unlike in the paper
            gates = {"reset": reset + r, "update": update + z, "candidate": candidate + torch.sigmoid(reset + r) * n}
        case "RNN_TANH":
            gates = {"state": from_input + from_state}
        case mode:
            raise ValueError(f"expected an LSTM, GRU or tanh RNN, got {mode}")
    return {name: value.sigmoid() if name in SIGMOIDS else value.tanh() for name, value in gates.items()}


@dataclass(frozen=True, slots=True)
class GateUse:
    """How one gate of one direction of a layer is used, over all units and valid frames."""

    layer: str
    gate: str
    share_low: float  # in the lowest tenth of its range: below 0.1, of a tanh below −0.8
    share_high: float  # in the highest tenth
    mean: float
    memory_frames: tuple[float, ...]  # of gates that keep: 1st, 5th and 9th decile of the units' −1 / ln(mean)

    def to_json(self) -> dict[str, Any]:
        """A row of figures.json."""
        return asdict(self)


def use_of_gates(records: Sequence[LayerRecord]) -> list[GateUse]:
    """How the gates of recorded layers are used. Layers of several calls may stand in the list: they are joined."""
    joined: dict[tuple[str, str], list[Tensor]] = {}
    for record in records:
        for gate, activations in gate_activations(record.rnn, record.inputs, record.outputs).items():
            joined.setdefault((record.name, gate), []).append(activations[record.mask].float())  # (frames, H)
    return [_use(layer, gate, torch.cat(parts)) for (layer, gate), parts in joined.items()]


def _use(layer: str, gate: str, activations: Tensor) -> GateUse:
    shares = activations if gate in SIGMOIDS else (1.0 + activations) / 2.0  # of the range
    memory: tuple[float, ...] = ()
    if gate in KEEPERS:
        deciles = torch.quantile(activations.mean(dim=0), torch.tensor([0.1, 0.5, 0.9], device=activations.device))
        memory = tuple(memory_frames(keep) for keep in deciles.tolist())
    means = torch.stack([(shares < LOW).float().mean(), (shares > HIGH).float().mean(), activations.mean()])
    low, high, mean = means.tolist()
    return GateUse(layer, gate, low, high, mean, memory)


def memory_frames(keep: float) -> float:
    """After how many frames a state of which `keep` stays in each has fallen by e (Tallec & Ollivier 2018)."""
    return -1.0 / math.log(min(max(keep, 1e-6), 1.0 - 1e-6))


def gates_of_subjects(model: AcousticModel, subjects: Sequence[Subject]) -> list[GateUse]:
    """How the gates are used on some utterances, each by itself."""
    found: list[LayerRecord] = []
    with torch.inference_mode(), recorded(model.encoder) as records:
        for subject in subjects:
            model(subject.features[None], torch.tensor([len(subject.features)]))
            found += records
    return use_of_gates(found)
