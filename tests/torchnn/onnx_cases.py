"""Small networks that are quantized, written as ONNX and run."""

from collections.abc import Callable

import onnx
import torch
from torch import Tensor, nn

from kaldi_quant.quant.config import PtqConfig
from kaldi_quant.quant.layer_config import LayerConfig
from kaldi_quant.quant.network import QuantizedNetwork
from kaldi_quant.torchnn.data import TensorData
from kaldi_quant.torchnn.onnx.file import onnx_graph
from kaldi_quant.torchnn.quantization import quantize
from tests.torchnn.onnx_runs import assert_integer_products, assert_same

torch.set_num_threads(1)

CONFIGS = {
    "rows": PtqConfig(LayerConfig(bits=8), bias_correction=False),
    "matrix": PtqConfig(
        LayerConfig(bits=4, act_bits=6, per_channel=False, symmetric=False, method="minmax"),
        observer="minmax",
        bias_correction=False,
    ),
    "wide": PtqConfig(LayerConfig(bits=6, act_bits=13, method="minmax"), observer="minmax", bias_correction=False),
}


class Function(nn.Module):
    """A function as a module."""

    def __init__(self, compute: Callable[..., Tensor]) -> None:
        super().__init__()
        self.compute = compute

    def forward(self, *inputs: Tensor) -> Tensor:
        return self.compute(*inputs)


def quantized(
    network: nn.Module, x: Tensor, config: str | PtqConfig = "rows", output: int | None = None
) -> QuantizedNetwork:
    found = CONFIGS[config] if isinstance(config, str) else config
    torch.manual_seed(1)
    return quantize(network.eval(), found, TensorData((torch.randn(x.shape) for _ in range(3)), output=output))


def check(network: nn.Module, x: Tensor, config: str, *others: Tensor) -> onnx.ModelProto:
    """Compares at the example's lengths and at others, in the free and in the fixed form."""
    found = quantized(network, x, config)
    graph = onnx_graph(found, x)
    assert_integer_products(graph)
    for each in (x, *others):
        assert assert_same(found, graph, each * 1.5) > 0
    assert_same(found, onnx_graph(found, x, dynamic_axes=False), x)
    return graph.model
