"""Normalizations, and what does nothing in test mode."""

from __future__ import annotations

import numpy as np
from torch import fx, nn
from torch.nn import functional

from kaldi_quant.torchnn.onnx_import.operator import Operator, Result, adds, parameter

_BATCH_NORMS: dict[int, type[nn.Module]] = {
    2: nn.BatchNorm1d,
    3: nn.BatchNorm1d,
    4: nn.BatchNorm2d,
    5: nn.BatchNorm3d,
}
_EPSILON = 1e-5


@adds("BatchNormalization")
def batch_norm(operator: Operator) -> fx.Node:
    """By what was learned."""
    operator.expect("training_mode", 0)
    operator.expect("spatial", 1)
    epsilon, momentum = operator.attribute("epsilon", _EPSILON), operator.attribute("momentum", 0.9)
    scale, offset, mean, variance = (operator.constant(place, "statistics") for place in (1, 2, 3, 4))
    kind = _BATCH_NORMS.get(operator.rank())
    if kind is None:
        operator.refuse(f"normalizes values of {operator.rank()} axes")

    def make() -> nn.Module:
        # torch's momentum is the share of the new.
        found = kind(len(scale), eps=epsilon, momentum=1 - momentum)
        found.weight, found.bias = parameter(scale), parameter(offset)
        found.running_mean, found.running_var = parameter(mean).data, parameter(variance).data
        return found

    return operator.module(make, [1, 2, 3, 4], operator.x, also=kind)


@adds("LayerNormalization")
def layer_norm(operator: Operator) -> fx.Node:
    """Over the last axes."""
    operator.attribute("stash_type")
    epsilon, scale = operator.attribute("epsilon", _EPSILON), operator.constant(1, "a scale")
    axes = operator.rank() - operator.axis(operator.attribute("axis", -1), operator.rank())
    if scale.ndim != axes:
        operator.refuse(f"has a scale of shape {scale.shape} for {axes} axes")
    offset = operator.constant(2, "an offset") if operator.has(2) else np.zeros_like(scale)

    def make() -> nn.Module:
        found = nn.LayerNorm(scale.shape, epsilon)
        found.weight, found.bias = parameter(scale), parameter(offset)
        return found

    return operator.module(make, [1, 2], operator.x)


@adds("InstanceNormalization")
def instance_norm(operator: Operator) -> fx.Node:
    """Over all places, channel by channel."""
    epsilon = operator.attribute("epsilon", _EPSILON)
    weight, bias = operator.tensor(1), operator.tensor(2)
    return operator.call(functional.instance_norm, operator.x, weight=weight, bias=bias, eps=epsilon)


@adds("GroupNormalization")
def group_norm(operator: Operator) -> fx.Node:
    """Over groups of channels and all places."""
    operator.attribute("stash_type")
    if operator.opset < 21:
        operator.refuse("is understood from operator set 21 on, where it has a scale for each channel")
    groups, epsilon = operator.attribute("num_groups"), operator.attribute("epsilon", _EPSILON)
    return operator.call(functional.group_norm, operator.x, groups, operator.tensor(1), operator.tensor(2), epsilon)


@adds("Identity", "Dropout")
def nothing(operator: Operator) -> Result:
    """What changes no value in test mode."""
    if operator.kind == "Dropout":
        operator.attribute("ratio")
        operator.attribute("seed")
        if operator.has(2) and operator.number(2, "a mode"):
            operator.refuse("is in training mode")
    return operator.value(0)
