"""Batches cut into tiles of frames, because bandwidth and waiting, not arithmetic, decide how fast features are.

A frame costs little arithmetic (25 ms at 16 kHz: a real FFT of 512 points, a 257 x 80 product, 80 logarithms) but its
intermediates are nine times larger than the audio, so they must stay near the core and never become a whole batch.
On a CPU each thread takes whole tiles: threads that share every single operation wait for each other dozens of times a
tile, and where other processes keep the cores busy such a wait lasts until the slowest is scheduled again (measured
on four cores with a load of 7: 60 times real time, against 3,500 with whole tiles).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import torch

Tile = tuple[slice, slice]  # utterances, frames

# A frame needs about 6 kB on its way (samples, spectrum). Smaller tiles than these spend their time on calls; a GPU
# wants few, large launches, and there the tile only bounds memory (200 MB).
MIN_CPU_TILE_FRAMES = 256
MAX_CPU_TILE_FRAMES = 1536
GPU_TILE_FRAMES = 2**15


def for_each_tile(fill: Callable[[Tile], None], num_utterances: int, num_padded: int, device: torch.device) -> None:
    """Call `fill` once for every tile of a (num_utterances, num_padded) batch, on a CPU in torch's number of threads.

    The threads end here, so that nothing survives a fork.
    """
    if device.type != "cpu":
        num_threads, tile_frames = 1, GPU_TILE_FRAMES
    else:
        num_threads = torch.get_num_threads()
        share = math.ceil(num_utterances * num_padded / num_threads)
        tile_frames = max(MIN_CPU_TILE_FRAMES, min(share, MAX_CPU_TILE_FRAMES))
    tiles = list(_tiles(num_utterances, num_padded, tile_frames))
    if num_threads == 1 or len(tiles) == 1:
        for tile in tiles:
            fill(tile)
        return
    # torch counts the threads of an operation for each calling thread, so the caller's number stays as it is.
    with ThreadPoolExecutor(num_threads, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        list(pool.map(fill, tiles))


def _tiles(num_utterances: int, num_padded: int, tile_frames: int) -> Iterator[Tile]:
    """Cut (B, T) into blocks of about equal size: many short utterances, or a part of one long one."""
    rows = max(1, tile_frames // num_padded)
    columns = math.ceil(num_padded / math.ceil(num_padded / tile_frames))
    for row in range(0, num_utterances, rows):
        for column in range(0, num_padded, columns):
            yield slice(row, row + rows), slice(column, column + columns)
