"""Coordinate descent: never worse, and it ends where no single integer can be changed for the better."""

import pytest
import torch

from kaldi_quant.quant.coordinate_descent import descend
from kaldi_quant.quant.gptq import gptq_round
from kaldi_quant.quant.spec import QSpec
from kaldi_quant.quant.weight_grids import mse_grid
from tests.quant.layer_problems import combinations, errors, problem, second_moments

SPECS = [QSpec(2, symmetric=False, per_channel=True), QSpec(3, per_channel=True), QSpec(4)]


@pytest.mark.parametrize("columns", [24, 160])
@pytest.mark.parametrize("spec", SPECS)
def test_no_row_gets_worse_and_all_together_better(columns: int, spec: QSpec) -> None:
    weight, inputs = problem(spec.bits, columns=columns)
    hessian = second_moments(inputs)
    grid = mse_grid(weight, spec)
    for begin in (grid.quantize(weight), gptq_round(weight, grid, hessian)):
        before = errors(weight, grid.dequantize(begin).double(), hessian)
        integers = descend(weight, begin, grid, hessian)
        after = errors(weight, grid.dequantize(integers).double(), hessian)
        assert (after <= before * (1 + 1e-9)).all()
        assert after.sum() < 0.98 * before.sum()
        assert spec.qmin <= int(integers.min()) and int(integers.max()) <= spec.qmax


@pytest.mark.parametrize("columns", [24, 160])
def test_it_ends_where_no_single_change_helps(columns: int) -> None:
    weight, inputs = problem(5, out=6, columns=columns)
    hessian, spec = second_moments(inputs), QSpec(3, symmetric=False, per_channel=True)
    grid = mse_grid(weight, spec)
    integers = descend(weight, grid.quantize(weight), grid, hessian, passes=1000)
    least = errors(weight, grid.dequantize(integers).double(), hessian)
    for column in range(columns):
        for value in range(spec.qmin, spec.qmax + 1):
            changed = integers.clone()
            changed[:, column] = value
            assert (errors(weight, grid.dequantize(changed).double(), hessian) >= least * (1 - 1e-9)).all()


def test_with_two_columns_it_is_near_the_best() -> None:
    exact = 0
    for seed in range(60):
        weight, inputs = problem(seed, out=1, columns=2)
        hessian = second_moments(inputs)
        grid = mse_grid(weight, QSpec(2, symmetric=False, per_channel=True))
        every = [grid.dequantize(integers).double() for integers in combinations([list(range(-2, 2))] * 2)]
        best = min(float(errors(weight, candidate, hessian)) for candidate in every)
        integers = descend(weight, gptq_round(weight, grid, hessian), grid, hessian)
        found = float(errors(weight, grid.dequantize(integers).double(), hessian))
        assert found >= best * (1 - 1e-9)
        exact += found <= best * (1 + 1e-9)
    assert exact >= 50


def test_independent_columns_come_to_the_nearest_wherever_they_begin() -> None:
    weight, inputs = problem(1)
    spec = QSpec(4, per_channel=True)
    grid = mse_grid(weight, spec)
    begin = torch.randint(spec.qmin, spec.qmax + 1, weight.shape, generator=torch.Generator().manual_seed(0))
    integers = descend(weight, begin.to(torch.int32), grid, torch.diag(inputs.square().mean(0)))
    assert torch.equal(integers, grid.quantize(weight))


def test_columns_without_input_and_rows_without_weights_keep_their_integers() -> None:
    weight, inputs = problem(2, out=3, columns=5)
    weight[1], inputs[:, 3] = 0.0, 0.0
    grid = mse_grid(weight, QSpec(4, per_channel=True))
    begin = grid.quantize(weight)
    begin[:, 3] = torch.tensor([7, -7, 1])
    integers = descend(weight, begin, grid, second_moments(inputs))
    assert torch.equal(integers[:, 3], begin[:, 3])
    assert not integers[1, [0, 1, 2, 4]].any()
    assert torch.equal(descend(weight, begin, grid, torch.zeros(5, 5)), begin)
    one = descend(weight, begin, grid, second_moments(inputs[:1]))
    assert int(one.abs().max()) <= 7
