"""The transformer of HTDemucs: two sequences that attend to themselves and, in every other layer, to each other.

S. Rouard, F. Massa and A. Défossez, "Hybrid Transformers for Music Source Separation", 2023; parameters are named as in
demucs 4.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from kaldi_quant.errors import UsageError
from kaldi_quant.frontends.separation.networks.htdemucs_layers import LayerScale

# Of positions of waves and of frames, in the longest wave of an embedding.
_LONGEST = 10000.0
# What attention and what is fed forward are multiplied by at first.
_SCALE = 1e-4


class SequenceNorm(nn.GroupNorm):
    """Normalizes over all channels and all times: (N, T, channels) to the same."""

    def forward(self, input: Tensor) -> Tensor:
        """See above."""
        return super().forward(input.transpose(1, 2)).transpose(1, 2)


class _Layer(nn.Module):
    """What layers of both kinds have in common.

    Args:
        channels: of the sequence.
        hidden: channels that are fed forward.
        dropout: the share of values that training drops.
    """

    def __init__(self, channels: int, hidden: int, dropout: float) -> None:
        super().__init__()
        self.linear1, self.linear2 = nn.Linear(channels, hidden), nn.Linear(hidden, channels)
        self.norm1, self.norm2 = nn.LayerNorm(channels), nn.LayerNorm(channels)
        self.norm_out = SequenceNorm(1, channels)
        self.gamma_1, self.gamma_2 = (LayerScale(channels, _SCALE, last=True) for _ in range(2))
        self.dropout = nn.Dropout(dropout)

    def _result(self, x: Tensor, attended: Tensor, norm: nn.Module) -> Tensor:
        x = x + self.gamma_1(self.dropout(attended))
        hidden = self.dropout(functional.gelu(self.linear1(norm(x))))
        return self.norm_out(x + self.gamma_2(self.dropout(self.linear2(hidden))))


class SelfLayer(_Layer):
    """A sequence attends to itself; ``heads`` in number."""

    def __init__(self, channels: int, heads: int, hidden: int, dropout: float) -> None:
        super().__init__(channels, hidden, dropout)
        self.self_attn = nn.MultiheadAttention(channels, heads, dropout, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        """(N, T, channels) to the same."""
        seen = self.norm1(x)
        return self._result(x, self.self_attn(seen, seen, seen, need_weights=False)[0], self.norm2)


class CrossLayer(_Layer):
    """A sequence attends to another one; ``heads`` in number."""

    def __init__(self, channels: int, heads: int, hidden: int, dropout: float) -> None:
        super().__init__(channels, hidden, dropout)
        self.norm3 = nn.LayerNorm(channels)
        self.cross_attn = nn.MultiheadAttention(channels, heads, dropout, batch_first=True)

    def forward(self, x: Tensor, other: Tensor) -> Tensor:
        """(N, T, channels) and (N, S, channels) to (N, T, channels)."""
        seen = self.norm2(other)
        return self._result(x, self.cross_attn(self.norm1(x), seen, seen, need_weights=False)[0], self.norm3)


class PlacesOfSequences(nn.Module):
    """Adds to the values of each time what tells it from others: cosines, then sines, of many periods.

    Args:
        channels: of the input.
    """

    periods: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        half = channels // 2
        self.register_buffer("periods", _LONGEST ** (torch.arange(half) / (half - 1)), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """(N, T, channels) to the same."""
        phases = _numbered(x[0, :, :1]) / self.periods
        return x + torch.cat([phases.cos(), phases.sin()], 1)


class PlacesOfPlanes(nn.Module):
    """Likewise for frames and bins: sines and cosines in turn, of frames in half of the channels, of bins in the rest.

    Args:
        channels: of the input.
    """

    rates: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        half = channels // 2
        self.register_buffer(
            "rates", torch.exp(torch.arange(0, half, 2) * (-math.log(_LONGEST) / half)), persistent=False
        )

    def forward(self, x: Tensor) -> Tensor:
        """(N, frames, bins, channels) to the same."""
        of_frames, of_bins = (self._waves(_numbered(places)) for places in (x[0, :, 0, :1], x[0, 0, :, :1]))
        beside = torch.zeros_like(x[0, :, :, : of_frames.shape[1]])
        return x + torch.cat([beside + of_frames.unsqueeze(1), beside + of_bins], 2)

    def _waves(self, numbers: Tensor) -> Tensor:
        """(places, channels / 2) of (places, 1)."""
        phases = numbers * self.rates
        return torch.stack([phases.sin(), phases.cos()], 2).flatten(1)


def _numbered(x: Tensor) -> Tensor:
    """0, 1, 2 ... along the first axis: numbers of as many places as x has, whatever its values."""
    return torch.ones_like(x).cumsum(0) - 1


class CrossTransformer(nn.Module):
    """The transformer.

    Args:
        channels: of both sequences, a multiple of 4.
        heads: of attention.
        layers: for each sequence; the first one attends to itself, the second to the other sequence, and so on.
        hidden_scale: by how many times channels are more where they are fed forward.
        dropout: the share of values that training drops.

    Raises:
        UsageError: channels cannot be shared by the heads, or by sines and cosines of two axes.
    """

    def __init__(
        self, channels: int, heads: int = 8, layers: int = 5, hidden_scale: float = 4.0, dropout: float = 0.0
    ) -> None:
        super().__init__()
        if channels % 4 or channels % heads:
            raise UsageError(
                f"a transformer of {channels} channels and {heads} heads: expected channels that are a multiple of 4 "
                "and of the heads"
            )
        self.norm_in, self.norm_in_t = nn.LayerNorm(channels), nn.LayerNorm(channels)
        self.places, self.places_t = PlacesOfPlanes(channels), PlacesOfSequences(channels)
        sizes = (channels, heads, int(channels * hidden_scale), dropout)
        kinds = [(SelfLayer, CrossLayer)[place % 2] for place in range(layers)]
        self.layers, self.layers_t = (nn.ModuleList(kind(*sizes) for kind in kinds) for _ in range(2))

    def forward(self, x: Tensor, wave: Tensor) -> tuple[Tensor, Tensor]:
        """(N, channels, bins, frames) and (N, channels, T) to the same."""
        bins = x.shape[2]
        # Frame after frame, all bins of each.
        spectrum = x.permute(0, 3, 2, 1)
        one = self.places(self.norm_in(spectrum)).flatten(1, 2)
        other = self.places_t(self.norm_in_t(wave.transpose(1, 2)))
        for layer, layer_t in zip(self.layers, self.layers_t, strict=True):
            if isinstance(layer, SelfLayer):
                one, other = layer(one), layer_t(other)
            else:
                one, other = layer(one, other), layer_t(other, one)
        return one.unflatten(1, (-1, bins)).permute(0, 3, 2, 1), other.transpose(1, 2)
