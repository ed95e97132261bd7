"""The beginnings of quantized networks: signals as parts of few bits, at a level of their own.

What FQSS has for it (doi 10.1109/OJSP.2024.3425287), with a level for each mixture and not for a minibatch, and given
back to what comes out.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterable
from typing import Literal, get_args

import torch
from torch import Tensor, nn

from kaldi_quant.errors import DataError, ModelError
from kaldi_quant.frontends.separation.networks.known import Kind
from kaldi_quant.frontends.separation.quantized.mu_law import MuLaw
from kaldi_quant.frontends.separation.quantized.replacing import greatest, module_of, put_module
from kaldi_quant.frontends.separation.quantized.splitter import Digits, Splitter
from kaldi_quant.quant.layer_config import one_of
from kaldi_quant.units import Bits

#: What weights begin with that read lower parts. scaled: the convolution computes what it did before. drawn: as FQSS
#: has it, at random with the mean of the trained weights and a power of their standard deviation.
Extra = Literal["scaled", "drawn"]

# Levels below that of the last bit of 24-bit audio are silence.
_SILENCE = 2.0**-24
# How much further than on calibration data what an encoder reads may go, where that is no signal at a known level.
_HEADROOM = 2.0


class PeakNormalized(nn.Module):
    """A network that gets each mixture at one level, and gives sources at that of the mixture.

    Args:
        network: mixtures (N, C, T) to sources (N, S, C, T).
        level: of the greatest sample, over channels and time, of each mixture. Silence stays silence.
    """

    def __init__(self, network: nn.Module, level: float = 1.0) -> None:
        super().__init__()
        self.network, self.level = network, level

    def forward(self, mixture: Tensor) -> Tensor:
        """As of the network."""
        peak = mixture.abs().amax((1, 2), keepdim=True)
        sources = self.network(mixture / peak.clamp_min(_SILENCE) * self.level)
        return sources * (peak * (1 / self.level)).unsqueeze(1)


class SplitEncoder(nn.Module):
    """A convolution that reads its input in parts.

    Args:
        layer: reads the parts, channels of the highest one first.
        splitter: makes them.
        threshold: what of the input is 1 for the splitter; what is beyond is clipped.
    """

    def __init__(self, layer: nn.Conv1d | nn.Conv2d, splitter: nn.Module, threshold: float = 1.0) -> None:
        super().__init__()
        self.splitter, self.layer, self.threshold = splitter, layer, threshold

    def forward(self, x: Tensor) -> Tensor:
        """As of a convolution."""
        if self.threshold != 1:
            x = x * (1 / self.threshold)
        return self.layer(self.splitter(x))


class CompandedInput(nn.Module):
    """Signals of few bits by the mu-law, then on a wide grid, which a layer can read.

    Args:
        bits: of what is companded.
        mu: of the law.
        learned: whether mu is, as of ``MuLaw``.
        wide: bits of what the layer reads.
    """

    def __init__(self, bits: Bits = 8, mu: float = 255.0, learned: bool = False, wide: Bits = 16) -> None:
        super().__init__()
        self.law, self.splitter = MuLaw(bits, mu, learned), Splitter(1, wide)

    def forward(self, x: Tensor) -> Tensor:
        """As of a ``Splitter`` of one part."""
        return self.splitter(self.law(x))


@torch.no_grad()
def widened(
    layer: nn.Conv1d | nn.Conv2d, splitter: Splitter, threshold: float = 1.0, extra: Extra = "scaled", seed: int = 0
) -> nn.Conv1d | nn.Conv2d:
    """A convolution of parts, from one of signals.

    With x = q_0 + sum of (q_i + offset_i) 2^(-bits i), the weights of part i are those of the signal times
    2^(-bits i), and the bias takes up the offsets, which digits of the kind ``floor`` have. Where such a layer pads
    with zeros, its first and last frames take these offsets in, too.

    Args:
        layer: of signals; it is left as it is.
        splitter: makes the parts.
        threshold: as of ``SplitEncoder``; the weights take it up.
        extra: how the weights begin that read lower parts.
        seed: of what is drawn.

    Raises:
        UsageError: there is no such beginning.
    """
    one_of("extra", extra, get_args(Extra))
    weight = layer.weight.detach() * threshold
    random = torch.Generator().manual_seed(seed)
    parts = [weight]
    for place, factor in enumerate(splitter.factors[1:], 1):
        if extra == "scaled":
            parts.append(weight * factor)
        else:
            axes = [axis for axis in range(weight.dim()) if axis != 1]
            mean, spread = weight.mean(axes, keepdim=True), weight.std(axes, keepdim=True) ** place
            parts.append(mean + spread * torch.randn(weight.shape, generator=random))
    offset = splitter.offset if extra == "scaled" else 0.0
    found: nn.Conv1d | nn.Conv2d = type(layer)(
        layer.in_channels * splitter.parts,
        layer.out_channels,
        layer.kernel_size,  # type: ignore[arg-type]
        layer.stride,  # type: ignore[arg-type]
        layer.padding,  # type: ignore[arg-type]
        layer.dilation,  # type: ignore[arg-type]
        bias=layer.bias is not None or offset != 0,
        padding_mode=layer.padding_mode,
    )
    found.weight.copy_(torch.cat(parts, 1))
    if found.bias is not None:
        before = torch.zeros(layer.out_channels) if layer.bias is None else layer.bias
        found.bias.copy_(before + offset * weight.flatten(1).sum(1))
    return found.train(layer.training)


def with_splitter(
    network: nn.Module,
    kind: Kind,
    calibration: Iterable[Tensor],
    parts: int = 2,
    bits: Bits = 8,
    *,
    digits: Digits = "nearest",
    extra: Extra = "scaled",
    companding: str = "",
    **options: object,
) -> PeakNormalized:
    """A network that reads mixtures in parts, each at its own level, with the level of mixtures in its sources.

    With one part of 16 bits, both bytes of a sample meet the same weights: the core multiplies one after the other, and
    adds. Two parts of 8 bits have weights of their own, which share the scales of rows: what is a 256th of others is
    nothing in 8 bits, until training makes something else of it.

    Args:
        network: of the kind; it is left as it is.
        kind: names its encoders.
        calibration: mixtures, (N, C, T) each, that tell how far goes what encoders read that is not the mixture itself,
            such as a spectrum; never development or test data.
        parts: of what encoders read.
        bits: of each part.
        digits: as of ``Splitter``.
        extra: as of ``widened``.
        companding: empty, or ``mu-law``, for one part of companded integers.
        options: of ``CompandedInput``.

    Raises:
        UsageError: a value is impossible.
        DataError: there is no mixture to calibrate on, or nothing but silence.
        ModelError: the network has no such encoder, or it is of another kind.

    Example:
        >>> split = with_splitter(network, NETWORKS["conv-tasnet"], mixtures)
        >>> quantized = kq.quantize(split, "w8a8", calibration=mixtures)
    """
    one_of("companding", companding, ("", "mu-law"))
    splitter = Splitter(1, 16, digits) if companding else Splitter(parts, bits, digits)
    changed = PeakNormalized(copy.deepcopy(network), splitter.level)
    for name in kind.encoders:
        _encoder(changed, name)
    reached = greatest(changed, kind.encoders, calibration, lambda args, result: args[0])
    if not all(reached.values()):
        raise DataError("with_splitter: all mixtures to calibrate on are silent")
    for name in kind.encoders:
        layer = _encoder(changed, name)
        # What is at the level of the wrapper is the mixture itself.
        is_signal = math.isclose(reached[name], splitter.level, rel_tol=1e-5)
        threshold = 1.0 if is_signal else 2.0 ** math.ceil(math.log2(_HEADROOM * reached[name]))
        reader: nn.Module = CompandedInput(bits, **options) if companding else splitter  # type: ignore[arg-type]
        put_module(changed, name, SplitEncoder(widened(layer, splitter, threshold, extra), reader, threshold))
    return changed.train(network.training)


def _encoder(network: nn.Module, name: str) -> nn.Conv1d | nn.Conv2d:
    module = module_of(network, name)
    if not isinstance(module, nn.Conv1d | nn.Conv2d) or module.groups != 1:
        raise ModelError(f"the encoder {name} is a {type(module).__name__}: expected a Conv1d or Conv2d without groups")
    return module
