"""Looking up single words in the arrays of an `NgramModel`: compiled functions for the decoder's kernels.

They take the arrays and not the model, since compiled code knows no classes. Nothing is checked here: states and words
must be in range, as those of a model and its vocabulary are.
"""

# mypy: disable-error-code="untyped-decorator"

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from asr.kernels import kernel
from asr.ngram.tables import END_ID

Words = NDArray[np.int32]
Floats = NDArray[np.float32]
Nodes = NDArray[np.int32]

ROOT = 0
NOT_FOUND = -1


@kernel
def find_child(words: Words, first_child: Nodes, context: int, word: int) -> int:
    """The node of `word` after `context`, or NOT_FOUND. Any word is a child of the root."""
    if context == ROOT:
        return 1 + word
    low, high = first_child[context], first_child[context + 1]
    while low < high:
        middle = (low + high) >> 1
        if words[middle] < word:
            low = middle + 1
        else:
            high = middle
    return low if low < first_child[context + 1] and words[low] == word else NOT_FOUND


@kernel
def match(
    words: Words, suffixes: Nodes, backoffs: Floats, first_child: Nodes, state: int, word: int
) -> tuple[float, int]:
    """The back-offs paid and the node of the longest n-gram that ends the words of `state` followed by `word`."""
    backoff = np.float32(0.0)
    node = find_child(words, first_child, state, word)
    while node < 0:
        backoff += backoffs[state]
        state = suffixes[state]
        node = find_child(words, first_child, state, word)
    return backoff, node


@kernel
def advance(
    words: Words, log_probs: Floats, suffixes: Nodes, backoffs: Floats, first_child: Nodes, state: int, word: int
) -> tuple[float, int]:
    """Return ln p(word | state), float32, and the state that follows.

    The state is the longest end of what was read that is a context of the model, so no history makes a difference
    that is not in it (Katz 1987 for the back-offs).
    """
    backoff, node = match(words, suffixes, backoffs, first_child, state, word)
    # The longest n-grams are no contexts: the next word sees them without their first.
    following = node if node < len(backoffs) else suffixes[node]
    return backoff + log_probs[node], following


@kernel
def score_stream(
    words: Words,
    log_probs: Floats,
    suffixes: Nodes,
    backoffs: Floats,
    first_child: Nodes,
    begin_state: int,
    stream: Words,
    scores: Floats,
    nodes: Nodes,
) -> None:
    """Score sentences one after the other, each ending in </s>: ln p into `scores`, matched nodes into `nodes`."""
    state = begin_state
    for position in range(len(stream)):
        backoff, node = match(words, suffixes, backoffs, first_child, state, stream[position])
        scores[position] = backoff + log_probs[node]
        nodes[position] = node
        following = node if node < len(backoffs) else suffixes[node]
        state = begin_state if stream[position] == END_ID else following
