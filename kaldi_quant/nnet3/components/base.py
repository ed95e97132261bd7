"""What every torch component has in common, and the registry that builds them from a file's components."""

from abc import abstractmethod
from collections.abc import Callable
from typing import ClassVar, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from kaldi_quant.errors import ModelError
from kaldi_quant.kaldi.component import Component
from kaldi_quant.kaldi.component_dims import component_dims
from kaldi_quant.nnet3.time_access import SameTime, TimeAccess


class ComponentModule(nn.Module):
    """A component as a torch module in test mode.

    Args:
        component: as read from the file; parameters become torch parameters, statistics buffers.
    """

    #: Which input times the output depends on.
    access: TimeAccess = SameTime()

    def __init__(self, component: Component) -> None:
        super().__init__()
        self.component_type = component.type
        self.input_dim, self.output_dim = component_dims(component)


class FrameComponent(ComponentModule):
    """A component whose output at t depends on its input at t alone."""

    @abstractmethod
    def forward(self, x: Tensor) -> Tensor:
        """x: (N, T, input_dim) → (N, T, output_dim)."""


Build = TypeVar("Build", bound=type[ComponentModule])


class Registry:
    """Component types and the classes that execute them."""

    builders: ClassVar[dict[str, type[ComponentModule]]] = {}

    @classmethod
    def register(cls, *types: str) -> Callable[[Build], Build]:
        """Class decorator: the class executes these component types."""

        def add(builder: Build) -> Build:
            for type_name in types:
                cls.builders[type_name] = builder
            return builder

        return add

    @classmethod
    def build(cls, name: str, component: Component) -> ComponentModule:
        """The module for a component.

        Raises:
            ModelError: the type cannot be executed, or its fields contradict each other.
        """
        builder = cls.builders.get(component.type)
        if builder is None:
            raise ModelError(f"the component {name} is a {component.type}, which can be copied but not executed")
        try:
            return builder(component)
        except ValueError as error:
            raise ModelError(f"the component {name} is inconsistent: {error}") from error


def parameter(values: np.ndarray) -> nn.Parameter:
    """A torch parameter with the file's values in float32: a copy, so that training leaves the file's as they are."""
    return nn.Parameter(constant(values))


def constant(values: np.ndarray) -> Tensor:
    """A tensor for a buffer, with the file's values in float32."""
    return torch.from_numpy(np.array(values, np.float32))
