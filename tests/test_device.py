"""A training step never waits for its device, shown on one that cannot answer: torch's `meta`, tensors without values.

There nothing can be read back, as every such attempt is an error. What a GPU would wait for besides, namely copies to
it from memory that is not page-locked, and lengths on it where the loss wants them on the host, `NeverWaiting` refuses.
"""

import contextlib
from collections.abc import Iterator
from unittest import mock

import numpy as np
import pytest
import torch
from helpers import rounding
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from asr.augment import SpecAugment
from asr.ctc import LabelSmoothing, ctc_loss, uniform_prior
from asr.features import Filterbank
from asr.models import recurrent
from asr.models.acoustic import AcousticModel
from asr.models.frontend import ConvFrontend, FrameStacking, Frontend, Identity
from asr.models.recurrent import RecurrentLayer, RecurrentStack, in_one_piece, make_cell
from asr.models.reversal import reversal_index
from asr.models.streams import fork_and_join
from asr.training.clipping import Clipping
from asr.training.ema import WeightAverage
from asr.training.guard import StepGuard, StepInfo
from asr.training.optim import make_optimizer
from asr.training.weight_noise import WeightNoise
from asr.types import Batch

META, CPU = torch.device("meta"), torch.device("cpu")
CTC_LOSS = {torch.ops.aten._ctc_loss.default: 2, torch.ops.aten._ctc_loss.Tensor: 2}
CTC_GRADIENT = {torch.ops.aten._ctc_loss_backward.default: 3, torch.ops.aten._ctc_loss_backward.Tensor: 3}
FUSED = {torch.ops.aten._fused_adamw_.default, torch.ops.aten._fused_sgd_.default}


class Waits(AssertionError):
    """A GPU would have been waited for."""


class NeverWaiting(TorchDispatchMode):
    """Refuses whatever would make the host wait for the device; stands in for operators that `meta` lacks."""

    def __init__(self) -> None:
        super().__init__()
        self.pinned: set[int] = set()  # where page-locked memory lies
        self.alive: list[Tensor] = []  # lest such a place is used again
        self.operators: set[str] = set()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        self.operators.add(func.overloadpacket.__name__)
        if func.overloadpacket.__name__ == "is_pinned":
            return args[0].data_ptr() in self.pinned
        if func.overloadpacket.__name__ == "_pin_memory":
            return self._pin(args[0])
        self._check(func, args, kwargs)
        if func in CTC_LOSS:
            return self._loss(func, *args)
        if func in CTC_GRADIENT:
            return torch.empty_like(args[1])
        if func in FUSED:
            return None
        return func(*args, **kwargs)

    def _pin(self, tensor: Tensor) -> Tensor:
        self.alive.append(tensor.clone())
        self.pinned.add(self.alive[-1].data_ptr())
        return self.alive[-1]

    def _check(self, func, args, kwargs) -> None:
        tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        on_device = any(tensor.device == META for tensor in tensors)
        if func is torch.ops.aten._to_copy.default:
            target = torch.device(kwargs.get("device") or args[0].device)
            self._check_copy(args[0], target, kwargs.get("non_blocking", False))
        elif func is torch.ops.aten.copy_.default:
            self._check_copy(args[1], args[0].device, len(args) > 2 and args[2])
        elif func in CTC_LOSS or func in CTC_GRADIENT:
            lengths = args[CTC_LOSS.get(func, 3) :][:2]
            if any(isinstance(each, Tensor) and each.device != CPU for each in lengths):
                raise Waits("the loss would fetch its lengths from the device")
        elif on_device and any(tensor.device == CPU and tensor.dim() > 0 for tensor in tensors):
            raise Waits(f"{func} would copy a tensor of the host to the device")

    def _check_copy(self, tensor: Tensor, target: torch.device, non_blocking: bool) -> None:
        if tensor.device == META and target == CPU:
            raise Waits("a copy to the host")
        if tensor.device == CPU and target == META and not (non_blocking and tensor.data_ptr() in self.pinned):
            raise Waits("a copy from memory that is not page-locked, or a blocking one")

    @staticmethod
    def _loss(func, log_probs, targets, *_rest):
        num_frames, batch_size, _ = log_probs.shape
        return log_probs.new_empty(batch_size), log_probs.new_empty(batch_size, num_frames, 2 * targets.shape[1] + 1)


