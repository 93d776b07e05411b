"""The recurrent stack against PyTorch's own bidirectional LSTM, on padding (fast, wrong) and packed (right, slow).

All three have the same weights and see the same batch; they take turns, and the ratio is that of the medians.
"""

import time
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from asr.models.recurrent import RecurrentStack

BATCH, SHORTEST, LONGEST, NUM_FEATURES = 16, 250, 300, 80
HIDDEN, LAYERS = 320, 4
ROUNDS = 7


def stack_like(twin: nn.LSTM) -> RecurrentStack:
    """Our stack with the weights that PyTorch gave its bidirectional LSTM."""
    stack = RecurrentStack(NUM_FEATURES, HIDDEN, LAYERS)
    weights = twin.state_dict()
    for number, layer in enumerate(stack.layers):
        for rnn, suffix in ((layer.forward_rnn, ""), (layer.backward_rnn, "_reverse")):
            rnn.load_state_dict({name: weights[f"{name[:-1]}{number}{suffix}"] for name in rnn.state_dict()})
    return stack


def seconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def run() -> dict[str, float]:
    torch.manual_seed(0)
    twin = nn.LSTM(NUM_FEATURES, HIDDEN, LAYERS, batch_first=True, bidirectional=True)
    stack = stack_like(twin)
    lengths = torch.linspace(LONGEST, SHORTEST, BATCH).long()
    frames = torch.randn(BATCH, LONGEST, NUM_FEATURES)

    def ours() -> Tensor:
        return stack(frames, lengths)

    def dense() -> Tensor:
        return twin(frames)[0]

    def packed() -> Tensor:
        return pad_packed_sequence(twin(pack_padded_sequence(frames, lengths, batch_first=True))[0], batch_first=True)[
            0
        ]

    def train(forward: Callable[[], Tensor]) -> None:
        forward().square().mean().backward()

    def infer(forward: Callable[[], Tensor]) -> None:
        with torch.inference_mode():
            forward()

    forwards = {"ours": ours, "dense": dense, "packed": packed}
    times: dict[tuple[str, str], list[float]] = {}
    for round_number in range(ROUNDS + 1):
        for kind, step in (("train", train), ("infer", infer)):
            for name, forward in forwards.items():
                taken = seconds(lambda step=step, forward=forward: step(forward))
                if round_number > 0:  # the first round warms up
                    times.setdefault((kind, name), []).append(taken)
    median = {key: sorted(values)[len(values) // 2] for key, values in times.items()}
    with torch.inference_mode():
        difference = float((ours() - packed()).abs().max())
    return {
        "train_over_dense": median["train", "ours"] / median["train", "dense"],
        "train_packed_over_ours": median["train", "packed"] / median["train", "ours"],
        "infer_over_dense": median["infer", "ours"] / median["infer", "dense"],
        "infer_packed_over_ours": median["infer", "packed"] / median["infer", "ours"],
        "max_abs_diff": difference,
    }
