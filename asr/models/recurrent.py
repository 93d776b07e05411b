"""The recurrent stack: plain RNN, GRU or LSTM layers in one or two directions, exact for padded batches.

A bidirectional layer is two one-directional layers; the second sees each sequence reversed inside its own length.
Padding then lies at the end for both of them and, as a recurrent layer only looks back, can reach no valid frame. The
result equals PyTorch's packed sequences, while every time step remains one dense matrix product, which trains several
times faster on CPUs (`tools/bench.py recurrent`). On a GPU the two directions run side by side (docs/gpu.md).
"""

from collections.abc import Sequence
from functools import partial
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from asr.models.dropout import make_dropout
from asr.models.masking import zero_padding
from asr.models.normalization import SequenceBatchNorm
from asr.models.reversal import reorder, reversal_index
from asr.models.streams import side_by_side

Cell = Literal["rnn_tanh", "gru", "lstm"]
Merge = Literal["concat", "sum"]
Initialization = Literal["orthogonal", "uniform"]
NormPlace = Literal["output", "input"]

NUM_GATES = {"rnn_tanh": 1, "gru": 3, "lstm": 4}
FORGET_GATE = 1  # PyTorch orders an LSTM's gates input, forget, cell, output


def make_cell(cell: Cell, input_size: int, hidden_size: int) -> nn.RNNBase:
    """One recurrent layer in one direction, batch first."""
    match cell:
        case "rnn_tanh":
            return nn.RNN(input_size, hidden_size, nonlinearity="tanh", batch_first=True)
        case "gru":
            return nn.GRU(input_size, hidden_size, batch_first=True)
        case "lstm":
            return nn.LSTM(input_size, hidden_size, batch_first=True)
    raise ValueError(f"expected cell rnn_tanh, gru or lstm, got {cell!r}")


def initialize(rnn: nn.RNNBase, cell: Cell, how: Initialization) -> None:
    """Set the weights of one recurrent layer.

    orthogonal: Glorot-uniform input weights gate by gate, orthogonal recurrent weights (Saxe et al. 2014), zero biases,
    and 1 for the LSTM's forget gate, so that a cell remembers before it has learnt to (Gers et al. 2000, Jozefowicz et
    al. 2015). uniform: everything in ±0.1 (Graves, Mohamed & Hinton 2013).
    """
    if how == "uniform":
        for parameter in rnn.parameters():
            nn.init.uniform_(parameter, -0.1, 0.1)
        return
    if how != "orthogonal":
        raise ValueError(f"expected initialization orthogonal or uniform, got {how!r}")
    gates = {name: parameter.chunk(NUM_GATES[cell]) for name, parameter in rnn.named_parameters()}
    for input_weight, recurrent_weight in zip(gates["weight_ih_l0"], gates["weight_hh_l0"]):
        nn.init.xavier_uniform_(input_weight)
        nn.init.orthogonal_(recurrent_weight)
    for bias in (*gates["bias_ih_l0"], *gates["bias_hh_l0"]):
        nn.init.zeros_(bias)
    if cell == "lstm":
        nn.init.ones_(gates["bias_ih_l0"][FORGET_GATE])


def run_with_weight_drop(rnn: nn.RNNBase, frames: Tensor, p: float) -> Tensor:
    """(B, T, input_size) -> (B, T, hidden_size) by a layer whose recurrent weights have lost a share `p` at random.

    DropConnect on the hidden-to-hidden matrix (Wan et al. 2013; Merity, Keskar & Socher 2018): a weight is zero for
    all frames and sequences of the batch or for none, so that the fused cells stay in use, and what stays is divided
    by 1 − p. This is the recurrent part of Gal & Ghahramani's dropout with masks on weights instead of on units.
    """
    weights = in_one_piece([F.dropout(w, p) if name == "weight_hh_l0" else w for name, w in rnn.named_parameters()])
    zeros = frames.new_zeros(1, len(frames), rnn.hidden_size)
    # biases, number of layers, dropout between them, training, bidirectional, batch first
    options = (True, 1, 0.0, True, False, True)
    match rnn.mode:
        case "LSTM":
            return torch.lstm(frames, (zeros, zeros), weights, *options)[0]
        case "GRU":
            return torch.gru(frames, zeros, weights, *options)[0]
        case "RNN_TANH":
            return torch.rnn_tanh(frames, zeros, weights, *options)[0]
    raise ValueError(f"expected a cell of make_cell, got {rnn.mode}")


