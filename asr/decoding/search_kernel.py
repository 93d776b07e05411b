"""The beam search compiled for the CPU: one utterance at a time, outside the interpreter's lock.

It is the algorithm of asr/decoding/tensor_search.py, in the order that suits a processor. Candidates that cannot reach
the beam are skipped by bounds that lose nothing: the beam holds exactly the best `beam_width` labellings of those that
the last frame's beam leads to.

Labellings are nodes of a tree that grows with the search (the arena); the beam is the list of nodes that are alive.
"""

# mypy: disable-error-code="no-untyped-def, untyped-decorator, no-untyped-call, no-any-return"

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from asr.decoding.fit import NO_MODEL, TOKEN_MODEL, WORD_MODEL
from asr.decoding.prefix_tree import NOT_A_WORD, ROOT
from asr.ngram.lookup import advance as advance_ngram
from asr.ngram.tables import END_ID, UNKNOWN_ID

BLANK = 0
NONE = -1
NEGLIGIBLE = 1e-200

# Without numba's reference counts: nothing here makes arrays, and counting those that are passed around took three
# quarters of the time. What a kernel works with is made by its caller.
SETTINGS: dict[str, Any] = {"cache": True, "nogil": True, "_nrt": False}
kernel = njit(**SETTINGS)
inlined = njit(**SETTINGS, inline="always")


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
    )


def new_arena(capacity: int) -> Arena:
    """An arena with room for `capacity` labellings; none is in it."""
    return np.empty(capacity, NODE)


def new_beam(beam_width: int) -> Beam:
    """A beam with room for `beam_width` labellings."""
    return Beam(np.empty(beam_width, np.int32), np.empty(beam_width), np.empty(beam_width))


@kernel
def begin(arena, beam, tables) -> int:
    """Put the empty labelling into arena and beam; both then hold one."""
    _set_node(arena, 0, NONE, BLANK, ROOT, tables.begin_state, 0, 0.0)
    arena[0].slot = 0
    beam.nodes[0], beam.blank[0], beam.token[0] = 0, 0.0, -np.inf
    return 1


@inlined
def _set_node(arena, node, parent, token, tree_node, model_state, hot_state, score):
    arena[node].parent = parent
    arena[node].token = token
    arena[node].first_child = NONE
    arena[node].next_sibling = NONE
    arena[node].slot = NONE
    arena[node].tree_node = tree_node
    arena[node].model_state = model_state
    arena[node].hot_state = hot_state
    arena[node].score = score
    arena[node].end_gain = np.nan
    arena[node].end_state = NONE


@inlined
def _log_add(a: float, b: float) -> float:
    high, low = max(a, b), min(a, b)
    return high if low == -np.inf else high + math.log1p(math.exp(low - high))


@inlined
def _lookup(tables, state, word):
    """ln p(word | state) and the state after it."""
    return advance_ngram(
        tables.ngram_words,
        tables.ngram_log_probs,
        tables.ngram_suffixes,
        tables.ngram_backoffs,
        tables.ngram_first_child,
        state,
        word,
    )


@inlined
def word_end(tables, tree_node, state):
    """What the end of the word at `tree_node` adds to the score, and the language model's state after it."""
    if tree_node == ROOT:
        return 0.0, state
    word = tables.word_ids[tree_node]
    if word == NOT_A_WORD and tables.constrained:
        return -np.inf, state
    gain = tables.word_bonus - tables.potentials[tree_node]
    if tables.model_kind == WORD_MODEL:
        if word == NOT_A_WORD:
            gain += tables.unknown_penalty
        log_prob, state = _lookup(tables, state, max(word, UNKNOWN_ID))
        gain += tables.lm_weight * log_prob
    return gain, state


@inlined
def _end_gain(arena, node, tables) -> float:
    """`word_end` of a labelling, looked up once."""
    gain = arena[node].end_gain
    if np.isnan(gain):
        gain, state = word_end(tables, arena[node].tree_node, arena[node].model_state)
        arena[node].end_gain, arena[node].end_state = gain, state
    return gain


