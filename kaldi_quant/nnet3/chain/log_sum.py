"""Sums of probabilities that are given as logarithms."""

import torch
from torch import Tensor


def log_sum(values: Tensor, place: Tensor, number: int) -> Tensor:
    """The logarithm of the sum of the exponentials of all values with the same place.

    Args:
        values: (n,) float64.
        place: (n,) int64, below ``number``.
        number: of places.

    Returns:
        (number,) float64, -inf where there is no value.
    """
    largest = values.new_full((number,), -torch.inf).scatter_reduce_(0, place, values, "amax")
    shift = largest.masked_fill(largest.isinf(), 0.0)
    sums = values.new_zeros(number).index_add_(0, place, (values - shift.index_select(0, place)).exp_())
    return sums.log_().add_(shift)
