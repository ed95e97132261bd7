"""Products of rows of unsigned bytes with 8-bit weights, and what becomes of their sums: floats, or bytes on a grid.

The operations and their order are those of ``quant.integer_linear``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import numba
import numpy as np

from kaldi_quant.backends.kernels.dot import COLUMNS, lanes, packed, product

# Without the instruction, rows are computed in blocks of so many.
_LANES_OF_PLAIN_CODE = 8

#: Adds up packed weights times one row of bytes: (weights, row, sums).
Accumulate = Callable[[np.ndarray, np.ndarray, np.ndarray], None]


@dataclass(frozen=True)
class PackedWeight:
    """Weights as kernels read them.

    Args:
        values: as of ``dot.packed``.
        rows: of the matrix.
        columns: of the matrix.
    """

    values: np.ndarray
    rows: int
    columns: int

    @classmethod
    def of(cls, weight: np.ndarray) -> PackedWeight:
        """weight: (rows, columns) int8, without zero point."""
        return cls(packed(weight, lanes() or _LANES_OF_PLAIN_CODE), *weight.shape)

    @property
    def columns_read(self) -> int:
        """The bytes of a row that are read."""
        return self.values.shape[1] * COLUMNS

    def of_rows(self, values: np.ndarray, dtype: Any) -> np.ndarray:
        """Numbers of the rows, (rows,), with zeros for those that fill up the last block."""
        filled = np.zeros(self.values.shape[0] * self.values.shape[2], dtype)
        filled[: self.rows] = values
        return filled


@cache
def accumulate() -> Accumulate:
    """The product of packed weights and one row of bytes, for compiled code.

    Called with weights as of ``dot.packed``, the row, (columns filled up,) uint8, and the sums that it writes, (rows
    filled up,) int32.
    """
    if not lanes():
        return _plain
    multiply = product(lanes())

    @numba.njit(error_model="numpy")
    def by_instruction(weights: np.ndarray, row: np.ndarray, sums: np.ndarray) -> None:
        multiply(weights.ctypes.data, row.ctypes.data, sums.ctypes.data, weights.shape[0], weights.shape[1])

    return by_instruction


@numba.njit(error_model="numpy")
def _plain(weights: np.ndarray, row: np.ndarray, sums: np.ndarray) -> None:
    blocks, groups, lane_count, _ = weights.shape
    for block in range(blocks):
        for lane in range(lane_count):
            total = np.int32(0)
            for group in range(groups):
                for column in range(COLUMNS):
                    total += np.int32(weights[block, group, lane, column]) * np.int32(row[group * COLUMNS + column])
            sums[block * lane_count + lane] = total


@numba.njit(error_model="numpy")
def quantize(x: np.ndarray, scale: np.ndarray, zero_point: np.ndarray, least: int, most: int, out: np.ndarray) -> None:
    """Floats as bytes.

    Args:
        x: (rows, columns) float32.
        scale: (columns,) float32.
        zero_point: (columns,) float32.
        least: of the grid.
        most: of the grid.
        out: (rows, columns) uint8.
    """
    low, high = np.float32(least), np.float32(most)
    for row in range(x.shape[0]):
        for column in range(x.shape[1]):
            found = np.rint(x[row, column] / scale[column]) + zero_point[column]
            # In this order what is no number becomes the least.
            out[row, column] = np.uint8(np.int32(min(max(found, low), high)))


@numba.njit(error_model="numpy")
def quantize_alike(x: np.ndarray, scale: float, zero_point: int, least: int, most: int, out: np.ndarray) -> None:
    """``quantize`` with one grid for all; x: (n,) float32; out: (n,) uint8."""
    step, zero, low, high = np.float32(scale), np.float32(zero_point), np.float32(least), np.float32(most)
    for place in range(x.shape[0]):
        out[place] = np.uint8(np.int32(min(max(np.rint(x[place] / step) + zero, low), high)))


@numba.njit(error_model="numpy")
def floats_of(integers: np.ndarray, scale: float, zero_point: int, out: np.ndarray) -> None:
    """Bytes as floats; integers: (n,) uint8; out: (n,) float32."""
    step, zero = np.float32(scale), np.int32(zero_point)
    for place in range(integers.shape[0]):
        out[place] = np.float32(np.int32(integers[place]) - zero) * step


@numba.njit(error_model="numpy")
def scale_sums(sums: np.ndarray, bias: np.ndarray, scale: np.ndarray, out: np.ndarray) -> None:
    """Sums as floats.

    Args:
        sums: (at least rows,) int32.
        bias: (at least rows,) int32, less what the input's zero point adds.
        scale: (at least rows,) float32.
        out: (rows,) float32.
    """
    for row in range(out.shape[0]):
        out[row] = np.float32(sums[row] + bias[row]) * scale[row]


@numba.njit(error_model="numpy")
def requantize_sums(
    sums: np.ndarray, bias: np.ndarray, multiplier: np.ndarray, zero_point: int, least: int, most: int, out: np.ndarray
) -> None:
    """Sums as bytes on a grid.

    Args:
        sums: (at least rows,) int32.
        bias: (at least rows,) int32, less what the input's zero point adds.
        multiplier: (at least rows,) float32: steps of the grid for each unit of the sum.
        zero_point: of the grid.
        least: of the grid; its zero point behind a ReLU.
        most: of the grid.
        out: (rows,) uint8.
    """
    zero, low, high = np.float32(zero_point), np.float32(least), np.float32(most)
    for row in range(out.shape[0]):
        steps = np.float32(sums[row] + bias[row]) * multiplier[row]
        out[row] = np.uint8(np.int32(min(max(np.rint(steps) + zero, low), high)))


@cache
def multiply_to_floats() -> Any:
    """Rows times weights as floats: (weights, x, bias, scale, out)."""
    add_up = accumulate()

    @numba.njit(error_model="numpy")
    def run(weights: np.ndarray, x: np.ndarray, bias: np.ndarray, scale: np.ndarray, out: np.ndarray) -> None:
        sums, filled = np.empty(bias.shape[0], np.int32), np.zeros(weights.shape[1] * COLUMNS, np.uint8)
        for row in range(x.shape[0]):
            filled[: x.shape[1]] = x[row]
            add_up(weights, filled, sums)
            scale_sums(sums, bias, scale, out[row])

    return run


@cache
def multiply_to_bytes() -> Any:
    """Rows times weights as bytes on a grid: (weights, x, bias, multiplier, zero_point, least, most, out)."""
    add_up = accumulate()

    @numba.njit(error_model="numpy")
    def run(
        weights: np.ndarray,
        x: np.ndarray,
        bias: np.ndarray,
        multiplier: np.ndarray,
        zero_point: int,
        least: int,
        most: int,
        out: np.ndarray,
    ) -> None:
        sums, filled = np.empty(bias.shape[0], np.int32), np.zeros(weights.shape[1] * COLUMNS, np.uint8)
        for row in range(x.shape[0]):
            filled[: x.shape[1]] = x[row]
            add_up(weights, filled, sums)
            requantize_sums(sums, bias, multiplier, zero_point, least, most, out[row])

    return run


@numba.njit(error_model="numpy")
def scale_rows(sums: np.ndarray, bias: np.ndarray, scale: np.ndarray, out: np.ndarray) -> None:
    """``scale_sums`` of each row; sums: (n, rows) int32; out: (n, rows) float32."""
    for row in range(out.shape[0]):
        scale_sums(sums[row], bias, scale, out[row])


@numba.njit(error_model="numpy")
def requantize_rows(
    sums: np.ndarray, bias: np.ndarray, multiplier: np.ndarray, zero_point: int, least: int, most: int, out: np.ndarray
) -> None:
    """``requantize_sums`` of each row; sums: (n, rows) int32; out: (n, rows) uint8."""
    for row in range(out.shape[0]):
        requantize_sums(sums[row], bias, multiplier, zero_point, least, most, out[row])
