"""What is learned of a weight: its place between the integers of its grid, or its value in float.

Either way gradients pass through the rounding as if it were not there (straight-through estimator: Y. Bengio,
N. Léonard, A. Courville, "Estimating or propagating gradients through stochastic neurons for conditional computation",
2013).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar, Self

from torch import Tensor, nn

from kaldi_quant.registry import Registry

#: Places on grids, in steps, learn so many times faster than biases and the logarithms of scales.
STEPS_LEARNING_RATE = 20.0


class TrainedWeight(nn.Module, ABC):
    """A parameter that says where a weight, (out, in), lies on its grid.

    Attributes:
        rate: multiplies the learning rate.
        is_float: whether it is a weight in float, as limits on the changes of parameters mean it.
    """

    rate: ClassVar[float]
    is_float: ClassVar[bool]

    @classmethod
    @abstractmethod
    def of(cls, steps: Tensor, scale: Tensor, folded: Tensor) -> Self:
        """The parameter to begin with; arguments as of ``forward``, and what that returns."""

    @abstractmethod
    def forward(self, scale: Tensor, folded: Tensor) -> Tensor:
        """(out, in): the weight multiplied by ``folded``, in steps of its grid from its zero point, not rounded.

        Args:
            scale: (out, 1), of the grid.
            folded: (in,), the scales of the input's columns where these differ, else 1.
        """


#: What can be learned, by the names that options have for it.
WEIGHTS: Registry[type[TrainedWeight]] = Registry("kind of trained weights")
DEFAULT_WEIGHTS = "steps"


@WEIGHTS.add(DEFAULT_WEIGHTS)
class TrainedSteps(TrainedWeight):
    """The place between the grid's integers.

    A step of training means the same to rows of small and of large scale, and learned scales do not move weights across
    their grid.

    Args:
        steps: (out, in) float32.
    """

    rate, is_float = STEPS_LEARNING_RATE, False

    def __init__(self, steps: Tensor) -> None:
        super().__init__()
        self.steps = nn.Parameter(steps)

    @classmethod
    def of(cls, steps: Tensor, scale: Tensor, folded: Tensor) -> Self:
        """At some places."""
        return cls(steps)

    def forward(self, scale: Tensor, folded: Tensor) -> Tensor:
        """The parameter."""
        return self.steps


@WEIGHTS.add("values")
class TrainedValues(TrainedWeight):
    """The weight itself, for a float input. It crosses its grid where the scale changes.

    The gradient of the scale is thus LSQ's, equation 3 (S. Esser et al., "Learned step size quantization", ICLR 2020).

    Args:
        weight: (out, in) float32.
    """

    rate, is_float = 1.0, True

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        self.weight = nn.Parameter(weight)

    @classmethod
    def of(cls, steps: Tensor, scale: Tensor, folded: Tensor) -> Self:
        """The weight that lies at some places."""
        return cls(steps * scale / folded)

    def forward(self, scale: Tensor, folded: Tensor) -> Tensor:
        """The weight in steps of its grid."""
        return self.weight * folded / scale
