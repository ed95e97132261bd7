"""A signal as several parts of few bits each, on grids that are known: its digits.

FQSS (doi 10.1109/OJSP.2024.3425287) reads a signal of 16 bits as two parts of 8 bits. With b bits and n parts a signal
is the integer X = x 2^(bn - 1), and part i has the digit d_i of X in base 2^b, from the highest on, as the value
d_i 2^(1 - b), which is from -1 to 1.
"""

from __future__ import annotations

from typing import Literal, get_args

import torch
from torch import Tensor, nn

from kaldi_quant.errors import UsageError
from kaldi_quant.quant.layer_config import one_of
from kaldi_quant.quant.spec import QSpec
from kaldi_quant.torchnn.on_grid import on_grid
from kaldi_quant.units import Bits

#: nearest: X is rounded, and digits are balanced: silence is 0 in all parts, as the zeros are that convolutions pad
#: with, and x is the sum of parts times powers of two, without a constant. floor: as FQSS has it, all is rounded down
#: and the lower parts are moved by half their range, so that silence is -1 in them.
Digits = Literal["nearest", "floor"]
# float32 holds integers of so many bits.
_MOST_BITS = 24


class Splitter(nn.Module):
    """Signals to parts. What it gives lies exactly on grids of 2^b integers with a scale of 2^(1 - b).

    Args:
        parts: how many there are.
        bits: of each.
        digits: what is rounded how.

    Raises:
        UsageError: a value is impossible.

    Example:
        >>> Splitter(2)(torch.tensor([[[0.5, -0.001]]])) * 128
        tensor([[[ 64.,  -0.],
                 [  0., -33.]]])
    """

    def __init__(self, parts: int = 2, bits: Bits = 8, digits: Digits = "nearest") -> None:
        super().__init__()
        one_of("digits", digits, get_args(Digits))
        spec = QSpec(bits, signed=False)
        if parts < 1 or parts * bits > _MOST_BITS:
            raise UsageError(
                f"a signal in {parts} parts of {bits} bits: expected one part or more, and at most {_MOST_BITS} bits "
                "together, which are all that float32 has"
            )
        self.parts, self.bits, self.digits = parts, bits, digits
        self._half = (spec.qmax + 1) // 2
        #: Of each digit what it counts for in X.
        self._units = [1 << (bits * place) for place in reversed(range(parts))]

    @property
    def level(self) -> float:
        """What a signal may reach, up and down, so that nothing is clipped; with ``floor``, 1 is one step less."""
        return 1.0 if self.digits == "floor" else (self._half - 1) * sum(self._units) / self._steps

    @property
    def factors(self) -> list[float]:
        """Of each part what it counts for in the signal."""
        return [2.0 ** (-self.bits * place) for place in range(self.parts)]

    @property
    def offset(self) -> float:
        """What the signal is beside the parts times ``factors``."""
        return sum(self.factors[1:]) if self.digits == "floor" else 0.0

    @property
    def _steps(self) -> int:
        """Of X in a signal of 1."""
        return self._half * self._units[0]

    def forward(self, x: Tensor) -> Tensor:
        """x: (N, C, ...) float32 of at most 1 → (N, parts * C, ...): first the highest part of all channels."""
        left = self._integers(x)
        found = []
        for place, unit in enumerate(self._units):
            # The lower digits reach from minus this up.
            below = self._half * sum(self._units[place + 1 :])
            digit = torch.floor((left + below) * (1 / unit))
            left = left - digit * unit
            found.append(on_grid(digit * (1 / self._half), self.bits, 1 / self._half, self._half))
        return found[0] if self.parts == 1 else torch.cat(found, 1)

    def _integers(self, x: Tensor) -> Tensor:
        """The number whose balanced digits are wanted, as floats: all of them are integers of at most 24 bits."""
        if self.digits == "floor":
            below = self._half * sum(self._units[1:])
            return torch.floor(x * self._steps).clamp(-self._steps, self._steps - 1) - below
        low, high = (digit * sum(self._units) for digit in (-self._half, self._half - 1))
        return torch.round(x * self._steps).clamp(low, high)

    def joined(self, parts: Tensor) -> Tensor:
        """The signals of parts: (N, parts * C, ...), any float → (N, C, ...); exact in float64."""
        each = parts.unflatten(1, (self.parts, -1)).unbind(1)
        return sum((part * factor for part, factor in zip(each, self.factors, strict=True)), each[0] * 0 + self.offset)

    def extra_repr(self) -> str:
        """What it was made with."""
        return f"parts={self.parts}, bits={self.bits}, digits={self.digits!r}"
