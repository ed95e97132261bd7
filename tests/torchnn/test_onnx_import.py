"""Whole networks of ONNX files: what PyTorch and this project write, and graphs that others might."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import helper, numpy_helper
from torch import nn

import kaldi_quant as kq
from kaldi_quant.api.networks import TorchNetwork
from kaldi_quant.backends.onnx.session import open_session
from kaldi_quant.errors import FormatError, ModelError, UsageError
from kaldi_quant.frontends.enhancement.networks.crn import CRN
from kaldi_quant.frontends.enhancement.networks.stft_tcnn import STFTTCNN
from kaldi_quant.frontends.enhancement.networks.tcn import TCN
from kaldi_quant.frontends.keywords.networks.m5 import M5
from kaldi_quant.frontends.keywords.networks.nsnet2 import NSNet2
from kaldi_quant.frontends.onnx_files import in_float
from kaldi_quant.torchnn.onnx.ends import Ends
from kaldi_quant.torchnn.onnx.file import onnx_graph
from kaldi_quant.torchnn.onnx_import.network import read_onnx_network
from kaldi_quant.torchnn.onnx_import.operator import OPERATORS
from tests.torchnn.onnx_models import as_list, assert_like_onnxruntime, model_of
from tests.torchnn.onnx_runs import assert_same


def of_pytorch(path: Path, network: nn.Module, x: torch.Tensor, axes: Mapping[int, str], opset: int = 17) -> Path:
    """Writes a network as PyTorch does."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            network.eval(),
            (x,),
            path,
            dynamo=False,
            opset_version=opset,
            input_names=["input"],
            dynamic_axes={"input": dict(axes)},
        )
    return path


def random(network: nn.Module) -> nn.Module:
    """The network with normalizations that are not trivial."""
    for module in network.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            nn.init.uniform_(module.running_var, 0.5, 2.0)  # type: ignore[arg-type]
            nn.init.normal_(module.running_mean)  # type: ignore[arg-type]
            nn.init.uniform_(module.weight, 0.5, 2.0)
    return network.eval()


NETWORKS: dict[str, tuple[Any, tuple[int, ...], int, str]] = {
    "m5": (lambda: M5(n_channel=8), (2, 1, 8000), 0, "conv2.weight"),
    "nsnet2": (lambda: NSNet2(9, 6, 5, 7, 0.1), (2, 5, 9), 1, "gru1.weight_hh_l0"),
    "stft-tcnn": (lambda: STFTTCNN(17, 12, 1, 2), (2, 17, 30), 2, "layers.0.depthwise.weight"),
    "crn": (lambda: CRN(17, (2, 3), 1, (2, 1)), (2, 6, 17), 1, "encoder.1.weight"),
    "tcn": (lambda: TCN(7, (4, 6)), (2, 12, 7), 1, "blocks.1.around.weight"),
}


@pytest.fixture(scope="module", params=list(NETWORKS))
def case(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path, torch.Tensor]:
    torch.manual_seed(0)
    make, shape, axis, _ = NETWORKS[request.param]
    x = torch.rand(shape)
    path = tmp_path_factory.mktemp(request.param) / "network.onnx"
    return request.param, of_pytorch(path, random(make()), x, {0: "batch", axis: "length"}), x


def longer(x: torch.Tensor, axis: int) -> np.ndarray:
    return np.concatenate([x.numpy(), x.numpy().take(range(2), axis)], axis)


def test_a_network_as_pytorch_writes_it(case: tuple[str, Path, torch.Tensor]) -> None:
    name, path, x = case
    network = assert_like_onnxruntime(path, [x.numpy()], [longer(x, NETWORKS[name][2])], [longer(x, 0)])
    assert NETWORKS[name][3] in dict(network.named_parameters())


@pytest.mark.parametrize("case", ["nsnet2", "stft-tcnn", "crn"], indirect=True)
def test_it_is_quantized_and_written_like_any_other(case: tuple[str, Path, torch.Tensor], tmp_path: Path) -> None:
    name, path, x = case
    network = TorchNetwork(kq.load(path), output=0 if name == "nsnet2" else None)
    quantized = kq.quantize(network, "w8a8", calibration=[x])
    assert not quantized.float_layers
    kq.save(quantized, tmp_path / "network.safetensors")
    loaded = kq.load(tmp_path / "network.safetensors")
    file = kq.export(loaded, tmp_path / "integers.onnx")
    with torch.no_grad():
        expected = as_list(loaded.network.model()(x))[0]
    # Functions in float may round to the next step.
    np.testing.assert_allclose(onnx_outputs(file, x)[0], expected, atol=2e-2 * float(expected.abs().max()))
    with pytest.raises(
        FormatError, match=r"integers.onnx: the network is quantized already \(the node .*uantizeLinear"
    ):
        kq.load(file)
    whole = kq.export(in_float(quantized), tmp_path / "float.onnx")
    again = assert_like_onnxruntime(whole, [x.numpy()])
    np.testing.assert_allclose(as_list(again(x))[0].detach(), as_list(network.module(x))[0].detach(), atol=1e-5)


