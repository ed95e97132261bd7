"""Recurrent networks in onnxruntime beside the integer reference: the same to the last bit."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import helper, numpy_helper
from torch import Tensor, nn

from kaldi_quant.backends.onnx.integer_weights import check_integer, graphs_of
from kaldi_quant.backends.onnx.session import optimized_graph
from kaldi_quant.errors import DataError, ModelError
from kaldi_quant.quant.config import PtqConfig
from kaldi_quant.quant.integer_linear import DynamicLinear, IntegerLinear
from kaldi_quant.quant.layer_config import LayerConfig
from kaldi_quant.quant.network import QuantizedNetwork
from kaldi_quant.quant.sensitivity import with_layers
from kaldi_quant.quant.taps import SeenTap
from kaldi_quant.torchnn.onnx import cells
from kaldi_quant.torchnn.onnx.builder import TorchOnnx
from kaldi_quant.torchnn.onnx.file import onnx_graph, write_onnx
from kaldi_quant.torchnn.recurrent_cells import CELLS
from tests.torchnn import onnx_cases
from tests.torchnn.onnx_runs import assert_integer_products, assert_same, run, with_integers
from tests.torchnn.random_networks import random_networks
from tests.torchnn.recurrent_networks import CONFIGS, KINDS, InChunks, WithState, enhancer, inputs, quantized

torch.set_num_threads(1)


def assert_equal(found: QuantizedNetwork, graph: TorchOnnx, *given: Tensor) -> None:
    """Compares all outputs to the last bit."""
    with torch.no_grad():
        expected = found.model()(*given)
    results = run(graph.model, *given)
    for name, one in zip(graph.outputs, expected if isinstance(expected, tuple) else [expected], strict=True):
        np.testing.assert_array_equal(results[name], one.numpy(), err_msg=name)


def bits(weight: int, act: int, **options: object) -> PtqConfig:
    return PtqConfig(LayerConfig(bits=weight, act_bits=act, **options), bias_correction=False)


EXACT = {
    "2 and 2 bits": bits(2, 2),
    "3 and 5 bits": bits(3, 5),
    "8 and 8 bits": bits(8, 8),
    "one weight scale, zero points": onnx_cases.CONFIGS["matrix"],
    "states of 13 bits": onnx_cases.CONFIGS["wide"],
    "dynamic, 8 and 8 bits": bits(8, 8, ranges="dynamic"),
    "dynamic, 3 and 4 bits, symmetric": bits(3, 4, ranges="dynamic", symmetric=True),
    "dynamic, 5 and 6 bits, zero points": bits(5, 6, ranges="dynamic", per_channel=False, symmetric=False),
}


def rectified(given: bool, **options: object) -> tuple[WithState, list[tuple[Tensor, ...]]]:
    """Cells of rectifiers, and calls of other lengths and batches, the first ones as in quantization."""
    torch.manual_seed(4)
    rnn = nn.RNN(3, 5, **{"nonlinearity": "relu", "num_layers": 2, "batch_first": True, **options})
    calls = []
    for batch, length in ((2, 6), (2, 6), (2, 6), (3, 70), (1, 1)):
        # Some initial states lie beyond the grid's end, and few upon a step of it.
        state = 2 * torch.rand(2 * (1 + rnn.bidirectional), batch, 5)
        calls.append((torch.randn(batch, length, 3), *([state] if given else [])))
    return WithState(rnn).eval(), calls


@pytest.mark.parametrize(("name", "given"), [*((name, True) for name in EXACT), ("8 and 8 bits", False)])
def test_without_sigmoids_whole_sequences_are_the_same_to_the_last_bit(name: str, given: bool) -> None:
    network, calls = rectified(given, bidirectional=given)
    found = quantized(network, EXACT[name], calls[:3], output=0)
    assert not found.float_layers
    graph = onnx_graph(found, calls[0])
    assert_integer_products(graph)
    for call in calls[2:]:
        assert_equal(found, graph, *call)
        if "dynamic" not in name:
            assert assert_same(found, graph, *call) > 0
    assert_equal(found, onnx_graph(found, calls[0], dynamic_axes=False), *calls[2])
    assert len(np.unique(run(graph.model, *calls[3])["output.0"])) > 3


@pytest.mark.parametrize("name", ["8 and 8 bits", "dynamic, 8 and 8 bits"])
def test_one_time_alone_has_no_loop(name: str) -> None:
    network, calls = rectified(given=True)
    found = quantized(network, EXACT[name], calls[:3], output=0)
    graph = onnx_graph(found, calls[4], dynamic_axes=False)
    assert_integer_products(graph)
    assert "Scan" not in {node.op_type for node in graph.model.graph.node}
    assert_equal(found, graph, *calls[4])


def test_weights_for_processors_that_would_saturate() -> None:
    network, calls = rectified(given=True)
    found = quantized(network, EXACT["8 and 8 bits"], calls[:3], output=0)
    graph = onnx_graph(found, calls[0], form="exact")
    kinds = {each.data_type for each in graph.model.graph.initializer if len(each.dims) > 1}
    assert onnx.TensorProto.UINT8 in kinds and onnx.TensorProto.INT8 not in kinds
    assert_integer_products(graph)
    assert_equal(found, graph, *calls[3])


SHAPES = {
    "one direction": {},
    "both": {"bidirectional": True},
    "two layers, time first": {"num_layers": 2, "batch_first": False, "dropout": 0.5},
    "two layers of both, no bias": {"num_layers": 2, "bidirectional": True, "bias": False},
}


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("kind", KINDS)
def test_each_time_from_equal_states(kind: str, shape: str) -> None:
    torch.manual_seed(2)
    rnn = KINDS[kind](3, 5, **{"batch_first": True, **SHAPES[shape]})
    given = shape != "both"

    def call(length: int, batch: int) -> tuple[Tensor, ...]:
        x = torch.randn((batch, length, 3) if rnn.batch_first else (length, batch, 3))
        state = (rnn.num_layers * (1 + rnn.bidirectional), batch, 5)
        return (x, *(torch.randn(state) for _ in range((1 + (kind == "lstm")) * given)))

    config = CONFIGS["w4a4 static" if given else "w8a8 static"]
    found = quantized(WithState(rnn).eval(), config, [call(6, 2) for _ in range(3)], output=0)
    # The batch is as long as there are directions or layers.
    graph = onnx_graph(found, call(6, 2))
    onnx.checker.check_model(graph.model, full_check=True)
    assert_integer_products(graph)
    for length, batch in ((6, 2), (1, 1), (17, 3)):
        assert assert_same(found, graph, *call(length, batch)) > 0


@pytest.mark.parametrize("kind", KINDS)
def test_single_sequences(kind: str) -> None:
    torch.manual_seed(2)
    network = WithState(KINDS[kind](3, 4, bidirectional=True)).eval()
    found = quantized(network, CONFIGS["w8a8 static"], [torch.randn(6, 3) for _ in range(3)], output=0)
    graph = onnx_graph(found, torch.randn(6, 3))
    assert [len(shape) for shape in graph.outputs.values()] == [2] * (2 + (kind == "lstm"))
    for length in (6, 1, 30):
        assert assert_same(found, graph, torch.randn(length, 3)) > 0


@pytest.mark.parametrize("kind", KINDS)
def test_long_sequences_have_the_same_states(kind: str) -> None:
    found = quantized(enhancer(kind, bidirectional=True), CONFIGS["w8a8 static"], inputs())
    graph, (x,) = onnx_graph(found, inputs()[0]), inputs(1, length=150, batch=4)
    model, states = found.model(), {}
    names = [name for name in found.activations if name.endswith(".h")]
    for name in names:
        model.taps[name] = SeenTap(model.taps[name], lambda value, name=name: states.update({name: value}))
    with torch.no_grad():
        model(x)
    integers = run(with_integers(graph), x)
    for name in names:
        grid = found.activations[name]
        expected = (states[name] / grid.scale).round().long() + grid.zero_point
        np.testing.assert_array_equal(integers[graph.integers[name][0]], expected.numpy())


@pytest.mark.parametrize("kind", KINDS)
def test_dynamic_ranges_of_each_time(kind: str) -> None:
    found = quantized(enhancer(kind, bidirectional=True), CONFIGS["w4a8 dynamic"], inputs())
    assert {type(layer) for layer in found.layers.values()} == {DynamicLinear}
    graph = onnx_graph(found, inputs()[0])
    assert_integer_products(graph)
    for x in (inputs(4)[3], *inputs(1, length=1, batch=3)):
        with torch.no_grad():
            expected = found.model()(x).numpy()
        np.testing.assert_allclose(run(graph.model, x)["output"], expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("floats", ["hh", "ih", "last"])
def test_layers_that_stay_in_float(floats: str) -> None:
    class Network(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.rnn, self.last = nn.GRU(4, 5, batch_first=True), nn.Linear(5, 2)

        def forward(self, x: Tensor) -> Tensor:
            return self.last(self.rnn(x)[0])

    torch.manual_seed(0)
    config = PtqConfig(LayerConfig(), layers={f"*{floats}": {"float_reason": "asked for"}}, bias_correction=False)
    found = quantized(Network().eval(), config, [torch.randn(2, 6, 4) for _ in range(3)])
    (name,) = found.float_layers
    assert name.endswith(floats)
    graph = onnx_graph(found, torch.randn(2, 6, 4))
    products = [node.op_type for each in graphs_of(graph.model) for node in each.node if "MatMul" in node.op_type]
    assert products.count("MatMul") == 1
    assert assert_same(found, graph, torch.randn(3, 20, 4)) > 0


def test_static_ranges_around_dynamic_ones() -> None:
    torch.manual_seed(0)
    network = nn.RNN(4, 5, 2, nonlinearity="relu", batch_first=True)
    layers = {"l0.hh": {"ranges": "dynamic"}, "l1.ih": {"ranges": "dynamic"}}
    found = quantized(
        WithState(network).eval(),
        PtqConfig(LayerConfig(), layers={f"rnn.{name}": each for name, each in layers.items()}, bias_correction=False),
        [torch.randn(2, 6, 4) for _ in range(3)],
        output=0,
    )
    assert [type(layer) for layer in found.layers.values()] == [
        IntegerLinear,
        DynamicLinear,
        DynamicLinear,
        IntegerLinear,
    ]
    graph = onnx_graph(found, torch.randn(2, 6, 4))
    assert_integer_products(graph)
    assert_equal(found, graph, torch.randn(3, 25, 4))


class Twice(nn.Module):
    """One module that is used twice, then what two recurrent modules remember."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn, self.encoder = nn.GRU(4, 4, batch_first=True), nn.LSTM(4, 3, 2)
        self.decoder, self.last = nn.LSTM(4, 3, 2), nn.Linear(3, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = self.rnn(self.rnn(x)[0].tanh())[0].transpose(0, 1)
        _, state = self.encoder(x)
        states, (_, memory) = self.decoder(x.flip(0), state)
        return self.last(states + memory[0])


def test_modules_that_are_used_twice_and_hand_on_their_states() -> None:
    torch.manual_seed(0)
    found = quantized(Twice().eval(), CONFIGS["w8a8 static"], [torch.randn(2, 6, 4) for _ in range(3)])
    graph = onnx_graph(found, torch.randn(2, 6, 4))
    assert graph.integers.keys() >= {"rnn.l0.h", "rnn.l0.h:2", "decoder.l1.h"}
    assert_integer_products(graph)
    for batch, length in ((2, 6), (3, 19), (1, 1)):
        assert assert_same(found, graph, torch.randn(batch, length, 4)) > 0


def test_a_file_of_any_length_and_one_of_fixed_length(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = WithState(nn.LSTM(3, 5, batch_first=True, bidirectional=True)).eval()
    states = (torch.randn(2, 2, 5), torch.randn(2, 2, 5))
    found = quantized(network, CONFIGS["w8a8 static"], [(torch.randn(2, 6, 3), *states) for _ in range(3)], output=0)
    call = (torch.randn(2, 6, 3), *states)
    file = write_onnx(found, tmp_path / "network.onnx", call)
    assert file.inputs["x"] == ("batch", "x.1", 3) and file.inputs["input1"] == (2, "input1.1", 5)
    assert file.outputs["output.0"] == ("batch", "output.0.1", 10) and file.outputs["output.2"][::2] == (2, 5)
    fixed = write_onnx(found, tmp_path / "fixed.onnx", call, dynamic_axes=False)
    assert fixed.inputs == {"x": (2, 6, 3), "input1": (2, 2, 5), "input2": (2, 2, 5)}
    results = [run(onnx.load(each.path), *call) for each in (file, fixed)]
    for name, value in results[0].items():
        np.testing.assert_array_equal(results[1][name], value)
    with pytest.raises(DataError, match="the network goes another way"):
        onnx_graph(found, (call[0], torch.randn(3, 2, 5), torch.randn(3, 2, 5)))


def test_time_first_and_an_input_of_the_batch_alone() -> None:
    class Network(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.rnn, self.last = nn.GRU(3, 4), nn.Linear(6, 2)

        def forward(self, x: Tensor, speaker: Tensor) -> Tensor:
            states = self.rnn(x)[0]
            return self.last(torch.cat([states, speaker.expand(x.shape[0], -1, -1)], -1))

    torch.manual_seed(0)
    found = quantized(Network().eval(), CONFIGS["w8a8 static"], [(torch.randn(6, 2, 3), torch.randn(2, 2))] * 2)
    graph = onnx_graph(found, (torch.randn(6, 2, 3), torch.randn(2, 2)))
    # Time and batch are told apart.
    assert graph.inputs == {"x": ("batch", "x.1", 3), "speaker": ("speaker.0", 2)}
    for length, batch in ((6, 2), (15, 4), (2, 7)):
        assert assert_same(found, graph, torch.randn(length, batch, 3), torch.randn(batch, 2)) > 0


def times(x: Tensor, way: str) -> list[Tensor]:
    """x, (N, T, C), time by time, as networks are written."""
    match way:
        case "six times":
            return [x[:, time] for time in range(6)]
        case "unbind":
            return x.unbind(1)
        case _:
            return [x[:, time] for time in range(x.shape[1])]


class Loop(nn.Module):
    """Makes a loop over times by itself."""

    def __init__(self, make: type[nn.RNNCellBase], way: str) -> None:
        super().__init__()
        self.first, self.cell = nn.Linear(3, 3), make(3, 4)
        self.way, self.is_lstm = way, make is nn.LSTMCell

    def forward(self, x: Tensor) -> Tensor:
        states, state = [], None
        x = self.first(x).relu()
        if self.way != "six times":
            size = len(x) if self.way == "unbind" else x.size(0)
            state = x.new_zeros(x.shape[0], 4) if self.way == "sizes" else torch.zeros(size, 4)
            state = (state, state) if self.is_lstm else state
        for now in times(x, self.way):
            state = self.cell(now, state)
            states.append(state[0] if self.is_lstm else state)
        return torch.stack(states, 1)


SHAPE_OF_FILE = {
    "six times": ("batch", "x.1", 3),
    "unbind": (2, 6, 3),
    "zeros": (2, 6, 3),
    "sizes": ("batch", 6, 3),
}


@pytest.mark.parametrize(
    ("make", "way"), [*((nn.LSTMCell, way) for way in SHAPE_OF_FILE), (nn.GRUCell, "sizes"), (nn.RNNCell, "unbind")]
)
def test_cells_in_a_loop_of_the_network_are_unrolled(make: type[nn.RNNCellBase], way: str) -> None:
    torch.manual_seed(0)
    network, shape = Loop(make, way).eval(), SHAPE_OF_FILE[way]
    found = quantized(network, CONFIGS["w4a4 static"], [torch.randn(2, 6, 3) for _ in range(3)])
    graph = onnx_graph(found, torch.randn(2, 6, 3))
    assert graph.inputs["x"] == shape and {"cell.ih", "cell.hh"} <= found.layers.keys()
    assert_integer_products(graph)
    for batch in (2, 1, 5) if shape[0] == "batch" else (2,):
        assert assert_same(found, graph, torch.randn(batch, 6, 3)) > 0
    fixed = onnx_graph(found, torch.randn(2, 6, 3), dynamic_axes=False)
    assert assert_same(found, fixed, torch.randn(2, 6, 3)) > 0


@pytest.mark.parametrize("begins_without", [False, True])
def test_modules_in_a_loop_of_the_network_are_unrolled(begins_without: bool) -> None:
    torch.manual_seed(0)
    found = quantized(InChunks(begins_without).eval(), CONFIGS["w8a8 static"], [torch.randn(2, 12, 3)])
    graph = onnx_graph(found, torch.randn(2, 12, 3))
    assert_integer_products(graph)
    assert assert_same(found, graph, torch.randn(2, 12, 3)) > 0


def test_what_decides_by_values_has_no_form_still() -> None:
    class Network(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.cell = nn.GRUCell(3, 4)

        def forward(self, x: Tensor) -> Tensor:
            state = self.cell(x[:, 0])
            return self.cell(x[:, 1], state) if state.sum() > 1e9 else state

    found = quantized(Network().eval(), CONFIGS["w8a8 static"], [torch.randn(2, 2, 3)])
    with pytest.raises(ModelError, match="the node Network is of the operation Network, which has no ONNX form"):
        onnx_graph(found, torch.randn(2, 2, 3))


def test_what_nothing_reads_is_not_written() -> None:
    found = quantized(nn.Sequential(enhancer("lstm")), CONFIGS["w8a8 static"], inputs())
    kinds = Counter(node.op_type for node in onnx_graph(found, inputs()[0]).model.graph.node)
    # Of the last states.
    assert kinds["Scan"] == 2 and not kinds["Slice"] + kinds["Squeeze"] + kinds["Unsqueeze"]


def test_a_float_product_within_a_loop_is_found() -> None:
    found = quantized(enhancer("gru"), CONFIGS["w8a8 static"], inputs())
    model = onnx_graph(found, inputs()[0]).model
    broken = optimized_graph(model)
    check_integer(model, broken)
    body = next(each for each in graphs_of(broken) if each.name == "rnn.l0.h")
    product = next(node for node in body.node if node.op_type == "MatMulInteger")
    state, weight = product.input[:2]
    scale = numpy_helper.from_array(np.float32(1), "one")
    broken.graph.initializer.append(scale)
    floats = [
        helper.make_node("Cast", [state], ["state.float"], to=onnx.TensorProto.FLOAT),
        helper.make_node("DequantizeLinear", [weight, "one"], ["weight.float"]),
        helper.make_node("MatMul", ["state.float", "weight.float"], ["product.float"], name="in float"),
        helper.make_node("Cast", ["product.float"], list(product.output), to=onnx.TensorProto.INT32),
    ]
    place = list(body.node).index(product)
    nodes = [*body.node[:place], *floats, *body.node[place + 1 :]]
    del body.node[:]
    body.node.extend(nodes)
    with pytest.raises(ModelError, match="onnxruntime would run the quantized layer in float in float, as MatMul"):
        check_integer(model, broken)


def test_random_networks() -> None:
    compared = tried = scans = 0
    for each in random_networks(10, layers=(2, 6), recurrent=True):
        config = onnx_cases.CONFIGS["rows" if each.seed % 2 else "matrix"]
        found = quantized(each.network, config, each.inputs(2))
        try:
            graph = onnx_graph(found, each.example, dynamic_axes=each.seed % 3 > 0)
        except ModelError as error:
            assert "Untraceable, which has no ONNX form" in str(error)
            continue
        tried += 1
        scans += sum(node.op_type == "Scan" for node in graph.model.graph.node)
        assert_integer_products(graph)
        compared += assert_same(found, graph, each.inputs(1)[0])
        if graph.inputs["x"][0] == "batch":
            assert_same(found, graph, each.inputs(1, batch=3)[0])
    assert tried > 8 and scans > 10 and compared > 800


def test_every_cell_has_a_form() -> None:
    assert set(cells.CELLS) == set(CELLS)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("options", [{}, {"bidirectional": True}, {"bias": False}])
def test_in_float_they_are_operators_of_onnx(kind: str, options: dict) -> None:
    network = enhancer(kind, **options)
    graph = onnx_graph(with_layers(quantized(network, CONFIGS["w8a8 static"], inputs()), set()), inputs()[0])
    kinds = Counter(node.op_type for node in graph.model.graph.node)
    assert kinds[kind.upper()] == 2 * (1 + network.rnn.bidirectional) and not kinds["Scan"]
    for x in (inputs(4)[3], inputs(1, length=17, batch=3)[0]):
        with torch.no_grad():
            np.testing.assert_allclose(run(graph.model, x)["output"], network(x).numpy(), rtol=0, atol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_operators_of_onnx_go_on_from_states(kind: str) -> None:
    torch.manual_seed(2)
    network, count = WithState(KINDS[kind](3, 5, num_layers=2, batch_first=True)).eval(), 1 + (kind == "lstm")
    call = (torch.randn(2, 6, 3), *(torch.randn(2, 2, 5) for _ in range(count)))
    graph = onnx_graph(with_layers(quantized(network, CONFIGS["w8a8 static"], [call], output=0), set()), call)
    with torch.no_grad():
        expected = network(*call)
    for one, other in zip(run(graph.model, *call).values(), expected, strict=True):
        np.testing.assert_allclose(one, other.numpy(), rtol=0, atol=1e-6)
