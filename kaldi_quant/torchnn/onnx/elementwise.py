"""Products of two values element by element, in integers."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from kaldi_quant.backends.onnx.writer import DOUBLE, FLOAT, INT32, GraphWriter, Name
from kaldi_quant.errors import ModelError
from kaldi_quant.quant.grid import Grid
from kaldi_quant.quant.integer_product import product_scale
from kaldi_quant.torchnn.onnx.values import Grids, Value, is_wide


def multiplied(writer: GraphWriter, factors: Sequence[Value], output: Grid, name: Name) -> Value:
    """The product of two values on grids, on a grid of its own: exact in integers, of wide grids in double.

    Raises:
        ModelError: a factor is not held as integers.
    """
    grids = [factor.grid for factor in factors if factor.grid is not None and factor.integers]
    if len(grids) < len(factors):
        raise ModelError(f"the product {name} is of values that are not held as integers")
    exact, of_zero = (DOUBLE, np.float64) if any(map(is_wide, grids)) else (INT32, np.int32)
    centred = []
    for factor, grid in zip(factors, grids, strict=True):
        integers = writer.op("Cast", [factor.integers], to=exact)
        centred.append(writer.op("Sub", [integers, writer.constant(of_zero(int(grid.zero_point)))]))
    accumulators = writer.op("Cast", [writer.op("Mul", centred)], to=FLOAT)
    scale = writer.constant(product_scale(grids, output).numpy())
    return Grids(writer).of_steps(writer.op("Mul", [accumulators, scale]), output, name)
