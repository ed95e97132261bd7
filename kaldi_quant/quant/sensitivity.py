"""How much each layer's quantization costs: each quantized alone, and each left in float alone.

What was measured is kept in a file after every measurement, so that an interrupted run goes on where it was.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from kaldi_quant.errors import DataError
from kaldi_quant.progress import progress
from kaldi_quant.quant.branches import Branches, Outputs
from kaldi_quant.quant.distance import mean_distance
from kaldi_quant.quant.host import Data
from kaldi_quant.quant.measurement_file import MeasurementFile
from kaldi_quant.quant.network import QuantizedNetwork
from kaldi_quant.quant.side_by_side import MEMORY
from kaldi_quant.units import Bytes

_log = logging.getLogger(__name__)

_LEFT_OUT = "to measure what others cost"

#: Which layers are quantized: none, all, only the one named, all but the one named.
MODES = ("float", "all", "alone", "left out")

# For each of them whose trunk its choices are branches of.
_TRUNKS = {"float": "float", "all": "all", "alone": "float", "left out": "all"}

#: The mode, and the layer or product of two values that is named.
Choice = tuple[str, str]

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
    def key(self) -> Choice:
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
    memory: Bytes = MEMORY,
) -> Iterator[Measurement]:
    """Measures every choice, best to be consumed to the end.

    A layer that is quantized alone, or left in float alone, changes only what lies behind it: what comes before is
    computed once for all layers (``Branches``).

    Args:
        network: all layers quantized.
        data: held-out utterances; never test data if choices follow from the result. Those that the float network
            cannot compute are taken out.
        path: where measurements are kept, JSON; those that are there already are not repeated.
        about: what they depend on: network, widths, data. Others in the file are an error.
        wer: measures word error rates, too.
        memory: what values may take that wait for layers; the others wait on disk.

    Raises:
        DataError: the file holds measurements of something else, or no utterance can be used.
    """
    store = _Measurements(path, about)
    store.order = choices = choices_of(network)

    def is_known(choice: Choice) -> bool:
        known = store.find(choice)
        return known is not None and (known.wer is not None or wer is None)

    missing = [choice for choice in choices if not is_known(choice)]
    if len(missing) < len(choices):
        _log.info(
            "%d of %d choices of layers were measured before and are kept", len(choices) - len(missing), len(choices)
        )
    with (
        closing(_Runs(network, data, memory)) as runs,
        progress(len(missing), "sensitivity", "choices of layers", brief=not missing) as advance,
    ):
        pending = iter(runs.in_order(missing))
        for choice in choices:
            while not is_known(choice):
                mode, layer = next(pending)
                advance(0, f"{mode} {layer}".rstrip())
                rows = runs.outputs(mode, layer)
                kl = mean_distance(network.host.distance, runs.reference, rows)
                store.add(Measurement(mode, layer, kl, wer(rows) if wer else None))
                advance(1)
            found = store.find(choice)
            assert found is not None
            yield found


def choices_of(network: QuantizedNetwork) -> list[Choice]:
    """All that are measured."""
    return [("float", ""), ("all", ""), *((mode, name) for mode in MODES[2:] for name in _quantized(network))]


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


class _Runs:
    """Runs a network with some of its layers quantized; what several choices have in common is computed once."""

    def __init__(self, network: QuantizedNetwork, data: Data, memory: Bytes) -> None:
        self.network, self.data, self.memory = network, data, memory
        self._trunks: dict[str, Branches] = {}

    def in_order(self, choices: Iterable[Choice]) -> list[Choice]:
        """The order in which they share most: mode after mode, by where they differ from what they share."""

        def place(choice: Choice) -> tuple[int, int]:
            mode, layer = choice
            return MODES.index(mode), self._trunk(mode).place(_chosen(self.network, mode, layer)) if layer else 0

        return sorted(choices, key=place)

    @cached_property
    def reference(self) -> Outputs:
        """The float network's outputs."""
        rows = self._trunk("float").outputs(_chosen(self.network, "float", ""))
        if not rows:
            raise DataError("none of the development utterances could be used")
        # Said once is enough: further runs do without the bad ones.
        self.data.keep(rows)
        return rows

    def outputs(self, mode: str, layer: str) -> Outputs:
        """Of a choice; best asked for in order."""
        reference = self.reference
        if mode == "float":
            return reference
        for other, trunk in self._trunks.items():
            if other != _TRUNKS[mode]:
                trunk.close()
        return self._trunk(mode).outputs(_chosen(self.network, mode, layer))

    def close(self) -> None:
        """Removes what waits."""
        for trunk in self._trunks.values():
            trunk.close()

    def _trunk(self, mode: str) -> Branches:
        """What a mode's choices share: of a layer alone the float network, of a layer left out that of all layers."""
        name = _TRUNKS[mode]
        if name not in self._trunks:
            self._trunks[name] = Branches(_chosen(self.network, name, ""), self.data, self.memory)
        return self._trunks[name]


class _Measurements(MeasurementFile[Measurement]):
    what, version, entry = "sensitivity measurements", 1, Measurement
