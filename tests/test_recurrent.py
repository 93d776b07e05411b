import pytest
import torch
from helpers import rounding
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from asr.models.dropout import SequenceDropout, make_dropout
from asr.models.normalization import SequenceBatchNorm
from asr.models.recurrent import RecurrentLayer, RecurrentStack, make_cell, run_with_weight_drop
from asr.models.reversal import reorder, reversal_index

LENGTHS = torch.tensor([9, 5, 1, 7])
TERMS = 3 * (10 + 5 + 10)  # of three layers: a gate's products with input and state, and a norm over the output
FRAMES = 22  # valid ones, over which a batch norm sums


def batch(size: int = 6) -> torch.Tensor:
    """(4, 9, size), with garbage where the padding is."""
    torch.manual_seed(1)
    return torch.randn(4, 9, size)


def test_reversal_stays_inside_each_length():
    frames = torch.tensor([[1, 2, 3, 4], [1, 2, 0, 0], [0, 0, 0, 0]])[:, :, None]
    reversed_frames = reorder(frames, reversal_index(torch.tensor([4, 2, 0]), 4))
    assert reversed_frames.squeeze(2).tolist() == [[4, 3, 2, 1], [2, 1, 0, 0], [0, 0, 0, 0]]


def test_the_gradient_of_a_reversal_is_reversed():
    """Against PyTorch's own gradient of a gather; the second derivative, of frames squared, too."""
    index = reversal_index(LENGTHS, 9)
    ours, theirs = (batch().requires_grad_() for _ in range(2))
    weights = torch.randn(4, 9, 6)
    (reorder(ours, index).square() * weights).sum().backward()
    (theirs.flatten(0, 1)[index].view_as(theirs).square() * weights).sum().backward()
    assert torch.equal(ours.grad, theirs.grad)
    assert torch.autograd.gradgradcheck(
        lambda frames: reorder(frames, index).square(), batch().double().requires_grad_()
    )


@pytest.mark.parametrize("cell", ["rnn_tanh", "gru", "lstm"])
@pytest.mark.parametrize("bidirectional", [True, False])
def test_equals_packed_sequences(cell, bidirectional):
    """The reference is PyTorch's own bidirectional layers over packed sequences, with the same weights."""
    stack = RecurrentStack(6, 5, 3, cell=cell, bidirectional=bidirectional)
    packed = pack_padded_sequence(batch(), LENGTHS, batch_first=True, enforce_sorted=False)
    for layer in stack.layers:
        packed = packed_layer(layer, cell)(packed)[0]
    expected = pad_packed_sequence(packed, batch_first=True)[0]
    assert (stack(batch(), LENGTHS) - expected).abs().max() <= rounding(expected, terms=TERMS)


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
    {"layer_norm": True, "norm_place": "input", "residual": True},
    {"batch_norm": True},
    {"batch_norm": True, "norm_place": "input", "dropout": 0.5, "variational_dropout": True, "weight_drop": 0.5},
]


@pytest.mark.parametrize("options", OPTIONS)
def test_an_utterance_alone_or_in_any_batch(options):
    stack = RecurrentStack(6, 5, 3, **options)
    stack(batch(), LENGTHS)  # for running statistics that are not those it began with
    stack.eval()
    together = stack(batch(), LENGTHS)
    for row, length in enumerate(LENGTHS.tolist()):
        alone = stack(batch()[row : row + 1, :length], LENGTHS[row : row + 1])
        assert (together[row, :length] - alone[0]).abs().max() <= rounding(alone, terms=TERMS)
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
        assert torch.allclose(gate @ gate.T, torch.eye(5), atol=rounding(terms=5 * 5))


def test_uniform_initialization_is_graves():
    weights = torch.cat([p.detach().flatten() for p in RecurrentLayer(6, 50, initialization="uniform").parameters()])
    assert weights.abs().max() <= 0.1
    assert float(weights.detach().std()) == pytest.approx(
        0.2 / 12**0.5, rel=0.05
    )  # that of a uniform distribution of width 0.2


