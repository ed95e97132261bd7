"""Layers as ONNX operators: with integers between QuantizeLinear and DequantizeLinear, or in float."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from kaldi_quant.backends.onnx.parameters import LinearParameters, WeightForm
from kaldi_quant.backends.onnx.stored_weights import FloatProduct, stored_rows
from kaldi_quant.backends.onnx.wide import byte_sums
from kaldi_quant.backends.onnx.writer import FLOAT, GraphWriter, Name
from kaldi_quant.errors import ModelError
from kaldi_quant.quant.grid import Grid
from kaldi_quant.quant.integer_linear import IntegerLinear
from kaldi_quant.torchnn.forms import Layer
from kaldi_quant.torchnn.forms.convolution import Convolution
from kaldi_quant.torchnn.forms.linear import Linear
from kaldi_quant.torchnn.forms.transposed_convolution import TransposedConvolution
from kaldi_quant.torchnn.onnx.axes import Shape
from kaldi_quant.torchnn.onnx.depthwise import depthwise_sums, is_small_and_depthwise
from kaldi_quant.torchnn.onnx.geometry import Geometry
from kaldi_quant.torchnn.onnx.patches import patches
from kaldi_quant.torchnn.onnx.sizes import Sizes
from kaldi_quant.torchnn.onnx.values import Grids, Value, is_wide


@dataclass(frozen=True)
class Output:
    """Where a layer's accumulators go.

    Args:
        name: of the value.
        grid: the grid that they are put on; None where they are wanted in float.
        relu: whether negative ones become zero.
        last: whether nothing but the network's output reads it.
    """

    name: Name
    grid: Grid | None = None
    relu: bool = False
    last: bool = False


@dataclass(frozen=True)
class LayerWriter:
    """Writes layers.

    Args:
        writer: the graph.
        form: how weights are stored.
    """

    writer: GraphWriter
    form: WeightForm

    @property
    def _sizes(self) -> Sizes:
        return Sizes(self.writer)

    @property
    def _grids(self) -> Grids:
        return Grids(self.writer)

    def integer(self, layer: Layer, integers: IntegerLinear, x: Value, shape: Shape, output: Output) -> Value:
        """A layer in integers.

        Args:
            layer: its geometry.
            integers: its numbers.
            x: the input.
            shape: of the input, as far as it is known.
            output: where the result goes.

        Raises:
            ModelError: it has no such form.
        """
        parameters = LinearParameters.of(output.name, integers, self.form)
        name = self._integers_read(layer, integers, x)
        if isinstance(layer, Linear):
            return self._linear(parameters, name, shape, output)
        geometry = geometry_of(layer)
        batched, shape = self.batched(name, geometry, shape)
        if parameters.wide or output.grid is None or is_wide(output.grid):
            result = self._not_on_bytes(parameters, geometry, batched, shape, output)
        else:
            constants = parameters.write(self.writer, output.name, _arranged(parameters.weight, geometry))
            floats = [parameters.input(self.writer, batched), *constants]
            product = self.writer.op("Conv", floats, f"{output.name}.sums", **geometry.attributes())
            result = self._on_grid(product, output)
        return self.in_turn(geometry, result, shape, is_alone=batched != name)

    def _not_on_bytes(
        self, parameters: LinearParameters, geometry: Geometry, x: Name, shape: Shape, output: Output
    ) -> Value:
        """A convolution whose input or result is not of 8 bits; onnxruntime's kernels for that multiply rows."""
        axes = len(geometry.kernel)
        if geometry.groups > 1 and is_small_and_depthwise(parameters.weight, geometry):
            centred = _arranged(parameters.weight - parameters.weight_zero, geometry)
            # What wide integers' zero points add is part of the bias.
            zero = 0 if parameters.wide else parameters.input_zero
            sums = depthwise_sums(self.writer, geometry, x, centred, _zero_of_input(parameters), zero)
            return self._scaled(parameters, self._with_bias(parameters, sums, axes), output, axes)
        if geometry.groups > 1:
            weight = _arranged(parameters.weight, geometry)
            return self._scaled(parameters, self._sums(parameters, geometry, x, weight, output.name), output, axes)
        channels = parameters.weight.shape[1] // math.prod(geometry.kernel)
        rows, known = patches(self.writer, geometry, x, shape, _zero_of_input(parameters))
        by_place = parameters.weight.reshape(len(parameters.weight), channels, -1).transpose(0, 2, 1)
        parameters = replace(parameters, weight=np.ascontiguousarray(by_place.reshape(parameters.weight.shape)))
        order = [0, 1 + axes, *range(1, 1 + axes)]
        value = self._linear(parameters, rows, known, output)
        return _changed(value, lambda name: self.writer.op("Transpose", [name], perm=order))

    def in_float(self, layer: Layer, x: Name, shape: Shape) -> Name:
        """A layer that is not quantized."""
        weight = layer.weight.detach().float().numpy()
        bias = None if layer.bias is None else layer.bias.detach().float().numpy()
        writer = self.writer
        if isinstance(layer, Linear):
            product = writer.op("MatMul", [x, writer.constant(np.ascontiguousarray(weight.T), f"{layer.name}.weight")])
            return product if bias is None else writer.op("Add", [product, writer.constant(bias)])
        geometry = geometry_of(layer)
        batched, shape = self.batched(x, geometry, shape)
        constants = [writer.constant(_arranged(weight, geometry), f"{layer.name}.weight")]
        constants += [] if bias is None else [writer.constant(bias, f"{layer.name}.bias")]
        product = writer.op("Conv", [batched, *constants], **geometry.attributes())
        return self.in_turn(geometry, Value(product), shape, is_alone=batched != x).floats

    def stored(self, layer: Layer, quantized: FloatProduct, x: Name, shape: Shape) -> Name:
        """A layer that multiplies floats by weights that are stored as integers; arguments as of ``in_float``."""
        writer = self.writer
        rows = stored_rows(writer, layer.name, quantized)
        bias = writer.constant(quantized.bias.numpy(), f"{layer.name}.bias")
        if isinstance(layer, Linear):
            out, columns = quantized.weight.integers.shape
            sizes = [*self._sizes.of(x, shape[:-1]), out]
            flat = x if len(shape) == 2 else self._sizes.reshaped(x, [-1, columns])
            product = writer.op("Gemm", [flat, rows, bias], transB=1)
            return product if len(shape) == 2 else self._sizes.reshaped(product, sizes)
        geometry = geometry_of(layer)
        batched, shape = self.batched(x, geometry, shape)
        weight = _arranged(quantized.weight.integers.numpy(), geometry).shape
        kernels = writer.op("Reshape", [rows, writer.integers(*weight)])
        product = writer.op("Conv", [batched, kernels, bias], **geometry.attributes())
        return self.in_turn(geometry, Value(product), shape, is_alone=batched != x).floats

    def _integers_read(self, layer: Layer, integers: IntegerLinear, x: Value) -> Name:
        """The integers that a layer multiplies; those of columns with grids of their own are made here."""
        if x.integers:
            return x.integers
        if not isinstance(layer, Linear):
            raise ModelError(f"the layer {layer.name} reads values that do not lie on one grid")
        inputs = integers.inputs
        rows = [inputs.scale.numpy(), inputs.zero_point.float().numpy()]
        scale, zero = (self.writer.constant(row) for row in rows)
        # They are on the grids already, but for the precision of floats.
        rounded = self.writer.op("Round", [self.writer.op("Div", [self._grids.floats(x), scale])])
        steps = self.writer.op("Add", [rounded, zero])
        if inputs.qmax > np.iinfo(np.uint8).max:
            return steps
        return self.writer.op("Cast", [steps], f"{layer.name}.input.integers", to=2)

    def _linear(self, parameters: LinearParameters, x: Name, shape: Shape, output: Output) -> Value:
        writer, sizes = self.writer, self._sizes
        on_bytes = output.grid is not None and not is_wide(output.grid)
        # onnxruntime fuses a Gemm and some of what may come directly behind it in float, before it sees the integers.
        alone = on_bytes or output.last or len(shape) != 2
        if parameters.wide or not alone or (output.grid is not None and not on_bytes):
            sums = self._rows_of_sums(parameters, x, output.name)
            return self._scaled(parameters, sums, output, 0)
        result_sizes = [*sizes.of(x, shape[:-1]), len(parameters.weight)]
        flat = x if len(shape) == 2 else sizes.reshaped(x, [-1, parameters.weight.shape[1]])
        constants = parameters.write(writer, output.name, parameters.weight)
        result = writer.op("Gemm", [parameters.input(writer, flat), *constants], f"{output.name}.rows", transB=1)
        value = Value(result) if output.grid is None else self._on_grid(result, output)
        return value if len(shape) == 2 else _changed(value, lambda name: sizes.reshaped(name, result_sizes))

    def _rows_of_sums(self, parameters: LinearParameters, x: Name, name: Name) -> Name:
        """The accumulators of a product of rows, float32."""
        writer = self.writer
        if parameters.wide:
            return parameters.wide_sums(writer, name, x)
        weight, zeros = parameters.stored(parameters.weight)
        constants = [np.ascontiguousarray(weight.T), np.uint8(parameters.input_zero), zeros]
        sums = writer.op(
            "MatMulInteger", [x, *(writer.constant(each, f"{name}.weight.integers") for each in constants)]
        )
        return self._with_bias(parameters, sums, 0)

    def _sums(self, parameters: LinearParameters, geometry: Geometry, x: Name, weight: np.ndarray, name: Name) -> Name:
        """The accumulators of a convolution, float32."""
        writer, axes = self.writer, len(geometry.kernel)
        stored, zeros = parameters.stored(weight)
        weight_name, zero = writer.constant(stored, f"{name}.weight.integers"), writer.constant(zeros[0])
        if not parameters.wide:
            constants = [weight_name, writer.constant(np.uint8(parameters.input_zero)), zero]
            sums = writer.op("ConvInteger", [x, *constants], **geometry.attributes())
            return self._with_bias(parameters, sums, axes)
        if geometry.pads:
            amounts = writer.integers(0, 0, *geometry.before, 0, 0, *geometry.after)
            x = writer.op("Pad", [x, amounts, writer.constant(_zero_of_input(parameters))])
        constants = [weight_name, writer.constant(np.uint8(0)), zero]
        attributes = geometry.attributes(pads=False)
        sums = byte_sums(writer, x, lambda byte: writer.op("ConvInteger", [byte, *constants], **attributes))
        return self._with_bias(parameters, sums, axes)

    def _with_bias(self, parameters: LinearParameters, sums: Name, axes: int) -> Name:
        bias = self.writer.constant(_beside(parameters.bias, axes))
        return self.writer.op("Cast", [self.writer.op("Add", [sums, bias])], to=FLOAT)

    def _scaled(self, parameters: LinearParameters, sums: Name, output: Output, axes: int) -> Value:
        """Accumulators in float32 as floats or on a grid, by the reference's own operations."""
        grid = output.grid
        scale = parameters.bias_scale if grid is None else parameters.bias_scale / grid.scale.numpy()
        product = self.writer.op("Mul", [sums, self.writer.constant(_beside(scale, axes))], f"{output.name}.scaled")
        return Value(product) if grid is None else self._grids.of_steps(product, grid, output.name, output.relu)

    def _on_grid(self, floats: Name, output: Output) -> Value:
        assert output.grid is not None
        return self._grids.on_bytes(floats, output.grid, output.name, output.relu)

    def batched(self, x: Name, geometry: Geometry, shape: Shape) -> tuple[Name, Shape]:
        """An input with an axis for the batch."""
        if len(shape) == 2 + len(geometry.kernel):
            return x, shape
        return self.writer.op("Unsqueeze", [x, self.writer.integers(0)]), (1, *shape)

    def in_turn(self, geometry: Geometry, value: Value, shape: Shape, is_alone: bool) -> Value:
        """The places of a convolution's result in their order, without a batch if it has none."""

        def change(name: Name) -> Name:
            if geometry.interleaving is not None:
                name = geometry.interleaving.write(self._sizes, name, geometry.places(shape[2:]))
            return self.writer.op("Squeeze", [name, self.writer.integers(0)]) if is_alone else name

        return _changed(value, change)


def _changed(value: Value, change: Callable[[Name], Name]) -> Value:
    """A value moved."""
    if value.integers:
        return Value(integers=change(value.integers), grid=value.grid)
    return Value(change(value.floats))


def _zero_of_input(parameters: LinearParameters) -> np.generic:
    """The zero point of the integers that a layer reads, of their type."""
    return np.float32(parameters.input_zero) if parameters.wide else np.uint8(parameters.input_zero)


def _beside(values: np.ndarray, axes: int) -> np.ndarray:
    """Values of channels, to be combined with (N, channels, *axes)."""
    return values.reshape(-1, *[1] * axes)


def _arranged(weight: np.ndarray, geometry: Geometry) -> np.ndarray:
    """(out, in) as (out, channels, *kernel)."""
    return weight.reshape(len(weight), -1, *geometry.kernel)


def geometry_of(layer: Layer) -> Geometry:
    """What a convolution does.

    Raises:
        ModelError: the layer is of another form.
    """
    if not isinstance(layer, Convolution | TransposedConvolution):
        raise ModelError(f"the layer {layer.name} is a {type(layer).__name__}, which has no ONNX form")
    return Geometry.of(layer)