def onnx_outputs(path: Path, x: torch.Tensor) -> list[np.ndarray]:
    session = open_session(path.read_bytes())
    return session.run(None, {session.get_inputs()[0].name: x.numpy()})


def graph_of(
    path: Path, lines: Sequence[tuple[Any, ...]], x: np.ndarray, constants: Mapping[str, Any], **more: Any
) -> Path:
    """Writes a graph of (operator, inputs, outputs, attributes), whose input is x."""
    nodes = [
        helper.make_node(
            kind, inputs.split(), outputs.split(), f"/{outputs.split()[0]}/{kind}", **(rest[0] if rest else {})
        )
        for kind, inputs, outputs, *rest in lines
    ]
    onnx.save(model_of(nodes, {"x": x}, constants, **{"outputs": ("y",), **more}), path)
    return path


def floats(*shape: int) -> np.ndarray:
    return np.random.default_rng(sum(shape)).standard_normal(shape).astype(np.float32)


def test_biases_that_are_added_behind_products_are_those_of_layers(tmp_path: Path) -> None:
    constants = {"w": floats(4, 5), "b": floats(5), "k": floats(6, 7, 3), "c": floats(1, 6, 1), "s": floats(6, 9)}
    lines = [
        ("MatMul", "x w", "first"),
        ("Constant", "", "seven", {"value": numpy_helper.from_array(np.zeros((1, 7, 1), np.float32))}),
        ("Add", "b first", "second"),
        ("Transpose", "second", "third", {"perm": [0, 2, 1]}),
        ("Conv", "wide k", "fifth"),
        ("Add", "fifth c", "sixth"),
        ("Add", "sixth s", "y"),
    ]
    lines.insert(4, ("Pad", "third pads", "wide"))
    x = floats(2, 11, 4)
    path = graph_of(tmp_path / "n.onnx", lines, x, {**constants, "pads": np.array([0, 2, 0, 0, 0, 0])}, fixed=(2,))
    network = assert_like_onnxruntime(path, [x])
    assert isinstance(network.first, nn.Linear) and torch.equal(network.first.bias, torch.from_numpy(constants["b"]))
    assert isinstance(network.fifth, nn.Conv1d) and network.fifth.bias is not None
    # What has a value for each place is no bias.
    assert torch.equal(network.s, torch.from_numpy(constants["s"]))


def test_a_product_that_is_read_twice_keeps_its_addition(tmp_path: Path) -> None:
    lines = [("MatMul", "x w", "p"), ("Add", "p b", "q"), ("Mul", "p q", "y")]
    path = graph_of(tmp_path / "n.onnx", lines, floats(3, 4), {"w": floats(4, 5), "b": floats(5)})
    assert assert_like_onnxruntime(path, [floats(3, 4)]).p.bias is None


def test_shapes_that_are_computed_from_sizes(tmp_path: Path) -> None:
    """As PyTorch writes ``x.view(batch, -1, 2 * length)``, ``x.expand`` and zeros of a size."""
    lines = [
        ("Shape", "x", "shape"),
        ("Gather", "shape zero", "batch"),
        ("Gather", "shape two", "length"),
        ("Mul", "length pair", "wider"),
        ("Unsqueeze", "batch front", "b"),
        ("Unsqueeze", "wider front", "w"),
        ("Concat", "b rest w", "wanted", {"axis": 0}),
        ("Reshape", "x wanted", "flat"),
        ("Slice", "shape first last", "head"),
        ("Concat", "head w", "large", {"axis": 0}),
        ("ConstantOfShape", "large", "filled", {"value": numpy_helper.from_array(np.array([3], np.float32))}),
        ("Cast", "w", "cast", {"to": onnx.TensorProto.INT64}),
        ("Concat", "ones cast", "spread", {"axis": 0}),
        ("Equal", "spread minus", "unknown"),
        ("Where", "unknown ones.3 spread", "chosen"),
        ("Expand", "row chosen", "rows"),
        ("Slice", "filled first last front", "less"),
        ("Slice", "less zeros second front.1", "half"),
        ("Add", "half rows", "sum"),
        ("Add", "flat sum", "y"),
    ]
    constants = {
        **{name: np.array(value) for name, value in (("zero", 0), ("two", 2), ("pair", 2))},
        **{name: np.array(value) for name, value in (("front", [0]), ("front.1", [1]), ("first", [0]), ("last", [2]))},
        "rest": np.array([-1]),
        "ones": np.array([1, 1]),
        "minus": np.array([-1]),
        "ones.3": np.array([1, 1, 1]),
        "zeros": np.array([0]),
        "second": np.array([2]),
        "row": floats(1, 1, 1),
    }
    x = floats(2, 4, 6)
    path = graph_of(tmp_path / "n.onnx", lines, x, constants)
    assert_like_onnxruntime(path, [x], [floats(2, 4, 9)])


