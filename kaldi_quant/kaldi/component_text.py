"""What the lines on all components begin with, and how their options are written.

Source: ``Component::Info`` and ``UpdatableComponent::Info`` in ``src/nnet3/nnet-component-itf.cc``.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from kaldi_quant.kaldi.component import Component
from kaldi_quant.kaldi.component_dims import component_dims
from kaldi_quant.kaldi.summaries import number


def text_of(value: Any) -> str:
    """A value as Kaldi prints it."""
    if isinstance(value, bool | np.bool_):
        return str(bool(value)).lower()
    return str(value) if isinstance(value, int) else number(value)


def pairs(component: Component, *fields: str) -> str:
    """``, input-x-dim=3`` for the field InputXDim, and so on."""
    return "".join(f", {option(field)}={text_of(component[field])}" for field in fields if field in component)


def option(field: str) -> str:
    """``FiltXStep`` → ``filt-x-step``."""
    return "".join(f"-{letter.lower()}" if letter.isupper() else letter for letter in field).lstrip("-")


def plain(component: Component) -> str:
    """Component::Info"""
    input_dim, output_dim = component_dims(component)
    return f"{component.type}, input-dim={input_dim}, output-dim={output_dim}"


def updatable(component: Component) -> str:
    """UpdatableComponent::Info"""
    text = f"{plain(component)}, learning-rate={number(component.get('LearningRate', 0.001))}"
    if component.get("IsGradient", False):
        text += ", is-gradient=true"
    if component.get("L2Regularize", 0.0):
        text += pairs(component, "L2Regularize")
    if component.get("LearningRateFactor", 1.0) != 1.0:
        text += pairs(component, "LearningRateFactor")
    return text + (pairs(component, "MaxChange") if component.get("MaxChange", 0.0) > 0 else "")
