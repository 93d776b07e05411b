import pytest
import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from asr.models.recurrent import RecurrentLayer, RecurrentStack, reorder, reversal_index

LENGTHS = torch.tensor([9, 5, 1, 7])


def batch(size: int = 6) -> torch.Tensor:
    """(4, 9, size), with garbage where the padding is."""
    torch.manual_seed(1)
    return torch.randn(4, 9, size)


def test_reversal_stays_inside_each_length():
    frames = torch.tensor([[1, 2, 3, 4], [1, 2, 0, 0], [0, 0, 0, 0]])[:, :, None]
    reversed_frames = reorder(frames, reversal_index(torch.tensor([4, 2, 0]), 4))
    assert reversed_frames.squeeze(2).tolist() == [[4, 3, 2, 1], [2, 1, 0, 0], [0, 0, 0, 0]]


@pytest.mark.parametrize("cell", ["rnn_tanh", "gru", "lstm"])
@pytest.mark.parametrize("bidirectional", [True, False])
def test_equals_packed_sequences(cell, bidirectional):
    """The reference is PyTorch's own bidirectional layers over packed sequences, with the same weights."""
    stack = RecurrentStack(6, 5, 3, cell=cell, bidirectional=bidirectional)
    packed = pack_padded_sequence(batch(), LENGTHS, batch_first=True, enforce_sorted=False)
    for layer in stack.layers:
        packed = packed_layer(layer, cell)(packed)[0]
    expected = pad_packed_sequence(packed, batch_first=True)[0]
    assert (stack(batch(), LENGTHS) - expected).abs().max() <= 1e-6


def packed_layer(layer: RecurrentLayer, cell: str) -> nn.RNNBase:
    forward = layer.forward_rnn
    kind = type(forward)
    twin = kind(forward.input_size, 5, batch_first=True, bidirectional=layer.backward_rnn is not None)
    weights = dict(forward.named_parameters())
    if layer.backward_rnn is not None:
        weights |= {f"{name}_reverse": weight for name, weight in layer.backward_rnn.named_parameters()}
    twin.load_state_dict(weights)
    return twin


OPTIONS = [
    {},
    {"cell": "gru", "merge": "sum"},
    {"cell": "rnn_tanh", "bidirectional": False},
    {"projection_size": 7, "layer_norm": True, "residual": True},
]


@pytest.mark.parametrize("options", OPTIONS)
def test_an_utterance_alone_or_in_any_batch(options):
    stack = RecurrentStack(6, 5, 3, **options).eval()
    together = stack(batch(), LENGTHS)
    for row, length in enumerate(LENGTHS.tolist()):
        alone = stack(batch()[row : row + 1, :length], LENGTHS[row : row + 1])
        assert (together[row, :length] - alone[0]).abs().max() <= 1e-5
        assert together[row, length:].eq(0).all()


def test_what_lies_in_the_padding_changes_nothing():
    stack = RecurrentStack(6, 5, 2)
    padded = batch()
    with_garbage = padded.clone()
    with_garbage[1, 5:] = 1e30
    assert torch.equal(stack(padded, LENGTHS), stack(with_garbage, LENGTHS))


def test_the_gradient_of_padding_is_zero():
    frames = batch().requires_grad_()
    RecurrentStack(6, 5, 2)(frames, LENGTHS).square().sum().backward()
    assert frames.grad is not None
    assert frames.grad[2, 1:].eq(0).all()
    assert frames.grad[2, 0].ne(0).any()


@pytest.mark.parametrize(("options", "size"), [({}, 10), ({"merge": "sum"}, 5), ({"projection_size": 3}, 3)])
def test_output_size(options, size):
    stack = RecurrentStack(6, 5, 2, **options)
    assert stack.output_size == size
    assert stack(batch(), LENGTHS).shape == (4, 9, size)


def test_no_frames_and_empty_utterances():
    stack = RecurrentStack(6, 5, 2)
    assert stack(torch.zeros(2, 0, 6), torch.tensor([0, 0])).shape == (2, 0, 10)
    assert stack(batch(), torch.tensor([9, 0, 0, 3]))[1].eq(0).all()


def test_forget_gate_begins_at_one_and_recurrent_weights_are_orthogonal():
    lstm = RecurrentLayer(6, 5).forward_rnn
    bias = lstm.bias_ih_l0 + lstm.bias_hh_l0
    assert bias.tolist() == [0.0] * 5 + [1.0] * 5 + [0.0] * 10  # input, forget, cell, output
    for gate in lstm.weight_hh_l0.chunk(4):
        assert torch.allclose(gate @ gate.T, torch.eye(5), atol=1e-6)


def test_uniform_initialization_is_graves():
    weights = torch.cat([p.detach().flatten() for p in RecurrentLayer(6, 50, initialization="uniform").parameters()])
    assert weights.abs().max() <= 0.1
    assert float(weights.detach().std()) == pytest.approx(
        0.2 / 12**0.5, rel=0.05
    )  # that of a uniform distribution of width 0.2


@pytest.mark.parametrize(
    "options", [{"cell": "lstn"}, {"merge": "product"}, {"initialization": "zeros"}, {"hidden_size": 0}]
)
def test_unknown_options_raise(options):
    with pytest.raises(ValueError, match="expected"):
        RecurrentStack(**{"input_size": 6, "hidden_size": 5, "num_layers": 1, **options})


def test_dropout_is_between_layers_only():
    def one_layer(dropout: float) -> torch.Tensor:
        torch.manual_seed(0)
        return RecurrentStack(6, 5, 1, dropout=dropout)(batch(), LENGTHS)

    assert torch.equal(one_layer(0.9), one_layer(0.0))
