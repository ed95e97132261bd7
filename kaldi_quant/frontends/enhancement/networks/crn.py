"""CRN: convolutions over frequency, an LSTM over time, transposed convolutions back; causal.

K. Tan and D. Wang, "A Convolutional Recurrent Neural Network for Real-Time Speech Enhancement", 2018, in the two sizes
of MB-QAT: ``CRN_original`` (17.5 million parameters) and ``CRN_100k``.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

from kaldi_quant.errors import UsageError

# (time, frequency) of all convolutions: two frames, every other bin.
_KERNEL, _STRIDE, _PADDING = (2, 3), (1, 2), (1, 0)


class CRN(nn.Module):
    """The network.

    Args:
        bins: of a spectrum.
        channels: of the encoder's outputs.
        layers: of the LSTM, whose size is that of what the encoder gives for a frame.
        decoder: channels of the decoder's outputs, the last of them 1.
        mask: whether the output is a mask (sigmoid), and else a magnitude (softplus).
        pad_first: whether the row of zeros before the first frame comes before batch normalization in the decoder.

    Raises:
        UsageError: there are not as many decoders as encoders, or the last one gives several channels.

    Example:
        >>> network = crn_100k()
        >>> network(torch.rand(1, 50, 161)).shape
        torch.Size([1, 50, 161])
    """

    def __init__(
        self,
        bins: int = 161,
        channels: Sequence[int] = (2, 4, 8, 11, 19),
        layers: int = 2,
        decoder: Sequence[int] = (11, 8, 4, 2, 1),
        mask: bool = True,
        pad_first: bool = False,
    ) -> None:
        super().__init__()
        if len(decoder) != len(channels) or decoder[-1] != 1:
            raise UsageError("expected as many decoders as encoders, the last of which gives one channel")
        self.bins, self.mask, self.pad_first = bins, mask, pad_first
        sizes = [bins]
        for _ in channels:
            sizes.append((sizes[-1] - _KERNEL[1]) // _STRIDE[1] + 1)
        self.encoder = nn.ModuleList(
            nn.Conv2d(before, after, _KERNEL, _STRIDE, _PADDING) for before, after in pairwise([1, *channels])
        )
        self.encoder_norm = nn.ModuleList(nn.BatchNorm2d(count) for count in channels)
        hidden = channels[-1] * sizes[-1]
        self.lstm = nn.LSTM(hidden, hidden, layers, batch_first=True)
        self.decoder = nn.ModuleList()
        self.decoder_norm = nn.ModuleList(nn.BatchNorm2d(count) for count in decoder)
        before = 2 * channels[-1]
        for place, after in enumerate(decoder):
            small, large = sizes[-1 - place], sizes[-2 - place]
            beyond = large - ((small - 1) * _STRIDE[1] + _KERNEL[1])
            self.decoder.append(
                nn.ConvTranspose2d(before, after, _KERNEL, _STRIDE, _PADDING, output_padding=(0, beyond))
            )
            before = after + (channels[-2 - place] if place + 1 < len(channels) else 0)

    def forward(self, magnitude: Tensor) -> Tensor:
        """(N, T, bins): a mask, from 0 to 1, or a magnitude.

        Args:
            magnitude: (N, T, bins), of noisy speech.
        """
        x = magnitude.unsqueeze(1)
        kept = []
        for conv, norm in zip(self.encoder, self.encoder_norm, strict=True):
            # The last row of time sees the frame behind the signal.
            x = functional.elu(norm(conv(x)[:, :, :-1]))
            kept.append(x)
        batch, channels, frames, size = x.shape
        x, _ = self.lstm(x.transpose(1, 2).reshape(batch, frames, channels * size))
        x = x.reshape(batch, frames, channels, size).transpose(1, 2)
        x = torch.cat([x, kept.pop()], 1)
        for conv, norm in zip(self.decoder, self.decoder_norm, strict=True):
            x = conv(x)
            x = norm(functional.pad(x, (0, 0, 1, 0))) if self.pad_first else functional.pad(norm(x), (0, 0, 1, 0))
            if kept:
                x = functional.elu(torch.cat([x, kept.pop()], 1))
        x = x.squeeze(1)
        return torch.sigmoid(x) if self.mask else functional.softplus(x)


def crn_100k() -> CRN:
    """``CRN_100k``: 99,944 parameters, gives a mask."""
    return CRN()


def crn_original() -> CRN:
    """``CRN_original``: 17,579,459 parameters, gives a magnitude."""
    return CRN(channels=(16, 32, 64, 128, 256), decoder=(128, 64, 32, 16, 1), mask=False, pad_first=True)
