"""Post-training quantization by PyTorch, called like this project's own."""

from __future__ import annotations

from kaldi_quant.kaldi.nnet import Nnet
from kaldi_quant.quant.calibration import CalibrationSet
from kaldi_quant.quant.config import PtqConfig
from kaldi_quant.quant.network import QuantizedNetwork
from kaldi_quant.quant.ranges import Ranges, ranges_of
from kaldi_quant.quant.torch_native.engines import engine_in_use, engine_named
from kaldi_quant.quant.torch_native.plan import check_default, check_methods, make_plan
from kaldi_quant.quant.torch_native.silence import without_notes


def quantize(nnet: Nnet, config: PtqConfig, data: CalibrationSet, ranges: Ranges | None = None) -> QuantizedNetwork:
    """Quantizes a network after training, by PyTorch's observers and rounding.

    Args:
        nnet: as read from its file.
        config: with the backend torch.
        data: the calibration set; never test data.
        ranges: of activations, from ``calibrate``; by default they are found here.

    Raises:
        UsageError: the configuration asks for what PyTorch does not do.
        MissingDependencyError: the route pt2e needs torchao.
        DataError: the calibration set cannot be used.
        ModelError: the network cannot be executed.
    """
    engine = engine_named(config.engine)
    plan = make_plan(nnet, config, data)
    with without_notes(), engine_in_use(engine):
        if config.route == "pt2e":
            from kaldi_quant.quant.torch_native.pt2e import quantize_pt2e

            return quantize_pt2e(plan, data, ranges)
        from kaldi_quant.quant.torch_native.eager import quantize_eager

        return quantize_eager(plan, data, ranges)


def check_config(config: PtqConfig) -> None:
    """Refuses what PyTorch does not do here, as far as that can be told without a network.

    Raises:
        UsageError: the configuration asks for another method or width, or for an engine that this machine lacks.
        MissingDependencyError: the route pt2e needs torchao.
    """
    check_methods(config)
    check_default(config)
    engine_named(config.engine)
    if config.route == "pt2e":
        from kaldi_quant.quant.torch_native.pt2e import torchao_library

        torchao_library()


def calibrate(nnet: Nnet, config: PtqConfig, data: CalibrationSet) -> Ranges:
    """The activation ranges that ``quantize`` finds with the same arguments."""
    return ranges_of(quantize(nnet, config, data).activations)
