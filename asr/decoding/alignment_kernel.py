"""Forced alignment compiled for the CPU: the likeliest of all paths that spell given labels, by the Viterbi algorithm.

A path is in a blank or in a token at each frame. Blank u stands before token u, and one more after the last:

    blank 0 → token 0 → blank 1 → token 1 → … → blank U        and token u-1 → token u where their labels differ

Scores are kept for one frame at a time. Of every `block`th frame they are saved; from there a block is gone through
once more, with the choices written down, when the path comes back through it. A path takes at most `block` tokens in a
block, so only as many tokens are gone through again. Memory therefore grows with (T · U)^⅔ and not with T · U: 0.2 MB
for a minute of speech (2,000 frames of 30 ms, 800 labels), 0.1 GB for two hours (240,000 frames, 100,000 labels),
beside the log-probabilities. Time grows with T · U: half a minute for the two hours.
"""

# mypy: disable-error-code="no-untyped-def, untyped-decorator, no-untyped-call, no-any-return"

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from asr.kernels import inlined, kernel

MIN_BLOCK_FRAMES = 256
IN_BLANK = -1

# Choices of a frame, one byte for blank u and token u.
_BLANK_FROM_TOKEN = 1  # blank u came from token u-1, not from itself
_TOKEN_FROM_BLANK = 2  # token u came from blank u
_TOKEN_FROM_TOKEN = 4  # token u came from token u-1


def best_path(
    log_probs: NDArray[np.float32], labels: NDArray[np.uint32], bridge: NDArray[np.float32], blank_id: int
) -> NDArray[np.int32]:
    """The token of each frame on the likeliest path, `IN_BLANK` where there is none.

    log_probs: (T, V); labels: (U,) of the tokens, at least one, V for one that any sound spells; bridge: (T,) log-
    probabilities of that label. Returns (T,) positions in `labels`, or an empty array when no path has a probability
    above 0. Of equally likely ways to get somewhere, it is the one that stays longest where it is.
    """
    num_frames, num_tokens = len(log_probs), len(labels)
    block = max(MIN_BLOCK_FRAMES, math.ceil((8.0 * num_frames * num_tokens) ** (1 / 3)))
    num_blocks = math.ceil(num_frames / block)
    skip = np.where(labels[1:] == labels[:-1], -np.inf, 0.0)
    skip[labels[1:] == log_probs.shape[1]] = 0.0  # two bridges may touch
    skip = np.concatenate(([-np.inf], skip))  # (U,) added where a path goes on without a blank
    emit = np.empty(log_probs.shape[1] + 1)
    saved = np.empty((num_blocks, 2, num_tokens + 1))  # scores of blanks and tokens before a block; token u is u + 1
    scores = np.full((2, 2, num_tokens + 1), -np.inf)
    scores[0, 0, 0] = 0.0  # before the first frame
    positions = np.full(num_frames, IN_BLANK, dtype=np.int32)
    if _forward(log_probs, labels, bridge, blank_id, block, skip, emit, saved, scores):
        width = min(block, num_tokens) + 1
        choices = np.empty((min(block, num_frames), width), dtype=np.uint8)
        state = _last_state(scores, num_frames)
        for index in range(num_blocks - 1, -1, -1):
            first = index * block
            last = min(first + block, num_frames)
            state = _backward(
                log_probs[first:last],
                labels,
                bridge[first:last],
                blank_id,
                skip,
                emit,
                saved[index],
                scores,
                choices,
                positions[first:last],
                state,
            )
        return positions
    return positions[:0]


@inlined
def _larger(a: float, b: float) -> float:
    return a if a > b else b


@kernel
def _read(log_probs, bridge, t, emit):
    """Copy a frame, and after it what bridges have."""
    num_labels = len(emit) - 1
    for label in range(num_labels):
        emit[label] = log_probs[t, label]
    emit[num_labels] = bridge[t]


