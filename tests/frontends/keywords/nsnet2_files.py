"""ONNX files of NSNet2 as the DNS challenges have them, of any size."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper

from kaldi_quant.frontends.keywords.networks.nsnet2 import NSNet2


def small_nsnet2(bins: int = 161, **sizes: Any) -> NSNet2:
    """A network with random weights whose gains differ."""
    torch.manual_seed(0)
    network = NSNet2(bins, **{"entry": 9, "hidden": 8, "wide": 7, **sizes}).eval()
    with torch.no_grad():
        network.fc_out[4].weight.mul_(6)
    return network


def nsnet2_model(network: NSNet2, opset: int = 11) -> onnx.ModelProto:
    """The graph: with 11 as the file for 16 kHz has it, with 13 as that for 48 kHz."""
    nodes: list[onnx.NodeProto] = []
    constants: list[onnx.TensorProto] = []

    def constant(name: str, value: Any) -> str:
        constants.append(numpy_helper.from_array(np.asarray(value), name))
        return name

    def op(kind: str, inputs: list[str], **attributes: Any) -> str:
        name = f"{kind}.{len(nodes)}"
        outputs = [name, f"{name}.state"] if kind == "GRU" else [name]
        nodes.append(helper.make_node(kind, inputs, outputs, **attributes))
        return name

    def layer(x: str, linear: torch.nn.Linear, name: str) -> str:
        weight, bias = (value.detach().numpy() for value in (linear.weight.T, linear.bias))
        product = op("MatMul", [x, constant(f"{name}.weight", weight)])
        return op("Add", [product, constant(f"{name}.bias", bias)])

    def squeezed(x: str) -> str:
        return op("Squeeze", [x], axes=[1]) if opset < 13 else op("Squeeze", [x, constant(f"{x}.axes", [1])])

    def gru(x: str, module: torch.nn.GRU, zeros: str, name: str) -> str:
        # torch has the gates r, z, n; ONNX z, r, h.
        values = [
            getattr(module, f"{kind}_l0").detach().numpy() for kind in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
        ]
        values = [np.concatenate([z, r, n]) for r, z, n in (np.split(value, 3) for value in values)]
        tensors = [values[0][None], values[1][None], np.concatenate(values[2:])[None]]
        names = [constant(f"{name}.{place}", value) for place, value in enumerate(tensors)]
        return squeezed(op("GRU", [x, *names, "", zeros], hidden_size=module.hidden_size, linear_before_reset=1))

    x = op("Relu", [layer("input", network.fc_in[0], "fc_in")])
    batch = op("Gather", [op("Shape", [x]), constant("one", 0)], axis=0)
    batch = op("Unsqueeze", [batch], axes=[0]) if opset < 13 else op("Unsqueeze", [batch, constant("first", [0])])
    shape = op("Concat", [constant("layers", [2]), batch, constant("size", [network.hidden])], axis=0)
    zeros = op("ConstantOfShape", [shape], value=numpy_helper.from_array(np.zeros(1, np.float32)))
    x = op("Transpose", [x], perm=[1, 0, 2])
    for place, module in enumerate((network.gru1, network.gru2)):
        ends = [constant(f"end.{place}.{i}", [value]) for i, value in enumerate((place, place + 1, 0))]
        x = gru(x, module, op("Slice", [zeros, *ends]), f"gru{place}")
    x = op("Transpose", [x], perm=[1, 0, 2])
    x = op("Relu", [layer(x, network.fc_out[0], "fc_out.0")])
    x = op("Relu", [layer(x, network.fc_out[2], "fc_out.2")])
    x = op("Sigmoid", [layer(x, network.fc_out[4], "fc_out.4")])
    if network.least_gain is not None:
        x = op("Clip", [x, constant("least", np.float32(network.least_gain)), ""])
    nodes[-1].output[0] = "output"
    ends = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", "frames", network.bins])
        for name in ("input", "output")
    ]
    graph = helper.make_graph(nodes, "nsnet2", ends[:1], ends[1:], constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


def write_nsnet2(path: Path, network: NSNet2, opset: int = 11) -> Path:
    """Writes the file, and returns its path."""
    onnx.save(nsnet2_model(network, opset), path)
    return path
