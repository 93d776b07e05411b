"""Whether the longest batch fits into memory, tried before the first step instead of found out in the night.

The probe makes the forward and the backward pass of the largest batch that any epoch can hold, and leaves weights,
buffers and random states as they were. When memory runs out it finds by bisection what fits: the limit it then names
has been tried, which no estimate from smaller batches has.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

import torch

from asr.errors import AsrError
from asr.models.normalization import statistics_of_this_process
from asr.training.gradients import Gradients

SAFE_SHARE = 0.9  # of what was found to fit: memory fragments
SHORTER, SHORTEST_TRIED_SECONDS = 0.75, 0.5  # where no utterance of full length fits
# How allocators say it where they raise a plain RuntimeError: PyTorch's on the CPU, the C++ library's, oneDNN's.
OUT_OF_MEMORY = (
    "can't allocate memory",
    "not enough memory",
    "out of memory",
    "bad_alloc",
    "could not create a memory",
    "could not create a primitive",
)
MOMENTS = 2  # of Adam, as large as the weights, which it allocates in its first step


class ProbedTask(Protocol):
    """A task whose batches are of different sizes."""

    can_divide: bool  # whether batches may be computed in parts

    def largest_part(self, max_seconds: float) -> Sequence[Any]:
        """The draws that this process computes at once, of the largest batch that any epoch can hold, longest last.

        max_seconds: leave out utterances that are longer. Empty when all are.
        """
        ...

    def longest_seconds(self, draws: Sequence[Any]) -> float:
        """The length of the longest draw, in seconds of audio."""
        ...

    def load_whole(self, item: Sequence[Any]) -> Any:
        """The batch of draws; None when none of them can be read."""
        ...


def probe_memory(task: ProbedTask, gradients: Gradients, step: int) -> None:
    """Try the largest batch. Raises `AsrError` that says which limit to lower, and to what, when it does not fit.

    All processes try at the same time, each its own part, and agree on what fits.
    """
    draws = task.largest_part(float("inf"))
    if _fits(task, gradients, step, draws):
        return
    longest = task.longest_seconds(draws)
    too_large = (
        f"out of memory on {gradients.fabric.device}: the longest batch, {len(draws)} utterances of up to "
        f"{longest:.1f} s at once, does not fit"
    )
    if num_fitting := _most_that_fit(task, gradients, step, draws):
        raise AsrError(f"{too_large}; {num_fitting} of them do: {_remedy(task, gradients, num_fitting * longest)}")
    seconds = SHORTER * longest
    while seconds >= SHORTEST_TRIED_SECONDS:
        single = task.largest_part(seconds)[-1:]
        if gradients.processes.any(len(single) > 0) and _fits(task, gradients, step, single):
            seconds = task.longest_seconds(single)
            raise AsrError(
                f"{too_large}, and neither does a single one; one of {seconds:.1f} s does. Lower "
                f"data.max_duration_seconds to {_safe(seconds)}, and {_remedy(task, gradients, seconds)}"
            )
        seconds *= SHORTER
    raise AsrError(f"{too_large}, and neither does any single one: train a smaller model, or take a larger machine")


def _remedy(task: ProbedTask, gradients: Gradients, seconds: float) -> str:
    """What to do when padded batches of so many seconds fit into one process."""
    if task.can_divide:
        return (
            f"set machine.microbatch_seconds={_safe(seconds)}: larger batches are then computed in parts, with the "
            "same result"
        )
    whole = _safe(seconds * gradients.processes.world_size)
    return f"lower data.batch_seconds to {whole} (batch norm needs a batch at once), or train a smaller model"


def _safe(seconds: float) -> str:
    """A little less, without superfluous digits."""
    return f"{SAFE_SHARE * seconds:.3g}"


def _most_that_fit(task: ProbedTask, gradients: Gradients, step: int, draws: Sequence[Any]) -> int:
    """How many of the longest draws fit, when all of them do not."""
    fitting, too_many = 0, gradients.processes.from_leader(len(draws))
    while too_many - fitting > 1:
        middle = (fitting + too_many) // 2
        if _fits(task, gradients, step, draws[-middle:]):
            fitting = middle
        else:
            too_many = middle
    return fitting


def _fits(task: ProbedTask, gradients: Gradients, step: int, draws: Sequence[Any]) -> bool:
    """Whether the draws fit, in all processes."""
    return not gradients.processes.any(len(draws) > 0 and _runs_out(task, gradients, step, draws))


def _runs_out(task: ProbedTask, gradients: Gradients, step: int, draws: Sequence[Any]) -> bool:
    try:
        with _no_trace(gradients), statistics_of_this_process():
            missing = MOMENTS if step == 0 else 0
            moments = [torch.empty_like(p) for p in gradients.task.model.parameters() for _ in range(missing)]
            batch = task.load_whole(draws)
            if batch is not None:  # else nothing of it can be read
                gradients.passes(batch, len(draws), step)
            del moments
            return False
    except (MemoryError, RuntimeError) as error:  # CUDA's is a RuntimeError
        if not is_out_of_memory(error):
            raise
    _let_go()
    return True


def is_out_of_memory(error: Exception) -> bool:
    """Whether an error means that memory ran out, on whichever device."""
    if isinstance(error, (MemoryError, torch.OutOfMemoryError)):
        return True
    return any(words in str(error).lower() for words in OUT_OF_MEMORY)


@contextmanager
def _no_trace(gradients: Gradients) -> Iterator[None]:
    """After the block, weights, buffers and random states are what they were, and there are no gradients."""
    model = gradients.task.model
    device = gradients.fabric.device
    buffers = [buffer.clone() for buffer in model.buffers()]
    was_training = model.training
    model.train()
    try:
        with torch.random.fork_rng([device] if device.type == "cuda" else []):
            yield
    finally:
        model.zero_grad(set_to_none=True)
        model.train(was_training)
        for buffer, before in zip(model.buffers(), buffers, strict=True):
            buffer.copy_(before)


def _let_go() -> None:
    """Give back what a failed attempt held."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
