"""DPTNet: transformers whose feed-forward part is recurrent, by turns within chunks of a recording and across them.

J. Chen, Q. Mao and D. Liu, "Dual-Path Transformer Network: Direct Context-Aware Modeling for End-to-End Monaural
Speech Separation", 2020. Structure, sizes and names of parameters are those of the paper's public code, which FQSS
has, too: 256 filters of two samples, a bottleneck of 64 channels, ``LayerNorm`` behind each half of a layer, chunks
that are added up without a factor, and a decoder that is a linear layer before the overlap-add. asteroid's ``DPTNet``
is another network: it has no bottleneck, norms over whole recordings, and transposed convolutions.
"""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor, nn

from kaldi_quant.frontends.separation.networks.known import NETWORKS, Kind
from kaldi_quant.frontends.separation.networks.lengths import as_long_as
from kaldi_quant.frontends.separation.networks.norms import global_norm
from kaldi_quant.frontends.separation.networks.overlap import chunked, merged, of_each, overlap_add


class RecurrentTransformer(nn.Module):
    """A layer of a transformer with an LSTM in the place of the first feed-forward layer: (N, T, C) to (N, T, C).

    Args:
        channels: C.
        heads: of the attention.
        hidden: units of the LSTM for each of its two directions.
    """

    def __init__(self, channels: int, heads: int, hidden: int) -> None:
        super().__init__()
        self.self_attn = nn.MultiheadAttention(channels, heads, batch_first=True)
        self.lstm = nn.LSTM(channels, hidden, bidirectional=True, batch_first=True)
        self.linear = nn.Linear(2 * hidden, channels)
        self.norm1, self.norm2 = nn.LayerNorm(channels), nn.LayerNorm(channels)

    def forward(self, x: Tensor) -> Tensor:
        """See above."""
        x = self.norm1(x + self.self_attn(x, x, x, need_weights=False)[0])
        return self.norm2(x + self.linear(torch.relu(self.lstm(x)[0])))


class _Wrapped(nn.Module):
    # Only for the names of parameters.
    def __init__(self, transformer: RecurrentTransformer) -> None:
        super().__init__()
        self.transformer = transformer

    def forward(self, x: Tensor) -> Tensor:
        return self.transformer(x)


class DualPath(nn.Module):
    """Layers within chunks and across them: (N, C, S, K) to (N, outputs, S, K), of S chunks with K frames.

    Args:
        channels: C.
        heads: of the attention.
        hidden: units of an LSTM for each of its two directions.
        outputs: channels that go out.
        layers: of either kind.
    """

    def __init__(self, channels: int, heads: int, hidden: int, outputs: int, layers: int) -> None:
        super().__init__()
        self.row_transformer, self.col_transformer = (
            nn.ModuleList(_Wrapped(RecurrentTransformer(channels, heads, hidden)) for _ in range(layers))
            for _ in range(2)
        )
        self.output = nn.Sequential(nn.PReLU(), nn.Conv2d(channels, outputs, 1))

    def forward(self, chunks: Tensor) -> Tensor:
        """See above."""
        x = chunks.movedim(1, 3)
        for within, across in zip(self.row_transformer, self.col_transformer, strict=True):
            x = of_each(within, x)
            x = of_each(across, x.transpose(1, 2)).transpose(1, 2)
        return self.output(x.movedim(3, 1))