@inlined
def _end_bound(arena, node, tables) -> float:
    """At least what the end of the word in hand adds: the language model brings ln 1 at best."""
    tree_node = arena[node].tree_node
    if tree_node == ROOT:
        return 0.0
    return tables.word_bonus + max(0.0, tables.unknown_penalty) - tables.potentials[tree_node]


@inlined
def spell_on(tables, tree_node, token) -> int:
    """The node of the prefix tree after a token."""
    if tables.begins_word[token]:
        tree_node = ROOT
    for position in range(tables.characters.shape[1]):
        character = tables.characters[token, position]
        if character < 0:
            break
        tree_node = tables.children[tree_node, character]
    return tree_node


@inlined
def _gain(arena, node, token, tables) -> float:
    """What a token adds to the score of a labelling, besides its acoustics."""
    old = arena[node].tree_node
    new = spell_on(tables, old, token)
    gain = tables.potentials[new] + tables.hot_gains[arena[node].hot_state, token]
    if tables.begins_word[token]:
        gain += _end_gain(arena, node, tables)
    else:
        gain -= tables.potentials[old]
    if tables.model_kind == TOKEN_MODEL:
        gain += _token_gain(tables, arena[node].model_state, token)[0]
    return gain


@inlined
def _token_gain(tables, state, token):
    word = tables.token_words[token]
    log_prob, state = _lookup(tables, state, word)
    gain = tables.lm_weight * log_prob
    if word == UNKNOWN_ID:
        gain += tables.unknown_penalty
    return gain, state


@inlined
def _model_state_after(arena, node, token, tables) -> int:
    state = arena[node].model_state
    if tables.model_kind == TOKEN_MODEL:
        return _token_gain(tables, state, token)[1]
    if tables.model_kind == WORD_MODEL and tables.begins_word[token]:
        _end_gain(arena, node, tables)
        return arena[node].end_state
    return state


@inlined
def _child(arena, num_nodes, node, token, score, tables):
    """The arena's node for a labelling and one more token, made if it is not there; returns it and the new count."""
    child = arena[node].first_child
    while child != NONE:
        if arena[child].token == token:
            return child, num_nodes
        child = arena[child].next_sibling
    _set_node(
        arena,
        num_nodes,
        node,
        token,
        spell_on(tables, arena[node].tree_node, token),
        _model_state_after(arena, node, token, tables),
        tables.hot_next[arena[node].hot_state, token],
        score,
    )
    arena[num_nodes].next_sibling = arena[node].first_child
    arena[node].first_child = num_nodes
    return num_nodes, num_nodes + 1


# ---- the best so far: a heap whose first entry is the worst ---------------------------------------------------------


@inlined
def _worse(scores, a, b) -> bool:
    """Whether candidate a ranks behind b; of equals the later one does."""
    return scores[a] < scores[b] or (scores[a] == scores[b] and a > b)


@kernel
def _sift_down(heap, size, scores, place):
    entry = heap[place]
    while True:
        child = 2 * place + 1
        if child >= size:
            break
        if child + 1 < size and _worse(scores, heap[child + 1], heap[child]):
            child += 1
        if not _worse(scores, heap[child], entry):
            break
        heap[place] = heap[child]
        place = child
    heap[place] = entry


@kernel
def _sift_up(heap, scores, place):
    entry = heap[place]
    while place > 0:
        parent = (place - 1) // 2
        if not _worse(scores, entry, heap[parent]):
            break
        heap[place] = heap[parent]
        place = parent
    heap[place] = entry


# ---- frames ---------------------------------------------------------------------------------------------------------


@kernel
def _pick_tokens(row, floor, max_tokens, picked) -> int:
    """Write the tokens with row > floor into `picked`, likeliest first, at most `max_tokens` (0: all)."""
    count = 0
    limit = max_tokens if max_tokens > 0 else len(row)
    for token in range(1, len(row)):
        value = row[token]
        if value <= floor or (count == limit and value <= row[picked[count - 1]]):
            continue
        place = count if count < limit else count - 1
        while place > 0 and row[picked[place - 1]] < value:
            picked[place] = picked[place - 1]
            place -= 1
        picked[place] = token
        count = min(count + 1, limit)
    return count


