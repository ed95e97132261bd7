"""Sums, products and functions of bytes on grids, byte by byte.

The operations and their order are those of ``quant.integer_sum`` and ``quant.integer_product``.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic


def _fused(_typing: Any, a: Any, b: Any, c: Any) -> Any:
    def codegen(_: Any, builder: Any, __: Any, arguments: Any) -> Any:
        kind = ir.FunctionType(ir.FloatType(), [ir.FloatType()] * 3)
        return builder.call(cgutils.get_or_insert_function(builder.module, kind, "llvm.fma.f32"), arguments)

    return types.float32(types.float32, types.float32, types.float32), codegen


#: a * b + c of three float32, rounded once.
_fused_multiply_add: Any = intrinsic(_fused)


@numba.njit(error_model="numpy")
def add(
    first: np.ndarray,
    second: np.ndarray,
    ratio_1: float,
    ratio_2: float,
    fixed: float,
    least: int,
    most: int,
    out: np.ndarray,
) -> None:
    """The sum of two values on grids of their own, on a grid.

    Args:
        first: (n,) uint8.
        second: (n,) uint8.
        ratio_1: steps of the result for each of the first.
        ratio_2: for each of the second.
        fixed: what the zero points add.
        least: of the grid.
        most: of the grid.
        out: (n,) uint8.
    """
    one, other, more = np.float32(ratio_1), np.float32(ratio_2), np.float32(fixed)
    low, high = np.float32(least), np.float32(most)
    for place in range(out.shape[0]):
        inner = _fused_multiply_add(np.float32(second[place]), other, more)
        steps = _fused_multiply_add(np.float32(first[place]), one, inner)
        out[place] = np.uint8(np.int32(min(max(np.rint(steps), low), high)))


@numba.njit(error_model="numpy")
def multiply(
    first: np.ndarray,
    second: np.ndarray,
    zero_1: int,
    zero_2: int,
    scale: float,
    zero_point: int,
    least: int,
    most: int,
    out: np.ndarray,
) -> None:
    """The product of two values on grids of their own, on a grid.

    Args:
        first: (n,) uint8.
        second: (n,) uint8.
        zero_1: the zero point of the first.
        zero_2: of the second.
        scale: steps of the result for each unit of the product.
        zero_point: of the grid.
        least: of the grid.
        most: of the grid.
        out: (n,) uint8.
    """
    one, other, factor = np.int32(zero_1), np.int32(zero_2), np.float32(scale)
    zero, low, high = np.float32(zero_point), np.float32(least), np.float32(most)
    for place in range(out.shape[0]):
        found = np.float32((np.int32(first[place]) - one) * (np.int32(second[place]) - other)) * factor
        out[place] = np.uint8(np.int32(min(max(np.rint(found) + zero, low), high)))


@numba.njit(error_model="numpy")
def look_up(integers: np.ndarray, table: np.ndarray, out: np.ndarray) -> None:
    """What a table has for each byte; integers: (n,) uint8; table: (256,); out: (n,) of its type."""
    for place in range(out.shape[0]):
        out[place] = table[integers[place]]
