"""Constant sparse matrices that multiply dense ones.

A row of the product is a weighted sum of rows of what is multiplied: an embedding bag, for which torch has one kernel
on CPUs and one on GPUs. It waits for nothing, so that it can be recorded as part of a CUDA graph.
``benchmarks/chain.py`` prints how other kernels compare.
"""

import numpy as np
import torch
from scipy.sparse import csr_matrix
from torch import Tensor


class SparseMatrix:
    """A constant matrix.

    Args:
        matrix: (rows, columns), of any float type.
        dtype: the type of the products.
        device: where they are made.
    """

    def __init__(self, matrix: csr_matrix, dtype: torch.dtype, device: torch.device) -> None:
        self._values = torch.from_numpy(matrix.data).to(device, dtype)
        self._columns, self._offsets = (
            torch.from_numpy(part.astype(np.int32)).to(device) for part in (matrix.indices, matrix.indptr)
        )

    def __matmul__(self, x: Tensor) -> Tensor:
        """x: (columns, N) → (rows, N)."""
        return torch.embedding_bag(x, self._columns, self._offsets, False, 0, False, self._values, True)[0]
