"""Post-training quantization of networks written in ``torch.nn``."""

from __future__ import annotations

from torch import nn

from kaldi_quant.errors import DataError, UsageError
from kaldi_quant.quant import ptq
from kaldi_quant.quant.config import PtqConfig
from kaldi_quant.quant.distance import Distance
from kaldi_quant.quant.host import Source
from kaldi_quant.quant.kept_layers import Keeping
from kaldi_quant.quant.network import QuantizedNetwork
from kaldi_quant.quant.ranges import Ranges
from kaldi_quant.torchnn.data import TensorData
from kaldi_quant.torchnn.host import TorchSource


def quantize(
    network: nn.Module | Source,
    config: PtqConfig,
    data: TensorData,
    ranges: Ranges | None = None,
    keeping: Keeping | None = None,
    distance: Distance | None = None,
) -> QuantizedNetwork:
    """Quantizes a network after training.

    Args:
        network: the network, which is traced with the first of the data; or a source.
        config: widths and methods.
        data: the calibration set; never test data.
        ranges: of activations, from ``calibrate``; by default they are found here.
        keeping: where what was made is kept, so that a run that was killed goes on.
        distance: of outputs; only with a network that is no source.

    Raises:
        UsageError: the configuration names layers that do not exist, or asks for what torch networks do not have.
        DataError: the calibration set cannot be used.
        ModelError: the network cannot be run, or has no layer that can be quantized.

    Example:
        >>> quantized = quantize(network, read_preset("w4a8"), TensorData(inputs))
        >>> quantized.model()(inputs[0])
    """
    check_config(config)
    return ptq.quantize(_source(network, data, distance), config, data, ranges, keeping)


def calibrate(
    network: nn.Module | Source, config: PtqConfig, data: TensorData, distance: Distance | None = None
) -> Ranges:
    """The activation ranges that ``quantize`` finds with the same arguments."""
    check_config(config)
    return ptq.calibrate(_source(network, data, distance), config, data)


def check_config(config: PtqConfig) -> None:
    """Refuses what torch networks do not have, as far as that can be told without one.

    Raises:
        UsageError: PyTorch's own quantization was asked for.
    """
    if config.backend != "kaldi_quant":
        raise UsageError(f"torch networks are quantized with the backend kaldi_quant, not {config.backend}")


def _source(network: nn.Module | Source, data: TensorData, distance: Distance | None) -> Source:
    if not isinstance(network, nn.Module):
        return network
    if not data.units:
        raise DataError("the calibration set is empty: there is nothing to trace the network with")
    example = data.units[0][1]
    return TorchSource(network, example.args or dict(example.kwargs), distance)
