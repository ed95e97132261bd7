"""Layers of torch networks in onnxruntime have the integers of the reference."""

import numpy as np
import onnx
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from kaldi_quant.errors import ModelError
from kaldi_quant.quant.config import PtqConfig
from kaldi_quant.quant.layer_config import LayerConfig
from kaldi_quant.torchnn.onnx.file import onnx_graph
from tests.torchnn.onnx_cases import CONFIGS, check, quantized
from tests.torchnn.onnx_runs import assert_integer_products, assert_same, run

torch.set_num_threads(1)


LAYERS = {
    "linear, rows": (lambda: nn.Linear(6, 5), (2, 6)),
    "linear, sequences": (lambda: nn.Linear(6, 5), (2, 7, 6)),
    "linear, images": (lambda: nn.Linear(6, 5, bias=False), (2, 3, 4, 6)),
    "convolution": (lambda: nn.Conv1d(6, 5, 3), (2, 6, 9)),
    "strided": (lambda: nn.Conv1d(6, 5, 4, stride=3, padding=2), (2, 6, 9)),
    "dilated": (lambda: nn.Conv1d(6, 5, 3, dilation=2, padding=3, bias=False), (2, 6, 9)),
    "same": (lambda: nn.Conv1d(6, 5, 4, padding="same"), (2, 6, 9)),
    "groups": (lambda: nn.Conv1d(6, 4, 3, groups=2), (2, 6, 9)),
    "depthwise": (lambda: nn.Conv1d(6, 6, 5, padding=2, groups=6), (2, 6, 9)),
    "reflected": (lambda: nn.Conv1d(6, 5, 3, padding=2, padding_mode="reflect"), (2, 6, 9)),
    "circular": (lambda: nn.Conv1d(6, 5, 3, padding=2, padding_mode="circular"), (2, 6, 9)),
    "plane": (lambda: nn.Conv2d(3, 4, (3, 2), stride=(2, 1), padding=(0, 1)), (2, 3, 7, 6)),
    "depthwise plane": (lambda: nn.Conv2d(3, 6, 3, padding=1, groups=3), (2, 3, 7, 6)),
    "space": (lambda: nn.Conv3d(2, 3, 2, padding=(1, 0, 1)), (2, 2, 4, 5, 3)),
    "transposed": (lambda: nn.ConvTranspose1d(6, 5, 4, stride=2, padding=1), (2, 6, 7)),
    "transposed, longer": (lambda: nn.ConvTranspose1d(6, 5, 2, stride=3, output_padding=2), (2, 6, 7)),
    "transposed, dilated": (lambda: nn.ConvTranspose1d(6, 4, 3, stride=2, dilation=3, groups=2), (2, 6, 7)),
    "transposed plane": (
        lambda: nn.ConvTranspose2d(3, 4, (3, 4), stride=(2, 3), padding=(1, 2), output_padding=(1, 0)),
        (2, 3, 4, 5),
    ),
}


@pytest.mark.parametrize("config", CONFIGS)
@pytest.mark.parametrize("name", LAYERS)
def test_layers_whose_result_is_wanted_in_float_and_on_a_grid(name: str, config: str) -> None:
    make, shape = LAYERS[name]
    torch.manual_seed(0)
    one, x = make(), torch.randn(shape)
    with torch.no_grad():
        channels = one(x).shape[-1 if isinstance(one, nn.Linear) else 1]
    kind = [nn.Linear, None, nn.Conv1d, nn.Conv2d, nn.Conv3d][0 if isinstance(one, nn.Linear) else len(shape) - 1]
    last = nn.Linear(channels, 3) if kind is nn.Linear else kind(channels, 3, 1)
    longer = torch.randn(3, shape[1], *(size + 2 for size in shape[2:]))
    others = [torch.randn(3, *shape[1:])] if isinstance(one, nn.Linear) else [longer]
    check(nn.Sequential(nn.Tanh(), one), x, config, *others)
    check(nn.Sequential(one, nn.ReLU(), last), x, config, *others)
    check(nn.Sequential(one, last), x, config, *others)


class SharedGrid(nn.Module):
    """A ReLU whose grid has negative values, too, as it lies beside a value that has them."""

    def __init__(self, kind: type[nn.Module], *size: int) -> None:
        super().__init__()
        self.one, self.other, self.last = kind(4, 4, *size), kind(4, 4, *size), kind(8, 3, *size)

    def forward(self, x: Tensor) -> Tensor:
        axis = 1 if isinstance(self.one, nn.Conv1d) else -1
        return self.last(torch.cat([self.one(x).relu(), self.other(x)], axis))


