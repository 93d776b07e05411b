"""The beam search in tensors, batch × beam × tokens at once, for a GPU. No step waits for the host.

The same algorithm as asr/decoding/search_kernel.py, to the same scores. Labellings are told apart by 64-bit hashes of
their tokens; the path back through the beams spells them at the end.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from asr.decoding.fit import NO_MODEL, TOKEN_MODEL, WORD_MODEL
from asr.decoding.prefix_tree import NOT_A_WORD, OUTSIDE, ROOT
from asr.decoding.search_options import BeamOptions, Finalist, rank
from asr.decoding.search_space import SearchTables
from asr.ngram.tables import END_ID, UNKNOWN_ID
from asr.ngram.tensors import NgramTensors

BLANK = 0
NEVER = -torch.inf
EMPTY_HASH, NO_HASH = 1, 0
HASH_FACTOR = -7046029254386353131  # 2^64 / golden ratio (Knuth), as a signed number


@dataclass(slots=True)
class State:
    """The beams of a batch: tensors of (B, K); a place whose log-probabilities are all -inf is empty."""

    blank: Tensor  # float64, ln p of all paths that end in a blank
    token: Tensor  # float64, and in the last token
    last: Tensor  # int64, the last token; BLANK: the labelling is empty
    hash: Tensor  # int64, of the labelling, and of what it was before its last token
    parent_hash: Tensor
    tree_node: Tensor  # int64
    model_state: Tensor
    hot_state: Tensor
    score: Tensor  # float64, everything but the acoustics
    end_gain: Tensor  # float64, what the end of the word in hand would add
    end_state: Tensor  # int64, and the language model's state after it

    def select(self, places: Tensor) -> State:
        """The state with its places taken from `places`, (B, K)."""
        return State(*(getattr(self, field.name).gather(1, places) for field in fields(self)))

    def where(self, condition: Tensor, other: State) -> State:
        """This state where `condition`, (B, K) or (B, 1), holds, elsewhere `other`."""
        pairs = ((getattr(self, field.name), getattr(other, field.name)) for field in fields(self))
        return State(*(torch.where(condition, mine, theirs) for mine, theirs in pairs))


class TensorSearch:
    """A search's tables on a device. max_alike: see `asr.decoding.compiled_search.CompiledSearch`."""

    def __init__(
        self, tables: SearchTables, options: BeamOptions, device: torch.device, max_alike: int | None = None
    ) -> None:
        self._options = options
        self._max_alike = options.nbest if max_alike is None else max_alike
        self._device = device
        self._kind = tables.model_kind
        self._constrained = tables.constrained
        self._lm_weight, self._word_bonus = tables.lm_weight, tables.word_bonus
        self._unknown_penalty, self._unknown_character = tables.unknown_penalty, tables.unknown_character
        self._unknown_log_prob = tables.unknown_log_prob
        self._begin_state = tables.begin_state
        self._begins_word = self._put(tables.begins_word)
        self._characters = self._put(tables.characters).long()
        self._num_characters = self._put(tables.num_characters).long()
        self._children = self._put(tables.children)
        self._depths = self._put(tables.depths).long()
        self._node_words = self._put(tables.ngram_words)
        self._word_ids = self._put(tables.word_ids)
        self._potentials = self._put(tables.potentials)
        self._token_words = self._put(tables.token_words).long()
        self._hot_next, self._hot_gains = self._put(tables.hot_next).long(), self._put(tables.hot_gains)
        self._hot_final = self._put(tables.hot_final)
        self._ngrams = NgramTensors(
            *map(self._put, (tables.ngram_words, tables.ngram_log_probs, tables.ngram_suffixes)),
            *map(self._put, (tables.ngram_backoffs, tables.ngram_first_child)),
        )

    def _put(self, array: NDArray[np.generic]) -> Tensor:
        return torch.tensor(np.asarray(array), device=self._device)

    @torch.inference_mode()
    def search(self, log_probs: Tensor, lengths: Tensor) -> list[list[Finalist]]:
        """(B, T, V) log-probabilities and (B,) lengths -> what is left in each beam, best first."""
        lengths = lengths.to(self._device)
        state = self._begin(len(lengths))
        sources, appended = [], []
        for t in range(log_probs.shape[1]):
            reading = (t < lengths)[:, None]
            new, source, token = self._step(state, log_probs[:, t].double())
            state = new.where(reading, state)
            sources.append(torch.where(reading, source, self._identity(len(lengths))))
            appended.append(torch.where(reading, token, BLANK))
        acoustic = torch.logaddexp(state.blank, state.token)
        return self._finalists(acoustic, self._at_end(state), sources, appended)

    def _identity(self, batch_size: int) -> Tensor:
        return torch.arange(self._options.beam_width, device=self._device).expand(batch_size, -1)

    def _begin(self, batch_size: int) -> State:
        shape = (batch_size, self._options.beam_width)
        integers = torch.zeros(shape, dtype=torch.int64, device=self._device)
        zeros = torch.zeros(shape, dtype=torch.float64, device=self._device)
        blank = torch.full_like(zeros, NEVER)
        blank[:, 0] = 0.0  # the empty labelling, in the first place only
        begin_state = torch.full_like(integers, self._begin_state)
        return State(
            blank=blank,
            token=torch.full_like(zeros, NEVER),
            last=integers,
            hash=torch.full_like(integers, EMPTY_HASH),
            parent_hash=torch.full_like(integers, NO_HASH),
            tree_node=integers,
            model_state=begin_state,
            hot_state=integers,
            score=zeros,
            end_gain=zeros,
            end_state=begin_state,
        )

    # ---- a frame ------------------------------------------------------------------------------------------------

    def _step(self, state: State, row: Tensor) -> tuple[State, Tensor, Tensor]:
        """Read one frame, (B, V): the new beam, and from which place with which token (or BLANK) each entry came."""
        num_places, vocab_size = state.blank.shape[1], row.shape[1]
        total = torch.logaddexp(state.blank, state.token)
        allowed = self._allowed(row)
        place, has_parent = _parents(state, total)
        stay = self._stay(state, total, row, allowed, place, has_parent)
        again = torch.arange(vocab_size, device=row.device) == state.last[..., None]  # needs a blank in between
        acoustic = torch.where(again, state.blank[..., None], total[..., None]) + row[:, None]  # (B, K, V)
        acoustic = acoustic.masked_fill(~allowed[:, None], NEVER).flatten(1)
        # What is in the beam already was reached there; the last column takes those that were not.
        taken = torch.zeros(len(row), num_places * vocab_size + 1, dtype=torch.bool, device=row.device)
        taken.scatter_(1, torch.where(has_parent, place * vocab_size + state.last, num_places * vocab_size), True)
        acoustic = acoustic.masked_fill(taken[:, :-1], NEVER)
        gain = self._gain(state).flatten(1)
        stay_score = torch.logaddexp(stay.blank, stay.token) + state.score
        longer_score = acoustic + state.score.repeat_interleave(vocab_size, dim=1) + gain
        longer_score = longer_score.masked_fill(acoustic == NEVER, NEVER)  # an empty place's gain may be infinite
        scores = torch.cat((stay_score, longer_score), dim=1)
        best, chosen = scores.topk(num_places, dim=1)
        extends = chosen >= num_places
        index = (chosen - num_places).clamp(min=0)
        source = torch.where(extends, index // vocab_size, chosen.clamp(max=num_places - 1))
        token = torch.where(extends, index % vocab_size, BLANK)
        longer = self._append(state.select(source), token, acoustic.gather(1, index), gain.gather(1, index))
        new = longer.where(extends, stay.select(source))
        nothing = best == NEVER
        nothing |= self._behind_for_good(new) & ~nothing.any(dim=1, keepdim=True)  # of a full beam
        new.blank, new.token = new.blank.masked_fill(nothing, NEVER), new.token.masked_fill(nothing, NEVER)
        skipped = (row[:, BLANK] > self._options.max_blank_log_prob)[:, None]
        blanked = replace(state, blank=total + row[:, :1], token=torch.full_like(total, NEVER))
        source = torch.where(skipped, self._identity(len(row)), source)
        return blanked.where(skipped, new), source, torch.where(skipped, BLANK, token)

    def _behind_for_good(self, state: State) -> Tensor:
        """(B, K) which of the labellings, best first, have `max_alike` others ahead: see `_recombine` of the kernel."""
        same = torch.ones((), dtype=torch.bool, device=self._device)
        for feature in (state.tree_node, state.model_state, state.hot_state, state.last):
            same = same & (feature[:, :, None] == feature[:, None, :])  # (B, K, K)
        lead = state.score[:, :, None] - state.score[:, None, :]
        for sums in (state.blank, state.token):
            same &= sums[:, :, None] + lead >= sums[:, None, :]
        return same.triu(diagonal=1).sum(dim=1) >= self._max_alike

    def _allowed(self, row: Tensor) -> Tensor:
        """(B, V) which tokens may be appended in this frame; never the blank."""
        allowed = row > self._options.min_token_log_prob
        allowed[:, BLANK] = False
        limit = self._options.max_tokens_per_frame
        if 0 < limit < row.shape[1] - 1:
            likeliest = row[:, 1:].topk(limit, dim=1).indices + 1
            allowed &= torch.zeros_like(allowed).scatter_(1, likeliest, True)
        return allowed

    def _stay(
        self, state: State, total: Tensor, row: Tensor, allowed: Tensor, place: Tensor, has_parent: Tensor
    ) -> State:
        """The labellings unchanged: a blank, the last token once more, or their parent with that token."""
        last_row = row.gather(1, state.last)
        same = state.last.gather(1, place) == state.last
        before = torch.where(same, state.blank.gather(1, place), total.gather(1, place))
        merges = has_parent & allowed.gather(1, state.last)
        merged = torch.where(merges, before + last_row, NEVER)
        repeated = torch.where(state.last == BLANK, NEVER, state.token + last_row)
        return replace(state, blank=total + row[:, :1], token=torch.logaddexp(repeated, merged))

    def _gain(self, state: State) -> Tensor:
        """(B, K, V) what each token adds to the score of each labelling, besides its acoustics."""
        vocab_size = len(self._begins_word)
        tokens = torch.arange(vocab_size, device=self._device)
        nodes = self._spell_on(state.tree_node[..., None], tokens)
        inside = -self._potentials[state.tree_node]
        gain = self._potentials[nodes] + self._hot_gains[state.hot_state]
        gain = gain + torch.where(self._begins_word, state.end_gain[..., None], inside[..., None])
        before = torch.where(self._begins_word, 0, self._depths[state.tree_node][..., None])
        outside = torch.where(nodes == OUTSIDE, before + self._num_characters, 0)
        gain = gain + self._unknown_character * outside
        if self._kind == TOKEN_MODEL:
            gain = gain + self._token_gain(state.model_state[..., None].expand_as(nodes), tokens.expand_as(nodes))[0]
        return gain

    def _spell_on(self, tree_node: Tensor, tokens: Tensor) -> Tensor:
        """The nodes of the prefix tree after tokens; the shapes are broadcast."""
        nodes = torch.where(self._begins_word[tokens], ROOT, tree_node)
        for characters in self._characters.unbind(1):
            character = characters[tokens].expand_as(nodes)
            nodes = torch.where(character < 0, nodes, self._children[nodes, character.clamp(min=0)].long())
        return nodes

    def _token_gain(self, states: Tensor, tokens: Tensor) -> tuple[Tensor, Tensor]:
        words = self._token_words[tokens]
        log_probs, states = self._ngrams.advance(states, words)
        return self._lm_weight * log_probs.double() + self._unknown_penalty * (words == UNKNOWN_ID), states

    def _append(self, state: State, token: Tensor, acoustic: Tensor, gain: Tensor) -> State:
        """Labellings with one more token each; `gain` is what `_gain` says of it."""
        if self._kind == TOKEN_MODEL:
            model_state = self._token_gain(state.model_state, token)[1]
        else:
            model_state = torch.where(self._begins_word[token], state.end_state, state.model_state)
        tree_node = self._spell_on(state.tree_node, token)
        end_gain, end_state = self._word_end(tree_node, model_state)
        hashed = (state.hash ^ (state.hash >> 29)) * HASH_FACTOR + token
        return State(
            blank=torch.full_like(acoustic, NEVER),
            token=acoustic,
            last=token,
            hash=hashed,
            parent_hash=state.hash,
            tree_node=tree_node,
            model_state=model_state,
            hot_state=self._hot_next[state.hot_state, token],
            score=state.score + gain,
            end_gain=end_gain,
            end_state=end_state,
        )

    def _word_end(self, tree_node: Tensor, model_state: Tensor) -> tuple[Tensor, Tensor]:
        """What the end of the word at each node adds to the score, and the language model's state after it."""
        word = self._word_ids[tree_node].long()
        unknown = word == NOT_A_WORD
        gain = torch.full_like(self._potentials[tree_node], self._word_bonus)
        state = model_state
        if self._kind == WORD_MODEL:
            log_prob, state = self._ngrams.advance(model_state, word.clamp(min=UNKNOWN_ID))
            continues = unknown & (self._node_words[model_state] == UNKNOWN_ID)  # another unknown word
            state = torch.where(continues, model_state, state)
            surprise = torch.where(continues, 0.0, self._lm_weight * (log_prob.double() - self._unknown_log_prob))
            as_unknown = self._unknown_character * self._depths[tree_node] + surprise
            gain = torch.where(unknown, as_unknown, gain + self._lm_weight * log_prob.double())
        gain = gain - self._potentials[tree_node]
        if self._constrained:
            gain = gain.masked_fill(unknown, NEVER)
        between = tree_node == ROOT
        return gain.masked_fill(between, 0.0), torch.where(between, model_state, state)

    # ---- the end ------------------------------------------------------------------------------------------------

    def _at_end(self, state: State) -> Tensor:
        """(B, K) everything but the acoustics, at the end of the utterance."""
        score = state.score + state.end_gain + self._hot_final[state.hot_state]
        if self._kind != NO_MODEL:
            last_state = state.end_state if self._kind == WORD_MODEL else state.model_state
            end = torch.full_like(last_state, END_ID)
            score = score + self._lm_weight * self._ngrams.advance(last_state, end)[0].double()
        return score

    def _finalists(
        self, acoustic: Tensor, other: Tensor, sources: list[Tensor], appended: list[Tensor]
    ) -> list[list[Finalist]]:
        """Spell the labellings by going back through the beams."""
        batch_size, num_places = acoustic.shape
        place = self._identity(batch_size)
        path = torch.zeros(len(sources), batch_size, num_places, dtype=torch.int64, device=self._device)
        for t in range(len(sources) - 1, -1, -1):
            path[t] = appended[t].gather(1, place)
            place = sources[t].gather(1, place)
        paths = path.permute(1, 2, 0).cpu().numpy()  # (T, B, K) -> (B, K, T)
        acoustics, others = acoustic.cpu().numpy(), other.cpu().numpy()
        return [
            rank(
                Finalist(tuple(paths[b, k][paths[b, k] != BLANK].tolist()), float(acoustics[b, k]), float(others[b, k]))
                for k in range(num_places)
                if acoustics[b, k] > NEVER
            )
            for b in range(batch_size)
        ]


def _parents(state: State, total: Tensor) -> tuple[Tensor, Tensor]:
    """(B, K) where in the beam each labelling's parent is, and whether it is there at all."""
    alive = total > NEVER
    match = (state.parent_hash[:, :, None] == state.hash[:, None, :]) & alive[:, None, :] & alive[:, :, None]
    return match.int().argmax(dim=-1), match.any(dim=-1)
