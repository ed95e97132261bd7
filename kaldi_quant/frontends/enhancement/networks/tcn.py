"""TCN: dilated causal convolutions over time, and a layer that sees their output beside the input.

S. Bai, J. Kolter and V. Koltun, "An Empirical Evaluation of Generic Convolutional and Recurrent Networks for Sequence
Modeling", 2018; with the sizes of MB-QAT's ``TCN_100k``.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

from kaldi_quant.frontends.enhancement.networks.past import Past, States

_DEVIATION = 0.01


class CausalConv(nn.Conv1d):
    """A convolution over time that sees no later frame: (N, C, T) → (N, C', T)."""

    def __init__(self, before: int, after: int, kernel: int, dilation: int) -> None:
        super().__init__(before, after, kernel, dilation=dilation)
        nn.init.normal_(self.weight, 0.0, _DEVIATION)

    @property
    def context(self) -> int:
        """How many earlier frames it sees."""
        return (self.kernel_size[0] - 1) * self.dilation[0]

    def forward(self, x: Tensor, past: Past | None = None) -> Tensor:
        """As of ``nn.Conv1d``, after what was before; by default silence."""
        return super().forward((past or Past(None)).before(x, self.context))


class TemporalBlock(nn.Module):
    """Two causal convolutions with a path around them.

    Args:
        before: channels that come in.
        after: channels that go out.
        kernel: of the convolutions.
        dilation: of the convolutions.
        dropout: the share of values that training drops.
    """

    def __init__(self, before: int, after: int, kernel: int, dilation: int, dropout: float) -> None:
        super().__init__()
        self.conv1, self.conv2 = (CausalConv(size, after, kernel, dilation) for size in (before, after))
        self.dropout = nn.Dropout(dropout)
        self.around = nn.Conv1d(before, after, 1) if before != after else nn.Identity()
        if isinstance(self.around, nn.Conv1d):
            nn.init.normal_(self.around.weight, 0.0, _DEVIATION)

    def forward(self, x: Tensor, past: Past) -> Tensor:
        """(N, C, T) → (N, C', T)."""
        y = self.dropout(functional.relu(self.conv1(x, past)))
        y = self.dropout(functional.relu(self.conv2(y, past)))
        return functional.relu(y + self.around(x))


class TCN(nn.Module):
    """The network; gives a mask.

    Weights stand as they are used: a checkpoint with ``weight_g`` and ``weight_v`` (weight normalization) is one of the
    same network once these are multiplied.

    Args:
        bins: of a spectrum.
        channels: of the blocks; the dilation of block i is 2 ** i.
        kernel: of the convolutions over time.
        dropout: the share of values that training drops.

    Example:
        >>> network = TCN()
        >>> network(torch.rand(1, 50, 161)).shape
        torch.Size([1, 50, 161])
        >>> mask, states = network(torch.rand(1, 1, 161), network.states())
    """

    def __init__(
        self, bins: int = 161, channels: Sequence[int] = (40, 80), kernel: int = 3, dropout: float = 0.3
    ) -> None:
        super().__init__()
        self.bins = bins
        blocks = [
            TemporalBlock(before, after, kernel, 2**place, dropout)
            for place, (before, after) in enumerate(pairwise([bins, *channels]))
        ]
        self.blocks = nn.ModuleList(blocks)
        self._contexts = [(conv.in_channels, conv.context) for each in blocks for conv in (each.conv1, each.conv2)]
        self.linear = nn.Linear(channels[-1] + bins, bins)

    def forward(self, magnitude: Tensor, states: States | None = None) -> Tensor | tuple[Tensor, States]:
        """(N, T, bins): a mask, from 0 to 1; and the states after these frames, if some are given.

        Args:
            magnitude: (N, T, bins), of noisy speech.
            states: of the frames before, for a stream; by default there were none.
        """
        past = Past(states)
        x = magnitude.transpose(1, 2)
        for block in self.blocks:
            x = block(x, past)
        return past.result(torch.sigmoid(self.linear(torch.cat([x.transpose(1, 2), magnitude], 2))))

    def states(self, batch: int = 1) -> States:
        """What a stream begins with: zeros, (batch, channels, context) for each convolution over time."""
        return tuple(torch.zeros(batch, size, context) for size, context in self._contexts)