def in_one_piece(weights: Sequence[Tensor]) -> list[Tensor]:
    """Copies that lie in memory one after the other, as cuDNN wants them: else it makes such a copy itself, and warns.

    The layers' own weights lie so since they came to the GPU, and whatever changes them in place leaves them so.
    """
    piece = torch.cat([weight.flatten() for weight in weights])
    parts = piece.split([weight.numel() for weight in weights])  # type: ignore[no-untyped-call]
    return [part.view_as(weight) for part, weight in zip(parts, weights, strict=True)]


class RecurrentLayer(nn.Module):
    """One layer in one or two directions, then projection, residual connection and norm where asked for.

    The norm is a layer norm (Ba, Kiros & Hinton 2016) or a sequence-wise batch norm, on the output, or before the
    recurrent part (`norm_place="input"`): then a residual connection passes it by, and the sum stays untouched (Xiong
    et al. 2020 on where norms belong).
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        *,
        cell: Cell = "lstm",
        bidirectional: bool = True,
        merge: Merge = "concat",
        projection_size: int = 0,
        layer_norm: bool = False,
        batch_norm: bool = False,
        norm_place: NormPlace = "output",
        residual: bool = False,
        weight_drop: float = 0.0,
        initialization: Initialization = "orthogonal",
    ) -> None:
        super().__init__()
        if merge not in ("concat", "sum"):
            raise ValueError(f"expected merge concat or sum, got {merge!r}")
        if not 0.0 <= weight_drop < 1.0:
            raise ValueError(f"expected weight_drop of at least 0 and below 1, got {weight_drop}")
        _check_norm(layer_norm, batch_norm, norm_place)
        self.merge = merge
        self.weight_drop = weight_drop
        self.norm_place = norm_place
        self.forward_rnn = make_cell(cell, input_size, hidden_size)
        self.backward_rnn = make_cell(cell, input_size, hidden_size) if bidirectional else None
        for rnn in filter(None, (self.forward_rnn, self.backward_rnn)):
            initialize(rnn, cell, initialization)
        merged_size = hidden_size * (2 if bidirectional and merge == "concat" else 1)
        self.output_size = projection_size or merged_size
        self.projection = nn.Linear(merged_size, projection_size) if projection_size else None
        # The first layer's input seldom has the size of its output: it goes without, as is usual.
        self.residual = residual and input_size == self.output_size
        norm_size = input_size if norm_place == "input" else self.output_size
        self.layer_norm = nn.LayerNorm(norm_size) if layer_norm else None
        self.batch_norm = SequenceBatchNorm(norm_size) if batch_norm else None

    def forward(self, frames: Tensor, lengths: Tensor, reversal: Tensor | None) -> Tensor:
        """(B, T, input_size) -> (B, T, output_size); `reversal` comes from `reversal_index`, None for one direction."""
        output = self._recur(self._normalize(frames, lengths) if self.norm_place == "input" else frames, reversal)
        if self.projection is not None:
            output = self.projection(output)
        if self.residual:
            output = output + frames
        return self._normalize(output, lengths) if self.norm_place == "output" else output

    def _recur(self, frames: Tensor, reversal: Tensor | None) -> Tensor:
        if self.backward_rnn is None:
            return self._run(self.forward_rnn, frames)
        assert reversal is not None, "a bidirectional layer needs the reversal of its batch"
        both = side_by_side(
            partial(self._run, self.forward_rnn, frames),
            partial(self._run_backward, self.backward_rnn, frames, reversal),
            inputs=(frames, reversal),
            parameters=self.backward_rnn.parameters(),
        )
        return torch.cat(both, dim=-1) if self.merge == "concat" else both.first + both.second

    def _run_backward(self, rnn: nn.RNNBase, frames: Tensor, reversal: Tensor) -> Tensor:
        return reorder(self._run(rnn, reorder(frames, reversal)), reversal)

    def _run(self, rnn: nn.RNNBase, frames: Tensor) -> Tensor:
        if self.training and self.weight_drop:
            return run_with_weight_drop(rnn, frames, self.weight_drop)
        output: Tensor = rnn(frames)[0]
        return output

    def _normalize(self, frames: Tensor, lengths: Tensor) -> Tensor:
        if self.layer_norm is not None:
            frames = self.layer_norm(frames)
        if self.batch_norm is not None:
            frames = self.batch_norm(frames, lengths)
        return frames


def _check_norm(layer_norm: bool, batch_norm: bool, place: str) -> None:
    if place not in ("output", "input"):
        raise ValueError(f"expected norm_place output or input, got {place!r}")
    if layer_norm and batch_norm:
        raise ValueError("expected layer_norm or batch_norm, got both")
    if place == "input" and not (layer_norm or batch_norm):
        raise ValueError("expected layer_norm or batch_norm with norm_place input, got neither")


class RecurrentStack(nn.Module):
    """Any number of recurrent layers with dropout between them.

    With the defaults this is the deep bidirectional LSTM of Graves, Mohamed & Hinton 2013. With `variational_dropout`
    a sequence's dropout mask is the same in all its frames; `weight_drop` is for the recurrent weights.
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int,
        *,
        cell: Cell = "lstm",
        bidirectional: bool = True,
        merge: Merge = "concat",
        projection_size: int = 0,
        layer_norm: bool = False,
        batch_norm: bool = False,
        norm_place: NormPlace = "output",
        residual: bool = False,
        dropout: float = 0.0,
        variational_dropout: bool = False,
        weight_drop: float = 0.0,
        initialization: Initialization = "orthogonal",
    ) -> None:
        super().__init__()
        if min(input_size, hidden_size, num_layers) < 1:
            raise ValueError(
                "expected input_size, hidden_size and num_layers of at least 1, "
                f"got {input_size}, {hidden_size} and {num_layers}"
            )
        self.bidirectional = bidirectional
        layers: list[RecurrentLayer] = []
        for _ in range(num_layers):
            layers.append(
                RecurrentLayer(
                    layers[-1].output_size if layers else input_size,
                    hidden_size,
                    cell=cell,
                    bidirectional=bidirectional,
                    merge=merge,
                    projection_size=projection_size,
                    layer_norm=layer_norm,
                    batch_norm=batch_norm,
                    norm_place=norm_place,
                    residual=residual,
                    weight_drop=weight_drop,
                    initialization=initialization,
                )
            )
        self.layers = nn.ModuleList(layers)
        self.dropout = make_dropout(dropout, per_sequence=variational_dropout)
        self.output_size = layers[-1].output_size

    def forward(self, frames: Tensor, lengths: Tensor) -> Tensor:
        """(B, T, input_size) and (B,) int64 lengths -> (B, T, output_size), zero past each length."""
        if frames.shape[1] == 0:  # PyTorch's recurrent layers refuse sequences of no frames
            return frames.new_zeros(len(frames), 0, self.output_size)
        reversal = reversal_index(lengths, frames.shape[1]) if self.bidirectional else None
        for number, layer in enumerate(self.layers):
            if number > 0:
                frames = self.dropout(frames)
            frames = layer(frames, lengths, reversal)
        return zero_padding(frames, lengths)
