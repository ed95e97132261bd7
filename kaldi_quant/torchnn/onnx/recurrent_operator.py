"""Recurrences in float as ONNX's own operators ``LSTM``, ``GRU`` and ``RNN``, which runtimes have fast kernels for.

Gates are put into ONNX's order. Source: ONNX operators, https://onnx.ai/onnx/operators.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, fx

from kaldi_quant.backends.onnx.writer import GraphWriter, Name
from kaldi_quant.quant.network import QuantizedNetwork
from kaldi_quant.torchnn.forms import Layer
from kaldi_quant.torchnn.forms.linear import Linear
from kaldi_quant.torchnn.onnx.values import Value
from kaldi_quant.torchnn.recurrence import Recurrence
from kaldi_quant.torchnn.region import Region


@dataclass(frozen=True)
class _Kind:
    """An operator.

    Args:
        name: of it.
        gates: of torch's, in the order in which it has them.
        activations: its functions, where they are not what it has by itself.
        linear_before_reset: whether a GRU's reset gate multiplies the recurrent product, as in torch.
    """

    name: str
    gates: tuple[int, ...]
    activations: tuple[str, ...] = ()
    linear_before_reset: bool = False


_KINDS = {
    "LSTM": _Kind("LSTM", (0, 3, 1, 2)),
    "GRU": _Kind("GRU", (1, 0, 2), linear_before_reset=True),
    "RNN_TANH": _Kind("RNN", (0,), ("Tanh",)),
    "RNN_RELU": _Kind("RNN", (0,), ("Relu",)),
}


def takes_in(region: Region, network: QuantizedNetwork, product: object) -> bool:
    """Whether a node is the input product of a recurrence that is written as an operator, which computes it, too."""
    if not isinstance(product, fx.Node) or len(product.users) != 1:
        return False
    layer, call = region.layer_of(product), next(iter(product.users))
    recurrence = region.recurrence_of(call)
    if recurrence is None or not isinstance(layer, Linear) or call.args[0] is not product:
        return False
    in_float = not {layer.name, recurrence.layer.name} & set(network.layers)
    return in_float and str(call.kwargs["node"]) not in network.activations and recurrence.mode in _KINDS


@dataclass(frozen=True)
class RecurrentOperator:
    """Writes a recurrence and its input product.

    Args:
        writer: the graph.
        recurrence: cells of one layer and direction.
        product: the layer of the input product.
        name: of the hidden states.
    """

    writer: GraphWriter
    recurrence: Recurrence
    product: Layer
    name: Name

    def write(self, x: Name, hidden: Name = "", memory: Name = "") -> tuple[Value, ...]:
        """The hidden states of all times, (N, T, size), and what is remembered after the last one, (N, size).

        Args:
            x: what the input product reads, (N, T, in).
            hidden: the initial state, (N, size); empty for zeros.
            memory: likewise, what LSTMs remember.
        """
        writer, kind, of_hidden = self.writer, _KINDS[self.recurrence.mode], self.recurrence.layer
        weights = [self._ordered(layer.weight, kind) for layer in (self.product, of_hidden)]
        biases = [self._bias(layer, kind) for layer in (self.product, of_hidden)]
        constants = [*(each[None] for each in weights), np.concatenate(biases)[None]]
        directions = writer.integers(0)
        first = [writer.op("Unsqueeze", [state, directions]) if state else "" for state in (hidden, memory)]
        states = first if self.recurrence.mode == "LSTM" else first[:1]
        given = [writer.op("Transpose", [x], perm=[1, 0, 2]), *map(writer.constant, constants), "", *states]
        while not given[-1]:
            given.pop()
        attributes: dict[str, object] = {"hidden_size": self.recurrence.size}
        attributes |= {"direction": "reverse"} if self.recurrence.reverse else {}
        attributes |= {"activations": list(kind.activations)} if kind.activations else {}
        attributes |= {"linear_before_reset": 1} if kind.linear_before_reset else {}
        hints = [self.name, f"{self.name}.last"] + [f"{self.name}.memory"] * (kind.name == "LSTM")
        found = writer.op_of_several(kind.name, given, hints, **attributes)
        all_times = writer.op("Squeeze", [found[0], writer.integers(1)])
        result = [Value(writer.op("Transpose", [all_times], perm=[1, 0, 2]))]
        if self.recurrence.remembers:
            result.append(Value(writer.op("Squeeze", [found[-1], directions])))
        return tuple(result)

    @staticmethod
    def _ordered(rows: Tensor, kind: _Kind) -> np.ndarray:
        gates = rows.detach().float().chunk(len(kind.gates))
        return torch.cat([gates[place] for place in kind.gates]).numpy()

    def _bias(self, layer: Layer, kind: _Kind) -> np.ndarray:
        bias = layer.weight.new_zeros(len(layer.weight)) if layer.bias is None else layer.bias
        return self._ordered(bias, kind)
