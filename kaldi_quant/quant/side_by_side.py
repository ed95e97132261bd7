"""Two networks that go through a calibration set together, layer by layer: a float one, and itself being quantized.

All batches wait before a layer until it is quantized, and then go on: each layer is computed once in float and once as
it is quantized, however many layers there are.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from torch import Tensor

from kaldi_quant.quant.distance import Distance
from kaldi_quant.quant.host import Data, StepwiseExecutable
from kaldi_quant.quant.integer_linear import InputGrid
from kaldi_quant.quant.paired_moments import PairedMoments, PairedRows, PairedSample
from kaldi_quant.quant.passage import Passage
from kaldi_quant.quant.shelf import Shelf
from kaldi_quant.quant.slots import columns_of, groups_of_layer, rows_of, watched
from kaldi_quant.units import Bytes

#: What waiting batches take of the memory; the others wait on disk.
MEMORY: Bytes = 1 << 29


class _SeenEnough(Exception):
    """What a product is given was all that was wanted."""


class SideBySide:
    """The two networks, and all batches of a calibration set on their way through them.

    Args:
        float_model: the float network.
        model: the network that is quantized, whose layers' products are replaced one after the other, in the order of
            the graph.
        data: the calibration set.
        memory: what waiting batches may take.
    """

    def __init__(
        self, float_model: StepwiseExecutable, model: StepwiseExecutable, data: Data, memory: Bytes = MEMORY
    ) -> None:
        self.float_model, self.model = float_model.to(data.device), model.to(data.device)
        self._passages: list[tuple[Passage, Passage]] = []
        self._shelf = Shelf(memory)
        for args, kwargs in data.calls(model):
            pair = float_model.passage(*args, **kwargs), model.passage(*args, **kwargs)
            self._passages.append(pair)
            self._put(len(self._passages) - 1)

    def moments(self, layer: str, sample: PairedSample | None = None, grid: InputGrid | None = None) -> PairedMoments:
        """What a layer reads in both networks; all layers before it must be quantized.

        Args:
            layer: its name.
            sample: sees the rows, too.
            grid: of the layer's input, if it has one.
        """
        moments = PairedMoments(columns_of(self.model, layer), groups_of_layer(self.model, layer), grid)

        def see(inputs: Tensor, float_inputs: Tensor) -> None:
            moments.add(inputs, float_inputs)
            if sample is not None:
                sample.add(inputs, float_inputs)

        self._show(layer, see)
        return moments

    def distance(self, distance: Distance) -> float:
        """Of the outputs for the first batch, the layers that are not quantized yet being in float.

        It is for the eye: rows that a batch is padded with count, too. NaN where outputs are no tensors.
        """
        outputs = []
        with self._taken(0) as pair:
            for passage in pair:
                ahead = passage.copy()
                ahead.advance(ahead.end)
                outputs.append(ahead.result)
        if not all(isinstance(output, Tensor) for output in outputs):
            return math.nan
        reference, found = (rows_of(output.detach()).float().cpu().numpy() for output in outputs)
        return distance.sum(reference, found) / max(1, len(reference))

    def close(self) -> None:
        """Removes what waits."""
        self._shelf.close()

    def _show(self, layer: str, see: PairedRows) -> None:
        places = self.model.places(layer)
        first, end = places[0], places[-1] + 1
        once = len(places) == 1 and self.model.is_one_call(first)
        waiting: list[Tensor] = []

        def keep(x: Tensor) -> None:
            waiting.append(x.detach())

        def compare(x: Tensor) -> None:
            see(x.detach(), waiting.pop(0))
            if once:
                raise _SeenEnough

        for number in range(len(self._passages)):
            with self._taken(number) as (float_passage, passage):
                float_passage.advance(first)
                passage.advance(first)
                # Of a layer that is used once the float network goes on with what it has computed here.
                ahead = float_passage if once else float_passage.copy()
                with watched(self.float_model, {layer: keep}):
                    ahead.advance(end)
                with watched(self.model, {layer: compare}), suppress(_SeenEnough):
                    passage.copy().advance(end)
                waiting.clear()

    @contextmanager
    def _taken(self, number: int) -> Iterator[tuple[Passage, Passage]]:
        pair = self._passages[number]
        for passage, values in zip(pair, self._shelf.take(number), strict=True):
            passage.values = values
        yield pair
        self._put(number)

    def _put(self, number: int) -> None:
        self._shelf.put(number, tuple(passage.values for passage in self._passages[number]))
        for passage in self._passages[number]:
            passage.values = {}
