"""Conv-TasNet for music: two channels in, two channels of each stem out.

Y. Luo and N. Mesgarani, "Conv-TasNet: Surpassing Ideal Time-Frequency Magnitude Masking for Speech Separation", 2019,
in the form that the repository of Demucs trained for music (``tasnet.py``) and that FQSS quantized: a ReLU behind the
encoder, a norm of each frame over its channels before the masks, residual connections only, and a decoder that gives
frames to be added up. Parameters are named as there, but for those of the encoder, the decoder and the norms.
"""

from __future__ import annotations

from functools import partial

from torch import Tensor, nn
from torch.nn import functional

from kaldi_quant.errors import UsageError
from kaldi_quant.frontends.separation.networks.known import NETWORKS, STEMS, Kind
from kaldi_quant.frontends.separation.networks.lengths import as_long_as
from kaldi_quant.frontends.separation.networks.norms import EPSILON, global_norm
from kaldi_quant.frontends.separation.networks.overlap import overlap_add


class FrameNorm(nn.LayerNorm):
    """Normalizes each frame over its channels ("cLN"): (N, channels, T) to the same."""

    def forward(self, input: Tensor) -> Tensor:
        """See above."""
        return super().forward(input.transpose(1, 2)).transpose(1, 2)


class _Path(nn.Module):
    """Layers one after another, named ``net``."""

    def __init__(self, *layers: nn.Module) -> None:
        super().__init__()
        self.net = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x)


class Block(_Path):
    """A separable dilated convolution with a path around it: (N, channels, T) to the same.

    Args:
        channels: that come in, and go out.
        hidden: channels of the convolution over time.
        kernel: of the convolution over time; odd.
        dilation: of the convolution over time.
    """

    def __init__(self, channels: int, hidden: int, kernel: int, dilation: int) -> None:
        around = (kernel - 1) * dilation // 2
        separable = _Path(
            nn.Conv1d(hidden, hidden, kernel, padding=around, dilation=dilation, groups=hidden, bias=False),
            nn.PReLU(),
            global_norm(hidden),
            nn.Conv1d(hidden, channels, 1, bias=False),
        )
        super().__init__(nn.Conv1d(channels, hidden, 1, bias=False), nn.PReLU(), global_norm(hidden), separable)

    def forward(self, x: Tensor) -> Tensor:
        """See above."""
        return super().forward(x) + x


class Separator(nn.Module):
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
        self.network = nn.Sequential(
            FrameNorm(filters, eps=EPSILON),
            nn.Conv1d(filters, bottleneck, 1, bias=False),
            nn.Sequential(
                *(
                    nn.Sequential(*(Block(bottleneck, hidden, kernel, 2**place) for place in range(blocks)))
                    for _ in range(repeats)
                )
            ),
            nn.Conv1d(bottleneck, sources * filters, 1, bias=False),
            nn.ReLU(),
        )

    def forward(self, features: Tensor) -> Tensor:
        """See above."""
        return self.network(features)


class ConvTasNetMusic(nn.Module):
    """The network: mixtures (N, channels, samples) to sources (N, sources, channels, samples).

    The last samples, of which no whole frame can be made, are zeros.

    Args:
        sources: how many there are.
        channels: of the mixture and of each source.
        filters: of the encoder.
        window: samples that a filter sees; half as many lie between frames.
        bottleneck: channels between blocks.
        hidden: channels within a block.
        kernel: of convolutions over time.
        blocks: with dilations 1, 2, 4 ... of one repeat.
        repeats: of these blocks.

    Raises:
        UsageError: frames cannot overlap by half.

    Example:
        >>> network = ConvTasNetMusic(filters=32, bottleneck=8, hidden=16, blocks=2, repeats=1)
        >>> network(torch.randn(1, 2, 8001)).shape
        torch.Size([1, 4, 2, 8001])
    """

    def __init__(
        self,
        sources: int = len(STEMS),
        channels: int = 2,
        filters: int = 256,
        window: int = 20,
        bottleneck: int = 256,
        hidden: int = 512,
        kernel: int = 3,
        blocks: int = 10,
        repeats: int = 4,
    ) -> None:
        super().__init__()
        if window % 2:
            raise UsageError(f"frames overlap by half: expected an even window, found {window} samples")
        self.sources, self.channels, self.filters, self.window = sources, channels, filters, window
        self.encoder = nn.Conv1d(channels, filters, window, stride=window // 2, bias=False)
        self.separator = Separator(filters, sources, bottleneck, hidden, kernel, blocks, repeats)
        self.decoder = nn.Linear(filters, channels * window, bias=False)
        for parameter in self.parameters():
            if parameter.dim() > 1:
                nn.init.xavier_normal_(parameter)

    def forward(self, mixture: Tensor) -> Tensor:
        """See above."""
        features = functional.relu(self.encoder(mixture))
        masks = self.separator(features).unflatten(1, (self.sources, self.filters))
        masked = masks * features.unsqueeze(1)
        frames = self.decoder(masked.transpose(2, 3)).unflatten(3, (self.channels, -1))
        return as_long_as(overlap_add(frames.transpose(2, 3), self.window), mixture)


#: Of the reduced network: frames of 5 ms every 2.5 ms, and 300 ms of context on each side.
_SMALL = {"filters": 64, "window": 40, "bottleneck": 32, "hidden": 64, "blocks": 6, "repeats": 2}
NETWORKS.add("conv-tasnet-music")(Kind(ConvTasNetMusic, 44100, STEMS, is_ordered=True, channels=2))
NETWORKS.add("conv-tasnet-music-small")(
    Kind(partial(ConvTasNetMusic, **_SMALL), 8000, STEMS, is_ordered=True, channels=2)
)
