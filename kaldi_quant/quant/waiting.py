"""All batches of a data set on their way through a network: between two steps they wait."""

from __future__ import annotations

from collections.abc import Iterator

from kaldi_quant.quant.host import Data, StepwiseExecutable
from kaldi_quant.quant.passage import Passage
from kaldi_quant.quant.shelf import Shelf
from kaldi_quant.quant.slots import See, watched
from kaldi_quant.units import Bytes


class Waiting:
    """The batches.

    Args:
        model: the network, on the device of the data.
        data: usable units alone.
        memory: what waiting batches may take; the others wait on disk.
    """

    def __init__(self, model: StepwiseExecutable, data: Data, memory: Bytes) -> None:
        self.model = model
        #: Of the next step, of all batches.
        self.place = 0
        self._passages: list[Passage] = []
        self._shelf = Shelf(memory)
        for args, kwargs in data.calls(model):
            self._passages.append(model.passage(*args, **kwargs))
            self._put(len(self._passages) - 1)

    @property
    def count(self) -> int:
        """Of the batches."""
        return len(self._passages)

    def advance(self, place: int) -> None:
        """Computes all steps before a place."""
        if place <= self.place:
            return
        for passage in self._one_by_one():
            passage.advance(place)
        self.place = place

    def show(self, layer: str, see: See) -> None:
        """Shows what a layer's product is given, batch after batch.

        Args:
            layer: none that is used before the place where the batches are.
            see: is shown it.
        """
        places = self.model.places(layer)
        first, end = places[0], places[-1] + 1
        self.advance(first)
        with watched(self.model, {layer: see}):
            if len(places) == 1 and self.model.is_one_call(first):
                self.advance(end)
                return
            # Other layers are used on the way.
            for number in range(len(self._passages)):
                self.look(number, self.model).advance(end)

    def look(self, number: int, model: StepwiseExecutable) -> Passage:
        """A copy of a batch, which goes on by itself.

        Args:
            number: of the batch.
            model: the network that it goes on through: this one, or one that computes the same so far.
        """
        passage = self._passages[number]
        passage.values = self._shelf.look(number)
        try:
            return model.resumed(passage)
        finally:
            passage.values = {}

    def close(self) -> None:
        """Removes what waits."""
        self._shelf.close()

    def _one_by_one(self) -> Iterator[Passage]:
        for number, passage in enumerate(self._passages):
            passage.values = self._shelf.take(number)
            yield passage
            self._put(number)

    def _put(self, number: int) -> None:
        passage = self._passages[number]
        self._shelf.put(number, passage.values)
        passage.values = {}
