"""The recurrent stack against PyTorch's own bidirectional LSTM (cuDNN's on a GPU), and against what the machine allows.

    python tools/bench.py recurrent [--device cuda] [--precision bf16] [--layers 5 --hidden 512] [--json]

All variants have the same weights and take turns step by step; a ratio is that of the medians. `dense` is PyTorch's
LSTM on padding (fast, and wrong in the backward direction where there is any), `packed` on packed sequences (right).

train_over_cudnn    our speed over the dense LSTM's, all sequences of full length: what exactness costs
train_over_floor    our time over the least in which this machine can do the step's operations or move its bytes,
                    whichever takes longer; both rates are measured here, on a large product and a large copy
max_abs_diff        of the variants that are exact, from ours, in full float32
"""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from asr.models import recurrent
from asr.models.recurrent import RecurrentStack
from asr.models.streams import Pair

NUM_FEATURES = 80
SHORTEST = 5 / 6  # of the longest sequence, where lengths differ
ROUNDS, WARM_UPS = 7, 2
GATES = 4
TYPES = {"float32": torch.float32, "bf16": torch.bfloat16, "float16": torch.float16}
CACHE = Path("/sys/devices/system/cpu/cpu0/cache")


@dataclass(frozen=True, slots=True)
class Size:
    """Of a stack of bidirectional LSTM layers and of a batch of sequences."""

    layers: int
    hidden: int
    frames: int
    batch: int = 16

    @property
    def input_sizes(self) -> list[int]:
        """Of each layer: the features, then both directions' outputs."""
        return [NUM_FEATURES] + [2 * self.hidden] * (self.layers - 1)


# ---- what a training step has to do ---------------------------------------------------------------------------------


def step_flops(size: Size) -> int:
    """Floating-point operations in matrix products, which are all but a hundredth.

    A product of (m, k) and (k, n) takes 2 m k n. In the backward pass each takes two more of its size, one for the
    gradient of either factor; but the features need none. Everything else is 2 directions of every layer.
    """
    rows, gates = size.batch * size.frames, GATES * size.hidden
    from_input = [2 * rows * width * gates for width in size.input_sizes]
    from_state = 2 * rows * size.hidden * gates
    return 2 * (3 * (sum(from_input) + size.layers * from_state) - from_input[0])


def step_bytes(size: Size, element_bytes: int, on_chip_bytes: float) -> int:
    """The least traffic with memory: what one kernel a direction would read and write, if it kept nothing between.

    Of each direction and frame, forward: reads the input, writes gates, cell and output; backward: reads these four
    and the output's gradient, writes the input's. Weights are read in both passes and their gradients are written.
    Recurrent weights that do not fit on the chip, both directions' together, are read in every frame of both passes.
    """
    rows, hidden, gates = size.batch * size.frames, size.hidden, GATES * size.hidden
    recurrent_weights = gates * hidden
    fits = 2 * recurrent_weights * element_bytes <= on_chip_bytes
    readings = 2 if fits else 2 * size.frames
    elements = 0
    for width in size.input_sizes:
        activations = rows * ((width + gates + 2 * hidden) + (width + gates + 2 * hidden) + hidden + width)
        weights = 3 * gates * width + (readings + 1) * recurrent_weights
        elements += 2 * (activations + weights)
    return elements * element_bytes


def reversal_bytes(size: Size, element_bytes: int) -> int:
    """What our reversals add: the inputs and outputs of one direction read and written once more, in both passes."""
    rows = size.batch * size.frames
    return sum(2 * 2 * rows * (width + size.hidden) for width in size.input_sizes) * element_bytes


@dataclass(frozen=True, slots=True)
class Machine:
    """What a machine can do."""

    flops_a_second: float
    bytes_a_second: float
    on_chip_bytes: float

    def floor_seconds(self, size: Size, element_bytes: int) -> float:
        """The least time for a training step, were operations and traffic to overlap wholly."""
        traffic = step_bytes(size, element_bytes, self.on_chip_bytes)
        return max(step_flops(size) / self.flops_a_second, traffic / self.bytes_a_second)