class WithoutLists(TorchFunctionMode):
    """Refuses tensors and places that are made on the device of Python's numbers, which is a blocking copy as well."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if func in (torch.tensor, torch.as_tensor, torch.asarray) and torch.device(kwargs.get("device", CPU)) == META:
            raise Waits("numbers of the host would be copied to the device")
        if func in (Tensor.__getitem__, Tensor.__setitem__) and args[0].device == META:
            places = args[1] if isinstance(args[1], tuple) else (args[1],)
            if any(isinstance(place, (list, np.ndarray)) for place in places):
                raise Waits("places would be copied to the device")
        return func(*args, **kwargs)


@contextlib.contextmanager
def never_waiting() -> Iterator[NeverWaiting]:
    """Autocast does not know the device, nor do the fused optimisers, whose check of it is answered for them."""
    mode = NeverWaiting()
    autocast = mock.patch.object(torch, "autocast", return_value=contextlib.nullcontext())
    fused = mock.patch("torch.optim.optimizer._get_fused_kernels_supported_devices", return_value=["meta"])
    with autocast, fused, mode, WithoutLists():
        yield mode


WAITING = {
    "item": lambda x, i: x.sum().item(),
    "tolist": lambda x, i: x.tolist(),
    "numpy": lambda x, i: x.numpy(),
    "cpu": lambda x, i: x.cpu(),
    "bool": lambda x, i: bool((x > 0).all()),
    "nonzero": lambda x, i: x.nonzero(),
    "mask": lambda x, i: x[x > 0],
    "masked_select": lambda x, i: x.masked_select(x > 0),
    "unique": lambda x, i: x.unique(),
    "repeat": lambda x, i: x.repeat_interleave(i),
    "list": lambda x, i: x[[0, 1]],
    "tensor": lambda x, i: torch.tensor([1.0, 2.0], device=META),
    "pageable": lambda x, i: torch.ones(2).to(META, non_blocking=True),
    "blocking": lambda x, i: torch.ones(2).pin_memory().to(META),
    "ctc": lambda x, i: ctc_loss(x.view(1, 2, 2), i[:1], i[None, :1], i[:1]),
    "ctc target": lambda x, i: ctc_loss(x.view(1, 2, 2), torch.ones(1, dtype=torch.int64), i[None, :1], i[:1]),
}


@pytest.mark.parametrize("how", WAITING)
def test_what_waits_is_refused(how):
    """The tests below would be worth nothing if any of these went through."""
    numbers, integers = torch.empty(4, device=META), torch.empty(4, dtype=torch.int64, device=META)
    with never_waiting(), pytest.raises((Waits, RuntimeError, NotImplementedError, TypeError)):
        WAITING[how](numbers, integers)


def test_what_does_not_wait_goes_through():
    with never_waiting():
        moved = torch.ones(2).pin_memory().to(META, non_blocking=True)
        assert (moved[1:] * 2.0 + 1).device == META


MODELS = {
    "plain": (Identity, {}),
    "gru": (Identity, {"cell": "gru", "merge": "sum"}),
    "tanh": (Identity, {"cell": "rnn_tanh", "bidirectional": False}),
    "stacked": (FrameStacking, {"projection_size": 7, "layer_norm": True, "residual": True}),
    "convolved": (ConvFrontend, {"batch_norm": True, "norm_place": "input", "dropout": 0.3}),
    "dropped": (Identity, {"variational_dropout": True, "dropout": 0.3, "weight_drop": 0.4, "batch_norm": True}),
}


def a_frontend(kind: type, num_features: int) -> Frontend:
    return kind(num_features, batch_norm=True) if kind is ConvFrontend else kind(num_features)


def a_batch() -> Batch:
    lengths = torch.tensor([1600, 1200, 900])
    targets, target_lengths = torch.tensor([[1, 2], [2, 0], [3, 0]]), torch.tensor([2, 1, 1])
    return Batch(("a", "b", "c"), torch.randn(3, 1600), lengths, targets, target_lengths, (1, 2, 3))


@pytest.mark.parametrize("normalize", ["utterance", "adaptive"])
def test_features_and_masks(normalize):
    features = Filterbank(num_mels=8, sample_rate=8000, deltas=2, dither=1.0, normalize=normalize).to(META).train()
    features._has_statistics = True  # looked at once in a run, before the first step
    with never_waiting():
        batch = a_batch().pin_memory()
        moved = batch.to(META)
        frames, lengths = features(moved.waveforms, moved.waveform_lengths)
        masked = SpecAugment(2, 3, 2, 4)(frames, features.num_frames(batch.waveform_lengths).tolist(), batch.seeds)
    assert masked.shape == (3, 18, 24)
    assert lengths.device == META


STEPS = [(name, "norm", "adamw") for name in MODELS] + [("tanh", "value", "sgd"), ("tanh", "adaptive", "adamw")]


@pytest.mark.parametrize(("name", "clipping", "optimizer"), STEPS)
def test_a_step(name, clipping, optimizer):
    """Model, loss, smoothing, both passes, clipping, the guard's judgement, the fused optimiser and the average."""
    kind, options = MODELS[name]
    frontend = a_frontend(kind, 6)
    model = AcousticModel(frontend, RecurrentStack(frontend.output_size, 5, 2, **options), 5, dropout=0.1).to(META)
    smoothing = LabelSmoothing(0.1, uniform_prior(5)).to(META)
    optimizer = make_optimizer(model.parameters(), optimizer, lr=0.1, weight_decay=0.1, beta2=0.9, momentum=0.9)
    guard, average = StepGuard(optimizer, 3, META), WeightAverage(model, 0.9)
    num_frames = torch.tensor([7, 5, 4])
    with never_waiting() as mode:
        for step in range(2):
            batch = a_batch().pin_memory()
            moved = num_frames.pin_memory().to(META, non_blocking=True)
            log_probs, lengths = model(torch.empty(3, 7, 6, device=META), moved)
            num_outputs = frontend.num_output_frames(num_frames)
            losses = ctc_loss(log_probs, num_outputs, batch.to(META).targets, batch.target_lengths)
            nats = smoothing(losses, log_probs, lengths).sum()
            (nats / 4).backward()
            norm = Clipping(clipping, 1.0)(model.parameters())
            applied = guard.judge(StepInfo(step, step, 4, 0.1), nats, norm)
            optimizer.step()
            average.update(applied)
            optimizer.zero_grad(set_to_none=True)
    assert {"_ctc_loss", "_ctc_loss_backward"} <= mode.operators
    assert mode.operators & {"_fused_adamw_", "_fused_sgd_"}


