"""Each operator of ONNX as it is read, beside onnxruntime."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import onnx
import pytest
import torch
from onnx import helper
from torch import nn

from tests.torchnn.onnx_models import assert_like_onnxruntime, model_of

RANDOM = np.random.default_rng(0)


def floats(*shape: int, positive: bool = False) -> np.ndarray:
    x = RANDOM.standard_normal(shape).astype(np.float32)
    return np.abs(x) + np.float32(0.1) if positive else x


class Case(NamedTuple):
    """An operator.

    Args:
        kind: its name.
        inputs: of the network; None where an input of the operator is left out, int64 and scalars are constants.
        attributes: of it.
        opset: of the file.
        outputs: of it.
        longer: axes of the first input that are made longer for a second call.
        fixed: axes of inputs whose length the file tells.
    """

    kind: str
    inputs: tuple[Any, ...]
    attributes: Mapping[str, Any] = {}
    opset: int = 17
    outputs: int = 1
    longer: tuple[int, ...] = (-1,)
    fixed: tuple[int, ...] = (1,)


class Constant(NamedTuple):
    """A constant of the file."""

    value: Any


def whole(*numbers: int) -> Constant:
    return Constant(np.array(numbers, np.int64))


def write(case: Case, path: Path) -> list[np.ndarray]:
    """Writes a model of one operator, and returns its inputs."""
    inputs, constants, names = {}, {}, []
    for place, value in enumerate(case.inputs):
        names.append("" if value is None else f"x{place}")
        if isinstance(value, Constant):
            constants[names[-1]] = np.asarray(value.value)
        elif value is not None:
            inputs[names[-1]] = value
    outputs = [f"y{place}" for place in range(case.outputs)]
    node = helper.make_node(case.kind, names, outputs, f"/part/{case.kind}", **case.attributes)
    onnx.save(model_of([node], inputs, constants, outputs, case.opset, case.fixed), path)
    return list(inputs.values())


def longer(x: np.ndarray, axes: tuple[int, ...]) -> np.ndarray:
    for axis in axes:
        x = np.concatenate([x, x.take(range(min(3, x.shape[axis])), axis)], axis)
    return x


def check(case: Case, path: Path) -> nn.Module:
    inputs = write(case, path)
    calls = [inputs]
    if case.longer:
        calls.append([longer(inputs[0], case.longer), *inputs[1:]])
    return assert_like_onnxruntime(path, *calls)


X = floats(2, 4, 9)
IMAGE = floats(2, 4, 9, 7)


def conv(weight: tuple[int, ...], x: np.ndarray = X, bias: bool = True, opset: int = 17, **attributes: Any) -> Case:
    channels = weight[0]
    more = (Constant(floats(channels)),) if bias else ()
    return Case("Conv", (x, Constant(floats(*weight)), *more), attributes, opset)


def transposed(weight: tuple[int, ...], x: np.ndarray = X, **attributes: Any) -> Case:
    channels = weight[1] * attributes.get("group", 1)
    return Case("ConvTranspose", (x, Constant(floats(*weight)), Constant(floats(channels))), attributes)


W = Constant(floats(5, 4))
PRODUCTS = [
    conv((5, 4, 3)),
    conv((5, 4, 3), pads=[2, 0], strides=[2], dilations=[2], bias=False, opset=11),
    conv((6, 2, 3), group=2, pads=[1, 1]),
    conv((8, 1, 3), group=4, pads=[1, 1]),
    conv((5, 4, 3, 2), IMAGE, pads=[1, 0, 1, 0], strides=[2, 1]),
    conv((5, 4, 3, 2), IMAGE, pads=[0, 1, 2, 0], dilations=[1, 2]),
    conv((5, 4, 4), auto_pad="SAME_UPPER"),
    conv((5, 4, 4), auto_pad="SAME_LOWER", strides=[2]),
    conv((5, 4, 3, 2), IMAGE, auto_pad="SAME_UPPER", strides=[2, 2]),
    conv((5, 4, 3), auto_pad="VALID"),
    conv((5, 4, 2, 2, 2), floats(1, 4, 3, 4, 5)),
    transposed((4, 5, 3)),
    transposed((4, 5, 3), strides=[2], pads=[1, 1], output_padding=[1]),
    transposed((4, 3, 3), group=2, strides=[2], dilations=[2]),
    transposed((4, 5, 4), strides=[2], pads=[0, 2]),
    transposed((4, 5, 2, 3), IMAGE, strides=[1, 2], pads=[1, 0, 1, 0]),
    transposed((4, 5, 4), strides=[2], auto_pad="SAME_UPPER"),
    transposed((4, 5, 5), strides=[2], auto_pad="SAME_LOWER"),
    transposed((4, 5, 5), strides=[2], auto_pad="SAME_UPPER"),
    Case(
        "ConvTranspose",
        (X, Constant(floats(4, 5, 4))),
        {"strides": [2], "output_shape": [17]},
        longer=(0,),
        fixed=(1, 2),
    ),
    Case("Gemm", (floats(3, 4), Constant(floats(4, 5)), Constant(floats(5))), longer=(0,)),
    Case(
        "Gemm",
        (floats(3, 4), Constant(floats(5, 4)), Constant(floats(1, 5))),
        {"transB": 1, "alpha": 0.5, "beta": 2.0},
        longer=(0,),
    ),
    Case("Gemm", (floats(4, 3), W), {"transA": 1, "transB": 1}, fixed=(0,)),
    Case("Gemm", (floats(3, 4), floats(4, 5), Constant(floats(3, 5))), {"alpha": 0.5, "beta": 3.0}, longer=()),
    Case("Gemm", (floats(3, 4), Constant(floats(4, 5)), Constant(floats(3, 5))), longer=()),
    Case("MatMul", (floats(2, 9, 4), Constant(floats(4, 5))), longer=(1,), fixed=(2,)),
    Case("MatMul", (Constant(floats(5, 4)), X)),
    Case("MatMul", (floats(2, 3, 4), floats(2, 4, 5)), longer=()),
    Case("MatMul", (floats(2, 3, 4), Constant(floats(2, 4, 5))), longer=(), fixed=(2,)),
]

SCALARS = [
    Case(kind, (X,))
    for kind in (
        *("Relu", "Sigmoid", "Tanh", "Softplus", "Softsign", "HardSwish", "Exp", "Abs", "Neg", "Sign", "Erf", "Sin"),
        *(
            "Cos",
            "Floor",
            "Ceil",
            "Reciprocal",
            "Identity",
            "Dropout",
            "LeakyRelu",
            "Elu",
            "Celu",
            "Selu",
            "HardSigmoid",
        ),
    )
]
ACTIVATIONS = [
    *SCALARS,
    *(Case(kind, (floats(2, 4, 9, positive=True),)) for kind in ("Log", "Sqrt")),
    Case("Mish", (X,), opset=18),
    Case("Gelu", (X,), opset=20),
    Case("Gelu", (X,), {"approximate": "tanh"}, 20),
    Case("LeakyRelu", (X,), {"alpha": 0.3}),
    Case("Elu", (X,), {"alpha": 0.7}),
    Case("Celu", (X,), {"alpha": 0.7}),
    Case("HardSigmoid", (X,), {"alpha": 1 / 6}),
    Case("PRelu", (X, Constant(floats(4, 1)))),
    Case("PRelu", (X, Constant(floats(1)))),
    Case("PRelu", (X, Constant(floats(9))), longer=()),
    Case("Clip", (X, Constant(np.float32(-0.5)), Constant(np.float32(0.7)))),
    Case("Clip", (X, None, Constant(np.float32(0.7))), opset=11),
    Case("Clip", (X, Constant(np.float32(0)))),
    Case("Clip", (X,)),
    Case("Softmax", (X,)),
    Case("Softmax", (X,), {"axis": 1}),
    Case("Softmax", (X,), opset=11),
    Case("Softmax", (X,), {"axis": 2}, 12),
    Case("LogSoftmax", (X,), {"axis": -2}),
]

ROW = Constant(floats(9))
ARITHMETIC = [
    *(
        Case(kind, (X, floats(2, 4, 9)), longer=())
        for kind in ("Add", "Sub", "Mul", "Div", "Max", "Min", "Sum", "Mean")
    ),
    *(Case(kind, (X, Constant(floats(4, 1)))) for kind in ("Add", "Sub", "Mul", "Div")),
    *(Case(kind, (X, Constant(np.float32(0.3)))) for kind in ("Add", "Sub", "Mul", "Div")),
    *(Case(kind, (Constant(np.float32(0.3)), X)) for kind in ("Add", "Sub", "Mul", "Div")),
    Case("Sub", (Constant(floats(4, 1)), X)),
    Case("Pow", (X, Constant(np.float32(2)))),
    Case("Pow", (floats(2, 4, 9, positive=True), Constant(np.float32(0.3)))),
    Case("Sum", (X, floats(2, 4, 9), Constant(floats(4, 1))), longer=()),
    Case("Cast", (X,), {"to": 1}),
]

STATISTICS = (*(Constant(floats(4)) for _ in range(3)), Constant(floats(4, positive=True)))
NORMALIZATIONS = [
    Case("BatchNormalization", (X, *STATISTICS), {"epsilon": 0.1}),
    Case("BatchNormalization", (IMAGE, *STATISTICS), opset=11),
    Case("BatchNormalization", (floats(1, 4, 2, 3, 4), *STATISTICS), opset=14),
    Case("BatchNormalization", (floats(3, 4), *STATISTICS), longer=(0,)),
    Case("LayerNormalization", (X, Constant(floats(9)), Constant(floats(9))), longer=(0,), fixed=(2,)),
    Case("LayerNormalization", (X, Constant(floats(4, 9))), {"axis": 1, "epsilon": 0.1}, longer=(0,), fixed=(1, 2)),
    Case("InstanceNormalization", (X, Constant(floats(4)), Constant(floats(4)))),
    Case("GroupNormalization", (X, Constant(floats(4)), Constant(floats(4))), {"num_groups": 2}, 21),
]

POOLS = [
    Case("MaxPool", (X,), {"kernel_shape": [3], "strides": [2], "pads": [1, 1]}),
    Case("MaxPool", (X,), {"kernel_shape": [3], "pads": [0, 2], "dilations": [2]}),
    Case("MaxPool", (X,), {"kernel_shape": [2], "strides": [2], "ceil_mode": 1}),
    Case("MaxPool", (IMAGE,), {"kernel_shape": [3, 2], "auto_pad": "SAME_UPPER", "strides": [2, 2]}),
    Case("MaxPool", (floats(1, 2, 5, 5, 5),), {"kernel_shape": [2, 2, 2]}),
    Case("AveragePool", (X,), {"kernel_shape": [3], "strides": [2], "pads": [1, 1]}),
    Case("AveragePool", (X,), {"kernel_shape": [3], "pads": [1, 1], "count_include_pad": 1}),
    Case("AveragePool", (X,), {"kernel_shape": [3], "pads": [0, 2]}),
    Case("AveragePool", (IMAGE,), {"kernel_shape": [3, 2], "pads": [0, 1, 2, 0], "count_include_pad": 1}),
    Case("GlobalAveragePool", (IMAGE,)),
    Case("GlobalMaxPool", (X,)),
    Case("ReduceMean", (X,), {"axes": [-1]}),
    Case("ReduceMean", (X,), {"axes": [1, 2], "keepdims": 0}, 13),
    Case("ReduceMean", (X, whole(1)), {"keepdims": 0}, 18),
    Case("ReduceMean", (X,)),
    Case("ReduceSum", (X, whole(2))),
    Case("ReduceSum", (X,), {"axes": [2]}, 11),
    Case("ReduceSum", (X,), {"noop_with_empty_axes": 1}),
    Case("ReduceMax", (X,), {"axes": [2], "keepdims": 0}),
    Case("ReduceMax", (X, whole(0)), opset=18),
    Case("ReduceMin", (X,), {"axes": [1]}),
    Case("ReduceL2", (X,), {"axes": [2]}),
    Case("ReduceSumSquare", (X,), {"axes": [2]}),
]

MOVES = [
    Case("Transpose", (X,), {"perm": [2, 0, 1]}),
    Case("Transpose", (X,)),
    Case("Reshape", (X, whole(0, 2, -1))),
    Case("Reshape", (X, whole(-1, 4)), opset=14),
    Case("Flatten", (X,), fixed=(1, 2), longer=(0,)),
    Case("Flatten", (IMAGE,), {"axis": 2}),
    Case("Flatten", (X,), {"axis": 0}),
    Case("Flatten", (X,), {"axis": -1}),
    Case("Flatten", (X,), {"axis": 3}),
    Case("Squeeze", (floats(2, 1, 9, 1), whole(1, -1)), longer=(2,)),
    Case("Squeeze", (floats(2, 1, 9),), {"axes": [1]}, 11),
    Case("Squeeze", (floats(2, 1, 9),)),
    Case("Unsqueeze", (X, whole(-1, 0))),
    Case("Unsqueeze", (X,), {"axes": [1]}, 11),
    Case("Concat", (X, floats(2, 3, 9)), {"axis": 1}, longer=()),
    Case("Concat", (X, X, Constant(floats(2, 4, 3))), {"axis": -1}, longer=(), fixed=()),
    Case("Expand", (floats(2, 1, 9), whole(1, 5, 1))),
    Case("Expand", (X, whole(3, 1, 1, 1))),
    Case("Tile", (X, whole(1, 2, 3))),
    Case("DepthToSpace", (IMAGE,), {"blocksize": 2, "mode": "CRD"}),
    Case("Slice", (X, whole(1), whole(-2), whole(-1))),
    Case("Slice", (X, whole(0, 1), whole(2, 2**63 - 1), whole(1, 2), whole(1, 2))),
    Case("Slice", (X, whole(-1), whole(-(2**63)), whole(2), whole(-1))),
    Case("Slice", (X, whole(0, 1), whole(1, 3)), longer=()),
    Case("Split", (X, whole(1, 3)), {"axis": 1}, outputs=2),
    Case("Split", (X,), {"axis": 1, "split": [3, 1]}, 11, 2),
    Case("Split", (X,), {"axis": -2}, outputs=2),
    Case("Split", (X,), {"axis": 2, "num_outputs": 2}, 18, 2, ()),
    Case("Pad", (X, whole(0, 0, 2, 0, 0, 1))),
    Case("Pad", (X, whole(1, 1, 0, 0, 1, 3), Constant(np.float32(2)))),
    Case("Pad", (X, whole(0, 0, 2, 0, 0, 1)), {"mode": "reflect"}, 11),
    Case("Pad", (IMAGE, whole(0, 0, 2, 0, 0, 0, 1, 3)), {"mode": "edge"}),
    Case("Pad", (X, whole(2, -1), None, whole(-1)), opset=18),
    Case("Gather", (X, Constant(np.int64(2))), {"axis": 1}),
    Case("Gather", (X, whole(2, 0)), {"axis": 2}),
    Case("Gather", (X, whole(1, 2, 3)), {"axis": -1}),
    Case("Gather", (X, whole(-1, 0)), {"axis": 1}),
]


def name_of(case: Case) -> str:
    return "-".join(filter(None, [case.kind, str(case.opset), *(f"{k}={v}" for k, v in case.attributes.items())]))


ALL = [*PRODUCTS, *ACTIVATIONS, *ARITHMETIC, *NORMALIZATIONS, *POOLS, *MOVES]


@pytest.mark.parametrize("case", ALL, ids=map(name_of, ALL))
def test_an_operator_is_that_of_onnxruntime(case: Case, tmp_path: Path) -> None:
    check(case, tmp_path / "network.onnx")


GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}


def recurrent(kind: str, direction: str, size: int = 3, bias: bool = True, states: bool = False, **more: Any) -> Case:
    directions, rows = 1 + (direction == "bidirectional"), GATES[kind] * size
    weights = [floats(directions, rows, 4), floats(directions, rows, size)]
    inputs: list[Any] = [floats(6, 2, 4), *map(Constant, weights)]
    inputs += [Constant(floats(directions, 2 * rows)) if bias else None, None]
    inputs += [floats(directions, 2, size) for _ in range(1 + (kind == "LSTM"))] if states else []
    attributes = {"hidden_size": size, "direction": direction, **more}
    return Case(kind, tuple(inputs), attributes, outputs=2 + (kind == "LSTM"), longer=(0,), fixed=(2,))


RECURRENT = [
    *(recurrent(kind, "forward") for kind in GATES),
    *(recurrent(kind, "bidirectional", states=True) for kind in GATES),
    recurrent("LSTM", "reverse", bias=False, states=True),
    recurrent("GRU", "forward", linear_before_reset=1, states=True),
    recurrent("GRU", "bidirectional", linear_before_reset=1),
    recurrent("GRU", "reverse", linear_before_reset=1),
    recurrent("GRU", "reverse", bias=False),
    recurrent("RNN", "forward", activations=["Relu"]),
    recurrent("RNN", "bidirectional", activations=["Tanh", "Tanh"], bias=False),
]


@pytest.mark.parametrize("case", RECURRENT, ids=map(name_of, RECURRENT))
def test_recurrent_operators(case: Case, tmp_path: Path) -> None:
    check(case, tmp_path / "network.onnx")


@pytest.mark.parametrize("opset", range(11, 22))
def test_all_operator_sets(opset: int, tmp_path: Path) -> None:
    network = check(Case("Relu", (X,), opset=opset), tmp_path / "network.onnx")
    assert torch.equal(network(torch.tensor([[[-1.0], [2.0], [0.0], [1.0]]])).flatten(), torch.tensor([0.0, 2, 0, 1]))
