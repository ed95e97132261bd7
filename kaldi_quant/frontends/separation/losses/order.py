"""Which output is which source: the best of all permutations (permutation invariant training, PIT).

M. Kolbæk et al., "Multitalker Speech Separation With Utterance-Level Permutation Invariant Training of Deep Recurrent
Neural Networks", 2017. Every source belongs to one output: nothing is matched greedily.
"""

from __future__ import annotations

from functools import cache
from itertools import permutations

import torch
from torch import Tensor

from kaldi_quant.errors import UsageError

# There are 720 permutations of six.
_MOST_SOURCES = 6


@torch.no_grad()
def best_places(closeness: Tensor) -> Tensor:
    """The target of each output, so that the mean closeness is highest.

    Args:
        closeness: (N, S, S), of outputs and targets; higher is closer.

    Returns:
        (N, S) int64: the places of targets.

    Raises:
        UsageError: there are more than six sources.

    Example:
        >>> best_places(torch.tensor([[[9.0, 8.0], [8.0, 1.0]]]))
        tensor([[1, 0]])
    """
    orders = _orders(closeness.shape[1]).to(closeness.device)
    means = closeness[:, torch.arange(closeness.shape[1], device=closeness.device), orders].mean(2)
    return orders[means.argmax(1)]


@cache
def _orders(sources: int) -> Tensor:
    """(permutations, S)."""
    if sources > _MOST_SOURCES:
        raise UsageError(f"expected at most {_MOST_SOURCES} sources of any order, found {sources}")
    return torch.tensor(list(permutations(range(sources))))


def at_places(signals: Tensor, places: Tensor | None) -> Tensor:
    """(N, S, C, T): the signals at places (N, S), or as they are for None."""
    if places is None:
        return signals
    return signals.gather(1, places[..., None, None].expand(-1, -1, *signals.shape[2:]))


def values_at(values: Tensor, places: Tensor | None) -> Tensor:
    """(N, S): the values at places."""
    return values if places is None else values.gather(1, places)


def values_to(values: Tensor, places: Tensor | None) -> Tensor:
    """(N, S): the values (N, S) put to places, which is the inverse of ``values_at``."""
    return values if places is None else torch.empty_like(values).scatter(1, places, values)