# ---- weights in one piece -------------------------------------------------------------------------------------------


def is_in_one_piece(weights) -> bool:
    """Whether each begins where the one before ends, as cuDNN wants them."""
    weights = list(weights)
    ends = [weight.data_ptr() + weight.numel() * weight.element_size() for weight in weights]
    return all(weight.data_ptr() == end for weight, end in zip(weights[1:], ends))


def flattened(rnn: nn.RNNBase) -> nn.RNNBase:
    """What `to(device)` does to a layer's weights on a GPU: views of one piece."""
    with torch.no_grad():
        for parameter, part in zip(list(rnn.parameters()), in_one_piece(list(rnn.parameters()))):
            parameter.set_(part)
    return rnn


@pytest.mark.parametrize("cell", ["rnn_tanh", "gru", "lstm"])
def test_in_one_piece(cell):
    weights = list(make_cell(cell, 3, 5).parameters())
    copies = in_one_piece(weights)
    assert not is_in_one_piece(weights)
    assert is_in_one_piece(copies)
    assert all(torch.equal(weight, copy) for weight, copy in zip(weights, copies, strict=True))
    sum(copy.square().sum() for copy in copies).backward()
    assert all(torch.allclose(weight.grad, 2 * weight.detach()) for weight in weights)


def test_what_changes_weights_leaves_them_in_one_piece():
    stack = RecurrentStack(3, 5, 1)
    rnns = [flattened(rnn) for rnn in (stack.layers[0].forward_rnn, stack.layers[0].backward_rnn)]
    before = {name: tensor.clone() for name, tensor in stack.state_dict().items()}
    average = WeightAverage(stack, 0.9)
    with WeightNoise(stack, 0.1, seed=0).added(step=0):
        assert all(is_in_one_piece(rnn.parameters()) for rnn in rnns)
    assert all(torch.equal(before[name], tensor) for name, tensor in stack.state_dict().items())
    with average.in_place():
        assert all(is_in_one_piece(rnn.parameters()) for rnn in rnns)
    stack.load_state_dict({name: tensor + 1.0 for name, tensor in before.items()})
    assert all(is_in_one_piece(rnn.parameters()) for rnn in rnns)
    optimizer = make_optimizer(stack.parameters(), "adamw", lr=0.1, weight_decay=0.1, beta2=0.9, momentum=0.9)
    StepGuard(optimizer, 3, CPU)
    stack(torch.randn(2, 4, 3), torch.tensor([4, 2])).sum().backward()
    optimizer.step()
    assert all(is_in_one_piece(rnn.parameters()) for rnn in rnns)


