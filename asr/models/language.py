"""Recurrent language model: the tokens so far in, log-probabilities of the next one out (Mikolov et al. 2010)."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from asr.models.recurrent import Cell, initialize, make_cell
from asr.text.language_units import END_ID

EMBEDDING_RANGE = 0.1  # uniform, as in Zaremba, Sutskever & Vinyals 2014
Ids = Sequence[int] | NDArray[np.int32]
PRIMER_TOKENS = 128
SCORED_TOGETHER = 64  # sentences
LOG_PROBS_AT_ONCE = 2**24  # 64 MiB: bounds memory for any vocabulary and any length


class Predictions(NamedTuple):
    """What the model expects after each token."""

    log_probs: Tensor  # (B, T, V) float32, normalised over V
    state: Tensor  # (S, L, B, H) float32, after the last token; S is 2 for LSTMs (output and cell), else 1


class RecurrentLanguageModel(nn.Module):
    """Embedding, recurrent layers, and a softmax over the vocabulary; dropout between them (Zaremba et al. 2014).

    In training every sentence follows others, and none an empty state, from which predictions are far worse (after an
    epoch on 50,000 sentences: perplexity 790 by the word instead of 290). So the model keeps a `primer`, the beginning
    of its training text, and reads that before each sentence it scores.

    With `tied` the softmax uses the embedding's weights (Press & Wolf 2017), for which both sizes must be equal.

    >>> model = RecurrentLanguageModel(vocab_size=29, embedding_size=16, hidden_size=24, num_layers=2)
    >>> log_probs, state = model(torch.zeros(3, 5, dtype=torch.int64))
    >>> log_probs.shape, state.shape
    (torch.Size([3, 5, 29]), torch.Size([2, 2, 3, 24]))
    """

    def __init__(
        self,
        vocab_size: int,
        embedding_size: int,
        hidden_size: int,
        num_layers: int,
        *,
        cell: Cell = "lstm",
        dropout: float = 0.0,
        tied: bool = False,
    ) -> None:
        super().__init__()
        if min(embedding_size, hidden_size, num_layers) < 1:
            raise ValueError(
                "expected embedding_size, hidden_size and num_layers of at least 1, "
                f"got {embedding_size}, {hidden_size} and {num_layers}"
            )
        if tied and embedding_size != hidden_size:
            raise ValueError(
                f"tied: expected embedding_size and hidden_size alike, got {embedding_size}, {hidden_size}"
            )
        if not 0.0 <= dropout < 1.0:
            raise ValueError(f"expected dropout in [0, 1), got {dropout}")
        self.vocab_size = vocab_size
        self.num_states = 2 if cell == "lstm" else 1
        self.primer: Tensor
        self.register_buffer("primer", torch.full((PRIMER_TOKENS,), END_ID))
        self.embedding = nn.Embedding(vocab_size, embedding_size)
        sizes = [embedding_size] + [hidden_size] * num_layers
        self.layers = nn.ModuleList(make_cell(cell, size, hidden_size) for size in sizes[:-1])
        self.dropout = nn.Dropout(dropout)
        # Of a tied softmax only the bias: two names for one tensor would not go into a safetensors file.
        self.output_weight = None if tied else nn.Parameter(torch.empty(vocab_size, hidden_size))
        self.output_bias = nn.Parameter(torch.zeros(vocab_size))
        nn.init.uniform_(self.embedding.weight, -EMBEDDING_RANGE, EMBEDDING_RANGE)
        if self.output_weight is not None:
            nn.init.uniform_(self.output_weight, -EMBEDDING_RANGE, EMBEDDING_RANGE)
        for layer in self.layers:
            initialize(layer, cell, "orthogonal")  # type: ignore[arg-type]

    def forward(self, tokens: Tensor, state: Tensor | None = None) -> Predictions:
        """(B, T) int64 tokens, T ≥ 1, and the state before them, None for zeros -> predictions of the next ones."""
        frames = self.dropout(self.embedding(tokens))  # (B, T, E)
        states = []
        for number, layer in enumerate(self.layers):
            frames, layer_state = layer(frames, None if state is None else self._layer_state(state[:, number]))
            frames = self.dropout(frames)
            states.append(torch.stack(layer_state if self.num_states == 2 else (layer_state,)))  # (S, 1, B, H)
        weight = self.embedding.weight if self.output_weight is None else self.output_weight
        logits = F.linear(frames, weight, self.output_bias)
        # float32 whatever the autocast type: scores of sentences add up hundreds of these
        return Predictions(torch.log_softmax(logits.float(), dim=-1), torch.cat(states, dim=1).float())

    def _layer_state(self, state: Tensor) -> Tensor | tuple[Tensor, ...]:
        """(S, B, H) -> what PyTorch's layer takes: h, or (h, c), of (1, B, H) each."""
        parts = tuple(part[None].contiguous() for part in state)
        return parts if self.num_states == 2 else parts[0]


def next_token_nats(log_probs: Tensor, targets: Tensor) -> Tensor:
    """(B, T, V) log-probabilities and (B, T) targets -> −ln p of each target, (B, T)."""
    return -log_probs.gather(-1, targets[..., None])[..., 0]


@dataclass(frozen=True, slots=True)
class _Group:
    """Sentences of like length, padded."""

    rows: list[int]
    inputs: Tensor  # (B, T) int64: END_ID, then the sentence
    targets: Tensor  # (B, T): the sentence, then END_ID
    mask: Tensor  # (B, T) bool


@torch.inference_mode()
def score_sentences(model: RecurrentLanguageModel, sentences: Sequence[Ids]) -> NDArray[np.float64]:
    """ln p(sentence, its end | the model's primer) of each, natural logarithms, (S,) float64.

    Each sentence stands alone, and its score does not depend on the others; the model must be in
    evaluation mode. Memory is bounded whatever the sentences' lengths.

    sentences: ids without END_ID at their end.
    """
    scores = np.zeros(len(sentences))
    primed = model(model.primer[None]).state  # (S, L, 1, H)
    for group in _groups(sentences, model.embedding.weight.device):
        num_rows, length = group.inputs.shape
        step = max(1, LOG_PROBS_AT_ONCE // (num_rows * model.vocab_size))
        total, state = torch.zeros(num_rows, dtype=torch.float64), primed.expand(-1, -1, num_rows, -1)
        for start in range(0, length, step):
            span = slice(start, start + step)
            log_probs, state = model(group.inputs[:, span], state)
            nats = next_token_nats(log_probs, group.targets[:, span])
            total -= nats.masked_fill(~group.mask[:, span], 0.0).double().sum(dim=1).cpu()
        scores[group.rows] = total.numpy()
    return scores


def _groups(sentences: Sequence[Ids], device: torch.device) -> Iterator[_Group]:
    order = sorted(range(len(sentences)), key=lambda row: len(sentences[row]))
    for first in range(0, len(order), SCORED_TOGETHER):
        rows = order[first : first + SCORED_TOGETHER]
        lengths = torch.tensor([len(sentences[row]) + 1 for row in rows])
        inputs = torch.full((len(rows), int(lengths.max()) + 1), END_ID)
        for number, row in enumerate(rows):
            inputs[number, 1 : lengths[number]] = torch.as_tensor(sentences[row], dtype=torch.int64)
        inputs, mask = inputs.to(device), torch.arange(inputs.shape[1] - 1) < lengths[:, None]
        # Padding lies behind the end, where a model that only looks back cannot see it.
        yield _Group(rows, inputs[:, :-1], inputs[:, 1:], mask.to(device))
