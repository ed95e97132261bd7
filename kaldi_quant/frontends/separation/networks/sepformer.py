"""Sepformer: transformers by turns within chunks of a recording and across them.

C. Subakan et al., "Attention is All You Need in Speech Separation", 2021. Structure, sizes and names of parameters are
those of speechbrain's ``Encoder``, ``Dual_Path_Model`` of ``SBTransformerBlock`` and ``Decoder``, as its models for
mixtures of two speakers have them; FQSS has the same network under other names.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from functools import partial

import torch
from torch import Tensor, nn

from kaldi_quant.frontends.separation.networks.known import NETWORKS, Kind
from kaldi_quant.frontends.separation.networks.lengths import as_long_as
from kaldi_quant.frontends.separation.networks.norms import global_norm
from kaldi_quant.frontends.separation.networks.overlap import chunked, merged, of_each

#: Of the norms in transformers.
_EPSILON = 1e-6
#: The most frames of a chunk, and the most chunks of a recording.
POSITIONS = 2500


def _norm(channels: int) -> nn.Sequential:
    return nn.Sequential(OrderedDict(norm=nn.LayerNorm(channels, eps=_EPSILON)))


class _Attention(nn.Module):
    def __init__(self, channels: int, heads: int) -> None:
        super().__init__()
        self.att = nn.MultiheadAttention(channels, heads, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.att(x, x, x, need_weights=False)[0]


class TransformerLayer(nn.Module):
    """Attention and two linear layers, each with a norm before it and a path around both: (N, T, C) to (N, T, C).

    Args:
        channels: C.
        heads: of the attention.
        hidden: values between the linear layers.
    """

    def __init__(self, channels: int, heads: int, hidden: int) -> None:
        super().__init__()
        self.self_att = _Attention(channels, heads)
        # The third place is that of dropout, which these networks are trained without.
        ffn = nn.Sequential(nn.Linear(channels, hidden), nn.ReLU(), nn.Identity(), nn.Linear(hidden, channels))
        self.pos_ffn = nn.Sequential(OrderedDict(ffn=ffn))
        self.norm1, self.norm2 = _norm(channels), _norm(channels)

    def forward(self, x: Tensor) -> Tensor:
        """See above."""
        x = x + self.self_att(self.norm1(x))
        return x + self.pos_ffn(self.norm2(x))


class Positions(nn.Module):
    """Sines and cosines that tell places in a sequence apart: (N, T, C) to (1, T, C).

    A. Vaswani et al., "Attention is All You Need", 2017.
    """

    pe: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        rates = torch.exp(torch.arange(0, channels, 2).float() * -(math.log(10000.0) / channels))
        angles = torch.arange(POSITIONS).unsqueeze(1).float() * rates
        self.register_buffer("pe", torch.stack([angles.sin(), angles.cos()], 2).flatten(1).unsqueeze(0))

    def forward(self, x: Tensor) -> Tensor:
        """See above."""
        return self.pe[:, : x.shape[1]]


class Transformer(nn.Module):
    """Layers for sequences of which it adds the places: (N, T, C) to (N, T, C).

    Args:
        channels: C, even.
        heads: of the attention.
        hidden: values between linear layers.
        layers: how many there are.
    """

    def __init__(self, channels: int, heads: int, hidden: int, layers: int) -> None:
        super().__init__()
        of_layers = nn.Sequential(*(TransformerLayer(channels, heads, hidden) for _ in range(layers)))
        self.mdl = nn.Sequential(OrderedDict(layers=of_layers, norm=_norm(channels)))
        self.pos_enc = Positions(channels)

    def forward(self, x: Tensor) -> Tensor:
        """See above."""
        return self.mdl(x + self.pos_enc(x))


class DualPathBlock(nn.Module):
    """A transformer within chunks and one across them, with paths around both.

    Args:
        channels: C.
        heads: of the attention.
        hidden: values between linear layers.
        within: layers within chunks.
        across: layers across chunks.
    """

    def __init__(self, channels: int, heads: int, hidden: int, within: int, across: int) -> None:
        super().__init__()
        self.intra_mdl = Transformer(channels, heads, hidden, within)
        self.inter_mdl = Transformer(channels, heads, hidden, across)
        self.intra_norm, self.inter_norm = global_norm(channels), global_norm(channels)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, S, K), of S chunks with K frames, to the same."""
        within = of_each(self.intra_mdl, x.movedim(1, 3))
        x = x + self.intra_norm(within.movedim(3, 1))
        across = of_each(self.inter_mdl, x.permute(0, 3, 2, 1))
        return x + self.inter_norm(across.permute(0, 3, 2, 1))


