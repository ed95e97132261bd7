"""One layer's rounding: which layers a ReLU follows, what grids make of rows, what learned rounding is given."""

import pytest
import torch
from torch import Tensor

from kaldi_quant.errors import UsageError
from kaldi_quant.nnet3.preparation.prepared import prepare
from kaldi_quant.quant.adaround import AdaRoundOptions
from kaldi_quant.quant.graph import is_rectified, products
from kaldi_quant.quant.grid import Grid
from kaldi_quant.quant.integer_linear import InputGrid
from kaldi_quant.quant.layer_config import LayerConfig
from kaldi_quant.quant.paired_moments import PairedMoments, PairedSample
from kaldi_quant.quant.rounding_methods import ROUNDING_METHODS, RoundingMethod
from kaldi_quant.quant.spec import QSpec
from kaldi_quant.quant.weight_grids import minmax_grid
from kaldi_quant.quant.weight_rounding import (
    Fit,
    learn_rounding,
    needs_rows,
    on_grid,
    round_weight,
)
from tests.quant.layer_problems import errors, problem, second_moments
from tests.references import NNET3, load, model_file


@pytest.mark.parametrize(
    ("name", "rectified"),
    [
        ("tdnn_lda", {"tdnn1.affine", "tdnn2.affine", "tdnn3.affine"}),
        # Convolutions that a sum reads, beside one that a ReLU reads.
        ("resnet_res2", {"conv1"}),
        ("layers_sigmoid_tanh", set()),
    ],
)
def test_layers_that_only_relus_read_are_rectified(name: str, rectified: set[str]) -> None:
    nodes = prepare(load(model_file(NNET3 / name)).nnet).nodes
    assert {layer for layer in products(nodes) if is_rectified(nodes, layer)} == rectified


@pytest.mark.parametrize("per_column", [False, True])
def test_rows_on_a_grid_are_what_the_node_would_make_of_them(per_column: bool) -> None:
    spec = QSpec(4, signed=False, symmetric=False, per_channel=per_column)
    rows = 3 * torch.randn(50, 6, generator=torch.Generator().manual_seed(0))
    low, high = (rows.quantile(share, dim=0) for share in (0.1, 0.9))
    grid = Grid.from_range(spec, low, high) if per_column else Grid.from_range(spec, low.min(), high.max())
    inputs = InputGrid(grid.scale.expand(6), grid.zero_point.expand(6), spec.qmin, spec.qmax, per_column)
    torch.testing.assert_close(on_grid(inputs)(rows), grid.fake(rows), rtol=1e-6, atol=0)
    assert torch.equal(on_grid(None)(rows), rows)


@pytest.mark.parametrize("per_channel", [False, True])
@pytest.mark.parametrize("symmetric", [False, True])
def test_every_method_keeps_to_its_grid_and_above_the_least_scale(per_channel: bool, symmetric: bool) -> None:
    weight, inputs = problem(0)
    weight[4] = 0.0
    hessian = second_moments(inputs)
    losses = []
    for method in ROUNDING_METHODS:
        layer = LayerConfig(bits=3, method=method, per_channel=per_channel, symmetric=symmetric)
        spec = layer.weight_spec()
        free = round_weight(weight, layer, hessian, torch.zeros(12, 1))
        losses.append(float(errors(weight, free.dequantized(), hessian).sum()))
        least = 1.5 * free.scale
        found = round_weight(weight, layer, hessian, least)
        assert (found.scale >= least).all()
        for rounded in (free, found):
            assert spec.qmin <= int(rounded.integers.min()) and int(rounded.integers.max()) <= spec.qmax
            assert not rounded.dequantized()[4].any()
    named = dict(zip(ROUNDING_METHODS, losses, strict=True))
    assert named["minmax"] > named["gptq"] > named["descent"] == named["adaround"]
    assert named["mse"] > named["gptq"]


def fit_of(weight: Tensor, inputs: Tensor, float_inputs: Tensor) -> Fit:
    moments, sample = PairedMoments(inputs.shape[1]), PairedSample()
    for see in (moments.add, sample.add):
        see(inputs, float_inputs)
    return Fit(moments.compensated(weight), moments.covariance, moments.mean, moments.float_mean, sample)


@pytest.mark.parametrize("relu", [False, True])
def test_learned_rounding_comes_closer_to_the_float_layer(relu: bool) -> None:
    # Columns of very different sizes, which are divided out before integers are chosen.
    weight, float_inputs = problem(1, columns=48)
    folded = float_inputs.std(0) / 20
    inputs = (float_inputs / folded).round() * folded
    bias = -float_inputs.mean(0) @ weight.T - (float_inputs @ weight.T).std(0)
    targets = float_inputs @ weight.T + bias
    layer = LayerConfig(bits=3, method="adaround")
    fit = fit_of(weight, inputs, float_inputs)
    assert needs_rows(layer)
    begin = round_weight(fit.target * folded, layer, fit.covariance / torch.outer(folded, folded), torch.zeros(12, 1))
    options = AdaRoundOptions(steps=300, rows=128)
    found, learned = learn_rounding(begin, fit, folded, (weight, bias), relu, options)
    assert torch.equal(found.scale, begin.scale) and not torch.equal(found.integers, begin.integers)

    def lost(quantized: Tensor, bias: Tensor) -> float:
        outputs = inputs @ quantized.T + bias
        return float(((outputs.relu() - targets.relu()) if relu else (outputs - targets)).square().mean())

    first = begin.dequantized() / folded
    corrected = weight @ fit.float_mean + bias - first @ fit.mean
    assert lost(found.dequantized() / folded, learned) < (0.95 if relu else 1.0) * lost(first, corrected)


def test_a_method_is_added_by_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    weight, inputs = problem(0)
    monkeypatch.setattr(ROUNDING_METHODS, "_entries", dict(ROUNDING_METHODS._entries))
    with pytest.raises(UsageError, match="method 'down' is not one of minmax, mse, clip, gptq, descent, adaround"):
        LayerConfig(method="down")

    def down(weight: Tensor, spec: QSpec, hessian: Tensor, least: Tensor) -> tuple[Grid, Tensor]:
        grid = minmax_grid(weight.float(), spec)
        return grid, (weight / grid.scale).floor().clamp(spec.qmin, spec.qmax)

    ROUNDING_METHODS.add("down")(RoundingMethod(down))
    layer = LayerConfig(bits=4, method="down")
    found = round_weight(weight, layer, second_moments(inputs), torch.zeros(12, 1))
    assert not needs_rows(layer) and (found.dequantized() <= weight + 1e-6).all()
