"""More layers of a network that is quantized in part already: those that were in float while it was trained."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from kaldi_quant.errors import UsageError
from kaldi_quant.quant.calibration import input_statistics
from kaldi_quant.quant.config import PtqConfig
from kaldi_quant.quant.fast_products import fast_model
from kaldi_quant.quant.graph import products
from kaldi_quant.quant.host import Data
from kaldi_quant.quant.layer_kinds import layer_kinds
from kaldi_quant.quant.network import QuantizedNetwork
from kaldi_quant.quant.paired_moments import PairedSample, see_rows_on_grid
from kaldi_quant.quant.ptq import Quantizer
from kaldi_quant.quant.weight_rounding import Fit, needs_rows, on_grid


def further_config(config: PtqConfig, layers: Mapping[str, Mapping[str, Any]]) -> PtqConfig:
    """A configuration with rules that come after its own, and quantize what these left in float.

    Args:
        config: of the network.
        layers: as of ``PtqConfig``.
    """
    rules = {pattern: {"float_reason": "", **changes} for pattern, changes in layers.items()}
    kept = {pattern: changes for pattern, changes in config.layers.items() if pattern not in rules}
    merged = {pattern: {**config.layers.get(pattern, {}), **changes} for pattern, changes in rules.items()}
    return replace(config, layers={**kept, **merged})


def quantize_further(network: QuantizedNetwork, config: PtqConfig, data: Data) -> QuantizedNetwork:
    """Quantizes layers of a network that are in float, and leaves all others as they are.

    Each is fitted to what it reads when those before it are quantized. Their ranges are dynamic, or their weights alone
    are quantized: static ranges would change grids that the other layers were trained with.

    Args:
        network: with layers in float.
        config: of all of its layers, as from ``further_config``; of those that are quantized nothing is taken.
        data: the calibration set.

    Raises:
        UsageError: a layer would have static ranges, or none is left to be quantized.
        DataError: the calibration set cannot be used.
    """
    host = network.host
    configs = config.for_layers(layer_kinds(host.nodes))
    wanted = [name for name in network.float_layers if not configs[name].float_reason]
    if not wanted:
        raise UsageError("there is no layer in float that the configuration quantizes")
    for name in wanted:
        if configs[name].is_static:
            raise UsageError(
                f"the layer {name} would have static ranges, and grids that other layers read would change: give it "
                "dynamic ranges, or quantize its weights alone (act_bits 0)"
            )
    left = {name: reason for name, reason in network.float_layers.items() if name not in wanted}
    quantizer = Quantizer(host, config, data)
    result = replace(network, layers=dict(network.layers), float_layers=left)
    order = products(host.nodes)
    for name in (name for name in order if name in wanted):
        model = fast_model(result, data.device)
        seen = input_statistics(model, [name], data, outer=True)[name]
        original = host.weight(name).double()
        fit = Fit(original, seen.covariance, seen.mean, seen.mean)
        if needs_rows(configs[name]):
            sample = PairedSample()
            see_rows_on_grid(model, name, data, on_grid(None), sample.add)
            fit = replace(fit, sample=sample)
        result.layers[name] = quantizer.layer(name, original, None, fit)
    return replace(result, layers={name: result.layers[name] for name in order if name in result.layers})
