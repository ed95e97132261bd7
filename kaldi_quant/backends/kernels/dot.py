"""Sums of products of 8-bit integers by the processor's own instruction for them, ``vpdpbusd`` (VNNI).

It multiplies four unsigned bytes of each 32-bit lane with four signed ones and adds the products to the lane, without
saturation. Weights are stored as it reads them (``packed``): for each block of as many rows as there are lanes, four
columns of all these rows, then the next four columns. Source: Intel 64 and IA-32 Architectures Software Developer's
Manual, VPDPBUSD.
"""

from __future__ import annotations

import itertools
from typing import Any

import llvmlite.binding
import numpy as np
from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic

#: Columns that one instruction adds up in each lane.
COLUMNS = 4
#: So many rows of bytes are multiplied together: each weight that is loaded serves all of them.
ROWS_TOGETHER = 4
# So many blocks of rows are computed side by side, so that an instruction need not wait for the one before it: of one
# row of bytes, and of several together, whose sums all stay in registers.
_SIDE_BY_SIDE, _SIDE_BY_SIDE_TOGETHER = (8, 4, 2, 1), {16: (4, 2, 1), 8: (2, 1)}
# Bytes to which the processor reads a whole register at once.
_ALIGNMENT = 64
_BYTES_OF_A_SUM = 4
_INT32, _INT64 = ir.IntType(32), ir.IntType(64)


def lanes() -> int:
    """The 32-bit lanes of this processor's instruction; 0 where it has none."""
    features = llvmlite.binding.get_host_cpu_features()
    if features.get("avx512vnni"):
        return 16
    return 8 if features.get("avxvnni") else 0


def packed(weight: np.ndarray, lane_count: int) -> np.ndarray:
    """Weights as the instruction reads them.

    Args:
        weight: (rows, columns) int8.
        lane_count: of the instruction.

    Returns:
        (blocks, column groups, lanes, 4) int8, at an address that a register is read from; filled up with zeros.
    """
    rows, columns = weight.shape
    blocks, groups = -(-rows // lane_count), -(-columns // COLUMNS)
    filled = np.zeros((blocks * lane_count, groups * COLUMNS), np.int8)
    filled[:rows, :columns] = weight
    memory = np.empty(filled.size + _ALIGNMENT, np.int8)
    first = -memory.ctypes.data % _ALIGNMENT
    result = memory[first : first + filled.size].reshape(blocks, groups, lane_count, COLUMNS)
    result[:] = filled.reshape(blocks, lane_count, groups, COLUMNS).transpose(0, 2, 1, 3)
    return result


class _Writer:
    """Writes the product of packed weights and rows of unsigned bytes into compiled code.

    Args:
        builder: takes the instructions.
        lane_count: of the processor's instruction.
        rows: how many rows of bytes there are.
        weights: the address of what ``packed`` returns, as all arguments below a value of the code that is written.
        x: that of the rows, one behind the other, each filled up to whole groups of columns.
        sums: that of the result, for each row of bytes int32 for each row of whole blocks.
        blocks: how many blocks of rows of weights there are.
        groups: how many groups of columns.
    """

    def __init__(
        self,
        builder: Any,
        lane_count: int,
        rows: int,
        weights: ir.Value,
        x: ir.Value,
        sums: ir.Value,
        blocks: ir.Value,
        groups: ir.Value,
    ) -> None:
        self.builder, self.rows, self.blocks, self.groups = builder, rows, blocks, groups
        self.lane_count = lane_count
        self.sums_type = ir.VectorType(_INT32, lane_count)
        self.bytes_type = ir.VectorType(ir.IntType(8), lane_count * COLUMNS)
        kind = ir.FunctionType(self.sums_type, [self.sums_type, self.bytes_type, self.bytes_type])
        name = f"llvm.x86.avx512.vpdpbusd.{lane_count * 32}"
        self.dot = cgutils.get_or_insert_function(builder.module, kind, name)
        self.weights = builder.inttoptr(weights, ir.PointerType(self.bytes_type))
        self.x = builder.inttoptr(x, ir.PointerType(_INT32))
        self.sums = builder.inttoptr(sums, ir.PointerType(self.sums_type))

    def write(self) -> None:
        """All blocks: as many as possible side by side, then those that are left."""
        begin: ir.Value = ir.Constant(_INT64, 0)
        for count in _SIDE_BY_SIDE if self.rows == 1 else _SIDE_BY_SIDE_TOGETHER[self.lane_count]:
            left = self.builder.sub(self.blocks, begin)
            end = self.builder.add(begin, self.builder.and_(left, ir.Constant(_INT64, -count)))
            with cgutils.for_range_slice(self.builder, begin, end, ir.Constant(_INT64, count)) as (first, _):
                self._side_by_side(first, count)
            begin = end

    def _side_by_side(self, first: ir.Value, count: int) -> None:
        builder = self.builder
        places = [builder.add(first, ir.Constant(_INT64, number)) for number in range(count)]
        begins = [builder.mul(place, self.groups) for place in places]
        numbers = [ir.Constant(_INT64, row) for row in range(self.rows)]
        rows = [builder.mul(number, self.groups) for number in numbers]
        results = [builder.mul(number, self.blocks) for number in numbers]
        accumulators = [[cgutils.alloca_once(builder, self.sums_type) for _ in places] for _ in rows]
        for accumulator in itertools.chain(*accumulators):
            builder.store(ir.Constant(self.sums_type, [0] * self.lane_count), accumulator)
        with cgutils.for_range(builder, self.groups) as loop:
            addresses = [builder.gep(self.weights, [builder.add(begin, loop.index)]) for begin in begins]
            weights = [builder.load(address, align=self.lane_count * COLUMNS) for address in addresses]
            for row, of_row in zip(rows, accumulators, strict=True):
                columns = self._in_all_lanes(builder.load(builder.gep(self.x, [builder.add(row, loop.index)])))
                for weight, accumulator in zip(weights, of_row, strict=True):
                    total = builder.call(self.dot, [builder.load(accumulator), columns, weight])
                    builder.store(total, accumulator)
        for result, of_row in zip(results, accumulators, strict=True):
            for place, accumulator in zip(places, of_row, strict=True):
                address = builder.gep(self.sums, [builder.add(result, place)])
                builder.store(builder.load(accumulator), address, align=_BYTES_OF_A_SUM)

    def _in_all_lanes(self, columns: ir.Value) -> ir.Value:
        undefined = ir.Constant(self.sums_type, ir.Undefined)
        lane = self.builder.insert_element(undefined, columns, ir.Constant(_INT32, 0))
        zeros = ir.Constant(self.sums_type, [0] * self.lane_count)
        return self.builder.bitcast(self.builder.shuffle_vector(lane, undefined, zeros), self.bytes_type)


def product(lane_count: int, rows: int = 1) -> Any:
    """A function for compiled code: (weights, x, sums, blocks, groups), all but the counts being addresses.

    Args:
        lane_count: of the processor's instruction.
        rows: of bytes that it multiplies, one behind the other, and of sums that it writes.
    """

    @intrinsic
    def multiply(_typing: Any, weights: Any, x: Any, sums: Any, blocks: Any, groups: Any) -> Any:
        def codegen(context: Any, builder: Any, _: Any, arguments: Any) -> Any:
            _Writer(builder, lane_count, rows, *arguments).write()
            return context.get_dummy_value()

        return types.void(types.uintp, types.uintp, types.uintp, types.intp, types.intp), codegen

    return multiply
