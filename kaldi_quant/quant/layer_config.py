"""How one layer is quantized."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from kaldi_quant.errors import UsageError
from kaldi_quant.quant.rounding_methods import ROUNDING_METHODS
from kaldi_quant.quant.spec import QSpec

RANGES = ("static", "dynamic")


def one_of(name: str, value: str, choices: Collection[str]) -> None:
    """Refuses a value that is none of the choices.

    Raises:
        UsageError: it is none.
    """
    if value not in choices:
        raise UsageError(f"{name} {value!r} is not one of {', '.join(choices)}")


@dataclass(frozen=True)
class LayerConfig:
    """How one layer is quantized, or one product of two values, which has no weights.

    Args:
        bits: width of its weights.
        act_bits: width of its input, of a product of both its factors.
        method: how weights are rounded: minmax, mse, gptq, descent, which goes on from gptq, or adaround, which goes on
            from descent.
        per_channel: one weight scale for each output channel, else one for the matrix.
        symmetric: weights have zero in the middle of their grid; else the zero point is fitted.
        ranges: static, known from the calibration set, or dynamic: found anew for each utterance or chunk. With dynamic
            ones products of two values stay in float.
        float_reason: why the layer stays in float; empty for layers that are quantized.
    """

    bits: int = 8
    act_bits: int = 8
    method: str = "mse"
    per_channel: bool = True
    symmetric: bool = True
    ranges: str = "static"
    float_reason: str = ""

    def __post_init__(self) -> None:
        one_of("method", self.method, ROUNDING_METHODS)
        one_of("ranges", self.ranges, RANGES)
        self.weight_spec()
        self.activation_spec(signed=True)

    def weight_spec(self) -> QSpec:
        """The grid of the weights."""
        return QSpec(self.bits, signed=True, symmetric=self.symmetric, per_channel=self.per_channel)

    def activation_spec(self, signed: bool, per_channel: bool = False) -> QSpec:
        """The grid of the input: integers from zero up, the zero point fitted where negative values were seen."""
        return QSpec(self.act_bits, signed=False, symmetric=not signed, per_channel=per_channel)
