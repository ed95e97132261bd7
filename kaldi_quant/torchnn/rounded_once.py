"""Functions between grids that are computed in float64 and rounded to float32 once.

In float32 their last bits differ between libraries, and a value in the middle between two steps of a grid would go to
one step here and to the other there. Recurrent cells (``recurrent_cells``) do likewise, so that streams are the same.
"""

from __future__ import annotations

import torch
from torch import Tensor


def elu(x: Tensor, alpha: float = 1.0) -> Tensor:
    """x, or alpha (exp(x) - 1) where x is negative (D. Clevert et al., "Fast and accurate deep network learning by
    exponential linear units", 2016)."""
    below = x.clamp_max(0).double().exp() - 1
    return torch.relu(x) + (below if alpha == 1 else below * alpha).to(x.dtype)
