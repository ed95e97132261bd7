"""Products of two values that both lie on grids, as ONNX operators.

Where all integers are of 8 bits and the result is, too, floats are multiplied between DequantizeLinear and
QuantizeLinear; else integers are, by MatMulInteger, and their sums are scaled as the reference does it.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from kaldi_quant.backends.onnx.wide import bytes_of
from kaldi_quant.backends.onnx.writer import FLOAT, UINT8, GraphWriter, Name
from kaldi_quant.errors import ModelError
from kaldi_quant.quant.integer_matmul import IntegerMatmul
from kaldi_quant.torchnn.onnx.layers import Output
from kaldi_quant.torchnn.onnx.values import Grids, Value, is_wide, same_grid, zero_of

_BASE = 2**8


class _Byte(NamedTuple):
    """One byte of a value's integers.

    Args:
        integers: uint8.
        zero: that of the zero point.
        step: what a step of it means.
    """

    integers: Name
    zero: int
    step: int


@dataclass(frozen=True)
class MatmulWriter:
    """Writes a product of two values.

    Args:
        writer: the graph.
        product: the grids of its factors.
    """

    writer: GraphWriter
    product: IntegerMatmul

    def write(self, one: Value, other: Value, output: Output) -> Value:
        """The product.

        Args:
            one: (..., rows, inner), on its grid.
            other: (..., inner, columns), on its grid.
            output: where the result goes.

        Raises:
            ModelError: a factor does not lie on its grid.
        """
        for value, wanted in ((one, self.product.one), (other, self.product.other)):
            if not value.integers or value.grid is None or not same_grid(value.grid, wanted):
                raise ModelError(f"the product {self.product.name} reads values that do not lie on one grid")
        grids = Grids(self.writer)
        grid = output.grid
        if grid is not None and not any(map(is_wide, (grid, self.product.one, self.product.other))):
            floats = [self._dequantized(value) for value in (one, other)]
            found = self.writer.op("MatMul", floats, f"{self.product.name}.sums")
            return grids.on_bytes(found, grid, output.name, output.relu)
        scale = self.product.accumulator_scale.numpy()
        sums = self.writer.op("Cast", [self._sums(one, other)], to=FLOAT)
        factor = self.writer.constant(scale if grid is None else scale / grid.scale.numpy())
        scaled = self.writer.op("Mul", [sums, factor], f"{self.product.name}.scaled")
        return Value(scaled) if grid is None else grids.of_steps(scaled, grid, output.name, output.relu)

    def _dequantized(self, value: Value) -> Name:
        assert value.grid is not None
        constants = [self.writer.constant(each) for each in (value.grid.scale.numpy(), zero_of(value.grid))]
        return self.writer.op("DequantizeLinear", [value.integers, *constants])

    def _sums(self, one: Value, other: Value) -> Name:
        """The accumulators, int32: those of the factors' bytes, added up."""
        total = ""
        for one_byte, other_byte in itertools.product(self._bytes(one), self._bytes(other)):
            step = one_byte.step * other_byte.step
            zeros = [self.writer.constant(np.uint8(byte.zero)) for byte in (one_byte, other_byte)]
            sums = self.writer.op("MatMulInteger", [one_byte.integers, other_byte.integers, *zeros])
            if step > 1:
                sums = self.writer.op("Mul", [sums, self.writer.constant(np.int32(step))])
            total = self.writer.op("Add", [total, sums]) if total else sums
        return total

    def _bytes(self, value: Value) -> list[_Byte]:
        assert value.grid is not None
        zero = int(value.grid.zero_point)
        if not is_wide(value.grid):
            return [_Byte(value.integers, zero, 1)]
        high, low = (self.writer.op("Cast", [byte], to=UINT8) for byte in bytes_of(self.writer, value.integers))
        return [_Byte(high, zero // _BASE, _BASE), _Byte(low, zero % _BASE, 1)]
