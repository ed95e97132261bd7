"""Quantized torch networks on compiled kernels beside the integer reference: the same to the last bit."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

pytest.importorskip("numba", reason="the kernels are compiled by numba")

import numba
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
        with_instruction = {"conv"} if dot.lanes() else set()
        assert set(compiled.on_kernels) == {"first", "second", "last"} | with_instruction
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


class Accumulating(nn.Module):
    """States come and go in a tuple."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(5, 6), nn.Linear(6, 6)

    def forward(self, x: Tensor, states: tuple[Tensor, Tensor]) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        first, second = states
        first = 0.5 * first + self.first(x)
        second = 0.5 * second + self.second(torch.relu(first))
        return second, (first, second)


def test_frames_with_states_are_computed_step_by_step_only_until_they_are_known(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    states = (torch.randn(2, 6), torch.randn(2, 6))
    calls = [(torch.randn(2, 5), states) for _ in range(4)]
    found = quantized(Accumulating().eval(), PtqConfig(), calls, output=0)
    compiled, model, counted = CompiledNetwork(found), found.model(), []
    ran = compiled._ran

    def counting(*args: Any) -> Any:
        counted.append(args)
        return ran(*args)

    monkeypatch.setattr(compiled, "_ran", counting)
    others = states
    with torch.no_grad():
        for _ in range(6):
            x = torch.randn(2, 5)
            (output, states), (expected, others) = compiled(x, states), model(x, others)
            torch.testing.assert_close((output, states), (expected, others), rtol=0, atol=0)
    assert len(counted) == 2
    compiled(torch.randn(1, 5), states)
    assert len(counted) == 3


def test_other_calls_are_refused() -> None:
    compiled = CompiledNetwork(quantized(Mixed().eval(), PtqConfig(), [torch.randn(2, 9, 5)]))
    with pytest.raises(DataError, match="should have 3 axes"):
        compiled(torch.randn(9, 5))
    assert torch.equal(compiled(torch.ones(2, 9, 5)), compiled(x=torch.ones(2, 9, 5, dtype=torch.float64)))


class Convolutions(nn.Module):
    """Convolutions of all kinds, what kernels compute with them, and what they do not."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Conv1d(2, 12, 4, stride=2, bias=False)
        self.norm, self.wide = nn.GroupNorm(1, 12), nn.Conv1d(12, 20, 1)
        self.each, self.one = nn.PReLU(20, init=0.3), nn.LeakyReLU(0.2)
        self.normed = nn.GroupNorm(5, 20, affine=False)
        self.depthwise = nn.Conv1d(20, 20, 3, padding=4, dilation=4, groups=20)
        self.narrow, self.grouped = nn.Conv1d(20, 12, 1), nn.Conv1d(12, 12, 3, padding=1, groups=3)
        self.last, self.decoder = nn.PReLU(), nn.ConvTranspose1d(12, 2, 4, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        features = self.encoder(x)
        y = self.norm(features)
        y = self.normed(self.each(self.wide(y)))
        y = self.narrow(self.one(self.depthwise(y)))
        y = self.last(y + features)
        masks = torch.relu(self.grouped(y)).unflatten(1, (2, 6))
        return self.decoder((masks * features.unflatten(1, (2, 6))).flatten(1, 2))


class Pictures(nn.Module):
    """Convolutions over two axes."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.depthwise = nn.Conv2d(3, 8, (3, 2), (2, 1), (1, 0)), nn.Conv2d(8, 8, 3, (1, 2), 1, groups=8)
        self.norm, self.up = nn.GroupNorm(2, 8), nn.ConvTranspose2d(8, 3, (3, 2), 2, (1, 0), (1, 0))

    def forward(self, x: Tensor) -> Tensor:
        return self.up(self.norm(self.depthwise(torch.relu(self.first(x)))) * 0.5)


def with_norms(network: nn.Module) -> nn.Module:
    """With other weights of norms than ones and zeros."""
    for module in network.modules():
        if isinstance(module, nn.GroupNorm) and module.affine:
            nn.init.normal_(module.weight), nn.init.normal_(module.bias)
    return network.eval()


@pytest.mark.parametrize("config", [LayerConfig(8, 8), LayerConfig(4, 6), LayerConfig(8, 12)])
def test_convolutions(config: LayerConfig) -> None:
    torch.manual_seed(0)
    found = quantized(with_norms(Convolutions()), PtqConfig(config), [torch.randn(1, 2, 300) for _ in range(3)])
    compiled = CompiledNetwork(found)
    if config.act_bits <= 8 and dot.lanes():
        assert set(compiled.on_kernels) == set(found.layers) - {"grouped"}
    for shape in ((1, 2, 300), (3, 2, 40), (1, 2, 9000), (2, 2, 50), (2, 2, 50), (2, 2, 50)):
        assert_same(found, compiled, 2 * torch.randn(shape))


def test_convolutions_over_two_axes() -> None:
    torch.manual_seed(0)
    found = quantized(with_norms(Pictures()), PtqConfig(), [torch.randn(1, 3, 12, 13) for _ in range(3)])
    compiled = CompiledNetwork(found)
    assert "depthwise" in compiled.on_kernels
    for shape in ((1, 3, 12, 13), (2, 3, 9, 20), (1, 3, 60, 70), (2, 3, 9, 20), (2, 3, 9, 20)):
        assert_same(found, compiled, torch.randn(shape))


def test_a_convolution_without_a_batch() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv1d(4, 6, 3, padding=1), nn.PReLU(), nn.Conv1d(6, 6, 3, padding=1, groups=6)).eval()
    found = quantized(network, PtqConfig(), [torch.randn(4, 30) for _ in range(3)])
    assert_same(found, CompiledNetwork(found), torch.randn(4, 50))


def test_rows_are_multiplied_together() -> None:
    if not dot.lanes():
        pytest.skip("this processor has no products of 8-bit integers")
    random, multiply = np.random.default_rng(0), dot.product(dot.lanes(), dot.ROWS_TOGETHER)

    @numba.njit
    def run(weights: np.ndarray, x: np.ndarray, sums: np.ndarray) -> None:
        multiply(weights.ctypes.data, x.ctypes.data, sums.ctypes.data, weights.shape[0], weights.shape[1])

    for rows, columns in ((1, 1), (37, 13), (200, 64)):
        weight = random.integers(-128, 128, (rows, columns)).astype(np.int8)
        packed = products.PackedWeight.of(weight)
        x = np.zeros((dot.ROWS_TOGETHER, packed.columns_read), np.uint8)
        x[:, :columns] = random.choice([0, 1, 128, 255], (len(x), columns))
        sums = np.empty((len(x), packed.values.shape[0] * packed.values.shape[2]), np.int32)
        run(packed.values, x, sums)
        np.testing.assert_array_equal(sums[:, :rows], x[:, :columns].astype(int) @ weight.astype(int).T)


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
