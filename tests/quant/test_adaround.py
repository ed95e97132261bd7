"""AdaRound: a choice between neighbours, never worse than what it begins with, near the best where that is known."""

import pytest
import torch
from torch import Tensor

from kaldi_quant.quant.adaround import AdaRoundOptions, adaround
from kaldi_quant.quant.grid import Grid
from kaldi_quant.quant.layer_reconstruction import reconstruct
from kaldi_quant.quant.spec import QSpec
from kaldi_quant.quant.weight_grids import mse_grid
from tests.quant.layer_problems import combinations, errors

QUICK = AdaRoundOptions(steps=300, rows=128)
SPECS = [QSpec(2, symmetric=False, per_channel=True), QSpec(3, per_channel=True), QSpec(4)]


def layer(seed: int, out: int = 12, columns: int = 48, rows: int = 600) -> tuple[Tensor, Tensor, Tensor]:
    """A weight, inputs as of a quantized layer with a ReLU, and a float layer's outputs, mostly negative."""
    random = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=random, dtype=torch.float64)

    before = normal(rows, columns // 3) @ normal(columns // 3, columns)
    float_inputs = (before + 0.5 * before.std(0) * normal(rows, columns)).relu()
    weight = normal(out, columns)
    targets = float_inputs @ weight.T
    targets -= targets.mean(0) + targets.std(0)
    return weight, float_inputs + 0.03 * float_inputs.std(0) * normal(rows, columns), targets


def covariance(inputs: Tensor) -> Tensor:
    return torch.cov(inputs.T, correction=0)


def sample_errors(quantized: Tensor, bias: Tensor, inputs: Tensor, targets: Tensor, relu: bool) -> Tensor:
    """(out,): mean squared errors, after the ReLU if there is one."""
    outputs = inputs @ quantized.T + bias
    lost = outputs.relu() - targets.relu() if relu else outputs - targets
    return lost.square().mean(0)


def mean_bias(quantized: Tensor, inputs: Tensor, targets: Tensor) -> Tensor:
    return (targets - inputs @ quantized.T).mean(0)


@pytest.mark.parametrize("relu", [False, True])
@pytest.mark.parametrize("spec", SPECS)
def test_no_output_is_worse_than_where_it_begins_and_most_are_better(spec: QSpec, relu: bool) -> None:
    weight, inputs, targets = layer(spec.bits)
    grid, begin = reconstruct(weight, spec, covariance(inputs))
    integers, bias = adaround(weight, grid, begin, inputs, targets, relu, QUICK)
    first, found = grid.dequantize(begin).double(), grid.dequantize(integers).double()
    before = sample_errors(first, mean_bias(first, inputs, targets), inputs, targets, relu)
    after = sample_errors(found, bias, inputs, targets, relu)
    assert (after <= before * (1 + 1e-4)).all()
    # Coordinate descent has left little to gain without a ReLU.
    assert after.sum() < (0.9 if relu else 0.999) * before.sum()


@pytest.mark.parametrize("spec", SPECS)
def test_each_integer_is_one_of_two_neighbours_on_the_grid(spec: QSpec) -> None:
    weight, inputs, targets = layer(1)
    grid = mse_grid(weight.float(), spec)
    begin = (grid.quantize(weight) + torch.randint(-2, 3, weight.shape)).clamp(spec.qmin, spec.qmax).to(torch.int32)
    integers, _ = adaround(weight, grid, begin, inputs, targets, True, QUICK)
    assert integers.dtype == torch.int32 and not torch.equal(integers, begin)
    assert spec.qmin <= int(integers.min()) and int(integers.max()) <= spec.qmax
    steps = weight / grid.scale + grid.zero_point
    # Either the one given, or the next one on the weight's side of it.
    towards = torch.where(steps >= begin, 1, -1)
    moved = integers - begin
    beyond = (begin == spec.qmin) | (begin == spec.qmax)
    assert ((moved == 0) | (moved == towards) | (beyond & (moved.abs() == 1))).all()


def test_without_a_relu_it_is_nearly_the_best_of_all_choices() -> None:
    # Rows are problems of their own: 60 of them, with eight choices each.
    weight, inputs, _ = layer(2, out=60, columns=3)
    targets = inputs @ weight.T
    spec = QSpec(2, symmetric=False, per_channel=True)
    grid = mse_grid(weight.float(), spec)
    begin = grid.quantize(weight)
    integers, _ = adaround(weight, grid, begin, inputs, targets, False, QUICK)
    moments = covariance(inputs)
    best = torch.stack([errors(weight, candidate, moments) for candidate in choices(weight, grid, begin)]).amin(0)
    found = errors(weight, grid.dequantize(integers).double(), moments)
    nearest = errors(weight, grid.dequantize(begin).double(), moments)
    assert (found >= best * (1 - 1e-4)).all()
    assert found.sum() - best.sum() < 0.5 * (nearest.sum() - best.sum())


def test_with_a_relu_it_is_nearly_the_best_of_all_choices() -> None:
    weight, inputs, targets = layer(3, out=60, columns=3, rows=300)
    spec = QSpec(2, symmetric=False, per_channel=True)
    grid = mse_grid(weight.float(), spec)
    begin = grid.quantize(weight)
    integers, bias = adaround(weight, grid, begin, inputs, targets, True, AdaRoundOptions(steps=1000, rows=64))
    every = [best_with_any_bias(candidate, inputs, targets) for candidate in choices(weight, grid, begin)]
    best = torch.stack(every).amin(0)
    found = sample_errors(grid.dequantize(integers).double(), bias, inputs, targets, True)
    first = grid.dequantize(begin).double()
    nearest = sample_errors(first, mean_bias(first, inputs, targets), inputs, targets, True)
    assert (found >= best - 0.001 * nearest).all()
    assert found.sum() - best.sum() < 0.5 * (nearest.sum() - best.sum())


def best_with_any_bias(quantized: Tensor, inputs: Tensor, targets: Tensor) -> Tensor:
    """(out,): the least error behind a ReLU, by a search over biases in coarse steps and then in fine ones."""
    centre, spread = mean_bias(quantized, inputs, targets), targets.std(0)
    best = sample_errors(quantized, centre, inputs, targets, True)
    for step in (0.05, 0.001):
        middle = centre
        for shift in range(-50, 51):
            bias = middle + step * shift * spread
            lost = sample_errors(quantized, bias, inputs, targets, True)
            centre = torch.where(lost < best, bias, centre)
            best = torch.minimum(best, lost)
    return best


def choices(weight: Tensor, grid: Grid, begin: Tensor) -> list[Tensor]:
    """The weights, (out, in) float64, of each combination of neighbours that all rows take."""
    spec, steps = grid.spec, weight / grid.scale + grid.zero_point
    lower = torch.where(steps >= begin, begin, begin - 1).clamp(spec.qmin, spec.qmax - 1)
    shares = combinations([[0, 1]] * weight.shape[1])
    return [grid.dequantize((lower + share).to(torch.int32)).double() for share in shares]


def test_what_a_relu_hides_is_left_to_be_wrong() -> None:
    weight, inputs, targets = layer(4)
    grid, begin = reconstruct(weight, QSpec(3, per_channel=True), covariance(inputs))
    losses = []
    for relu in (False, True):
        integers, bias = adaround(weight, grid, begin, inputs, targets, relu, QUICK)
        losses.append(sample_errors(grid.dequantize(integers).double(), bias, inputs, targets, True).sum())
    assert losses[1] < 0.9 * losses[0]


def test_behind_a_relu_it_does_not_matter_which_negative_value_was_where() -> None:
    weight, inputs, targets = layer(8)
    # Steps of 1/64 have sums that are exact in float32: the means stay the same.
    targets = (64 * targets).round() / 64
    moved = torch.where(targets < 0, 0.0, targets)
    for column, values in enumerate(targets.T):
        moved[values < 0, column] = values[values < 0].sort().values
    grid, begin = reconstruct(weight, QSpec(3, per_channel=True), covariance(inputs))
    found, again = (adaround(weight, grid, begin, inputs, wanted, True, QUICK) for wanted in (targets, moved))
    assert torch.equal(found[0], again[0]) and torch.equal(found[1], again[1])
    assert not torch.equal(moved, targets) and not torch.equal(found[0], begin)


def test_without_a_relu_the_bias_leaves_no_mean_error() -> None:
    weight, inputs, targets = layer(5)
    grid, begin = reconstruct(weight, QSpec(2, per_channel=True), covariance(inputs))
    integers, bias = adaround(weight, grid, begin, inputs, targets, False, QUICK)
    expected = mean_bias(grid.dequantize(integers).double(), inputs, targets)
    torch.testing.assert_close(bias, expected, rtol=1e-4, atol=1e-5 * float(targets.std()))


def test_the_same_seed_gives_the_same_integers() -> None:
    weight, inputs, targets = layer(6)
    grid, begin = reconstruct(weight, QSpec(2, per_channel=True), covariance(inputs))
    first, second = (adaround(weight, grid, begin, inputs, targets, True, QUICK) for _ in range(2))
    assert torch.equal(first[0], second[0]) and torch.equal(first[1], second[1])
    unchanged, _ = adaround(weight, grid, begin, inputs, targets, True, AdaRoundOptions(steps=0))
    assert torch.equal(unchanged, begin) and not torch.equal(first[0], begin)


@pytest.mark.parametrize("relu", [False, True])
@pytest.mark.parametrize("case", ["silence", "one row", "constant column", "empty row", "negative targets"])
def test_inputs_and_weights_that_say_little(case: str, relu: bool) -> None:
    weight, inputs, targets = layer(7)
    if case == "silence":
        inputs = torch.zeros_like(inputs)
    elif case == "one row":
        inputs, targets = inputs[:1], targets[:1]
    elif case == "constant column":
        inputs[:, 3] = 5.0
    elif case == "empty row":
        weight[1], targets[:, 1] = 0.0, 0.25
    else:
        targets = -targets.abs()
    spec = QSpec(3, per_channel=True)
    grid = mse_grid(weight.float(), spec)
    begin = grid.quantize(weight)
    integers, bias = adaround(weight, grid, begin, inputs, targets, relu, QUICK)
    assert bias.isfinite().all()
    assert spec.qmin <= int(integers.min()) and int(integers.max()) <= spec.qmax
    if case == "empty row":
        assert not integers[1].any()
        assert float(bias[1]) == pytest.approx(0.25, rel=1e-5)
    if case == "one row":
        quantized = grid.dequantize(integers).double()
        torch.testing.assert_close(inputs @ quantized.T + bias, targets, rtol=1e-4, atol=1e-4)
