"""Components that stay in float, frame by frame, as ONNX operators."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from kaldi_quant.backends.onnx.writer import GraphWriter, Name
from kaldi_quant.errors import ModelError
from kaldi_quant.kaldi.component import Component
from kaldi_quant.kaldi.component_dims import column_map, component_dims
from kaldi_quant.nnet3.preparation.channelwise import scale_and_offset
from kaldi_quant.nnet3.preparation.linear_components import AFFINE_TYPES, bias_of, weight_of

# As in kaldi_quant.nnet3.components.nonlinear: Kaldi's own floors.
_SOFTMAX_FLOOR = 1.0e-20
_SQUARED_NORM_FLOOR = 2.0**-66

Emit = Callable[[GraphWriter, Component, Name], Name]


def _same(writer: GraphWriter, component: Component, x: Name) -> Name:
    return x


def _elementwise(kind: str) -> Emit:
    return lambda writer, component, x: writer.op(kind, [x])


def _constant(writer: GraphWriter, value: object) -> Name:
    return writer.constant(np.asarray(value, np.float32))


def _affine(writer: GraphWriter, component: Component, x: Name) -> Name:
    return product(writer, x, weight_of(component), bias_of(component))


def product(writer: GraphWriter, x: Name, weight: np.ndarray, bias: np.ndarray) -> Name:
    """``x @ weight.T + bias`` in float; x: (N, T, in)."""
    result = writer.op("MatMul", [x, writer.constant(np.ascontiguousarray(weight.T), "float.weight")])
    return writer.op("Add", [result, writer.constant(bias, "float.bias")]) if bias.any() else result


def _scale_and_offset(writer: GraphWriter, component: Component, x: Name) -> Name:
    pair = scale_and_offset(component)
    assert pair is not None
    if (pair[0] != 1).any():
        x = writer.op("Mul", [x, _constant(writer, pair[0])])
    return writer.op("Add", [x, _constant(writer, pair[1])]) if pair[1].any() else x


def _softmax(writer: GraphWriter, component: Component, x: Name) -> Name:
    return writer.op("Max", [writer.op("Softmax", [x], axis=-1), _constant(writer, _SOFTMAX_FLOOR)])


def _decay(writer: GraphWriter, component: Component, x: Name) -> Name:
    return writer.op("Mul", [x, _constant(writer, component.get("Scale", 1.0))])


def _blocks(writer: GraphWriter, x: Name, dim: int) -> Name:
    """(N, T, D) → (N, T, D / dim, dim)."""
    return writer.op("Reshape", [x, writer.integers(0, 0, -1, dim)])


def _flat(writer: GraphWriter, x: Name) -> Name:
    return writer.op("Reshape", [x, writer.integers(0, 0, -1)])


def _normalize(writer: GraphWriter, component: Component, x: Name) -> Name:
    dim = component.get("BlockDim", component_dims(component)[0])
    target_rms = float(component.get("TargetRms", 1.0))
    blocks = _blocks(writer, x, dim)
    square = writer.op("ReduceMean", [writer.op("Mul", [blocks, blocks])], axes=[-1], keepdims=1)
    square = writer.op("Div", [square, _constant(writer, target_rms**2)])
    norm = writer.op("Sqrt", [writer.op("Max", [square, _constant(writer, _SQUARED_NORM_FLOOR)])])
    result = writer.op("Div", [blocks, norm])
    if component.get("AddLogStddev", False):
        log = writer.op("Log", [writer.op("Mul", [norm, _constant(writer, target_rms)])])
        result = writer.op("Concat", [result, log], axis=-1)
    return _flat(writer, result)


def _over_blocks(kind: str) -> Emit:
    def emit(writer: GraphWriter, component: Component, x: Name) -> Name:
        blocks = _blocks(writer, x, component_dims(component)[1])
        if kind == "ReduceProd":
            return writer.op(kind, [blocks], axes=[2], keepdims=0)
        summed = writer.op(kind, [blocks, writer.integers(2)], keepdims=0)
        return writer.op("Mul", [summed, _constant(writer, component["Scale"])])

    return emit


def _permute(writer: GraphWriter, component: Component, x: Name) -> Name:
    return writer.op("Gather", [x, writer.integers(*column_map(component).tolist())], axis=2)


_EMITTERS: dict[str, Emit] = {
    **dict.fromkeys(
        ("NoOpComponent", "ClipGradientComponent", "GeneralDropoutComponent", "SpecAugmentTimeMaskComponent"), _same
    ),
    **dict.fromkeys(AFFINE_TYPES, _affine),
    "RectifiedLinearComponent": _elementwise("Relu"),
    "SigmoidComponent": _elementwise("Sigmoid"),
    "TanhComponent": _elementwise("Tanh"),
    "SoftmaxComponent": _softmax,
    "LogSoftmaxComponent": lambda writer, component, x: writer.op("LogSoftmax", [x], axis=-1),
    "BackpropTruncationComponent": _decay,
    "NormalizeComponent": _normalize,
    "SumBlockComponent": _over_blocks("ReduceSum"),
    "ElementwiseProductComponent": _over_blocks("ReduceProd"),
    "PermuteComponent": _permute,
}


def constant_output(component: Component) -> np.ndarray:
    """(dim,) float32: the row of a component without input, in test mode."""
    if component.type == "ConstantComponent":
        return component["Output"]
    kept = 1.0 if component.get("Continuous", False) else 1.0 - float(component["DropoutProportion"])
    return np.full(component_dims(component)[1], kept, np.float32)


def frame_component(writer: GraphWriter, name: str, component: Component, x: Name) -> Name:
    """A component in float.

    Args:
        writer: the graph.
        name: the node's.
        component: works frame by frame.
        x: its input, (N, T, input_dim).

    Returns:
        the name of its output, (N, T, output_dim).

    Raises:
        ModelError: the component's type has no ONNX form here; names it.
    """
    emit = _EMITTERS.get(component.type)
    if emit is None and scale_and_offset(component) is not None:
        emit = _scale_and_offset
    if emit is None:
        raise ModelError(f"the node {name} is a {component.type}, which has no ONNX form with any number of frames")
    return emit(writer, component, x)
