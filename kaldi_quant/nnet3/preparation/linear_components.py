"""The components whose products quantization is about, and what they have in common in a file.

Their weights are rows of output channels; which input rows and columns meet is the component's own affair.
"""

from dataclasses import dataclass

import numpy as np

from kaldi_quant.kaldi.component import Component


@dataclass(frozen=True)
class LinearFields:
    """Where a component keeps its weight and bias.

    Args:
        weight: the field of the matrix, (out, in).
        bias: the field of the vector; None for types that have none.
    """

    weight: str
    bias: str | None


LINEAR_FIELDS = {
    "AffineComponent": LinearFields("LinearParams", "BiasParams"),
    "NaturalGradientAffineComponent": LinearFields("LinearParams", "BiasParams"),
    "FixedAffineComponent": LinearFields("LinearParams", "BiasParams"),
    "LinearComponent": LinearFields("Params", None),
    "TdnnComponent": LinearFields("LinearParams", "BiasParams"),
    "TimeHeightConvolutionComponent": LinearFields("LinearParams", "BiasParams"),
}


#: Those whose weights are used again at every height.
HEIGHT_TYPES = frozenset({"TimeHeightConvolutionComponent"})

#: Those that multiply one frame of their input by one matrix.
AFFINE_TYPES = frozenset(LINEAR_FIELDS) - HEIGHT_TYPES - {"TdnnComponent"}


def is_linear(component: Component) -> bool:
    """Whether a component is one of these."""
    return component.type in LINEAR_FIELDS


def weight_of(component: Component) -> np.ndarray:
    """(out, in) float32."""
    return component[LINEAR_FIELDS[component.type].weight]


def bias_of(component: Component) -> np.ndarray:
    """(out,) float32; zeros where the component has none."""
    field = LINEAR_FIELDS[component.type].bias
    bias = component[field] if field else np.zeros(0, np.float32)
    return bias if len(bias) else np.zeros(len(weight_of(component)), np.float32)


def set_parameters(component: Component, weight: np.ndarray, bias: np.ndarray) -> Component:
    """A copy of a component with other parameters; one without a bias becomes a FixedAffineComponent if it needs one.

    Args:
        component: the original.
        weight: (out, in).
        bias: (out,).
    """
    names = LINEAR_FIELDS[component.type]
    weight, bias = np.asarray(weight, np.float32), np.asarray(bias, np.float32)
    if names.bias is None:
        if bias.any():
            return Component("FixedAffineComponent", [("LinearParams", weight), ("BiasParams", bias)])
        bias = np.zeros(0, np.float32)
    elif not len(component[names.bias]) and not bias.any():
        bias = component[names.bias]
    changed = Component(component.type, list(component.fields), component.closing)
    changed.replace(names.weight, weight)
    if names.bias is not None:
        changed.replace(names.bias, bias)
    return changed
