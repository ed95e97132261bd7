"""The chain of methods: each goes on from the one before and loses less of the layer's output."""

import pytest
import torch

from kaldi_quant.quant.coordinate_descent import descend
from kaldi_quant.quant.damping import damped_factor
from kaldi_quant.quant.gptq import gptq_round
from kaldi_quant.quant.grid import Grid
from kaldi_quant.quant.layer_reconstruction import reconstruct
from kaldi_quant.quant.spec import QSpec
from kaldi_quant.quant.weight_grids import minmax_grid, mse_grid, refit_scale
from tests.quant.layer_problems import errors, problem, second_moments

SPECS = [
    QSpec(2, symmetric=False, per_channel=True),
    QSpec(3, symmetric=False),
    QSpec(4, per_channel=True),
]


@pytest.mark.parametrize("spec", SPECS)
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_each_step_loses_less_than_the_one_before(spec: QSpec, seed: int) -> None:
    weight, inputs = problem(seed)
    hessian = damped_factor(second_moments(inputs))[0]

    def lost(grid: Grid, integers: torch.Tensor) -> float:
        assert spec.qmin <= int(integers.min()) and int(integers.max()) <= spec.qmax
        return float(errors(weight, grid.dequantize(integers).double(), hessian).sum())

    widest, grid = minmax_grid(weight, spec), mse_grid(weight.float(), spec, hessian.diagonal().float())
    losses = [lost(widest, widest.quantize(weight)), lost(grid, grid.quantize(weight))]
    integers = gptq_round(weight, grid, second_moments(inputs))
    losses.append(lost(grid, integers))
    integers = descend(weight, integers, grid, hessian)
    losses.append(lost(grid, integers))
    losses.append(lost(refit_scale(weight, integers, grid, hessian), integers))
    losses += [lost(*reconstruct(weight, spec, second_moments(inputs), refits=refits)) for refits in (1, 3)]
    assert losses == sorted(losses, reverse=True)
    assert losses[-1] < 0.99 * losses[2] < 0.8 * losses[1]


@pytest.mark.parametrize("spec", SPECS)
def test_scales_stay_above_the_least(spec: QSpec) -> None:
    weight, inputs = problem(4)
    hessian = second_moments(inputs)
    free, _ = reconstruct(weight, spec, hessian)
    least = free.scale * torch.linspace(3.0, 0.5, free.scale.numel()).view(free.scale.shape)
    grid, integers = reconstruct(weight, spec, hessian, least)
    assert (grid.scale >= least).all()
    # Where it would rather be below it is no higher than it must be.
    assert (grid.scale == least).any() and (grid.scale <= 1.2 * torch.maximum(least, free.scale)).all()
    assert spec.qmin <= int(integers.min()) and int(integers.max()) <= spec.qmax


@pytest.mark.parametrize("spec", SPECS)
@pytest.mark.parametrize("case", ["silence", "one row", "constant column", "fewer rows than columns"])
def test_moments_that_cannot_be_inverted(spec: QSpec, case: str) -> None:
    weight, inputs = problem(5)
    if case == "silence":
        inputs = torch.zeros_like(inputs)
    elif case == "one row":
        inputs = inputs[:1]
    elif case == "fewer rows than columns":
        inputs = inputs[:7]
    else:
        inputs[:, 3] = 2.5
    covariance = torch.cov(inputs.T, correction=0) if len(inputs) > 1 else torch.zeros(24, 24, dtype=torch.float64)
    weight[1] = 0.0
    grid, integers = reconstruct(weight, spec, covariance)
    assert (grid.scale > 0).all() and grid.scale.isfinite().all()
    assert spec.qmin <= int(integers.min()) and int(integers.max()) <= spec.qmax
    assert not grid.dequantize(integers)[1].any()
    rounded = mse_grid(weight.float(), spec).fake(weight)
    lost = errors(weight, grid.dequantize(integers).double(), covariance).sum()
    assert lost <= errors(weight, rounded, covariance).sum()
