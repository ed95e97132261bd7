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
        weight: (out, in) float.
        integers: (out, in) int32, on the grid: where to begin.
        grid: scale and zero point (out, 1) or ().
        hessian: (in, in), positive semidefinite: H. Columns without input keep their integers.
        passes: over all columns; fewer when nothing changes any more.

    Returns:
        (out, in) int32; in no row worse than what was given.
    """
    h, target = hessian.double(), weight.double()
    scale, zero_point = grid.scale.double(), grid.zero_point.double()
    q = integers.double()
    pull = (target - (q - zero_point) * scale) @ h
    columns = q.shape[1]
    for _ in range(passes):
        changes = 0
        for begin in range(0, columns, _BLOCK):
            end = min(begin + _BLOCK, columns)
            steps = _descend_block(q[:, begin:end], pull[:, begin:end].clone(), grid, h[begin:end, begin:end])
            moved = int(torch.count_nonzero(steps))
            if moved:
                q[:, begin:end] += steps
                pull -= (steps * scale) @ h[begin:end]
                changes += moved
        if not changes:
            break
    return q.to(torch.int32)


def _descend_block(q: Tensor, pull: Tensor, grid: Grid, h: Tensor) -> Tensor:
    """The changes (out, block) of a block's integers. pull: (out, block), half the gradient, which is used up."""
    scale = grid.scale.double()
    steps = torch.zeros_like(q)
    diagonal = h.diagonal().tolist()
    for column, curvature in enumerate(diagonal):
        if curvature <= 0:
            continue
        now = q[:, column : column + 1]
        best = (now + pull[:, column : column + 1] / (curvature * scale)).round().clamp(grid.spec.qmin, grid.spec.qmax)
        step = best - now
        steps[:, column : column + 1] = step
        pull -= (step * scale) * h[column]
    return steps
