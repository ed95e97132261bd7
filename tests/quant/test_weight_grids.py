"""Grids for weights: what is searched is found, rows without weights stay usable, refitted scales are the best."""

import numpy as np
import pytest
import torch
from torch import Tensor

from kaldi_quant.quant.grid import Grid
from kaldi_quant.quant.spec import QSpec
from kaldi_quant.quant.weight_grids import minmax_grid, mse_grid, refit_scale
from tests.quant.layer_problems import errors, problem, second_moments

SPECS = [
    QSpec(bits, symmetric=symmetric, per_channel=per_channel)
    for bits in (2, 3, 8)
    for symmetric in (True, False)
    for per_channel in (True, False)
]


def squared_error(weight: Tensor, grid: Grid, importance: Tensor | None = None) -> Tensor:
    error = (grid.fake(weight) - weight).square()
    error = error if importance is None else error * importance
    return error.sum(1) if grid.spec.per_channel else error.sum()


@pytest.mark.parametrize("spec", SPECS)
def test_the_minmax_grid_clips_nothing(spec: QSpec) -> None:
    weight, _ = problem(0)
    grid = minmax_grid(weight, spec)
    assert grid.scale.shape == grid.zero_point.shape == ((len(weight), 1) if spec.per_channel else ())
    assert ((grid.fake(weight) - weight).abs() <= 0.5001 * grid.scale.double()).all()
    # No step is left unused: the largest weight lies at an end of the grid.
    integers = grid.quantize(weight)
    ends = (integers == spec.qmax) | (integers == spec.qmin)
    assert (ends.any(1) if spec.per_channel else ends.any()).all()


@pytest.mark.parametrize("spec", SPECS)
def test_the_mse_grid_loses_no_more_than_the_minmax_grid(spec: QSpec) -> None:
    weight, inputs = problem(1)
    importance = inputs.square().mean(0)
    for chosen in (None, importance):
        found = squared_error(weight, mse_grid(weight, spec, chosen), chosen)
        widest = squared_error(weight, minmax_grid(weight, spec), chosen)
        assert (found <= widest).all() and found.sum() < 0.98 * widest.sum()


@pytest.mark.parametrize("spec", [spec for spec in SPECS if spec.bits <= 3])
@pytest.mark.parametrize("weighted", [False, True])
def test_the_mse_grid_is_as_good_as_a_dense_search(spec: QSpec, weighted: bool) -> None:
    weight, inputs = problem(1, out=6, columns=100)
    importance = inputs.square().mean(0) if weighted else None
    found = squared_error(weight, mse_grid(weight, spec, importance), importance)
    widest = minmax_grid(weight, spec)
    # Shares of the scale that clips nothing, each with every zero point that is near.
    zero_points = [widest.zero_point]
    if not spec.symmetric:
        zero_points = [(widest.zero_point + k).clamp(spec.qmin, spec.qmax) for k in range(-4, 5)]
    best = torch.full_like(found, torch.inf)
    for zero_point in zero_points:
        for share in np.linspace(0.02, 2.0, 400):
            dense = Grid(spec, (widest.scale * share).float(), zero_point)
            best = torch.minimum(best, squared_error(weight, dense, importance))
    assert (found <= 1.01 * best).all()


def test_importance_decides_what_is_clipped() -> None:
    weight = torch.tensor([[0.1, -0.2, 0.3, 0.25, -0.15, 4.0]])
    spec = QSpec(3, per_channel=True)
    small, large = (mse_grid(weight, spec, torch.tensor([1.0] * 5 + [last])) for last in (0.0, 1e6))
    assert float(small.scale) * spec.qmax < 0.5
    assert float(large.fake(weight)[0, 5]) == pytest.approx(4.0, rel=0.02)


@pytest.mark.parametrize("spec", SPECS)
def test_rows_without_weights_have_a_positive_scale(spec: QSpec) -> None:
    weight, inputs = problem(2)
    weight[3] = 0.0
    grid = mse_grid(weight, spec, inputs.square().mean(0))
    assert (grid.scale > 0).all()
    assert not grid.fake(weight)[3].any()
    assert not mse_grid(torch.zeros(4, 7), spec).fake(torch.zeros(4, 7)).any()
    # Inputs that are always zero leave nothing to choose by.
    silent = mse_grid(weight, spec, torch.zeros(weight.shape[1]))
    assert (silent.scale > 0).all() and silent.scale.isfinite().all()


@pytest.mark.parametrize("spec", SPECS)
def test_a_refitted_scale_is_the_best_for_its_integers(spec: QSpec) -> None:
    weight, inputs = problem(3)
    grid = mse_grid(weight, spec)
    integers = grid.quantize(weight)
    refitted = refit_scale(weight, integers, grid, second_moments(inputs))
    assert torch.equal(refitted.zero_point, grid.zero_point)
    # Regression of the layer's output on what the integers alone would give.
    outputs, steps = (weight @ inputs.T).numpy(), ((integers - grid.zero_point).double() @ inputs.T).numpy()
    if spec.per_channel:
        rows = [np.linalg.lstsq(step[:, None], row, rcond=None)[0] for step, row in zip(steps, outputs, strict=True)]
        expected = np.array(rows)
    else:
        expected = np.linalg.lstsq(steps.reshape(-1, 1), outputs.reshape(-1), rcond=None)[0].reshape(())
    np.testing.assert_allclose(refitted.scale, expected, rtol=1e-5)
    plain = refit_scale(weight, integers, grid)
    assert (squared_error_of(weight, integers, plain) <= squared_error_of(weight, integers, grid) * (1 + 1e-6)).all()


def squared_error_of(weight: Tensor, integers: Tensor, grid: Grid) -> Tensor:
    lost = errors(weight, grid.dequantize(integers).double(), torch.eye(weight.shape[1], dtype=torch.float64))
    return lost if grid.spec.per_channel else lost.sum()


def test_scales_for_which_no_positive_one_is_best_stay() -> None:
    spec = QSpec(4, per_channel=True)
    grid = Grid(spec, torch.tensor([[0.5], [0.25], [2.0]]), torch.zeros(3, 1, dtype=torch.int32))
    weight = torch.tensor([[1.0, 2.0], [1.0, 2.0], [0.0, 0.0]])
    integers = torch.tensor([[-1, -2], [0, 0], [3, 1]], dtype=torch.int32)
    assert torch.equal(refit_scale(weight, integers, grid).scale, grid.scale)
    assert torch.equal(refit_scale(weight, integers, grid, torch.zeros(2, 2)).scale, grid.scale)
