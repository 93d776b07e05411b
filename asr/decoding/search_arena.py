"""What a compiled search holds: the arena of labellings, the beam, and room to work; and what is asked of the arena."""

# mypy: disable-error-code="no-untyped-def, untyped-decorator, no-untyped-call, no-any-return"

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from asr.kernels import array_kernel, kernel

BLANK = 0
NONE = -1

# All labellings that were ever in the beam are an array of these, the arena: node 0 is the empty labelling. A node is a
# cache line.
NODE = np.dtype(
    [
        ("parent", np.int32),
        ("token", np.int32),  # the last one
        ("first_child", np.int32),
        ("next_sibling", np.int32),
        ("slot", np.int32),  # place in the beam, or NONE
        ("tree_node", np.int32),  # of the word being spelt
        ("model_state", np.int32),
        ("hot_state", np.int32),
        ("score", np.float64),  # everything but the acoustics
        ("end_gain", np.float64),  # what the end of the word in hand adds; NaN: not looked up yet
        ("end_state", np.int32),  # and the language model's state after it
        ("unused", np.int32, 3),
    ]
)
Arena = NDArray[np.void]


class Beam(NamedTuple):
    """The labellings that are alive, best first, with ln p of all paths that end in a blank, and in the last token."""

    nodes: NDArray[np.int32]  # (beam_width,)
    blank: NDArray[np.float64]
    token: NDArray[np.float64]


class Scratch(NamedTuple):
    """What a frame is worked out in. K places in the beam, V tokens, C = K·V + K candidates."""

    row: NDArray[np.float64]  # (V,)
    scores: NDArray[np.float64]  # (C,) of the candidates
    sources: NDArray[np.int32]  # (C,) place in the beam
    appended: NDArray[np.int32]  # (C,) token, or BLANK for a labelling that stays as it is
    gains: NDArray[np.float64]  # (C,)
    heap: NDArray[np.int64]  # (K,) the best candidates, the worst of them first
    picked: NDArray[np.int32]  # (V,)
    allowed: NDArray[np.bool_]  # (V,) may be appended in this frame
    reached: NDArray[np.uint64]  # (K, V / 64) a bit for each child that is in the beam
    totals: NDArray[np.float64]  # (K,) and the rest too
    stay_blank: NDArray[np.float64]
    stay_token: NDArray[np.float64]
    end_bounds: NDArray[np.float64]
    old_nodes: NDArray[np.int32]
    old_blank: NDArray[np.float64]
    heads: NDArray[np.int32]  # (H,) a power of two: by its future, the last labelling of the beam that has it
    links: NDArray[np.int32]  # (K,) and the one before with the same entry in `heads`


def new_scratch(beam_width: int, vocab_size: int) -> Scratch:
    """Room for the work of a frame."""
    candidates = beam_width * vocab_size + beam_width
    return Scratch(
        row=np.empty(vocab_size),
        scores=np.empty(candidates),
        sources=np.empty(candidates, np.int32),
        appended=np.empty(candidates, np.int32),
        gains=np.empty(candidates),
        heap=np.empty(beam_width, np.int64),
        picked=np.empty(vocab_size, np.int32),
        allowed=np.ones(vocab_size, np.bool_),
        reached=np.empty((beam_width, vocab_size // 64 + 1), np.uint64),
        totals=np.empty(beam_width),
        stay_blank=np.empty(beam_width),
        stay_token=np.empty(beam_width),
        end_bounds=np.empty(beam_width),
        old_nodes=np.empty(beam_width, np.int32),
        old_blank=np.empty(beam_width),
        heads=np.empty(1 << (2 * beam_width).bit_length(), np.int32),
        links=np.empty(beam_width, np.int32),
    )


def new_arena(capacity: int) -> Arena:
    """An arena with room for `capacity` labellings; none is in it."""
    return np.empty(capacity, NODE)


def new_beam(beam_width: int) -> Beam:
    """A beam with room for `beam_width` labellings."""
    return Beam(np.empty(beam_width, np.int32), np.empty(beam_width), np.empty(beam_width))


def compact(arena: Arena, beam: Beam, num_nodes: int, num_alive: int, capacity: int) -> tuple[Arena, int]:
    """Copy what leads to the beam into an arena of at least `capacity` and as much again; returns it and its count."""
    live = np.flatnonzero(_live(arena, beam, num_nodes, num_alive))
    renumbered = np.full(num_nodes + 1, NONE, np.int32)  # the last entry is that of NONE
    renumbered[live] = np.arange(len(live), dtype=np.int32)
    copy = new_arena(len(live) + capacity)
    copy[: len(live)] = arena[live]
    copy["parent"][: len(live)] = renumbered[arena["parent"][live]]
    beam.nodes[:num_alive] = renumbered[beam.nodes[:num_alive]]
    _link(copy, len(live))
    return copy, len(live)


@array_kernel
def _live(arena, beam, num_nodes, num_alive):
    live = np.zeros(num_nodes, np.bool_)
    for i in range(num_alive):
        node = beam.nodes[i]
        while node != NONE and not live[node]:
            live[node] = True
            node = arena[node].parent
    return live


@array_kernel
def _link(arena, num_nodes):
    for node in range(num_nodes):
        arena[node].first_child = NONE
    for node in range(1, num_nodes):
        parent = arena[node].parent
        arena[node].next_sibling = arena[parent].first_child
        arena[parent].first_child = node


@array_kernel
def labelling(arena, node):
    """The tokens of a node, first to last."""
    length = 0
    ancestor = node
    while arena[ancestor].parent != NONE:
        length += 1
        ancestor = arena[ancestor].parent
    tokens = np.empty(length, np.int64)
    for place in range(length - 1, -1, -1):
        tokens[place] = arena[node].token
        node = arena[node].parent
    return tokens


@array_kernel
def num_stable(arena, beam, num_nodes, num_alive) -> int:
    """How many tokens all labellings of the beam have in common at their beginnings."""
    depths = np.full(num_nodes, NONE, np.int32)  # of the ancestors of the best
    node, depth = beam.nodes[0], 0
    while arena[node].parent != NONE:
        depth += 1
        node = arena[node].parent
    stable, node = depth, beam.nodes[0]
    while node != NONE:
        depths[node] = depth
        depth -= 1
        node = arena[node].parent
    for i in range(1, num_alive):
        node = beam.nodes[i]
        while depths[node] == NONE:
            node = arena[node].parent
        stable = min(stable, depths[node])
    return stable


@kernel
def commit(arena, beam, num_alive, num_tokens):
    """Drop the labellings that do not begin with the first `num_tokens` of the best; returns how many are left."""
    num_left, beginning = 0, NONE
    for i in range(num_alive):
        node = beam.nodes[i]
        ancestor = _beginning(arena, node, num_tokens)
        if i == 0:
            beginning = ancestor
        arena[node].slot = NONE
        if ancestor == beginning:
            beam.nodes[num_left], beam.blank[num_left], beam.token[num_left] = node, beam.blank[i], beam.token[i]
            arena[node].slot = num_left
            num_left += 1
    return num_left


@kernel
def _beginning(arena, node, num_tokens) -> int:
    """The node of a labelling's first tokens; NONE of one that is shorter."""
    length, ancestor = 0, node
    while arena[ancestor].parent != NONE:
        length += 1
        ancestor = arena[ancestor].parent
    if length < num_tokens:
        return NONE
    for _ in range(length - num_tokens):
        node = arena[node].parent
    return node
