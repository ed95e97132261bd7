"""Recurrences in compiled code: for each time the recurrent product in integers, the cell, the hidden state's grid.

What is computed is defined by ``torchnn.recurrence`` and ``quant.integer_linear``.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numba
import numpy as np

from kaldi_quant.backends.kernels.cells import CELLS
from kaldi_quant.backends.kernels.dot import COLUMNS
from kaldi_quant.backends.kernels.products import accumulate, scale_sums

# As of ``quant.grid``.
_SMALLEST_SCALE = 1e-30


@cache
def with_static_range(mode: str) -> Any:
    """A recurrence whose hidden state lies on a grid.

    Args:
        mode: of ``CELLS``.

    Returns:
        Called with weights as of ``dot.packed``; bias and scale of the sums; scale, zero point and ends of the grid;
        the input product, (T, gates * size) float32; the bytes of the hidden state, (size,) uint8, and what is
        remembered, (size,) float32, which become those after the last time; whether something is ``remembered``, or the
        hidden state alone goes on from time to time; and the bytes of all times, (T, size) uint8, which it writes. The
        last time comes first if ``reverse``.
    """
    cell, add_up = CELLS[mode], accumulate()

    @numba.njit(error_model="numpy")
    def run(
        weights: np.ndarray,
        bias: np.ndarray,
        scale: np.ndarray,
        scale_of_grid: float,
        zero_point: int,
        least: int,
        most: int,
        of_input: np.ndarray,
        state: np.ndarray,
        memory: np.ndarray,
        remembered: bool,
        reverse: bool,
        out: np.ndarray,
    ) -> None:
        size, times = state.shape[0], of_input.shape[0]
        sums, row = np.empty(bias.shape[0], np.int32), np.zeros(weights.shape[1] * COLUMNS, np.uint8)
        of_hidden, hidden = np.empty(of_input.shape[1], np.float32), np.empty(size, np.float32)
        zero, low, high = np.float32(zero_point), np.float32(least), np.float32(most)
        step = np.float32(scale_of_grid)
        row[:size] = state
        for i in range(size):
            hidden[i] = (np.float32(row[i]) - zero) * step
        for number in range(times):
            time = times - 1 - number if reverse else number
            add_up(weights, row, sums)
            scale_sums(sums, bias, scale, of_hidden)
            if not remembered:
                memory[:] = hidden
            cell(of_input[time], of_hidden, hidden, memory)
            found = out[time]
            for i in range(size):
                on_grid = min(max(np.rint(hidden[i] / step) + zero, low), high)
                hidden[i] = (on_grid - zero) * step
                row[i] = np.uint8(np.int32(on_grid))
            found[:] = row[:size]
        state[:] = row[:size]

    return run


@cache
def with_dynamic_range(mode: str) -> Any:
    """A recurrence whose hidden state is put on a grid of its own at every time, for the product alone.

    Args:
        mode: of ``CELLS``.

    Returns:
        Called with weights as of ``dot.packed``; the sum of each row's weights; the weights' scale; the bias; the ends
        of grids; the input product, (T, gates * size) float32; the hidden state and what is remembered, (size,)
        float32, which become those after the last time; whether something is ``remembered``; and the states of all
        times, (T, size) float32, which it writes. The last time comes first if ``reverse``.
    """
    cell, add_up = CELLS[mode], accumulate()

    @numba.njit(error_model="numpy")
    def run(
        weights: np.ndarray,
        row_sums: np.ndarray,
        weight_scale: np.ndarray,
        bias: np.ndarray,
        least: int,
        most: int,
        of_input: np.ndarray,
        hidden: np.ndarray,
        memory: np.ndarray,
        remembered: bool,
        reverse: bool,
        out: np.ndarray,
    ) -> None:
        size, times = hidden.shape[0], of_input.shape[0]
        sums, row = np.empty(row_sums.shape[0], np.int32), np.zeros(weights.shape[1] * COLUMNS, np.uint8)
        of_hidden = np.empty(of_input.shape[1], np.float32)
        for number in range(times):
            time = times - 1 - number if reverse else number
            lowest, highest = np.float32(0), np.float32(0)
            for i in range(size):
                lowest, highest = min(lowest, hidden[i]), max(highest, hidden[i])
            width = (np.float64(highest) - np.float64(lowest)) / (most - least)
            step = np.float32(width) if width > _SMALLEST_SCALE else np.float32(1)
            zero_point = np.int32(min(max(np.rint(least - np.float64(lowest) / np.float64(step)), least), most))
            zero, low, high = np.float32(zero_point), np.float32(least), np.float32(most)
            for i in range(size):
                row[i] = np.uint8(np.int32(min(max(np.rint(hidden[i] / step) + zero, low), high)))
            add_up(weights, row, sums)
            for i in range(of_hidden.shape[0]):
                total = np.float32(sums[i] - zero_point * row_sums[i])
                of_hidden[i] = total * (step * weight_scale[i]) + bias[i]
            if not remembered:
                memory[:] = hidden
            cell(of_input[time], of_hidden, hidden, memory)
            out[time] = hidden

    return run
