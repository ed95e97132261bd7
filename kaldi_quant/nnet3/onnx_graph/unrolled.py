"""Networks whose times are irregular - recurrences, statistics, optional inputs - as ONNX for one fixed length.

torch traces the network's own steps for one request, loops unrolled; what is quantized becomes QuantizeLinear and
DequantizeLinear around a Gemm. All use of torch's ONNX exporter is in this module.
"""

from __future__ import annotations

import io
import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from kaldi_quant.backends.onnx.parameters import LinearParameters, WeightForm
from kaldi_quant.backends.onnx.stored_weights import FloatProduct
from kaldi_quant.backends.onnx.wide import wide_sums
from kaldi_quant.backends.onnx.writer import FLOAT, OPSET, UINT8, context_metadata, require_onnx
from kaldi_quant.errors import ModelError
from kaldi_quant.nnet3.components.convolution import TimeHeightConvolution
from kaldi_quant.nnet3.linear import float_backend
from kaldi_quant.nnet3.model import AcousticModel
from kaldi_quant.nnet3.onnx_graph.tracks import check_unsigned
from kaldi_quant.nnet3.preparation.prepared import nnet_of
from kaldi_quant.quant.grid import Grid
from kaldi_quant.quant.integer_linear import IntegerLinear
from kaldi_quant.quant.network import QuantizedNetwork
from kaldi_quant.quant.spec import LARGEST_BYTE

if TYPE_CHECKING:
    import onnx


def unroll(
    network: QuantizedNetwork, period: int, outputs: int, extra: tuple[int, int], form: WeightForm
) -> tuple[onnx.ModelProto, int, int]:
    """Writes a network for one sequence of fixed length.

    Args:
        network: the quantized network.
        period: frames between outputs.
        outputs: rows of output.
        extra: frames before and after the sequence beyond the network's own context.
        form: how weights are stored.

    Returns:
        the graph, and the frames that it reads before the first and after the last output.

    Raises:
        ModelError: a layer's ranges are found anew for each sequence, or its integers are wider than 8 bits.
        MissingDependencyError: onnx is not installed.
    """
    require_onnx("an ONNX graph")
    import onnx

    model = AcousticModel(nnet_of(network.dequantized())).eval()
    for name, grid in network.activations.items():
        check_unsigned(name, grid)
        model.taps[name] = _OnGrid(grid)
    for name, layer in network.layers.items():
        if isinstance(layer, FloatProduct):
            raise ModelError(
                f"in the layer {name} weights alone, or groups of columns with scales of their own, are quantized, "
                "which has an ONNX form only where the network has one with any number of frames"
            )
        if not isinstance(layer, IntegerLinear):
            raise ModelError(f"the ranges of the layer {name} are found anew for each sequence")
        module = model.component(name)
        heights = module.height_out if isinstance(module, TimeHeightConvolution) else 0
        module.product = _Product(layer, LinearParameters.of(name, layer, form), heights)
    last = (outputs - 1) * period
    span = (-model.context.left - extra[0], last + model.context.right + extra[1] + 1)
    request = _Request(model, span, np.arange(outputs) * period)
    inputs = [torch.zeros(1, span[1] - span[0], model.input_dim)]
    if model.ivector_dim:
        inputs.append(torch.zeros(1, model.ivector_dim))
    stream = io.BytesIO()
    with torch.no_grad(), float_backend("torch"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            request,
            tuple(inputs),
            stream,  # type: ignore[arg-type]
            dynamo=False,
            opset_version=OPSET,
            input_names=["input", "ivector"][: len(inputs)],
            output_names=["output"],
            do_constant_folding=False,
        )
    graph = onnx.load_from_string(stream.getvalue())
    left, right = -span[0], span[1] - 1 - last
    onnx.helper.set_model_props(graph, context_metadata(period, left, right))
    return graph, left, right


class _Request(nn.Module):
    """A network and one request, as one call."""

    def __init__(self, model: AcousticModel, span: tuple[int, int], times: np.ndarray) -> None:
        super().__init__()
        self.model, self.span, self.times = model, span, times

    def forward(self, feats: Tensor, ivectors: Tensor | None = None) -> Tensor:
        return self.model(feats, [self.span], self.times, ivectors)


class _Traced:
    """A graph that torch traces, as ``wide_sums`` wants it."""

    def __init__(self, g: Any) -> None:
        self.g = g

    def constant(self, value: Any) -> Any:
        return self.g.op("Constant", value_t=torch.from_numpy(np.array(value)))

    def op(self, kind: str, inputs: list[Any], **attributes: int) -> Any:
        return self.g.op(kind, *inputs, **{f"{key}_i": value for key, value in attributes.items()})


def _integers(g: Any, x: Any, scale: Any, zero_point: Any, per_column: bool) -> Any:
    """Adds the rounding to a grid of unsigned 8-bit integers."""
    if not per_column:
        return g.op("QuantizeLinear", x, scale, g.op("Cast", zero_point, to_i=UINT8))
    return g.op("QuantizeLinear", _steps(g, x, scale, zero_point), *_unit_grid(g))


