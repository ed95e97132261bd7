"""A network that PyTorch's own quantization-aware training prepares, as what is trained here."""

from __future__ import annotations

from collections.abc import Collection

import torch

from kaldi_quant.backends.torch_engines.qat import FakeQuantizedNetwork, fake_quantized
from kaldi_quant.quant.config import PtqConfig
from kaldi_quant.quant.host import Data, Executable, Source
from kaldi_quant.quant.network import QuantizedNetwork
from kaldi_quant.train.parameters import TrainedComponent
from kaldi_quant.train.qat.trained_weight import STEPS_LEARNING_RATE


class TorchTrainableNetwork:
    """A network with PyTorch's fake quantization. Its scales are no parameters: they follow ranges.

    Args:
        network: made by PyTorch.
    """

    def __init__(self, network: FakeQuantizedNetwork) -> None:
        self.observers = network

    @classmethod
    def of(cls, source: Source, config: PtqConfig, data: Data) -> TorchTrainableNetwork:
        """Begins where PyTorch's quantization after training ends; arguments and errors as of ``fake_quantized``."""
        return cls(fake_quantized(source, config, data))

    @property
    def start(self) -> QuantizedNetwork:
        """What training begins with."""
        return self.observers.start

    @property
    def model(self) -> Executable:
        """Computes with fake quantization."""
        return self.observers.model

    @property
    def activations(self) -> Collection[str]:
        """The nodes on grids."""
        return self.observers.activations

    def to(self, device: torch.device) -> None:
        """Moves what is computed with to a device."""
        self.observers.to(device)

    def components(self) -> list[TrainedComponent]:
        """Weights and biases of the linear layers."""
        for parameter in self.model.parameters():
            parameter.requires_grad_(False)
        found = []
        for name, layer in self.observers.layers().items():
            # As many steps of their grids at a time as where places on grids are trained, whatever the width.
            rate = layer.step * STEPS_LEARNING_RATE if name in self.start.layers else 1.0
            found.append(TrainedComponent(f"{name} weight", {"weight": layer.weight}, rate))
            if layer.bias is not None:
                found.append(TrainedComponent(name, {"bias": layer.bias}))
        for part in found:
            for parameter in part.parameters.values():
                parameter.requires_grad_(True)
        return found

    def scales(self) -> list[TrainedComponent]:
        """None: no scale is learned."""
        return []

    def converted(self) -> QuantizedNetwork:
        """The network in integers.

        Raises:
            UsageError: the widths would overflow 32-bit accumulators.
        """
        return self.observers.converted()
