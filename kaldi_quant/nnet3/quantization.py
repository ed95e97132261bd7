"""Post-training quantization of nnet3 networks, by this project or by PyTorch, as a configuration says."""

from __future__ import annotations

from types import ModuleType

from kaldi_quant.kaldi.nnet import Nnet
from kaldi_quant.nnet3.preparation.prepared import Nnet3Source
from kaldi_quant.nnet3.utterances import UtteranceSet
from kaldi_quant.quant import ptq
from kaldi_quant.quant.config import PtqConfig
from kaldi_quant.quant.kept_layers import Keeping
from kaldi_quant.quant.layer_config import LayerConfig
from kaldi_quant.quant.network import QuantizedNetwork
from kaldi_quant.quant.ranges import Ranges
from kaldi_quant.quant.side_by_side import MEMORY
from kaldi_quant.units import Bytes


def quantize(
    nnet: Nnet,
    config: PtqConfig,
    data: UtteranceSet,
    ranges: Ranges | None = None,
    keeping: Keeping | None = None,
    memory: Bytes = MEMORY,
) -> QuantizedNetwork:
    """Quantizes a network after training.

    Args:
        nnet: as read from its file.
        config: widths and methods.
        data: the calibration set; never test data.
        ranges: of activations, from ``calibrate``; by default they are found here.
        keeping: where what was made is kept, so that a run that was killed goes on; what PyTorch makes is not, which
            takes no long time.
        memory: what the calibration set's values may take that later layers read; the others wait on disk.

    Raises:
        UsageError: the configuration names layers that do not exist, or widths that overflow.
        DataError: the calibration set cannot be used.
        ModelError: the network cannot be executed.
    """
    if config.backend == "torch":
        return _by_torch().quantize(Nnet3Source(nnet), config, data, ranges)
    return ptq.quantize(Nnet3Source(nnet), config, data, ranges, keeping, memory)


def calibrate(nnet: Nnet, config: PtqConfig, data: UtteranceSet) -> Ranges:
    """The activation ranges that ``quantize`` finds with the same arguments."""
    if config.backend == "torch":
        return _by_torch().calibrate(Nnet3Source(nnet), config, data)
    return ptq.calibrate(Nnet3Source(nnet), config, data)


def layer_configs(nnet: Nnet, config: PtqConfig) -> dict[str, LayerConfig]:
    """How each layer of a network is to be quantized; no data are needed.

    Raises:
        UsageError: the configuration names layers that do not exist.
        ModelError: the network cannot be prepared.
    """
    return ptq.layer_configs(Nnet3Source(nnet), config)


def check_config(config: PtqConfig) -> None:
    """Refuses what is impossible here, as far as that can be told without a network.

    Raises:
        UsageError: PyTorch was asked for another method or width than it has, or for an engine that this machine lacks.
        MissingDependencyError: a package is missing.
    """
    if config.backend == "torch":
        _by_torch().check_config(config)


def _by_torch() -> ModuleType:
    """PyTorch's own quantization; it takes long to import."""
    from kaldi_quant.backends.torch_engines import quantization

    return quantization