class Separator(nn.Module):
    """From what the encoder gives, (N, filters, T), to what masks are made of, (N * sources, channels, T).

    Args:
        filters: of the encoder.
        channels: of all layers behind the first.
        heads: of the attention.
        hidden: units of an LSTM for each of its two directions.
        sources: how many there are.
        layers: within chunks, and as many across them.
        chunk: frames of a chunk, even.
    """

    def __init__(
        self, filters: int, channels: int, heads: int, hidden: int, sources: int, layers: int, chunk: int
    ) -> None:
        super().__init__()
        self.channels, self.sources, self.chunk = channels, sources, chunk
        self.BN = nn.Conv1d(filters, channels, 1, bias=False)
        self.DPT = DualPath(channels, heads, hidden, channels * sources, layers)
        self.output = nn.Sequential(nn.Conv1d(channels, channels, 1), nn.Tanh())
        self.output_gate = nn.Sequential(nn.Conv1d(channels, channels, 1), nn.Sigmoid())

    def forward(self, features: Tensor) -> Tensor:
        """See above."""
        chunks = self.DPT(chunked(self.BN(features), self.chunk))
        of_sources = chunks.unflatten(1, (self.sources, self.channels)).flatten(0, 1)
        x = merged(of_sources, self.chunk, features.shape[-1])
        return self.output(x) * self.output_gate(x)


class _Encoder(nn.Module):
    def __init__(self, channels: int, filters: int, window: int) -> None:
        super().__init__()
        self.conv1d_U = nn.Conv1d(channels, filters, window, stride=window // 2, bias=False)

    def forward(self, mixture: Tensor) -> Tensor:
        """(N, channels, samples) to (N, filters, T), not negative."""
        return torch.relu(self.conv1d_U(mixture))


class _Decoder(nn.Module):
    def __init__(self, filters: int, window: int) -> None:
        super().__init__()
        self.window = window
        self.basis_signals = nn.Linear(filters, window, bias=False)

    def forward(self, features: Tensor) -> Tensor:
        """(N, sources, filters, T) to (N, sources, samples)."""
        return overlap_add(self.basis_signals(features.transpose(2, 3)), self.window)


class DPTNet(nn.Module):
    """The network: mixtures (N, 1, samples) to sources (N, sources, 1, samples).

    Args:
        sources: how many there are; 1 for speech enhancement.
        filters: of the encoder.
        window: samples that a filter sees, even; there are frames after each half of it.
        channels: of the layers in chunks.
        heads: of the attention.
        hidden: units of an LSTM for each of its two directions.
        layers: within chunks, and as many across them.
        chunk: frames of a chunk, even.

    Example:
        >>> network = DPTNet(filters=16, window=32, channels=8, heads=2, hidden=4, layers=1, chunk=20)
        >>> network(torch.randn(1, 1, 8001)).shape
        torch.Size([1, 2, 1, 8001])
    """

    def __init__(
        self,
        sources: int = 2,
        filters: int = 256,
        window: int = 2,
        channels: int = 64,
        heads: int = 4,
        hidden: int = 128,
        layers: int = 6,
        chunk: int = 250,
    ) -> None:
        super().__init__()
        self.sources, self.filters = sources, filters
        self.encoder = _Encoder(1, filters, window)
        self.enc_LN = global_norm(filters)
        self.separator = Separator(filters, channels, heads, hidden, sources, layers, chunk)
        self.mask_conv1x1 = nn.Sequential(nn.Conv1d(channels, filters, 1, bias=False), nn.ReLU())
        self.decoder = _Decoder(filters, window)

    def forward(self, mixture: Tensor) -> Tensor:
        """See above."""
        features = self.encoder(mixture)
        masks = self.mask_conv1x1(self.separator(self.enc_LN(features))).unflatten(0, (-1, self.sources))
        signals = self.decoder(masks * features.unsqueeze(1))
        return as_long_as(signals, mixture).unsqueeze(2)


#: Of the reduced network: frames of 4 ms every 2 ms in chunks of 100 ms.
_SMALL = {"filters": 64, "window": 32, "channels": 32, "heads": 4, "hidden": 32, "layers": 1, "chunk": 50}
_kind = partial(Kind, rate=8000, encoders=("encoder.conv1d_U",), decoders=("decoder.basis_signals",))
NETWORKS.add("dptnet")(_kind(DPTNet))
NETWORKS.add("dptnet-small")(_kind(partial(DPTNet, **_SMALL)))
