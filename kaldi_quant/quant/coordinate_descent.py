"""Coordinate descent: integers are changed one column at a time for as long as the layer's output comes closer.

Begun at GPTQ's integers, it takes back what those lost by looking at each column only once.

Source: K. Behdin et al., "QuantEase: Optimization-based Quantization for Language Models", 2023.
"""

import torch
from torch import Tensor

from kaldi_quant.quant.grid import Grid

_BLOCK = 128
#: Most rounds over all columns; it mostly stands still before.
PASSES = 10


def descend(weight: Tensor, integers: Tensor, grid: Grid, hessian: Tensor, passes: int = PASSES) -> Tensor:
    """Integers with a smaller squared error of the layer's output, tr (W - Wq) H (W - Wq)^T, row by row.

    Args:
        weight: (..., out, in) float.
        integers: (..., out, in) int32, on the grid: where to begin.
        grid: scale and zero point (..., out, 1) or ().
        hessian: (..., in, in), positive semidefinite: H. Columns without input keep their integers.
        passes: over all columns; fewer when nothing changes any more.

    Returns:
        (..., out, in) int32; in no row worse than what was given.
    """
    h, target = hessian.double(), weight.double()
    scale, zero_point = grid.scale.double(), grid.zero_point.double()
    q = integers.double()
    pull = (target - (q - zero_point) * scale) @ h
    columns = q.shape[-1]
    for _ in range(passes):
        changes = 0
        for begin in range(0, columns, _BLOCK):
            end = min(begin + _BLOCK, columns)
            block = slice(begin, end)
            steps = _descend_block(q[..., block], pull[..., block].clone(), grid, h[..., block, block])
            moved = int(torch.count_nonzero(steps))
            if moved:
                q[..., block] += steps
                pull -= (steps * scale) @ h[..., block, :]
                changes += moved
        if not changes:
            break
    return q.to(torch.int32)


def _descend_block(q: Tensor, pull: Tensor, grid: Grid, h: Tensor) -> Tensor:
    """The changes of a block's integers, (..., out, block). pull: the same, half the gradient, which is used up."""
    scale = grid.scale.double()
    steps = torch.zeros_like(q)
    curvatures = h.diagonal(dim1=-2, dim2=-1).unsqueeze(-2)
    # Nothing pulls at columns without input.
    curvatures = torch.where(curvatures > 0, curvatures, torch.inf)
    for column in range(q.shape[-1]):
        one = slice(column, column + 1)
        now = q[..., one]
        best = (now + pull[..., one] / (curvatures[..., one] * scale)).round().clamp(grid.spec.qmin, grid.spec.qmax)
        step = best - now
        steps[..., one] = step
        pull -= (step * scale) * h[..., one, :]
    return steps
