"""LSTMs taken apart: each time step out of fully connected layers, sigmoids and hyperbolic tangents.

For devices and tools that have no recurrent operator; the STM32 model zoo exports networks so. Names of layers are
those there. In integers each layer has scales of its own: with ``separate_weights`` each gate has, for all it reads.
"""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from kaldi_quant.errors import UsageError

#: The hidden state and what is remembered beside it.
State = tuple[Tensor, Tensor]
# In torch's order: entered, kept, candidate, left.
_GATES = ("i", "f", "g", "o")
_READS = ("i", "h")


class DecomposedLSTM(nn.Module):
    """One time step of one layer of an LSTM.

    Args:
        input_size: of what comes in.
        hidden_size: of the state.
        bias: whether layers add one.
        separate_weights: whether each gate has a layer for the input and one for the state, eight together; else one
            layer reads both and computes all gates.

    Example:
        >>> cell = DecomposedLSTM(4, 3)
        >>> hidden, memory = cell(torch.randn(2, 4), torch.zeros(2, 3), torch.zeros(2, 3))
    """

    def __init__(self, input_size: int, hidden_size: int, bias: bool = True, separate_weights: bool = False) -> None:
        super().__init__()
        self.hidden_size, self.separate_weights = hidden_size, separate_weights
        if not separate_weights:
            self.gates = nn.Linear(input_size + hidden_size, 4 * hidden_size, bias)
            return
        for read, size in zip(_READS, (input_size, hidden_size), strict=True):
            for gate in _GATES:
                self.add_module(f"gate_{read}{gate}", nn.Linear(size, hidden_size, bias))

    def forward(self, input: Tensor, hidden: Tensor, memory: Tensor) -> State:
        """The next state.

        Args:
            input: (N, in).
            hidden: (N, hidden).
            memory: likewise.
        """
        if self.separate_weights:
            entered, kept, candidate, left = (self._gate(gate, input, hidden) for gate in _GATES)
        else:
            entered, kept, candidate, left = self.gates(torch.cat([input, hidden], -1)).chunk(4, -1)
        memory = torch.sigmoid(kept) * memory + torch.sigmoid(entered) * torch.tanh(candidate)
        return torch.sigmoid(left) * torch.tanh(memory), memory

    def _gate(self, gate: str, input: Tensor, hidden: Tensor) -> Tensor:
        return getattr(self, f"gate_i{gate}")(input) + getattr(self, f"gate_h{gate}")(hidden)

    @classmethod
    def of(cls, lstm: nn.LSTM, layer: int, separate_weights: bool) -> DecomposedLSTM:
        """The step of one layer of torch's LSTM, with its weights."""
        size = lstm.hidden_size if layer else lstm.input_size
        found = cls(size, lstm.hidden_size, lstm.bias, separate_weights)
        weights = [getattr(lstm, f"weight_{read}h_l{layer}").detach() for read in _READS]
        biases = [getattr(lstm, f"bias_{read}h_l{layer}").detach() for read in _READS] if lstm.bias else []
        if not separate_weights:
            _fill(found.gates, torch.cat(weights, 1), sum(biases) if biases else None)
            return found
        for place, read in enumerate(_READS):
            parts = biases[place].chunk(4) if biases else (None,) * 4
            for gate, weight, bias in zip(_GATES, weights[place].chunk(4), parts, strict=True):
                _fill(getattr(found, f"gate_{read}{gate}"), weight, bias)
        return found


class DecomposedStack(nn.ModuleList):
    """An LSTM of several layers, called as torch's: step by step.

    Args:
        lstm: whose weights it has.
        separate_weights: of its steps.

    Raises:
        UsageError: it has projected states or goes both ways, or drops values between layers in training.
    """

    def __init__(self, lstm: nn.LSTM, separate_weights: bool) -> None:
        reason = "goes both ways" if lstm.bidirectional else "has projected states" if lstm.proj_size else ""
        if lstm.dropout:
            reason = "has dropout"
        if reason:
            raise UsageError(f"an LSTM that {reason} is not taken apart")
        super().__init__(DecomposedLSTM.of(lstm, layer, separate_weights) for layer in range(lstm.num_layers))
        self.batch_first, self.hidden_size = lstm.batch_first, lstm.hidden_size

    def forward(self, input: Tensor, hx: State | None = None) -> tuple[Tensor, State]:
        """As of ``torch.nn.LSTM``.

        Args:
            input: (N, T, in), or (T, N, in) if not ``batch_first``.
            hx: the initial state, (layers, N, hidden) each; by default zeros.
        """
        time = 1 if self.batch_first else 0
        zeros = torch.zeros_like(input.select(time, 0)[..., :1]).expand(-1, self.hidden_size)
        states = [(zeros, zeros) for _ in self] if hx is None else list(zip(*(x.unbind(0) for x in hx), strict=True))
        found = []
        for x in input.unbind(time):
            for layer, cell in enumerate(self):
                states[layer] = cell(x, *states[layer])
                x = states[layer][0]
            found.append(x)
        hidden, memory = (torch.stack(parts) for parts in zip(*states, strict=True))
        return torch.stack(found, time), (hidden, memory)


def replace_lstm(network: nn.Module, separate_weights: bool = False) -> nn.Module:
    """A copy of a network whose LSTMs are taken apart; they are called as before.

    Raises:
        UsageError: one of them cannot be.
    """
    if isinstance(network, nn.LSTM):
        return DecomposedStack(network, separate_weights)
    found = copy.deepcopy(network)
    for module in list(found.modules()):
        for name, child in list(module.named_children()):
            if isinstance(child, nn.LSTM):
                setattr(module, name, DecomposedStack(child, separate_weights))
    return found


def _fill(layer: nn.Linear, weight: Tensor, bias: Tensor | int | None) -> None:
    """Gives a layer its parameters."""
    with torch.no_grad():
        layer.weight.copy_(weight)
        if isinstance(bias, torch.Tensor):
            layer.bias.copy_(bias)
