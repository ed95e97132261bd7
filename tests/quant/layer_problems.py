"""Problems for methods that round weights, and their measure: the squared error of the layer's output."""

import itertools
from collections.abc import Iterator

import torch
from torch import Tensor


def problem(seed: int, out: int = 12, columns: int = 24, rows: int = 500) -> tuple[Tensor, Tensor]:
    """A weight (out, columns) and inputs (rows, columns) that are correlated; float64."""
    random = torch.Generator().manual_seed(seed)
    mixing = torch.randn(columns, columns, generator=random, dtype=torch.float64)
    sizes = torch.logspace(-1, 1, columns, dtype=torch.float64)[torch.randperm(columns, generator=random)]
    inputs = torch.randn(rows, columns, generator=random, dtype=torch.float64) @ mixing * sizes
    return torch.randn(out, columns, generator=random, dtype=torch.float64), inputs


def second_moments(inputs: Tensor) -> Tensor:
    """(rows, in) → (in, in)."""
    return inputs.T @ inputs / len(inputs)


def errors(weight: Tensor, quantized: Tensor, hessian: Tensor) -> Tensor:
    """(out,): of each row, (w - q) H (w - q)^T."""
    lost = weight - quantized
    return ((lost @ hessian) * lost).sum(1)


def combinations(values: list[list[int]]) -> Iterator[Tensor]:
    """Every row of integers, (1, in) int32, that takes its columns from the values given for each."""
    for chosen in itertools.product(*values):
        yield torch.tensor([chosen], dtype=torch.int32)
