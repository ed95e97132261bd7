"""ONNX files of anybody's, read: the graph with all its tensors, or a sentence that says what is wrong."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from kaldi_quant.errors import FormatError, MissingDependencyError

if TYPE_CHECKING:
    import onnx

_QUANTIZING = ("QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear", "MatMulInteger", "ConvInteger")
# The beginning of the names of operators on integers, onnxruntime's own included.
_ON_INTEGERS = "QLinear"


def read_model(path: str | os.PathLike[str], feature: str = "reading ONNX files") -> onnx.ModelProto:
    """Reads a file; tensors that lie in other files stay there.

    Args:
        path: of the file.
        feature: that needs the package onnx, for the message where it is not installed.

    Raises:
        FormatError: the file is missing, truncated or no ONNX model.
        MissingDependencyError: onnx is not installed.
    """
    try:
        import onnx
    except ImportError as error:
        raise MissingDependencyError(f"{feature} needs the package onnx: pip install onnx") from error
    where = os.fspath(path)
    try:
        return onnx.load(where, load_external_data=False)
    except Exception as error:  # protobuf has many of its own
        raise FormatError(where, None, f"it cannot be read as an ONNX model: {one_line(error)}") from error


def read_whole_model(path: str | os.PathLike[str]) -> onnx.ModelProto:
    """Reads a file and the tensors that lie in files beside it, and checks that it is a valid model.

    Args:
        path: of the file.

    Raises:
        FormatError: a file is missing, truncated or no ONNX model, or the model contradicts itself.
        MissingDependencyError: onnx is not installed.
    """
    model, where = read_model(path), os.fspath(path)
    import onnx
    from onnx.external_data_helper import load_external_data_for_model

    if not model.graph.output:
        raise FormatError(where, None, "it cannot be read as an ONNX model: it has no output")
    try:
        load_external_data_for_model(model, str(Path(where).parent))
    except Exception as error:
        raise FormatError(where, None, f"its tensors in other files cannot be read: {one_line(error)}") from error
    try:
        onnx.checker.check_model(_with_shapes_of_outputs(model))
    except Exception as error:
        raise FormatError(where, None, f"it is no valid ONNX model: {one_line(error)}") from error
    return model


def _with_shapes_of_outputs(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model with a shape for each output, which many files leave out and the check wants."""
    import onnx

    if all(each.type.tensor_type.HasField("shape") for each in model.graph.output):
        return model
    found = onnx.ModelProto()
    found.CopyFrom(model)
    for each in found.graph.output:
        if each.type.HasField("tensor_type"):
            each.type.tensor_type.shape.SetInParent()
    return found


def all_nodes(graph: onnx.GraphProto) -> Iterator[onnx.NodeProto]:
    """The nodes of a graph and of the graphs within them."""
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            for inner in [*([attribute.g] if attribute.HasField("g") else []), *attribute.graphs]:
                yield from all_nodes(inner)


def quantized_by(model: onnx.ModelProto) -> str | None:
    """What of a model is quantized already: an operator or a tensor of few bits; None where nothing is."""
    from onnx import TensorProto

    for node in all_nodes(model.graph):
        if node.op_type in _QUANTIZING or node.op_type.startswith(_ON_INTEGERS):
            return f"the node {node.name or node.output[0]!r} is a {node.op_type}"
    narrow = {TensorProto.INT8, TensorProto.UINT8, TensorProto.INT4, TensorProto.UINT4}
    narrow |= {TensorProto.INT16, TensorProto.UINT16}
    found = next((each for each in model.graph.initializer if each.data_type in narrow), None)
    return None if found is None else f"{found.name!r} holds {TensorProto.DataType.Name(found.data_type)}"


def tensor_array(path: str, tensor: onnx.TensorProto) -> np.ndarray:
    """The values of a tensor of a file.

    Raises:
        FormatError: they are not as its shape and its type say.
    """
    from onnx import numpy_helper

    try:
        return numpy_helper.to_array(tensor)
    except (ValueError, TypeError, KeyError, OSError, MemoryError) as error:
        raise FormatError(path, None, f"the values of {tensor.name!r} cannot be read: {one_line(error)}") from error


def one_line(error: BaseException) -> str:
    """An error as a part of a sentence."""
    return " ".join(str(error).split())[:200] or type(error).__name__
