"""Scales by groups of columns, and weights alone in integers."""

from pathlib import Path

import pytest
import torch

from kaldi_quant.errors import UsageError
from kaldi_quant.quant.grid import Grid
from kaldi_quant.quant.groupwise_linear import GroupwiseLinear
from kaldi_quant.quant.integer_linear import DynamicLinear, InputGrid
from kaldi_quant.quant.kept_layers import KeptLayers
from kaldi_quant.quant.layer_config import LayerConfig
from kaldi_quant.quant.presets import resolve
from kaldi_quant.quant.quantized_weight import QuantizedWeight
from kaldi_quant.quant.rounding_methods import ROUNDING_METHODS
from kaldi_quant.quant.spec import QSpec
from kaldi_quant.quant.weight_grids import minmax_grid, mse_grid, refit_scale
from kaldi_quant.quant.weight_only import WeightOnlyLinear
from kaldi_quant.quant.weight_rounding import round_weight
from tests.quant.layer_problems import errors, problem, second_moments

AFFINE = QSpec(4, symmetric=False, per_channel=True)
GROUPS = QSpec(4, symmetric=False, per_channel=True, group_size=10)


@pytest.mark.parametrize("make", [minmax_grid, mse_grid])
@pytest.mark.parametrize("symmetric", [True, False])
def test_each_group_has_the_grid_that_it_would_have_as_a_matrix(make: object, symmetric: bool) -> None:
    weight, _ = problem(0, columns=24)
    spec, alone = (QSpec(3, symmetric=symmetric, per_channel=True, group_size=size) for size in (10, 0))
    found = make(weight.float(), spec)  # type: ignore[operator]
    for begin, end in ((0, 10), (10, 20), (20, 24)):
        expected = make(weight[:, begin:end].float(), alone)  # type: ignore[operator]
        assert torch.equal(found.scale[:, begin:end], expected.scale.expand(-1, end - begin))
        assert torch.equal(found.zero_point[:, begin:end], expected.zero_point.expand(-1, end - begin))


@pytest.mark.parametrize("method", [name for name in ROUNDING_METHODS if name != "adaround"])
def test_all_methods_lose_less_with_groups_and_no_more_with_one_group(method: str) -> None:
    weight, inputs = problem(3, columns=96)
    # Weights of one row differ in size from column to column.
    weight = weight * torch.logspace(-1, 1, 96, dtype=torch.float64)
    hessian, least = second_moments(inputs), torch.zeros(len(weight), 1)
    lost = {}
    for size in (0, 8, 96, 200):
        config = LayerConfig(bits=3, method=method, symmetric=False, group_size=size)
        found = round_weight(weight, config, hessian, least)
        assert found.scale.shape == found.zero_point.shape == (len(weight), 12 if size == 8 else 1)
        lost[size] = float(errors(weight, found.dequantized(), hessian).sum())
    assert lost[8] < 0.7 * lost[0]
    assert lost[96] == lost[200] == pytest.approx(lost[0], rel=0.05)


def test_later_methods_are_better_than_earlier_ones() -> None:
    weight, inputs = problem(4, columns=64)
    hessian, least = second_moments(inputs), torch.zeros(len(weight), 1)
    lost = []
    for method in ("mse", "clip", "gptq", "descent"):
        config = LayerConfig(bits=3, method=method, symmetric=False, group_size=16)
        quantized = round_weight(weight, config, hessian, least)
        lost.append(float(errors(weight, quantized.dequantized(), hessian).sum()))
    assert lost == sorted(lost, reverse=True) and lost[-1] < 0.6 * lost[0]


def test_groups_of_convolutions_keep_scales_of_their_own() -> None:
    weights, inputs = zip(*(problem(seed, out=4, columns=12) for seed in (1, 2, 3)), strict=True)
    hessians = torch.stack([second_moments(x) for x in inputs])
    config = LayerConfig(bits=4, method="descent", symmetric=False, group_size=5)
    together = round_weight(torch.cat(weights), config, hessians, torch.zeros(12, 1))
    assert together.groups == 3 and together.scale.shape == (12, 3)
    for place, weight in enumerate(weights):
        alone = round_weight(weight, config, hessians[place], torch.zeros(4, 1))
        rows = slice(4 * place, 4 * place + 4)
        assert torch.equal(together.integers[rows], alone.integers) and torch.equal(together.scale[rows], alone.scale)


def test_refitted_scales_lose_no_more_and_are_the_best_where_groups_do_not_depend_on_each_other() -> None:
    weight, inputs = problem(5, columns=24)
    hessian = second_moments(inputs)
    grid = minmax_grid(weight.float(), GROUPS)
    integers = grid.quantize(weight)
    before = errors(weight, grid.dequantize(integers).double(), hessian)
    refitted = refit_scale(weight, integers, grid, hessian)
    assert bool((errors(weight, refitted.dequantize(integers).double(), hessian) <= before * (1 + 1e-6)).all())
    alone = refit_scale(weight, integers, grid)
    for begin, end in ((0, 10), (10, 20), (20, 24)):
        part = Grid(AFFINE, *(x[:, begin : begin + 1] for x in (grid.scale, grid.zero_point)))
        expected = refit_scale(weight[:, begin:end], integers[:, begin:end], part)
        torch.testing.assert_close(alone.scale[:, begin:end], expected.scale.expand(-1, end - begin))


