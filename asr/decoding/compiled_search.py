"""The state of a compiled beam search: frames in, labellings out. The work is done in asr/decoding/search_kernel.py."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from asr.decoding import search_arena as arenas
from asr.decoding import search_kernel as kernel
from asr.decoding.search_options import BeamOptions, Finalist, rank
from asr.decoding.search_space import SearchTables

BLOCK_FRAMES = 512  # between looks at how full the arena is


class CompiledSearch:
    """One utterance's search. Memory grows with the labelling and the beam, not with the number of frames.

    max_alike: so many labellings of the same future are kept in a full beam; without it the number of hypotheses asked
    for.
    """

    def __init__(self, tables: SearchTables, options: BeamOptions, max_alike: int | None = None) -> None:
        self._tables = tables
        self._options = options
        self._max_alike = options.nbest if max_alike is None else max_alike
        self._room = options.beam_width * BLOCK_FRAMES
        self._arena = arenas.new_arena(self._room + 1)
        self._beam = arenas.new_beam(options.beam_width)
        self._scratch = arenas.new_scratch(options.beam_width, len(tables.begins_word))
        self._num_nodes = self._num_alive = kernel.begin(self._arena, self._beam, tables)

    def advance(self, log_probs: NDArray[np.float32]) -> bool:
        """Read (T, V) further frames; false when they leave no labelling with a probability above 0."""
        for start in range(0, len(log_probs), BLOCK_FRAMES):
            self._make_room()
            self._num_nodes, self._num_alive = kernel.advance(
                log_probs[start : start + BLOCK_FRAMES],
                self._scratch,
                self._arena,
                self._beam,
                self._num_nodes,
                self._num_alive,
                self._tables,
                self._options.min_token_log_prob,
                self._options.max_tokens_per_frame,
                self._options.max_blank_log_prob,
                self._max_alike,
            )
            if self._num_alive == 0:
                return False
        return True

    def _make_room(self) -> None:
        """See to it that a block of frames finds places: each frame makes at most a beam of new labellings."""
        if self._num_nodes + self._room > len(self._arena):
            self._arena, self._num_nodes = arenas.compact(
                self._arena, self._beam, self._num_nodes, self._num_alive, self._room
            )

    def best_tokens(self) -> tuple[int, ...]:
        """The labelling that leads at the moment."""
        return tuple(arenas.labelling(self._arena, self._beam.nodes[0]).tolist())

    def num_stable(self) -> int:
        """How many of its first tokens all labellings of the beam share: no later frame can change them."""
        return int(arenas.num_stable(self._arena, self._beam, self._num_nodes, self._num_alive))

    def commit(self, num_tokens: int) -> None:
        """Decide for the first tokens of the labelling that leads: those that begin otherwise are dropped."""
        self._num_alive = arenas.commit(self._arena, self._beam, self._num_alive, num_tokens)

    def finalists(self) -> list[Finalist]:
        """All that is in the beam, as if the utterance ended here, best first."""
        others, acoustics = kernel.finish(self._arena, self._beam, self._num_alive, self._tables)
        return rank(
            Finalist(tuple(arenas.labelling(self._arena, node).tolist()), float(acoustic), float(other))
            for node, acoustic, other in zip(self._beam.nodes[: self._num_alive], acoustics, others)
        )