@pytest.mark.parametrize(
    "options",
    [
        {"cell": "lstn"},
        {"merge": "product"},
        {"initialization": "zeros"},
        {"hidden_size": 0},
        {"layer_norm": True, "batch_norm": True},
        {"norm_place": "middle"},
        {"norm_place": "input"},
        {"weight_drop": 1.0},
        {"dropout": 1.0, "variational_dropout": True},
    ],
)
def test_unknown_options_raise(options):
    with pytest.raises(ValueError, match="expected"):
        RecurrentStack(**{"input_size": 6, "hidden_size": 5, "num_layers": 1, **options})


def test_dropout_is_between_layers_only():
    def one_layer(dropout: float) -> torch.Tensor:
        torch.manual_seed(0)
        return RecurrentStack(6, 5, 1, dropout=dropout)(batch(), LENGTHS)

    assert torch.equal(one_layer(0.9), one_layer(0.0))


def test_variational_dropout_by_hand():
    """One mask for all frames of a sequence, another for the next sequence; what stays is divided by 1 − p."""
    dropout = SequenceDropout(0.75)
    torch.manual_seed(0)
    frames = dropout(torch.ones(3, 50, 40))
    assert set(frames.unique().tolist()) == {0.0, 4.0}
    assert torch.equal(frames, frames[:, :1].expand_as(frames))
    assert not torch.equal(frames[0], frames[1])
    torch.manual_seed(0)
    assert torch.equal(dropout(torch.ones(3, 9, 40))[:, 0], frames[:, 0])  # and whatever the length
    assert float(SequenceDropout(0.75)(torch.ones(200, 1, 500)).mean()) == pytest.approx(1.0, abs=0.03)  # 5 σ
    assert torch.equal(dropout.eval()(batch()), batch())


def test_variational_dropout_keeps_the_type():
    assert SequenceDropout(0.5)(batch().bfloat16()).dtype == torch.bfloat16


def test_kinds_of_dropout():
    assert isinstance(make_dropout(0.5, per_sequence=False), nn.Dropout)
    assert isinstance(make_dropout(0.5, per_sequence=True), SequenceDropout)
    stack = RecurrentStack(6, 5, 2, dropout=0.5, variational_dropout=True)
    assert isinstance(stack.dropout, SequenceDropout)


@pytest.mark.parametrize("cell", ["rnn_tanh", "gru", "lstm"])
def test_weight_drop_is_the_layer_with_thinned_recurrent_weights(cell):
    """The reference is PyTorch's layer whose weights were thinned and doubled by the same random state."""
    rnn, frames = make_cell(cell, 6, 5), batch()
    torch.manual_seed(3)
    dropped = run_with_weight_drop(rnn, frames, 0.5)
    torch.manual_seed(3)
    thinned = nn.functional.dropout(rnn.weight_hh_l0.detach(), 0.5)
    assert 0 < int(thinned.eq(0).sum()) < thinned.numel()
    twin = make_cell(cell, 6, 5)
    twin.load_state_dict({**rnn.state_dict(), "weight_hh_l0": thinned})
    assert torch.equal(dropped, twin(frames)[0])


def test_weight_drop_gives_no_gradient_to_dropped_weights():
    rnn, frames = make_cell("lstm", 6, 5), batch()
    torch.manual_seed(3)
    run_with_weight_drop(rnn, frames, 0.5).square().sum().backward()
    torch.manual_seed(3)
    mask = nn.functional.dropout(torch.ones(20, 5), 0.5)
    assert rnn.weight_hh_l0.grad is not None
    assert torch.equal(rnn.weight_hh_l0.grad.eq(0), mask.eq(0))


def test_weight_drop_leaves_the_weights_and_evaluation_alone():
    stack = RecurrentStack(6, 5, 2, weight_drop=0.5)
    before = {name: tensor.clone() for name, tensor in stack.state_dict().items()}
    frames = batch()
    first, second = stack(frames, LENGTHS), stack(frames, LENGTHS)
    assert not torch.equal(first, second)
    assert all(torch.equal(before[name], tensor) for name, tensor in stack.state_dict().items())
    plain = RecurrentStack(6, 5, 2)
    plain.load_state_dict(before)
    assert torch.equal(stack.eval()(batch(), LENGTHS), plain(batch(), LENGTHS))


