"""The integers of one layer's weight, by the method that its configuration names."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from torch import Tensor

from kaldi_quant.quant.adaround import AdaRoundOptions, adaround
from kaldi_quant.quant.grouped import by_group, grouped_linear, groups_of
from kaldi_quant.quant.integer_linear import InputGrid
from kaldi_quant.quant.layer_config import LayerConfig
from kaldi_quant.quant.paired_moments import PairedSample
from kaldi_quant.quant.quantized_weight import QuantizedWeight
from kaldi_quant.quant.rounding_methods import ROUNDING_METHODS


@dataclass(frozen=True)
class Fit:
    """What a layer's integers are fitted to.

    Args:
        target: (out, in) float64, the weights to come near to.
        covariance: (in, in), or (groups, in, in) float64, of the layer's input: the error's mean is left to the bias.
        mean: (groups * in,) float64, of the layer's input.
        float_mean: (groups * in,) float64, of its input in the float network.
        sample: rows of both inputs, for methods that learn from rows (``needs_rows``).
    """

    target: Tensor
    covariance: Tensor
    mean: Tensor
    float_mean: Tensor
    sample: PairedSample | None = None

    @property
    def groups(self) -> int:
        """Of the input's columns (``grouped``)."""
        return groups_of(self.covariance)


def needs_rows(layer: LayerConfig) -> bool:
    """Whether a layer's method learns from rows of its input; moments suffice for the others."""
    return ROUNDING_METHODS[layer.method].learns


def round_weight(weight: Tensor, layer: LayerConfig, hessian: Tensor, least: Tensor) -> QuantizedWeight:
    """Grid and integers of a weight matrix, by the layer's method; of adaround, what it begins with.

    Args:
        weight: (out, in) float64, for integer inputs.
        layer: how.
        hessian: (in, in), or (groups, in, in), of integer inputs.
        least: (out, 1), what scales stay above.
    """
    spec, groups = layer.weight_spec(), groups_of(hessian)
    weight, least = by_group(weight, groups), by_group(least, groups)
    rounded = ROUNDING_METHODS[layer.method].rounded
    grid, integers = rounded(weight, spec, hessian, least if spec.per_channel else least.max())
    if groups > 1:
        integers = integers.flatten(0, 1)
        if spec.per_channel:
            grid = replace(grid, scale=grid.scale.flatten(0, 1), zero_point=grid.zero_point.flatten(0, 1))
    return QuantizedWeight.on_grid(grid, integers, groups)


def learn_rounding(
    weight: QuantizedWeight,
    fit: Fit,
    folded: Tensor,
    float_layer: tuple[Tensor, Tensor],
    relu: bool,
    options: AdaRoundOptions | None = None,
) -> tuple[QuantizedWeight, Tensor]:
    """AdaRound, from integers that are good already.

    Args:
        weight: where to begin, for integer inputs.
        fit: with a sample.
        folded: (in,) float64, what columns of a float weight are multiplied by for integer inputs.
        float_layer: its weight (out, in) and bias (out,), float64; the bias with all that the float input lacks.
        relu: whether a ReLU follows.
        options: see there.

    Returns:
        The weight, and the bias (out,) float64, which holds everything that is added to the product.
    """
    assert fit.sample is not None
    original, bias = (values.float() for values in float_layer)
    targets = grouped_linear(fit.sample.float_inputs.float(), original, bias, fit.groups)
    inputs = fit.sample.inputs.float() / folded.float().repeat(fit.groups)
    start = weight.grid, weight.integers
    integers, learned = adaround(fit.target * folded, *start, inputs, targets, relu, options, fit.groups)
    return replace(weight, integers=integers), learned


def on_grid(inputs: InputGrid | None) -> Callable[[Tensor], Tensor]:
    """What an input's grid makes of float rows, (rows, groups * in); without a grid they stay as they are."""
    if inputs is None:
        return lambda rows: rows
    low, high = inputs.qmin - inputs.zero_point, inputs.qmax - inputs.zero_point

    def fake(rows: Tensor) -> Tensor:
        by_column = rows.unflatten(-1, (-1, len(inputs.scale)))
        return ((by_column / inputs.scale).round().clamp(low, high) * inputs.scale).to(rows.dtype).flatten(-2)

    return fake
