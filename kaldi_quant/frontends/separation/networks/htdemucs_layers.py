"""The layers of HTDemucs before and behind its transformer: over frequency in one branch, over time in the other.

A. Défossez, "Hybrid Spectrogram and Waveform Source Separation", 2021; parameters are named as in demucs 4.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

# Of weights of convolutions, towards which they are scaled when they are drawn.
_DEVIATION = 0.1
# Of a residual branch.
_KERNEL = 3


class LayerScale(nn.Module):
    """Multiplies each channel by a number that is learned (H. Touvron et al., "Going deeper with image transformers").

    Args:
        channels: of the input.
        initial: the numbers at first.
        last: whether channels are the last axis; else the one before it.
    """

    def __init__(self, channels: int, initial: float, last: bool = False) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.full((channels,), initial))
        self.last = last

    def forward(self, x: Tensor) -> Tensor:
        """(..., channels, T), or (..., T, channels), to the same."""
        return x * (self.scale if self.last else self.scale.unsqueeze(-1))


class ResidualBranch(nn.Module):
    """Dilated convolutions over time in few channels, added to what came in ("DConv"): (N, channels, T) to the same.

    Args:
        channels: that come in, and go out.
        depth: how many; the i-th has the dilation 2 ** i.
        compression: by how many times channels are fewer within.
        initial: what the branch is multiplied by at first.
    """

    def __init__(self, channels: int, depth: int, compression: float, initial: float = 1e-3) -> None:
        super().__init__()
        hidden = int(channels / compression)
        self.layers = nn.ModuleList(
            nn.Sequential(
                nn.Conv1d(channels, hidden, _KERNEL, dilation=2**place, padding=2**place * (_KERNEL // 2)),
                nn.GroupNorm(1, hidden),
                nn.GELU(),
                nn.Conv1d(hidden, 2 * channels, 1),
                nn.GroupNorm(1, 2 * channels),
                nn.GLU(1),
                LayerScale(channels, initial),
            )
            for place in range(depth)
        )

    def forward(self, x: Tensor) -> Tensor:
        """See above."""
        for layer in self.layers:
            x = x + layer(x)
        return x


class _Layer(nn.Module):
    """What layers of both branches, and of both halves, have in common.

    Args:
        over_frequency: whether it is of the branch of spectra (N, channels, bins, frames); else of waves (N, channels,
            samples).
        kernel: of its convolution over bins or samples.
        stride: of its convolution, half of the kernel.
    """

    def __init__(self, over_frequency: bool, kernel: int, stride: int) -> None:
        super().__init__()
        self.over_frequency, self.stride, self.cut = over_frequency, stride, kernel // 4
        #: Of the convolution; along the axis of frames nothing happens.
        self.sizes: tuple[Any, Any] = ((kernel, 1), (stride, 1)) if over_frequency else (kernel, stride)

    def _over_time(self, branch: nn.Module, x: Tensor) -> Tensor:
        """What a residual branch makes of each bin's values over time."""
        if not self.over_frequency:
            return branch(x)
        return branch(x.transpose(1, 2).flatten(0, 1)).unflatten(0, (-1, x.shape[2])).transpose(1, 2)


class EncoderLayer(_Layer):
    """Fewer bins or samples, more channels.

    Args:
        before: channels that come in.
        after: channels that go out.
        branch: of it; None for none.
        others: as of ``_Layer``.
    """

    def __init__(self, before: int, after: int, branch: nn.Module | None, **others: Any) -> None:
        super().__init__(**others)
        convolution = nn.Conv2d if self.over_frequency else nn.Conv1d
        padding: Any = (self.cut, 0) if self.over_frequency else self.cut
        self.conv = convolution(before, after, *self.sizes, padding)
        self.rewrite = convolution(after, 2 * after, 1)
        self.dconv = branch

    def forward(self, x: Tensor) -> Tensor:
        """(N, before, n, ...) to (N, after, n / stride, ...), rounded up."""
        if not self.over_frequency:
            x = functional.pad(x, (0, -x.shape[-1] % self.stride))
        y = functional.gelu(self.conv(x))
        if self.dconv is not None:
            y = self._over_time(self.dconv, y)
        return functional.glu(self.rewrite(y), dim=1)


class DecoderLayer(_Layer):
    """More bins or samples, fewer channels.

    Args:
        before: channels that come in.
        after: channels that go out.
        branch: of it; None for none.
        context: neighbours on each side that are seen before.
        is_last: whether it gives signals.
        others: as of ``_Layer``.
    """

    def __init__(
        self, before: int, after: int, branch: nn.Module | None, context: int, is_last: bool, **others: Any
    ) -> None:
        super().__init__(**others)
        convolution = nn.Conv2d if self.over_frequency else nn.Conv1d
        transposed = nn.ConvTranspose2d if self.over_frequency else nn.ConvTranspose1d
        self.conv_tr = transposed(before, after, *self.sizes)
        self.rewrite = convolution(before, 2 * before, 1 + 2 * context, padding=context)
        self.dconv, self.is_last = branch, is_last

    def forward(self, x: Tensor, skipped: Tensor, length: int) -> Tensor:
        """(N, before, n, ...) to (N, after, length, ...).

        Args:
            x: from the layer before.
            skipped: what the encoder's layer of the same size gave.
            length: bins or samples that went into that one.
        """
        y = functional.glu(self.rewrite(x + skipped), dim=1)
        if self.dconv is not None:
            y = self._over_time(self.dconv, y)
        z = self.conv_tr(y)
        z = z[:, :, self.cut : self.cut + length]
        return z if self.is_last else functional.gelu(z)


class FrequencyEmbedding(nn.Module):
    """Adds to each bin what tells it from others: (N, channels, bins, frames) to the same.

    Args:
        bins: of the input.
        channels: of the input.
        share: what the embedding is multiplied by.
        scale: likewise; its values are so many times smaller, and learn so many times faster.
    """

    def __init__(self, bins: int, channels: int, share: float = 0.2, scale: float = 10.0) -> None:
        super().__init__()
        self.embedding = nn.Embedding(bins, channels)
        self.factor = share * scale
        with torch.no_grad():
            # Neighbouring bins are alike at first.
            walked = self.embedding.weight.cumsum(0) / torch.arange(1, bins + 1).sqrt().unsqueeze(1)
            self.embedding.weight.copy_(walked / scale)

    def forward(self, x: Tensor) -> Tensor:
        """See above."""
        return x + (self.embedding.weight * self.factor).t().unsqueeze(-1)


def rescale(network: nn.Module) -> None:
    """Brings the parameters of convolutions that were just drawn nearer to one deviation."""
    for module in network.modules():
        if isinstance(module, nn.Conv1d | nn.Conv2d | nn.ConvTranspose1d | nn.ConvTranspose2d):
            with torch.no_grad():
                factor = (module.weight.std() / _DEVIATION).sqrt()
                for parameter in module.parameters():
                    parameter.div_(factor)
