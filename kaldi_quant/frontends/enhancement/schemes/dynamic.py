"""Quantization after training whose ranges are dynamic: PyTorch's, and this project's own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from torch import Tensor, nn

from kaldi_quant.api.networks import TorchNetwork
from kaldi_quant.api.quantization import Quantized, quantize
from kaldi_quant.backends.torch_engines.whole_modules import WholeEngine
from kaldi_quant.backends.torch_engines.whole_modules import quantize_dynamic as quantize_dynamic_by_torch
from kaldi_quant.frontends.enhancement.networks.known import Kind
from kaldi_quant.frontends.enhancement.schemes.quantization import BINS
from kaldi_quant.frontends.enhancement.schemes.registered import SCHEMES
from kaldi_quant.frontends.schemes import CELLS
from kaldi_quant.quant.layer_config import one_of

#: What becomes of layers outside recurrent cells.
OTHERS = ("static", "float")


def dynamic_by_torch(network: nn.Module, engine: WholeEngine = "x86") -> nn.Module:
    """A network whose LSTMs and fully connected layers PyTorch quantizes, in 8 bits, one scale for each weight.

    Args:
        network: in float; it is left as it is.
        engine: on which the result runs.

    Raises:
        UsageError: the machine lacks the engine.
    """
    return quantize_dynamic_by_torch(network, engine)


def dynamic_by_own(
    kind: Kind, network: nn.Module, calibration: Sequence[Tensor], *, others: str = "static", bits: int = 8
) -> Quantized:
    """A network whose recurrent cells have dynamic ranges.

    Args:
        kind: what stands around the network.
        network: in float; it is left as it is.
        calibration: what the network is called with, each for one call; never development or test data.
        others: what the other layers have: ``static`` ranges, or ``float``, where they are not quantized.
        bits: of weights.

    Raises:
        UsageError: ``others`` is something else.
        ModelError: nothing is left that can be quantized.
    """
    one_of("others", others, OTHERS)
    config = SCHEMES["ours-w8a8"].config
    default = replace(config.default, bits=bits)
    if others == "float":
        default = replace(default, float_reason="only recurrent cells are quantized")
    rules = {**({} if others == "float" else config.layers), CELLS: {"ranges": "dynamic", "float_reason": ""}}
    return quantize(
        TorchNetwork(network, columns=BINS[kind.around.layout]),
        replace(config, default=default, layers=rules),
        calibration=calibration,
    )
