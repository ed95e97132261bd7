"""CRN: convolutions over frequency, an LSTM over time, transposed convolutions back; causal.

K. Tan and D. Wang, "A Convolutional Recurrent Neural Network for Real-Time Speech Enhancement", 2018, in the two sizes
of MB-QAT: ``CRN_original`` (17.5 million parameters) and ``CRN_100k``.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from kaldi_quant.errors import UsageError
from kaldi_quant.frontends.enhancement.networks.past import Past, States

# (time, frequency) of all convolutions: two frames, every other bin.
_KERNEL, _STRIDE = (2, 3), (1, 2)
# Frames that they see again.
_CONTEXT = 1
# Deviation and mean of what softplus makes magnitudes of, at the beginning: most bins of speech are nearly empty, and
# few are loud. From 1 and 0 on training would take thousands of steps to get there.
_MAGNITUDES = 3.0, -4.0
# Transposed ones give what the first frame alone leads to, and what the last one would lead to: both are cut off.
_CUT = (_CONTEXT, 0)


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
        >>> mask, states = network(torch.rand(1, 1, 161), network.states())
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
            nn.Conv2d(before, after, _KERNEL, _STRIDE) for before, after in pairwise([1, *channels])
        )
        self.encoder_norm = nn.ModuleList(nn.BatchNorm2d(count) for count in channels)
        hidden = channels[-1] * sizes[-1]
        self.lstm: nn.Module = nn.LSTM(hidden, hidden, layers, batch_first=True)
        self._states = layers, hidden
        self.decoder = nn.ModuleList()
        self.decoder_norm = nn.ModuleList(nn.BatchNorm2d(count) for count in decoder)
        # What encoders and decoders read: channels, and bins.
        self._encoded = list(zip([1, *channels[:-1]], sizes, strict=False))
        self._decoded: list[tuple[int, int]] = []
        before = 2 * channels[-1]
        for place, after in enumerate(decoder):
            small, large = sizes[-1 - place], sizes[-2 - place]
            beyond = large - ((small - 1) * _STRIDE[1] + _KERNEL[1])
            self._decoded.append((before, small))
            self.decoder.append(nn.ConvTranspose2d(before, after, _KERNEL, _STRIDE, _CUT, output_padding=(0, beyond)))
            before = after + (channels[-2 - place] if place + 1 < len(channels) else 0)
        if not mask:
            last = self.decoder_norm[-1]
            assert isinstance(last, nn.BatchNorm2d)
            for parameter, value in zip((last.weight, last.bias), _MAGNITUDES, strict=True):
                nn.init.constant_(parameter, value)

    def forward(self, magnitude: Tensor, states: States | None = None) -> Tensor | tuple[Tensor, States]:
        """(N, T, bins): a mask, from 0 to 1, or a magnitude; and the states after these frames, if some are given.

        Args:
            magnitude: (N, T, bins), of noisy speech.
            states: of the frames before, for a stream; by default there were none.
        """
        past = Past(states)
        x = magnitude.unsqueeze(1)
        alone = _without_a_frame_before(x, past)
        kept = []
        for conv, norm in zip(self.encoder, self.encoder_norm, strict=True):
            x = functional.elu(norm(conv(past.before(x, _CONTEXT))))
            kept.append(x)
        batch, channels, frames, size = x.shape
        x = past.recurrent(self.lstm, x.transpose(1, 2).reshape(batch, frames, channels * size))
        x = x.reshape(batch, frames, channels, size).transpose(1, 2)
        x = torch.cat([x, kept.pop()], 1)
        for conv, norm in zip(self.decoder, self.decoder_norm, strict=True):
            x = conv(past.before(x, _CONTEXT))
            if alone is None:
                x = x[:, :, _CONTEXT:]
            x = norm(_silenced(x, alone)) if self.pad_first else _silenced(norm(x), alone)
            if kept:
                x = functional.elu(torch.cat([x, kept.pop()], 1))
        x = x.squeeze(1)
        return past.result(torch.sigmoid(x) if self.mask else functional.softplus(x))

    def states(self, batch: int = 1) -> States:
        """What a stream begins with: zeros.

        Whether a frame came before, (batch, 1, 1, 1); a frame of what each encoder reads, (batch, channels, 1, bins);
        the hidden state and the memory of the LSTM, (layers, batch, hidden) each; and a frame of what each decoder
        reads, likewise.
        """
        layers, hidden = self._states
        recurrent = torch.zeros(layers, batch, hidden)
        frames = (torch.zeros(batch, count, _CONTEXT, size) for count, size in (*self._encoded, *self._decoded))
        encoded = [next(frames) for _ in self._encoded]
        return (torch.zeros(batch, 1, _CONTEXT, 1), *encoded, recurrent, recurrent.clone(), *frames)


def _without_a_frame_before(x: Tensor, past: Past) -> Tensor | None:
    """(N, 1, T, 1): true for the first frame of all; None for a whole recording. x: (N, channels, T, bins)."""
    if not past.is_given:
        return None
    there = past.before(torch.ones_like(x[:, :1, :, :1]), _CONTEXT)
    return there[:, :, :-_CONTEXT] == 0


def _silenced(x: Tensor, alone: Tensor | None) -> Tensor:
    """A decoder's output with zeros for the first frame of all.

    Args:
        x: (N, channels, T, bins), of a whole recording without that frame.
        alone: where that frame is; None for a whole recording.
    """
    if alone is None:
        return functional.pad(x, (0, 0, _CONTEXT, 0))
    return x.masked_fill(alone, 0.0)


def crn_100k(**sizes: Any) -> CRN:
    """``CRN_100k``: 99,944 parameters, gives a mask; or with other arguments of ``CRN``."""
    return CRN(**sizes)


def crn_original(**sizes: Any) -> CRN:
    """``CRN_original``: 17,579,459 parameters, gives a magnitude; or with other arguments of ``CRN``."""
    published: dict[str, Any] = {"channels": (16, 32, 64, 128, 256), "decoder": (128, 64, 32, 16, 1)}
    return CRN(**{**published, "mask": False, "pad_first": True, **sizes})
