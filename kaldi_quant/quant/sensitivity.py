"""How much each layer's quantization costs: each quantized alone, and each left in float alone.

What was measured is kept in a file after every measurement, so that an interrupted run goes on where it was.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from kaldi_quant.errors import DataError
from kaldi_quant.quant.distance import mean_distance
from kaldi_quant.quant.host import Data, Executable
from kaldi_quant.quant.measurement_file import MeasurementFile
from kaldi_quant.quant.network import QuantizedNetwork

_LEFT_OUT = "to measure what others cost"

#: Which layers are quantized: none, all, only the one named, all but the one named.
MODES = ("float", "all", "alone", "left out")

Outputs = dict[str, np.ndarray]
#: Percent of words in error, for outputs by utterance.
WordErrorRate = Callable[[Outputs], float]


@dataclass(frozen=True)
class Measurement:
    """What one choice of quantized layers costs.

    Args:
        mode: of MODES.
        layer: the layer, or product of two values, that is named; empty for none and all.
        kl: mean distance of the output from the float network's, of acoustic models the divergence in nats per frame.
        wer: percent; None where it was not measured.
    """

    mode: str
    layer: str
    kl: float
    wer: float | None

    @property
    def key(self) -> tuple[str, str]:
        """Which layers were quantized."""
        return self.mode, self.layer

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, content: dict[str, Any]) -> Measurement:
        """What ``as_dict`` made."""
        return cls(**content)


def with_layers(network: QuantizedNetwork, names: set[str]) -> QuantizedNetwork:
    """The network with only some of its layers and products of two values quantized, the others in float."""
    layers = {name: layer for name, layer in network.layers.items() if name in names}
    left = {name: _LEFT_OUT for name in network.matmuls if name not in names}
    part = replace(network, layers=layers, float_layers={}, float_matmuls={**network.float_matmuls, **left})
    nodes = part.graph.nodes
    return replace(part, activations={name: grid for name, grid in network.activations.items() if name in nodes})


def sensitivity(
    network: QuantizedNetwork,
    data: Data,
    path: Path,
    about: dict[str, Any],
    wer: WordErrorRate | None = None,
) -> Iterator[Measurement]:
    """Measures every choice, best to be consumed to the end.

    Args:
        network: all layers quantized.
        data: held-out utterances; never test data if choices follow from the result.
        path: where measurements are kept, JSON; those that are there already are not repeated.
        about: what they depend on: network, widths, data. Others in the file are an error.
        wer: measures word error rates, too.

    Raises:
        DataError: the file holds measurements of something else, or no utterance can be used.
    """
    store = _Measurements(path, about)
    choices = [("float", ""), ("all", ""), *((mode, name) for mode in MODES[2:] for name in _quantized(network))]
    reference: Outputs | None = None
    for mode, layer in choices:
        known = store.find((mode, layer))
        if known is None or (known.wer is None and wer is not None):
            reference = _rows(_chosen(network, "float", "").model(), data) if reference is None else reference
            rows = reference if mode == "float" else _rows(_chosen(network, mode, layer).model(), data)
            known = Measurement(
                mode, layer, mean_distance(network.host.distance, reference, rows), wer(rows) if wer else None
            )
            store.add(known)
        yield known


def without(network: QuantizedNetwork, layer: str) -> QuantizedNetwork:
    """The network with one layer or product of two values in float."""
    return with_layers(network, set(_quantized(network)) - {layer})


def _quantized(network: QuantizedNetwork) -> list[str]:
    """The layers and products of two values in integers."""
    return [*network.layers, *network.matmuls]


def _chosen(network: QuantizedNetwork, mode: str, layer: str) -> QuantizedNetwork:
    every = set(_quantized(network))
    names = {"float": set(), "all": every, "alone": {layer}, "left out": every - {layer}}
    return with_layers(network, names[mode])


def _rows(model: Executable, data: Data) -> Outputs:
    rows = dict(data.outputs(model))
    if not rows:
        raise DataError("none of the development utterances could be used")
    return rows


class _Measurements(MeasurementFile[Measurement]):
    what, version, entry = "sensitivity measurements", 1, Measurement
