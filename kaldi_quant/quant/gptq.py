"""GPTQ: columns are rounded one after the other, and what each loses is made up for by those that follow.

With H = U U^T, U upper triangular, the error E of the weights costs |E U|^2. A column of E U depends on the columns of
E up to its own, so that each column is rounded to what brings its own share of the cost nearest to zero. These are the
integers of the paper, which gets at them by way of the inverse of H.

Source: E. Frantar, S. Ashkboos, T. Hoefler, D. Alistarh, "GPTQ: Accurate Post-Training Quantization for Generative
Pre-trained Transformers", ICLR 2023.
"""

import numpy as np
import torch
from torch import Tensor

from kaldi_quant.quant.damping import DAMPING, OrderedFactor, ordered_factor
from kaldi_quant.quant.grid import Grid

# Columns whose errors are handed on to later ones together, as in the paper, and within them in products of so many.
_BLOCK, _PART = 128, 16

Array = np.ndarray


def gptq_round(weight: Tensor, grid: Grid, hessian: Tensor, damping: float = DAMPING) -> Tensor:
    """Integers for a weight matrix that lose least in the layer's output.

    Args:
        weight: (..., out, in) float.
        grid: scale and zero point (..., out, 1), (..., out, in) or ().
        hessian: (..., in, in): the second moments of the layer's inputs, in any unit; about their mean where the bias
            is corrected afterwards.
        damping: added to the diagonal of ``hessian``, as a share of its mean.

    Returns:
        (..., out, in) int32.
    """
    return round_in_order(weight, grid, ordered_factor(hessian, damping))


def round_in_order(weight: Tensor, grid: Grid, moments: OrderedFactor) -> Tensor:
    """``gptq_round``, the second moments being factorised already."""
    scale, zero_point = (x.expand(*weight.shape[:-1], _width(x)) for x in (grid.scale, grid.zero_point))
    if weight.dim() == 2:
        return _rounded(weight, grid, scale, zero_point, moments.order, moments.factor)
    parts = zip(weight, scale, zero_point, moments.order, moments.factor, strict=True)
    return torch.stack([_rounded(part, grid, *others) for part, *others in parts])


def _rounded(weight: Tensor, grid: Grid, scale: Tensor, zero_point: Tensor, order: Tensor, factor: Tensor) -> Tensor:
    """(out, in) int32. weight: (out, in); scale, zero_point: (out, 1 or in); order: (in,); factor: (in, in)."""
    # Column by column, so that each is a stretch of memory.
    target = weight.double().T[order].contiguous().numpy()
    upper, length = factor.contiguous().numpy(), len(target)
    scales = _in_order(scale, order)
    zeros = _in_order(zero_point, order).astype(np.float64)
    lowest, highest = (np.broadcast_to(end - zeros, target.shape) for end in (grid.spec.qmin, grid.spec.qmax))
    scales = np.broadcast_to(scales, target.shape)
    errors, steps = np.zeros_like(target), np.zeros_like(target)
    # What the errors of earlier columns cost in each.
    carried = np.zeros_like(target)
    for block in range(0, length, _BLOCK):
        block_end = min(block + _BLOCK, length)
        for begin in range(block, block_end, _PART):
            end = min(begin + _PART, block_end)
            for column in range(begin, end):
                best = carried[column] / upper[column, column]
                best += target[column]
                best /= scales[column]
                np.rint(best, out=best)
                np.clip(best, lowest[column], highest[column], out=best)
                steps[column] = best
                errors[column] = target[column] - best.astype(np.float32) * scales[column]
                if column + 1 < end:
                    carried[column + 1 : end] += np.multiply.outer(upper[column, column + 1 : end], errors[column])
            if end < block_end:
                carried[end:block_end] += upper[begin:end, end:block_end].T @ errors[begin:end]
        if block_end < length:
            carried[block_end:] += upper[block:block_end, block_end:].T @ errors[block:block_end]
    integers = torch.from_numpy(steps + zeros).to(torch.int32)
    return integers[torch.argsort(order)].T.contiguous()


def _width(values: Tensor) -> int:
    return values.shape[-1] if values.dim() else 1


def _in_order(values: Tensor, order: Tensor) -> Array:
    """(1 or in, out): what rows, (out, 1 or in), have for each column, in the order of columns."""
    return (values.T if values.shape[1] == 1 else values.T[order]).contiguous().numpy()