def test_several_inputs_and_outputs_and_a_layer_that_is_used_twice(tmp_path: Path) -> None:
    lines = [
        ("Conv", "x k", "one"),
        ("Conv", "class k", "other"),
        ("Max", "one other", "y"),
        ("Sigmoid", "other", "gains"),
    ]
    nodes = [helper.make_node(kind, inputs.split(), outputs.split()) for kind, inputs, outputs in lines]
    inputs = {"x": floats(1, 3, 8), "class": floats(1, 3, 8)}
    onnx.save(model_of(nodes, inputs, {"k": floats(5, 3, 2)}, ("y", "gains")), tmp_path / "n.onnx")
    network = assert_like_onnxruntime(tmp_path / "n.onnx", list(inputs.values()))
    assert [name for name, _ in network.named_parameters()] == ["conv.weight"]
    assert list(inspect.signature(network.forward).parameters) == ["x", "_class"]


@pytest.mark.parametrize("condition", [True, False])
def test_branches_of_known_conditions(condition: bool, tmp_path: Path) -> None:
    """Names within the graph that is taken may be those of the other one."""
    value = helper.make_tensor_value_info("inner", onnx.TensorProto.FLOAT, None)
    branches = [
        helper.make_graph(
            [helper.make_node(kind, ["h"], ["mid"]), helper.make_node("Neg", ["mid"], ["inner"])], kind, [], [value]
        )
        for kind in ("Tanh", "Abs")
    ]
    nodes = [
        helper.make_node("Relu", ["x"], ["h"]),
        helper.make_node("Shape", ["x"], ["shape"]),
        helper.make_node("Gather", ["shape", "one"], ["size"]),
        helper.make_node("Equal", ["size", "wanted"], ["same"]),
        helper.make_node("If", ["same"], ["z"], then_branch=branches[0], else_branch=branches[1]),
        helper.make_node("Softmax", ["z"], ["y"], axis=-1),
    ]
    constants = {"one": np.array(1), "wanted": np.array(3 if condition else 2)}
    onnx.save(model_of(nodes, {"x": floats(2, 3, 4)}, constants, ("y",)), tmp_path / "n.onnx")
    assert_like_onnxruntime(tmp_path / "n.onnx", [floats(2, 3, 4)])


def test_tensors_in_another_file(tmp_path: Path) -> None:
    nodes = [helper.make_node("MatMul", ["x", "w"], ["y"])]
    model = model_of(nodes, {"x": floats(3, 40)}, {"w": floats(40, 50)}, ("y",))
    onnx.save(model, tmp_path / "n.onnx", save_as_external_data=True, location="n.data", size_threshold=100)
    assert_like_onnxruntime_from(tmp_path / "n.onnx", floats(3, 40), floats(3, 40) @ floats(40, 50))
    (tmp_path / "n.data").write_bytes((tmp_path / "n.data").read_bytes()[:-5])
    with pytest.raises(FormatError, match=r"n.onnx: .*'w'.* cannot be read|n.onnx: its tensors in other files"):
        read_onnx_network(tmp_path / "n.onnx")
    (tmp_path / "n.data").unlink()
    with pytest.raises(FormatError, match=r"n.onnx: its tensors in other files cannot be read: .*n.data"):
        read_onnx_network(tmp_path / "n.onnx")


def assert_like_onnxruntime_from(path: Path, x: np.ndarray, expected: np.ndarray) -> None:
    with torch.no_grad():
        np.testing.assert_allclose(read_onnx_network(path)(torch.from_numpy(x)), expected, rtol=1e-5, atol=1e-5)


