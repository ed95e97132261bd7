"""Products of two values element by element, in integers."""

from fractions import Fraction

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from kaldi_quant.quant.config import PtqConfig
from kaldi_quant.quant.graph import Node, QuantGraph, Read
from kaldi_quant.quant.grid import Grid
from kaldi_quant.quant.integer_product import integer_product
from kaldi_quant.quant.layer_config import LayerConfig
from kaldi_quant.quant.spec import QSpec
from kaldi_quant.torchnn.data import TensorData
from kaldi_quant.torchnn.onnx.file import onnx_graph
from kaldi_quant.torchnn.quantization import quantize
from kaldi_quant.train.qat.network import TrainableNetwork
from tests.torchnn.onnx_runs import assert_same


def grid(bits: int, scale: float, zero: int) -> Grid:
    spec = QSpec(bits, signed=False, symmetric=zero == 0)
    return Grid(spec, torch.tensor(scale), torch.tensor(zero, dtype=torch.int32))


@pytest.mark.parametrize(("bits", "other_bits"), [(8, 8), (4, 8), (13, 8), (16, 16)])
def test_they_are_those_of_exact_arithmetic(bits: int, other_bits: int) -> None:
    random = np.random.default_rng(bits)
    grids = [grid(bits, 0.037, 2 ** (bits - 1) + 1), grid(other_bits, 0.0041, 0)]
    output = grid(8, 0.053, 90)
    integers = [torch.from_numpy(random.integers(0, each.spec.qmax + 1, (40, 5))).to(torch.int32) for each in grids]
    found = integer_product(integers, grids, output)
    scale = np.float32(np.float32(grids[0].scale * grids[1].scale) / np.float32(output.scale))
    for one, other, result in zip(*(x.flatten().tolist() for x in (*integers, found)), strict=True):
        accumulator = np.float32((one - int(grids[0].zero_point)) * (other - int(grids[1].zero_point)))
        steps = Fraction(float(np.float32(accumulator * scale)))
        assert result == min(255, max(0, round(steps) + 90))


def test_shapes_broadcast() -> None:
    one, other = torch.randint(0, 256, (3, 1, 4)).to(torch.int32), torch.randint(0, 256, (2, 1)).to(torch.int32)
    grids = [grid(8, 0.1, 10), grid(8, 0.2, 0)]
    assert integer_product([one, other], grids, grid(8, 0.7, 3)).shape == (3, 2, 4)


def test_what_a_product_reads_lies_on_grids_if_it_does() -> None:
    nodes = [
        Node("x", "input", channels=4),
        Node("a", "product", (Read("x"),), 4),
        Node("mask", "other", (Read("a"),), 4),
        Node("mul", "mul", (Read("a"), Read("mask")), 4),
        Node("again", "mul", (Read("mul"), Read("mul")), 4),
        Node("of input", "mul", (Read("x"), Read("mask")), 4),
        Node("b", "product", (Read("again"), Read("of input")), 4),
        Node("late", "mul", (Read("b"), Read("mask")), 4),
        Node("output", "output", (Read("late"),)),
    ]
    graph = QuantGraph({node.name: node for node in nodes}, ["a", "b"])
    # An input has a scale for each column, and what is wanted in float is made in float.
    assert set(graph.elementwise) == {"again", "mul"} and not graph.sums
    assert set(graph.nodes) == {"x", "again", "of input", "mul", "a", "mask"}
    assert graph.destination("a") is not None and graph.destination("b") is None


class Masked(nn.Module):
    """As in enhancement: a mask between 0 and 1, one for each time and channel, and one for each time."""

    def __init__(self) -> None:
        super().__init__()
        self.signal, self.mask, self.gain = nn.Conv1d(3, 8, 3), nn.Conv1d(3, 8, 3), nn.Conv1d(3, 1, 3)
        self.last = nn.Conv1d(8, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        masked = self.signal(x).mul(torch.sigmoid(self.mask(x)))
        return self.last(masked * torch.tanh(self.gain(x)))


CONFIGS = [
    PtqConfig(),
    PtqConfig(LayerConfig(bits=4, act_bits=5, symmetric=False)),
    PtqConfig(LayerConfig(act_bits=12)),
]


@pytest.mark.parametrize("config", CONFIGS, ids=["w8a8", "w4a5", "w8a12"])
def test_reference_fake_quantization_and_onnx_agree(config: PtqConfig) -> None:
    torch.manual_seed(0)
    network, inputs = Masked(), [torch.randn(2, 3, 20) for _ in range(4)]
    quantized = quantize(network, config, TensorData(inputs))
    assert len(quantized.graph.elementwise) == 2
    x = inputs[1]
    with torch.no_grad():
        expected, found = quantized.model()(x), TrainableNetwork.of(quantized).model(x)
        lost = (expected - network(x)).std() / network(x).std()
    assert float((found - expected).abs().median()) <= 1e-5 * float(expected.abs().max())
    assert lost < (0.3 if config is CONFIGS[1] else 0.03)
    graph = onnx_graph(quantized, x)
    assert assert_same(quantized, graph, x) > 500
    if graph.inputs["x"][2] == "x.2":
        assert_same(quantized, graph, torch.randn(3, 3, 33))
