"""Networks that differ from one another in few layers, run on the same data: what comes before is computed once.

One of them is the trunk. All batches of the data wait before one of its steps, and from there copies of them go to the
end through the others, the branches. Outputs are those of whole runs, to the last bit.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np

from kaldi_quant.bad_utterances import BadUtterances
from kaldi_quant.quant.fast_products import fast
from kaldi_quant.quant.graph import products
from kaldi_quant.quant.host import Data, StepwiseExecutable
from kaldi_quant.quant.network import QuantizedNetwork, Way, moved
from kaldi_quant.quant.quantized_layer import QuantizedLayer
from kaldi_quant.quant.side_by_side import MEMORY
from kaldi_quant.quant.slots import set_product
from kaldi_quant.quant.waiting import Waiting
from kaldi_quant.units import Bytes

Outputs = dict[str, np.ndarray]

# Before any step, where inputs of a network differ.
_NOWHERE = -1


class Branches:
    """A trunk and its branches.

    Args:
        trunk: the network.
        data: units that the float network can compute.
        memory: what waiting batches may take; the others wait on disk.
    """

    def __init__(self, trunk: QuantizedNetwork, data: Data, memory: Bytes = MEMORY) -> None:
        self.trunk, self.data, self.memory = trunk, data, memory
        self._ways = trunk.ways()
        # The trunk's layers and grids as they are computed with, by ``id``.
        self._layers = {id(layer): self._layer(layer) for layer in trunk.layers.values()}
        self._grids = {id(grid): moved(grid, data.device) for grid in trunk.activations.values()}
        self.model = self._executable(trunk)
        self._products = {name: self.model.slot(name).product for name in products(trunk.host.nodes)}
        # Batches of sequences of one length, and others.
        self._waiting: dict[bool, Waiting] = {}

    def place(self, branch: QuantizedNetwork) -> int:
        """The first step that a branch does not compute as the trunk does; -1 where the inputs differ already."""
        places = [
            min(self.model.places(way.name)) if way.what == "product" else self.model.place_of(way.name)
            for way in self._differences(branch)
        ]
        return min(places, default=_NOWHERE)

    def outputs(self, branch: QuantizedNetwork, bad: BadUtterances | None = None) -> Outputs:
        """The outputs of a branch, by unit: (rows, columns) float32.

        Branches are best asked for by ascending ``place``: what lies behind a place that was reached is not shared by
        those that differ earlier.

        Args:
            branch: a network of the same host.
            bad: is told of units that cannot be used; by default they are left out.
        """
        place = self.place(branch)
        waiting = self._waiting.get(branch.needs_one_length)
        is_shared = place > 0 and (waiting is None or waiting.place <= place)
        batches = self._waiting_before(place, branch.needs_one_length) if is_shared else None
        with self._model_of(branch) as model:
            if batches is None:
                return dict(self.data.outputs(model, bad))
            with _going_on(model, batches):
                return dict(self.data.outputs(model, bad))

    def close(self) -> None:
        """Removes what waits."""
        for waiting in self._waiting.values():
            waiting.close()
        self._waiting.clear()

    def _differences(self, branch: QuantizedNetwork) -> Iterator[Way]:
        ways = branch.ways()
        for way in {**self._ways, **ways}:
            one, other = self._ways.get(way), ways.get(way)
            if one is None or other is None or any(x is not y for x, y in zip(one, other, strict=True)):
                yield way

    def _waiting_before(self, place: int, of_one_length: bool) -> Waiting:
        """The trunk's batches, before a step."""
        with self._model_of(self.trunk) as model:
            if of_one_length not in self._waiting:
                model.batches_of_one_length = of_one_length
                self._waiting[of_one_length] = Waiting(model, self.data, self.memory)
            self._waiting[of_one_length].advance(place)
        return self._waiting[of_one_length]

    @contextmanager
    def _model_of(self, network: QuantizedNetwork) -> Iterator[StepwiseExecutable]:
        """What runs a network: the trunk's, changed for the moment, if it adds and multiplies values alike."""
        alike = all(way.what != "arithmetic" for way in self._differences(network))
        model = self.model if alike else self._executable(network)
        if model is self.model:
            for name, product in self._products.items():
                if model.slot(name).product is not product:
                    set_product(model, name, product)
            model.taps.clear()
        self._as_computed(network).install(model)
        yield model

    def _executable(self, network: QuantizedNetwork) -> StepwiseExecutable:
        # No quantized product has use for the float weights, so that they need not be the dequantized ones.
        return network.host.executable(self._as_computed(network).arithmetic()).to(self.data.device)

    def _as_computed(self, network: QuantizedNetwork) -> QuantizedNetwork:
        """A network with its integers and grids on the device, and with products as fast as they can be."""
        others = {id(grid): grid for grid in network.activations.values() if id(grid) not in self._grids}
        moved_grids = {**self._grids, **{key: moved(grid, self.data.device) for key, grid in others.items()}}
        return replace(
            network,
            layers={name: self._layers.get(id(layer)) or self._layer(layer) for name, layer in network.layers.items()},
            activations={name: moved_grids[id(grid)] for name, grid in network.activations.items()},
        )

    def _layer(self, layer: QuantizedLayer) -> QuantizedLayer:
        return fast(moved(layer, self.data.device))


@contextmanager
def _going_on(model: StepwiseExecutable, batches: Waiting) -> Iterator[None]:
    """Within the block, calls of a model go on with one waiting batch after the other."""
    numbers = iter(range(batches.count))

    def forward(*args: Any, **kwargs: Any) -> Any:
        passage = batches.look(next(numbers), model)
        passage.advance(passage.end)
        return passage.result

    model.forward = forward
    try:
        yield
    finally:
        del model.forward
