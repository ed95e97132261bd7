"""GPTQ: no better than rounding where columns are independent, better where they are not."""

import pytest
import torch
from torch import Tensor

from kaldi_quant.quant import damping
from kaldi_quant.quant.damping import ordered_factor
from kaldi_quant.quant.gptq import gptq_round
from kaldi_quant.quant.grid import Grid
from kaldi_quant.quant.spec import QSpec
from kaldi_quant.quant.weight_grids import minmax_grid, mse_grid
from tests.quant.layer_problems import combinations, errors, problem, second_moments


@pytest.mark.parametrize("columns", [5, 200])
def test_independent_columns_are_rounded_to_the_nearest(columns: int) -> None:
    weight, inputs = problem(0, columns=columns)
    grid = mse_grid(weight, QSpec(3, per_channel=True))
    hessian = torch.diag(inputs.square().mean(0))
    assert torch.equal(gptq_round(weight, grid, hessian), grid.quantize(weight))


@pytest.mark.parametrize("columns", [24, 160])
@pytest.mark.parametrize("spec", [QSpec(2, symmetric=False, per_channel=True), QSpec(3, per_channel=True), QSpec(4)])
def test_correlated_columns_lose_less_than_by_rounding(columns: int, spec: QSpec) -> None:
    weight, inputs = problem(spec.bits, columns=columns)
    hessian = second_moments(inputs)
    grid = mse_grid(weight, spec)
    integers = gptq_round(weight, grid, hessian)
    assert spec.qmin <= int(integers.min()) and int(integers.max()) <= spec.qmax
    rounded = errors(weight, grid.fake(weight), hessian)
    assert errors(weight, grid.dequantize(integers).double(), hessian).sum() < 0.9 * rounded.sum()


def test_columns_are_taken_in_blocks_without_a_difference() -> None:
    # Column by column in one go, as the paper's first algorithm has it.
    weight, inputs = problem(7, out=4, columns=150, rows=400)
    hessian = second_moments(inputs)
    grid = mse_grid(weight, QSpec(3, per_channel=True))
    order = torch.argsort(hessian.diagonal(), descending=True)
    h = hessian[order][:, order]
    h = h + 0.01 * h.diagonal().mean() * torch.eye(150, dtype=torch.float64)
    rest, expected = weight[:, order].clone(), torch.zeros(4, 150, dtype=torch.int32)
    for column in range(150):
        inverse = torch.linalg.inv(h[column:, column:])
        rounded = grid.quantize(rest[:, column : column + 1])
        error = rest[:, column : column + 1] - grid.dequantize(rounded).double()
        rest[:, column:] -= error * inverse[0] / inverse[0, 0]
        expected[:, order[column]] = rounded[:, 0]
    assert torch.equal(gptq_round(weight, grid, hessian), expected)


def test_it_is_no_better_than_the_best_and_not_far_from_it() -> None:
    ratios = []
    for seed in range(40):
        weight, inputs = problem(seed, out=1, columns=3)
        hessian = second_moments(inputs)
        grid = mse_grid(weight, QSpec(2, symmetric=False, per_channel=True))

        def error(integers: Tensor, weight: Tensor = weight, grid: Grid = grid, hessian: Tensor = hessian) -> float:
            return float(errors(weight, grid.dequantize(integers).double(), hessian))

        best = min(error(integers) for integers in combinations([list(range(-2, 2))] * 3))
        found = error(gptq_round(weight, grid, hessian, damping=1e-9))
        assert found >= best * (1 - 1e-9)
        ratios.append(found / best)
    assert sorted(ratios)[20] < 1.5


def test_singular_moments_and_rows_without_weights() -> None:
    weight, inputs = problem(3, out=4, columns=6)
    weight[2] = 0.0
    grid = minmax_grid(weight, QSpec(4, per_channel=True))
    # Two frames; a column that another one repeats; one that never has an input.
    some = inputs[:2].clone()
    some[:, 4], some[:, 5] = some[:, 1], 0.0
    for hessian in (second_moments(some), torch.zeros(6, 6, dtype=torch.float64)):
        integers = gptq_round(weight, grid, hessian)
        assert torch.equal(integers[:, 5], grid.quantize(weight)[:, 5])
        assert not integers[2].any()
        assert int(integers.abs().max()) <= 7


def test_a_matrix_is_factorised_once_for_all_widths_and_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []
    before = len(damping._KNOWN)
    factor = torch.linalg.cholesky_ex

    def counted(matrix: torch.Tensor) -> object:
        calls.append(len(matrix))
        return factor(matrix)

    monkeypatch.setattr(torch.linalg, "cholesky_ex", counted)
    x = torch.randn(50, 6, generator=torch.Generator().manual_seed(0)).double()
    hessian = x.T @ x
    first, same = ordered_factor(hessian), ordered_factor(hessian)
    assert first is same and calls == [6]
    assert not torch.equal(ordered_factor(hessian, 0.1).factor, first.factor) and calls == [6, 6]
    ordered_factor(hessian.view(6, 6))
    assert calls == [6, 6, 6]
    del hessian
    assert len(damping._KNOWN) == before
