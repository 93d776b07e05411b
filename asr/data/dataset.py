"""Utterances as padded batches: load, augment, tokenize, collate."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import chain
from typing import Any, Protocol, overload

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.utils.rnn import pad_sequence

from asr.augment import (
    NOISE_STREAM,
    REVERBERATION_STREAM,
    SOUND_STREAM,
    AdditiveNoise,
    Reverberation,
    change_speed,
    fill_pause,
    join,
    other_sounds,
    utterance_rng,
)
from asr.data.ahead import map_ahead
from asr.data.sampler import Draw
from asr.errors import AudioError
from asr.text.tokens import Tokenizer
from asr.types import Batch, Utterance


class UnreadableUtteranceError(AudioError):
    """An utterance's own audio cannot be read, as opposed to noise that is added to it."""

    def __init__(self, id: str, reason: str) -> None:
        super().__init__(f"utterance {id}: {reason}")
        self.id = id
        self.reason = reason


class AudioSource(Protocol):
    """Utterances and their audio by index, such as an `AudioStore`."""

    @property
    def utterances(self) -> Sequence[Utterance]:
        """All of them; a large corpus reads one when it is asked for."""
        ...

    @property
    def sample_rate(self) -> int:
        """Hz of all waveforms."""
        ...

    def waveform(self, index: int) -> NDArray[np.float32]:
        """(N,) samples in [-1, 1] at the rate in use."""
        ...

    def __len__(self) -> int:
        """How many there are."""
        ...


class EncodedTexts(Sequence[list[int]]):
    """The token ids of utterances' texts, made each time they are asked for: a large corpus has too many to keep.

    num_labels: (N,) tokens of each; a number below zero for a text without a target, whose ids are none.
    """

    def __init__(
        self, utterances: Sequence[Utterance], tokenizer: Tokenizer, num_labels: NDArray[np.integer[Any]] | None = None
    ) -> None:
        self.utterances = utterances
        self.tokenizer = tokenizer
        self.num_labels = num_labels

    def __len__(self) -> int:
        return len(self.utterances)

    @overload
    def __getitem__(self, index: int) -> list[int]: ...
    @overload
    def __getitem__(self, index: slice) -> list[list[int]]: ...
    def __getitem__(self, index: int | slice) -> list[int] | list[list[int]]:
        """Encode one text, or those of a slice."""
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        if self.num_labels is not None and self.num_labels[index] < 0:
            return []
        return self.tokenizer.encode(self.utterances[index].text)


@dataclass(frozen=True, slots=True)
class Example:
    """One utterance, ready to be padded."""

    id: str
    waveform: NDArray[np.float32]  # (N,)
    target: Sequence[int]
    seed: int


class SpeechDataset:
    """Maps a `Draw` to its example.

    Attributes:
        store: the utterances and their audio.
        targets: token ids of each utterance.
        durations: (N,) seconds.
        num_labels: (N,) tokens of each target.
        label_counts: token id -> how often it occurs in all targets. These three are counted here when nobody hands
            them in; for a large corpus somebody must.
        separator: tokens between the targets of two utterances that are joined, such as a space between words.
    """

    def __init__(
        self,
        store: AudioSource,
        targets: Sequence[Sequence[int]],
        seed: int = 0,
        noise: AdditiveNoise | None = None,
        reverberation: Reverberation | None = None,
        *,
        durations: NDArray[np.float64] | None = None,
        num_labels: NDArray[np.integer[Any]] | None = None,
        label_counts: Mapping[int, int] | None = None,
        separator: Sequence[int] = (),
    ) -> None:
        if len(store) != len(targets):
            raise ValueError(f"expected a target for each of {len(store)} utterances, got {len(targets)}")
        self.store = store
        self.targets = targets
        self.durations = np.array([u.duration for u in store.utterances]) if durations is None else durations
        self.num_labels: NDArray[np.integer[Any]] = (
            np.array([len(target) for target in targets], dtype=np.int64) if num_labels is None else num_labels
        )
        self.label_counts = Counter(chain.from_iterable(targets)) if label_counts is None else label_counts
        self.seed = seed
        self.noise = noise
        self.reverberation = reverberation
        self.separator = separator

    def __len__(self) -> int:
        return len(self.store)

    def waveform(self, index: int) -> NDArray[np.float32]:
        """(N,) an utterance's samples in [-1, 1]. Raises `UnreadableUtteranceError`."""
        try:
            return self.store.waveform(index)
        except AudioError as error:
            raise UnreadableUtteranceError(self.store.utterances[index].id, str(error)) from error

    def __getitem__(self, draw: Draw) -> Example:
        """Load and augment one utterance. Raises `UnreadableUtteranceError` for audio that cannot be read."""
        speech = self._speech(draw.index, draw.speed, draw.epoch)
        waveform = self._surround(speech, draw)
        if self.noise is not None:
            waveform = self.noise(waveform, utterance_rng(self.seed, draw.epoch, draw.index, NOISE_STREAM), speech)
        return Example(
            id=self.store.utterances[draw.index].id,
            waveform=waveform,
            target=self._target(draw),
            seed=int(np.random.SeedSequence((self.seed, draw.epoch, draw.index)).generate_state(1)[0]),
        )

    def _speech(self, index: int, speed: float, epoch: int) -> NDArray[np.float32]:
        """An utterance at its speed and in its room."""
        waveform = change_speed(self.waveform(index), speed)
        if self.reverberation is None:
            return waveform
        return self.reverberation(waveform, utterance_rng(self.seed, epoch, index, REVERBERATION_STREAM))

    def _surround(self, speech: NDArray[np.float32], draw: Draw) -> NDArray[np.float32]:
        """The utterance with what its draw puts around it, or in its place."""
        if draw.has_speech and draw.partner is None and draw.before == draw.after == 0.0:
            return speech
        rate, noises = self.store.sample_rate, None if self.noise is None else self.noise.noises
        rng = utterance_rng(self.seed, draw.epoch, draw.index, SOUND_STREAM)
        before, after = round(draw.before * rate), round(draw.after * rate)
        if not draw.has_speech:
            return other_sounds(speech, before + len(speech) + after, rate, rng, noises)
        pieces = [fill_pause(speech, before, rate, rng, noises), speech]
        if draw.partner is not None:
            second = self._speech(draw.partner.index, draw.partner.speed, draw.epoch)
            gap = fill_pause(speech, round(draw.partner.gap * rate), rate, rng, noises)
            pieces[1] = join(speech, gap, second, rng)
        return np.concatenate((*pieces, fill_pause(speech, after, rate, rng, noises)))

    def _target(self, draw: Draw) -> Sequence[int]:
        if not draw.has_speech:
            return []
        if draw.partner is None:
            return self.targets[draw.index]
        first, second = self.targets[draw.index], self.targets[draw.partner.index]
        separator = self.separator if len(first) and len(second) else ()
        return [*first, *separator, *second]

    def num_target_labels(self, draw: Draw) -> int:
        """Tokens of a draw's target, without encoding a text."""
        if not draw.has_speech:
            return 0
        first = int(self.num_labels[draw.index])
        if draw.partner is None:
            return first
        second = int(self.num_labels[draw.partner.index])
        return first + second + (len(self.separator) if first and second else 0)


