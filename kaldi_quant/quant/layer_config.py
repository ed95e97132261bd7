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
        act_bits: width of its input, of a product of both its factors; 0 where its weights alone are quantized: inputs
            stay in float, and so do products of two values.
        method: how weights are rounded: minmax, mse, clip, gptq, descent, which goes on from gptq, or adaround, which
            goes on from descent.
        per_channel: one weight scale for each output channel, else one for the matrix.
        group_size: one scale for so many consecutive columns of a row, the last ones of which may be fewer; 0, one for
            the whole row.
        symmetric: weights have zero in the middle of their grid; else the zero point is fitted.
        act_symmetric: the same of its input: its grid reaches as far below zero as above, also where no value is
            negative. A grid that several layers read is symmetric only if all of them ask for it.
        ranges: static, known from the calibration set, or dynamic: found anew for each utterance or chunk. With dynamic
            ones products of two values stay in float.
        float_reason: why the layer stays in float; empty for layers that are quantized.
    """

    bits: int = 8
    act_bits: int = 8
    method: str = "mse"
    per_channel: bool = True
    symmetric: bool = True
    group_size: int = 0
    ranges: str = "static"
    float_reason: str = ""
    act_symmetric: bool = False

    def __post_init__(self) -> None:
        one_of("method", self.method, ROUNDING_METHODS)
        one_of("ranges", self.ranges, RANGES)
        self.weight_spec()
        if not self.weights_only:
            self.activation_spec(signed=True)
        elif self.ranges != "static":
            raise UsageError(f"ranges {self.ranges!r} and act_bits 0 exclude each other: inputs in float have no grid")
        if self.act_symmetric and not self.is_static:
            raise UsageError("act_symmetric is for static ranges: a grid that is found anew has a fitted zero point")

    @property
    def weights_only(self) -> bool:
        """Whether its input stays in float."""
        return self.act_bits == 0

    @property
    def is_static(self) -> bool:
        """Whether its input lies on a grid that is known beforehand."""
        return not self.weights_only and self.ranges == "static"

    @property
    def is_dynamic(self) -> bool:
        """Whether its input lies on a grid that is found anew."""
        return not self.weights_only and self.ranges == "dynamic"

    def weight_spec(self) -> QSpec:
        """The grid of the weights."""
        return QSpec(self.bits, True, self.symmetric, self.per_channel, self.group_size)

    def activation_spec(self, signed: bool, per_channel: bool = False) -> QSpec:
        """The grid of the input: integers from zero up, the zero point fitted where negative values were seen."""
        centred = self.act_symmetric
        return QSpec(self.act_bits, False, not signed and not centred, per_channel, centred=centred)
