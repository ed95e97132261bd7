"""Coordinate descent: integers are changed one column at a time for as long as the layer's output comes closer.

Begun at GPTQ's integers, it takes back what those lost by looking at each column only once.

Source: K. Behdin et al., "QuantEase: Optimization-based Quantization for Language Models", 2023.

Rows do not depend on each other, and in most blocks of columns most rows stand still: those are found at once, and only
the others are gone through column by column.
"""

import numpy as np
import torch
from torch import Tensor

from kaldi_quant.quant.grid import Grid
from kaldi_quant.quant.spec import QSpec

# What a block of columns changes is handed on to all others in one product, and within it to the columns that follow in
# products of so many.
_BLOCK, _PART = 128, 16
#: Most rounds over all columns; it mostly stands still before.
PASSES = 10

Array = np.ndarray


def descend(weight: Tensor, integers: Tensor, grid: Grid, hessian: Tensor, passes: int = PASSES) -> Tensor:
    """Integers with a smaller squared error of the layer's output, tr (W - Wq) H (W - Wq)^T, row by row.

    Args:
        weight: (..., out, in) float.
        integers: (..., out, in) int32, on the grid: where to begin.
        grid: scale and zero point (..., out, 1), (..., out, in) or ().
        hessian: (..., in, in), positive semidefinite: H. Columns without input keep their integers.
        passes: over all columns; fewer when nothing changes any more.

    Returns:
        (..., out, in) int32; in no row worse than what was given.
    """
    h, target = hessian.double(), weight.double()
    scale, zero_point = grid.scale.double(), grid.zero_point.double()
    q = integers.double()
    pull = (target - (q - zero_point) * scale) @ h
    scale = scale.expand(*q.shape[:-1], scale.shape[-1] if scale.dim() else 1)
    if q.dim() == 2:
        return _descend(q, pull, scale, h, grid.spec, passes).to(torch.int32)
    groups = [x.reshape(-1, *x.shape[-2:]) for x in (q, pull, scale, h)]
    found = [_descend(*parts, grid.spec, passes) for parts in zip(*groups, strict=True)]  # type: ignore[call-arg]
    return torch.stack(found).reshape(q.shape).to(torch.int32)


def _descend(q: Tensor, pull: Tensor, scale: Tensor, h: Tensor, spec: QSpec, passes: int) -> Tensor:
    """The integers, (out, in). q, pull: (out, in); scale: (out, 1 or in); h: (in, in), all float64."""
    columns = q.shape[-1]
    # Column by column, so that each is a stretch of memory.
    q, pull, scales = q.T.contiguous(), pull.T.contiguous(), scale.T.contiguous()
    curvatures = h.diagonal()
    # Nothing pulls at columns without input.
    curvatures = torch.where(curvatures > 0, curvatures, torch.inf)
    moving = torch.arange(q.shape[1])
    for _ in range(passes):
        moved = torch.zeros(len(moving), dtype=torch.bool)
        for begin in range(0, columns, _BLOCK):
            block = slice(begin, min(begin + _BLOCK, columns))
            of_block = scales if len(scales) == 1 else scales[block]
            rows = _restless(q[block][:, moving], pull[block][:, moving], of_block[:, moving], curvatures[block], spec)
            if not len(rows):
                continue
            moved[rows] = True
            chosen = moving[rows]
            before, gradient = (x[block][:, chosen].contiguous().numpy() for x in (q, pull))
            weights = of_block[:, chosen].numpy(), curvatures[block].numpy()
            steps = _descend_block(before, gradient, *weights, h[block, block], spec)
            q[block] = q[block].index_add(1, chosen, steps)
            pull.index_add_(1, chosen, h[:, block] @ (steps * of_block[:, chosen]), alpha=-1)
        # A row that stood still for a whole round does so for ever.
        moving = moving[moved]
        if not len(moving):
            break
    return q.T


def _restless(q: Tensor, pull: Tensor, scales: Tensor, curvatures: Tensor, spec: QSpec) -> Tensor:
    """The rows, by number, in which an integer of a block would change.

    q, pull: (block, rows); scales: (1 or block, rows); curvatures: (block,).
    """
    best = (q + pull / (curvatures.unsqueeze(1) * scales)).round_().clamp_(spec.qmin, spec.qmax)
    return torch.nonzero((best != q).any(0)).flatten()


def _descend_block(q: Array, pull: Array, scales: Array, curvatures: Array, h: Tensor, spec: QSpec) -> Tensor:
    """The changes of a block's integers, (block, rows).

    Args:
        q: the integers, (block, rows).
        pull: likewise, half the gradient, which is used up.
        scales: (1 or block, rows).
        curvatures: (block,).
        h: (block, block).
        spec: the grid.
    """
    length = len(q)
    steps = np.zeros_like(q)
    deltas = np.zeros_like(q)
    within, scales = h.numpy(), np.broadcast_to(scales, q.shape)
    for begin in range(0, length, _PART):
        end = min(begin + _PART, length)
        for column in range(begin, end):
            best = pull[column] / (curvatures[column] * scales[column])
            best += q[column]
            np.rint(best, out=best)
            np.clip(best, spec.qmin, spec.qmax, out=best)
            best -= q[column]
            if not best.any():
                continue
            steps[column] = best
            best *= scales[column]
            deltas[column] = best
            if column + 1 < end:
                pull[column + 1 : end] -= np.multiply.outer(within[column, column + 1 : end], best)
        if end < length:
            pull[end:] -= within[end:, begin:end] @ deltas[begin:end]
    return torch.from_numpy(steps)
