"""The optimizers that there are: what is torch's of them, and which options they have."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from kaldi_quant.registry import Registry

if TYPE_CHECKING:
    from torch.optim import Optimizer


class OptimizerKind:
    """What ``Stepper`` has to know of an optimizer."""

    #: The fields of ``OptimizerOptions`` that have an effect with this kind, but not with all.
    own_options: ClassVar[tuple[str, ...]] = ()
    #: Whether a step grows with the gradient: learning rates are then meant for gradients summed over the minibatch.
    sums_gradients: ClassVar[bool] = False

    @staticmethod
    @abstractmethod
    def build(groups: list[dict[str, Any]], options: Mapping[str, Any]) -> Optimizer:
        """Torch's optimizer.

        Args:
            groups: of parameters, each with its ``lr`` and ``weight_decay``.
            options: the values of ``own_options``.
        """


#: All optimizers.
OPTIMIZERS: Registry[type[OptimizerKind]] = Registry("optimizer")


@OPTIMIZERS.add("adam")
class Adam(OptimizerKind):
    """Its steps are as large as the learning rate, whatever the gradient.

    Source: D. P. Kingma, J. Ba, "Adam: a method for stochastic optimization", ICLR 2015; AMSGrad: S. J. Reddi, S. Kale,
    S. Kumar, "On the convergence of Adam and beyond", ICLR 2018; weight decay apart from the gradient: I. Loshchilov,
    F. Hutter, "Decoupled weight decay regularization", ICLR 2019.
    """

    own_options = ("amsgrad", "weight_decay")

    @staticmethod
    def build(groups: list[dict[str, Any]], options: Mapping[str, Any]) -> Optimizer:
        from torch.optim import AdamW

        from kaldi_quant.plain_optimizer import plain

        # Where the decay is 0 it computes what torch's Adam does.
        return plain(AdamW)(groups, amsgrad=options["amsgrad"])


@OPTIMIZERS.add("sgd")
class Sgd(OptimizerKind):
    """Its steps are the learning rate times the gradient, as Kaldi's are."""

    own_options = ("momentum",)
    sums_gradients = True

    @staticmethod
    def build(groups: list[dict[str, Any]], options: Mapping[str, Any]) -> Optimizer:
        from torch.optim import SGD

        from kaldi_quant.plain_optimizer import plain

        return plain(SGD)(groups, momentum=options["momentum"])
