"""Weight noise: a regulariser that blurs the weights while the gradient is taken.

Before each step's forward pass Gaussian noise is added to the weights; after the backward pass it is taken off again.
The gradient is thus the one at the noisy weights, and the optimiser moves the clean ones. With one utterance a step
this is the noise of Graves, Mohamed & Hinton 2013, "added once per training sequence, rather than at every time step"
(after Jim, Giles & Horne 1996); with a batch, all its utterances see the same noise.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import nn

WEIGHT_NOISE_STREAM = 7  # of random numbers; the others are in asr/augment/streams.py, asr/data and asr/training


class WeightNoise:
    """Gaussian noise of standard deviation `deviation` on the parameters of `model`, as a function of (seed, step).

    Every weight and bias gets it, as in the paper. PyTorch's LSTM and plain RNN add two biases where the paper has
    one: of these only the first does, so that their sum has the deviation asked for.

    Raises `ValueError` when `deviation` is not above zero.
    """

    def __init__(self, model: nn.Module, deviation: float, seed: int) -> None:
        if not deviation > 0:
            raise ValueError(f"expected a standard deviation above zero, got {deviation}")
        second_biases = {
            id(bias)
            for rnn in model.modules()
            if isinstance(rnn, (nn.LSTM, nn.RNN))
            for name, bias in rnn.named_parameters()
            if name.startswith("bias_hh")
        }
        self.parameters = [p for p in model.parameters() if p.requires_grad and id(p) not in second_biases]
        self.deviation = deviation
        self.seed = seed

    @contextmanager
    def added(self, step: int) -> Iterator[None]:
        """Inside the block, the model has the noise of `step`; after it, its weights are what they were to the bit."""
        clean = [parameter.detach().clone() for parameter in self.parameters]
        with torch.no_grad():
            self._add(step)
        try:
            yield
        finally:
            # A copy, and not the noise subtracted: w + n - n is not w in floating point.
            with torch.no_grad():
                for parameter, weights in zip(self.parameters, clean, strict=True):
                    parameter.copy_(weights)

    def _add(self, step: int) -> None:
        device = self.parameters[0].device
        generator = torch.Generator(device)
        generator.manual_seed(int(np.random.SeedSequence((self.seed, step, WEIGHT_NOISE_STREAM)).generate_state(1)[0]))
        for parameter in self.parameters:
            noise = torch.randn(parameter.shape, generator=generator, device=device, dtype=parameter.dtype)
            parameter.add_(noise, alpha=self.deviation)
