"""GPTQ: columns are rounded one after the other, and what each loses is made up for by those that follow.

Source: E. Frantar, S. Ashkboos, T. Hoefler, D. Alistarh, "GPTQ: Accurate Post-Training Quantization for Generative
Pre-trained Transformers", ICLR 2023.
"""

import torch
from torch import Tensor

from kaldi_quant.quant.grid import Grid

# Added to the diagonal, as a share of its mean: the default of the authors' code.
DAMPING = 0.01


def gptq_round(weight: Tensor, grid: Grid, hessian: Tensor, damping: float = DAMPING) -> Tensor:
    """Integers for a weight matrix that lose least in the layer's output.

    Args:
        weight: (out, in) float.
        grid: scale (out, 1) or ().
        hessian: (in, in): the sum of outer products of the layer's inputs.
        damping: see above.

    Returns:
        (out, in) int32.
    """
    rest = weight.double().clone()
    h = hessian.double().clone()
    dead = h.diagonal() == 0
    h.diagonal()[dead] = 1.0
    h.diagonal().add_(damping * h.diagonal().mean())
    # Columns of large input first: their rounding matters most and is made up for by most others.
    order = torch.argsort(h.diagonal(), descending=True)
    rest, h = rest[:, order], h[order][:, order]
    upper = torch.linalg.cholesky(torch.cholesky_inverse(torch.linalg.cholesky(h)), upper=True)
    integers = torch.zeros(rest.shape, dtype=torch.int32)
    for column in range(rest.shape[1]):
        values = rest[:, column : column + 1]
        rounded = grid.quantize(values)
        integers[:, column] = rounded[:, 0]
        error = (values - grid.dequantize(rounded).double()) / upper[column, column]
        rest[:, column + 1 :] -= error * upper[column, column + 1 :]
    return integers[:, torch.argsort(order)]
