"""CTC prefix beam search with language model, lexicon and hotwords.

The search (Graves & Jaitly 2014; Hannun et al. 2014) goes through the frames once and keeps the `beam_width` best
labellings, each with the probability of all its paths. Its score is

    ln p(labelling | audio) + lm_weight · ln p(text) + word_bonus · words + hotwords

where unknown tokens cost `unknown_penalty` besides, and unknown words count by their characters (see
asr/decoding/search_space.py). With a beam wide enough it finds the best labelling of
all. A narrow one misses paths through labellings that left it; so the best finalists are summed over all their paths at
the end, and chosen by that, unless the recording is too long to be held (more than about half a minute).
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from asr.decoding.alignment import host_array
from asr.decoding.compiled_search import CompiledSearch
from asr.decoding.labelling_scores import labelling_log_probs, score_parts
from asr.decoding.search_options import BeamOptions, Finalist, rank
from asr.decoding.search_space import SearchSpace, Weights
from asr.decoding.tensor_search import TensorSearch
from asr.decoding.word_aligner import ALIGNED_FRAMES, WordAligner
from asr.errors import ModelError
from asr.text.tokens import Tokenizer
from asr.types import Hypothesis, ScoreParts, Seconds

if TYPE_CHECKING:
    from asr.decoding.rescoring import Rescorer
    from asr.ngram.model import NgramModel

EXACT_FINALISTS = 16  # of the beam, whose probabilities are summed over all paths at the end
ALIKE_WITHOUT_MODEL = 4  # without a language model so large a part of the beam may have the same future: one quarter
RESCORED = 32  # hypotheses of different texts that a rescoring model sees

Frames = NDArray[np.float32]  # (T, V) log-probabilities of an utterance, on the host
Search = tuple[list[Finalist], WordAligner]


class BeamDecoder:
    """Turns log-probabilities into hypotheses by beam search; on the CPU compiled, on a GPU in tensors.

    Word times and confidences are those of the forced alignment of the best hypothesis.
    """

    name = "beam"

    def __init__(
        self,
        space: SearchSpace,
        frame_seconds: Seconds,
        weights: Weights,
        options: BeamOptions | None = None,
        rescorer: Rescorer | None = None,
    ) -> None:
        self.space = space
        self.tokenizer = space.tokenizer
        self.frame_seconds = frame_seconds
        self.weights = weights
        self.options = options or BeamOptions()
        self.rescorer = rescorer
        self.tables = space.tables(weights)
        self._on_device: dict[torch.device, TensorSearch] = {}

    @classmethod
    def build(
        cls,
        tokenizer: Tokenizer,
        frame_seconds: Seconds,
        *,
        beam_width: int = 100,
        nbest: int = 1,
        language_model: NgramModel | None = None,
        lm_weight: float = 0.0,
        word_bonus: float = 0.0,
        unknown_penalty: float = 0.0,
        lexicon: Sequence[str] | None = None,
        hotwords: Sequence[str] = (),
        hotword_boost: float = 0.0,
        max_tokens_per_frame: int = 0,
        token_floor: float = 0.0,
        blank_skip: float = 1.0,
        confidence_temperature: float = 1.0,
        rescorer: Rescorer | None = None,
    ) -> BeamDecoder:
        """Build space, weights and options in one go."""
        return cls(
            SearchSpace(tokenizer, language_model, lexicon, hotwords),
            frame_seconds,
            Weights(lm_weight, word_bonus, unknown_penalty, hotword_boost),
            BeamOptions(beam_width, nbest, max_tokens_per_frame, token_floor, blank_skip, confidence_temperature),
            rescorer,
        )

    def with_weights(self, lm_weight: float, word_bonus: float) -> BeamDecoder:
        """The same decoder with other weights; everything else is shared."""
        weights = replace(self.weights, lm_weight=lm_weight, word_bonus=word_bonus)
        return BeamDecoder(self.space, self.frame_seconds, weights, self.options, self.rescorer)

    def describe(self) -> dict[str, object]:
        """Name and settings, for score.json."""
        model = self.space.model
        return {
            "name": self.name,
            **asdict(self.options),
            **asdict(self.weights),
            "lm_order": model.order if model else 0,
            "lexicon": self.space.constrained,
            "hotwords": self.space.num_hotwords,
            "rescoring": self.rescorer.describe() if self.rescorer else None,
        }

    def decode(self, log_probs: Tensor, lengths: Tensor, ids: Sequence[str]) -> list[Hypothesis]:
        """(B, T, V) log-probabilities and (B,) lengths -> one hypothesis for each utterance."""
        # torch computes nothing for single utterances: on a busy machine its threads wait for one another.
        frames = host_array(log_probs)
        rows = [frames[row, :length] for row, length in enumerate(lengths.tolist())]
        # The threads search, which lets go of the interpreter's lock. What does not would only make them wait.
        with ThreadPoolExecutor(max(1, torch.get_num_threads())) as pool:
            if log_probs.is_cuda:
                searches = self._search_on_device(log_probs, rows, ids, pool)
            else:
                searches = self._search(rows, ids, pool)
        best = self.choose([self.nbest(finalists, aligner) for finalists, aligner in searches])
        return [add_words(hypothesis, aligner) for hypothesis, (_, aligner) in zip(best, searches)]

    def _search(self, rows: Sequence[Frames], ids: Sequence[str], pool: ThreadPoolExecutor) -> list[Search]:
        streams = [self.stream(utterance) for utterance in ids]
        list(pool.map(BeamStream.accept, streams, rows))
        aligners = [stream.aligner for stream in streams]
        finalists = [stream.search.finalists() for stream in streams]
        return list(zip(pool.map(self.with_all_paths, finalists, aligners), aligners))

    def _search_on_device(
        self, log_probs: Tensor, rows: Sequence[Frames], ids: Sequence[str], pool: ThreadPoolExecutor
    ) -> list[Search]:
        """Short utterances in tensors; of long ones the compiled search decides beginnings as it goes.

        log_probs: (B, T, V) on the device; rows: (T, V) of each utterance, on the host.
        """
        short = [index for index, row in enumerate(rows) if len(row) < 2 * ALIGNED_FRAMES]
        for index in short:
            check_frames(rows[index], self.tokenizer, ids[index])
        if log_probs.device not in self._on_device:
            self._on_device[log_probs.device] = TensorSearch(
                self.tables, self.options, log_probs.device, self.max_alike
            )
        lengths = torch.tensor([len(rows[index]) for index in short])
        longest = int(lengths.max()) if short else 0
        found = self._on_device[log_probs.device].search(log_probs[short, :longest], lengths)
        searches: dict[int, Search] = {}
        for index, finalists in zip(short, found):
            if not finalists:
                raise ModelError(_nothing_left(ids[index], 0))
            aligner = self.aligner(ids[index])
            aligner.accept(rows[index])
            searches[index] = self.with_all_paths(finalists, aligner), aligner
        long = [index for index in range(len(rows)) if index not in searches]
        searches.update(zip(long, self._search([rows[i] for i in long], [ids[i] for i in long], pool)))
        return [searches[index] for index in range(len(rows))]

    def stream(self, utterance: str) -> BeamStream:
        """Decode one recording piece by piece; whatever the pieces, the result is that of the whole."""
        return BeamStream(self, utterance)

    def aligner(self, utterance: str) -> WordAligner:
        """What will give the words of an utterance their times."""
        return WordAligner(self.tokenizer, self.frame_seconds, self.options.confidence_temperature, utterance)

    # ---- from finalists to a hypothesis -------------------------------------------------------------------------

    def nbest(self, finalists: list[Finalist], aligner: WordAligner) -> list[Hypothesis]:
        """The best hypotheses of different texts, without word times; more than asked for when they are rescored."""
        possible = [finalist for finalist in finalists if np.isfinite(finalist.other)]
        if not possible:
            possible = [self._without_last_word(finalists[0], aligner)]
        by_text: dict[str, Hypothesis] = {}
        for finalist in possible:
            text = self.tokenizer.decode(finalist.tokens)
            if text not in by_text:
                by_text[text] = Hypothesis(text, finalist.tokens, (), self._parts(finalist))
            if len(by_text) == self._num_listed:
                break
        return list(by_text.values())

    def choose(self, lists: list[list[Hypothesis]]) -> list[Hypothesis]:
        """The best of each N-best list, rescored if there is a rescorer, with as many others as were asked for."""
        if self.rescorer is not None:
            best = self.rescorer.rescore(lists)
        else:
            best = [replace(hypotheses[0], alternatives=tuple(hypotheses[1:])) for hypotheses in lists]
        return [replace(h, alternatives=h.alternatives[: self.options.nbest - 1]) for h in best]

    @property
    def _num_listed(self) -> int:
        """How many hypotheses are compared at the end."""
        return self.options.nbest if self.rescorer is None else max(self.options.nbest, RESCORED)

    @property
    def max_alike(self) -> int:
        """How many labellings of the same future a full beam keeps, as many as may be listed or more.

        Without a language model next to all have the same future, and what misleads the search are missing paths.
        """
        return max(self._num_listed, 1 if self.space.model else self.options.beam_width // ALIKE_WITHOUT_MODEL)

    def with_all_paths(self, finalists: list[Finalist], aligner: WordAligner) -> list[Finalist]:
        """The best finalists with exact acoustics: the search misses paths through labellings that left its beam.

        Those of recordings that are too long to be held stay as they are.
        """
        frames = aligner.all_frames()
        if frames is None:
            return finalists
        first = finalists[: max(EXACT_FINALISTS, self._num_listed)]
        exact = [
            replace(f, acoustic=max(f.acoustic, log_prob))
            for f, log_prob in zip(first, _log_probs(frames, [f.tokens for f in first]))
        ]
        return rank(exact) + finalists[len(first) :]

    def _without_last_word(self, finalist: Finalist, aligner: WordAligner) -> Finalist:
        """A lexicon allows no part of a word. When all of the beam ended inside one, the words before it remain."""
        tokens = finalist.tokens[: self.tokenizer.split_words(finalist.tokens)[-1].start]
        frames = aligner.all_frames()
        return Finalist(tokens, finalist.acoustic if frames is None else _log_probs(frames, [tokens])[0], other=0.0)

    def _parts(self, finalist: Finalist) -> ScoreParts:
        model, words, hot = score_parts(self.tables, np.array(finalist.tokens, np.int64))
        return ScoreParts(finalist.acoustic, float(model), float(words), float(hot))


def _log_probs(frames: Frames, labellings: Sequence[Sequence[int]]) -> list[float]:
    """ln p of each labelling, all its paths; frames: (T, V) log-probabilities."""
    probs = np.exp(frames.astype(np.float64))
    tokens = np.concatenate([np.array(labelling, np.int64) for labelling in labellings])
    ends = np.cumsum([len(labelling) for labelling in labellings])
    return [float(value) for value in labelling_log_probs(probs, tokens, ends)]


def _nothing_left(utterance: str, frame: int) -> str:
    return (
        f"no hypothesis is left for {utterance}: from frame {frame} on there is one in which "
        "every token that may follow has the probability 0"
    )


def add_words(hypothesis: Hypothesis, aligner: WordAligner) -> Hypothesis:
    """The hypothesis with the times and confidences of its words."""
    return replace(hypothesis, words=aligner.finish(hypothesis.tokens))


class BeamStream:
    """The search of one recording, taken up again with every piece."""

    def __init__(self, decoder: BeamDecoder, utterance: str) -> None:
        self._decoder = decoder
        self._utterance = utterance
        self.search = CompiledSearch(decoder.tables, decoder.options, decoder.max_alike)
        self.aligner = decoder.aligner(utterance)
        self._num_frames = 0

    def accept(self, log_probs: Tensor | Frames) -> None:
        """Take the next (T, V) log-probabilities."""
        frames = host_array(log_probs)
        check_frames(frames, self._decoder.tokenizer, self._utterance)
        while len(frames):
            piece = frames[: ALIGNED_FRAMES - self._num_frames % ALIGNED_FRAMES]
            frames = frames[len(piece) :]
            self._accept_piece(piece)

    def _accept_piece(self, log_probs: Frames) -> None:
        if not self.search.advance(log_probs):
            raise ModelError(_nothing_left(self._utterance, self._num_frames))
        self.aligner.accept(log_probs)
        self._num_frames += len(log_probs)
        if self._num_frames % ALIGNED_FRAMES == 0:
            tokens = self.search.best_tokens()
            # Old ambiguities, each of which doubles the number of labellings, would take the places of new ones.
            self.search.commit(self.aligner.num_old_tokens(tokens))
            self.aligner.settle(tokens, self.search.num_stable())

    @property
    def text(self) -> str:
        """The best text so far."""
        return self._decoder.tokenizer.decode(self.search.best_tokens())

    @property
    def stable_text(self) -> str:
        """Its beginning that no later audio can change; the last word of it may still grow."""
        return self._decoder.tokenizer.decode(self.search.best_tokens()[: self.search.num_stable()])

    def finish(self) -> Hypothesis:
        """The hypothesis for everything accepted."""
        best = self._decoder.choose([self._decoder.nbest(self.finalists(), self.aligner)])
        return add_words(best[0], self.aligner)

    def finalists(self) -> list[Finalist]:
        """All labellings in the beam, as if the recording ended here, best first."""
        return self._decoder.with_all_paths(self.search.finalists(), self.aligner)


def check_frames(log_probs: Frames, tokenizer: Tokenizer, utterance: str) -> None:
    """Raise `ModelError` for what no search can read, with the utterance's id."""
    if log_probs.ndim != 2 or log_probs.shape[1] != tokenizer.vocab_size:
        raise ModelError(
            f"expected (T, {tokenizer.vocab_size}) log-probabilities for utterance {utterance}, "
            f"got {tuple(log_probs.shape)}"
        )
    if not (log_probs < np.inf).all():  # false for NaN as well
        raise ModelError(f"the model gave NaN or +inf log-probabilities for {utterance}; is its training sound?")
