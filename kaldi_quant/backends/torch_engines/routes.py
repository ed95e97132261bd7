"""The two ways in which PyTorch quantizes a network; each is added by the module that goes it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from kaldi_quant.backends.torch_engines.fake_quantize import Prepared
from kaldi_quant.backends.torch_engines.plan import Plan
from kaldi_quant.quant.host import Data
from kaldi_quant.quant.network import QuantizedNetwork
from kaldi_quant.quant.ranges import Ranges
from kaldi_quant.registry import Registry


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
