"""Sums of products in Einstein's notation, as products of matrices where they are that."""

from __future__ import annotations

import re
from typing import NamedTuple

import torch
from torch import Tensor

_EQUATION = re.compile(r"([a-zA-Z]+),([a-zA-Z]+)->([a-zA-Z]*)")


class MatrixProduct(NamedTuple):
    """A product of two tensors whose axes have letters.

    Args:
        one: the order of the first tensor's axes in which it is (batch..., rows, inner).
        other: of the second's, in which it is (batch..., inner, columns).
        result: the order of the axes of (batch..., rows, columns) in the result.
    """

    one: tuple[int, ...]
    other: tuple[int, ...]
    result: tuple[int, ...]

    @classmethod
    def of(cls, equation: str) -> MatrixProduct | None:
        """What an equation says; None where it is no product of matrices."""
        found = _EQUATION.fullmatch(equation.replace(" ", ""))
        if found is None or any(len(set(letters)) < len(letters) for letters in found.groups()):
            return None
        one, other, result = found.groups()
        batch = [letter for letter in one if letter in other and letter in result]
        inner = [letter for letter in one if letter in other and letter not in result]
        rows, columns = ([letter for letter in x if letter not in y] for x, y in ((one, other), (other, one)))
        if not len(inner) == len(rows) == len(columns) == 1 or set(result) != {*batch, *rows, *columns}:
            return None
        return cls(
            tuple(map(one.index, [*batch, *rows, *inner])),
            tuple(map(other.index, [*batch, *inner, *columns])),
            tuple(map([*batch, *rows, *columns].index, result)),
        )

    def compute(self, one: Tensor, other: Tensor) -> Tensor:
        """The product."""
        return torch.matmul(one.permute(self.one), other.permute(self.other)).permute(self.result)
