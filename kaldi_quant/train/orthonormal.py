"""The semi-orthogonal constraint of factorised layers (TDNN-F), kept up by a step towards it now and then.

Source: ``ConstrainOrthonormalInternal`` in ``src/nnet3/nnet-utils.cc``; D. Povey et al., "Semi-orthogonal low-rank
matrix factorization for deep neural networks", Interspeech 2018.
"""

import torch
from torch import Tensor

#: Kaldi constrains a component at one of four minibatches, at random.
EVERY = 4

_SPEED = 0.125
# Where the singular values are far from equal, a full step would diverge.
_UNEQUAL, _VERY_UNEQUAL = 1.02, 1.1


@torch.no_grad()
def constrain_orthonormal(matrix: Tensor, scale: float) -> None:
    """Moves a matrix M, in place, towards M Mᵀ = scale² I (of the transpose, where it has more rows than columns).

    Args:
        matrix: (rows, columns) float.
        scale: above 0; or below 0 for one that floats: the one that M Mᵀ is nearest to.
    """
    rows = matrix if matrix.shape[0] <= matrix.shape[1] else matrix.T
    product = rows @ rows.T
    trace, trace_of_square = product.diagonal().sum(), product.square().sum()
    if not float(trace) > 0:
        return
    speed = _SPEED
    if scale < 0:
        square = trace_of_square / trace
        ratio = float(trace_of_square * len(rows) / trace.square())
        speed *= 0.5 if ratio > _UNEQUAL else 1.0
        speed *= 0.5 if ratio > _VERY_UNEQUAL else 1.0
    else:
        square = torch.as_tensor(scale * scale, dtype=matrix.dtype, device=matrix.device)
    product.diagonal().sub_(square)
    rows.sub_((product @ rows).mul_(4 * speed / square))


def orthonormality_error(matrix: Tensor) -> float:
    """How far M Mᵀ is from a multiple of I: the norm of the difference over that of M Mᵀ."""
    rows = matrix if matrix.shape[0] <= matrix.shape[1] else matrix.T
    product = rows.double() @ rows.double().T
    square = product.square().sum() / product.diagonal().sum()
    return float((product - square * torch.eye(len(product)).to(product)).norm() / product.norm())
