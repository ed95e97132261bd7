"""Attention and what is made of it: projections as layers, scores and weighted sums as products of two values."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import Tensor, nn

from kaldi_quant.quant.config import PtqConfig
from kaldi_quant.quant.graph import Destination, products
from kaldi_quant.quant.layer_config import LayerConfig
from kaldi_quant.torchnn.data import TensorData
from kaldi_quant.torchnn.host import TorchSource
from kaldi_quant.torchnn.quantization import quantize
from kaldi_quant.train.qat.network import TrainableNetwork
from tests.torchnn.attention_networks import SelfAttention

torch.set_num_threads(1)

PROJECTIONS = ["q_proj", "k_proj", "v_proj", "out_proj"]


class Attending(nn.Module):
    """Calls an attention with options that are no tensors."""

    def __init__(self, attention: nn.MultiheadAttention, **options: bool) -> None:
        super().__init__()
        self.attention, self.options = attention, options

    def forward(self, query: Tensor, key: Tensor, value: Tensor, **masks: Tensor) -> tuple[Tensor, ...]:
        found, weights = self.attention(query, key, value, **masks, **self.options)
        return (found,) if weights is None else (found, weights)


@pytest.mark.parametrize("masks", ["none", "bool", "float"])
@pytest.mark.parametrize("batch_first", [False, True])
def test_the_float_output_is_that_of_torch(masks: str, batch_first: bool) -> None:
    choices = itertools.product([1, 2, 4], [False, True], [False, True], [False, True])
    for seed, (heads, bias, other_sizes, batched) in enumerate(choices):
        torch.manual_seed(seed)
        sizes = {"kdim": 5, "vdim": 3} if other_sizes else {}
        attention = nn.MultiheadAttention(8, heads, bias=bias, batch_first=batch_first, **sizes)
        for parameter in attention.parameters():
            nn.init.normal_(parameter, std=0.4)
        options = {"need_weights": seed % 3 > 0, "average_attn_weights": seed % 2 > 0}
        n, queries, keys = 2, 4, 6
        shapes = [(n, queries, 8), (n, keys, sizes.get("kdim", 8)), (n, keys, sizes.get("vdim", 8))]
        given = {name: torch.randn(shape) for name, shape in zip(("query", "key", "value"), shapes, strict=True)}
        if masks != "none":
            # Each query has a key left.
            padding, reach = torch.zeros(n, keys).bool(), torch.rand(queries, keys) > 0.6
            padding[1, 4:], reach[:, 0] = True, False
            if seed % 2:
                reach = reach.expand(n * heads if batched else heads, -1, -1)
            if masks == "float":
                padding, reach = padding * -1e3, reach * -2.5
            given |= {"key_padding_mask": padding, "attn_mask": reach}
        if not batched:
            given = {name: x if name == "attn_mask" else x[1] for name, x in given.items()}
        elif not batch_first:
            given = {name: x if "mask" in name else x.transpose(0, 1) for name, x in given.items()}
        network = Attending(attention, **options).eval()
        host = TorchSource(network, given).prepare(fold=True)
        assert products(host.nodes) == [f"attention.{name}" for name in PROJECTIONS]
        found, expected = host.complete().executable()(**given), network(**given)
        assert len(found) == len(expected)
        for one, other in zip(found, expected, strict=True):
            torch.testing.assert_close(one, other, rtol=0, atol=1e-5)


def inputs() -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(2, 6, 5, generator=generator) for _ in range(4)]


def network() -> SelfAttention:
    torch.manual_seed(0)
    return SelfAttention().eval()


@pytest.mark.parametrize("ranges", ["static", "dynamic"])
def test_products_are_quantized_where_ranges_are_known(ranges: str) -> None:
    found = quantize(network(), PtqConfig(LayerConfig(ranges=ranges)), TensorData(inputs()[:3]))
    assert list(found.layers) == ["first", *(f"attention.{name}" for name in PROJECTIONS), "last"]
    x = inputs()[0]
    error = (found.model()(x) - network()(x)).abs().max()
    assert 0 < error < 0.05
    assert list(found.host.float_operations()) == ["attention.mul", "attention.softmax"]
    both = ["attention.matmul", "attention.matmul:2"]
    assert found.matmuls == (both if ranges == "static" else [])
    assert list(found.float_matmuls) == ([] if ranges == "static" else both)


def test_queries_lie_on_the_grid_of_their_projection() -> None:
    found = quantize(network(), PtqConfig(LayerConfig()), TensorData(inputs()[:3]))
    for name in PROJECTIONS[:3]:
        assert found.graph.destination(f"attention.{name}") == Destination(f"attention.{name}", relu=False)
    assert found.graph.destination("attention.matmul:2") == Destination("attention.matmul:2", relu=False)


def test_fake_quantization_is_the_reference() -> None:
    found = quantize(network(), PtqConfig(LayerConfig(bits=4)), TensorData(inputs()[:3]))
    x = inputs()[3]
    torch.testing.assert_close(TrainableNetwork.of(found).model(x), found.model()(x), rtol=0, atol=1e-5)


@pytest.mark.parametrize("option", ["add_bias_kv", "add_zero_attn"])
def test_more_keys_than_are_given_stay_in_float(option: str) -> None:
    changed = network()
    changed.attention = nn.MultiheadAttention(8, 2, batch_first=True, **{option: True})
    host = TorchSource(changed.eval(), inputs()[0]).prepare(fold=True)
    assert products(host.nodes) == ["first", "last"]
    assert "add_bias_kv" in host.float_operations()["attention"]


def test_what_cannot_be_replaced_keeps_no_other_module_in_float() -> None:
    class Both(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.attention = nn.MultiheadAttention(8, 2)
            self.rnn = nn.GRU(8, 4)

        def forward(self, x: Tensor) -> Tensor:
            x = self.attention(x, x, x)[0] + self.attention.in_proj_weight.mean()
            return self.rnn(x)[0]

    host = TorchSource(Both().eval(), torch.randn(5, 2, 8)).prepare(fold=True)
    assert products(host.nodes) == ["rnn.l0.ih", "rnn.l0.hh"]
    assert "does not compute the same" in host.float_operations()["attention"]


def test_queries_without_any_key_have_zeros_as_torch_has() -> None:
    attention = Attending(nn.MultiheadAttention(8, 2, batch_first=True), need_weights=False).eval()
    x, reach = torch.randn(2, 4, 8), torch.zeros(4, 4).bool()
    given = {"query": x, "key": x, "value": x, "attn_mask": reach}
    host = TorchSource(attention, given).prepare(fold=True)
    reach[1] = True
    # With gradients torch does not take its fast path, which has no numbers there.
    found, expected = host.complete().executable()(**given)[0], attention(**given)[0]
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)