class MaskNet(nn.Module):
    """Masks for the features of a mixture: (N, filters, T) to (N, sources, filters, T), not negative.

    Args:
        filters: of the encoder.
        channels: of the layers in chunks.
        heads: of the attention.
        hidden: values between linear layers.
        within: layers of a block within chunks.
        across: layers of a block across chunks.
        blocks: how many there are.
        sources: how many masks there are.
        chunk: frames of a chunk, even.
    """

    def __init__(
        self,
        filters: int,
        channels: int,
        heads: int,
        hidden: int,
        within: int,
        across: int,
        blocks: int,
        sources: int,
        chunk: int,
    ) -> None:
        super().__init__()
        self.channels, self.sources, self.chunk = channels, sources, chunk
        self.norm = global_norm(filters)
        self.conv1d = nn.Conv1d(filters, channels, 1, bias=False)
        self.dual_mdl = nn.Sequential(
            *(DualPathBlock(channels, heads, hidden, within, across) for _ in range(blocks)),
        )
        self.conv2d = nn.Conv2d(channels, channels * sources, 1)
        self.end_conv1x1 = nn.Conv1d(channels, filters, 1, bias=False)
        self.prelu = nn.PReLU()
        self.output = nn.Sequential(nn.Conv1d(channels, channels, 1), nn.Tanh())
        self.output_gate = nn.Sequential(nn.Conv1d(channels, channels, 1), nn.Sigmoid())

    def forward(self, features: Tensor) -> Tensor:
        """See above."""
        chunks = self.dual_mdl(chunked(self.conv1d(self.norm(features)), self.chunk))
        of_sources = self.conv2d(self.prelu(chunks)).unflatten(1, (self.sources, self.channels)).flatten(0, 1)
        x = merged(of_sources, self.chunk, features.shape[-1])
        masks = torch.relu(self.end_conv1x1(self.output(x) * self.output_gate(x)))
        return masks.unflatten(0, (-1, self.sources))


class _Encoder(nn.Module):
    def __init__(self, channels: int, filters: int, window: int, stride: int) -> None:
        super().__init__()
        self.conv1d = nn.Conv1d(channels, filters, window, stride=stride, bias=False)

    def forward(self, mixture: Tensor) -> Tensor:
        """(N, channels, samples) to (N, filters, T), not negative."""
        return torch.relu(self.conv1d(mixture))


class Sepformer(nn.Module):
    """The network: mixtures (N, 1, samples) to sources (N, sources, 1, samples).

    The last samples, of which no whole frame can be made, are zeros. A recording has ``POSITIONS`` chunks at most:
    at full size five minutes of 8 kHz.

    Args:
        sources: how many there are; 1 for speech enhancement.
        filters: of the encoder.
        window: samples that a filter sees.
        stride: samples between frames.
        channels: of the layers in chunks, even.
        heads: of the attention.
        hidden: values between linear layers.
        within: layers of a block within chunks.
        across: layers of a block across chunks.
        blocks: how many there are.
        chunk: frames of a chunk, even.

    Example:
        >>> network = Sepformer(filters=16, channels=8, heads=2, hidden=16, within=1, across=1, blocks=1, chunk=20)
        >>> network(torch.randn(1, 1, 8001)).shape
        torch.Size([1, 2, 1, 8001])
    """

    def __init__(
        self,
        sources: int = 2,
        filters: int = 256,
        window: int = 16,
        stride: int = 8,
        channels: int = 256,
        heads: int = 8,
        hidden: int = 1024,
        within: int = 8,
        across: int = 8,
        blocks: int = 2,
        chunk: int = 250,
    ) -> None:
        super().__init__()
        self.sources = sources
        self.encoder = _Encoder(1, filters, window, stride)
        self.masknet = MaskNet(filters, channels, heads, hidden, within, across, blocks, sources, chunk)
        self.decoder = nn.ConvTranspose1d(filters, 1, window, stride=stride, bias=False)

    def forward(self, mixture: Tensor) -> Tensor:
        """See above."""
        features = self.encoder(mixture)
        masked = self.masknet(features) * features.unsqueeze(1)
        signals = self.decoder(masked.flatten(0, 1)).unflatten(0, (-1, self.sources))
        return as_long_as(signals, mixture)


_SIZES = {"filters": 64, "window": 32, "stride": 16, "channels": 32, "heads": 4, "hidden": 64}
#: Of the reduced network: frames of 4 ms every 2 ms in chunks of 100 ms.
_SMALL = {**_SIZES, "within": 1, "across": 1, "blocks": 1, "chunk": 50}
_kind = partial(Kind, rate=8000, encoders=("encoder.conv1d",))
NETWORKS.add("sepformer")(_kind(Sepformer))
NETWORKS.add("sepformer-small")(_kind(partial(Sepformer, **_SMALL)))
