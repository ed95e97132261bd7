"""Networks in onnxruntime beside the integer reference: every node on a grid is compared, given equal inputs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

import numpy as np
import torch
from onnx import ModelProto, TensorProto, helper
from torch import Tensor

from kaldi_quant.backends.onnx.integer_weights import check_integer, graphs_of
from kaldi_quant.backends.onnx.session import open_session, optimized_graph
from kaldi_quant.quant.grid import Grid
from kaldi_quant.quant.network import QuantizedNetwork
from kaldi_quant.torchnn.onnx.builder import TorchOnnx
from kaldi_quant.torchnn.region import Region

#: Products in float, and what onnxruntime makes of them.
FLOAT_PRODUCTS = {"Conv", "FusedConv", "Gemm", "FusedGemm", "MatMul", "FusedMatMul", "ConvTranspose"}


def with_integers(graph: TorchOnnx) -> ModelProto:
    """The graph with the integers of all nodes as outputs beside its own."""
    model = ModelProto()
    model.CopyFrom(graph.model)
    made_by = {name: node for node in model.graph.node for name in node.output}
    for name in dict.fromkeys(name for names in graph.integers.values() for name in names):
        kind = TensorProto.UINT8
        node = made_by[name]
        while node.op_type not in ("QuantizeLinear", "Round", "Scan"):
            node = made_by[node.input[0]]
        if node.op_type == "Round":
            kind = TensorProto.FLOAT
        elif node.op_type == "Scan":
            (body,) = (each.g for each in node.attribute if each.name == "body")
            kind = body.output[-1].type.tensor_type.elem_type
        model.graph.output.append(helper.make_tensor_value_info(name, kind, None))
    return model


def run(model: ModelProto, *inputs: Tensor) -> dict[str, np.ndarray]:
    """All outputs by name."""
    session = open_session(model)
    names = [each.name for each in session.get_inputs()]
    given = {name: x.numpy() for name, x in zip(names, inputs, strict=True)}
    return dict(zip([each.name for each in session.get_outputs()], session.run(None, given), strict=True))


def in_float(network: QuantizedNetwork, name: str) -> bool:
    """Whether functions in float, which differ in their last bits, have a part in a node since the last grid."""
    node = network.host.nodes[name]
    if node.op == "matmul":
        return name in network.float_matmuls
    if node.op in ("input", "product") and node.layer_name not in network.float_layers:
        return False
    if node.op in ("other", "product"):  # of a layer in float
        return True
    return any(source not in network.activations and in_float(network, source) for source in node.sources)


def assert_same(network: QuantizedNetwork, graph: TorchOnnx, *inputs: Tensor) -> int:
    """Compares all integers, and the output.

    Where a function in float was rounded to a grid, values that lie at the middle of a step may be rounded otherwise:
    the reference goes on with what onnxruntime has found, so that all else is compared to the last bit. Hidden states
    are compared so at every time: the reference computes each from the integers that onnxruntime has found before it.

    Returns:
        How many integers were compared.
    """
    found = run(with_integers(graph), *inputs)
    model = network.model()
    compared = []
    recurrences = _recurrences(network)

    def checked(name: str, tap: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
        values = (found[each].astype(np.int64) for each in graph.integers[name])
        parts = (part for value in values for part in (recurrences[name](value) if name in recurrences else [value]))

        def check(x: Tensor) -> Tensor:
            grid = network.activations[name]
            expected, integers = _integers(tap(x), grid), next(parts)
            if integers is None:
                # An initial state, which no value of the graph holds by itself.
                return tap(x)
            assert integers.shape == expected.shape, f"{name}: {integers.shape}, not {expected.shape}"
            if in_float(network, name):
                _assert_at_the_middle(network, name, x, integers, expected, grid)
            else:
                np.testing.assert_array_equal(integers, expected, err_msg=name)
            compared.append(expected.size)
            return torch.from_numpy((integers - int(grid.zero_point)).astype(np.float32)) * grid.scale

        return check

    for name in graph.integers:
        model.taps[name] = checked(name, model.taps[name])
    with torch.no_grad():
        result = model(*[x.clone() for x in inputs])
    results = [result] if isinstance(result, Tensor) else list(result)
    for name, one in zip(graph.outputs, results, strict=True):
        size = (float(one.abs().max()) if one.numel() else 0.0) or 1.0
        exact = len(results) == 1 and not in_float(network, "output")
        np.testing.assert_allclose(found[name], one.numpy(), rtol=0, atol=0 if exact else 1e-4 * size)
    expected_names = {name for name, grid in network.activations.items() if not grid.scale.dim()}
    assert set(graph.integers) == expected_names
    return sum(compared)


def _recurrences(network: QuantizedNetwork) -> dict[str, Callable[[np.ndarray], Iterator[np.ndarray | None]]]:
    """By the names of hidden states, what brings those of all times into the order in which they are computed."""
    found = {}
    for region in network.host.region.modules():
        for node in region.graph.nodes if isinstance(region, Region) else ():
            recurrence = region.recurrence_of(node)
            if recurrence is not None:
                given = len(node.args) > 1 and node.args[1] is not None
                found[str(node.kwargs["node"])] = partial(_in_turn, given=given, reverse=recurrence.reverse)
    return found


def _in_turn(states: np.ndarray, given: bool, reverse: bool) -> Iterator[np.ndarray | None]:
    """Hidden states, (N, T, size), one time after the other; None for an initial state before them."""
    if given:
        yield None
    times = range(states.shape[1])
    for time in reversed(times) if reverse else times:
        yield states[:, time]


def _integers(x: Tensor, grid: Grid) -> np.ndarray:
    return (torch.round(x.double() / grid.scale.double()).long() + int(grid.zero_point)).numpy()


def _assert_at_the_middle(
    network: QuantizedNetwork, name: str, x: Tensor, found: np.ndarray, expected: np.ndarray, grid: Grid
) -> None:
    steps = (x.double() / grid.scale.double()).numpy()
    beside = np.abs(found - expected)
    if "norm" in network.host.float_operations().get(name, "").lower():
        # Of values that are nearly equal it magnifies their last bits by 1 / sqrt(epsilon).
        beside = np.where(beside * float(grid.scale) < 1e-3, 0, beside)
    assert beside.max(initial=0) <= 1, name
    away = np.abs(np.abs(steps - np.floor(steps)) - 0.5)[beside > 0]
    assert (away < 1e-3).all(), f"{name}: {away.max()} steps from the middle"


def assert_integer_products(graph: TorchOnnx) -> None:
    """No product is in float in what onnxruntime executes."""
    optimized = optimized_graph(graph.model)
    kinds = {node.op_type for each in graphs_of(optimized) for node in each.node}
    assert not kinds & FLOAT_PRODUCTS, kinds & FLOAT_PRODUCTS
    check_integer(graph.model, optimized)
