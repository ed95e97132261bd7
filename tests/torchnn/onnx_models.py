"""ONNX files of a few operators, and what onnxruntime computes of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from onnx import helper, numpy_helper
from torch import Tensor, nn

from kaldi_quant.backends.onnx.session import open_session
from kaldi_quant.torchnn.onnx_import.network import read_onnx_network

# Of onnx's releases those that brought the operator sets from here on.
_IR_VERSIONS = {11: 6, 12: 7, 13: 7, 14: 7, 15: 8, 16: 8, 17: 8, 18: 8, 19: 9, 20: 9, 21: 10}


def model_of(
    nodes: Sequence[onnx.NodeProto],
    inputs: Mapping[str, np.ndarray],
    constants: Mapping[str, Any],
    outputs: Sequence[str] = ("output",),
    opset: int = 17,
    fixed: Sequence[int] = (1,),
) -> onnx.ModelProto:
    """A model.

    Args:
        nodes: its operators.
        inputs: by name, as an example has them.
        constants: by name.
        outputs: names.
        opset: its operator set.
        fixed: axes of inputs whose length is told; others have any.
    """
    given = [
        helper.make_tensor_value_info(
            name,
            helper.np_dtype_to_tensor_dtype(x.dtype),
            [size if axis in fixed else f"{name}.{axis}" for axis, size in enumerate(x.shape)],
        )
        for name, x in inputs.items()
    ]
    results = [helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None) for name in outputs]
    tensors = [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()]
    graph = helper.make_graph(list(nodes), "graph", given, results, tensors)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=_IR_VERSIONS[opset])


def as_list(found: Tensor | Sequence[Tensor]) -> list[Tensor]:
    """The outputs of a network."""
    return [found] if isinstance(found, Tensor) else list(found)


def assert_like_onnxruntime(path: Path, *calls: Sequence[np.ndarray], network: nn.Module | None = None) -> nn.Module:
    """Compares all outputs for some inputs, and returns the network that was read."""
    session = open_session(path.read_bytes())
    network = network or read_onnx_network(path)
    names = [each.name for each in session.get_inputs()]
    for inputs in calls:
        expected = session.run(None, dict(zip(names, inputs, strict=True)))
        with torch.no_grad():
            found = as_list(network(*map(torch.from_numpy, inputs)))
        assert len(found) == len(expected)
        for x, y in zip(found, expected, strict=True):
            assert x.shape == y.shape
            np.testing.assert_allclose(x.numpy(), y, rtol=1e-5, atol=1e-5)
    return network
