"""The ends of quantized networks that give signals: on a grid, or in several parts, each of which corrects the last."""

from __future__ import annotations

import copy
from collections.abc import Iterable
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional

from kaldi_quant.errors import UsageError
from kaldi_quant.frontends.separation.networks.known import Kind
from kaldi_quant.frontends.separation.quantized.mirrored import (
    check_decoder,
    frames_beyond,
    mirrored,
    right_inverse,
    with_frames_beyond,
)
from kaldi_quant.frontends.separation.quantized.mu_law import MuLaw
from kaldi_quant.frontends.separation.quantized.replacing import greatest, module_of, put_module
from kaldi_quant.quant.layer_config import one_of
from kaldi_quant.torchnn.on_grid import on_grid
from kaldi_quant.units import Bits

#: How the layers on the way back begin: drawn, as FQSS has them; inverse, so that what the first part lacks comes out
#: of the next one from the beginning.
Start = Literal["drawn", "inverse"]
# How much further than on calibration data signals may go.
_HEADROOM = 1.25


class ResidualOutput(nn.Module):
    """A decoder whose signal is given in several parts of few bits (the residual quantization block of FQSS).

    y_0 = Q(D(x)), r_1 = x - E_1(y_0), y_1 = Q(D_1(r_1)), r_2 = r_1 - E_2(y_1) and so on; the signal is the sum of
    y_i 2^(-bits i), and of the decoder's bias, which parts lack. E_i is a layer of mirrored shape. With one part it is
    the decoder, its result on a grid.

    Args:
        decoder: the layer that it takes the place of; it is copied.
        parts: of the signal.
        bits: of each part.
        own: whether each part has a decoder of its own, without a bias; else all have the same weights, whose inputs
            share a grid.
        start: how it begins; ``inverse`` needs decoders of their own, and takes the decoder's ``right_inverse``. Where
            there is none it is as ``drawn``.
        residual_bits: of r_i.
        reach: how far parts go, up and down, on grids that are known; 0 for grids that calibration finds. That sees a
            float network, where nothing is rounded and parts that begin with the inverse are nothing, so these need it.
        seed: of what is drawn.

    Raises:
        UsageError: a value is impossible.
        ModelError: the decoder has no mirrored layer.
    """

    def __init__(
        self,
        decoder: nn.Module,
        parts: int = 2,
        bits: Bits = 8,
        *,
        own: bool = False,
        start: Start = "drawn",
        residual_bits: Bits = 8,
        reach: float = 0.0,
        seed: int = 0,
    ) -> None:
        super().__init__()
        one_of("start", start, get_args(Start))
        if parts < 1:
            raise UsageError(f"an output of {parts} parts: expected one or more")
        if start == "inverse" and parts > 1 and not (own and reach > 0):
            raise UsageError(
                "an output whose parts begin with the inverse needs decoders of its own for them (own), and their reach"
            )
        first = copy.deepcopy(check_decoder(type(decoder).__name__, decoder))
        self.parts, self.bits, self.residual_bits = parts, bits, residual_bits
        half = 1 << (bits - 1)
        # An error of half a step is as many steps of the next part as there are, up and down, and one more.
        self._grids: list[tuple[Any, ...]] = [
            (bits, reach / half * (half / (half - 1)) ** place, half) if reach else (bits,) for place in range(parts)
        ]
        self.bias = None
        if parts > 1:
            self.bias, first.bias = first.bias, None
        self._axes = 0 if isinstance(first, nn.Linear) else len(first.kernel_size)
        self.decoders = nn.ModuleList([first])
        inverse = right_inverse(first) if start == "inverse" and parts > 1 else None
        further = first if inverse is None else with_frames_beyond(first)
        #: Zeros on both sides of each axis, from the last one on.
        self.around = [] if inverse is None else [frames for frames in frames_beyond(first)[::-1] for _ in (0, 1)]
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.encoders = nn.ModuleList(mirrored(further) for _ in range(parts - 1))
        if own:
            self.decoders.extend(copy.deepcopy(further) for _ in range(parts - 1))
        if inverse is not None:
            self._invert(inverse)

    @torch.no_grad()
    def _invert(self, inverse: Tensor) -> None:
        """Begins with parts of which each is the rounding error of the one before, as large as that one."""
        for place, (encoder, decoder) in enumerate(zip(self.encoders, self.decoders[1:], strict=True)):
            encoder.get_parameter("weight").copy_(inverse * 2.0 ** (-self.bits * place))
            decoder.get_parameter("weight").mul_(2.0 ** (self.bits * (place + 1)))

    def forward(self, x: Tensor) -> Tensor:
        """As of the decoder."""
        part = on_grid(self.decoders[0](x), *self._grids[0])
        total, rest = part, functional.pad(x, self.around) if self.around else x
        for place, encoder in enumerate(self.encoders):
            rest = on_grid(rest - encoder(part), self.residual_bits)
            decoder = self.decoders[place + 1 if len(self.decoders) > 1 else 0]
            part = on_grid(decoder(rest), *self._grids[place + 1])
            total = total + part * 2.0 ** (-self.bits * (place + 1))
        if self.bias is None:
            return total
        return total + self.bias.view(-1, *[1] * self._axes)


class CompandedOutput(nn.Module):
    """A decoder whose signal is on a grid of few bits after the mu-law.

    Args:
        decoder: the layer that it takes the place of; it is copied. Its signal is at most 1.
        bits: of the grid.
        mu: of the law.
        learned: whether mu is, as of ``MuLaw``.
    """

    def __init__(self, decoder: nn.Module, bits: Bits = 8, mu: float = 255.0, learned: bool = False) -> None:
        super().__init__()
        self.decoder, self.law = copy.deepcopy(decoder), MuLaw(bits, mu, learned)

    def forward(self, x: Tensor) -> Tensor:
        """As of the decoder."""
        return self.law(self.decoder(x))


def with_outputs(
    network: nn.Module,
    kind: Kind,
    calibration: Iterable[Tensor] = (),
    parts: int = 2,
    bits: Bits = 8,
    *,
    companding: str = "",
    **options: Any,
) -> nn.Module:
    """A network whose decoders give signals on grids.

    Args:
        network: of the kind, or one within ``PeakNormalized``; it is left as it is.
        kind: names its decoders.
        calibration: mixtures, (N, C, T) each, that tell how far signals go, where parts begin with the inverse; never
            development or test data.
        parts: of signals.
        bits: of each part.
        companding: empty, or ``mu-law``, for signals in one part.
        options: of ``ResidualOutput``, or of ``CompandedOutput``.

    Raises:
        UsageError: a value is impossible.
        DataError: there is no mixture to calibrate on where one is needed.
        ModelError: the network has no such decoder, or it is of another kind.
    """
    one_of("companding", companding, ("", "mu-law"))
    if companding and parts > 1:
        raise UsageError("companding is for signals in one part")
    changed = copy.deepcopy(network)
    for name in kind.decoders:
        check_decoder(name, module_of(changed, name))
    if options.get("start") == "inverse" and parts > 1:
        reached = greatest(network, kind.decoders, calibration, lambda args, result: result)
    else:
        reached = dict.fromkeys(kind.decoders, 0.0)
    for name in kind.decoders:
        decoder = module_of(changed, name)
        if companding:
            made: nn.Module = CompandedOutput(decoder, bits, **options)
        else:
            made = ResidualOutput(decoder, parts, bits, reach=_HEADROOM * reached[name], **options)
        put_module(changed, name, made)
    return changed
