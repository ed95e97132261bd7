"""A torch network that runs, with its layers as slots and functions at its values."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

import torch
from torch import fx

from kaldi_quant.errors import ModelError
from kaldi_quant.quant.host import Arithmetic, StepwiseExecutable
from kaldi_quant.quant.passage import Passage
from kaldi_quant.torchnn.calls import Call
from kaldi_quant.torchnn.forms import Layer
from kaldi_quant.torchnn.region import Region


class TorchExecutable(StepwiseExecutable):
    """A prepared network that runs, an ``Executable``; it is in test mode always.

    Args:
        region: the network; it is this one's own from now on.
        arithmetic: for some of its additions and products of two values another way.
    """

    def __init__(self, region: Region, arithmetic: Mapping[str, Arithmetic] | None = None) -> None:
        super().__init__()
        self.region = region
        self._layers = region.layers
        region.use(self.taps, dict(arithmetic or {}))

    def slot(self, layer: str) -> Layer:
        """The layer of that name.

        Raises:
            ModelError: there is none.
        """
        if layer not in self._layers:
            raise ModelError(f"the network has no layer {layer!r}; its layers are {', '.join(self._layers)}")
        return self._layers[layer]

    def passage(self, *args: Any, **kwargs: Any) -> TorchPassage:
        """A batch before the first step; called like the network."""
        return TorchPassage(self.region, self.region.begin(Call(args, kwargs)))

    def places(self, layer: str) -> list[int]:
        """The steps of a passage that use a layer, in order."""
        wanted = self.slot(layer)
        return [place for place, node in enumerate(self.region.program.steps) if wanted in self.region.modules_of(node)]

    def place_of(self, node: str) -> int:
        """The step of a passage that computes a node's value, itself or within; -1 for inputs.

        Raises:
            ModelError: there is no such node.
        """
        steps = {found: place for place, found in enumerate(self.region.program.steps)}
        for found in self.region.graph.nodes:
            if node in self.region.points_of(found):
                return steps.get(found, -1)
        raise ModelError(f"the network has no node {node!r}")

    def resumed(self, passage: Passage) -> TorchPassage:
        """A copy of a batch that has come some way through a network of the same graph, going on here."""
        assert isinstance(passage, TorchPassage)
        assert passage.region.program is self.region.program
        other = TorchPassage(self.region, dict(passage.values))
        other.place = passage.place
        return other

    def is_one_call(self, place: int) -> bool:
        """Whether a step that uses a layer calls one product, and that once."""
        return self.region.layer_of(self.region.program.steps[place]) is not None

    def forget_programs(self) -> None:
        """Does nothing: programs do not depend on products."""

    def train(self, mode: bool = True) -> Self:
        """Stays in test mode."""
        return super().train(False)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """As the network that was traced: same arguments, same results."""
        return self.region(*args, **kwargs)


class TorchPassage(Passage):
    """A batch on its way through a network; what cannot be traced is one step.

    Args:
        region: the network.
        values: by node of its graph, those that exist before the first step.
    """

    def __init__(self, region: Region, values: dict[fx.Node, Any]) -> None:
        super().__init__()
        self.region, self.values = region, values

    def copy(self) -> TorchPassage:
        """The same batch, going on by itself."""
        other = TorchPassage(self.region, dict(self.values))
        other.place = self.place
        return other

    @property
    def end(self) -> int:
        """The number of steps."""
        return len(self.region.program.steps)

    @property
    def result(self) -> Any:
        """As of the network."""
        return self.region.program.result(self.values)

    @torch.no_grad()
    def step(self) -> None:
        """Computes the next step."""
        self.region.step(self.place, self.values)
        self.place += 1
