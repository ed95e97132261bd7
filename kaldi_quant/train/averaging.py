"""The average of a model's last states, as long as it helps.

Kaldi compares averages over the last 1, 2, … states and takes the best.
Source: ``src/chainbin/nnet3-chain-combine.cc``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

State = Mapping[str, Tensor]


def average(states: Sequence[State]) -> dict[str, Tensor]:
    """The mean of parameters."""
    return {
        name: torch.stack([state[name].double() for state in states]).mean(0).to(states[0][name].dtype)
        for name in states[0]
    }


def best_average(
    states: Sequence[State], objective: Callable[[State], float], last: float | None = None
) -> tuple[dict[str, Tensor], int]:
    """The best average over the last n states.

    Args:
        states: the oldest first.
        objective: the greater the better.
        last: that of the last state, if it is known.

    Returns:
        the parameters, and n.
    """
    candidates = [average(states[-n:]) for n in range(1, len(states) + 1)]
    known = [] if last is None else [last]
    scores = known + [objective(candidate) for candidate in candidates[len(known) :]]
    best = max(range(len(scores)), key=scores.__getitem__)
    return candidates[best], best + 1