def test_names_and_axes_of_exported_files(tmp_path: Path) -> None:
    torch.manual_seed(0)
    path = of_pytorch(tmp_path / "n.onnx", STFTTCNN(17, 12, 1, 2), torch.rand(1, 17, 30), {2: "seq_len"})
    quantized = kq.quantize(kq.load(path), calibration=[torch.rand(1, 17, 30)])
    for name, sizes in (("dynamic", ("batch", 17, "seq_len")), ("static", (1, 17, 40))):
        file = kq.export(quantized, tmp_path / f"{name}.onnx", inputs={"input": sizes}, outputs=["output"])
        session = open_session(file.read_bytes())
        assert [(each.name, each.shape) for each in session.get_inputs()] == [("input", list(sizes))]
        assert [(each.name, each.shape) for each in session.get_outputs()] == [("output", list(sizes))]
    ends = Ends({"output": (1, 17, "seq_len")}, ["relu"])
    graph = onnx_graph(quantized.network, torch.rand(1, 17, 30), ends=ends)
    assert graph.outputs == {"relu": (1, 17, "seq_len")}
    assert assert_same(quantized.network, graph, torch.rand(1, 17, 45)) > 0
    with pytest.raises(ModelError, match="'bins', the axis 1 of 'input', cannot have any length"):
        kq.export(quantized, tmp_path / "n.onnx", inputs={"input": (1, "bins", 40)})
    with pytest.raises(UsageError, match=r"inputs have \[3\] axes, and names and sizes are given for \[2\]"):
        kq.export(quantized, tmp_path / "n.onnx", inputs={"input": (1, 40)})
    with pytest.raises(UsageError, match="1 names of inputs and 1 of outputs, each another; found a, a"):
        kq.export(quantized, tmp_path / "n.onnx", inputs={"a": (1, 17, 40)}, outputs=["a"])
    with pytest.raises(UsageError, match="names of outputs go with names of inputs"):
        kq.export(quantized, tmp_path / "n.onnx", outputs=["a"])


def refused(nodes: Sequence[onnx.NodeProto], constants: Mapping[str, Any] = {}, **more: Any) -> bytes:
    """A file with input x, (2, 3, 4), and output y."""
    return model_of(nodes, {"x": floats(2, 3, 4)}, constants, ("y",), **more).SerializeToString()


def node(kind: str, inputs: str, outputs: str = "y", **attributes: Any) -> onnx.NodeProto:
    return helper.make_node(kind, inputs.split(), outputs.split(), "here", **attributes)


NOT_UNDERSTOOD = r"\(node 'here'\) is not understood"
GRU = {"w": floats(1, 9, 4), "r": floats(1, 9, 3), "b": floats(1, 18), "n": np.array([2, 2, 2], np.int32)}
REFUSALS = {
    "NonZero": (
        [node("Relu", "x", "h"), node("NonZero", "h")],
        {},
        r"the operator NonZero \(node 'here'\) is not understood",
    ),
    "domain": (
        [node("Relu", "x", "y", domain="com.x")],
        {},
        r"the operator com.x.Relu \(node 'here'\) is not understood",
    ),
    "weight": (
        [node("Relu", "x", "w"), node("Conv", "x w")],
        {},
        r"Conv \(node 'here'\) has a weight that the network",
    ),
    "lengths": ([node("GRU", "x w r b n", "y", hidden_size=3)], GRU, r"GRU \(node 'here'\) is told the lengths"),
    "activations": (
        [node("GRU", "x w r b", "y", hidden_size=3, activations=["Tanh", "Tanh"])],
        GRU,
        r"GRU \(node 'here'\) has the activations \['Tanh', 'Tanh'\]",
    ),
    "clip": ([node("GRU", "x w r b", "y", hidden_size=3, clip=1.0)], GRU, "has clip = 1.0, which is not understood"),
    "matrix": ([node("Gather", "x i")], {"i": np.array([[0, 1]])}, "chooses places by a matrix"),
    "backwards": (
        [node("Slice", "x a b c d")],
        {"a": np.array([2]), "b": np.array([0]), "c": np.array([1]), "d": np.array([-1])},
        "goes backwards",
    ),
    "reflect": (
        [node("Pad", "x p", mode="reflect")],
        {"p": np.array([0, 1, 0, 0, 0, 0])},
        "for the batch or the channels",
    ),
    "mask": ([node("Dropout", "x", "h y")], {}, "has an output 1 that is used"),
    "bomb": ([node("Add", "r c", "h"), node("Mul", "x h")], {"r": floats(1, 9000), "c": floats(9000, 1)}, "too large"),
    "wrong": ([node("Conv", "x k", kernel_shape=[3])], {"k": floats(2, 3, 2)}, r"windows of \[2\] places|contradict"),
}


