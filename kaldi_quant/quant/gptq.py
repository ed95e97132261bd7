"""GPTQ: columns are rounded one after the other, and what each loses is made up for by those that follow.

Source: E. Frantar, S. Ashkboos, T. Hoefler, D. Alistarh, "GPTQ: Accurate Post-Training Quantization for Generative
Pre-trained Transformers", ICLR 2023.
"""

import torch
from torch import Tensor

from kaldi_quant.quant.damping import DAMPING, inverse_factor
from kaldi_quant.quant.grid import Grid

# Columns whose errors are handed on to the later ones together, as in the paper.
_BLOCK = 128


def gptq_round(weight: Tensor, grid: Grid, hessian: Tensor, damping: float = DAMPING) -> Tensor:
    """Integers for a weight matrix that lose least in the layer's output.

    Args:
        weight: (..., out, in) float.
        grid: scale and zero point (..., out, 1) or ().
        hessian: (..., in, in): the second moments of the layer's inputs, in any unit; about their mean where the bias
            is corrected afterwards.
        damping: added to the diagonal of ``hessian``, as a share of its mean.

    Returns:
        (..., out, in) int32.
    """
    # Columns of large input first: their rounding matters most and is made up for by most others.
    order = torch.argsort(hessian.diagonal(dim1=-2, dim2=-1), descending=True, stable=True)
    columns, rows = order.unsqueeze(-2), order.unsqueeze(-1)
    ordered = torch.take_along_dim(torch.take_along_dim(hessian, rows, -2), columns, -1)
    upper = inverse_factor(ordered, damping)
    rest = torch.take_along_dim(weight.double(), columns, -1)
    integers = torch.zeros(rest.shape, dtype=torch.int32)
    for begin in range(0, rest.shape[-1], _BLOCK):
        end = min(begin + _BLOCK, rest.shape[-1])
        errors = torch.zeros(*rest.shape[:-1], end - begin, dtype=torch.float64)
        for column in range(begin, end):
            values = rest[..., column : column + 1]
            factors = upper[..., column : column + 1, :]
            rounded = grid.quantize(values)
            integers[..., column] = rounded[..., 0]
            error = (values - grid.dequantize(rounded).double()) / factors[..., column : column + 1]
            rest[..., column + 1 : end] -= error * factors[..., column + 1 : end]
            errors[..., column - begin] = error[..., 0]
        rest[..., end:] -= errors @ upper[..., begin:end, end:]
    return torch.take_along_dim(integers, torch.argsort(columns), -1)
