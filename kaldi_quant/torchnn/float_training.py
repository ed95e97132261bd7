"""Float networks of ``torch.nn`` as the training loop takes them."""

from __future__ import annotations

import hashlib
from typing import Any

import torch
from torch import Tensor, nn

from kaldi_quant.errors import ModelError
from kaldi_quant.quant.host import Executable, Slot
from kaldi_quant.torchnn.copies import own_copy
from kaldi_quant.torchnn.data import digest_of
from kaldi_quant.train.parameters import TrainedComponent


class FloatModule(Executable):
    """A copy of a network, which is trained in the network's place; it computes as the network does, untraced.

    Args:
        network: is never changed.
        train_mode: whether dropout and running statistics do what torch's training mode has them do wherever gradients
            are computed; else the network is in test mode always.
    """

    def __init__(self, network: nn.Module, train_mode: bool = False) -> None:
        super().__init__()
        self.module, self.train_mode = own_copy(network), train_mode
        self._modes = {name: module.training for name, module in network.named_modules()}
        self._frozen = False

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """As the network: same arguments, same results."""
        training = self.train_mode and torch.is_grad_enabled()
        self.module.train(training)
        if training and self._frozen:
            for module in self.module.modules():
                if hasattr(module, "running_mean"):
                    module.eval()
        return self.module(*args, **kwargs)

    def slot(self, layer: str) -> Slot:
        """There is none.

        Raises:
            ModelError: in any case.
        """
        raise ModelError(f"the layer {layer!r} cannot be replaced in a network that is not traced")

    def forget_programs(self) -> None:
        """Does nothing: there are none."""

    def components(self) -> list[TrainedComponent]:
        """All parameters that require gradients, each by itself.

        Raises:
            ModelError: there are none.
        """
        found = {name: value for name, value in self.module.named_parameters() if value.requires_grad}
        if not found:
            raise ModelError("no parameter of the network requires gradients: there is nothing to train")
        return [TrainedComponent(name, {"value": value}) for name, value in found.items()]

    def freeze(self, frozen: bool) -> None:
        """Keeps running statistics as they are, or lets them go on."""
        self._frozen = frozen

    def tensors(self) -> dict[str, Tensor]:
        """What changes beside parameters, by name: running statistics."""
        return dict(self.module.named_buffers()) if self.train_mode else {}

    def digest(self) -> str:
        """What tells the network from others."""
        found = hashlib.sha256(repr(self.module).encode())
        for name, value in [*self.module.named_parameters(), *self.module.named_buffers()]:
            found.update(name.encode() + digest_of(value))
        return found.hexdigest()

    def trained(self) -> nn.Module:
        """The network, each part in the mode that it had."""
        for name, module in self.module.named_modules():
            module.training = self._modes[name]
        for value in self.module.parameters():
            value.grad = None
        return self.module
