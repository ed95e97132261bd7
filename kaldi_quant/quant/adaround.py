"""AdaRound: whether each weight goes up or down on its grid is learned from the layer's output after its ReLU.

The layer reads what the quantized layers before it make, and learns what the float one makes. Each weight lies between
its two neighbours on the grid at a share that a rectified sigmoid yields; a penalty, sharper and sharper, drives the
shares to 0 and 1.

Source: M. Nagel, R. Amjad, M. van Baalen, C. Louizos, T. Blankevoort, "Up or Down? Adaptive Rounding for Post-Training
Quantization", ICML 2020. Different here: shares begin half way to integers that are good already (GPTQ and coordinate
descent), and where a ReLU follows the bias is learned too, which inputs are centred for; each output takes what was
learned only where that is better on the whole sample.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from kaldi_quant.quant.grid import Grid
from kaldi_quant.quant.grouped import grouped_linear

# The stretch of the sigmoid, and the exponents at which the penalty begins and ends: the paper's.
_ZETA, _GAMMA = 1.1, -0.1
_FIRST_BETA, _LAST_BETA = 20.0, 2.0
# The penalty counts from this share of the steps on (the authors' code), so many times its mean over the weights beside
# the loss as a share of the first one (chosen on the example's calibration set, like the learning rates).
_WARM_UP, _PENALTY = 0.2, 50.0
_LEARNING_RATE, _BIAS_LEARNING_RATE = 0.1, 1e-3
# Rows of the sample whose outputs are in memory together.
_ROWS_AT_ONCE = 4096
# Shares begin no nearer to 0 and 1 than this, where the sigmoid would hardly move.
_LEAST_SHARE = 0.02


@dataclass(frozen=True)
class AdaRoundOptions:
    """How rounding is learned.

    Args:
        steps: of Adam.
        rows: of the calibration sample in each step.
        seed: for the choice of rows.
    """

    steps: int = 1500
    rows: int = 512
    seed: int = 0


def adaround(
    weight: Tensor,
    grid: Grid,
    integers: Tensor,
    inputs: Tensor,
    targets: Tensor,
    relu: bool,
    options: AdaRoundOptions | None = None,
    groups: int = 1,
) -> tuple[Tensor, Tensor]:
    """Integers and bias with which a layer's output comes closest to the float layer's.

    Args:
        weight: (out, in) float: between whose neighbours on the grid is chosen.
        grid: scale and zero point (out, 1), (out, in) or ().
        integers: (out, in) int32, on the grid: where to begin; of their neighbours one remains to choose from.
        inputs: (rows, groups * in) float: a sample of what the layer reads in the quantized network.
        targets: (rows, out) float: what the float layer makes for these rows, bias included, before its nonlinearity.
        relu: whether a ReLU follows.
        options: see there.
        groups: of the input's columns (``grouped``).

    Returns:
        (out, in) int32 and (out,) float64, all that is added to the product; on the sample no output is worse than with
        ``integers`` and the bias that leaves no mean error before the nonlinearity.
    """
    options = options or AdaRoundOptions()
    inputs, targets = inputs.float(), targets.float()
    mean = inputs.mean(0)
    centred = inputs - mean
    problem = _Rounding(weight, grid, integers)
    # On centred inputs the weights do not change the mean.
    bias = targets.mean(0)
    goal = targets.relu() if relu else targets

    def outputs(rows: Tensor, shares: Tensor, bias: Tensor) -> Tensor:
        out = grouped_linear(rows, problem.dequantized(shares), bias, groups)
        return out.relu() if relu else out

    def losses(shares: Tensor, bias: Tensor) -> Tensor:
        """(out,): the mean squared error of each output over the whole sample."""
        parts = zip(centred.split(_ROWS_AT_ONCE), goal.split(_ROWS_AT_ONCE), strict=True)
        with torch.no_grad():
            total = [(outputs(rows, shares, bias) - part).square().sum(0, dtype=torch.float64) for rows, part in parts]
        return torch.stack(total).sum(0) / len(centred)

    first_losses = losses(problem.first, bias)
    first_loss = float(first_losses.mean())
    chosen, chosen_bias = problem.first, bias
    if first_loss > 0 and options.steps > 0:
        learning = _Learning(problem, bias, relu, float(goal.std(correction=0)), groups)
        generator = torch.Generator().manual_seed(options.seed)
        for step in range(options.steps):
            rows = torch.randint(len(inputs), (options.rows,), generator=generator)
            learning.step(centred[rows], goal[rows], first_loss, step / options.steps)
        decided, learned = (problem.shares() >= 0.5).float(), learning.bias.detach()
        # Rows are problems of their own.
        better = losses(decided, learned) < first_losses
        chosen = torch.where(better.unsqueeze(1), decided, problem.first)
        chosen_bias = torch.where(better, learned, bias)
    of_mean = grouped_linear(mean.double(), problem.dequantized(chosen).double(), groups=groups)
    return problem.integers(chosen), chosen_bias.double() - of_mean


class _Learning:
    """Steps of Adam, with gradients written out: for a large weight passes over it take longer than products.

    Args:
        problem: the choice.
        bias: (out,), where to begin.
        relu: whether a ReLU follows, and the bias is learned.
        spread: of the goal.
        groups: of the input's columns.
    """

    def __init__(self, problem: _Rounding, bias: Tensor, relu: bool, spread: float, groups: int) -> None:
        self.problem, self.relu, self.groups = problem, relu, groups
        self.bias = bias.clone().requires_grad_(relu)
        self._weight = torch.empty_like(problem.logits).requires_grad_()
        self._base = (problem.lower - problem.grid.zero_point) * problem.grid.scale
        learned = [{"params": [problem.logits], "lr": _LEARNING_RATE}]
        if relu:
            learned.append({"params": [self.bias], "lr": _BIAS_LEARNING_RATE * spread})
        self._optimizer = torch.optim.Adam(learned, betas=(0.9, 0.99), fused=True)

    def step(self, rows: Tensor, goal: Tensor, first_loss: float, progress: float) -> None:
        """Learns from some rows.

        Args:
            rows: (rows, groups * in) of the layer's input.
            goal: (rows, out).
            first_loss: the mean squared error at the beginning, a share of which the loss is.
            progress: from 0 to 1.
        """
        scale = self.problem.grid.scale
        sigmoid = torch.sigmoid(self.problem.logits.detach())
        stretched = sigmoid * (_ZETA - _GAMMA) + _GAMMA
        shares = stretched.clamp(0, 1)
        torch.addcmul(self._base, shares, scale, out=self._weight.detach())
        self._weight.grad = self.bias.grad = None
        out = grouped_linear(rows, self._weight, self.bias, self.groups)
        value = out.detach()
        error = value.relu().sub_(goal) if self.relu else value - goal
        if self.relu:
            error = torch.ops.aten.threshold_backward(error, value, 0)
        out.backward(error)
        # Of the mean over all elements.
        factor = 2 / (goal.numel() * first_loss)
        grad = self._weight.grad
        assert grad is not None
        grad *= scale * factor
        if self.bias.grad is not None:
            self.bias.grad *= factor
        if progress >= _WARM_UP:
            grad -= _penalty_slope(shares, progress)
        # Nothing reaches shares that the clamp holds.
        grad = torch.ops.aten.hardtanh_backward(grad, stretched, 0, 1)
        self.problem.logits.grad = torch.ops.aten.sigmoid_backward(grad, sigmoid).mul_(_ZETA - _GAMMA)
        self._optimizer.step()


def _penalty_slope(shares: Tensor, progress: float) -> Tensor:
    """(out, in): how fast |2 s - 1|^beta, which the penalty takes from 1, grows with each share s.

    It keeps shares from staying between 0 and 1; beta falls as half a cosine.
    """
    angle = math.pi * (progress - _WARM_UP) / (1 - _WARM_UP)
    beta = _LAST_BETA + (_FIRST_BETA - _LAST_BETA) * (1 + math.cos(angle)) / 2
    distance = shares.mul(2).sub_(1)
    slope = distance.abs().pow_(beta - 1).copysign_(distance)
    return slope.mul_(_PENALTY * 2 * beta / shares.numel())


class _Rounding:
    """The choice between two neighbours for each weight."""

    def __init__(self, weight: Tensor, grid: Grid, integers: Tensor) -> None:
        self.grid = grid
        scale, zero_point = grid.scale, grid.zero_point
        steps = weight.float() / scale + zero_point
        below = torch.where(steps >= integers, integers, integers - 1)
        #: (out, in) int32: the lower of the two.
        self.lower = below.clamp(grid.spec.qmin, grid.spec.qmax - 1).to(torch.int32)
        #: (out, in): the shares, 0 or 1, that yield the integers given.
        self.first = (integers - self.lower).float()
        nearest = (steps - self.lower).clamp(0, 1)
        begin = ((nearest + self.first) / 2).clamp(_LEAST_SHARE, 1 - _LEAST_SHARE)
        self.logits = torch.logit((begin - _GAMMA) / (_ZETA - _GAMMA)).requires_grad_()

    def shares(self) -> Tensor:
        """(out, in) between 0 and 1."""
        return (torch.sigmoid(self.logits.detach()) * (_ZETA - _GAMMA) + _GAMMA).clamp(0, 1)

    def dequantized(self, shares: Tensor) -> Tensor:
        """(out, in) float32: the weights for shares."""
        return (self.lower - self.grid.zero_point + shares) * self.grid.scale

    def integers(self, shares: Tensor) -> Tensor:
        """(out, in) int32, for shares of 0 and 1."""
        return self.lower + shares.to(torch.int32)
