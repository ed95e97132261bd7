"""A quantized network made ready for an engine, which is checked before it is trusted."""

from __future__ import annotations

import logging
from collections.abc import Callable

from kaldi_quant.backends.torch_engines.engines import Engine, engine_named
from kaldi_quant.backends.torch_engines.narrowing import narrowed
from kaldi_quant.backends.torch_engines.self_test import is_exact
from kaldi_quant.errors import ModelError
from kaldi_quant.nnet3.torch_engines.network import TorchNetwork
from kaldi_quant.quant.network import QuantizedNetwork
from kaldi_quant.units import Bits

#: Two products of 7-bit activations and 8-bit weights fit the 16 bits in which older processors add them.
_SAFE_BITS = 7

_log = logging.getLogger(__name__)


def executable(
    network: QuantizedNetwork, engine: str = "auto", check: Callable[[Engine, Bits], bool] = is_exact
) -> TorchNetwork:
    """A quantized network on an engine of PyTorch; activations get 7 bits where the engine's 8-bit products overflow.

    Args:
        network: the quantized network.
        engine: its name; ``auto`` is the first that the machine has.
        check: tells whether an engine's products of activations of a width are those of the integer reference here.

    Raises:
        UsageError: the machine lacks the engine.
        ModelError: it has no kernel for a layer, or computes wrong results on this machine.
    """
    chosen = engine_named(engine)
    made = TorchNetwork(network, chosen)
    widest = max([network.act_bits(name) for name in network.layers], default=0)
    if widest and not check(chosen, widest):
        if widest <= _SAFE_BITS or not check(chosen, _SAFE_BITS):
            raise ModelError(
                f"the engine {chosen} gives wrong integers on this processor: choose another with --engine"
            )
        _log.warning(
            "this processor's %d-bit products overflow in the engine %s (it has no VNNI): activations get %d bits",
            widest,
            chosen,
            _SAFE_BITS,
        )
        return TorchNetwork(narrowed(network, _SAFE_BITS), chosen)
    return made