def quantized(seed: int = 0, groups: int = 1) -> QuantizedWeight:
    weight, _ = problem(seed, columns=24)
    grid = minmax_grid(weight.float(), GROUPS)
    return QuantizedWeight.on_grid(grid, grid.quantize(weight), groups)


def test_sums_of_groups_are_integers_and_are_added_in_order() -> None:
    weight = quantized()
    inputs = InputGrid(torch.full((24,), 0.02), torch.full((24,), 7, dtype=torch.int32), 0, 255, per_column=False)
    layer = GroupwiseLinear.build(weight, torch.linspace(-1, 1, 12).double(), inputs)
    integers = torch.randint(-7, 249, (5, 24), generator=torch.Generator().manual_seed(1))
    total = torch.zeros(5, 12)
    for group, part in enumerate((slice(0, 10), slice(10, 20), slice(20, 24))):
        sums = (integers[:, part] @ weight.centred[:, part].long().T).to(torch.int32)
        scaled = sums.float() * (torch.tensor(0.02) * weight.scale[:, group])
        total = total + scaled if group else scaled
    assert torch.equal(layer.forward(integers * torch.tensor(0.02)), total + layer.bias)
    torch.testing.assert_close(
        layer.forward(integers * torch.tensor(0.02)), integers * 0.02 @ layer.dequantized_weight().T + layer.bias
    )


def test_grouped_inputs_and_dynamic_ranges() -> None:
    weight = quantized(groups=2)
    dynamic = DynamicLinear.build(weight, torch.zeros(12), QSpec(8, signed=False, symmetric=False))
    alone = WeightOnlyLinear.build(weight, torch.zeros(12))
    x = torch.randn(3, 9, 48, generator=torch.Generator().manual_seed(2))
    rows = weight.dequantized().float()
    expected = torch.cat([x[..., :24] @ rows[:6].T, x[..., 24:] @ rows[6:].T], dim=-1)
    torch.testing.assert_close(alone.forward(x), expected)
    assert float((dynamic.forward(x) - expected).abs().max()) < 0.02 * float(expected.abs().max())


def test_factors_of_columns_are_taken_back() -> None:
    weight, _ = problem(6)
    factor = torch.linspace(0.5, 2, 24)
    grid = minmax_grid((weight * factor).float(), QSpec(8, per_channel=True))
    integers = grid.quantize(weight * factor)
    layer = WeightOnlyLinear.build(QuantizedWeight.on_grid(grid, integers), torch.zeros(12), factor)
    assert float((layer.dequantized_weight() - weight).abs().max()) < float(grid.scale.max())


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"group_size": 1}, "group_size must be 0, or from 2 on, found 1"),
        ({"group_size": -32}, "group_size must be 0, or from 2 on, found -32"),
        ({"group_size": 32, "per_channel": False}, "group_size 32 needs per_channel"),
        ({"act_bits": 0, "ranges": "dynamic"}, "ranges 'dynamic' and act_bits 0 exclude each other"),
        ({"act_bits": 1}, "a width of 1 bits is not possible"),
    ],
)
def test_what_does_not_go_together_is_one_sentence(fields: dict, sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        LayerConfig(**fields)


def test_options_choose_groups_and_weights_alone() -> None:
    name, config = resolve(None, None, 4, 0, group_size=64)
    assert name == "awq-w4" and config.equalization == "awq"
    assert (config.default.bits, config.default.group_size, config.default.weights_only) == (4, 64, True)
    assert resolve("awq-w4-g32", None, None, None)[1].default.group_size == 32
    assert resolve("w4a8", None, None, None, group_size=32)[1].default.is_static


@pytest.mark.parametrize("with_factor", [True, False])
def test_layers_of_a_run_that_was_killed_are_kept(with_factor: bool, tmp_path: Path) -> None:
    kept, weight, bias = KeptLayers(tmp_path, "a" * 64), quantized(), torch.linspace(-1, 1, 12)
    inputs = InputGrid(torch.full((24,), 0.02), torch.full((24,), 7, dtype=torch.int32), 0, 255, per_column=False)
    alone = WeightOnlyLinear.build(weight, bias, torch.linspace(0.5, 2, 24) if with_factor else None)
    kept.keep_layer(0, alone)
    kept.keep_layer(1, GroupwiseLinear.build(weight, bias, inputs))
    for number, (grids, made) in enumerate(((None, alone), (inputs, GroupwiseLinear.build(weight, bias, inputs)))):
        found = kept.layer(number, grids)
        assert type(found) is type(made)
        assert torch.equal(found.dequantized_weight(), made.dequantized_weight()) and torch.equal(found.bias, bias)
