"""PyTorch as one of those who quantize: the ways in which it does, and its observers, by name.

A way is added by the module that goes it, which is imported when it is asked for.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from kaldi_quant.backends.torch_engines.observer_names import OBSERVERS
from kaldi_quant.quant.quantizers import QUANTIZERS, Quantizer
from kaldi_quant.registry import Registry

if TYPE_CHECKING:
    from kaldi_quant.backends.torch_engines.observers import Prepared
    from kaldi_quant.backends.torch_engines.plan import Plan
    from kaldi_quant.quant.host import Data
    from kaldi_quant.quant.network import QuantizedNetwork
    from kaldi_quant.quant.ranges import Ranges


@dataclass(frozen=True)
class Route:
    """A way.

    Args:
        quantize: after training, with ranges of activations if they are known.
        prepare_qat: puts fake quantization into a network that was quantized after training.
        check: raises MissingDependencyError where a package is missing.
    """

    quantize: Callable[[Plan, Data, Ranges | None], QuantizedNetwork]
    prepare_qat: Callable[[Plan, QuantizedNetwork], Prepared]
    check: Callable[[], object] = lambda: None


ROUTES: Registry[Route] = Registry("route")
ROUTES.declare("eager", "kaldi_quant.backends.torch_engines.eager")

QUANTIZERS.add("torch")(Quantizer(OBSERVERS, ROUTES))