@kernel
def advance(log_probs, scratch, arena, beam, num_nodes, num_alive, tables, token_floor, max_tokens, blank_skip):
    """Read (T, V) frames into arena and beam; returns the new counts of both. No labelling left: (nodes, 0).

    Only tokens above `token_floor` (ln p), and of these the `max_tokens` likeliest (0: all), are appended to
    labellings. A frame whose ln p(blank) exceeds `blank_skip` is read as a blank and nothing else.
    """
    row = scratch.row
    for t in range(len(log_probs)):
        for token in range(len(row)):
            row[token] = log_probs[t, token]
        for i in range(num_alive):
            scratch.totals[i] = _log_add(beam.blank[i], beam.token[i])
        if row[BLANK] > blank_skip:
            for i in range(num_alive):
                beam.blank[i], beam.token[i] = scratch.totals[i] + row[BLANK], -np.inf
            continue
        if max_tokens > 0 or token_floor > -np.inf:
            _allow(scratch, token_floor, max_tokens)
        size, floor = _stay(scratch, arena, beam, num_alive, tables)
        num_picked = _pick_tokens(row, max(floor, token_floor), max_tokens, scratch.picked)
        size = _extend(scratch, arena, beam, num_alive, size, num_picked, tables)
        num_nodes = _next_beam(scratch, arena, beam, num_nodes, num_alive, size, tables)
        num_alive = size
        if num_alive == 0:
            break
    return num_nodes, num_alive


@kernel
def _allow(scratch, token_floor, max_tokens):
    """Mark the tokens that pruning leaves in this frame."""
    for token in range(len(scratch.row)):
        scratch.allowed[token] = False
    for k in range(_pick_tokens(scratch.row, token_floor, max_tokens, scratch.picked)):
        scratch.allowed[scratch.picked[k]] = True


@kernel
def _stay(scratch, arena, beam, num_alive, tables):
    """Candidates that stay as they are: a blank, the last token once more, or their own parent with that token.

    Returns how many there are, and the ln p that a token needs in this frame to bring any other into a full beam.
    """
    row, totals, reached = scratch.row, scratch.totals, scratch.reached
    for i in range(num_alive):
        for word in range(reached.shape[1]):
            reached[i, word] = 0
    size = 0
    worst_stay, best_end = np.inf, -np.inf
    for i in range(num_alive):
        node = beam.nodes[i]
        token = arena[node].token
        in_token = -np.inf
        if node != 0:
            in_token = beam.token[i] + row[token]
            parent = arena[node].parent
            if parent != NONE and arena[parent].slot != NONE and scratch.allowed[token]:
                place = arena[parent].slot
                reached[place, token >> 6] |= np.uint64(1) << np.uint64(token & 63)
                before = beam.blank[place] if arena[parent].token == token else totals[place]
                in_token = _log_add(in_token, before + row[token])
        scratch.stay_blank[i], scratch.stay_token[i] = totals[i] + row[BLANK], in_token
        score = _log_add(scratch.stay_blank[i], in_token) + arena[node].score
        worst_stay = min(worst_stay, score)
        scratch.end_bounds[i] = _end_bound(arena, node, tables)
        best_end = max(best_end, totals[i] + arena[node].score + max(0.0, scratch.end_bounds[i]))
        if score > -np.inf:
            size = _offer(scratch, size, size, len(beam.nodes), score, i, BLANK, 0.0)
    floor = worst_stay - best_end - tables.max_gain if size == len(beam.nodes) else -np.inf
    return size, floor


