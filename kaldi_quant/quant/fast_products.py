"""Exact integer products on the kernels that a processor is fast at, for runs over calibration sets.

The reference multiplies integers in float64, where every sum is exact and nothing has to be believed of a kernel. Here
the same sums come from products of 8-bit integers, where these hold them, at about ten times the speed with AMX or
VNNI. The first result of each weight is compared with the reference, and where it differs, or 8 bits do not suffice,
the reference is used.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, fields, replace
from functools import cached_property

import torch
from torch import Tensor

from kaldi_quant.quant.few_rows import few_rows
from kaldi_quant.quant.grid import Grid
from kaldi_quant.quant.host import StepwiseExecutable
from kaldi_quant.quant.integer_linear import IntegerLinear
from kaldi_quant.quant.network import QuantizedNetwork
from kaldi_quant.quant.quantized_layer import QuantizedLayer
from kaldi_quant.quant.quantized_weight import QuantizedWeight
from kaldi_quant.quant.weight_only import WeightOnlyLinear

_log = logging.getLogger(__name__)

# What fits 8 bits with a sign, and how many rows of a first result are looked at.
_LEAST, _MOST, _CHECKED_ROWS = -128, 127, 64


class FastWeight(QuantizedWeight):
    """A weight whose sums come from 8-bit products where they can."""

    def sums(self, x: Tensor) -> Tensor:
        """(..., in) integers, float64 → (..., out): the products' sums, exact."""
        if not self.is_fast or not x.numel() or x.device.type != "cpu":
            return super().sums(x)
        low, high = x.aminmax()
        middle = float(low) - _LEAST
        # Also where a value is none.
        if not float(high) - middle <= _MOST:
            return super().sums(x)
        found = self.products((x.reshape(-1, x.shape[-1]) - middle).to(torch.int8))
        if found is None:
            return super().sums(x)
        return (found.double() + self.row_sums.double() * middle).reshape(*x.shape[:-1], found.shape[-1])

    @property
    def is_fast(self) -> bool:
        """Whether there may be fast products."""
        return self.groups == 1 and self._packed is not None

    def products(self, rows: Tensor) -> Tensor | None:
        """(rows, in) int8 → (rows, out) int32: the sums, exact; None where the kernel's are not."""
        assert self._packed is not None
        found = torch._int_mm(rows, self._packed)
        if not self.is_checked:
            if not torch.equal(found[:_CHECKED_ROWS].double(), super().sums(rows[:_CHECKED_ROWS].double())):
                _log.warning("8-bit products of this machine's PyTorch are not exact: the slower reference is used")
                self.__dict__["_packed"] = None
                return None
            self.__dict__["is_checked"] = True
        return found

    @cached_property
    def _packed(self) -> Tensor | None:
        """(in, out) int8; None where the integers need more bits."""
        centred = self.centred
        fits = centred.numel() > 0 and int(centred.min()) >= _LEAST and int(centred.max()) <= _MOST
        return centred.to(torch.int8).T if fits else None

    @cached_property
    def row_sums(self) -> Tensor:
        """(out,) int32."""
        return self.centred.sum(1, dtype=torch.int32)

    @cached_property
    def is_checked(self) -> bool:
        """Whether sums were those of the reference when they were computed first."""
        return False


@dataclass(frozen=True)
class FastIntegerLinear(IntegerLinear):
    """A layer with static ranges all of whose arithmetic between floats and floats fits 8 and 32 bits."""

    def forward(self, x: Tensor) -> Tensor:
        """x: (..., groups * in) float on the input's grid → (..., out) float32."""
        found = self._accumulated(x)
        return super().forward(x) if found is None else found * self.accumulator_scale

    def steps(self, x: Tensor, output: Grid) -> Tensor:
        """x: (..., groups * in) float on the input's grid → (..., out) float32 in the output's steps, unrounded."""
        found = self._accumulated(x)
        return super().steps(x, output) if found is None else found * (self.accumulator_scale / output.scale)

    def _accumulated(self, x: Tensor) -> Tensor | None:
        """(..., out) int32: the accumulators; None where the reference has to compute them."""
        weight, inputs = self.weight, self.inputs
        if not isinstance(weight, FastWeight) or not weight.is_fast or x.device.type != "cpu":
            return None
        if x.dtype != torch.float32 or inputs.qmax - inputs.qmin > _MOST - _LEAST or not x.numel():
            return None
        rows = x.reshape(-1, x.shape[-1])
        integers = torch.empty(rows.shape, dtype=torch.int8)
        for some, place in few_rows(rows, integers):
            # Beside an integer of few bits the rounding of a float32 quotient is nothing.
            steps = (some / inputs.scale).round_().sub_(self._middle)
            low, high = steps.aminmax()
            if not _LEAST <= float(low) <= float(high) <= _MOST:
                return None
            place.copy_(steps)
        sums = weight.products(integers)
        return None if sums is None else sums.add_(self._added).reshape(*x.shape[:-1], sums.shape[-1])

    @cached_property
    def _middle(self) -> Tensor:
        """(in,) float32: what is taken from the input's integers, less their zero points, so that 8 bits hold them."""
        return (self.inputs.qmin - self.inputs.zero_point - _LEAST).float()

    @cached_property
    def _added(self) -> Tensor:
        """(out,) int32: what the sums lack for it, and the bias."""
        return (self.weight.centred.double() @ self._middle.double()).to(torch.int32) + self.bias


def fast(layer: QuantizedLayer) -> QuantizedLayer:
    """The layer with the same results, computed faster where that is possible."""
    weight = layer.weight
    if weight.is_groupwise or isinstance(layer, WeightOnlyLinear):
        return layer
    quick = FastWeight(**{field.name: getattr(weight, field.name) for field in fields(weight)})
    if isinstance(layer, IntegerLinear):
        return FastIntegerLinear(quick, layer.bias, layer.inputs)
    return replace(layer, weight=quick)


def fast_model(network: QuantizedNetwork, device: torch.device) -> StepwiseExecutable:
    """The network in torch on a device: the results of its ``model``, computed faster where that is possible."""
    return replace(network, layers={name: fast(layer) for name, layer in network.layers.items()}).model(device)
