import pytest
import torch
from helpers import rounding

from asr.models.acoustic import AcousticModel
from asr.models.frontend import ConvFrontend, FrameStacking, Identity
from asr.models.recurrent import RecurrentStack

FRONTENDS = [
    Identity(6),
    FrameStacking(6, stack=3, stride=3),
    FrameStacking(6, stack=4, stride=2),
    ConvFrontend(6, channels=(4, 5), time_strides=(2, 2)),
    ConvFrontend(6, channels=(4, 5, 3), time_strides=(2, 1, 1)),
    ConvFrontend(6, channels=(4, 5), time_strides=(2, 2), batch_norm=True).eval(),
]
CONVOLVED = 9 * (1 + 4 + 5)  # terms of the convolutions' products: 3 x 3 on each channel before them


def test_stacking_by_hand():
    frames = torch.arange(1.0, 6.0).reshape(1, 5, 1)
    assert FrameStacking(1, stack=3, stride=2)(frames, torch.tensor([5]))[0].tolist() == [
        [1, 2, 3],
        [3, 4, 5],
        [5, 0, 0],
    ]
    # beyond its four frames an utterance has nothing, whatever the batch holds there
    assert FrameStacking(1, stack=3, stride=2)(frames, torch.tensor([4]))[0, :2].tolist() == [[1, 2, 3], [3, 4, 0]]


@pytest.mark.parametrize("frontend", FRONTENDS, ids=lambda f: type(f).__name__)
def test_num_output_frames_is_what_comes_out(frontend):
    for length in range(30):
        output = frontend(torch.randn(2, length, 6), torch.tensor([length, length // 2]))
        assert output.shape == (2, frontend.num_output_frames(length), frontend.output_size)
        assert frontend.num_output_frames(torch.tensor([length])).tolist() == [frontend.num_output_frames(length)]


@pytest.mark.parametrize("frontend", FRONTENDS, ids=lambda f: type(f).__name__)
def test_alone_or_padded(frontend):
    torch.manual_seed(0)
    features = torch.randn(3, 29, 6)
    lengths = torch.tensor([29, 11, 4])
    together = frontend(features, lengths)
    for row, length in enumerate(lengths.tolist()):
        alone = frontend(features[row : row + 1, :length], lengths[row : row + 1])
        difference = (together[row, : alone.shape[1]] - alone[0]).abs()
        assert difference.max() <= rounding(alone, terms=CONVOLVED)


def test_subsampling_says_how_many_frames_one_is_made_of():
    assert [frontend.subsampling for frontend in FRONTENDS] == [1, 3, 2, 4, 2, 4]


@pytest.mark.parametrize(("stack", "stride"), [(2, 3), (0, 0)])
def test_stacking_that_loses_frames_raises(stack, stride):
    with pytest.raises(ValueError, match="no frame is lost"):
        FrameStacking(6, stack, stride)


def test_convolution_needs_a_stride_for_each_layer():
    with pytest.raises(ValueError, match="as many channels as time_strides"):
        ConvFrontend(6, channels=(4,), time_strides=(2, 2))


@pytest.mark.parametrize("frontend", FRONTENDS, ids=lambda f: type(f).__name__)
@pytest.mark.parametrize("cell", ["rnn_tanh", "gru", "lstm"])
def test_the_whole_model_alone_or_in_any_batch(frontend, cell):
    torch.manual_seed(0)
    model = AcousticModel(frontend, RecurrentStack(frontend.output_size, 8, 2, cell=cell), vocab_size=5).eval()
    features, lengths = torch.randn(3, 29, 6), torch.tensor([29, 11, 0])
    log_probs, frames = model(features, lengths)
    assert log_probs.dtype == torch.float32
    assert torch.allclose(log_probs.exp().sum(-1), torch.ones(log_probs.shape[:2]))
    alone, alone_frames = model(features[1:2, :11], lengths[1:2])
    assert frames[1] == alone_frames[0]
    # Gates of two layers of 8 cells per direction, the softmax's logits, and what the frontend sums.
    terms = CONVOLVED + (frontend.output_size + 8) + (16 + 8) + 16
    assert (log_probs[1, : frames[1]] - alone[0]).abs().max() <= rounding(alone, terms=terms)


def test_log_softmax_stays_float32_under_autocast():
    model = AcousticModel(Identity(6), RecurrentStack(6, 8, 1), vocab_size=5)
    with torch.autocast("cpu", torch.bfloat16):
        assert model(torch.randn(1, 9, 6), torch.tensor([9])).log_probs.dtype == torch.float32


def test_convolutions_with_batch_norm_equal_pytorchs_on_full_length():
    """Without padding: each channel over batch, time and frequency, as nn.BatchNorm2d has it, before the rectifier."""
    torch.manual_seed(0)
    frontend = ConvFrontend(6, channels=(3,), time_strides=(2,), batch_norm=True)
    features = torch.randn(2, 9, 6)
    normalized = torch.nn.BatchNorm2d(3)(frontend.convolutions[0](features[:, None]))  # (B, C, T, F)
    expected = normalized.relu().transpose(1, 2).flatten(2)
    assert torch.allclose(
        frontend(features, torch.tensor([9, 9])), expected, atol=rounding(expected, terms=9 + 2 * 5 * 3)
    )


def test_in_training_padding_reaches_no_statistic_of_the_convolutions():
    torch.manual_seed(0)
    frontend = ConvFrontend(6, channels=(3, 4), time_strides=(2, 2), batch_norm=True)
    features, lengths = torch.randn(2, 9, 6), torch.tensor([9, 4])
    longer = torch.nn.functional.pad(features, (0, 0, 0, 12), value=7.0)
    shorter, padded = frontend(features, lengths), frontend(longer, lengths)
    assert torch.allclose(padded[:, : shorter.shape[1]], shorter, atol=rounding(shorter, terms=CONVOLVED))
    assert padded[:, shorter.shape[1] :].eq(0).all()


def test_variational_dropout_before_the_softmax_is_one_mask_a_sequence():
    """With a large bias every dropped unit changes the logits alike in all frames, so these are constant in time."""
    model = AcousticModel(Identity(6), RecurrentStack(6, 8, 1), vocab_size=5, dropout=0.5, variational_dropout=True)
    torch.manual_seed(0)
    constant = model.dropout(torch.ones(2, 7, 16))
    assert torch.equal(constant, constant[:, :1].expand(-1, 7, -1))
    assert set(constant.unique().tolist()) == {0.0, 2.0}
    assert not torch.equal(constant[0], constant[1])
