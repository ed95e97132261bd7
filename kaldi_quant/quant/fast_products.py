"""Exact integer products on the kernels that a processor is fast at, for runs over calibration sets.

The reference multiplies integers in float64, where every sum is exact and nothing has to be believed of a kernel. Here
the same sums come from products of 8-bit integers, where these hold them, at about ten times the speed with AMX or
VNNI. The first result of each weight is compared with the reference, and where it differs, or 8 bits do not suffice,
the reference is used.
"""

from __future__ import annotations

import logging
from dataclasses import fields, replace
from functools import cached_property

import torch
from torch import Tensor

from kaldi_quant.quant.host import StepwiseExecutable
from kaldi_quant.quant.integer_linear import DynamicLinear, IntegerLinear
from kaldi_quant.quant.network import QuantizedNetwork
from kaldi_quant.quant.quantized_weight import QuantizedWeight

_log = logging.getLogger(__name__)

# What fits 8 bits with a sign, and how many rows of a first result are looked at.
_LEAST, _MOST, _CHECKED_ROWS = -128, 127, 64


class FastWeight(QuantizedWeight):
    """A weight whose sums come from 8-bit products where they can."""

    def sums(self, x: Tensor) -> Tensor:
        """(..., in) integers, float64 → (..., out): the products' sums, exact."""
        if self.groups > 1 or self._packed is None or not x.numel() or x.device.type != "cpu":
            return super().sums(x)
        low, high = x.aminmax()
        middle = float(low) - _LEAST
        # Also where a value is none.
        if not float(high) - middle <= _MOST:
            return super().sums(x)
        rows = x.reshape(-1, x.shape[-1])
        found = self._products(rows, middle)
        if not self._is_checked:
            expected = super().sums(rows[:_CHECKED_ROWS])
            if not torch.equal(found[:_CHECKED_ROWS], expected):
                _log.warning("8-bit products of this machine's PyTorch are not exact: the slower reference is used")
                self.__dict__["_packed"] = None
                return super().sums(x)
            self.__dict__["_is_checked"] = True
        return found.reshape(*x.shape[:-1], found.shape[-1])

    def _products(self, rows: Tensor, middle: float) -> Tensor:
        """(rows, in) integers from ``_LEAST`` to ``_MOST`` about a middle → (rows, out) float64."""
        assert self._packed is not None
        return torch._int_mm((rows - middle).to(torch.int8), self._packed).double() + self._row_sums * middle

    @cached_property
    def _packed(self) -> Tensor | None:
        """(in, out) int8; None where the integers need more bits."""
        centred = self.centred
        fits = centred.numel() > 0 and int(centred.min()) >= _LEAST and int(centred.max()) <= _MOST
        return centred.to(torch.int8).T if fits else None

    @cached_property
    def _row_sums(self) -> Tensor:
        """(out,) float64."""
        return self.centred.double().sum(1)

    @cached_property
    def _is_checked(self) -> bool:
        return False


def fast(layer: IntegerLinear | DynamicLinear) -> IntegerLinear | DynamicLinear:
    """The layer with the same results, computed faster where that is possible."""
    weight = layer.weight
    return replace(layer, weight=FastWeight(**{field.name: getattr(weight, field.name) for field in fields(weight)}))


def fast_model(network: QuantizedNetwork, device: torch.device) -> StepwiseExecutable:
    """The network in torch on a device: the results of its ``model``, computed faster where that is possible."""
    return replace(network, layers={name: fast(layer) for name, layer in network.layers.items()}).model(device)
