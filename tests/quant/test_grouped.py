"""Products of groups: what is found for all groups together is what each would be found to be alone."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from kaldi_quant.quant.adaround import AdaRoundOptions
from kaldi_quant.quant.calibration import InputStatistics
from kaldi_quant.quant.grouped import by_group, cross_moments, grouped_linear, quadratic
from kaldi_quant.quant.integer_linear import DynamicLinear, InputGrid, IntegerLinear
from kaldi_quant.quant.layer_config import LayerConfig
from kaldi_quant.quant.layer_reconstruction import reconstruct
from kaldi_quant.quant.paired_moments import PairedMoments, PairedSample
from kaldi_quant.quant.quantized_weight import QuantizedWeight
from kaldi_quant.quant.spec import QSpec
from kaldi_quant.quant.weight_rounding import Fit, learn_rounding, on_grid, round_weight

GROUPS, OUT, COLUMNS, ROWS = 3, 4, 5, 60
METHODS = ("minmax", "mse", "gptq", "descent")


def inputs(seed: int, groups: int = GROUPS) -> Tensor:
    """(ROWS, groups * COLUMNS), correlated within and between groups; one column is always zero."""
    random = torch.Generator().manual_seed(seed)
    mixing = torch.randn(groups * COLUMNS, groups * COLUMNS, generator=random)
    x = torch.randn(ROWS, groups * COLUMNS, generator=random) @ mixing + 1
    x[:, 2] = 0
    return x


def weights(seed: int) -> Tensor:
    """(GROUPS * OUT, COLUMNS), some rows much larger than others, one of zeros."""
    rows = torch.randn(GROUPS * OUT, COLUMNS, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    rows[1] = 0
    return rows * torch.logspace(-2, 2, GROUPS * OUT, dtype=torch.float64).unsqueeze(1)


def of_group(x: Tensor, group: int) -> Tensor:
    return x[:, group * COLUMNS : (group + 1) * COLUMNS]


def moments_of(x: Tensor, y: Tensor, groups: int) -> PairedMoments:
    moments = PairedMoments(x.shape[1] // groups, groups)
    for some, others in zip(x.split(25), y.split(25), strict=True):
        moments.add(some, others)
    return moments


@pytest.mark.parametrize("shape", [(7,), (2, 3), ()])
def test_a_product_is_that_of_a_grouped_convolution(shape: tuple[int, ...]) -> None:
    x = torch.randn(*shape, GROUPS * COLUMNS, dtype=torch.float64)
    weight, bias = weights(0), torch.randn(GROUPS * OUT, dtype=torch.float64)
    expected = functional.conv1d(x.reshape(-1, GROUPS * COLUMNS, 1), weight.unsqueeze(2), bias, groups=GROUPS)
    found = grouped_linear(x, weight, bias, GROUPS)
    torch.testing.assert_close(found, expected.reshape(*shape, GROUPS * OUT))
    torch.testing.assert_close(grouped_linear(x, weight, groups=GROUPS), found - bias)


def test_moments_are_those_of_each_group() -> None:
    x = inputs(0).double()
    y = x.round()
    found, statistics = moments_of(y, x, GROUPS), InputStatistics(COLUMNS, outer=True, groups=GROUPS)
    statistics.see(x)
    weight = weights(1)
    compensated = found.compensated(weight)
    for group in range(GROUPS):
        alone = moments_of(of_group(y, group), of_group(x, group), 1)
        torch.testing.assert_close(found.covariance[group], alone.covariance)
        torch.testing.assert_close(found.cross_covariance[group], alone.cross_covariance)
        rows = by_group(weight, GROUPS)[group]
        torch.testing.assert_close(by_group(compensated, GROUPS)[group], alone.compensated(rows))
        seen = InputStatistics(COLUMNS, outer=True)
        seen.see(of_group(x, group))
        torch.testing.assert_close(statistics.covariance[group], seen.covariance)
    torch.testing.assert_close(found.mean, y.mean(0))
    torch.testing.assert_close(found.float_mean, x.mean(0))


@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize("method", METHODS)
def test_rows_with_scales_of_their_own_are_rounded_as_each_group_alone(method: str, symmetric: bool) -> None:
    weight, x = weights(2), inputs(2).double()
    hessian = cross_moments(x, x, GROUPS) / len(x)
    config = LayerConfig(bits=3, method=method, symmetric=symmetric)
    least = torch.full((len(weight), 1), 0.02)
    found = round_weight(weight, config, hessian, least)
    assert found.groups == GROUPS and found.integers.shape == weight.shape
    for group in range(GROUPS):
        rows = slice(group * OUT, (group + 1) * OUT)
        alone = round_weight(weight[rows], config, hessian[group], least[rows])
        assert torch.equal(found.integers[rows], alone.integers)
        assert torch.equal(found.scale[rows], alone.scale)
        assert torch.equal(found.zero_point[rows], alone.zero_point)
    assert (found.scale >= 0.02).all()


@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize("method", METHODS)
def test_one_scale_for_the_matrix_serves_all_groups(method: str, symmetric: bool) -> None:
    sizes = torch.tensor([1.0, 3.0, 9.0]).repeat_interleave(OUT).unsqueeze(1)
    weight, x = functional.normalize(weights(3)) * sizes, inputs(3).double()
    hessian = cross_moments(x, x, GROUPS) / len(x)
    config = LayerConfig(bits=4, method=method, symmetric=symmetric, per_channel=False)
    found = round_weight(weight, config, hessian, torch.zeros(len(weight), 1))
    assert len(found.scale.unique()) == len(found.zero_point.unique()) == 1

    def loss(dequantized: Tensor) -> float:
        lost = by_group(weight - dequantized, GROUPS)
        return float(((lost @ hessian) * lost).sum())

    if method == "gptq":
        # What a group's inputs are counts: the least group decides as soon as nothing else is read.
        alone = torch.cat([hessian[:1], hessian[1:] * 1e-15])
        small = round_weight(weight, config, alone, torch.zeros(len(weight), 1))
        assert float(small.scale[0]) < 0.3 * float(found.scale[0])
    if method == "descent":
        for worse in METHODS[:3]:
            other = round_weight(weight, LayerConfig(4, 8, worse, False, symmetric), hessian, torch.zeros(12, 1))
            assert loss(found.dequantized()) <= loss(other.dequantized()) * (1 + 1e-9)


def test_learned_rounding_is_no_worse_in_any_row() -> None:
    weight, x = functional.normalize(weights(4)), inputs(4)
    y = x + 0.05 * torch.randn(x.shape, generator=torch.Generator().manual_seed(0))
    moments, sample = moments_of(x, y, GROUPS), PairedSample()
    sample.add(x, y)
    fit = Fit(moments.compensated(weight), moments.covariance, moments.mean, moments.float_mean, sample)
    assert fit.groups == GROUPS
    begin = round_weight(fit.target, LayerConfig(bits=2, method="adaround"), fit.covariance, torch.zeros(12, 1))
    bias = torch.linspace(-1, 1, len(weight), dtype=torch.float64)
    folded = torch.ones(COLUMNS, dtype=torch.float64)
    found, learned = learn_rounding(begin, fit, folded, (weight, bias), True, AdaRoundOptions(300, 32))
    target = grouped_linear(y.double(), weight, bias, GROUPS).relu()

    def losses(quantized: QuantizedWeight, bias: Tensor) -> Tensor:
        rows = grouped_linear(x.double(), quantized.dequantized(), bias, GROUPS).relu()
        return (rows - target).square().mean(0)

    mean = grouped_linear(moments.mean, begin.dequantized(), groups=GROUPS)
    first_bias = grouped_linear(moments.float_mean, weight, bias, GROUPS) - mean
    first, last = losses(begin, first_bias), losses(found, learned)
    assert (last <= first * 1.001 + 1e-6).all()
    assert (last < 0.9 * first).sum() >= 2


def test_integers_of_groups_are_summed_apart() -> None:
    random = torch.Generator().manual_seed(5)
    grid, integers = reconstruct(
        by_group(weights(5), GROUPS), QSpec(4, per_channel=True), torch.eye(COLUMNS).double().expand(GROUPS, -1, -1)
    )
    weight = QuantizedWeight(
        grid.spec, integers.flatten(0, 1), grid.scale.flatten(0, 1), grid.zero_point.flatten(0, 1), GROUPS
    )
    columns = InputGrid(torch.full((COLUMNS,), 0.25), torch.full((COLUMNS,), 3, dtype=torch.int32), 0, 255, False)
    layer = IntegerLinear.build(weight, torch.randn(12, generator=random, dtype=torch.float64), columns)
    steps = torch.randint(-3, 200, (2, 7, GROUPS * COLUMNS), generator=random)
    x = steps * 0.25
    sums = torch.stack(
        [
            sum(steps[..., row // OUT * COLUMNS + c] * int(weight.integers[row, c]) for c in range(COLUMNS))
            + layer.bias[row]
            for row in range(len(weight.integers))
        ],
        dim=-1,
    )
    assert torch.equal(layer.accumulate(layer.inputs.integers(x)), sums.double())
    assert torch.equal(on_grid(columns)(x + 0.1), x)
    dynamic = DynamicLinear.build(weight, torch.zeros(12), QSpec(8, signed=False, symmetric=False))
    expected = grouped_linear(x, weight.dequantized().float(), groups=GROUPS)
    torch.testing.assert_close(dynamic.forward(x), expected, rtol=0.02, atol=float(expected.abs().max()) * 0.02)


def test_the_covariance_of_outputs_of_groups_has_no_other_blocks() -> None:
    weight, x = weights(6), inputs(6).double()
    found = quadratic(weight, cross_moments(x, x, GROUPS))
    outputs = grouped_linear(x, weight, groups=GROUPS)
    whole = outputs.T @ outputs
    for row in range(GROUPS * OUT):
        for column in range(GROUPS * OUT):
            expected = whole[row, column] if row // OUT == column // OUT else torch.zeros_like(whole[0, 0])
            torch.testing.assert_close(found[row, column], expected)
    torch.testing.assert_close(quadratic(weight[:, :], torch.eye(COLUMNS).double()), weight @ weight.T)
