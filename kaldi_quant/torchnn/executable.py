"""A torch network that runs, with its layers as slots and functions at its values."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

from kaldi_quant.errors import ModelError
from kaldi_quant.quant.host import Arithmetic, Executable
from kaldi_quant.torchnn.forms import Layer
from kaldi_quant.torchnn.region import Region


class TorchExecutable(Executable):
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

    def forget_programs(self) -> None:
        """Does nothing: programs do not depend on products."""

    def train(self, mode: bool = True) -> Self:
        """Stays in test mode."""
        return super().train(False)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """As the network that was traced: same arguments, same results."""
        return self.region(*args, **kwargs)
