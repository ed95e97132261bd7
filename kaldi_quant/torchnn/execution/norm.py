"""Normalizations over groups of channels on compiled kernels, with channels last in memory."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from kaldi_quant.backends.kernels.norms import factors_of, moments_of, shift_and_quantize, shifted
from kaldi_quant.quant.grid import Grid
from kaldi_quant.torchnn.execution.run import Run
from kaldi_quant.torchnn.execution.values import GridValue, Summed, channels_last, fits_bytes, floats


@dataclass(frozen=True)
class GroupNormKernel:
    """``rounded_once.group_norm``.

    Args:
        groups: of channels.
        weight: (channels,) float32.
        bias: (channels,) float32.
        epsilon: is added to variances.
        output: the grid of the result; None where it has none of bytes.
    """

    groups: int
    weight: np.ndarray
    bias: np.ndarray
    epsilon: float
    output: Grid | None

    @classmethod
    def of(
        cls, channels: int, groups: int, weight: Tensor | None, bias: Tensor | None, epsilon: float, output: Grid | None
    ) -> GroupNormKernel:
        """Arguments as of ``rounded_once.group_norm``; output: the grid of the result, if it has one."""
        grid = output if output is not None and fits_bytes(output) and not output.scale.dim() else None
        return cls(groups, _values(weight, channels, 1), _values(bias, channels, 0), epsilon, grid)

    def __call__(self, run: Run, value: Any) -> GridValue | Tensor:
        """The result; value: (N, channels, *places)."""
        given: Tensor = floats(run, value)
        shape = (len(given), given.shape[1])
        last = channels_last(run, given)
        x = last.flatten(1, -2).numpy()
        if isinstance(value, Summed):
            moments = value.moments
        else:
            moments = np.empty((shape[0], 2, shape[1]))
            run.do(partial(moments.fill, 0.0))
            run.do(partial(moments_of, x, moments))
        scale, shift = np.empty(shape, np.float32), np.empty(shape, np.float32)
        numbers = (x.shape[1], self.groups, self.epsilon, self.weight, self.bias)
        run.do(partial(factors_of, moments, *numbers, scale, shift))
        result = torch.empty(last.shape, dtype=torch.float32 if self.output is None else torch.uint8)
        out, moved = result.flatten(1, -2).numpy(), result.movedim(-1, 1)
        if self.output is None:
            run.do(partial(shifted, x, scale, shift, out))
            return moved
        spec = self.output.spec
        ends = (float(self.output.scale), int(self.output.zero_point), spec.qmin, spec.qmax)
        run.do(partial(shift_and_quantize, x, scale, shift, *ends, out))
        return GridValue(self.output, moved)


def _values(given: Tensor | None, channels: int, default: float) -> np.ndarray:
    return np.full(channels, default, np.float32) if given is None else given.detach().float().numpy().copy()
