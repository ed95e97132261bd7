"""Torch networks as ONNX files."""

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from kaldi_quant.backends.onnx.session import optimized_graph
from kaldi_quant.errors import DataError, ModelError
from kaldi_quant.quant.config import PtqConfig
from kaldi_quant.quant.layer_config import LayerConfig
from kaldi_quant.torchnn.data import TensorData
from kaldi_quant.torchnn.onnx.file import onnx_graph, write_onnx
from kaldi_quant.torchnn.quantization import quantize
from tests.torchnn.onnx_cases import CONFIGS, Function, check, quantized
from tests.torchnn.onnx_runs import assert_integer_products, assert_same, run
from tests.torchnn.random_networks import random_networks

torch.set_num_threads(1)


def test_layers_that_stay_in_float() -> None:
    config = PtqConfig(LayerConfig(), layers={"2": {"float_reason": "asked for"}}, bias_correction=False)
    network = nn.Sequential(nn.Conv1d(3, 4, 3), nn.ReLU(), nn.Conv1d(4, 5, 2), nn.Tanh(), nn.Conv1d(5, 2, 1))
    x = torch.randn(2, 3, 9)
    found = quantized(network, x, config)
    assert list(found.float_layers) == ["2"]
    graph = onnx_graph(found, x)
    assert_same(found, graph, torch.randn(2, 3, 12))
    floats = [node for node in optimized_graph(graph.model).graph.node if node.op_type in ("Conv", "FusedConv")]
    assert len(floats) == 1


class Enhancer(nn.Module):
    """A network as a user writes it."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Sequential(nn.Conv1d(20, 16, 3, padding=1), nn.BatchNorm1d(16), nn.ReLU())
        self.middle = nn.Sequential(nn.Conv1d(16, 16, 3, padding=2, dilation=2), nn.PReLU())
        self.last = nn.Linear(16, 20)

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.first(x.transpose(1, 2))
        return x * torch.sigmoid(self.last((hidden + self.middle(hidden)).transpose(1, 2)))


def test_a_network_of_any_batch_and_any_time(tmp_path: Path) -> None:
    x = torch.randn(2, 15, 20)
    found = quantized(Enhancer(), x)
    file = write_onnx(found, tmp_path / "network.onnx", x)
    assert file.inputs == {"x": ("batch", "x.1", 20)} and file.outputs == {"output": ("batch", "output.1", 20)}
    model = onnx.load(file.path)
    onnx.checker.check_model(model)
    graph = onnx_graph(found, x)
    for batch, length in ((1, 1), (1, 40), (3, 7), (2, 200)):
        longer = torch.randn(batch, length, 20)
        assert run(model, longer)["output"].shape == longer.shape
        assert_same(found, graph, longer)
    fixed = write_onnx(found, tmp_path / "fixed.onnx", x, dynamic_axes=False)
    assert fixed.inputs == {"x": (2, 15, 20)}
    np.testing.assert_allclose(run(onnx.load(fixed.path), x)["output"], run(model, x)["output"], atol=1e-5)


def test_a_stride_of_many_places() -> None:
    """So many that a few places more change nothing behind it."""

    class Frames(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.encoder, self.decoder = nn.Conv1d(2, 6, 80, 40), nn.Linear(6, 3)

        def forward(self, x: Tensor) -> Tensor:
            return self.decoder(self.encoder(x).unflatten(1, (2, 3)).repeat(1, 1, 2, 1).transpose(2, 3))

    check(Frames(), torch.randn(1, 2, 400), "rows", torch.randn(2, 2, 401), torch.randn(1, 2, 477))


def test_where_time_cannot_be_free_the_batch_is() -> None:
    network = nn.Sequential(nn.Conv1d(3, 4, 3), nn.AdaptiveAvgPool1d(2), nn.Flatten(), nn.Linear(8, 2))
    found = quantized(network, torch.randn(2, 3, 9))
    graph = onnx_graph(found, torch.randn(2, 3, 9))
    assert graph.inputs == {"input": ("batch", 3, 9)}
    assert_same(found, graph, torch.randn(5, 3, 9))


def test_several_inputs_and_sizes_in_the_code() -> None:
    class Network(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer, self.last = nn.Conv1d(4, 4, 3, stride=2), nn.Linear(6, 3)

        def forward(self, x: Tensor, y: Tensor) -> Tensor:
            # Made long enough for whole strides.
            x = functional.pad(x, (0, (1 - x.shape[-1]) % 2))
            hidden = self.layer(x)
            length = hidden.shape[-1]
            beside = y.unsqueeze(-1).expand(-1, -1, length)
            return self.last(torch.cat([hidden, beside], 1).transpose(1, 2)).reshape(x.size(0), length * 3)

    torch.manual_seed(0)
    network = Network()
    data = TensorData((torch.randn(2, 4, 9), torch.randn(2, 2)) for _ in range(3))
    found = quantize(network, CONFIGS["matrix"], data)
    graph = onnx_graph(found, (torch.randn(2, 4, 9), torch.randn(2, 2)))
    assert graph.inputs == {"x": ("batch", 4, "x.2"), "y": ("batch", 2)}
    by_name = onnx_graph(found, {"y": torch.randn(2, 2), "x": torch.randn(2, 4, 9)})
    assert by_name.inputs == graph.inputs
    assert_same(found, by_name, torch.randn(2, 4, 12), torch.randn(2, 2))
    for batch, length in ((2, 9), (3, 12), (1, 31)):
        assert_same(found, graph, torch.randn(batch, 4, length), torch.randn(batch, 2))


class ByValue(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x) if x.sum() > 1e9 else self.layer(x.relu())


@pytest.mark.parametrize(
    ("network", "said"),
    [
        (nn.Sequential(nn.Linear(4, 4), ByValue()), "the node 1 is of the operation ByValue, which has no ONNX form"),
        (
            nn.Sequential(nn.Linear(4, 4), Function(lambda x: x.cumprod(1))),
            "the node 1.cumprod is of the operation cumprod, which has no ONNX form",
        ),
    ],
)
def test_what_has_no_form_is_named(network: nn.Module, said: str, tmp_path: Path) -> None:
    found = quantized(network, torch.randn(2, 5, 4))
    with pytest.raises(ModelError, match=said):
        write_onnx(found, tmp_path / "network.onnx", torch.randn(2, 5, 4))
    assert not list(tmp_path.iterdir())


def test_an_example_that_does_not_fit_is_refused() -> None:
    found = quantized(nn.Linear(4, 3), torch.randn(2, 4))
    with pytest.raises(DataError, match="should have 2 axes, as the example has"):
        onnx_graph(found, torch.randn(2, 5, 4))
    with pytest.raises(DataError, match=r"the network cannot be run on the example, of shape \(2, 5\)"):
        onnx_graph(found, torch.randn(2, 5))


@pytest.mark.parametrize("first", range(0, 200, 50))
def test_random_networks(first: int) -> None:
    compared = tried = 0
    for each in random_networks(50, first):
        found = quantize(each.network, CONFIGS["rows" if each.seed % 2 else "matrix"], TensorData(each.inputs(2)))
        try:
            graph = onnx_graph(found, each.example, dynamic_axes=each.seed % 3 > 0)
        except ModelError as error:
            assert "Untraceable, which has no ONNX form" in str(error)
            continue
        tried += 1
        assert_integer_products(graph)
        compared += assert_same(found, graph, each.inputs(1)[0])
        if graph.inputs["x"][0] == "batch":
            assert_same(found, graph, each.inputs(1, batch=3)[0])
    assert tried > 40 and compared > 5000
