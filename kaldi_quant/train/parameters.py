"""Parameters that training changes, and how their changes are limited."""

from __future__ import annotations

from dataclasses import dataclass, field

from torch import nn


@dataclass(frozen=True)
class TrainedComponent:
    """The parameters of one component, and what its file says about their training.

    Args:
        name: of the component.
        parameters: by their name in the module.
        learning_rate_factor: multiplies the learning rate.
        max_change: the largest Euclidean norm of a change in one step; 0 for no limit.
        l2_regularize: Kaldi's ``l2-regularize`` of the component.
        orthonormal_constraint: 0 for none; negative for a matrix whose rows are orthogonal with any common norm.
        decays: whether weight decay takes from it: not from what has no meaning near 0, such as a grid's scales.
    """

    name: str
    parameters: dict[str, nn.Parameter]
    learning_rate_factor: float = 1.0
    max_change: float = 0.0
    l2_regularize: float = 0.0
    orthonormal_constraint: float = 0.0
    decays: bool = field(default=True, kw_only=True)
