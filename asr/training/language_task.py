"""Training a language model: truncated back-propagation through time, and the perplexity of a validation set.

A step reads the next `bptt_tokens` ids of every stream and propagates the error back through these and no further;
the hidden state goes on into the next step, detached (Williams & Peng 1990, with h' = h; Mikolov et al. 2010).
"""

import math
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from asr.data.text_corpus import StreamChunk, TextCorpus, plan_streams
from asr.models.language import RecurrentLanguageModel, next_token_nats, score_sentences
from asr.processes import ALONE, Processes
from asr.training.task import Step, Validation

STREAM_AXIS = 2  # of a state, (S, L, B, H)


class LanguageTask:
    """Teaches `model` the sentences of `train`; `dev` chooses among epochs by perplexity."""

    criterion = "perplexity"

    def __init__(
        self,
        model: RecurrentLanguageModel,
        train: TextCorpus,
        dev: TextCorpus,
        device: torch.device,
        *,
        num_streams: int,
        bptt_tokens: int,
        seed: int,
        processes: Processes = ALONE,
    ) -> None:
        if min(num_streams, bptt_tokens) < 1:
            raise ValueError(f"expected num_streams and bptt_tokens of at least 1, got {num_streams}, {bptt_tokens}")
        if num_streams < processes.world_size:
            raise ValueError(f"expected a stream for each of {processes.world_size} processes, got {num_streams}")
        if len(train.ids) < num_streams:
            raise ValueError(f"expected at least one token for each of {num_streams} streams, got {len(train.ids)}")
        model.primer.copy_(torch.from_numpy(train.beginning(len(model.primer))))
        self.model = model
        self.train_corpus = train
        self.dev_corpus = dev
        self.device = device
        self.num_streams = num_streams
        self.bptt_tokens = bptt_tokens
        self.seed = seed
        self.processes = processes
        self._state: Tensor | None = None  # of this process's streams after the last chunk

    def plan(self, epoch: int) -> list[StreamChunk]:
        """All chunks of an epoch, in the order in which they must be read."""
        return plan_streams(self.train_corpus, self.num_streams, self.bptt_tokens, self.seed, epoch)

    def load(self, items: Sequence[StreamChunk]) -> Iterator[Step]:
        """This process's streams of the chunks, which lie in memory."""
        mine = slice(self.processes.rank, None, self.processes.world_size)
        for chunk in items:
            part = StreamChunk(chunk.number, chunk.inputs[mine], chunk.targets[mine])
            yield Step([part], chunk.targets.size)

    def load_whole(self, item: StreamChunk) -> StreamChunk:
        """The chunk itself."""
        return item

    def loss(self, model: nn.Module, batch: StreamChunk) -> Tensor:
        """−ln p of the chunk's targets, after all that the streams held before it in this epoch."""
        inputs, targets = (self._to_device(ids) for ids in (batch.inputs, batch.targets))
        log_probs, state = model(inputs, None if batch.number == 0 else self._state)
        self._state = state.detach()  # here the error stops
        return next_token_nats(log_probs, targets).sum()

    def _to_device(self, ids: NDArray[np.int32]) -> Tensor:
        on_host = torch.from_numpy(ids).long()
        if self.device.type == "cuda":
            on_host = on_host.pin_memory()  # a copy from there does not stop the queue
        return on_host.to(self.device, non_blocking=True)

    def describe(self, item: StreamChunk) -> str:
        """Which chunk it is."""
        return f"chunk {item.number} of the epoch"

    def validate(self) -> Validation:
        """Loss and perplexity of the validation sentences, each alone, as in rescoring; their ends count as tokens.

        word_perplexity: by the word, ends counted, unknown words told apart; it compares models of different units.
        """
        self.model.eval()
        dev = self.dev_corpus
        mine = self.processes.share([sentence[:-1] for sentence in dev.sentences()])
        nats = -math.fsum(self.processes.gather(score_sentences(self.model, mine).tolist()))
        loss = nats / len(dev.ids)
        word_loss = (nats + dev.unlisted_nats) / (dev.num_words + dev.num_sentences)
        return Validation({"loss": loss, "perplexity": perplexity(loss), "word_perplexity": perplexity(word_loss)})

    def carried(self) -> dict[str, Tensor]:
        """The hidden state of all streams."""
        if self._state is None:
            return {}
        streams = self.processes.gather(list(self._state.cpu().unbind(STREAM_AXIS)))
        return {"state": torch.stack(streams, STREAM_AXIS)}

    def restore(self, carried: Mapping[str, Tensor]) -> None:
        """Take up the streams' hidden state again."""
        if not carried:
            self._state = None
            return
        streams = self.processes.share(carried["state"].unbind(STREAM_AXIS))
        self._state = torch.stack(streams, STREAM_AXIS).to(self.device)


def perplexity(nats: float) -> float:
    """exp of a mean loss; the largest float where that would overflow, as JSON has no infinity."""
    return math.exp(min(nats, 700.0))
