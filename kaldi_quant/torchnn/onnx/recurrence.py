"""A recurrence as ONNX's ``Scan``: its body is one time, and the state that it hands on is the integers themselves.

What the body computes is what ``Recurrence`` does at every time, by the writers that layers elsewhere have. Constants
lie in the graph around it, and products are those of integers: what onnxruntime's optimizer puts in the place of
DequantizeLinear (``TransposeDQWeightsForMatMulNBits`` in 1.31) fails where weights lie outside a body. The time axis
and the batch may have any length; backwards in time is a direction of ``Scan``. One time alone is written without it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from kaldi_quant.backends.onnx.parameters import WeightForm
from kaldi_quant.backends.onnx.writer import FLOAT, UINT8, End, GraphWriter, Name
from kaldi_quant.quant.grid import Grid
from kaldi_quant.quant.groupwise_linear import GroupwiseLinear
from kaldi_quant.quant.integer_linear import DynamicLinear, IntegerLinear
from kaldi_quant.quant.quantized_layer import QuantizedLayer
from kaldi_quant.quant.weight_only import WeightOnlyLinear
from kaldi_quant.torchnn.onnx.axes import Shape
from kaldi_quant.torchnn.onnx.cells import CELLS
from kaldi_quant.torchnn.onnx.dynamic import DynamicWriter
from kaldi_quant.torchnn.onnx.layers import LayerWriter, Output
from kaldi_quant.torchnn.onnx.sizes import Sizes
from kaldi_quant.torchnn.onnx.values import Grids, Value, is_wide, zero_of
from kaldi_quant.torchnn.recurrence import Recurrence

_TIME = 1


@dataclass(frozen=True)
class RecurrenceWriter:
    """Writes a recurrence.

    Args:
        writer: the graph.
        form: how weights are stored.
        recurrence: cells of one layer and direction.
        integers: the recurrent product's quantized form; None where it stays in float.
        grid: that of the hidden states; None where they lie on none.
        name: of the hidden states.
    """

    writer: GraphWriter
    form: WeightForm
    recurrence: Recurrence
    integers: QuantizedLayer | None
    grid: Grid | None
    name: Name

    def write(self, of_input: Name, shape: Shape, hidden: Name = "", memory: Name = "") -> tuple[Value, ...]:
        """The hidden states of all times, (N, T, size), and what is remembered after the last one, (N, size).

        Args:
            of_input: the input product, (N, T, gates * size), in float.
            shape: of it, as far as it is known.
            hidden: the initial state, (N, size), in float; empty for zeros.
            memory: likewise, what is remembered.
        """
        remembers, size = self.recurrence.remembers, self.recurrence.size
        kind = UINT8 if self.grid is not None and not is_wide(self.grid) else FLOAT
        first = [self._state(self.writer, hidden) if hidden else self._zeros(of_input, shape, self._zero)]
        if remembers:
            first.append(memory or self._zeros(of_input, shape, np.float32(0)))
        if shape[_TIME] == 1:
            return self._one_time(of_input, first)
        body, state = self.writer.within(), (shape[0], size)
        kinds = [kind, FLOAT][: len(first)]
        given = [body.new_name(f"{self.name}.before.{place}") for place in range(len(first))]
        now = body.new_name(f"{self.name}.now")
        found = self._step(body, now, given)
        ends: list[End] = [(name, each, state) for name, each in zip(given, kinds, strict=True)]
        results: list[End] = [(name, each, state) for name, each in zip(found, kinds, strict=True)]
        # A graph gives each of its values once.
        shown = body.op("Identity", [found[0]])
        graph = body.body(self.name, [*ends, (now, FLOAT, (shape[0], *shape[2:]))], [*results, (shown, kind, state)])
        hints = [f"{self.name}.last", f"{self.name}.memory"][: len(first)]
        way = [int(self.recurrence.reverse)]
        *last, states = self.writer.op_of_several(
            "Scan",
            [*first, of_input],
            [*hints, self.name],
            body=graph,
            num_scan_inputs=1,
            scan_input_axes=[_TIME],
            scan_output_axes=[_TIME],
            scan_input_directions=way,
            scan_output_directions=way,
        )
        return self._value(states), *(Value(name) for name in last[1:])

    def _one_time(self, of_input: Name, given: list[Name]) -> tuple[Value, ...]:
        """One time alone, as a frame of a stream is, needs no loop, which would take most of its time."""
        axis = self.writer.integers(_TIME)
        state, *memory = self._step(self.writer, self.writer.op("Squeeze", [of_input, axis]), given)
        return self._value(self.writer.op("Unsqueeze", [state, axis], self.name)), *map(Value, memory)

    def _step(self, body: GraphWriter, now: Name, given: list[Name]) -> list[Name]:
        """One time: the names of the next state, on its grid, and of what is remembered.

        Args:
            body: the graph.
            now: the input product of this time.
            given: the state and what is remembered.
        """
        state = self._value(given[0])
        of_hidden, hidden = self._product(body, state), Grids(body).floats(state)
        memory = given[1] if len(given) > 1 else ""
        hidden, memory = CELLS[self.recurrence.mode](body, now, of_hidden, hidden, memory)
        return [self._state(body, hidden), *([memory] if memory else [])]

    def _product(self, body: GraphWriter, state: Value) -> Name:
        """The recurrent product, (N, gates * size), in float."""
        layer, layers = self.recurrence.layer, LayerWriter(body, self.form)
        grids, shape = Grids(body), (None, self.recurrence.size)
        match self.integers:
            case None:
                return layers.in_float(layer, grids.floats(state), shape)
            case DynamicLinear():
                writer = DynamicWriter(body, layer.name, self.integers)
                return grids.floats(writer.write(layer, grids.floats(state), shape, layers))
            case WeightOnlyLinear() | GroupwiseLinear():
                return layers.stored(layer, self.integers, grids.floats(state), shape)
            case IntegerLinear():
                return grids.floats(layers.integer(layer, self.integers, state, shape, Output(layer.name)))

    @property
    def _zero(self) -> np.generic:
        return np.float32(0) if self.grid is None else zero_of(self.grid)

    def _state(self, writer: GraphWriter, floats: Name) -> Name:
        """A hidden state as it is handed on: integers, or floats where it lies on no grid."""
        return floats if self.grid is None else Grids(writer).on(floats, self.grid, f"{self.name}.state").integers

    def _value(self, name: Name) -> Value:
        return Value(name) if self.grid is None else Value(integers=name, grid=self.grid)

    def _zeros(self, of_input: Name, shape: Shape, zero: np.generic) -> Name:
        """(N, size)."""
        sizes = Sizes(self.writer)
        batch = sizes.of(of_input, shape)[0]
        return self.writer.op("Expand", [self.writer.constant(zero), sizes.vector([batch, self.recurrence.size])])
