"""One run of a network on kernels, which may be recorded: what it did is done again for inputs of the same sizes.

A recorded run keeps its tensors, and each action writes into them, so that a frame of a stream costs hardly more than
its kernels.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

Action = Callable[[], object]


class Run:
    """A run.

    Args:
        is_recorded: whether its actions are kept.
    """

    def __init__(self, is_recorded: bool) -> None:
        self.actions: list[Action] = []
        self._is_recorded = is_recorded

    def do(self, action: Action) -> None:
        """Something that reads tensors of this run and writes into others."""
        action()
        if self._is_recorded:
            self.actions.append(action)

    def computed(self, compute: Callable[[], Any], *sources: Any) -> Any:
        """What a function gives, kept up to date.

        Args:
            compute: of tensors of this run; its result is a tensor, several of these, or something that does not depend
                on values.
            sources: what it reads; parts of these need no action, nor does what reads no tensor.
        """
        found, given = compute(), tensors_in(sources)
        if self._is_recorded and given and not _is_within(found, given):
            kept = tensors_in(found)

            def again() -> None:
                for tensor, new in zip(kept, tensors_in(compute()), strict=True):
                    tensor.copy_(new)

            if kept:
                self.actions.append(again)
        return found

    def contiguous(self, x: Tensor) -> Tensor:
        """A tensor whose values lie one behind the other."""
        return x if x.is_contiguous() else self.computed(x.contiguous, x)

    def again(self) -> None:
        """Does all once more."""
        for action in self.actions:
            action()


def _is_within(found: Any, sources: list[Tensor]) -> bool:
    """Whether all tensors of a result are parts of others, so that they change with these."""
    memory = {source.untyped_storage().data_ptr() for source in sources if source.numel()}
    return all(tensor.untyped_storage().data_ptr() in memory for tensor in tensors_in(found))


def tensors_in(value: Any) -> list[Tensor]:
    """The tensors of a value, also within tuples, in their order."""
    if isinstance(value, tuple | list):
        return [tensor for one in value for tensor in tensors_in(one)]
    return [value] if isinstance(value, torch.Tensor) else []