def measure(device: torch.device, dtype: torch.dtype) -> Machine:
    """Rates of a large product and of a large copy, which is read and written; the best of some."""
    n, copied = (8192, 2**30) if device.type == "cuda" else (2048, 2**28)
    left, right = (torch.randn(n, n, device=device).to(dtype) for _ in range(2))
    source = torch.randn(copied // 4, device=device)
    target = torch.empty_like(source)
    with float32_as("tf32", torch.backends.cuda.matmul):  # as cuDNN's recurrent layers have it
        product = best_seconds(lambda: left @ right, device)
    copy = best_seconds(lambda: target.copy_(source), device)
    return Machine(2 * n**3 / product, 2 * copied / copy, on_chip_bytes(device))


@contextmanager
def float32_as(precision: str, backend: Any) -> Iterator[None]:
    """Inside the block a backend's float32 products are "ieee" or "tf32"."""
    before, backend.fp32_precision = backend.fp32_precision, precision
    try:
        yield
    finally:
        backend.fp32_precision = before


def on_chip_bytes(device: torch.device) -> float:
    """The largest cache; infinite where the system does not tell."""
    if device.type == "cuda":
        return float(torch.cuda.get_device_properties(device).L2_cache_size)
    sizes = [path.read_text().strip() for path in CACHE.glob("index*/size")]
    return max((float(size.removesuffix("K")) * 1024 for size in sizes), default=math.inf)


# ---- how long it takes ----------------------------------------------------------------------------------------------


def seconds(work: Callable[[], object], device: torch.device) -> float:
    """The time of one call, by the device's own clock."""
    if device.type != "cuda":
        started = time.perf_counter()
        work()
        return time.perf_counter() - started
    begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    begin.record()
    work()
    end.record()
    end.synchronize()
    return float(begin.elapsed_time(end)) / 1000


def best_seconds(work: Callable[[], object], device: torch.device) -> float:
    for _ in range(WARM_UPS):
        work()
    return min(seconds(work, device) for _ in range(ROUNDS))


def stack_like(twin: nn.LSTM) -> RecurrentStack:
    """Our stack with the weights that PyTorch gave its bidirectional LSTM."""
    stack = RecurrentStack(twin.input_size, twin.hidden_size, twin.num_layers)
    weights = twin.state_dict()
    for number, layer in enumerate(stack.layers):
        for rnn, suffix in ((layer.forward_rnn, ""), (layer.backward_rnn, "_reverse")):
            rnn.load_state_dict({name: weights[f"{name[:-1]}{number}{suffix}"] for name in rnn.state_dict()})
    return stack.to(next(twin.parameters()).device)


def on_one_stream() -> AbstractContextManager[object]:
    """The directions one after the other, as on a CPU."""
    return mock.patch.object(recurrent, "side_by_side", lambda first, second, **_: Pair(first(), second()))


class Variants:
    """Ways to run the same layers over the same batch, (B, T, F) -> (B, T, 2H)."""

    def __init__(self, size: Size, device: torch.device) -> None:
        torch.manual_seed(0)
        self.twin = nn.LSTM(NUM_FEATURES, size.hidden, size.layers, batch_first=True, bidirectional=True).to(device)
        self.stack = stack_like(self.twin)
        self.frames = torch.randn(size.batch, size.frames, NUM_FEATURES, device=device)
        self.full = torch.full((size.batch,), size.frames, device=device)
        # for packing the lengths have to lie on the host, the longest first
        self.different = torch.linspace(size.frames, SHORTEST * size.frames, size.batch).long()
        self.different_there = self.different.to(device)
        self.train = {"ours": self.ours, "dense": self.dense, "packed": self.packed}
        if device.type == "cuda":
            self.train["one_stream"] = self.one_stream

    def ours(self) -> Tensor:
        return self.stack(self.frames, self.full)

    def one_stream(self) -> Tensor:
        with on_one_stream():
            return self.stack(self.frames, self.full)

    def dense(self) -> Tensor:
        return self.twin(self.frames)[0]

    def packed(self) -> Tensor:
        packed = pack_padded_sequence(self.frames, self.different, batch_first=True)
        return pad_packed_sequence(self.twin(packed)[0], batch_first=True)[0]

    def max_abs_diff(self) -> float:
        """Of packed sequences, and of one stream, from ours; TF32 would be the larger part of any difference."""
        with torch.inference_mode(), float32_as("ieee", torch.backends.cudnn.rnn):
            ours = self.stack(self.frames, self.different_there)
            with on_one_stream():
                others = [self.packed(), self.stack(self.frames, self.different_there)]
            return max(float((other - ours).abs().max()) for other in others)


def run(
    device: str = "auto",
    precision: str = "float32",
    layers: int | None = None,
    hidden: int | None = None,
    frames: int | None = None,
) -> dict[str, float]:
    """The figures; sizes not given are 4×320 with 300 frames on a CPU, 5×512 with 1000 on a GPU.

    device: cpu, cuda, or auto for a GPU where there is one; precision: of `TYPES`; hidden: of each direction.
    """
    place = torch.device(device if device != "auto" else "cuda" if torch.cuda.is_available() else "cpu")
    dtype = TYPES[precision]
    usual = Size(5, 512, 1000) if place.type == "cuda" else Size(4, 320, 300)
    size = Size(layers or usual.layers, hidden or usual.hidden, frames or usual.frames)
    variants, machine = Variants(size, place), measure(place, dtype)
    median = {key: statistics.median(times) for key, times in take_turns(variants, place, dtype).items()}
    ours, floor = median["train", "ours"], machine.floor_seconds(size, dtype.itemsize)
    figures = {
        "train_over_cudnn": median["train", "dense"] / ours,
        "train_over_dense": ours / median["train", "dense"],
        "train_packed_over_ours": median["train", "packed"] / ours,
        "infer_over_dense": median["infer", "ours"] / median["infer", "dense"],
        "infer_packed_over_ours": median["infer", "packed"] / median["infer", "ours"],
        "max_abs_diff": variants.max_abs_diff(),
        "train_ms": 1000 * ours,
        "train_floor_ms": 1000 * floor,
        "train_over_floor": ours / floor,
        "floor_operations_ms": 1000 * step_flops(size) / machine.flops_a_second,
        "floor_traffic_ms": 1000 * step_bytes(size, dtype.itemsize, machine.on_chip_bytes) / machine.bytes_a_second,
        "reversal_traffic_ms": 1000 * reversal_bytes(size, dtype.itemsize) / machine.bytes_a_second,
        "teraflops_a_second": machine.flops_a_second / 1e12,
        "gigabytes_a_second": machine.bytes_a_second / 1e9,
    }
    if ("train", "one_stream") in median:
        figures["train_one_stream_over_ours"] = median["train", "one_stream"] / ours
    return figures


def take_turns(variants: Variants, device: torch.device, dtype: torch.dtype) -> dict[tuple[str, str], list[float]]:
    """Seconds of each variant's step in each round, trained as `asr train` does: float32 weights under autocast."""
    times: dict[tuple[str, str], list[float]] = {}

    def train(forward: Callable[[], Tensor]) -> None:
        with torch.autocast(device.type, dtype, enabled=dtype != torch.float32):
            output = forward()
        output.float().square().mean().backward()

    def infer(forward: Callable[[], Tensor]) -> None:
        with torch.inference_mode(), torch.autocast(device.type, dtype, enabled=dtype != torch.float32):
            forward()

    for round_number in range(WARM_UPS + ROUNDS):
        for kind, step in (("train", train), ("infer", infer)):
            for name, forward in variants.train.items():
                taken = seconds(lambda step=step, forward=forward: step(forward), device)
                if round_number >= WARM_UPS:
                    times.setdefault((kind, name), []).append(taken)
                variants.stack.zero_grad(set_to_none=True)
                variants.twin.zero_grad(set_to_none=True)
    return times