def collate(examples: Sequence[Example]) -> Batch:
    """Pad examples into one batch."""
    waveforms = [torch.from_numpy(example.waveform) for example in examples]
    targets = [torch.tensor(example.target, dtype=torch.int64) for example in examples]
    return Batch(
        ids=tuple(example.id for example in examples),
        waveforms=pad_sequence(waveforms, batch_first=True),
        waveform_lengths=torch.tensor([len(waveform) for waveform in waveforms]),
        targets=pad_sequence(targets, batch_first=True),
        target_lengths=torch.tensor([len(target) for target in targets]),
        seeds=tuple(example.seed for example in examples),
    )


def load_batches(
    dataset: SpeechDataset,
    batches: Sequence[Sequence[Draw]],
    num_workers: int,
    unreadable: dict[str, str] | None = None,
) -> Iterator[Batch]:
    """The batches in the given order, loaded ahead by threads when `num_workers` is above zero.

    Threads do, because decoding, resampling and arithmetic let go of the interpreter's lock; they share the audio
    cache, and what goes wrong in them arrives as the error it is.

    unreadable: takes the ids of utterances whose audio cannot be read, each with the reason, and the batches come
        without them. Without it such audio is an error.
    """
    return (batch for batch in load_each(dataset, batches, num_workers, unreadable) if batch is not None)


def load_each(
    dataset: SpeechDataset,
    batches: Sequence[Sequence[Draw]],
    num_workers: int,
    unreadable: dict[str, str] | None = None,
) -> Iterator[Batch | None]:
    """As `load_batches`, with None in the place of a batch of which nothing can be read."""
    load = partial(load_examples, dataset, unreadable=unreadable, num_threads=threads_a_batch(num_workers))
    loaded = map_ahead(load, batches, num_workers) if num_workers > 0 else map(load, batches)
    return (collate(examples) if examples else None for examples in loaded)


def threads_a_batch(num_workers: int) -> int:
    """How many threads load one batch. Without workers that load ahead all do so together, between the steps.

    Where the processor computes on all its cores that is faster than a worker beside: that would hold up one core at a
    time, and at the end of each matrix product all others wait for it (`tools/bench.py training`).
    """
    return 1 if num_workers > 0 else torch.get_num_threads()


def load_examples(
    dataset: SpeechDataset, draws: Sequence[Draw], unreadable: dict[str, str] | None = None, num_threads: int = 1
) -> list[Example]:
    """Load and augment the utterances of one batch by so many threads, but those that go into `unreadable`."""
    load = partial(_load_example, dataset, unreadable=unreadable)
    if num_threads == 1 or len(draws) < 2:
        examples = list(map(load, draws))
    else:
        with ThreadPoolExecutor(min(num_threads, len(draws))) as pool:
            examples = list(pool.map(load, draws))
    return [example for example in examples if example is not None]


def _load_example(dataset: SpeechDataset, draw: Draw, unreadable: dict[str, str] | None) -> Example | None:
    try:
        return dataset[draw]
    except UnreadableUtteranceError as error:
        if unreadable is None:
            raise
        unreadable[error.id] = error.reason
        return None
