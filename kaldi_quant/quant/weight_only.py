"""A linear component whose weights alone are integers: they are made floats again, and meet an input in float."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from kaldi_quant.quant.grouped import grouped_linear
from kaldi_quant.quant.quantized_weight import QuantizedWeight


@dataclass(frozen=True)
class WeightOnlyLinear:
    """Such a component. It computes in float32, as the float layer does.

    Args:
        weight: for a float input.
        bias: (out,) float32.
    """

    weight: QuantizedWeight
    bias: Tensor

    @classmethod
    def build(cls, weight: QuantizedWeight, bias: np.ndarray | Tensor) -> WeightOnlyLinear:
        """Puts a layer together; bias: (out,) float64."""
        return cls(weight, torch.as_tensor(bias).float())

    def forward(self, x: Tensor) -> Tensor:
        """x: (..., groups * in) float → (..., out), in its dtype."""
        return grouped_linear(x, self._floats.to(x.dtype), self.bias.to(x.dtype), self.weight.groups)

    @cached_property
    def _floats(self) -> Tensor:
        return self.dequantized_weight()

    def dequantized_weight(self) -> Tensor:
        """(out, in) float32."""
        return self.weight.dequantized().float()

    def dequantized_bias(self) -> Tensor:
        """(out,) float32."""
        return self.bias
