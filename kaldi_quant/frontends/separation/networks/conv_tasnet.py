"""Conv-TasNet: learned filters, and masks for what they give from a stack of dilated convolutions.

Y. Luo and N. Mesgarani, "Conv-TasNet: Surpassing Ideal Time-Frequency Magnitude Masking for Speech Separation", 2019.
The sizes, the order of layers and the names of parameters are those of FQSS and of asteroid's ``ConvTasNet``: skip
connections beside residual ones, norms over whole recordings, masks by ReLU, no activation behind the encoder. asteroid
calls the filters ``encoder.filterbank._filters`` and the parameters of norms ``gamma`` and ``beta``.
"""

from __future__ import annotations

from functools import partial

from torch import Tensor, nn

from kaldi_quant.frontends.separation.networks.known import NETWORKS, Kind
from kaldi_quant.frontends.separation.networks.lengths import as_long_as
from kaldi_quant.frontends.separation.networks.norms import global_norm


class TemporalBlock(nn.Module):
    """A separable dilated convolution with a path to the next block and one to the masks.

    Args:
        channels: that come in, and go out on both paths.
        hidden: channels of the convolution over time.
        kernel: of the convolution over time; odd.
        dilation: of the convolution over time.
    """

    def __init__(self, channels: int, hidden: int, kernel: int, dilation: int) -> None:
        super().__init__()
        around = (kernel - 1) * dilation // 2
        self.shared_block = nn.Sequential(
            nn.Conv1d(channels, hidden, 1),
            nn.PReLU(),
            global_norm(hidden),
            nn.Conv1d(hidden, hidden, kernel, padding=around, dilation=dilation, groups=hidden),
            nn.PReLU(),
            global_norm(hidden),
        )
        self.res_conv = nn.Conv1d(hidden, channels, 1)
        self.skip_conv = nn.Conv1d(hidden, channels, 1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(N, channels, T): what is added to the input of the next block, and to that of the masks."""
        shared = self.shared_block(x)
        return self.res_conv(shared), self.skip_conv(shared)


class Masker(nn.Module):
    """Masks for the features of a mixture: (N, filters, T) to (N, sources * filters, T), not negative.

    Args:
        filters: of the encoder.
        sources: how many masks there are.
        bottleneck: channels between blocks.
        hidden: channels within a block.
        kernel: of convolutions over time.
        blocks: with dilations 1, 2, 4 ... of one repeat.
        repeats: of these blocks.
    """

    def __init__(
        self, filters: int, sources: int, bottleneck: int, hidden: int, kernel: int, blocks: int, repeats: int
    ) -> None:
        super().__init__()
        self.bottleneck = nn.Sequential(global_norm(filters), nn.Conv1d(filters, bottleneck, 1))
        self.TCN = nn.ModuleList(
            TemporalBlock(bottleneck, hidden, kernel, 2**place) for _ in range(repeats) for place in range(blocks)
        )
        self.mask_net = nn.Sequential(nn.PReLU(), nn.Conv1d(bottleneck, sources * filters, 1), nn.ReLU())

    def forward(self, features: Tensor) -> Tensor:
        """See above."""
        x = self.bottleneck(features)
        residual, skipped = self.TCN[0](x)
        for block in self.TCN[1:]:
            x = x + residual
            residual, skip = block(x)
            skipped = skipped + skip
        return self.mask_net(skipped)


class ConvTasNet(nn.Module):
    """The network: mixtures (N, channels, samples) to sources (N, sources, channels, samples).

    The last samples, of which no whole frame can be made, are zeros.

    Args:
        sources: how many there are; 1 for speech enhancement.
        channels: of the mixture and of each source.
        filters: of the encoder.
        window: samples that a filter sees.
        stride: samples between frames.
        bottleneck: channels between blocks.
        hidden: channels within a block.
        kernel: of convolutions over time.
        blocks: with dilations 1, 2, 4 ... of one repeat.
        repeats: of these blocks.

    Example:
        >>> network = ConvTasNet(filters=32, bottleneck=8, hidden=16, blocks=2, repeats=1)
        >>> network(torch.randn(1, 1, 8001)).shape
        torch.Size([1, 2, 1, 8001])
    """

    def __init__(
        self,
        sources: int = 2,
        channels: int = 1,
        filters: int = 512,
        window: int = 16,
        stride: int = 8,
        bottleneck: int = 128,
        hidden: int = 512,
        kernel: int = 3,
        blocks: int = 8,
        repeats: int = 3,
    ) -> None:
        super().__init__()
        self.sources, self.filters = sources, filters
        self.encoder = nn.Conv1d(channels, filters, window, stride=stride, bias=False)
        self.masker = Masker(filters, sources, bottleneck, hidden, kernel, blocks, repeats)
        self.decoder = nn.ConvTranspose1d(filters, channels, window, stride=stride, bias=False)
        for filterbank in (self.encoder, self.decoder):
            nn.init.xavier_normal_(filterbank.weight)

    def forward(self, mixture: Tensor) -> Tensor:
        """See above."""
        features = self.encoder(mixture)
        masks = self.masker(features).unflatten(1, (self.sources, self.filters))
        masked = masks * features.unsqueeze(1)
        signals = self.decoder(masked.flatten(0, 1)).unflatten(0, (-1, self.sources))
        return as_long_as(signals, mixture)


#: Of the reduced network: frames of 4 ms every 2 ms, and 190 ms of context on each side.
_SMALL = {"filters": 64, "window": 32, "stride": 16, "bottleneck": 32, "hidden": 64, "blocks": 5, "repeats": 2}
NETWORKS.add("conv-tasnet")(Kind(ConvTasNet, 8000))
NETWORKS.add("conv-tasnet-small")(Kind(partial(ConvTasNet, **_SMALL), 8000))
