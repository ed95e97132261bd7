"""What a scheme for networks that separate consists of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Self

from torch import Tensor, nn

from kaldi_quant.frontends.schemes import Scheme
from kaldi_quant.frontends.separation.losses import Distillation, loss_of
from kaldi_quant.frontends.separation.networks.known import Kind
from kaldi_quant.frontends.separation.quantized.encoders import with_splitter
from kaldi_quant.frontends.separation.quantized.outputs import with_outputs
from kaldi_quant.frontends.separation.quantized.replacing import INNER
from kaldi_quant.quant.config import PtqConfig
from kaldi_quant.registry import Registry
from kaldi_quant.torchnn.batches import LossFunction


@dataclass(frozen=True)
class SeparationScheme(Scheme):
    """A scheme of quantization with what it does at both ends of a network.

    Args:
        inputs: options of ``with_splitter``; None where the network reads mixtures as they are, on a calibrated grid.
        outputs: options of ``with_outputs``; None where signals are given as floats.
        ends: fields of ``LayerConfig`` for the layers that read signals, and for those that give them.
        distillation: how the float network teaches, for kinds without order; None where it does not.
        ordered_distillation: the same for kinds with an order, whose loss knows levels.
        loss: of kinds without order.
        ordered_loss: of kinds with an order.
        keeps_the_better: whether training is kept only if held-out minibatches lose less by it.
    """

    inputs: Mapping[str, Any] | None = None
    outputs: Mapping[str, Any] | None = None
    ends: Mapping[str, Any] = field(default_factory=dict)
    distillation: Distillation | None = None
    ordered_distillation: Distillation | None = None
    loss: str = "pit-si-sdr"
    ordered_loss: str = "l1"
    keeps_the_better: bool = False

    def untrained(self) -> Self:
        """The scheme without its training: after quantization alone."""
        return replace(self, training=None)

    def teaching(self, kind: Kind) -> Distillation | None:
        """How the float network teaches one of a kind."""
        return self.ordered_distillation if kind.is_ordered else self.distillation

    def loss_of(self, kind: Kind) -> LossFunction:
        """The loss that the scheme trains with."""
        return loss_of(kind, self.ordered_loss if kind.is_ordered else self.loss, self.teaching(kind))

    def ends_of(self, kind: Kind, network: nn.Module, calibration: Sequence[Tensor]) -> nn.Module:
        """The network with the scheme's ends.

        Args:
            kind: of the network.
            network: in float; it is left as it is.
            calibration: mixtures, (N, C, T) each.

        Raises:
            UsageError: an option is impossible.
            ModelError: the network is of another kind.
        """
        found = network
        if self.inputs is not None:
            found = with_splitter(found, kind, calibration, **self.inputs)
        if self.outputs is not None:
            found = with_outputs(found, kind, calibration, **self.outputs)
        return found

    def config_for(self, kind: Kind) -> PtqConfig:
        """The configuration for a network with these ends."""
        if not self.ends:
            return self.config
        outer = "" if self.inputs is None else f"{INNER}."
        of_inputs = [f"{outer}{name}{'' if self.inputs is None else '.layer'}" for name in kind.encoders]
        of_outputs = [f"{outer}{name}{'' if self.outputs is None else '.decoders.*'}" for name in kind.decoders]
        rules = {name: dict(self.ends) for name in (*of_inputs, *of_outputs)}
        return replace(self.config, layers={**self.config.layers, **rules})


#: By name (``known``).
SCHEMES: Registry[SeparationScheme] = Registry("scheme of quantization")
for _name in ("vanilla-qat", "fqss", "ours-w8a8", "ours-w4a8"):
    SCHEMES.declare(_name, "kaldi_quant.frontends.separation.schemes.known")
