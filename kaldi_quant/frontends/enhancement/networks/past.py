"""What causal layers see again of the frames before: zeros for a whole recording, states for a stream.

A layer over time that sees no later frame reads the last frames of its own input once more when the next ones come.
These are its state. They are values of the network like any others, so that in integers they lie on the grid of what
the layer reads, and a stream has the integers of the whole recording.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional

from kaldi_quant.errors import UsageError

#: What a network hands on from one piece of a stream to the next, in the order in which its layers compute.
States = tuple[Tensor, ...]
# Of values (N, channels, T) and (N, channels, T, bins).
_TIME = 2


class Past:
    """The frames before those that a network is called with.

    Args:
        states: those that the call before has left; None for a whole recording.
    """

    def __init__(self, states: States | None) -> None:
        self._given: Iterator[Tensor] | None = None if states is None else iter(states)
        self._left: list[Tensor] = []

    @property
    def is_given(self) -> bool:
        """Whether frames may have come before."""
        return self._given is not None

    def before(self, x: Tensor, frames: int) -> Tensor:
        """A value with the frames before it; zeros where there were none.

        Args:
            x: (N, channels, T) or (N, channels, T, bins).
            frames: how many, 1 or more.

        Returns:
            T + frames of them.
        """
        if not self.is_given:
            return functional.pad(x, (*(0, 0) * (x.dim() - _TIME - 1), frames, 0))
        whole = torch.cat([self.take(), x], _TIME)
        self.leave(whole[:, :, -frames:])
        return whole

    def recurrent(self, layer: nn.Module, x: Tensor) -> Tensor:
        """What a recurrent layer with two states, such as ``torch.nn.LSTM``, gives. x: (N, T, in)."""
        if not self.is_given:
            return layer(x)[0]
        found, after = layer(x, (self.take(), self.take()))
        self.leave(*after)
        return found

    def take(self) -> Tensor:
        """The next state.

        Raises:
            UsageError: there are fewer.
        """
        assert self._given is not None
        found = next(self._given, None)
        if found is None:
            raise UsageError(f"expected more than {len(self._left)} states: as many as the network's states() gives")
        return found

    def leave(self, *states: Tensor) -> None:
        """Hands states on."""
        self._left += states

    def result(self, x: Tensor) -> Tensor | tuple[Tensor, States]:
        """What a network returns: its output, and for a stream the states after it, too.

        Raises:
            UsageError: there are more states than the network has.
        """
        if self._given is None:
            return x
        if next(self._given, None) is not None:
            raise UsageError(f"expected {len(self._left)} states, as the network's states() gives them; found more")
        return x, tuple(self._left)
