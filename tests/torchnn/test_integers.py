"""The integer reference of every kind of layer gives what a computation by hand gives, to the last bit."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from kaldi_quant.quant.config import PtqConfig
from kaldi_quant.quant.integer_linear import DynamicLinear, IntegerLinear
from kaldi_quant.quant.integer_sum import integer_sum
from kaldi_quant.quant.layer_config import LayerConfig
from kaldi_quant.quant.network import QuantizedNetwork
from kaldi_quant.torchnn.data import TensorData
from kaldi_quant.torchnn.quantization import quantize
from tests.torchnn import by_hand

CONFIGS = {
    "rows": PtqConfig(LayerConfig(bits=8)),
    "matrix": PtqConfig(LayerConfig(bits=4, act_bits=6, per_channel=False, symmetric=False, method="descent")),
    "min-max": PtqConfig(LayerConfig(bits=3, act_bits=5, method="minmax"), observer="minmax", bias_correction=False),
}


def quantized(network: nn.Module, config: str, *shape: int) -> tuple[QuantizedNetwork, Tensor, np.ndarray]:
    """The network in integers, an input, and what it gives for that."""
    torch.manual_seed(1)
    found = quantize(network.eval(), CONFIGS[config], TensorData(torch.randn(4, *shape) for _ in range(3)))
    x = torch.randn(2, *shape) * 1.5
    with torch.no_grad():
        return found, x, found.model()(x).numpy()


def layer_of(found: QuantizedNetwork, name: str) -> IntegerLinear:
    layer = found.layers[name]
    assert isinstance(layer, IntegerLinear)
    return layer


def input_integers(found: QuantizedNetwork, x: Tensor, name: str = "input") -> np.ndarray:
    return by_hand.integers_of(x.numpy(), found.activations[name])


def rows_on_axis(shape: tuple[int, ...], axis: int) -> np.ndarray:
    """For each value its place on an axis."""
    return np.moveaxis(np.zeros(np.moveaxis(np.zeros(shape), axis, -1).shape, int) + np.arange(shape[axis]), -1, axis)


@pytest.mark.parametrize("config", CONFIGS)
def test_fully_connected(config: str) -> None:
    # The input has been through something, so that it has one scale for all columns.
    network = nn.Sequential(nn.Tanh(), nn.Linear(7, 5))
    found, x, result = quantized(network, config, 3, 7)
    layer = layer_of(found, "1")
    sums = by_hand.linear(layer, input_integers(found, x.tanh(), "0"))
    expected = by_hand.as_floats(layer, sums, rows_on_axis(sums.shape, -1))
    np.testing.assert_array_equal(result, expected)


def test_columns_of_an_input_have_scales_of_their_own() -> None:
    torch.manual_seed(0)
    sizes = torch.logspace(-2, 2, 7)
    network = nn.Linear(7, 5)
    data = [torch.randn(4, 3, 7) * sizes for _ in range(3)]
    found = quantize(network, CONFIGS["rows"], TensorData(data))
    grid = found.activations["input"]
    assert grid.scale.shape == (7,) and grid.scale[-1] > 1000 * grid.scale[0]
    layer = layer_of(found, "Linear")
    steps = torch.round(data[0] / grid.scale) + grid.zero_point
    integers = steps.clamp(grid.spec.qmin, grid.spec.qmax).long() - grid.zero_point
    sums = by_hand.linear(layer, integers.numpy())
    expected = by_hand.as_floats(layer, sums, rows_on_axis(sums.shape, -1))
    np.testing.assert_array_equal(found.model()(data[0]).detach().numpy(), expected)


CONVOLUTIONS = {
    "plain": nn.Conv1d(4, 6, 3),
    "padded": nn.Conv1d(4, 6, 3, padding=2),
    "strided": nn.Conv1d(4, 6, 4, stride=3, padding=1),
    "dilated": nn.Conv1d(4, 6, 3, dilation=2, padding=3),
    "same": nn.Conv1d(4, 6, 4, padding="same", dilation=2),
    "groups": nn.Conv1d(4, 6, 3, padding=1, groups=2),
    "depthwise": nn.Conv1d(4, 8, 3, padding=1, groups=4, bias=False),
    "plane": nn.Conv2d(3, 4, (2, 3), padding=(1, 2)),
    "strided plane": nn.Conv2d(3, 4, (3, 2), stride=(2, 1), dilation=(1, 2), padding=1),
    "depthwise plane": nn.Conv2d(3, 3, 3, padding="same", groups=3),
    "space": nn.Conv3d(2, 2, 2, padding=(1, 0, 0), stride=(1, 2, 1)),
}


@pytest.mark.parametrize("config", CONFIGS)
@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_convolutions(name: str, config: str) -> None:
    module = CONVOLUTIONS[name]
    axes = len(module.kernel_size)
    found, x, result = quantized(module, config, module.in_channels, *(9, 7, 6)[: max(1, axes)])
    layer = layer_of(found, type(module).__name__)
    # As torch keeps it: from the last axis to the first, before and after.
    amounts = module._reversed_padding_repeated_twice[::-1]
    sums = by_hand.convolution(
        layer,
        input_integers(found, x),
        module.kernel_size,
        module.stride,
        tuple(amounts[1::2]),
        tuple(amounts[::2]),
        module.dilation,
        module.groups,
    )
    expected = by_hand.as_floats(layer, sums, rows_on_axis(sums.shape, 1))
    np.testing.assert_array_equal(result, expected)
    assert layer.weight.groups == module.groups


@pytest.mark.parametrize("mode", ["reflect", "replicate", "circular"])
def test_values_that_are_repeated_at_the_edges_stay_on_the_grid(mode: str) -> None:
    module = nn.Conv1d(2, 3, 3, padding=2, padding_mode=mode)
    found, x, result = quantized(module, "matrix", 2, 8)
    layer = layer_of(found, "Conv1d")
    integers = functional.pad(torch.from_numpy(input_integers(found, x)).double(), (2, 2), mode=mode).long().numpy()
    sums = by_hand.convolution(layer, integers, (3,), (1,), (0,), (0,), (1,), 1)
    np.testing.assert_array_equal(result, by_hand.as_floats(layer, sums, rows_on_axis(sums.shape, 1)))


TRANSPOSED = {
    "plain": nn.ConvTranspose1d(4, 3, 4),
    "strided": nn.ConvTranspose1d(4, 3, 5, stride=2, padding=1, output_padding=1),
    "wider stride than kernel": nn.ConvTranspose1d(4, 3, 2, stride=3, output_padding=2),
    "dilated": nn.ConvTranspose1d(4, 3, 3, stride=2, dilation=3, padding=2),
    "groups": nn.ConvTranspose1d(4, 6, 3, stride=2, groups=2, bias=False),
    "plane": nn.ConvTranspose2d(2, 3, (3, 4), stride=(2, 3), padding=(1, 2), output_padding=(1, 0)),
    "depthwise plane": nn.ConvTranspose2d(3, 6, (2, 3), stride=(1, 2), dilation=(2, 1), groups=3),
}


@pytest.mark.parametrize("config", CONFIGS)
@pytest.mark.parametrize("name", TRANSPOSED)
def test_transposed_convolutions(name: str, config: str) -> None:
    module = TRANSPOSED[name]
    found, x, result = quantized(module, config, module.in_channels, *(5, 4)[: len(module.kernel_size)])
    layer = layer_of(found, type(module).__name__)
    sums, rows = by_hand.transposed(
        layer,
        input_integers(found, x),
        module.kernel_size,
        module.stride,
        module.padding,
        module.output_padding,
        module.dilation,
        module.groups,
    )
    np.testing.assert_array_equal(result, by_hand.as_floats(layer, sums, rows))


@pytest.mark.parametrize("config", CONFIGS)
def test_a_relu_is_fused_whatever_moves_lie_before_it(config: str) -> None:
    class Network(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = nn.Conv1d(3, 4, 3, padding=1), nn.Linear(4, 2)

        def forward(self, x: Tensor) -> Tensor:
            return self.second(functional.relu(self.first(x).transpose(1, 2), inplace=True))

    found, x, result = quantized(Network(), config, 3, 6)
    first, second = layer_of(found, "first"), layer_of(found, "second")
    grid = found.activations["relu"]
    sums = by_hand.convolution(first, input_integers(found, x, "x"), (3,), (1,), (1,), (1,), (1,), 1)
    hidden = by_hand.on_grid(first, sums, rows_on_axis(sums.shape, 1), grid).clip(0).transpose(0, 2, 1)
    sums = by_hand.linear(second, hidden)
    np.testing.assert_array_equal(result, by_hand.as_floats(second, sums, rows_on_axis(sums.shape, -1)))


@pytest.mark.parametrize("config", CONFIGS)
def test_sums_with_coefficients_add_integers(config: str) -> None:
    class Network(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one, self.other, self.last = nn.Conv1d(3, 4, 1), nn.Conv1d(3, 4, 3, padding=1), nn.Conv1d(4, 2, 1)

        def forward(self, x: Tensor) -> Tensor:
            return self.last(0.75 * self.one(x) - functional.relu(self.other(x)))

    found, x, result = quantized(Network(), config, 3, 6)
    names = ("one", "relu", "add")
    one, other, last = (layer_of(found, name) for name in ("one", "other", "last"))
    integers = input_integers(found, x, "x")
    terms = []
    for layer, kernel, node in ((one, 1, "one"), (other, 3, "relu")):
        sums = by_hand.convolution(layer, integers, (kernel,), (1,), (kernel // 2,), (kernel // 2,), (1,), 1)
        grid = found.activations[node]
        values = by_hand.on_grid(layer, sums, rows_on_axis(sums.shape, 1), grid)
        terms.append(torch.from_numpy(values + int(grid.zero_point)).int())
    grids = [found.activations[name] for name in names]
    total = integer_sum(terms, grids[:2], [0.75, -1.0], grids[2]).numpy() - int(grids[2].zero_point)
    sums = by_hand.convolution(last, total, (1,), (1,), (0,), (0,), (1,), 1)
    np.testing.assert_array_equal(result, by_hand.as_floats(last, sums, rows_on_axis(sums.shape, 1)))


def test_what_is_put_side_by_side_shares_a_grid_and_maxima_stay_on_it() -> None:
    class Network(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one, self.other, self.last = nn.Conv1d(3, 2, 1), nn.Conv1d(3, 2, 1), nn.Conv1d(4, 6, 1, groups=2)

        def forward(self, x: Tensor) -> Tensor:
            both = torch.cat([self.one(x), self.other(x).flip(-1)], dim=1)
            return self.last(functional.max_pool1d(both, 2))

    found, x, result = quantized(Network(), "matrix", 3, 8)
    grid = found.activations["one"]
    assert grid is found.activations["other"]
    integers, parts = input_integers(found, x, "x"), []
    for name in ("one", "other"):
        layer = layer_of(found, name)
        sums = by_hand.convolution(layer, integers, (1,), (1,), (0,), (0,), (1,), 1)
        parts.append(by_hand.on_grid(layer, sums, rows_on_axis(sums.shape, 1), grid))
    both = np.concatenate([parts[0], parts[1][..., ::-1]], axis=1)
    pooled = both.reshape(*both.shape[:2], -1, 2).max(-1)
    last = layer_of(found, "last")
    sums = by_hand.convolution(last, pooled, (1,), (1,), (0,), (0,), (1,), 2)
    np.testing.assert_array_equal(result, by_hand.as_floats(last, sums, rows_on_axis(sums.shape, 1)))


def test_dynamic_ranges_are_those_of_each_input() -> None:
    module = nn.Conv1d(4, 6, 3, padding=1, groups=2)
    torch.manual_seed(0)
    data = [torch.randn(2, 4, 9) for _ in range(3)]
    found = quantize(module, PtqConfig(LayerConfig(ranges="dynamic")), TensorData(data))
    layer = found.layers["Conv1d"]
    assert isinstance(layer, DynamicLinear)
    x = torch.stack([torch.randn(4, 9), 50 * torch.randn(4, 9)])
    result = found.model()(x).detach().numpy()
    weight = layer.weight.centred.numpy().astype(np.int64).reshape(6, 2, 3)
    for one, found_rows in zip(x.numpy(), result, strict=True):
        low, high = min(0.0, float(one.min())), max(0.0, float(one.max()))
        scale = np.float32((high - low) / 255)
        zero_point = np.rint(-low / float(scale))
        integers = np.clip(np.rint(one / scale) + zero_point, 0, 255).astype(np.int64) - int(zero_point)
        padded = np.pad(integers, ((0, 0), (1, 1)))
        sums = np.zeros((6, 9), np.int64)
        for out, t in np.ndindex(6, 9):
            first = out // 3 * 2
            sums[out, t] = (weight[out] * padded[first : first + 2, t : t + 3]).sum()
        scales = scale * layer.weight.scale[:, 0].numpy()
        expected = sums.astype(np.float32) * scales[:, None] + layer.bias.numpy()[:, None]
        np.testing.assert_array_equal(found_rows, expected)
