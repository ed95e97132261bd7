"""Products of two values, attention and encoders as ONNX: the reference's integers, and no product in float."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnxruntime.capi.onnxruntime_pybind11_state import InvalidArgument
from torch import Tensor, nn

from kaldi_quant.backends.onnx.session import optimized_graph
from kaldi_quant.errors import ModelError
from kaldi_quant.quant.config import PtqConfig
from kaldi_quant.quant.network import QuantizedNetwork
from kaldi_quant.torchnn.data import TensorData
from kaldi_quant.torchnn.onnx.file import onnx_graph, write_onnx
from kaldi_quant.torchnn.onnx.matmuls import check_matmuls
from kaldi_quant.torchnn.quantization import quantize
from tests.torchnn.attention_networks import Dot, Matrices, SelfAttention, random_attention
from tests.torchnn.onnx_cases import CONFIGS, check, quantized
from tests.torchnn.onnx_runs import assert_integer_products, assert_same, run

torch.set_num_threads(1)


def kinds(model: onnx.ModelProto) -> list[str]:
    """Of products of two values in what onnxruntime executes."""
    return [node.op_type for node in optimized_graph(model).graph.node if "MatMul" in node.op_type]


@pytest.mark.parametrize("config", ["rows", "matrix"])
def test_attention_of_any_batch_and_any_time(config: str) -> None:
    torch.manual_seed(0)
    x = torch.randn(2, 6, 5)
    model = check(SelfAttention(), x, config, torch.randn(1, 1, 5), torch.randn(3, 40, 5))
    # Scores are wanted in float, and the weighted sums go to a grid.
    assert kinds(model) == ["MatMulInteger", "QLinearMatMul"]


@pytest.mark.parametrize("config", ["rows", "matrix"])
def test_products_that_are_relus_factors_and_terms(config: str) -> None:
    torch.manual_seed(0)
    check(Matrices(), torch.randn(2, 5, 6), config, torch.randn(3, 7, 6))


@pytest.mark.parametrize("config", CONFIGS)
@pytest.mark.parametrize("options", [{}, {"is_causal": True, "scale": 0.3}])
def test_torchs_function(options: dict, config: str) -> None:
    torch.manual_seed(0)
    check(Dot(**options), torch.randn(2, 5, 6), config, torch.randn(3, 7, 6))


class Encoded(nn.Module):
    """Places and a mask are cut from tables, as long as the input is."""

    def __init__(self, **options: bool) -> None:
        super().__init__()
        layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True, **options)
        self.first, self.last = nn.Linear(5, 8), nn.Linear(8, 3)
        self.encoder = nn.TransformerEncoder(layer, 2, nn.LayerNorm(8), enable_nested_tensor=False)
        self.register_buffer("places", torch.randn(1, 64, 8))
        self.register_buffer("mask", torch.ones(64, 64, dtype=torch.bool).triu(1))

    def forward(self, x: Tensor) -> Tensor:
        length = x.size(1)
        x = self.first(x) + self.places[:, :length]
        return self.last(self.encoder(x, mask=self.mask[:length, :length]))


@pytest.mark.parametrize("norm_first", [False, True])
def test_an_encoder(norm_first: bool, tmp_path: Path) -> None:
    torch.manual_seed(0)
    x = torch.randn(2, 6, 5)
    found = quantized(Encoded(norm_first=norm_first), x)
    assert found.float_layers == {} and found.float_matmuls == {}
    file = write_onnx(found, tmp_path / "encoder.onnx", x)
    assert file.inputs == {"x": ("batch", "x.1", 5)} and file.outputs == {"output": ("batch", "output.1", 3)}
    graph = onnx_graph(found, x)
    assert_integer_products(graph)
    assert kinds(graph.model) == ["MatMulInteger", "QLinearMatMul"] * 2
    for shape in ((2, 6, 5), (1, 1, 5), (3, 31, 5)):
        assert_same(found, graph, torch.randn(shape))


class Padded(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
        self.encoder, self.last = nn.TransformerEncoder(layer, 1), nn.Linear(8, 2)

    def forward(self, x: Tensor, padding: Tensor) -> Tensor:
        return self.last(self.encoder(x, src_key_padding_mask=padding))


@pytest.mark.parametrize("kind", ["booleans", "floats"])
def test_masks_are_inputs(kind: str) -> None:
    def masks(*lengths: int) -> Tensor:
        padding = torch.arange(max(lengths)) >= torch.tensor(lengths).unsqueeze(1)
        return padding if kind == "booleans" else padding * -1e9

    torch.manual_seed(0)
    data = [(torch.randn(2, 6, 8), masks(6, 4)), (torch.randn(2, 6, 8), masks(6, 2))]
    found = quantize(Padded().eval(), CONFIGS["rows"], TensorData(data))
    graph = onnx_graph(found, data[0])
    assert graph.inputs == {"x": ("batch", "x.1", 8), "padding": ("batch", "padding.1")}
    assert graph.model.graph.input[1].type.tensor_type.elem_type == (9 if kind == "booleans" else 1)
    assert_integer_products(graph)
    for lengths in ((6, 4), (9, 1, 3)):
        mask = masks(*lengths)
        assert_same(found, graph, torch.randn(*mask.shape, 8), mask)


def test_queries_without_any_key_have_zeros() -> None:
    torch.manual_seed(0)
    mask = torch.ones(2, 1, 5, 5, dtype=torch.bool)
    data = [(torch.randn(2, 5, 6), mask)]
    found = quantize(Dot().eval(), CONFIGS["rows"], TensorData(data))
    mask = mask.clone()
    mask[1, 0, 2] = False
    graph = onnx_graph(found, data[0])
    assert_same(found, graph, data[0][0], mask)
    output = run(graph.model, data[0][0], mask)["output"]
    np.testing.assert_array_equal(output[1, 2], found.layers["out"].dequantized_bias().numpy())


def test_products_in_float_are_written_in_float() -> None:
    torch.manual_seed(0)
    x = torch.randn(2, 5, 6)
    found = quantized(Dot(), x, replace(CONFIGS["rows"], layers={"matmul": {"float_reason": "asked for"}}))
    graph = onnx_graph(found, x)
    assert_same(found, graph, x)
    assert kinds(graph.model) == ["MatMul", "QLinearMatMul"] or kinds(graph.model) == ["FusedMatMul", "QLinearMatMul"]


def long(length: int) -> tuple[QuantizedNetwork, Tensor]:
    x = torch.randn(2, length, 6)
    return quantized(Dot(), x, CONFIGS["wide"]), x


def test_lengths_that_could_overflow_are_refused() -> None:
    torch.manual_seed(0)
    found, x = long(5)
    graph = onnx_graph(found, x)
    assert run(graph.model, torch.randn(1, 32, 6))["output"].shape == (1, 32, 4)
    with pytest.raises(InvalidArgument, match=r"matmul:2\.over_at_most_32"):
        run(graph.model, torch.randn(1, 33, 6))
    found, x = long(33)
    assert list(found.float_matmuls) == ["matmul:2"]
    assert_same(found, onnx_graph(found, x), torch.randn(1, 40, 6))


def test_a_product_that_would_run_in_float_is_refused() -> None:
    torch.manual_seed(0)
    x = torch.randn(2, 5, 6)
    found = quantized(Dot(), x)
    model = onnx_graph(found, x).model
    check_matmuls(found.matmuls, optimized_graph(model))
    # As it is written, the values between are floats.
    with pytest.raises(ModelError, match="onnxruntime would run the product matmul:2 in float, as MatMul"):
        check_matmuls(found.matmuls, model)


def test_random_attention() -> None:
    compared = 0
    for each in random_attention(9, first=100):
        config: PtqConfig = CONFIGS[("rows", "matrix", "wide")[each.seed % 3]]
        found = quantize(each.network, config, TensorData(each.inputs(3)))
        assert found.float_matmuls == {}
        try:
            graph = onnx_graph(found, each.example)
        except ModelError as error:
            assert "not one of unsigned integers of at most 8 bits" in str(error) and each.seed % 3 == 2
            continue
        assert_integer_products(graph)
        compared += assert_same(found, graph, each.inputs(2)[1])
        if isinstance(next(iter(graph.inputs.values()))[1], str):
            compared += assert_same(found, graph, torch.cat(each.inputs(2), 1))
    assert compared > 2000
