"""What recurrent cells compute of their two products as ONNX operators, by the names of ``recurrent_cells``.

The operations and their order are those of the cells there.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from kaldi_quant.backends.onnx.writer import GraphWriter, Name
from kaldi_quant.registry import Registry
from kaldi_quant.torchnn.onnx.wide import Wide

#: The graph, the input product, the recurrent product, each (N, gates * size), the hidden state and what is remembered
#: beside it, each (N, size): the next two of these; an empty name where nothing is remembered. As in ``Cell.step``.
CellWriter = Callable[[GraphWriter, Name, Name, Name, Name], tuple[Name, Name]]
CELLS: Registry[CellWriter] = Registry("recurrent cell with an ONNX form")


def _function(writer: GraphWriter, kind: str, x: Name) -> Name:
    """A function as cells have it: in float64, rounded once."""
    return Wide(writer).function(kind, x)


def _gates(writer: GraphWriter, products: Name, count: int) -> list[Name]:
    return writer.op_of_several("Split", [products], ["gate"] * count, axis=-1)


@CELLS.add("LSTM")
def lstm(writer: GraphWriter, of_input: Name, of_hidden: Name, hidden: Name, memory: Name) -> tuple[Name, Name]:
    """Long short-term memory."""
    enter, keep, candidate, leave = _gates(writer, writer.op("Add", [of_input, of_hidden]), 4)
    kept = writer.op("Mul", [_function(writer, "Sigmoid", keep), memory])
    entered = writer.op("Mul", [_function(writer, "Sigmoid", enter), _function(writer, "Tanh", candidate)])
    memory = writer.op("Add", [kept, entered])
    return writer.op("Mul", [_function(writer, "Sigmoid", leave), _function(writer, "Tanh", memory)]), memory


@CELLS.add("GRU")
def gru(writer: GraphWriter, of_input: Name, of_hidden: Name, hidden: Name, memory: Name) -> tuple[Name, Name]:
    """Gated recurrent units."""
    pairs = zip(_gates(writer, of_input, 3), _gates(writer, of_hidden, 3), strict=True)
    (reset, reset_hidden), (update, update_hidden), (candidate, candidate_hidden) = pairs
    opened = _function(writer, "Sigmoid", writer.op("Add", [reset, reset_hidden]))
    of_candidate = writer.op("Mul", [opened, candidate_hidden])
    new = _function(writer, "Tanh", writer.op("Add", [candidate, of_candidate]))
    kept = _function(writer, "Sigmoid", writer.op("Add", [update, update_hidden]))
    left = writer.op("Sub", [writer.constant(np.float32(1)), kept])
    of_state = writer.op("Mul", [kept, memory or hidden])
    state = writer.op("Add", [writer.op("Mul", [left, new]), of_state])
    # A graph gives each of its values once.
    return state, writer.op("Identity", [state]) if memory else ""


@CELLS.add("RNN_TANH")
def tanh_cell(writer: GraphWriter, of_input: Name, of_hidden: Name, hidden: Name, memory: Name) -> tuple[Name, Name]:
    """Elman's cell."""
    return _function(writer, "Tanh", writer.op("Add", [of_input, of_hidden])), ""


@CELLS.add("RNN_RELU")
def relu_cell(writer: GraphWriter, of_input: Name, of_hidden: Name, hidden: Name, memory: Name) -> tuple[Name, Name]:
    """Elman's with rectifiers."""
    return writer.op("Relu", [writer.op("Add", [of_input, of_hidden])]), ""
