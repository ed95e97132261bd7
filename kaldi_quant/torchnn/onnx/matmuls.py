"""Products of two values that both lie on grids, as ONNX operators.

Where all integers are of 8 bits and the result is, too, floats are multiplied between DequantizeLinear and
QuantizeLinear; else integers are, by MatMulInteger, and their sums are scaled as the reference does it.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from kaldi_quant.backends.onnx.wide import bytes_of
from kaldi_quant.backends.onnx.writer import FLOAT, UINT8, GraphWriter, Name
from kaldi_quant.errors import ModelError
from kaldi_quant.quant.grid import same_grid
from kaldi_quant.quant.integer_matmul import IntegerMatmul
from kaldi_quant.torchnn.onnx.axes import Shape
from kaldi_quant.torchnn.onnx.layers import Output
from kaldi_quant.torchnn.onnx.sizes import Sizes
from kaldi_quant.torchnn.onnx.values import Grids, Value, is_wide, zero_of

if TYPE_CHECKING:
    import onnx

_BASE = 2**8
_SUMS = ".sums"


def check_matmuls(names: Iterable[str], optimized: onnx.ModelProto) -> None:
    """Checks that no product of two values that is in integers runs in float.

    Args:
        names: of these products.
        optimized: what onnxruntime makes of the graph.

    Raises:
        ModelError: one does.
    """
    made_by = {name: node.op_type for node in optimized.graph.node for name in node.output}
    for name in names:
        # Where integers are multiplied this value is between floats that are no more.
        if f"{name}{_SUMS}" in made_by:
            kind = made_by[f"{name}{_SUMS}"]
            raise ModelError(f"onnxruntime would run the product {name} in float, as {kind}")


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

    def write(self, one: Value, other: Value, shape: Shape, output: Output) -> Value:
        """The product.

        Args:
            one: (..., rows, inner), on its grid.
            other: (..., inner, columns), on its grid.
            shape: of the other, as far as it is known.
            output: where the result goes.

        Raises:
            ModelError: a factor does not lie on its grid.
        """
        for value, wanted in ((one, self.product.one), (other, self.product.other)):
            if not value.integers or value.grid is None or not same_grid(value.grid, wanted):
                raise ModelError(f"the product {self.product.name} reads values that do not lie on one grid")
        if shape[-2] is None:
            other = Value(integers=self._no_longer(other.integers, shape), grid=other.grid)
        grids = Grids(self.writer)
        grid = output.grid
        if grid is not None and not any(map(is_wide, (grid, self.product.one, self.product.other))):
            floats = [self._dequantized(value) for value in (one, other)]
            found = self.writer.op("MatMul", floats, f"{self.product.name}{_SUMS}")
            return grids.on_bytes(found, grid, output.name, output.relu)
        scale = self.product.accumulator_scale.numpy()
        sums = self.writer.op("Cast", [self._sums(one, other)], to=FLOAT)
        factor = self.writer.constant(scale if grid is None else scale / grid.scale.numpy())
        scaled = self.writer.op("Mul", [sums, factor], f"{self.product.name}.scaled")
        return Value(scaled) if grid is None else grids.of_steps(scaled, grid, output.name, output.relu)

    def _no_longer(self, integers: Name, shape: Shape) -> Name:
        """The second factor, refused by an impossible shape where accumulators could overflow."""
        sizes, longest = Sizes(self.writer), self.product.longest_inner
        inner = sizes.of(integers, shape)[-2]
        beyond = sizes.maximum(sizes.subtract(inner, longest), 0)
        # onnxruntime leaves Reshape out, or takes another shape that it thinks is the same.
        wanted = sizes.vector([*[1] * (len(shape) - 2), sizes.add(inner, beyond), 1])
        return self.writer.op("Expand", [integers, wanted], f"{self.product.name}.over_at_most_{longest}")

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
