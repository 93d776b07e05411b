"""Batches cut into blocks of frames, because bandwidth and waiting, not arithmetic, decide how fast features are.

A frame costs little arithmetic (25 ms at 16 kHz: a real FFT of 512 points, a 257 x 80 product, 80 logarithms) but its
intermediates are nine times larger than the audio, so they must stay near the core and never become a whole batch.
On a CPU each thread takes whole blocks: threads that share every single operation wait for each other dozens of times
a block, and where other processes keep the cores busy such a wait lasts until the slowest is scheduled again (measured
on four cores with a load of 7: 60 times real time, against 3,500 with whole blocks).

On a CPU every block has the same number of rows, whatever the batch: libraries of matrix products and FFTs choose
their order of summation by the shape, and one shape makes a frame's features the same bits in any batch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import torch

# Fewer rows spend their time on calls; more leave the core's cache, and a short utterance alone waits for all of them
# (1 ms). A multiple of 96, so that it has no remainder by the rows that any processor's product takes at once (4, 6, 8,
# 12, 16, 24, 32, 48): a remainder may have an arithmetic of its own.
CPU_BLOCK_ROWS = 768
# A GPU wants few, large launches; there a block only bounds memory, at about 6 kB per frame (200 MB).
GPU_BLOCK_ROWS = 2**15


@dataclass(frozen=True, slots=True)
class Piece:
    """A rectangle of a (B, T) batch of frames."""

    utterances: slice
    frames: slice

    @property
    def num_frames(self) -> int:
        """Number of frames in it."""
        utterances, frames = (range(part.start, part.stop) for part in (self.utterances, self.frames))
        return len(utterances) * len(frames)


@dataclass(frozen=True, slots=True)
class Block:
    """Pieces that are computed together as one (num_rows, ...) tensor; rows beyond the pieces hold nothing."""

    pieces: tuple[Piece, ...]
    num_rows: int


def cpu_blocks(frame_lengths: Sequence[int], num_rows: int) -> Iterator[Block]:
    """Blocks of `num_rows` frames that hold the valid frames of utterances of these lengths, in order."""
    pieces: list[Piece] = []
    free = num_rows
    for index, length in enumerate(frame_lengths):
        start = 0
        while start < length:
            stop = min(length, start + free)
            pieces.append(Piece(slice(index, index + 1), slice(start, stop)))
            free -= stop - start
            start = stop
            if free == 0:
                yield Block(tuple(pieces), num_rows)
                pieces, free = [], num_rows
    if pieces:
        yield Block(tuple(pieces), num_rows)


def gpu_blocks(num_utterances: int, num_padded: int, num_rows: int) -> Iterator[Block]:
    """Blocks of one piece and at most `num_rows` frames that hold the whole padded batch.

    The lengths stay unread, because reading them would stop a GPU's queue.
    """
    rows, columns = max(1, num_rows // num_padded), min(num_padded, num_rows)
    for row in range(0, num_utterances, rows):
        for column in range(0, num_padded, columns):
            utterances = slice(row, min(row + rows, num_utterances))
            piece = Piece(utterances, slice(column, min(column + columns, num_padded)))
            yield Block((piece,), piece.num_frames)


def for_each_block(fill: Callable[[Block], None], blocks: Sequence[Block], num_threads: int) -> None:
    """Call `fill` once for each block, in `num_threads` threads of which each gives torch one.

    The threads end here, so that nothing survives a fork.
    """
    if num_threads == 1:
        for block in blocks:
            fill(block)
        return
    # torch counts the threads of an operation for each calling thread, so the caller's number stays as it is.
    num_threads = max(1, min(num_threads, len(blocks)))
    with ThreadPoolExecutor(num_threads, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        list(pool.map(fill, blocks))