@kernel
def _extend(scratch, arena, beam, num_alive, size, num_picked, tables):
    """Candidates with one more token, as far as they can still get into the beam; returns how many are in the heap."""
    row, scores, heap, reached = scratch.row, scratch.scores, scratch.heap, scratch.reached
    beam_width = len(beam.nodes)
    count = size
    for i in range(num_alive):
        node = beam.nodes[i]
        score_before, end_bound = arena[node].score, scratch.end_bounds[i]
        for k in range(num_picked):
            token = scratch.picked[k]
            threshold = scores[heap[0]] if size == beam_width else -np.inf
            reach = score_before + row[token] + tables.max_gain
            if scratch.totals[i] + reach + max(0.0, end_bound) < threshold:
                break  # nor do the less likely tokens reach it
            if tables.begins_word[token]:
                reach += end_bound
            acoustic = beam.blank[i] if token == arena[node].token else scratch.totals[i]  # the same needs a blank
            if acoustic + reach < threshold or acoustic == -np.inf:
                continue
            if reached[i, token >> 6] >> np.uint64(token & 63) & np.uint64(1):
                continue  # in the beam already: `_stay` has added this path there
            gain = _gain(arena, node, token, tables)
            score = acoustic + row[token] + score_before + gain
            if score > threshold:
                size = _offer(scratch, count, size, beam_width, score, i, token, gain)
                count += 1
    return size


@kernel
def _offer(scratch, candidate, size, beam_width, score, source, token, gain):
    """Note a candidate and put it into the heap, in place of the worst when that is full; returns the heap's size."""
    scratch.scores[candidate], scratch.gains[candidate] = score, gain
    scratch.sources[candidate], scratch.appended[candidate] = source, token
    if size < beam_width:
        scratch.heap[size] = candidate
        _sift_up(scratch.heap, scratch.scores, size)
        return size + 1
    scratch.heap[0] = candidate
    _sift_down(scratch.heap, size, scratch.scores, 0)
    return size


@kernel
def _next_beam(scratch, arena, beam, num_nodes, num_alive, size, tables):
    """Make the candidates in the heap the new beam, best first; returns the new number of nodes in the arena."""
    heap, row = scratch.heap, scratch.row
    for i in range(num_alive):
        scratch.old_nodes[i], scratch.old_blank[i] = beam.nodes[i], beam.blank[i]
        arena[beam.nodes[i]].slot = NONE
    while size > 0:
        candidate = heap[0]
        size -= 1
        heap[0] = heap[size]
        _sift_down(heap, size, scratch.scores, 0)
        source, token = scratch.sources[candidate], scratch.appended[candidate]
        node = scratch.old_nodes[source]
        if token == BLANK:
            beam.blank[size], beam.token[size] = scratch.stay_blank[source], scratch.stay_token[source]
        else:
            acoustic = scratch.old_blank[source] if token == arena[node].token else scratch.totals[source]
            beam.blank[size], beam.token[size] = -np.inf, acoustic + row[token]
            score = arena[node].score + scratch.gains[candidate]
            node, num_nodes = _child(arena, num_nodes, node, token, score, tables)
        beam.nodes[size] = node
        arena[node].slot = size
    return num_nodes


@njit(cache=True, nogil=True)
def finish(arena, beam, num_alive, tables):
    """(alive,) scores at the end of the utterance, besides the acoustics; and of the acoustics."""
    scores, acoustics = np.empty(num_alive), np.empty(num_alive)
    for i in range(num_alive):
        node = beam.nodes[i]
        acoustics[i] = _log_add(beam.blank[i], beam.token[i])
        gain, state = word_end(tables, arena[node].tree_node, arena[node].model_state)
        score = arena[node].score + gain + tables.hot_final[arena[node].hot_state]
        if tables.model_kind != NO_MODEL:
            score += tables.lm_weight * _lookup(tables, state, END_ID)[0]
        scores[i] = score
    return scores, acoustics


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


@njit(cache=True, nogil=True)
def _live(arena, beam, num_nodes, num_alive):
    live = np.zeros(num_nodes, np.bool_)
    for i in range(num_alive):
        node = beam.nodes[i]
        while node != NONE and not live[node]:
            live[node] = True
            node = arena[node].parent
    return live