@pytest.mark.parametrize("config", CONFIGS)
def test_a_relu_on_a_grid_of_negative_values(config: str) -> None:
    for network, shape in ((SharedGrid(nn.Linear), (5, 4)), (SharedGrid(nn.Conv1d, 1), (2, 4, 7))):
        found = quantized(network, torch.randn(shape), config)
        assert int(found.activations["relu"].zero_point) > 0
        graph = onnx_graph(found, torch.randn(shape))
        assert_same(found, graph, torch.randn(shape))
        assert_integer_products(graph)


@pytest.mark.parametrize("name", ["linear, rows", "convolution", "depthwise plane", "transposed"])
def test_weights_for_processors_that_would_saturate(name: str) -> None:
    make, shape = LAYERS[name]
    torch.manual_seed(0)
    one, x = make(), torch.randn(shape)
    with torch.no_grad():
        channels = one(x).shape[-1 if isinstance(one, nn.Linear) else 1]
    last = {2: nn.Linear, 3: nn.Conv1d, 4: nn.Conv2d}[len(shape)]
    network = nn.Sequential(one, nn.ReLU(), last(channels, 3) if last is nn.Linear else last(channels, 3, 1))
    found = quantized(network, x)
    graph = onnx_graph(found, x, form="exact")
    kinds = {each.data_type for each in graph.model.graph.initializer if len(each.dims) > 1}
    assert onnx.TensorProto.UINT8 in kinds and onnx.TensorProto.INT8 not in kinds
    assert_same(found, graph, x)
    assert_integer_products(graph)


def test_a_single_sequence_without_a_batch() -> None:
    x = torch.randn(3, 8)
    network = nn.Sequential(nn.Conv1d(3, 4, 3), nn.ReLU(), nn.ConvTranspose1d(4, 2, 3, stride=2))
    check(network, x, "rows", torch.randn(3, 11))
    check(nn.Sequential(nn.Linear(5, 4), nn.ReLU(), nn.Linear(4, 2)), torch.randn(5), "rows")


@pytest.mark.parametrize("name", LAYERS)
def test_dynamic_ranges_are_those_of_each_sequence(name: str) -> None:
    make, shape = LAYERS[name]
    torch.manual_seed(0)
    network = nn.Sequential(make(), nn.ReLU())
    found = quantized(network, torch.randn(shape), PtqConfig(LayerConfig(bits=5, act_bits=7, ranges="dynamic")))
    graph = onnx_graph(found, torch.randn(shape))
    assert_integer_products(graph)
    sizes = torch.tensor([1.0, 100.0, 0.0]).view(-1, *[1] * (len(shape) - 1))
    longer = shape[1:] if name.startswith("linear") else (shape[1], *(size + 2 for size in shape[2:]))
    x = torch.randn(3, *longer) * sizes - sizes / 3
    with torch.no_grad():
        np.testing.assert_array_equal(run(graph.model, x)["output"], found.model()(x).numpy())


def test_dynamic_ranges_of_wide_integers_are_refused() -> None:
    config = PtqConfig(LayerConfig(act_bits=12, ranges="dynamic"))
    found = quantized(nn.Linear(4, 3), torch.randn(2, 4), config)
    with pytest.raises(ModelError, match="the layer Linear has dynamic ranges and integers wider than 8 bits"):
        onnx_graph(found, torch.randn(2, 4))


@pytest.mark.parametrize("config", ["rows", "matrix"])
def test_sums_on_grids(config: str) -> None:
    class Network(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one, self.other, self.last = nn.Conv1d(3, 4, 1), nn.Conv1d(3, 4, 3, padding=1), nn.Conv1d(4, 2, 1)

        def forward(self, x: Tensor) -> Tensor:
            both = 0.75 * self.one(x) - functional.relu(self.other(x))
            return self.last(both + both)

    found = quantized(Network(), torch.randn(2, 3, 6), config)
    assert len(found.graph.sums) == 2
    graph = onnx_graph(found, torch.randn(2, 3, 6))
    assert assert_same(found, graph, torch.randn(3, 3, 50)) > 0


def test_sums_of_wide_integers_are_refused() -> None:
    class Network(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one, self.last = nn.Linear(3, 3), nn.Linear(3, 2)

        def forward(self, x: Tensor) -> Tensor:
            x = self.one(x)
            return self.last(x + x.relu())

    found = quantized(Network(), torch.randn(2, 3), "wide")
    with pytest.raises(ModelError, match="the sum add is not one of unsigned integers of at most 8 bits"):
        onnx_graph(found, torch.randn(2, 3))
