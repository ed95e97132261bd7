"""The integer reference: exact accumulators, and the same result as float arithmetic on the same grids."""

from dataclasses import replace

import pytest
import torch

from kaldi_quant.errors import UsageError
from kaldi_quant.quant.gptq import gptq_round
from kaldi_quant.quant.grid import Grid
from kaldi_quant.quant.integer_linear import InputGrid, IntegerLinear, least_scale
from kaldi_quant.quant.quantized_weight import QuantizedWeight
from kaldi_quant.quant.spec import QSpec
from kaldi_quant.quant.weight_grids import minmax_grid, mse_grid

CASES = 300


def random_layer(seed: int) -> tuple[IntegerLinear, Grid, torch.Tensor]:
    """A layer of random shape, widths, zero points and ranges, its input's grid, and inputs on that grid."""
    random = torch.Generator().manual_seed(seed)

    def pick(low: int, high: int) -> int:
        return int(torch.randint(low, high + 1, (1,), generator=random))

    rows, columns, bits, act_bits = pick(1, 40), pick(1, 200), pick(2, 8), pick(2, 8)
    weight = torch.randn(rows, columns, generator=random) * 10.0 ** pick(-4, 3)
    weight[pick(0, rows - 1)] = 0.0
    low, high = -float(pick(0, 1000)), float(pick(1, 100000))
    spec = QSpec(act_bits, signed=False, symmetric=pick(0, 1) == 0)
    inputs = Grid.from_range(spec, torch.tensor(low), torch.tensor(high))
    per_column = pick(0, 1) == 1
    expanded = (inputs.scale.expand(columns), inputs.zero_point.expand(columns), spec.qmin, spec.qmax)
    columns_grid = InputGrid(*expanded, per_column)
    scaled = (weight * columns_grid.folded).float()
    bias = torch.randn(rows, generator=random, dtype=torch.float64) * float((weight * inputs.scale).abs().mean() + 1)
    grid = minmax_grid(scaled, QSpec(bits, symmetric=pick(0, 1) == 0, per_channel=pick(0, 1) == 0))
    least = least_scale(bias, columns_grid)
    grid = replace(grid, scale=torch.maximum(grid.scale, least if grid.scale.dim() else least.max()))
    layer = IntegerLinear.build(QuantizedWeight.on_grid(grid, grid.quantize(scaled)), bias, columns_grid)
    integers = torch.randint(spec.qmin, spec.qmax + 1, (pick(1, 30), columns), generator=random)
    return layer, inputs, inputs.dequantize(integers)


@pytest.mark.parametrize("first", range(0, CASES, 50))
def test_fake_quantization_and_the_integer_reference_agree_exactly(first: int) -> None:
    for seed in range(first, first + 50):
        layer, grid, x = random_layer(seed)
        integers = grid.quantize(x).long() - grid.zero_point
        reference = integers @ layer.weight.centred.long().T + layer.bias.long()
        assert reference.abs().max() < 2**31
        # The fake-quantized values lead back to the very same accumulators.
        assert torch.equal(layer.accumulate(layer.inputs.integers(grid.fake(x))).long(), reference)
        assert torch.equal(layer.forward(x), reference.float() * layer.accumulator_scale)


def test_dequantized_parameters_are_those_of_a_float_layer() -> None:
    layer, _, x = random_layer(7)
    float_layer = x.double() @ layer.dequantized_weight().double().T + layer.dequantized_bias().double()
    expected = layer.forward(x).double()
    assert (float_layer - expected).abs().max() <= 1e-5 * expected.abs().max()


def test_widths_that_overflow_the_accumulator_are_refused() -> None:
    spec = QSpec(16, per_channel=True)
    weight = torch.ones(2, 100)
    grid = minmax_grid(weight, spec)
    inputs = InputGrid(torch.ones(100), torch.zeros(100, dtype=torch.int32), 0, 2**16 - 1, per_column=False)
    with pytest.raises(UsageError, match="overflow 32-bit accumulators"):
        IntegerLinear.build(QuantizedWeight.on_grid(grid, grid.quantize(weight)), torch.zeros(2), inputs)


@pytest.mark.parametrize("bits", [2, 3, 4])
def test_gptq_loses_less_than_rounding(bits: int) -> None:
    random = torch.Generator().manual_seed(bits)
    mixing = torch.randn(48, 48, generator=random)
    x = torch.randn(2000, 48, generator=random) @ mixing
    weight = torch.randn(24, 48, generator=random)
    grid = mse_grid(weight, QSpec(bits, per_channel=True))
    hessian = (x.T @ x).double()

    def loss(integers: torch.Tensor) -> float:
        return float(((grid.dequantize(integers) - weight) @ x.T).square().mean())

    assert loss(gptq_round(weight, grid, hessian)) < 0.7 * loss(grid.quantize(weight))


def test_gptq_takes_inputs_that_are_always_zero() -> None:
    hessian = torch.diag(torch.tensor([1.0, 0.0, 2.0], dtype=torch.float64))
    weight = torch.randn(4, 3, generator=torch.Generator().manual_seed(0))
    grid = minmax_grid(weight, QSpec(4, per_channel=True))
    assert torch.equal(gptq_round(weight, grid, hessian), grid.quantize(weight))
