"""All values of an ONNX graph for zeros as inputs, from which sizes and types are taken."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from kaldi_quant.backends.onnx.reading import one_line, tensor_array
from kaldi_quant.backends.onnx.writer import require_onnx
from kaldi_quant.errors import DataError, UsageError

if TYPE_CHECKING:
    import onnx

#: Sizes of inputs, by name.
Shapes = Mapping[str, Sequence[int]]


def graph_values(path: str, model: onnx.ModelProto, shapes: Shapes) -> dict[str, np.ndarray]:
    """Each value of a graph, constants included, as onnxruntime computes it for zeros.

    Args:
        path: of the file, for messages.
        model: that it holds.
        shapes: of inputs; those that are not named have the sizes that the file tells.

    Raises:
        UsageError: the sizes of an input are missing or not those of the file.
        DataError: onnxruntime cannot run it.
    """
    require_onnx("an estimate")
    constants = {each.name: tensor_array(path, each) for each in model.graph.initializer}
    given = {
        each.name: np.zeros(_sizes(path, each, shapes), _dtype(each))
        for each in model.graph.input
        if each.name not in constants
    }
    unknown = set(shapes) - set(given)
    if unknown:
        raise UsageError(f"{path}: it has no input {min(unknown)!r}: its inputs are {', '.join(given)}")
    return {**constants, **given, **_computed(path, model, given)}


def _computed(path: str, model: onnx.ModelProto, given: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    import onnx
    import onnxruntime

    shown = onnx.ModelProto()
    shown.CopyFrom(model)
    names = [name for node in shown.graph.node for name in node.output if name]
    del shown.graph.output[:]
    shown.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names)
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    try:
        session = onnxruntime.InferenceSession(shown.SerializeToString(), options, providers=["CPUExecutionProvider"])
        return dict(zip(names, session.run(names, dict(given)), strict=True))
    except Exception as error:  # onnxruntime has many of its own
        raise DataError(f"{path}: onnxruntime cannot run it for inputs of these sizes: {one_line(error)}") from error


def values_within(path: str, model: onnx.ModelProto, node: onnx.NodeProto, outer: Mapping[str, np.ndarray]) -> Inner:
    """The values of the graph within a Scan for one time.

    Args:
        path: of the file, for messages.
        model: that it holds.
        node: a Scan.
        outer: the values around it.

    Returns:
        The values, and how many times there are.
    """
    import onnx
    from onnx import helper, numpy_helper

    options = {each.name: helper.get_attribute_value(each) for each in node.attribute}
    body, scanned = options["body"], options["num_scan_inputs"]
    states = len(node.input) - scanned
    axes = options.get("scan_input_axes") or [0] * scanned
    given = {}
    for place, (inner, name) in enumerate(zip(body.input, node.input, strict=True)):
        value = outer[name]
        given[inner.name] = value if place < states else value.take(0, axes[place - states])
    inputs = [
        helper.make_tensor_value_info(n, helper.np_dtype_to_tensor_dtype(x.dtype), x.shape) for n, x in given.items()
    ]
    made = {name for each in body.node for name in each.output} | set(given)
    read = {name for each in body.node for name in each.input if name} - made - {each.name for each in body.initializer}
    constants = [*body.initializer, *(numpy_helper.from_array(outer[name], name) for name in sorted(read))]
    graph = helper.make_graph(body.node, "within", inputs, body.output, constants)
    alone = onnx.ModelProto()
    alone.CopyFrom(model)
    alone.graph.CopyFrom(graph)
    return {**outer, **given, **_computed(path, alone, given)}, outer[node.input[states]].shape[axes[0]]


Inner = tuple[dict[str, np.ndarray], int]


def _sizes(path: str, end: onnx.ValueInfoProto, shapes: Shapes) -> list[int]:
    told = end.type.tensor_type.shape.dim
    wanted = shapes.get(end.name, [each.dim_value for each in told])
    if len(wanted) != len(told) or any(
        each.HasField("dim_value") and each.dim_value != size for each, size in zip(told, wanted, strict=True)
    ):
        found = [each.dim_value if each.HasField("dim_value") else each.dim_param or "?" for each in told]
        raise UsageError(f"{path}: the input {end.name!r} has the sizes {found}, not {list(wanted)}")
    if any(size < 1 for size in wanted):
        raise UsageError(f"{path}: the input {end.name!r} has axes of any length: say how long they are")
    return list(wanted)


def _dtype(end: onnx.ValueInfoProto) -> np.dtype:
    from onnx import helper

    return helper.tensor_dtype_to_np_dtype(end.type.tensor_type.elem_type)
