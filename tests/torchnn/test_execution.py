"""Quantized torch networks on compiled kernels beside the integer reference: the same to the last bit."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

pytest.importorskip("numba", reason="the kernels are compiled by numba")

import numpy as np

from kaldi_quant.backends.kernels import dot, products
from kaldi_quant.errors import DataError
from kaldi_quant.quant.config import PtqConfig
from kaldi_quant.quant.layer_config import LayerConfig
from kaldi_quant.quant.network import QuantizedNetwork
from kaldi_quant.torchnn.execution.network import CompiledNetwork
from tests.torchnn.recurrent_networks import CONFIGS, KINDS, WithState, enhancer, inputs, quantized

torch.set_num_threads(1)


def assert_same(network: QuantizedNetwork, compiled: CompiledNetwork, *args: Tensor) -> None:
    with torch.no_grad():
        expected = network.model()(*args)
    found = compiled(*args)
    pairs = zip(found, expected, strict=True) if isinstance(expected, tuple) else [(found, expected)]
    for one, other in pairs:
        assert one.dtype == other.dtype
        torch.testing.assert_close(one, other, rtol=0, atol=0)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("config", ["w8a8 static", "w4a4 static", "w8a8 dynamic"])
def test_recurrent_networks(kind: str, config: str) -> None:
    found = quantized(enhancer(kind, bidirectional=kind == "gru"), CONFIGS[config], inputs())
    compiled = CompiledNetwork(found)
    static = ("rnn.l0.ih", "rnn.l1.ih", "mask") if "static" in config else ()
    assert {*static, "rnn.l0.hh", "rnn.l1.hh"} <= set(compiled.on_kernels)
    for x in (*inputs(4), inputs(1, length=150, batch=3)[0], inputs(1, length=1, batch=1)[0]):
        assert_same(found, compiled, x)


@pytest.mark.parametrize("kind", KINDS)
def test_a_stream_is_the_whole(kind: str) -> None:
    torch.manual_seed(1)
    network = WithState(KINDS[kind](6, 9, batch_first=True)).eval()
    count = 2 if kind == "lstm" else 1
    calls = [(torch.randn(1, 12, 6), *(torch.randn(1, 1, 9) for _ in range(count))) for _ in range(3)]
    found = quantized(network, CONFIGS["w8a8 static"], calls, output=0)
    compiled, x = CompiledNetwork(found), torch.randn(1, 40, 6)
    # The state that is given need not lie on the grid.
    states = [0.3 * torch.randn(1, 1, 9) for _ in range(count)]
    whole = compiled(x, *states)
    frames = []
    for frame in x.unbind(1):
        output, *states = compiled(frame.unsqueeze(1), *states)
        frames.append(output)
    assert torch.equal(torch.cat(frames, 1), whole[0])
    assert all(torch.equal(one, other) for one, other in zip(states, whole[1:], strict=True))
    assert_same(found, compiled, x, *states)


class Mixed(nn.Module):
    """Layers with and without kernels, sums, constants, moves, and a layer that reads two nodes side by side."""

    offset: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(5, 13)
        self.conv = nn.Conv1d(13, 13, 3, padding=1)
        self.second, self.last = nn.Linear(26, 37, bias=False), nn.Linear(37, 3)
        self.register_buffer("offset", torch.linspace(-1, 1, 37))

    def forward(self, x: Tensor) -> Tensor:
        one = self.first(x).relu()
        other = self.conv(one.transpose(1, 2)).transpose(1, 2)
        both = torch.cat([one, one + other], -1)[:, 1:]
        return self.last((self.second(both).relu().flip(1) * self.offset).sin()).softmax(-1)


@pytest.mark.parametrize(
    "config",
    [
        LayerConfig(8, 8),
        LayerConfig(3, 5, symmetric=False, per_channel=False),
        LayerConfig(8, 8, symmetric=False),
        LayerConfig(8, 12),
        LayerConfig(16, 8),
        LayerConfig(8, 8, ranges="dynamic"),
    ],
)
def test_networks_of_all_kinds_of_layers(config: LayerConfig) -> None:
    torch.manual_seed(0)
    found = quantized(Mixed().eval(), PtqConfig(config), [torch.randn(2, 9, 5) for _ in range(4)])
    compiled = CompiledNetwork(found)
    has_kernels = config.ranges == "static" and config.act_bits <= 8 and config.bits <= 8 and config.symmetric
    if has_kernels:
        assert set(compiled.on_kernels) == {"first", "second", "last"}
    for shape in ((2, 9, 5), (1, 2, 5), (3, 400, 5), (2, 9, 5), (2, 9, 5), (2, 9, 5)):
        # Some features lie beyond the grid.
        assert_same(found, compiled, 3 * torch.randn(shape))


def test_what_a_call_gives_stays_as_it_is() -> None:
    found = quantized(Mixed().eval(), PtqConfig(), [torch.randn(2, 9, 5) for _ in range(4)])
    compiled, calls = CompiledNetwork(found), [torch.randn(2, 9, 5) for _ in range(5)]
    results = [compiled(x) for x in calls]
    copies = [result.clone() for result in results]
    assert all(torch.equal(compiled(x), result) for x, result in zip(calls, copies, strict=True))
    assert all(map(torch.equal, results, copies))


def test_other_calls_are_refused() -> None:
    compiled = CompiledNetwork(quantized(Mixed().eval(), PtqConfig(), [torch.randn(2, 9, 5)]))
    with pytest.raises(DataError, match="should have 3 axes"):
        compiled(torch.randn(9, 5))
    assert torch.equal(compiled(torch.ones(2, 9, 5)), compiled(x=torch.ones(2, 9, 5, dtype=torch.float64)))


@pytest.mark.parametrize("lanes", [0, 8, 16])
def test_products_of_the_processor_and_of_plain_code(lanes: int, monkeypatch: pytest.MonkeyPatch) -> None:
    if lanes > dot.lanes():
        pytest.skip(f"this processor has no products of 8-bit integers in {lanes} lanes")
    monkeypatch.setattr(products, "lanes", lambda: lanes)
    products.accumulate.cache_clear()
    random, multiply = np.random.default_rng(0), products.accumulate()
    for rows, columns in ((1, 1), (37, 13), (128, 64), (161, 600)):
        weight = random.integers(-128, 128, (rows, columns)).astype(np.int8)
        weight[:, ::3] = 127
        packed, row = products.PackedWeight.of(weight), np.zeros(-(-columns // 4) * 4, np.uint8)
        assert packed.columns_read == len(row)
        row[:columns] = random.choice([0, 1, 128, 255], columns)
        sums = np.empty(packed.values.shape[0] * packed.values.shape[2], np.int32)
        multiply(packed.values, row, sums)
        np.testing.assert_array_equal(sums[:rows], weight.astype(int) @ row[:columns].astype(int))
        assert not sums[rows:].any()
    products.accumulate.cache_clear()


def test_a_network_that_is_read_from_a_file_is_the_same(tmp_path) -> None:
    import kaldi_quant as kq

    made = kq.quantize(enhancer("gru"), CONFIGS["w8a8 static"], calibration=inputs())
    kq.save(made, tmp_path / "network.safetensors")
    loaded = kq.load(tmp_path / "network.safetensors")
    x = inputs(4)[3]
    assert torch.equal(kq.compile(loaded)(x), made.network.model()(x))
