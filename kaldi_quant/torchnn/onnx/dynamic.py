"""Layers whose input is put on a grid of its own at every call: the reference's own operations, one by one."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from kaldi_quant.backends.onnx.writer import DOUBLE, FLOAT, INT32, UINT8, GraphWriter, Name
from kaldi_quant.errors import ModelError
from kaldi_quant.quant.grid import SMALLEST_SCALE
from kaldi_quant.quant.integer_linear import DynamicLinear
from kaldi_quant.torchnn.forms import Layer
from kaldi_quant.torchnn.forms.linear import Linear
from kaldi_quant.torchnn.onnx.axes import Shape
from kaldi_quant.torchnn.onnx.layers import LayerWriter, geometry_of
from kaldi_quant.torchnn.onnx.patches import patches
from kaldi_quant.torchnn.onnx.values import Value


@dataclass(frozen=True)
class _Grid:
    """A grid for each sequence.

    Args:
        scale: (N, 1, ...) float32.
        zero: (N, 1, ...) float32.
    """

    scale: Name
    zero: Name


@dataclass(frozen=True)
class DynamicWriter:
    """Writes a layer with dynamic ranges.

    Args:
        writer: the graph.
        name: of the layer.
        layer: its numbers.
    """

    writer: GraphWriter
    name: str
    layer: DynamicLinear

    def write(self, form: Layer, x: Name, shape: Shape, layers: LayerWriter) -> Value:
        """The layer's float output.

        Args:
            form: its geometry.
            x: the input, in float.
            shape: of x, as far as it is known.
            layers: writes other layers.

        Raises:
            ModelError: its integers are wider than 8 bits, or its rows have several scales.
        """
        self._check_widths()
        writer = self.writer
        if isinstance(form, Linear):
            alone = len(shape) == 1
            rows = writer.op("Unsqueeze", [x, writer.integers(0)]) if alone else x
            found = self._rows(rows, max(2, len(shape)), self._grid(rows, max(2, len(shape))))
            return Value(writer.op("Squeeze", [found, writer.integers(0)]) if alone else found)
        geometry = geometry_of(form)
        axes = len(geometry.kernel)
        batched, known = layers.batched(x, geometry, shape)
        rows, _ = patches(writer, geometry, batched, known, np.float32(0))
        grid = self._grid(rows, 2 + axes)
        if geometry.groups == 1:
            channels = self.layer.weight.integers.shape[1] // int(np.prod(geometry.kernel))
            by_place = self._centred().reshape(-1, channels, int(np.prod(geometry.kernel))).transpose(0, 2, 1)
            found = self._rows(rows, 2 + axes, grid, by_place.reshape(len(by_place), -1))
            order = [0, 1 + axes, *range(1, 1 + axes)]
            found = writer.op("Transpose", [found], perm=order)
        else:
            amounts = writer.integers(0, 0, *geometry.before, 0, 0, *geometry.after)
            padded = writer.op("Pad", [batched, amounts]) if geometry.pads else batched
            weight = self._centred().reshape(len(self._centred()), -1, *geometry.kernel)
            constants = [writer.constant(weight.astype(np.int8)), writer.constant(np.uint8(0))]
            inputs = [self._integers(padded, grid), *constants]
            sums = writer.op("ConvInteger", inputs, **geometry.attributes(pads=False))
            found = self._scaled(sums, grid, self._centred(), axes)
        return layers.in_turn(geometry, Value(found), known, is_alone=batched != x)

    def _centred(self) -> np.ndarray:
        return self.layer.weight.centred.numpy().astype(np.int64)

    def _check_widths(self) -> None:
        if self.layer.weight.is_groupwise:
            raise ModelError(
                f"the layer {self.name} has dynamic ranges and scales of groups of columns, which have no ONNX form"
            )
        centred, spec = self._centred(), self.layer.spec
        if spec.bits > 8 or spec.signed or np.abs(centred).max(initial=0) > np.iinfo(np.int8).max:
            raise ModelError(
                f"the layer {self.name} has dynamic ranges and integers wider than 8 bits, which have no ONNX form"
            )

    def _grid(self, rows: Name, rank: int) -> _Grid:
        """As ``Grid.from_range``, in double precision."""
        writer, spec, axes = self.writer, self.layer.spec, list(range(1, rank))
        zero = writer.constant(np.float64(0))

        def end(kind: str, clip: str) -> Name:
            found = writer.op(kind, [rows], axes=axes, keepdims=1)
            return writer.op(clip, [writer.op("Cast", [found], to=DOUBLE), zero])

        low, high = end("ReduceMin", "Min"), end("ReduceMax", "Max")
        steps = writer.constant(np.float64(spec.qmax - spec.qmin))
        scale = writer.op("Div", [writer.op("Sub", [high, low]), steps])
        positive = writer.op("Greater", [scale, writer.constant(np.float64(SMALLEST_SCALE))])
        scale = writer.op("Where", [positive, scale, writer.constant(np.float64(1))])
        scale = writer.op("Cast", [scale], to=FLOAT)
        if spec.symmetric:
            return _Grid(scale, writer.constant(np.float32(0)))
        from_zero = writer.op("Div", [low, writer.op("Cast", [scale], to=DOUBLE)])
        point = writer.op("Round", [writer.op("Sub", [writer.constant(np.float64(spec.qmin)), from_zero])])
        bounds = [writer.constant(np.float64(bound)) for bound in (spec.qmin, spec.qmax)]
        return _Grid(scale, writer.op("Cast", [writer.op("Clip", [point, *bounds])], to=FLOAT))

    def _integers(self, floats: Name, grid: _Grid) -> Name:
        writer, spec = self.writer, self.layer.spec
        rounded = writer.op("Round", [writer.op("Div", [floats, grid.scale])])
        bounds = [writer.constant(np.float32(bound)) for bound in (spec.qmin, spec.qmax)]
        return writer.op("Cast", [writer.op("Clip", [writer.op("Add", [rounded, grid.zero]), *bounds])], to=UINT8)

    def _rows(self, rows: Name, rank: int, grid: _Grid, weight: np.ndarray | None = None) -> Name:
        """(N, ..., in) → (N, ..., out)."""
        weight = self._centred() if weight is None else weight
        constant = self.writer.constant(np.ascontiguousarray(weight.T).astype(np.int8), f"{self.name}.weight.integers")
        sums = self.writer.op("MatMulInteger", [self._integers(rows, grid), constant])
        return self._scaled(sums, grid, weight, 0)

    def _scaled(self, sums: Name, grid: _Grid, weight: np.ndarray, axes: int) -> Name:
        """Sums with the zero points taken out, times scales, and the bias."""
        writer = self.writer

        def beside(values: np.ndarray) -> Name:
            return writer.constant(values.reshape(-1, *[1] * axes))

        zero = writer.op("Cast", [grid.zero], to=INT32)
        lacking = writer.op("Mul", [zero, beside(weight.sum(1).astype(np.int32))])
        exact = writer.op("Cast", [writer.op("Sub", [sums, lacking])], to=FLOAT)
        scale = writer.op("Mul", [grid.scale, beside(self.layer.weight.scale[:, 0].numpy())])
        return writer.op("Add", [writer.op("Mul", [exact, scale]), beside(self.layer.bias.numpy())])