def test_batch_norm_equals_pytorchs_on_the_valid_frames():
    """nn.BatchNorm1d on the 22 valid frames, one after the other: outputs, gradients and running statistics."""
    ours, theirs = SequenceBatchNorm(6), nn.BatchNorm1d(6)
    valid = torch.arange(9) < LENGTHS[:, None]
    for scale in (1.0, 3.0):
        frames = (batch() * scale + scale).requires_grad_()
        normalized = ours(frames, LENGTHS)[valid]
        expected = theirs(frames[valid])
        assert torch.allclose(normalized, expected, atol=rounding(expected, frames, terms=FRAMES))
    assert torch.allclose(ours.running_mean, theirs.running_mean, atol=rounding(theirs.running_mean, terms=FRAMES))
    assert torch.allclose(ours.running_var, theirs.running_var, atol=rounding(theirs.running_var, terms=FRAMES))
    weights = torch.randn_like(expected)
    ours_gradient = torch.autograd.grad((normalized * weights).sum(), frames)[0]
    theirs_gradient = torch.autograd.grad((expected * weights).sum(), frames)[0]
    assert torch.allclose(ours_gradient, theirs_gradient, atol=rounding(theirs_gradient, frames, terms=2 * FRAMES))
    ours_after, theirs_after = ours.eval()(frames, LENGTHS)[valid], theirs.eval()(frames[valid])
    assert torch.allclose(ours_after, theirs_after, atol=rounding(theirs_after, frames, terms=FRAMES))


def test_padding_enters_no_statistic():
    frames = batch()
    frames[1, 5:] = float("inf")
    norm = SequenceBatchNorm(6)
    normalized = norm(frames, LENGTHS)
    clean = SequenceBatchNorm(6)
    expected = clean(batch(), LENGTHS)
    assert torch.equal(normalized[1, :5], expected[1, :5])
    assert torch.equal(norm.running_var, clean.running_var)
    normalized.sum().backward()
    assert norm.weight.grad is not None
    assert norm.weight.grad.isfinite().all()


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_batch_that_is_not_finite_leaves_the_running_statistics_alone(value):
    norm = SequenceBatchNorm(6)
    norm(batch(), LENGTHS)
    before = norm.running_mean.clone(), norm.running_var.clone()
    frames = batch()
    frames[0, 0, 0] = value
    norm(frames, LENGTHS)
    norm(batch(), torch.zeros(4, dtype=torch.int64))  # and so does one without frames
    assert torch.equal(norm.running_mean, before[0])
    assert torch.equal(norm.running_var, before[1])


def test_batch_norm_of_one_frame_is_its_bias():
    norm = SequenceBatchNorm(6)
    assert norm(batch()[:1], torch.tensor([1]))[0, 0].tolist() == pytest.approx([0.0] * 6)
    assert norm.running_var.tolist() == pytest.approx([0.9] * 6)  # a tenth towards a variance of 0


def test_batch_norm_shares_its_sums_with_other_processes(monkeypatch):
    """Two processes with half of the batch each: every sum is both halves', so both normalise as one would."""
    whole = SequenceBatchNorm(6)(batch(), LENGTHS)
    seen: list[list[torch.Tensor]] = [[], []]
    for _ in range(3):  # the second sum depends on the first one's total: repeat until the totals are right
        halves = []
        for half in (0, 1):
            calls = iter(range(2))

            def total(mine, half=half, calls=calls):
                number = next(calls)
                seen[half][number:] = [mine.detach()]
                other = seen[1 - half]
                return mine + (other[number] if number < len(other) else 0.0)

            monkeypatch.setattr("asr.models.normalization.summed_over_processes", total)
            rows = slice(2 * half, 2 * half + 2)
            halves.append(SequenceBatchNorm(6)(batch()[rows], LENGTHS[rows]))
    valid = torch.arange(9) < LENGTHS[:, None]
    assert torch.allclose(torch.cat(halves)[valid], whole[valid], atol=rounding(whole, batch(), terms=FRAMES))


def test_norms_before_the_recurrent_part_are_passed_by_the_residual_connection():
    layer = RecurrentLayer(10, 5, layer_norm=True, norm_place="input", residual=True)
    for rnn in (layer.forward_rnn, layer.backward_rnn):
        for parameter in rnn.parameters():
            nn.init.zeros_(parameter)
    frames = torch.randn(4, 9, 10)
    assert torch.equal(layer(frames, LENGTHS, reversal_index(LENGTHS, 9)), frames)
    assert layer.layer_norm is not None
    assert layer.layer_norm.normalized_shape == (10,)
