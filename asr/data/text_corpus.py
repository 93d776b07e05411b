"""Sentences as one long array of ids, and an epoch's way through it in parallel streams."""

from __future__ import annotations

from array import array
from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from asr.errors import TextError
from asr.text.language_units import END_ID, LanguageUnits

ORDER_STREAM = 5  # of random numbers; the others are in asr/augment/streams.py and asr/training
LongArray = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class TextCorpus:
    """Encoded sentences, each with its end, one after the other."""

    ids: NDArray[np.int32]  # (N,)
    ends: LongArray  # (S,) one past the last id of each sentence, which is END_ID
    num_words: int
    unlisted_nats: float  # what telling unknown words apart adds to the loss, see `WordUnits`

    @property
    def num_sentences(self) -> int:
        """How many there are."""
        return len(self.ends)

    def sentences(self) -> list[NDArray[np.int32]]:
        """The ids of each sentence, with its end: views."""
        return np.split(self.ids, self.ends[:-1])

    def beginning(self, num_ids: int) -> NDArray[np.int32]:
        """`num_ids` ids of the first sentences, (num_ids,): the last of them is whole but for its end.

        Where the corpus is too short ends of sentences stand before it.
        """
        last = min(int(np.searchsorted(self.ends, num_ids + 1)), self.num_sentences - 1)
        ids = self.ids[: self.ends[last] - 1][-num_ids:]
        return np.concatenate([np.full(num_ids - len(ids), END_ID, dtype=np.int32), ids])


@dataclass(frozen=True, slots=True)
class Encoded:
    """A corpus, and what had to be left out of it."""

    corpus: TextCorpus
    num_dropped: int = 0
    first_dropped: str = field(default="")  # why, and which

    def describe_drops(self) -> str:
        """A line for the user."""
        return f"left out: {self.num_dropped} sentences that cannot be spelt; the first: {self.first_dropped}"


def encode_corpus(texts: Iterable[str], units: LanguageUnits) -> Encoded:
    """Encode normalised, non-empty sentences. Those with characters that the units lack are left out and counted.

    Raises:
        TextError: no sentence is left; says why the first one is not.
    """
    ids, ends = array("i"), array("q")
    num_words, unlisted_nats, num_dropped, first_dropped = 0, 0.0, 0, ""
    for text in texts:
        try:
            ids.extend(units.encode(text))
        except TextError as error:
            num_dropped, first_dropped = num_dropped + 1, first_dropped or str(error)
            continue
        ids.append(END_ID)
        ends.append(len(ids))
        num_words += text.count(" ") + 1
        unlisted_nats += units.unlisted_nats(text)
    if not ends:
        reason = f"all {num_dropped} cannot be spelt; the first: {first_dropped}" if num_dropped else "there are none"
        raise TextError(f"expected sentences for a language model: {reason}")
    encoded = np.frombuffer(ids, dtype=np.int32), np.frombuffer(ends, dtype=np.int64)
    return Encoded(TextCorpus(*encoded, num_words, unlisted_nats), num_dropped, first_dropped)


@dataclass(frozen=True, slots=True)
class StreamChunk:
    """The next stretch of every stream: what the model reads, and what it is to predict."""

    number: int  # in the epoch; chunk 0 follows nothing
    inputs: NDArray[np.int32]  # (B, T)
    targets: NDArray[np.int32]  # (B, T): the inputs, one further


def plan_streams(corpus: TextCorpus, num_streams: int, num_steps: int, seed: int, epoch: int) -> list[StreamChunk]:
    """An epoch's chunks of `num_steps` ids: a pure function of the arguments.

    The sentences, shuffled, are laid end to end and cut into `num_streams` equal streams, which are read side by side.
    What does not fill the streams, fewer ids than there are streams, is left out of this epoch.
    """
    order = np.random.default_rng((seed, epoch, ORDER_STREAM)).permutation(corpus.num_sentences)
    sentences = corpus.sentences()
    text = np.concatenate([np.array([END_ID], dtype=np.int32), *(sentences[index] for index in order)])
    length = (len(text) - 1) // num_streams
    inputs = text[: num_streams * length].reshape(num_streams, length)
    targets = text[1 : 1 + num_streams * length].reshape(num_streams, length)
    return [
        StreamChunk(number, inputs[:, start : start + num_steps], targets[:, start : start + num_steps])
        for number, start in enumerate(range(0, length, num_steps))
    ]
