"""A linear component whose weights alone are integers: they are made floats again, and meet an input in float.

Columns may have been multiplied by factors before they were quantized, and are divided by them again: those that meet
large inputs are then rounded relatively less (``column_factors``).
"""

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
        weight: of columns multiplied by ``factor``.
        bias: (out,) float32.
        factor: (in,) float32, positive; None where it is one for all columns.
    """

    weight: QuantizedWeight
    bias: Tensor
    factor: Tensor | None = None

    @classmethod
    def build(
        cls, weight: QuantizedWeight, bias: np.ndarray | Tensor, factor: Tensor | None = None
    ) -> WeightOnlyLinear:
        """Puts a layer together; bias: (out,) float64."""
        return cls(weight, torch.as_tensor(bias).float(), factor)

    @property
    def folded(self) -> Tensor:
        """(in,) float64: what the float weights' columns are multiplied by before they are quantized."""
        if self.factor is not None:
            return self.factor.double()
        return torch.ones(self.weight.integers.shape[1], dtype=torch.float64, device=self.bias.device)

    def forward(self, x: Tensor) -> Tensor:
        """x: (..., groups * in) float → (..., out), in its dtype."""
        return grouped_linear(x, self._floats.to(x.dtype), self.bias.to(x.dtype), self.weight.groups)

    @cached_property
    def _floats(self) -> Tensor:
        return self.dequantized_weight()

    def dequantized_weight(self) -> Tensor:
        """(out, in) float32."""
        return (self.weight.dequantized() / self.folded).float()

    def dequantized_bias(self) -> Tensor:
        """(out,) float32."""
        return self.bias
