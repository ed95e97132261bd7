"""A linear component in integers whose rows have several scales, one for each group of columns.

With ranges that are known beforehand,

    sum of a group = sum over its columns of (input - zero_point) * (weight - zero_point)       exact in 32-bit integers
    output = ((first * scale + second * scale) + third * scale ...) + bias                      in float32

where a sum becomes a float32 before it is multiplied by input_scale * (the group's weight scale), a float32, too. The
result is a float: it is rounded to the next node's grid as any float is.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from kaldi_quant.quant.integer_linear import InputGrid, check_accumulator
from kaldi_quant.quant.quantized_weight import QuantizedWeight


@dataclass(frozen=True)
class GroupwiseLinear:
    """Such a component.

    Args:
        weight: for the input in steps of its common scale.
        bias: (out,) float32.
        inputs: the grids of the input.
    """

    weight: QuantizedWeight
    bias: Tensor
    inputs: InputGrid

    @classmethod
    def build(cls, weight: QuantizedWeight, bias: np.ndarray | Tensor, inputs: InputGrid) -> GroupwiseLinear:
        """Puts a layer together; arguments as of ``IntegerLinear.build``.

        Raises:
            UsageError: the widths would overflow 32-bit accumulators.
        """
        bias = torch.as_tensor(bias)
        check_accumulator(weight, inputs.largest, torch.zeros_like(bias))
        return cls(weight, bias.float(), inputs)

    def forward(self, x: Tensor) -> Tensor:
        """x: (..., groups * in) float on the input's grid → (..., out) float32."""
        return self.weight.scaled_sums(self.inputs.integers(x), self.inputs.common_scale) + self.bias

    def dequantized_weight(self) -> Tensor:
        """(out, in) float32: the weights for a float input."""
        return (self.weight.dequantized() / self.inputs.folded).float()

    def dequantized_bias(self) -> Tensor:
        """(out,) float32."""
        return self.bias
