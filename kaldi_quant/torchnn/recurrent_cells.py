"""What recurrent cells compute of their two products, in float: gates, and the state of the next time.

The formulas and the order of the gates are those of ``torch.nn.LSTM``, ``GRU`` and ``RNN``. Sigmoids and hyperbolic
tangents are computed in float64 and rounded: in float32 the last bits of such functions differ between libraries, and
one hidden state that goes to another step of its grid changes all that follow.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

import torch
from torch import Tensor

from kaldi_quant.registry import Registry

#: The hidden state, and what the cell remembers beside it; None for cells that do not. (N, size) each.
State = tuple[Tensor, Tensor | None]


def _sigmoid(x: Tensor) -> Tensor:
    return x.double().sigmoid().to(x.dtype)


def _tanh(x: Tensor) -> Tensor:
    return x.double().tanh().to(x.dtype)


class Cell(ABC):
    """A kind of cell.

    Attributes:
        remembers: whether it has a state beside the hidden one.
        adds_to_state: whether the next hidden state is a sum with the one before it. Rounded at every time, a state
            that moves by less than half a step of its grid would stay where it is, and other roundings would add up.
    """

    remembers: ClassVar[bool] = False
    adds_to_state: ClassVar[bool] = False

    @staticmethod
    @abstractmethod
    def step(of_input: Tensor, of_hidden: Tensor, hidden: Tensor, memory: Tensor | None) -> State:
        """The next state.

        Args:
            of_input: the input product, (N, gates * size).
            of_hidden: the recurrent product, likewise.
            hidden: (N, size).
            memory: (N, size) where the cell remembers; where it adds to its state, that state as it was before it was
                put on a grid, or None if it is ``hidden`` itself.
        """


#: By torch's names (``torch.nn.RNNBase.mode``).
CELLS: Registry[type[Cell]] = Registry("recurrent cell")


@CELLS.add("LSTM")
class Lstm(Cell):
    """S. Hochreiter and J. Schmidhuber, "Long short-term memory", Neural Computation 1997, with forget gates."""

    remembers = True

    @staticmethod
    def step(of_input: Tensor, of_hidden: Tensor, hidden: Tensor, memory: Tensor | None) -> State:
        """The next state."""
        assert memory is not None
        enter, keep, candidate, leave = (of_input + of_hidden).chunk(4, -1)
        memory = _sigmoid(keep) * memory + _sigmoid(enter) * _tanh(candidate)
        return _sigmoid(leave) * _tanh(memory), memory


@CELLS.add("GRU")
class Gru(Cell):
    """K. Cho et al., "Learning phrase representations using RNN encoder-decoder", EMNLP 2014.

    As in torch and cuDNN, the reset gate multiplies the recurrent product, its bias included, not the hidden state.
    """

    adds_to_state = True

    @staticmethod
    def step(of_input: Tensor, of_hidden: Tensor, hidden: Tensor, memory: Tensor | None) -> State:
        """The next state."""
        reset, update, candidate = of_input.chunk(3, -1)
        reset_hidden, update_hidden, candidate_hidden = of_hidden.chunk(3, -1)
        new = _tanh(candidate + _sigmoid(reset + reset_hidden) * candidate_hidden)
        kept = _sigmoid(update + update_hidden)
        state = (1 - kept) * new + kept * (hidden if memory is None else memory)
        return state, None if memory is None else state


@CELLS.add("RNN_TANH")
class TanhCell(Cell):
    """J. Elman, "Finding structure in time", Cognitive Science 1990."""

    @staticmethod
    def step(of_input: Tensor, of_hidden: Tensor, hidden: Tensor, memory: Tensor | None) -> State:
        """The next state."""
        return _tanh(of_input + of_hidden), None


@CELLS.add("RNN_RELU")
class ReluCell(Cell):
    """Elman's with rectifiers."""

    @staticmethod
    def step(of_input: Tensor, of_hidden: Tensor, hidden: Tensor, memory: Tensor | None) -> State:
        """The next state."""
        return torch.relu(of_input + of_hidden), None