@kernel
def _step(emit, blank_id, labels, skip, old, new, first, last):
    """One frame for tokens `first` to `last` and the blanks before them. old, new: (2, U + 1) scores."""
    blank = emit[blank_id]
    old_blanks, old_tokens = old[0], old[1]
    new_blanks, new_tokens = new[0], new[1]
    for u in range(first, last):
        in_blank, before, in_token = old_blanks[u], old_tokens[u], old_tokens[u + 1]
        new_blanks[u] = _larger(in_blank, before) + blank
        new_tokens[u + 1] = _larger(_larger(in_token, in_blank), before + skip[u]) + emit[labels[u]]


@kernel
def _forward(log_probs, labels, bridge, blank_id, block, skip, emit, saved, scores) -> bool:
    """Fill in `saved`, and in `scores` the last frame; whether any path has a probability above 0."""
    num_frames, num_tokens = len(log_probs), len(labels)
    for t in range(num_frames):
        old, new = scores[t % 2], scores[(t + 1) % 2]
        if t % block == 0:
            for u in range(num_tokens + 1):
                saved[t // block, 0, u], saved[t // block, 1, u] = old[0, u], old[1, u]
        _read(log_probs, bridge, t, emit)
        # Earlier tokens cannot be followed by all the others in the frames that are left, later ones are out of reach.
        first, last = max(0, num_tokens - (num_frames - t)), min(num_tokens, t + 1)
        _step(emit, blank_id, labels, skip, old, new, first, last)
        new[0, num_tokens] = _larger(old[0, num_tokens], old[1, num_tokens]) + emit[blank_id]
    final = scores[num_frames % 2]
    return max(final[0, num_tokens], final[1, num_tokens]) > -np.inf


def _last_state(scores: NDArray[np.float64], num_frames: int) -> int:
    """The better of the two in which a path may end: 2 u for blank u, 2 u + 1 for token u."""
    blanks, tokens = scores[num_frames % 2]
    return 2 * len(blanks) - 3 if tokens[-1] >= blanks[-1] else 2 * len(blanks) - 2


@kernel
def _backward(log_probs, labels, bridge, blank_id, skip, emit, saved, scores, choices, positions, state) -> int:
    """Write the `positions` of a block that ends in `state`; returns the state before it."""
    num_frames, num_tokens = len(log_probs), len(labels)
    last = state // 2 + 1
    first = max(0, last - num_frames - 1)  # what is further back cannot come to `state` by the end of the block
    for u in range(first, last + 1):
        if u <= num_tokens:
            scores[0, 0, u], scores[0, 1, u] = saved[0, u], saved[1, u]
    for t in range(num_frames):
        _read(log_probs, bridge, t, emit)
        _choose(emit, blank_id, labels, skip, scores[t % 2], scores[(t + 1) % 2], first, last, choices[t])
    for t in range(num_frames - 1, -1, -1):
        u = state // 2
        choice = choices[t, u - first]
        if state % 2:
            positions[t] = u
            if choice & _TOKEN_FROM_BLANK:
                state -= 1
            elif choice & _TOKEN_FROM_TOKEN:
                state -= 2
        elif choice & _BLANK_FROM_TOKEN:
            state -= 1
    return state


@kernel
def _choose(emit, blank_id, labels, skip, old, new, first, last, choices):
    """`_step`, with the choices written down, blank U included."""
    blank = emit[blank_id]
    for u in range(first, last):
        in_blank = old[0, u]
        before = old[1, u] if u > first or u == 0 else -np.inf
        choice = 0
        if before > in_blank:
            choice = _BLANK_FROM_TOKEN
        new[0, u] = _larger(in_blank, before) + blank
        if u < len(labels):
            best = old[1, u + 1]
            if in_blank > best:
                best = in_blank
                choice |= _TOKEN_FROM_BLANK
            if before + skip[u] > best:
                best = before + skip[u]
                choice = choice & _BLANK_FROM_TOKEN | _TOKEN_FROM_TOKEN
            new[1, u + 1] = best + emit[labels[u]]
        choices[u - first] = choice
