"""Activation regularisation: what layers give may be punished where it is large.

Rare huge values widen the range of a grid, and all others are then rounded more coarsely.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from kaldi_quant.errors import UsageError
from kaldi_quant.torchnn.calls import tensors_in

_NORMS = {"l1": 1, "l2": 2}


@dataclass(frozen=True)
class Penalty:
    """What is added to the loss: ``factor`` times the norms of what lies beyond ``threshold``, of all such layers.

    Args:
        layers: the names of their classes, such as Conv1d.
        factor: of the norms.
        threshold: from 0; of a value x, |x| - threshold counts where that is above 0.
        norm: l1 or l2, of all values that a layer gives for a minibatch.

    Raises:
        UsageError: a value is impossible.
    """

    layers: tuple[str, ...]
    factor: float
    threshold: float = 50.0
    norm: str = "l2"

    def __post_init__(self) -> None:
        if self.norm not in _NORMS:
            raise UsageError(f"the norm {self.norm!r} of a penalty is not one of {', '.join(_NORMS)}")
        if not (0 <= self.factor < float("inf") and 0 <= self.threshold < float("inf")):
            raise UsageError(f"a penalty has a factor and a threshold of 0 or more, found {self}")

    def of(self, value: Tensor) -> Tensor:
        """(): the penalty of what one layer gives."""
        beyond = torch.relu(value.abs() - self.threshold)
        # Where nothing lies beyond, the norm has no gradient.
        if not beyond.any():
            return value.new_zeros(())
        return self.factor * torch.linalg.vector_norm(beyond, _NORMS[self.norm])


class Watched:
    """The penalties of a network's layers since they were last taken."""

    def __init__(self) -> None:
        self._found: list[Tensor] = []

    def add(self, value: Tensor) -> None:
        """Notes the penalty of a layer."""
        self._found.append(value)

    def taken(self) -> Tensor:
        """(): their sum; 0 where there is none."""
        found, self._found = self._found, []
        return torch.stack(found).sum() if found else torch.zeros(())


@contextmanager
def penalised(network: nn.Module, penalty: Penalty | None) -> Iterator[Watched]:
    """Watches a network's layers.

    Args:
        network: whose layers of the named classes are watched while the block runs.
        penalty: None for none.

    Raises:
        UsageError: the network has no layer of one of these classes; names those that it has.
    """
    watched = Watched()
    if penalty is None:
        yield watched
        return
    chosen = {name: [part for part in network.modules() if type(part).__name__ == name] for name in penalty.layers}
    for name, parts in chosen.items():
        if not parts:
            kinds = sorted({type(part).__name__ for part in network.modules() if not list(part.children())})
            raise UsageError(f"a penalty is for layers of the class {name}, and the network has {', '.join(kinds)}")

    def look(part: nn.Module, inputs: Any, output: Any) -> None:
        for value in tensors_in(output):
            watched.add(penalty.of(value))

    hooks = [part.register_forward_hook(look) for parts in chosen.values() for part in parts]
    try:
        yield watched
    finally:
        for hook in hooks:
            hook.remove()
