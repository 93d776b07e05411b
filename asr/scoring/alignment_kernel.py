"""The alignment of asr/scoring/alignment.py, and that of a network with a text, compiled and outside the lock.

Tokens are integers. Costs and their sums are float32, as in sclite: sums of its costs are exact but for the cost of
"nothing" (asr/scoring/networks.py), and then ties fall as its rounding lets them fall.

A cell is the cheapest way to align the reference up to some token with the hypothesis up to some token. Of ways that
cost the same the diagonal (correct or substituted) goes before the rest, and an insertion before a deletion.
"""

# mypy: disable-error-code="no-untyped-def, untyped-decorator"

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from asr.kernels import kernel

# What a cell was reached by, in two bits.
DIAGONAL, INSERT, DELETE = 0, 1, 2
_CELLS_A_BYTE = 4
_C, _S, _D, _I = (np.uint8(ord(letter)) for letter in "CSDI")

NOTHING = -1  # the token of an arc without a word: equals no token of a hypothesis


class Texts(NamedTuple):
    """Token sequences one after another."""

    tokens: NDArray[np.int32]
    starts: NDArray[np.int64]  # (N + 1,): text n is tokens[starts[n] : starts[n + 1]]


class Letters(NamedTuple):
    """The letters C S D I of N alignments, as ASCII."""

    letters: NDArray[np.uint8]
    starts: NDArray[np.int64]  # (N,): where an alignment begins
    ends: NDArray[np.int64]  # (N,): and ends


def align_texts(references: Texts, hypotheses: Texts, costs: NDArray[np.float32]) -> Letters:
    """Align each reference with its hypothesis; costs: (3,) of a substitution, a deletion and an insertion."""
    lengths = np.diff(references.starts), np.diff(hypotheses.starts)
    ends = references.starts[1:] + hypotheses.starts[1:]  # room for deletions and insertions only
    letters = np.zeros(len(references.tokens) + len(hypotheses.tokens), np.uint8)
    starts = np.empty(len(ends), np.int64)
    row = np.empty(lengths[1].max(initial=0) + 1, np.float32)
    back = np.empty((lengths[0] * lengths[1]).max(initial=0) // _CELLS_A_BYTE + 1, np.uint8)
    _align_texts(references, hypotheses, costs, row, back, letters, ends, starts)
    return Letters(letters, starts, ends)


@kernel
def _align_texts(references, hypotheses, costs, row, back, letters, ends, starts):
    for n in range(len(ends)):
        first, to = references.starts[n], hypotheses.starts[n]
        rows, columns = references.starts[n + 1] - first, hypotheses.starts[n + 1] - to
        _fill(references.tokens, first, rows, hypotheses.tokens, to, columns, costs, row, back)
        place = ends[n]
        i, j = rows, columns
        while i > 0 or j > 0:
            step = INSERT if i == 0 else DELETE
            if i > 0 and j > 0:
                cell = (i - 1) * columns + j - 1
                step = back[cell >> 2] >> (2 * (cell & 3)) & 3
            place -= 1
            if step == DIAGONAL:
                letters[place] = _C if references.tokens[first + i - 1] == hypotheses.tokens[to + j - 1] else _S
            else:
                letters[place] = _D if step == DELETE else _I
            i -= step != INSERT
            j -= step != DELETE
        starts[n] = place


@kernel
def _fill(reference, first, rows, hypothesis, to, columns, costs, row, back):
    """Write how each cell is reached into `back`, row by row; `row` holds the costs of one row of cells."""
    substitution, deletion, insertion = costs[0], costs[1], costs[2]
    row[0] = np.float32(0.0)
    for j in range(columns):
        row[j + 1] = row[j] + insertion
    cell = 0
    for i in range(rows):
        token = reference[first + i]
        before = row[0]
        left = row[0] = before + deletion
        for j in range(columns):
            above = row[j + 1]
            best, step = before, DIAGONAL
            if hypothesis[to + j] != token:
                best += substitution
            deleted, inserted = above + deletion, left + insertion
            if best > deleted or best > inserted:
                best, step = (deleted, DELETE) if deleted < inserted else (inserted, INSERT)
            if cell & 3 == 0:
                back[cell >> 2] = step
            else:
                back[cell >> 2] |= step << (2 * (cell & 3))
            cell += 1
            before, left = above, best
            row[j + 1] = best


class Arcs(NamedTuple):
    """A network of A arcs, each after those that lead to it; arc 0 is its beginning and has no word."""

    tokens: NDArray[np.int32]  # (A,) or NOTHING
    deletions: NDArray[np.float32]  # (A,) what it costs that an arc has no word of the hypothesis
    before: NDArray[np.int32]  # the arcs that lead to each, the first alternative first
    starts: NDArray[np.int64]  # (A + 1,): to arc a lead before[starts[a] : starts[a + 1]]
    last: NDArray[np.int32]  # the arcs at its end


def align_network(arcs: Arcs, hypothesis: NDArray[np.int32], costs: NDArray[np.float32]) -> list[tuple[int, bool]]:
    """Align the cheapest path through a network with a text.

    Of arcs that lead to a cell at the same cost the first is taken.

    Args:
        arcs: the network
        hypothesis: (M,) tokens
        costs: (3,) of a substitution, a deletion (unused: each arc has its own) and an insertion

    Returns:
        For each column of the alignment the arc and whether it faces a word of the hypothesis; arc 0 is an insertion.
    """
    shape = len(arcs.tokens), len(hypothesis) + 1
    cells = np.empty(shape, np.float32)
    steps, back = np.empty(shape, np.uint8), np.empty(shape, np.int32)
    _fill_network(arcs, hypothesis, costs, cells, steps, back)
    arc = int(min(arcs.last, key=lambda arc: cells[arc, -1]))
    columns, j = [], len(hypothesis)
    while arc or j:
        step = int(steps[arc, j])
        columns.append((0 if step == INSERT else arc, step != DELETE))
        arc, j = (arc if step == INSERT else int(back[arc, j])), j - (step != DELETE)
    return columns[::-1]


@kernel
def _fill_network(arcs, hypothesis, costs, cells, steps, back):
    """Cost of each cell, how it is reached and, unless by an insertion, from which arc."""
    substitution, insertion = costs[0], costs[2]
    cells[0, 0] = np.float32(0.0)
    for j in range(len(hypothesis)):
        cells[0, j + 1] = cells[0, j] + insertion
        steps[0, j + 1] = INSERT
    for a in range(1, len(arcs.tokens)):
        for j in range(len(hypothesis) + 1):
            above = _cheapest(arcs, a, cells, j)
            cells[a, j], steps[a, j], back[a, j] = cells[above, j] + arcs.deletions[a], DELETE, above
            if j == 0:
                continue
            inserted = cells[a, j - 1] + insertion
            if not cells[a, j] < inserted:
                cells[a, j], steps[a, j] = inserted, INSERT
            if arcs.tokens[a] == NOTHING:
                continue
            before = _cheapest(arcs, a, cells, j - 1)
            diagonal = cells[before, j - 1]
            if arcs.tokens[a] != hypothesis[j - 1]:
                diagonal += substitution
            if diagonal <= cells[a, j]:
                cells[a, j], steps[a, j], back[a, j] = diagonal, DIAGONAL, before


@kernel
def _cheapest(arcs, a, cells, j):
    """Of the arcs that lead to arc a, the first of those with the least cost in column j."""
    best = arcs.before[arcs.starts[a]]
    for place in range(arcs.starts[a] + 1, arcs.starts[a + 1]):
        if cells[arcs.before[place], j] < cells[best, j]:
            best = arcs.before[place]
    return best
