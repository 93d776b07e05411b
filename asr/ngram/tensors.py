"""Lookups for whole tensors of states and words, on any device: language-model fusion inside a batched search."""

from __future__ import annotations

import torch
from torch import Tensor

from asr.ngram.lookup import ROOT


class NgramTensors:
    """The arrays of an `NgramModel` as tensors of one device.

    Besides them it holds a key for each node, in order, so that one binary search over all of them finds the child of
    any context: 8 bytes an n-gram buy lookups without a loop over the steps of the search.

    Args:
        words, log_probs, suffixes, backoffs, first_child: the model's arrays, see there.
    """

    def __init__(
        self, words: Tensor, log_probs: Tensor, suffixes: Tensor, backoffs: Tensor, first_child: Tensor
    ) -> None:
        num_children = first_child.diff()
        self._vocab_size = int(num_children[:1].sum())  # any word is a child of the root
        self._num_contexts = len(backoffs)
        self._max_backoffs = _max_backoffs(first_child, self._num_contexts)
        self._log_probs, self._suffixes, self._backoffs = log_probs, suffixes, backoffs
        contexts = torch.arange(len(num_children), device=words.device).repeat_interleave(num_children)
        # Breadth-first order has the keys sorted. The root is nobody's child.
        self._keys = torch.cat([words.new_full((1,), -1).long(), contexts * self._vocab_size + words[1:]])

    def advance(self, states: Tensor, words: Tensor) -> tuple[Tensor, Tensor]:
        """Read a word in each state: the answers of `asr.ngram.lookup.advance` but for the rounding of float32 sums.

        The number of operations depends on the model's order alone, and nothing waits for the device.

        Args:
            states: (…) int64, of this model. Not checked, as that would make the device wait.
            words: (…) int64, of this model's vocabulary. The two are broadcast.

        Returns:
            (…) float32 ln p(word | state), and (…) int64 the states that follow.
        """
        contexts = self._shortened(states)  # (…, N)
        children = self._children(contexts, words[..., None])  # (…, N)
        backed_off = (children != ROOT).cumsum(dim=-1) == 0  # contexts before the first that the word is found after
        nodes = children.gather(-1, backed_off.sum(dim=-1, keepdim=True)).squeeze(-1)
        backoffs = torch.where(backed_off, self._backoffs[contexts], 0.0).sum(dim=-1)
        following = torch.where(nodes < self._num_contexts, nodes, self._suffixes[nodes].long())
        return backoffs + self._log_probs[nodes], following

    def _shortened(self, states: Tensor) -> Tensor:
        """Each state and what it backs off to, one after the other, down to the root: (…) -> (…, N)."""
        contexts = [states]
        for _ in range(self._max_backoffs):
            contexts.append(self._suffixes[contexts[-1]].long())
        return torch.stack(contexts, dim=-1)

    def _children(self, contexts: Tensor, words: Tensor) -> Tensor:
        """The node of each word after each context; ROOT, which is nobody's child, where there is none."""
        wanted = contexts * self._vocab_size + words
        nodes = torch.searchsorted(self._keys, wanted).clamp_(max=len(self._keys) - 1)
        return torch.where(self._keys[nodes] == wanted, nodes, ROOT)


def _max_backoffs(first_child: Tensor, num_contexts: int) -> int:
    """How many words the longest context has: walks from the first node of each order to the first of the next."""
    length, node = 0, 1
    while node < num_contexts:
        length, node = length + 1, int(first_child[node])
    return length