# ---- two directions at a time ---------------------------------------------------------------------------------------


class Stream:
    def __init__(self, name: str, log: list[str]) -> None:
        self.name, self.log = name, log

    def wait_stream(self, other: "Stream") -> None:
        self.log.append(f"{self.name} waits for {other.name}")


@pytest.fixture
def two_streams(monkeypatch) -> list[str]:
    """Make every layer take the two streams of a GPU; returns what was asked of them."""
    log: list[str] = []
    main, side = Stream("main", log), Stream("side", log)

    @contextlib.contextmanager
    def using(stream):
        log.append(f"begin {stream.name}")
        yield
        log.append(f"end {stream.name}")

    def both(first, second, inputs, parameters):
        return fork_and_join(first, second, inputs, parameters, main, side)

    monkeypatch.setattr(torch.cuda, "stream", using)
    monkeypatch.setattr(Tensor, "record_stream", lambda tensor, stream: log.append(f"kept for {stream.name}"))
    monkeypatch.setattr(recurrent, "side_by_side", both)
    return log


@pytest.mark.parametrize("options", [{}, {"merge": "sum", "cell": "gru"}, {"weight_drop": 0.5}])
def test_two_streams_compute_what_one_does(request, options):
    torch.manual_seed(0)
    layer, frames, lengths = RecurrentLayer(6, 5, **options), torch.randn(4, 9, 6), torch.tensor([9, 5, 1, 7])

    def run() -> list[Tensor]:
        torch.manual_seed(1)
        leaf = frames.clone().requires_grad_()
        output = layer(leaf, lengths, reversal_index(lengths, 9))
        return [output, *torch.autograd.grad(output.square().sum(), [leaf, *layer.parameters()])]

    one = run()
    log = request.getfixturevalue("two_streams")
    assert all(torch.equal(a, b) for a, b in zip(one, run(), strict=True))
    assert log == [
        "side waits for main",
        "begin side",
        "end side",
        "main waits for side",
        "kept for side",  # the frames
        "kept for side",  # the index
        "kept for main",  # the result
    ]


# ---- on a GPU -------------------------------------------------------------------------------------------------------


@pytest.mark.gpu
@pytest.mark.parametrize("options", [{}, {"cell": "gru"}, {"weight_drop": 0.0, "layer_norm": True}])
def test_a_gpu_computes_what_a_cpu_does(options):
    """The same but for the order of float32 sums: of three layers' products, and of gradients over all frames."""
    torch.manual_seed(0)
    stack, frames, lengths = RecurrentStack(6, 32, 3, **options), torch.randn(4, 50, 6), torch.tensor([50, 20, 1, 37])
    results = []
    for device in ("cpu", "cuda"):
        stack.to(device).zero_grad()
        output = stack(frames.to(device), lengths.to(device))
        output.square().sum().backward()
        results.append([output.cpu(), *(parameter.grad.cpu() for parameter in stack.parameters())])
    for cpu, gpu in zip(*results, strict=True):
        assert (cpu - gpu).abs().max() <= rounding(cpu, terms=3 * (64 + 32) + int(lengths.sum()))


@pytest.mark.gpu
@pytest.mark.filterwarnings("error:RNN module weights")
@pytest.mark.parametrize("options", [{}, {"dropout": 0.3, "variational_dropout": True, "weight_drop": 0.4}])
def test_a_gpu_is_not_waited_for(options):
    """PyTorch's own report of it, on all but the loss, whose kernels wait (docs/gpu.md)."""
    stack = RecurrentStack(6, 32, 2, **options).cuda()
    optimizer = make_optimizer(stack.parameters(), "adamw", lr=0.1, weight_decay=0.1, beta2=0.9, momentum=0.9)
    guard, device = StepGuard(optimizer, 3, torch.device("cuda")), torch.device("cuda")
    lengths = torch.tensor([50, 20, 1, 37])
    frames, moved = torch.randn(4, 50, 6, device=device), lengths.to(device)
    augment = SpecAugment(2, 3, 2, 4)
    augment(frames, lengths.tolist(), range(4))  # the first page-locked memory is asked of the system
    try:
        for step in range(3):
            torch.cuda.set_sync_debug_mode("error" if step else "default")
            nats = stack(augment(frames, lengths.tolist(), range(4)), moved).square().sum()
            nats.backward()
            guard.judge(StepInfo(step, step, 4, 0.1), nats, Clipping("norm", 1.0)(stack.parameters()))
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert np.isfinite(guard.read()[-1].nats)