@pytest.mark.parametrize("name", REFUSALS)
def test_what_is_not_understood_is_refused_in_a_sentence(name: str, tmp_path: Path) -> None:
    nodes, constants, message = REFUSALS[name]
    model = onnx.load_from_string(refused(nodes, constants))
    model.opset_import.append(helper.make_opsetid("com.x", 1))
    onnx.save(model, tmp_path / "n.onnx")
    with pytest.raises(FormatError, match=f"n.onnx: .*{message}") as found:
        read_onnx_network(tmp_path / "n.onnx")
    assert "\n" not in str(found.value)


def test_other_operator_sets_and_integers_are_refused(tmp_path: Path) -> None:
    for opset, version in ((10, 5), (22, 10)):
        model = model_of([node("Relu", "x")], {"x": floats(2, 3)}, {}, ("y",))
        model.opset_import[0].version, model.ir_version = opset, version
        onnx.save(model, tmp_path / "n.onnx")
        with pytest.raises(FormatError, match=f"n.onnx: it is of the operator set {opset}: expected one from 11 to 21"):
            read_onnx_network(tmp_path / "n.onnx")
    (tmp_path / "n.onnx").write_bytes(
        refused([node("Cast", "w", "h", to=1), node("Mul", "x h")], {"w": np.ones(4, np.int8)})
    )
    with pytest.raises(FormatError, match=r"n.onnx: the network is quantized already \('w' holds INT8\)"):
        kq.load(tmp_path / "n.onnx")


def test_names_that_python_or_modules_have_already(tmp_path: Path) -> None:
    names = ["self", "torch", "getattr", "a.b", "a_b", "class", "1x", "input"]
    weights = {f"{name}.weight": floats(4, 4) for name in ("graph", "_modules", "meta", "training", "forward")}
    nodes, last = [helper.make_node("Sum", names, ["sum"], "code")], "sum"
    for name in weights:
        nodes.append(helper.make_node("MatMul", [last, name], [f"{name}.y"]))
        last = f"{name}.y"
    constants = {"code": floats(4), "a.b.c.d": floats(4), "a.b.c": floats(3, 1)}
    for place, name in enumerate(constants):
        nodes.append(helper.make_node("Add", [last, name], [f"sum.{place}"]))
        last = f"sum.{place}"
    onnx.save(model_of(nodes, {n: floats(3, 4) for n in names}, {**weights, **constants}, (last,)), tmp_path / "n.onnx")
    network = assert_like_onnxruntime(tmp_path / "n.onnx", [floats(3, 4)] * len(names))
    assert "graph_.weight" in dict(network.named_parameters()) and "a.b.c.d" in dict(network.named_parameters())


def test_damaged_files_are_refused_in_a_sentence(tmp_path: Path) -> None:
    random, path = np.random.default_rng(0), tmp_path / "n.onnx"
    content = np.frombuffer(refused([node("GRU", "x w r b", "h", hidden_size=3), node("Relu", "h")], GRU), np.uint8)
    damaged = 0
    for _ in range(80):
        bad = content.copy()
        bad[random.integers(len(bad), size=3)] = random.integers(256, size=3)
        path.write_bytes(bad.tobytes())
        try:
            read_onnx_network(path)
        except FormatError as error:
            damaged += 1
            assert str(error).startswith(f"{path}: ") and "\n" not in str(error)
    assert damaged > 20


def test_broken_files(tmp_path: Path) -> None:
    path = tmp_path / "n.onnx"
    content = refused([node("Conv", "x w")], {"w": floats(5, 3, 2)})
    for length in range(0, len(content), 3):
        path.write_bytes(content[:length])
        with pytest.raises(FormatError, match=r"n.onnx: \w+") as found:
            read_onnx_network(path)
        assert "\n" not in str(found.value)
    with pytest.raises(FormatError, match=r"absent.onnx: it cannot be read as an ONNX model: .*No such file"):
        kq.load(tmp_path / "absent.onnx")


def test_attributes_that_nobody_asks_for_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(OPERATORS._entries, "LeakyRelu", lambda operator: operator.x)
    (tmp_path / "n.onnx").write_bytes(refused([node("LeakyRelu", "x", alpha=0.5)]))
    with pytest.raises(
        FormatError, match=r"LeakyRelu \(node 'here'\) has the attribute alpha, which is not understood"
    ):
        read_onnx_network(tmp_path / "n.onnx")
