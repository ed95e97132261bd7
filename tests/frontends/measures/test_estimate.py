"""What networks will need, told from their files: figures by hand, and those that are measured."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper
from torch import nn

import kaldi_quant as kq
from kaldi_quant.backends.onnx.static_quantization import quantize_static
from kaldi_quant.errors import DataError, FormatError, UsageError
from kaldi_quant.frontends.enhancement.networks.past import Past
from kaldi_quant.frontends.enhancement.networks.stft_tcnn import ResBlock
from kaldi_quant.frontends.measures.estimate import estimate
from kaldi_quant.frontends.measures.operations import multiply_accumulates
from tests.torchnn.onnx_models import model_of


class Block(nn.Module):
    """Two residual blocks and a sigmoid."""

    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(ResBlock(6, 16, 3, 1, causal=False) for _ in range(2))
        for block in self.blocks:
            nn.init.normal_(block.depthwise_norm.running_mean)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for block in self.blocks:
            x = block(x, Past(None))
        return torch.sigmoid(x)


def _write(network: nn.Module, path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(network, (torch.randn(1, 6, TIMES),), path, dynamo=False, input_names=["x"])


TIMES = 20
PRODUCTS = {"inner": TIMES * 16 * 6, "depthwise": TIMES * 16 * 3, "outer": TIMES * 6 * 16}
# Normalizations become a bias of the depthwise layer.
WEIGHTS, BIASES = 2 * (16 * 6 + 16 * 3 + 6 * 16), 2 * (16 + 16)


def test_a_float_network_by_hand(tmp_path: Path) -> None:
    network = Block().eval()
    found = estimate(network, {"x": (1, 6, TIMES)})
    assert found.weights == {32: 4 * (WEIGHTS + BIASES)}
    # What is added later stays, beside what the depthwise layer reads and what it gives.
    assert found.activations.bytes == 4 * TIMES * (6 + 16 + 16)
    assert found.multiply_accumulates == 2 * sum(PRODUCTS.values())
    _write(network, tmp_path / "n.onnx")
    written = estimate(tmp_path / "n.onnx")
    assert (written.weights, written.activations.bytes) == (found.weights, found.activations.bytes)
    assert written.operations == {
        f"blocks.{block}.{layer}": count for block in range(2) for layer, count in PRODUCTS.items()
    }


def test_a_network_of_8_bits_by_hand(tmp_path: Path) -> None:
    network = Block().eval()
    _write(network, tmp_path / "n.onnx")
    quantize_static(tmp_path / "n.onnx", tmp_path / "q.onnx", [{"x": np.random.rand(1, 6, TIMES).astype(np.float32)}])
    found = estimate(tmp_path / "q.onnx")
    assert WEIGHTS <= found.weights[8] <= WEIGHTS + 8 * 16
    # The input is of floats beside what the first layer reads; within blocks all values are of 8 bits.
    assert found.activations.bytes == max(TIMES * 6 * (4 + 1), TIMES * (6 + 16 + 16), TIMES * 6 * (1 + 4))
    assert found.multiply_accumulates == 2 * sum(PRODUCTS.values())
    assert list(found.operations)[:2] == ["blocks.0.inner", "blocks.0.depthwise"]


def test_operations_are_those_that_are_counted_in_torch(tmp_path: Path) -> None:
    class Recurrent(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.gru, self.up = nn.Linear(4, 6), nn.GRU(6, 5), nn.ConvTranspose1d(5, 3, 4, 2)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            states, _ = self.gru(self.first(x))
            return self.up(states.permute(1, 2, 0))

    network, x = Recurrent().eval(), torch.randn(7, 2, 4)
    quantized = kq.quantize(network, calibration=[x])
    expected = multiply_accumulates(quantized.network.host, x)
    found = estimate(quantized, {"x": (7, 2, 4)}).operations
    assert sorted(found.values()) == sorted(expected.values())
    in_float = estimate(network, {"x": (7, 2, 4)}).operations
    recurrent = expected["gru.l0.ih"] + expected["gru.l0.hh"]
    assert sorted(in_float.values()) == sorted([expected["first"], recurrent, expected["up"]])


def test_operations_of_a_transposed_convolution(tmp_path: Path) -> None:
    x, weight = np.zeros((2, 6, 7), np.float32), np.zeros((6, 5, 4), np.float32)
    nodes = [helper.make_node("ConvTranspose", ["x", "up.weight"], ["y"], group=2, strides=[3])]
    onnx.save(model_of(nodes, {"x": x}, {"up.weight": weight}, ("y",)), tmp_path / "n.onnx")
    assert estimate(tmp_path / "n.onnx", {"x": (2, 6, 7)}).operations == {"up": 2 * 7 * 6 * 5 * 4}


def test_what_cannot_be_estimated_is_told(tmp_path: Path) -> None:
    path = tmp_path / "n.onnx"
    onnx.save(model_of([helper.make_node("Relu", ["x"], ["y"])], {"x": np.zeros((2, 3), np.float32)}, {}, ("y",)), path)
    assert estimate(path, {"x": (5, 3)}).activations.bytes == 2 * 4 * 15
    with pytest.raises(UsageError, match=r"n.onnx: the input 'x' has axes of any length: say how long they are"):
        estimate(path)
    with pytest.raises(UsageError, match=r"n.onnx: the input 'x' has the sizes \['x.0', 3\], not \[5, 4\]"):
        estimate(path, {"x": (5, 4)})
    with pytest.raises(UsageError, match=r"n.onnx: it has no input 'z': its inputs are x"):
        estimate(path, {"x": (5, 3), "z": (1,)})
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(FormatError, match=r"n.onnx: it (cannot be read|is no valid)"):
        estimate(path, {"x": (5, 3)})
    nodes = [helper.make_node("Reshape", ["x", "s"], ["y"])]
    onnx.save(model_of(nodes, {"x": np.zeros((2, 3), np.float32)}, {"s": np.array([7, 3])}, ("y",)), path)
    with pytest.raises(DataError, match=r"n.onnx: onnxruntime cannot run it for inputs of these sizes"):
        estimate(path, {"x": (5, 3)})


def test_weights_of_four_bits_take_half_a_byte(tmp_path: Path) -> None:
    weight = helper.make_tensor("w", TensorProto.INT4, (4, 5), bytes(10), raw=True)
    nodes = [
        helper.make_node("DequantizeLinear", ["w", "s"], ["v"]),
        helper.make_node("MatMul", ["x", "v"], ["y"], "product"),
    ]
    model = model_of(nodes, {"x": np.zeros((2, 4), np.float32)}, {"s": np.float32(1)}, ("y",), opset=21)
    model.graph.initializer.append(weight)
    onnx.save(model, tmp_path / "n.onnx")
    found = estimate(tmp_path / "n.onnx", {"x": (2, 4)})
    assert found.weights == {4: 10, 32: 4} and found.operations == {"product": 2 * 5 * 4}