@njit(cache=True, nogil=True)
def _link(arena, num_nodes):
    for node in range(num_nodes):
        arena[node].first_child = NONE
    for node in range(1, num_nodes):
        parent = arena[node].parent
        arena[node].next_sibling = arena[parent].first_child
        arena[parent].first_child = node


@njit(cache=True, nogil=True)
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


@njit(cache=True, nogil=True)
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


@njit(cache=True, nogil=True)
def score_parts(tables, tokens):
    """What a labelling scores besides its acoustics, from scratch: language model, words, hotwords; all weighted."""
    model, words, hot = 0.0, 0.0, 0.0
    tree_node, hot_state, state = ROOT, 0, tables.begin_state
    for position in range(len(tokens) + 1):
        at_end = position == len(tokens)
        if (at_end or tables.begins_word[tokens[position]]) and tree_node != ROOT:
            words += tables.word_bonus
            if tables.model_kind == WORD_MODEL:
                word = tables.word_ids[tree_node]
                if word == NOT_A_WORD:
                    words += tables.unknown_penalty
                log_prob, state = _lookup(tables, state, max(word, UNKNOWN_ID))
                model += tables.lm_weight * log_prob
        if at_end:
            break
        token = tokens[position]
        tree_node = spell_on(tables, tree_node, token)
        hot += tables.hot_gains[hot_state, token]
        hot_state = tables.hot_next[hot_state, token]
        if tables.model_kind == TOKEN_MODEL:
            word = tables.token_words[token]
            log_prob, state = _lookup(tables, state, word)
            model += tables.lm_weight * log_prob
            if word == UNKNOWN_ID:
                words += tables.unknown_penalty
    if tables.model_kind != NO_MODEL:
        model += tables.lm_weight * _lookup(tables, state, END_ID)[0]
    return model, words, hot + tables.hot_final[hot_state]


@njit(cache=True, nogil=True)
def labelling_log_probs(probs, tokens, ends):
    """ln p of labellings, all their paths. probs: (T, V) float64, no logarithms; tokens of all in a row; their ends."""
    log_probs = np.empty(len(ends))
    start = 0
    for i, end in enumerate(ends):
        log_probs[i] = _forward_pass(probs, tokens[start:end], np.zeros(end - start + 1), np.zeros(end - start))
        start = end
    return log_probs


@kernel
def _forward_pass(probs, tokens, blank, token):
    """The forward pass of Graves et al. 2006, rescaled in every frame.

    blank: (U + 1,) zeros, of the paths that end in a blank before or after a token; token: (U,) zeros, in a token. Only
    states from which the end can still be reached are carried on, so that nothing that is lost by rounding would have
    mattered.
    """
    num_frames, num_tokens = len(probs), len(tokens)
    if num_frames == 0:
        return 0.0 if num_tokens == 0 else -np.inf
    blank[0] = probs[0, BLANK]
    if num_tokens > 0:
        token[0] = probs[0, tokens[0]]
    total, scale = 0.0, 1.0
    for t in range(1, num_frames):
        factor = 1.0 / scale
        p_blank = probs[t, BLANK] * factor
        total += math.log(scale)
        first = max(0, num_tokens - (num_frames - t))
        new_scale = 0.0
        for u in range(min(num_tokens - 1, t), first - 1, -1):
            p = token[u] + blank[u]
            if u > 0 and tokens[u - 1] != tokens[u]:
                p += token[u - 1]
            p *= probs[t, tokens[u]] * factor
            q = (blank[u + 1] + token[u]) * p_blank
            # Beside a sum of 1 these are nothing, and denormal numbers would be a hundred times slower.
            blank[u + 1] = q if q > NEGLIGIBLE else 0.0
            token[u] = p if p > NEGLIGIBLE else 0.0
            new_scale += blank[u + 1] + token[u]
        blank[0] *= p_blank
        if first == 0:
            new_scale += blank[0]
        if new_scale == 0.0:
            return -np.inf
        scale = new_scale
    end = blank[num_tokens] + (token[num_tokens - 1] if num_tokens > 0 else 0.0)
    return total + math.log(end) if end > 0.0 else -np.inf
