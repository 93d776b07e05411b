"""The acoustic model: features in, log-probabilities of tokens for each frame out."""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from asr.models.dropout import make_dropout
from asr.models.frontend import Frontend
from asr.models.recurrent import RecurrentStack


class Emissions(NamedTuple):
    """What the model says of a batch."""

    log_probs: Tensor  # (B, T', V) float32, normalised over V; frames past lengths[b] mean nothing
    lengths: Tensor  # (B,) int64, frames


class AcousticModel(nn.Module):
    """Front end, recurrent stack, and a softmax over the vocabulary, whose entry 0 is the CTC blank.

    >>> from asr.models.frontend import FrameStacking
    >>> frontend = FrameStacking(num_features=80, stack=3, stride=3)
    >>> model = AcousticModel(frontend, RecurrentStack(frontend.output_size, 16, num_layers=2), vocab_size=29)
    >>> log_probs, lengths = model(torch.zeros(2, 100, 80), torch.tensor([100, 50]))
    >>> log_probs.shape, lengths.tolist()
    (torch.Size([2, 34, 29]), [34, 17])
    """

    def __init__(
        self,
        frontend: Frontend,
        encoder: RecurrentStack,
        vocab_size: int,
        dropout: float = 0.0,
        variational_dropout: bool = False,
    ) -> None:
        super().__init__()
        self.frontend = frontend
        self.encoder = encoder
        self.dropout = make_dropout(dropout, per_sequence=variational_dropout)
        self.output = nn.Linear(encoder.output_size, vocab_size)
        self.vocab_size = vocab_size

    def forward(self, features: Tensor, lengths: Tensor) -> Emissions:
        """(B, T, F) features and (B,) lengths -> log-probabilities and their lengths."""
        frames = self.frontend(features, lengths)
        lengths = self.frontend.num_output_frames(lengths)
        logits = self.output(self.dropout(self.encoder(frames, lengths)))
        # float32 whatever the autocast type: CTC adds up hundreds of these
        return Emissions(torch.log_softmax(logits.float(), dim=-1), lengths)
