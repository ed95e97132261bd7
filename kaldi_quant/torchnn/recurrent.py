"""``torch.nn.LSTM``, ``GRU`` and ``RNN``, and their cells, written so that their products can be traced.

Each layer and direction has two products: ``l0.ih`` of its input, at all times at once, and ``l0.hh`` of its hidden
state; ``l0.reverse.ih`` and ``l0.reverse.hh`` backwards in time. Dropout between layers does nothing at inference.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from kaldi_quant.torchnn.recurrence import Recurrence
from kaldi_quant.torchnn.recurrent_cells import CELLS


def linear_of(weight: Tensor, bias: Tensor | None) -> nn.Linear:
    """A fully connected layer with these very parameters."""
    found = nn.Linear(weight.shape[1], weight.shape[0], bias is not None, device="meta")
    found.weight, found.bias = weight, bias  # type: ignore[assignment]
    return found


def options_of(module: nn.Module) -> Iterator[tuple[str, Any]]:
    """What code that calls a module may ask it for: its sizes and options."""
    return ((name, value) for name, value in vars(module).items() if not name.startswith("_") and name != "training")


class _Direction(nn.Module):
    """One direction of a layer.

    Args:
        module: that it is of.
        suffix: of its parameters' names.
        reverse: whether it goes backwards in time.
    """

    def __init__(self, module: nn.RNNBase, suffix: str, reverse: bool) -> None:
        super().__init__()
        weights = {name: getattr(module, f"weight_{name}{suffix}") for name in ("ih", "hh")}
        biases = {name: getattr(module, f"bias_{name}{suffix}") if module.bias else None for name in weights}
        self.ih = linear_of(weights["ih"], biases["ih"])
        #: Named by the cell, so that the graph tells one kind from another.
        self.kind = module.mode.lower()
        self.add_module(self.kind, Recurrence(module.mode, linear_of(weights["hh"], biases["hh"]), reverse))

    def forward(self, x: Tensor, hidden: Tensor | None, memory: Tensor | None) -> Any:
        """x: (N, T, in) → as of ``Recurrence``."""
        return getattr(self, self.kind)(self.ih(x), hidden, memory)


class _Layer(_Direction):
    """One layer, of one direction or two.

    Args:
        module: that it is of.
        suffix: of its parameters' names.
    """

    def __init__(self, module: nn.RNNBase, suffix: str) -> None:
        super().__init__(module, suffix, reverse=False)
        self.is_bidirectional = module.bidirectional
        if module.bidirectional:
            self.reverse = _Direction(module, f"{suffix}_reverse", reverse=True)

    def forward(self, x: Tensor, *states: tuple[Tensor | None, Tensor | None]) -> list[Any]:  # type: ignore[override]
        """For each direction as of ``Recurrence``; x: (N, T, in); states: for each direction what it begins with."""
        found = [super().forward(x, *states[0])]
        if self.is_bidirectional:
            found.append(self.reverse(x, *states[1]))
        return found


class RecurrentStack(nn.Module):
    """Layers of cells, as ``torch.nn.LSTM``, ``GRU`` and ``RNN`` have them.

    Args:
        module: whose parameters and options it has.
    """

    mode: str
    num_layers: int
    batch_first: bool
    bidirectional: bool

    def __init__(self, module: nn.RNNBase) -> None:
        super().__init__()
        for name, value in options_of(module):
            setattr(self, name, value)
        for layer in range(self.num_layers):
            self.add_module(f"l{layer}", _Layer(module, f"_l{layer}"))

    def flatten_parameters(self) -> None:
        """Does nothing: there is no common memory of the parameters."""

    def forward(self, input: Tensor, hx: Any = None) -> tuple[Tensor, Any]:
        """As of torch's modules, but not for packed sequences.

        Args:
            input: (N, T, in), (T, N, in) if not ``batch_first``, or (T, in).
            hx: the initial state, (layers * directions, N, size) or without N; of LSTMs two such.
        """
        cell, is_batch = CELLS[self.mode], input.dim() == 3
        hidden, memory = hx if cell.remembers and hx is not None else (hx, hx if cell.adds_to_state else None)
        directions = 1 + self.bidirectional
        for state in (hidden, memory):
            if state is not None and state.shape[0] != self.num_layers * directions:
                raise ValueError("an initial state has one for each layer and direction")
        x = input if self.batch_first else input.transpose(0, 1)
        if not is_batch:
            x = input.unsqueeze(0)
            hidden, memory = (None if state is None else state.unsqueeze(1) for state in (hidden, memory))
        last: list[Tensor] = []
        last_memory: list[Tensor] = []
        for layer in range(self.num_layers):
            numbers = range(layer * directions, (layer + 1) * directions)
            first = [tuple(None if state is None else state[i] for state in (hidden, memory)) for i in numbers]
            found = getattr(self, f"l{layer}")(x, *first)
            outputs = [one[0] if cell.remembers or cell.adds_to_state else one for one in found]
            if cell.adds_to_state:
                last += [one[1] for one in found]
            else:
                # The last time backwards is the first.
                last += [states[:, time] for states, time in zip(outputs, (-1, 0), strict=False)]
            if cell.remembers:
                last_memory += [one[1] for one in found]
            x = torch.cat(outputs, -1) if self.bidirectional else outputs[0]
        final = torch.stack(last)
        if not is_batch:
            x, final = x.squeeze(0), final.squeeze(1)
        elif not self.batch_first:
            x = x.transpose(0, 1)
        if not cell.remembers:
            return x, final
        final_memory = torch.stack(last_memory)
        return x, (final, final_memory if is_batch else final_memory.squeeze(1))


class RecurrentCell(nn.Module):
    """One cell, as ``torch.nn.LSTMCell``, ``GRUCell`` and ``RNNCell``: who calls it makes the loop over times.

    Args:
        module: whose parameters and options it has.
        mode: of ``CELLS``.
    """

    def __init__(self, module: nn.RNNCellBase, mode: str) -> None:
        super().__init__()
        for name, value in options_of(module):
            setattr(self, name, value)
        self.cell = CELLS[mode]
        self.ih = linear_of(module.weight_ih, module.bias_ih)
        self.hh = linear_of(module.weight_hh, module.bias_hh)

    def forward(self, input: Tensor, hx: Any = None) -> Any:
        """The next state.

        Args:
            input: (N, in) or (in,).
            hx: the state, (N, size) or (size,), by default zeros; of LSTMs two such.
        """
        of_input = self.ih(input)
        if hx is None:
            zeros = torch.zeros_like(of_input[..., : self.hh.in_features])
            hx = (zeros, zeros) if self.cell.remembers else zeros
        hidden, memory = hx if self.cell.remembers else (hx, None)
        hidden, memory = self.cell.step(of_input, self.hh(hidden), hidden, memory)
        return (hidden, memory) if self.cell.remembers else hidden
