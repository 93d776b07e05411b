"""Front ends: what happens to feature frames before the recurrent stack, mostly to make them fewer.

Each maps (B, T, F) and lengths to (B, T', F') and is exact for padded batches: frames past an utterance's end enter as
zeros, whether the batch put them there or the layer's own padding. `num_output_frames` is the one formula for T'.
"""

from collections.abc import Sequence
from typing import Protocol, TypeVar

import torch.nn.functional as F
from torch import Tensor, nn

from asr.models.masking import zero_padding
from asr.models.normalization import SequenceBatchNorm

IntOrTensor = TypeVar("IntOrTensor", int, Tensor)


class Frontend(Protocol):
    """What the acoustic model needs to know of a front end."""

    output_size: int
    subsampling: int  # feature frames for one output frame

    def num_output_frames(self, num_frames: IntOrTensor) -> IntOrTensor:
        """T' for T, on ints and on integer tensors."""
        ...

    def __call__(self, features: Tensor, lengths: Tensor) -> Tensor:
        """(B, T, F) -> (B, T', F')."""
        ...


class Identity(nn.Module):
    """No front end."""

    def __init__(self, num_features: int) -> None:
        super().__init__()
        self.output_size = num_features
        self.subsampling = 1

    def num_output_frames(self, num_frames: IntOrTensor) -> IntOrTensor:
        """As many as came."""
        return num_frames

    def forward(self, features: Tensor, lengths: Tensor) -> Tensor:
        """Return the features, zero past each length."""
        return zero_padding(features, lengths)


class FrameStacking(nn.Module):
    """Put `stack` successive frames side by side and go on by `stride` (Sak et al. 2015: 30 ms frames for CTC)."""

    def __init__(self, num_features: int, stack: int = 3, stride: int = 3) -> None:
        super().__init__()
        if not 1 <= stride <= stack:
            raise ValueError(f"expected 1 <= stride <= stack, so that no frame is lost; got {stride=} and {stack=}")
        self.stack = stack
        self.stride = stride
        self.output_size = num_features * stack
        self.subsampling = stride

    def num_output_frames(self, num_frames: IntOrTensor) -> IntOrTensor:
        """ceil(T / stride): the last stack is filled up with zeros."""
        return (num_frames + self.stride - 1) // self.stride

    def forward(self, features: Tensor, lengths: Tensor) -> Tensor:
        """(B, T, F) -> (B, ceil(T / stride), stack · F)."""
        num_frames = features.shape[1]
        num_outputs = self.num_output_frames(num_frames)
        missing = max(0, (num_outputs - 1) * self.stride + self.stack - num_frames) if num_outputs else 0
        padded = F.pad(zero_padding(features, lengths), (0, 0, 0, missing))
        if num_outputs == 0:
            return padded.new_zeros(len(padded), 0, self.output_size)
        # (B, T', F, stack) -> (B, T', stack, F) -> (B, T', stack · F)
        return padded.unfold(1, self.stack, self.stride).transpose(2, 3).flatten(2)


class ConvFrontend(nn.Module):
    """2-D convolutions over time and frequency, as in Deep Speech 2 (Amodei et al. 2016), masked by length.

    Every layer has a 3×3 kernel and halves the frequency axis; `time_strides` gives each layer's step in time. With
    `batch_norm` each channel is normalised before the rectifier, as there, over all frequencies and valid frames.
    """

    KERNEL = 3

    def __init__(
        self,
        num_features: int,
        channels: Sequence[int] = (32, 32),
        time_strides: Sequence[int] = (2, 2),
        batch_norm: bool = False,
    ) -> None:
        super().__init__()
        if len(channels) != len(time_strides) or not channels:
            raise ValueError(f"expected as many channels as time_strides, got {channels} and {time_strides}")
        self.time_strides = tuple(time_strides)
        self.subsampling = 1
        layers = []
        previous, frequency = 1, num_features
        for num_channels, stride in zip(channels, time_strides):
            layers.append(nn.Conv2d(previous, num_channels, self.KERNEL, (stride, 2), self.KERNEL // 2))
            previous, frequency = num_channels, (frequency + 1) // 2
            self.subsampling *= stride
        self.convolutions = nn.ModuleList(layers)
        self.norms = nn.ModuleList(SequenceBatchNorm(size) if batch_norm else nn.Identity() for size in channels)
        self.output_size = previous * frequency

    def num_output_frames(self, num_frames: IntOrTensor) -> IntOrTensor:
        """ceil(T / stride), layer by layer."""
        for stride in self.time_strides:
            num_frames = (num_frames + stride - 1) // stride
        return num_frames

    def forward(self, features: Tensor, lengths: Tensor) -> Tensor:
        """(B, T, F) -> (B, T', channels · F')."""
        if features.shape[1] == 0:
            return features.new_zeros(len(features), 0, self.output_size)
        frames = zero_padding(features, lengths).unsqueeze(1)  # (B, 1, T, F)
        for convolution, norm, stride in zip(self.convolutions, self.norms, self.time_strides):
            lengths = (lengths + stride - 1) // stride
            frames = convolution(frames)
            if isinstance(norm, SequenceBatchNorm):
                # (B, C, T, F) -> (B, T, F, C): it takes features last
                frames = norm(frames.permute(0, 2, 3, 1), lengths).permute(0, 3, 1, 2)
            # (B, C, T, F) -> (B, T, C, F): the mask goes by time
            frames = zero_padding(F.relu(frames).transpose(1, 2), lengths).transpose(1, 2)
        return frames.transpose(1, 2).flatten(2)  # (B, C, T', F') -> (B, T', C · F')
