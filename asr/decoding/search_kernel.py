"""The beam search compiled for the CPU: one utterance at a time, outside the interpreter's lock.

It is the algorithm of asr/decoding/tensor_search.py, in the order that suits a processor. Candidates that cannot reach
the beam are skipped by bounds that lose nothing: the beam holds exactly the best `beam_width` labellings of those that
the last frame's beam leads to, less those of a full beam that cannot lead again (`_recombine`).

Labellings are nodes of a tree that grows with the search (the arena); the beam is the list of nodes that are alive.
"""

# mypy: disable-error-code="no-untyped-def, untyped-decorator, no-untyped-call, no-any-return"

from __future__ import annotations

import math

import numpy as np

from asr.decoding.fit import NO_MODEL, TOKEN_MODEL, WORD_MODEL
from asr.decoding.prefix_tree import NOT_A_WORD, OUTSIDE, ROOT
from asr.decoding.search_arena import BLANK, NONE
from asr.kernels import array_kernel, inlined, kernel
from asr.ngram.lookup import advance as advance_ngram
from asr.ngram.tables import END_ID, UNKNOWN_ID


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
def lookup(tables, state, word):
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
    if word == NOT_A_WORD and tables.model_kind == WORD_MODEL:
        surprise, state = unknown_word(tables, state)
        return _unknown_characters(tables, tree_node) - tables.potentials[tree_node] + surprise, state
    gain = tables.word_bonus - tables.potentials[tree_node]
    if tables.model_kind == WORD_MODEL:
        log_prob, state = lookup(tables, state, word)
        gain += tables.lm_weight * log_prob
    return gain, state


@inlined
def unknown_word(tables, state):
    """What an unknown word adds besides its characters, and the state after it: nothing new after another."""
    if tables.ngram_words[state] == UNKNOWN_ID:
        return 0.0, state
    log_prob, state = lookup(tables, state, UNKNOWN_ID)
    return tables.lm_weight * (log_prob - tables.unknown_log_prob), state


@inlined
def _unknown_characters(tables, tree_node) -> float:
    """What the characters at a node add in an unknown word, as far as the score has them not yet."""
    return tables.depths[tree_node] * tables.unknown_character


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
    if tables.word_ids[tree_node] == NOT_A_WORD and tables.model_kind == WORD_MODEL:
        return _unknown_characters(tables, tree_node) - tables.potentials[tree_node] + tables.unknown_excess
    return tables.word_bonus - tables.potentials[tree_node]


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
        old = ROOT
    else:
        gain -= tables.potentials[old]
    if new == OUTSIDE:
        gain += (tables.depths[old] + tables.num_characters[token]) * tables.unknown_character
    if tables.model_kind == TOKEN_MODEL:
        gain += _token_gain(tables, arena[node].model_state, token)[0]
    return gain


@inlined
def _token_gain(tables, state, token):
    word = tables.token_words[token]
    log_prob, state = lookup(tables, state, word)
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
def advance(
    log_probs, scratch, arena, beam, num_nodes, num_alive, tables, token_floor, max_tokens, blank_skip, max_alike
):
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
        if num_alive == len(beam.nodes):
            num_alive = _recombine(scratch, arena, beam, num_alive, max_alike)
    return num_nodes, num_alive


@kernel
def _recombine(scratch, arena, beam, num_alive, max_alike) -> int:
    """Drop the labellings that `max_alike` others of the beam are ahead of for good; returns how many are left.

    Whatever follows, it adds the same to labellings with the same last token, the same word in hand and the same states
    of language model and hotwords. One that is behind in both of its sums of paths stays behind.
    """
    heads, links = scratch.heads, scratch.links
    for place in range(len(heads)):
        heads[place] = NONE
    num_left = 0
    for i in range(num_alive):
        node = beam.nodes[i]
        entry = _future(arena, node) & (len(heads) - 1)
        num_ahead = 0
        other = heads[entry]
        while other != NONE:
            num_ahead += _is_ahead(arena, beam, other, i)
            other = links[other]
        if num_ahead >= max_alike:
            arena[node].slot = NONE
            continue
        beam.nodes[num_left], beam.blank[num_left], beam.token[num_left] = node, beam.blank[i], beam.token[i]
        arena[node].slot = num_left
        links[num_left], heads[entry] = heads[entry], num_left
        num_left += 1
    return num_left


@inlined
def _future(arena, node) -> int:
    """A hash of what everything that may follow a labelling depends on."""
    code = arena[node].tree_node * 1_000_003 + arena[node].model_state
    code = (code * 1_000_003 + arena[node].hot_state) * 1_000_003 + arena[node].token
    return code ^ (code >> 15)


@inlined
def _is_ahead(arena, beam, one, other) -> bool:
    a, b = beam.nodes[one], beam.nodes[other]
    lead = arena[a].score - arena[b].score
    return (
        arena[a].tree_node == arena[b].tree_node
        and arena[a].model_state == arena[b].model_state
        and arena[a].hot_state == arena[b].hot_state
        and arena[a].token == arena[b].token
        and beam.blank[one] + lead >= beam.blank[other]
        and beam.token[one] + lead >= beam.token[other]
    )


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


@array_kernel
def finish(arena, beam, num_alive, tables):
    """(alive,) scores at the end of the utterance, besides the acoustics; and of the acoustics."""
    scores, acoustics = np.empty(num_alive), np.empty(num_alive)
    for i in range(num_alive):
        node = beam.nodes[i]
        acoustics[i] = _log_add(beam.blank[i], beam.token[i])
        gain, state = word_end(tables, arena[node].tree_node, arena[node].model_state)
        score = arena[node].score + gain + tables.hot_final[arena[node].hot_state]
        if tables.model_kind != NO_MODEL:
            score += tables.lm_weight * lookup(tables, state, END_ID)[0]
        scores[i] = score
    return scores, acoustics
