"""Labelled examples and audio without labels, one pass after the other."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from kaldi_quant.nnet.model import AcousticModel
from kaldi_quant.train.objective import Loss
from kaldi_quant.train.steps import Source


class MixedSource:
    """A ``Source`` of the passes of several ones, those of each evenly spread over the training.

    Args:
        sources: the first of them tells how well a model does.
    """

    def __init__(self, sources: Sequence[Source]) -> None:
        places = [
            ((number + 0.5) / len(source), which, number)
            for which, source in enumerate(sources)
            for number in range(len(source))
        ]
        self._passes = [(sources[which], number) for _, which, number in sorted(places)]
        self.validate, self.score = sources[0].validate, sources[0].score

    def __len__(self) -> int:
        """Those of all."""
        return len(self._passes)

    def describe(self, number: int) -> tuple[str, int]:
        """As the source says whose pass it is."""
        source, own = self._passes[number]
        return source.describe(own)

    def losses(self, number: int, model: AcousticModel) -> Iterator[Loss]:
        """Of the source whose pass it is."""
        source, own = self._passes[number]
        return source.losses(own, model)
