"""Constant sparse matrices that multiply dense ones, on the fastest kernel that a device has.

On CPUs with MKL and on GPUs that is torch's own; elsewhere scipy's. ``benchmarks/chain.py`` prints the ratios.
"""

import warnings

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
        self._scipy: csr_matrix | None = None
        self._torch: Tensor | None = None
        values = torch.from_numpy(matrix.data).to(dtype)
        if device.type == "cpu" and not torch.backends.mkl.is_available():
            self._scipy = csr_matrix((values.numpy(), matrix.indices, matrix.indptr), matrix.shape)
            return
        with warnings.catch_warnings():
            # That sparse tensors are in beta is told once per process.
            warnings.simplefilter("ignore", UserWarning)
            offsets, columns = (torch.from_numpy(part.astype(np.int64)) for part in (matrix.indptr, matrix.indices))
            self._torch = torch.sparse_csr_tensor(offsets, columns, values, size=matrix.shape, device=device)

    def __matmul__(self, x: Tensor) -> Tensor:
        """x: (columns, N) → (rows, N)."""
        if self._torch is not None:
            return self._torch @ x
        return torch.from_numpy(self._scipy @ x.numpy())
