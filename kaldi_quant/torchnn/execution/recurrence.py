"""Recurrences on compiled kernels."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from kaldi_quant.backends.kernels.cells import CELLS
from kaldi_quant.backends.kernels.products import PackedWeight
from kaldi_quant.backends.kernels.recurrence import with_dynamic_range, with_static_range
from kaldi_quant.quant.grid import Grid
from kaldi_quant.quant.integer_linear import DynamicLinear, IntegerLinear
from kaldi_quant.quant.spec import QSpec
from kaldi_quant.torchnn.execution.linear import columns_grid, signed_bytes
from kaldi_quant.torchnn.execution.run import Run
from kaldi_quant.torchnn.execution.values import GridValue, as_array, fits_bytes, floats, has_integers_of, put_on
from kaldi_quant.torchnn.recurrence import Recurrence


@dataclass(frozen=True)
class RecurrenceKernel(ABC):
    """The cells of one layer and direction, from the input product on.

    Args:
        recurrence: in question.
        packed: the weights of the recurrent product.
    """

    recurrence: Recurrence
    packed: PackedWeight

    def __call__(self, run: Run, of_input: Tensor, hidden: Any = None, memory: Tensor | None = None) -> Any:
        """As of ``Recurrence``; the hidden states as a value on their grid if they have one."""
        remembered = torch.zeros(len(of_input), self.recurrence.size)
        if memory is None:
            run.do(remembered.zero_)
        else:
            run.do(partial(remembered.copy_, memory))
        states = self._states(run, as_array(run, of_input), hidden, remembered.numpy())
        return (states, remembered) if self.recurrence.remembers else states

    @abstractmethod
    def _states(self, run: Run, of_input: np.ndarray, hidden: Any, memory: np.ndarray) -> GridValue | Tensor:
        """The states of all times, (N, T, size); ``memory``, (N, size), becomes that after the last time."""


@dataclass(frozen=True)
class StaticKernel(RecurrenceKernel):
    """With the hidden states on one grid.

    Args:
        bias: (filled up,) int32, less what the zero point of the states adds.
        scale: (filled up,) float32, of the sums.
        grid: of the states.
    """

    bias: np.ndarray
    scale: np.ndarray
    grid: Grid

    def _states(self, run: Run, of_input: np.ndarray, hidden: Any, memory: np.ndarray) -> GridValue:
        batch, times, _ = of_input.shape
        state = np.empty((batch, self.recurrence.size), np.uint8)
        if hidden is None:
            run.do(partial(state.fill, int(self.grid.zero_point)))
        else:
            run.do(partial(np.copyto, state, self._first(run, hidden).numpy()))
        out, spec = torch.empty((batch, times, state.shape[1]), dtype=torch.uint8), self.grid.spec
        numbers = (float(self.grid.scale), int(self.grid.zero_point), spec.qmin, spec.qmax)
        compute = with_static_range(self.recurrence.mode)
        ways = (self.recurrence.remembers, self.recurrence.reverse)
        for n, states in enumerate(out.numpy()):
            constants = (self.packed.values, self.bias, self.scale, *numbers)
            run.do(partial(compute, *constants, of_input[n], state[n], memory[n], *ways, states))
        return GridValue(self.grid, out)

    def _first(self, run: Run, hidden: GridValue | Tensor) -> Tensor:
        if isinstance(hidden, GridValue):
            if has_integers_of(hidden.grid, self.grid):
                return hidden.integers(run)
            hidden = hidden.floats(run)
        return put_on(run, self.grid, hidden)


@dataclass(frozen=True)
class DynamicKernel(RecurrenceKernel):
    """With a grid for the recurrent product at every time, and the hidden states in float.

    Args:
        row_sums: (filled up,) int32, of the weights.
        scale: (filled up,) float32, of the weights.
        bias: (filled up,) float32.
        spec: of the grids.
    """

    row_sums: np.ndarray
    scale: np.ndarray
    bias: np.ndarray
    spec: QSpec

    def _states(self, run: Run, of_input: np.ndarray, hidden: Any, memory: np.ndarray) -> Tensor:
        batch, times, _ = of_input.shape
        state = np.empty((batch, self.recurrence.size), np.float32)
        if hidden is None:
            run.do(partial(state.fill, 0.0))
        else:
            run.do(partial(np.copyto, state, as_array(run, floats(run, hidden))))
        out = torch.empty((batch, times, state.shape[1]))
        compute = with_dynamic_range(self.recurrence.mode)
        ways = (self.recurrence.remembers, self.recurrence.reverse)
        constants = (self.packed.values, self.row_sums, self.scale, self.bias, self.spec.qmin, self.spec.qmax)
        for n, states in enumerate(out.numpy()):
            run.do(partial(compute, *constants, of_input[n], state[n], memory[n], *ways, states))
        return out


def recurrence_kernel(recurrence: Recurrence, layer: object, grid: Grid | None) -> RecurrenceKernel | None:
    """The kernel of a recurrence; None where there is none for its widths or its ranges.

    Args:
        recurrence: in question.
        layer: the recurrent product's quantized form, if it has one.
        grid: that of the hidden states.
    """
    if not isinstance(layer, IntegerLinear | DynamicLinear) or recurrence.mode not in CELLS:
        return None
    weight = signed_bytes(layer.weight)
    if weight is None or layer.weight.is_groupwise:
        return None
    packed = PackedWeight.of(weight)
    wide = layer.weight.centred.long()
    if isinstance(layer, IntegerLinear):
        columns = columns_grid(layer.inputs)
        if grid is None or columns is None or not fits_bytes(grid) or not has_integers_of(grid, columns):
            return None
        bias = layer.bias.long() - wide @ layer.inputs.zero_point.long()
        scale = packed.of_rows(layer.accumulator_scale.numpy(), np.float32)
        return StaticKernel(recurrence, packed, packed.of_rows(bias.numpy(), np.int32), scale, grid)
    if grid is not None or layer.spec.signed or layer.spec.symmetric or layer.spec.is_wide:
        return None
    return DynamicKernel(
        recurrence,
        packed,
        packed.of_rows(wide.sum(1).numpy(), np.int32),
        packed.of_rows(layer.weight.scale[:, 0].numpy(), np.float32),
        packed.of_rows(layer.bias.numpy(), np.float32),
        layer.spec,
    )
