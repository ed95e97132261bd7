"""How far a quantized network is from its float self: at its output, and layer by layer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from kaldi_quant.errors import DataError
from kaldi_quant.progress import progress
from kaldi_quant.quant.distance import mean_distance
from kaldi_quant.quant.fast_products import fast_model
from kaldi_quant.quant.host import Data, Executable, Host
from kaldi_quant.quant.network import QuantizedNetwork
from kaldi_quant.quant.taps import SeenTap

# A layer that loses nothing at all is said to have this ratio.
_BEST_DECIBELS = 200.0
# How many layers a warning names.
_NAMED = 3


@dataclass(frozen=True)
class Divergence:
    """A quantized network compared with the float one.

    Args:
        distance: mean over rows of the network's ``distance``.
        unit: of it.
        sqnr_db: signal-to-quantization-noise ratio of the result of each quantized layer and each product of two values
            in integers, in decibels; empty where only outputs were compared.
        rows: of outputs that were compared.
    """

    distance: float
    unit: str
    sqnr_db: dict[str, float]
    rows: int


def warning_of(lost: Divergence, far: float | None) -> str:
    """What there is to say of a model that is far from float, with the layers that lose most; empty for others."""
    if far is None or lost.distance < far:
        return ""
    worst = sorted(lost.sqnr_db.items(), key=lambda entry: entry[1])[:_NAMED]
    named = ", ".join(f"{name} ({ratio:.1f} dB)" for name, ratio in worst)
    return (
        f"the integer model is far from float: it diverges by {lost.distance:.3f} {lost.unit} per frame on calibration "
        f"data, and from about {far:g} on errors grow. The layers with the most quantization noise, as signal-to-noise "
        f"ratios, are {named}: give them more bits (layers: in a --config), or all of them (--bits, --act-bits), one "
        "scale for each output channel (--per-channel=true), or take a preset that was tuned for these widths"
    )


def divergence(network: QuantizedNetwork, data: Data) -> Divergence:
    """Compares a quantized network with the float network that it was made from.

    Raises:
        DataError: no unit of the data can be used.
    """
    nodes, distance = _result_nodes(network), network.host.distance
    float_run = _Recorder(network.host.executable(), set(nodes.values()), data)
    integer_run = _Recorder(fast_model(network, data.device), set(nodes.values()), data)
    signal, noise = dict.fromkeys(nodes.values(), 0.0), dict.fromkeys(nodes.values(), 0.0)
    total, count = 0.0, 0
    with progress(len(data.names), "comparing with float", brief=True) as advance:
        for unit in data.one_by_one():
            expected, found = float_run.output(unit), integer_run.output(unit)
            advance(1)
            if expected is None or found is None:
                continue
            total, count = total + distance.sum(expected, found), count + len(expected)
            for name in signal:
                x, y = float_run.seen[name], integer_run.seen[name]
                signal[name] += float(x.square().sum())
                noise[name] += float((y - x).square().sum())
    if not count:
        raise DataError(f"none of the {len(data.names)} utterances to compare with the float model could be used")
    ratios = {layer: _decibels(signal[node], noise[node]) for layer, node in nodes.items()}
    return Divergence(total / count, distance.unit, ratios, count)


def output_divergence(float_host: Host, network: QuantizedNetwork, data: Data) -> Divergence:
    """Compares the outputs of a quantized network with those of a float network that was prepared by itself.

    Args:
        float_host: computes what the float network does.
        network: in integers.
        data: that both are run on.

    Raises:
        DataError: no unit of the data can be used, or the quantized network's output for one is not finite.
    """
    reference = dict(data.outputs(float_host.executable().to(data.device)))
    if not reference:
        raise DataError(f"none of the {len(data.names)} inputs could be used by the float network")
    distance = network.host.distance
    outputs = dict(data.outputs(fast_model(network, data.device)))
    rows = sum(map(len, reference.values()))
    return Divergence(mean_distance(distance, reference, outputs), distance.unit, {}, rows)


def _result_nodes(network: QuantizedNetwork) -> dict[str, str]:
    """For each quantized layer and product of two values the node that holds its result as a float."""
    nodes, graph = {}, network.graph
    for name in [*network.layers, *graph.matmuls]:
        destination = graph.destination(name) if name in graph.layers or name in graph.matmuls else None
        nodes[name] = destination.node if destination else name
    return nodes


def _decibels(signal: float, noise: float) -> float:
    if noise == 0.0:
        return _BEST_DECIBELS
    return float(10 * np.log10(signal / noise)) if signal > 0 else 0.0


class _Recorder:
    """Runs a network on one unit at a time and keeps what some nodes hold."""

    def __init__(self, model: Executable, nodes: set[str], data: Data) -> None:
        self.seen: dict[str, Tensor] = {}
        self.model = model.to(data.device)
        for name in nodes:
            model.taps[name] = SeenTap(model.taps.get(name), self._keeping(name))

    def _keeping(self, name: str) -> Callable[[Tensor], None]:
        def keep(x: Tensor) -> None:
            self.seen[name] = x.double()

        return keep

    def output(self, unit: Data) -> np.ndarray | None:
        """The output for one unit; None where it cannot be used."""
        return next((rows for _, rows in unit.outputs(self.model)), None)