def _steps(g: Any, x: Any, scale: Any, zero_point: Any) -> Any:
    """Adds the rounding to integers, in float and without end."""
    return g.op("Add", g.op("Round", g.op("Div", x, scale)), g.op("Cast", zero_point, to_i=FLOAT))


def _unit_grid(g: Any) -> tuple[Any, Any]:
    one = g.op("Constant", value_t=torch.tensor(1.0))
    return one, g.op("Constant", value_t=torch.tensor(0, dtype=torch.uint8))


class _Rounded(torch.autograd.Function):
    """Values on a grid."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, scale: Tensor, zero_point: Tensor, top: int, per_column: bool) -> Tensor:
        # Tracing asks for no more than the shape.
        return torch.zeros_like(x)

    @staticmethod
    def symbolic(g: Any, x: Any, scale: Any, zero_point: Any, top: int, per_column: bool) -> Any:
        if top > LARGEST_BYTE:
            bounds = [g.op("Constant", value_t=torch.tensor(float(value))) for value in (0, top)]
            steps = g.op("Clip", _steps(g, x, scale, zero_point), *bounds)
            return g.op("Mul", g.op("Sub", steps, g.op("Cast", zero_point, to_i=FLOAT)), scale)
        integers = _integers(g, x, scale, zero_point, per_column)
        if top < LARGEST_BYTE:
            bounds = [g.op("Constant", value_t=torch.tensor(value, dtype=torch.uint8)) for value in (0, top)]
            integers = g.op("Clip", integers, *bounds)
        zero_point = g.op("Cast", zero_point, to_i=UINT8)
        return g.op("DequantizeLinear", integers, scale, zero_point, axis_i=2)


class _OnGrid(nn.Module):
    """A node's values on its grid."""

    def __init__(self, grid: Grid) -> None:
        super().__init__()
        self.grid = grid

    def forward(self, x: Tensor) -> Tensor:
        grid = self.grid
        return _Rounded.apply(x, grid.scale, grid.zero_point, grid.spec.qmax, grid.scale.dim() > 0)


class _Multiplied(torch.autograd.Function):
    """The product of integers: inputs rounded to their grid, weights and bias from theirs."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, per_column: bool, wide: bool, heights: int, rows: int, columns: int, *parameters: Tensor
    ) -> Tensor:
        # Tracing asks for no more than the shape.
        return x.new_zeros(*x.shape[:-1], rows)

    @staticmethod
    def symbolic(
        g: Any, x: Any, per_column: bool, wide: bool, heights: int, rows: int, columns: int, *parameters: Any
    ) -> Any:
        scale, zero_point, weight, weight_scale, weight_zero, bias, bias_scale, bias_zero = parameters
        if wide:
            transposed = g.op("Transpose", weight, perm_i=[1, 0])
            sums = wide_sums(_Traced(g), _steps(g, x, scale, zero_point), transposed, weight_zero, bias)
            return g.op("Mul", sums, bias_scale)
        shapes = [-1, columns], [1, -1, *([heights] if heights else []), rows]
        flat, unflat = (g.op("Constant", value_t=torch.tensor(shape)) for shape in shapes)
        integers = g.op("Reshape", _integers(g, x, scale, zero_point, per_column), flat)
        grid = _unit_grid(g) if per_column else (scale, g.op("Cast", zero_point, to_i=UINT8))
        product = g.op(
            "Gemm",
            g.op("DequantizeLinear", integers, *grid),
            g.op("DequantizeLinear", weight, weight_scale, weight_zero, axis_i=0),
            g.op("DequantizeLinear", bias, bias_scale, bias_zero, axis_i=0),
            transB_i=1,
        )
        return g.op("Reshape", product, unflat)


class _Product(nn.Module):
    """A layer's product, in the place of the float one."""

    def __init__(self, layer: IntegerLinear, parameters: LinearParameters, heights: int) -> None:
        super().__init__()
        self.heights = heights
        self.rows, self.columns = layer.weight.integers.shape
        inputs = layer.inputs
        self.per_column, self.wide = inputs.per_column, parameters.wide
        weight, weight_zero = parameters.stored(parameters.weight)
        # In the order in which they are handed on.
        arrays = {
            "scale": inputs.scale if inputs.per_column else inputs.scale[0],
            "zero_point": inputs.zero_point if inputs.per_column else inputs.zero_point[0],
            "weight": torch.from_numpy(weight),
            "weight_scale": torch.from_numpy(parameters.weight_scale),
            "weight_zero": torch.from_numpy(weight_zero),
            "bias": torch.from_numpy(parameters.bias),
            "bias_scale": torch.from_numpy(parameters.bias_scale),
            "bias_zero": torch.zeros(self.rows, dtype=torch.int32),
        }
        for name, array in arrays.items():
            self.register_buffer(name, array)

    def forward(self, x: Tensor, bias: Tensor | None = None) -> Tensor:
        shape = self.heights, self.rows, self.columns
        return _Multiplied.apply(x, self.per_column, self.wide, *shape, *self.buffers())
