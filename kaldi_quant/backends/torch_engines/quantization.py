"""Post-training quantization by PyTorch, called like this project's own."""

from __future__ import annotations

from kaldi_quant.backends.torch_engines import eager  # noqa: F401 - adds its route
from kaldi_quant.backends.torch_engines.engines import engine_in_use, engine_named
from kaldi_quant.backends.torch_engines.plan import check_default, check_methods, make_plan
from kaldi_quant.backends.torch_engines.routes import ROUTES
from kaldi_quant.backends.torch_engines.silence import without_notes
from kaldi_quant.quant.config import PtqConfig
from kaldi_quant.quant.host import Data, Source
from kaldi_quant.quant.network import QuantizedNetwork
from kaldi_quant.quant.ranges import Ranges, ranges_of


def quantize(source: Source, config: PtqConfig, data: Data, ranges: Ranges | None = None) -> QuantizedNetwork:
    """Quantizes a network after training, by PyTorch's observers and rounding.

    Args:
        source: the float network.
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
    plan = make_plan(source, config, data)
    with without_notes(), engine_in_use(engine):
        return ROUTES[config.route].quantize(plan, data, ranges)


def check_config(config: PtqConfig) -> None:
    """Refuses what PyTorch does not do here, as far as that can be told without a network.

    Raises:
        UsageError: the configuration asks for another method or width, or for an engine that this machine lacks.
        MissingDependencyError: the route pt2e needs torchao.
    """
    check_methods(config)
    check_default(config)
    engine_named(config.engine)
    ROUTES[config.route].check()


def calibrate(source: Source, config: PtqConfig, data: Data) -> Ranges:
    """The activation ranges that ``quantize`` finds with the same arguments."""
    return ranges_of(quantize(source, config, data).activations)
