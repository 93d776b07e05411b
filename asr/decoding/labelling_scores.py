"""What whole labellings score: ln p of all their paths, and everything besides the acoustics, from scratch."""

# mypy: disable-error-code="no-untyped-def, untyped-decorator, no-untyped-call, no-any-return"

from __future__ import annotations

import math

import numpy as np

from asr.decoding.fit import NO_MODEL, TOKEN_MODEL, WORD_MODEL
from asr.decoding.prefix_tree import CHARACTERS_PER_WORD, NOT_A_WORD, ROOT
from asr.decoding.search_arena import BLANK
from asr.decoding.search_kernel import lookup, spell_on, unknown_word
from asr.kernels import array_kernel, kernel
from asr.ngram.tables import END_ID, UNKNOWN_ID

NEGLIGIBLE = 1e-200


@array_kernel
def score_parts(tables, tokens):
    """What a labelling scores besides its acoustics, from scratch: language model, words, hotwords; all weighted."""
    model, words, hot = 0.0, 0.0, 0.0
    tree_node, num_characters, hot_state, state = ROOT, 0, 0, tables.begin_state
    for position in range(len(tokens) + 1):
        at_end = position == len(tokens)
        if (at_end or tables.begins_word[tokens[position]]) and tree_node != ROOT:
            word = tables.word_ids[tree_node]
            if word == NOT_A_WORD and tables.model_kind == WORD_MODEL:
                count = num_characters / CHARACTERS_PER_WORD
                surprise, state = unknown_word(tables, state)
                model += count * tables.lm_weight * tables.unknown_log_prob + surprise
                words += count * (tables.word_bonus + tables.unknown_penalty)
            else:
                words += tables.word_bonus
                if tables.model_kind == WORD_MODEL:
                    log_prob, state = lookup(tables, state, word)
                    model += tables.lm_weight * log_prob
        if at_end:
            break
        token = tokens[position]
        num_characters = tables.num_characters[token] + (0 if tables.begins_word[token] else num_characters)
        tree_node = spell_on(tables, tree_node, token)
        hot += tables.hot_gains[hot_state, token]
        hot_state = tables.hot_next[hot_state, token]
        if tables.model_kind == TOKEN_MODEL:
            word = tables.token_words[token]
            log_prob, state = lookup(tables, state, word)
            model += tables.lm_weight * log_prob
            if word == UNKNOWN_ID:
                words += tables.unknown_penalty
    if tables.model_kind != NO_MODEL:
        model += tables.lm_weight * lookup(tables, state, END_ID)[0]
    return model, words, hot + tables.hot_final[hot_state]


@array_kernel
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
